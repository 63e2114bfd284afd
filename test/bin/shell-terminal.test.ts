// The terminal's side of the shell, over streams: prompt, lines, Ctrl-C and Ctrl-D in every state, questions, history.
// What a real terminal adds is in test/e2e/shell-pty.test.ts.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setImmediate as afterIo } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { History } from '../../bin/shell-history.ts'
import { Terminal } from '../../bin/shell-terminal.ts'

const CTRL_C = '\x03'
const CTRL_D = '\x04'
const UP = '\x1b[A'

function newFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return join(folder, 'history')
}

class Screen {
  readonly input = new PassThrough()
  readonly historyFile: string
  readonly terminal: Terminal
  /** Lines that came to be run. */
  readonly lines: string[] = []
  ended: Promise<void> = Promise.resolve()
  #text = ''
  #changed: () => void = () => {}

  constructor(historyFile = newFile()) {
    this.historyFile = historyFile
    const output = new PassThrough()
    output.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text
      this.#changed()
    })
    const complete = async (line: string): Promise<[string[], string]> => [[`${line}et `], line]
    this.terminal = new Terminal({ input: this.input, output }, new History(this.historyFile), complete)
    this.terminal.setPrompt('cache> ')
  }

  /** Runs lines; each is done when `run` says so. */
  start(run: (line: string, signal: AbortSignal) => Promise<boolean>): void {
    this.ended = this.terminal.run((line, signal) => {
      this.lines.push(line)
      return run(line, signal)
    })
  }

  type(text: string): void {
    this.input.write(text)
  }

  /** Waits until this was shown since the last time it was waited for. */
  async shows(text: string): Promise<string> {
    for (;;) {
      const at = this.#text.indexOf(text)
      if (at >= 0) {
        const shown = this.#text.slice(0, at + text.length)
        this.#text = this.#text.slice(at + text.length)
        return stripVTControlCharacters(shown)
      }
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }
}

test('lines run one after the other; the last one ends it', async () => {
  const screen = new Screen()
  screen.start(async (line) => {
    screen.terminal.print(`ran ${line}\n`)
    return line !== 'last'
  })
  await screen.shows('cache> ')
  screen.type('one\r')
  await screen.shows('ran one\n')
  await screen.shows('cache> ')
  screen.type('\r  \rtwo\rlast\rtoo late\r')
  await screen.ended
  expect(screen.lines).toEqual(['one', 'two', 'last'])
})

test('what goes wrong in a line ends the terminal, and is passed on', async () => {
  const screen = new Screen()
  screen.start(() => Promise.reject(new Error('a mistake')))
  await screen.shows('cache> ')
  screen.type('one\r')
  await expect(screen.ended).rejects.toThrow('a mistake')
})

test('Tab completes', async () => {
  const screen = new Screen()
  screen.start(async () => false)
  await screen.shows('cache> ')
  screen.type('g\t')
  await screen.shows('et ')
  screen.type('a\r')
  await screen.ended
  expect(screen.lines).toEqual(['get a'])
})

test('Ctrl-C gives up a line, on an empty one says how to leave; Ctrl-D leaves', async () => {
  const screen = new Screen()
  screen.start(async () => true)
  await screen.shows('cache> ')
  screen.type(`half a line${CTRL_C}`)
  screen.type(`${CTRL_C}`)
  await screen.shows('(Ctrl-D or quit leaves the shell)')
  await screen.shows('cache> ')
  screen.type('whole\r')
  await screen.shows('cache> ')
  screen.type(CTRL_D)
  await screen.ended
  expect(screen.lines).toEqual(['whole'])
})

test('Ctrl-C stops what runs, and forgets what waits', async () => {
  const screen = new Screen()
  screen.start(
    (line, signal) =>
      new Promise((resolve) => {
        screen.terminal.print('running\n')
        signal.addEventListener('abort', () => {
          screen.terminal.print(`${signal.reason.name} ${line}\n`)
          resolve(true)
        })
      }),
  )
  await screen.shows('cache> ')
  screen.type('long\rwaits\r')
  await screen.shows('running')
  screen.type(CTRL_C)
  await screen.shows('Interrupted long\n')
  await screen.shows('cache> ')
  screen.type(CTRL_D)
  await screen.ended
  expect(screen.lines).toEqual(['long'])
})

test.each<[typed: string, answer: boolean]>([
  ['y\r', true],
  ['YES\r', true],
  ['n\r', false],
  ['\r', false],
  ['yellow\r', false],
  [CTRL_C, false],
  [CTRL_D, false],
])('to a question %j means %s', async (typed, expected) => {
  const screen = new Screen()
  let answer: boolean | undefined
  screen.start(async () => {
    answer = await screen.terminal.confirm('Sure? ')
    return false
  })
  await screen.shows('cache> ')
  screen.type('clear\r')
  await screen.shows('Sure? ')
  screen.type(typed)
  await screen.ended
  expect(answer).toBe(expected)
  expect(readFileSync(screen.historyFile, 'utf8')).toBe('clear\n')
})

test('a line that was pasted behind it is no answer to a question', async () => {
  const screen = new Screen()
  const answers: boolean[] = []
  screen.start(async (line) => {
    if (line === 'clear') answers.push(await screen.terminal.confirm('Sure? '))
    return line !== 'y'
  })
  await screen.shows('cache> ')
  screen.type('clear\ry\r')
  await screen.shows('Sure? ')
  screen.type('n\r')
  await screen.ended
  expect(answers).toEqual([false])
  expect(screen.lines).toEqual(['clear', 'y'])
})

