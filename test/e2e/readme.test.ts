// README.md, held to what really happens: its commands and programs are run, and what they show is compared with what it
// says they show. Where it names port 11142 a free one is used; everything else is as a reader would type it and see it,
// in a folder that looks like a clone. What installs or tests is left out: whoever runs this has done that. What it says
// in tables and links is for test/documents.test.ts.

import { execFile, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { DEFAULT_PORT } from '../../protocol/limits.ts'
import { makeClone, PATH, readProjectFile, withoutNpm } from '../helpers/clone.ts'
import { codeWords, fencedBlocks } from '../helpers/markdown.ts'
import { Program } from '../helpers/program.ts'
import { CTRL_D, hasTerminal, NO_TERMINAL, TerminalProgram } from '../helpers/terminal.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const readme = readProjectFile('README.md')
const consoles = fencedBlocks(readme, 'console').map(consoleBlock)
const examples = fencedBlocks(readme, 'ts')

const SHELL = 'npm run -s shell'
const SECOND_PORT = 11_143
/** Six processes one after another, on a machine that may be busy. */
const SCREEN_TIMEOUT_MS = 60_000
const REPEATS = /-r (\d+) -i \d+/

if (!hasTerminal) console.log(`skipped: what README.md shows of the shell; ${NO_TERMINAL}`)

describe('the consoles', () => {
  test('are those that are run here, or wherever the tests are', () => {
    const commands = consoles.map(({ command }) => command)
    expect(commands).toEqual([
      'npm ci && npm start',
      SHELL,
      expect.stringMatching(/^node --import tsx -e "/),
      expect.stringMatching(REPEATS),
      SHELL,
      'npm start -- --port 11143 --peers localhost:11142',
      `${SHELL} -- set greeting hello`,
      `${SHELL} -- -p 11143 get greeting`,
      'npm ci && npm test',
    ])
  })

  test('what is repeated shows as many lines as it says', () => {
    const [repeated] = consoles.filter(({ command }) => REPEATS.test(command))
    const [, times] = REPEATS.exec(repeated?.command ?? '') ?? []
    expect(linesOf(repeated?.output)).toHaveLength(Number(times))
  })

  test.skipIf(!hasTerminal)(
    'the first screen: a server, the shell, a program, kill -9 and a restart',
    async () => {
      const clone = makeClone()
      const [start, shell, program, repeated] = consoles
      const server = startServer(clone, 'npm start')
      const port = await server.port()
      expect(server.stdout).toBe(onPort(start?.output, port))

      await replay(clone, shell?.output, port)

      expect(await printed(clone, onPort(program?.command, port))).toBe(program?.output)

      // As often, and as quickly, as it takes.
      const command = repeated?.command.replace(REPEATS, '-r 5000 -i 20ms') ?? ''
      const expected = onPort(repeated?.output, port)
      const asking = onTerminal(clone, command, port)
      await asking.shows('[1,2,3]\n')
      server.process.kill('SIGKILL')
      await server.ended
      await asking.shows('CACHE_UNAVAILABLE')
      await asking.shows(/connect ECONNREFUSED .*/.exec(expected)?.[0] ?? expected)
      await startServer(clone, 'npm start', port).port()
      await asking.shows('(miss)\n')
      const wholeLines = asking.screen.slice(0, asking.screen.lastIndexOf('\n'))
      expect(distinctOutcomes(wholeLines)).toEqual(distinctOutcomes(expected))
    },
    SCREEN_TIMEOUT_MS,
  )

  test.skipIf(!hasTerminal)('a cache of three entries', async () => {
    const clone = makeClone()
    const [command = ''] = codeWords(readme).filter((code) => /^CACHE_MAX_SIZE=3 /.test(code))
    const port = await startServer(clone, command).port()
    const [, evictions] = consoles.filter((block) => block.command === SHELL)
    await replay(clone, evictions?.output, port)
  })
})

test(
  'what is written to one of two servers is on both',
  async () => {
    const clone = makeClone()
    const [second, written, read] = consoles.slice(5)
    const firstPort = await startServer(clone, 'npm start').port()
    const command = onPort(second?.command, firstPort).replace(`${SECOND_PORT}`, '0')
    const server = inClone(clone, command)
    const secondPort = await server.port()
    expect(server.stdout).toBe(onPort(second?.output, firstPort).replace(`${SECOND_PORT}`, `${secondPort}`))
    const set = await inClone(clone, written?.command ?? '', { SERVER_PORT: `${firstPort}` }).ended
    expect(set.stdout).toBe(written?.output)
    // Until the two have met.
    const asked = (read?.command ?? '').replace(`${SECOND_PORT}`, `${secondPort}`)
    let answer = ''
    for (let attempt = 0; attempt < ATTEMPTS_MAX * 4 && answer !== read?.output; attempt++)
      answer = (await inClone(clone, asked).ended).stdout
    expect(answer).toBe(read?.output)
  },
  SCREEN_TIMEOUT_MS,
)

describe('the programs', () => {
  test('are accepted by the compiler', async () => {
    const clone = makeClone()
    for (const [index, example] of examples.entries())
      writeFileSync(join(clone, `example-${index}.ts`), example)
    // What an example takes for granted.
    writeFileSync(
      join(clone, 'reader.d.ts'),
      'declare function fetchUser(id: string): Promise<{ name: string }>',
    )
    const compiler = join(root, 'node_modules', '.bin', 'tsc')
    const { stdout } = await promisify(execFile)(compiler, ['-p', clone], { env: { PATH } }).catch(
      (error) => error,
    )
    expect(stdout).toBe('')
    expect(examples).toHaveLength(3)
  })

  test('the first one does what its comment says', async () => {
    const clone = makeClone()
    const port = await startServer(clone, 'npm start').port()
    const [, call = '', result = ''] = /^(await .+?) +\/\/ ([^;\n]+);/m.exec(examples[0] ?? '') ?? []
    const printing = onPort(examples[0], port).replace(call, `console.log(JSON.stringify(${call}))`)
    writeFileSync(join(clone, 'example.ts'), printing)
    expect(await printed(clone, 'node --import tsx example.ts')).toBe(
      `${JSON.stringify(JSON.parse(result))}\n`,
    )
  })
})

interface ConsoleBlock {
  /** More than one line if it has quotes across them. */
  command: string
  output: string
}

function consoleBlock(text: string): ConsoleBlock {
  const [, command, output] = /^\$ ((?:[^"\n]|"[^"]*")*)\n([\s\S]*)$/.exec(text) ?? []
  if (command === undefined || output === undefined) throw new Error(`no console: ${text}`)
  return { command, output }
}

function linesOf(text: string | undefined): string[] {
  return (text ?? '').trimEnd().split('\n')
}

function onPort(text: string | undefined, port: number): string {
  return (text ?? '').replaceAll(String(DEFAULT_PORT), String(port))
}

function inClone(clone: string, command: string, env: Readonly<Record<string, string>> = {}): Program {
  const child = spawn('sh', ['-c', `exec ${withoutNpm(command)}`], {
    cwd: clone,
    env: { PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const program = new Program(child)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await program.ended
  })
  return program
}

const ATTEMPTS_MAX = 5

/**
 * What a program prints, once it prints anything but `undefined`, or else does so again and again: its calls miss after
 * 250 ms, and to connect can take longer on a machine that is busy with other tests.
 */
async function printed(clone: string, command: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const { stdout, ...rest } = await inClone(clone, command).ended
    expect(rest).toEqual({ code: 0, signal: null, stderr: '' })
    if (stdout !== 'undefined\n' || attempt === ATTEMPTS_MAX) return stdout
  }
}

/** `command` may begin with a variable. */
function startServer(clone: string, command: string, port = 0): Program {
  const [, name, value, rest] = /^([A-Z_]+)=(\S+) (.*)$/.exec(command) ?? []
  const variable = name === undefined || value === undefined ? {} : { [name]: value }
  return inClone(clone, rest ?? command, { LISTEN_ON: String(port), ...variable })
}

function onTerminal(clone: string, command: string, port: number): TerminalProgram {
  const env = { NO_COLOR: '1', SERVER_PORT: String(port) }
  return new TerminalProgram(withoutNpm(command), { cwd: clone, env })
}

/** Types what stands behind the prompts of a transcript, and compares all that is shown with all of it. */
async function replay(clone: string, transcript: string | undefined, port: number): Promise<void> {
  const expected = onPort(transcript, port)
  const prompt = `localhost:${port}> `
  const shell = onTerminal(clone, SHELL, port)
  await shell.shows(prompt)
  for (const line of expected.split('\n')) {
    if (!line.startsWith(prompt)) continue
    const typed = line.slice(prompt.length)
    await shell.says(typed, '\n', prompt)
    // By the time that people have typed the next line it has expired.
    const [, ttlMs] = / PX (\d+)$/.exec(typed) ?? []
    if (ttlMs !== undefined) await sleep(Number(ttlMs) + TYPING_MS)
  }
  shell.type(CTRL_D)
  expect(await shell.ended).toBe(0)
  expect(shell.screen).toBe(`${expected}${prompt}\n`)
}

/** A test types faster than people do. */
const TYPING_MS = 20

/** Lines of replies, each once where it comes several times in a row; of an error its code alone. */
function distinctOutcomes(output: string): string[] {
  const outcomes = linesOf(output).map((line) => /^\(error\) \w+/.exec(line)?.[0] ?? line)
  return outcomes.filter((outcome, index) => outcome !== outcomes[index - 1])
}
