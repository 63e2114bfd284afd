// A program on a real terminal, a pseudo one, as a person meets it: what is typed goes in, what it shows comes out.
// The terminal is made by `script` of util-linux, or by Python; where neither is there, `hasTerminal` is false, and the
// tests that need one are skipped: they say so themselves.

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'

export const CTRL_C = '\x03'
export const CTRL_D = '\x04'
export const UP = '\x1b[A'

export interface TerminalPlace {
  /** Default: an empty folder of its own. */
  cwd?: string
  /** Added to what a terminal has. */
  env?: Readonly<Record<string, string>>
  /** Width; default 80. */
  columns?: number
}

const SHOWN_WITHIN_MS = 8000

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

export const hasTerminal = onTerminal !== undefined
/** For those who skip. */
export const NO_TERMINAL = 'a pseudo-terminal needs `script` of util-linux, or python3'

/** To be started in a test; hung up when it ends. */
export class TerminalProgram {
  /** Of its own: for its state, and to stand in. */
  readonly folder: string
  readonly ended: Promise<number | null>
  #text = ''
  #unseen = ''
  #isOver = false
  #changed: () => void = () => {}
  readonly #type: (text: string) => void

  /** `command` is one command for sh, without anything in front of it: the terminal becomes it. */
  constructor(command: string, { cwd, env, columns = 80 }: TerminalPlace = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
    const [program, args] = onTerminal?.(`stty cols ${columns} rows 24; exec ${command}`) ?? ['false', []]
    const child = spawn(program, args, {
      cwd: cwd ?? this.folder,
      env: {
        PATH: `${dirname(process.execPath)}${delimiter}${process.env['PATH']}`,
        TERM: 'xterm-256color',
        XDG_STATE_HOME: this.folder,
        SHELL: '/bin/sh',
        ...env,
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

  /** What stands on the screen, if it is high enough: without colours, and without lines that were drawn over. */
  get screen(): string {
    const lines = this.#text.split('\n')
    return lines.map((line) => (line.split('\x1b[0J').at(-1) ?? '').replace(CONTROL_SEQUENCE, '')).join('\n')
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

// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what terminals are controlled with.
const CONTROL_SEQUENCE = /\x1b\[[0-9;?]*[A-Za-z]/g