test('the prompt changes under a half-typed line, and a notice goes above it', async () => {
  const screen = new Screen()
  screen.start(async () => false)
  await screen.shows('cache> ')
  screen.type('get a')
  await screen.shows('get a')
  screen.terminal.setPrompt('cache (not connected)> ')
  await screen.shows('cache (not connected)> get a')
  screen.terminal.print('a notice\n')
  await screen.shows('a notice\n')
  await screen.shows('cache (not connected)> get a')
  screen.type('b\r')
  await screen.ended
  expect(screen.lines).toEqual(['get ab'])
})

test('a prompt that changes during a question is there after it', async () => {
  const screen = new Screen()
  screen.start(async (line) => {
    if (line !== 'clear') return false
    await screen.terminal.confirm('Sure? ')
    return true
  })
  await screen.shows('cache> ')
  screen.type('clear\r')
  await screen.shows('Sure? ')
  screen.terminal.setPrompt('cache (not connected)> ')
  screen.type('n\r')
  await screen.shows('cache (not connected)> ')
  screen.type('end\r')
  await screen.ended
})

test('history: the arrow keys have it, the file too, and neither has a password', async () => {
  const screen = new Screen()
  screen.start(async (line) => line !== 'get a')
  await screen.shows('cache> ')
  screen.type('get b\r')
  await screen.shows('cache> ')
  screen.type('AUTH secret\r')
  await screen.shows('cache> ')
  screen.type('get a\r')
  await screen.ended
  expect(readFileSync(screen.historyFile, 'utf8')).toBe('get b\nget a\n')
  const next = new Screen(screen.historyFile)
  next.start(async () => false)
  await next.shows('cache> ')
  next.type(`${UP}${UP}b\r`)
  await next.ended
  expect(next.lines).toEqual(['get bb'])
})

describe('a password', () => {
  /** A shell whose line `auth` asks for one; what was answered. */
  function asking() {
    const screen = new Screen()
    const answers: (string | undefined)[] = []
    screen.start(async (line) => {
      if (line === 'auth') answers.push(await screen.terminal.askPassword('Password: '))
      return line !== 'end'
    })
    return { screen, answers }
  }

  test('is typed unseen, and in no history', async () => {
    const { screen, answers } = asking()
    await screen.shows('cache> ')
    screen.type('auth\r')
    await screen.shows('Password: ')
    screen.type('hunger\x7f\x7ftwo\r')
    const shown = await screen.shows('cache> ')
    expect(answers).toEqual(['hungtwo'])
    expect(shown).toBe('\ncache> ')
    screen.type(`${UP}end\r`)
    await screen.ended
    expect(screen.lines).toEqual(['auth', 'end'])
    expect(readFileSync(screen.historyFile, 'utf8')).toBe('end\n')
  })

  test('is not completed: nobody is asked what it may become', async () => {
    const { screen, answers } = asking()
    await screen.shows('cache> ')
    screen.type('auth\r')
    await screen.shows('Password: ')
    for (const typed of ['sec', '\t', 'ret\r']) {
      screen.type(typed)
      // Several keys at once are taken for pasted text, which nothing completes.
      await afterIo()
    }
    await screen.shows('cache> ')
    expect(answers).toEqual(['secret'])
    screen.type('end\r')
    await screen.ended
  })

  test.each([
    ['Ctrl-C', CTRL_C],
    ['Ctrl-D', CTRL_D],
  ])('%s gives none', async (_, key) => {
    const { screen, answers } = asking()
    await screen.shows('cache> ')
    screen.type('auth\r')
    await screen.shows('Password: ')
    screen.type(key)
    if (key === CTRL_C) {
      await screen.shows('cache> ')
      screen.type(CTRL_D)
    }
    await screen.ended
    expect(answers).toEqual([undefined])
  })

  test('that was given up half-way is gone: no key brings it back', async () => {
    const { screen, answers } = asking()
    await screen.shows('cache> ')
    screen.type('auth\r')
    await screen.shows('Password: ')
    screen.type('hunter2')
    screen.type(CTRL_C)
    await screen.shows('cache> ')
    // Undo, yank, and the lines before.
    screen.type(`\x1f\x19${UP}end\r`)
    expect(await screen.shows('end')).not.toContain('hunter2')
    await screen.ended
    expect([answers, screen.lines]).toEqual([[undefined], ['auth', 'end']])
  })

  test('that is typed before it is asked for is a line, but not kept', async () => {
    const { screen, answers } = asking()
    await screen.shows('cache> ')
    screen.type('auth\rhunter2\r')
    await screen.shows('Password: ')
    screen.type('again\r')
    await screen.shows('cache> ')
    screen.type('get a\r')
    await screen.shows('cache> ')
    screen.type('end\r')
    await screen.ended
    expect(answers).toEqual(['again'])
    expect(screen.lines).toEqual(['auth', 'hunter2', 'get a', 'end'])
    expect(readFileSync(screen.historyFile, 'utf8')).toBe('get a\nend\n')
  })

  test('is nothing where no line runs', async () => {
    const screen = new Screen()
    expect(await screen.terminal.askPassword('Password: ')).toBeUndefined()
    screen.start(async () => false)
    await screen.shows('cache> ')
    screen.type('x\r')
    await screen.ended
  })

  test('what is printed meanwhile is shown', async () => {
    const { screen, answers } = asking()
    await screen.shows('cache> ')
    screen.type('auth\r')
    await screen.shows('Password: ')
    screen.terminal.print('a notice\n')
    await screen.shows('a notice\n')
    screen.type('x\r')
    await screen.shows('cache> ')
    expect(answers).toEqual(['x'])
    screen.type('end\r')
    await screen.ended
  })
})
