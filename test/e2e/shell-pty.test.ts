// The shell as a person meets it: the real process on a real terminal, a pseudo one, against a real server.
// The terminal is made by `script` of util-linux, or by Python; where neither is there, this is skipped, and says so.

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Program, startProgram } from '../helpers/program.ts'

const shellPath = fileURLToPath(new URL('../../bin/cache-shell.ts', import.meta.url))
const loader = import.meta.resolve('tsx')
const CTRL_C = '\x03'
const CTRL_D = '\x04'
const SHOWN_WITHIN_MS = 8000
const COLOR = /\[[0-9;]*m/
const UP = '\x1b[A'

/** Arguments of a program that runs a line of sh on a terminal of its own. */
type OnTerminal = (line: string) => [program: string, args: string[]]

function findTerminalMaker(): OnTerminal | undefined {
  const script = spawnSync('script', ['--version'], { encoding: 'utf8' })
  if (script.stdout?.includes('util-linux'))
    return (line) => ['script', ['--quiet', '--flush', '--return', '--command', line, '/dev/null']]
  const python = spawnSync('python3', ['-c', 'import pty'])
  if (python.status !== 0) return undefined
  const spawnOnTerminal =
    'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(["sh", "-c", sys.argv[1]])))'
  return (line) => ['python3', ['-c', spawnOnTerminal, line]]
}

const onTerminal = findTerminalMaker()
if (onTerminal === undefined)
  console.log('skipped: the shell on a pseudo-terminal needs `script` of util-linux, or python3')

class TerminalProgram {
  readonly folder: string
  readonly ended: Promise<number | null>
  #text = ''
  #unseen = ''
  #isOver = false
  #changed: () => void = () => {}
  readonly #type: (text: string) => void

  constructor(port: number, environment: Record<string, string> = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
    const command = `'${process.execPath}' --import '${loader}' '${shellPath}' -h localhost -p ${port}`
    const [program, args] = onTerminal?.(`stty cols 80 rows 24; exec ${command}`) ?? ['false', []]
    const child = spawn(program, args, {
      cwd: this.folder,
      env: {
        PATH: process.env['PATH'],
        TERM: 'xterm-256color',
        XDG_STATE_HOME: this.folder,
        SHELL: '/bin/sh',
        ...environment,
      },
    })
    child.stdout.setEncoding('utf8').on('data', (written: string) => {
      // Lines end with one or two of them, as the terminal likes.
      const text = written.replaceAll('\r', '')
      this.#text += text
      this.#unseen += text
      this.#changed()
    })
    this.#type = (text) => child.stdin.write(text)
    this.ended = new Promise((resolve) => {
      child.on('close', (code) => {
        this.#isOver = true
        this.#changed()
        resolve(code)
      })
    })
    onTestFinished(async () => {
      // The end of its input is the terminal's hangup.
      child.stdin.destroy()
      child.kill()
      await this.ended
      rmSync(this.folder, { recursive: true })
    })
  }

  /** Everything that was written. */
  get text(): string {
    return this.#text
  }

  get history(): string {
    return join(this.folder, 'ormuco-cache', 'history')
  }

  type(text: string): void {
    this.#type(text)
  }

  /** Waits for text that was not waited for before; fails with all there is if it does not come. */
  async shows(text: string): Promise<void> {
    const deadline = AbortSignal.timeout(SHOWN_WITHIN_MS)
    deadline.addEventListener('abort', () => this.#changed())
    for (;;) {
      const at = this.#unseen.indexOf(text)
      if (at >= 0) {
        this.#unseen = this.#unseen.slice(at + text.length)
        return
      }
      if (this.#isOver || deadline.aborted)
        throw new Error(`no ${JSON.stringify(text)}: ${JSON.stringify(this.#text)}`)
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  /** Types a line and waits for what it shows, and for the prompt. */
  async says(line: string, reply: string, prompt: string): Promise<void> {
    this.type(`${line}\r`)
    await this.shows(`${line}\n`)
    await this.shows(reply)
    await this.shows(prompt)
  }
}

async function startServer(port = 0): Promise<{ server: Program; port: number }> {
  const server = startProgram('start-server.ts', ['-p', String(port)])
  return { server, port: await server.port() }
}

describe.skipIf(onTerminal === undefined)('on a terminal', () => {
  test('colours, values, completion, history, questions, Ctrl-C and Ctrl-D', async () => {
    const { port } = await startServer()
    const shell = new TerminalProgram(port)
    const prompt = `\x1b[1mlocalhost:${port}>\x1b[0m `
    await shell.shows(prompt)
    await shell.says('set my-key [1,2,3] EX 60', '\x1b[32mOK\x1b[0m\n', prompt)
    await shell.says('get nothing', '\x1b[33m(miss)\x1b[0m\n', prompt)
    await shell.says(
      'gte a',
      '\x1b[31m(error)\x1b[0m USAGE unknown command "gte"; did you mean get?\n',
      prompt,
    )
    await shell.says('set wide "世界 😀 é"', 'OK', prompt)
    await shell.says('get wide', '"世界 😀 é"', prompt)
    await shell.says('stats cache', '\x1b[36mcache\x1b[0m\n  \x1b[2mhits', prompt)

    shell.type('ge')
    await shell.shows('ge')
    shell.type('\t')
    await shell.shows('t ')
    shell.type('my')
    await shell.shows('my')
    shell.type('\t')
    await shell.shows('-key ')
    shell.type('\r')
    await shell.shows('[\x1b[33m1\x1b[0m,\x1b[33m2\x1b[0m,\x1b[33m3\x1b[0m]')
    await shell.shows(prompt)

    shell.type('clear\r')
    await shell.shows(`Delete everything on localhost:${port}? [y/N] `)
    shell.type('n\r')
    await shell.shows('(not cleared)')
    await shell.shows(prompt)
    await shell.says('AUTH my-password', 'nothing was sent', prompt)

    shell.type('half a line')
    await shell.shows('half a line')
    shell.type(CTRL_C)
    shell.type(UP)
    await shell.shows('clear')
    shell.type(CTRL_C)
    await shell.shows(prompt)
    shell.type(CTRL_D)
    expect(await shell.ended).toBe(0)
    expect((statSync(shell.history).mode & 0o777).toString(8)).toBe('600')
    const kept = readFileSync(shell.history, 'utf8')
    expect(kept).toContain('set my-key [1,2,3] EX 60\n')
    expect(kept).not.toContain('password')
  })

  test('a server that hangs, dies, and comes back', async () => {
    const { server, port } = await startServer()
    const shell = new TerminalProgram(port, { NO_COLOR: '1' })
    const prompt = `localhost:${port}> `
    const lonely = `localhost:${port} (not connected)> `
    await shell.shows(prompt)
    await shell.says('set a 1', 'OK\n', prompt)

    server.process.kill('SIGSTOP')
    shell.type('get a\r')
    await shell.shows('get a\n')
    shell.type(CTRL_C)
    await shell.shows('(error) INTERRUPTED stopped')
    await shell.shows(prompt)

    shell.type('get half')
    await shell.shows('get half')
    server.process.kill('SIGKILL')
    await shell.shows(`${lonely}get half`)
    shell.type('\r')
    await shell.shows('(error) CACHE_UNAVAILABLE')
    await shell.shows(lonely)

    await startServer(port)
    await shell.shows(prompt)
    await shell.says('get a', '(miss)', prompt)
    await shell.says('quit', '', '')
    expect(await shell.ended).toBe(0)
    expect(shell.text).not.toMatch(COLOR)
  })

  test('begins without a server, and goes on without a place for its history', async () => {
    const shell = new TerminalProgram(1, { XDG_STATE_HOME: '/dev/null' })
    await shell.shows('\x1b[31m(error)\x1b[0m CACHE_UNAVAILABLE localhost:1: ')
    await shell.shows('(no history: ')
    await shell.shows('localhost:1 (not connected)>')
    shell.type(CTRL_D)
    expect(await shell.ended).toBe(0)
  })
})
