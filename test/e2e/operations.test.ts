// docs/operations.md, held to what really happens: its commands are typed in its order, at real servers, and what they
// print is compared with what it says they print. Ports are free ones, a second between two readings is a fraction of it,
// and `pgrep` finds no servers but those of this test. What installs, or is for a service manager, is not run: blocks of
// the languages sh and ini. What stands in its tables is for test/operations-tables.test.ts.

import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { makeClone, PATH, readProjectFile, withoutNpm } from '../helpers/clone.ts'
import { allFencedBlocks, type FencedBlock } from '../helpers/markdown.ts'
import { reservePort } from '../helpers/processes.ts'
import { builtProgram, Program } from '../helpers/program.ts'
import { CTRL_C, CTRL_D, hasTerminal, NO_TERMINAL, TerminalProgram } from '../helpers/terminal.ts'
import { alike, commandsIn, likeLine, likeness, linesBehind, scriptOf } from '../helpers/transcripts.ts'
import { until } from '../helpers/waiting.ts'

/** Some fifty processes one after another, on a machine that may be busy. */
const GUIDE_TIMEOUT_MS = 300_000
const SHOWN_WITHIN_MS = 20_000
const COLUMNS = 120
const NOT_RUN = new Set(['sh', 'ini'])
/** In this order in the guide: three servers, and one more. */
const PORTS = ['11142', '11143', '11144', '11145']
const READY = /^Server listens on port/m
const SHELL_PROMPT = /^localhost:\d+> /
const REPEATS = /-r \d+ -i 1 /
/** Asking again changes nothing. */
const READS = /^cache-shell (.* )?(get|stats|peers) /

const openssl = spawnSync('openssl', ['version']).status === 0
if (!hasTerminal) console.log(`skipped: what docs/operations.md shows; ${NO_TERMINAL}`)
else if (!openssl) console.log('skipped: what docs/operations.md shows of openssl, which is not there')

test.skipIf(!hasTerminal)(
  'the guide, from its first command to its last',
  async () => {
    const reader = await Reader.arrive()
    const blocks = allFencedBlocks(readProjectFile('docs/operations.md'))
    for (const block of blocks) await reader.follow(block)
    await reader.stopWatching()
    // The certificate was another one after it was changed.
    expect(new Set(reader.serials).size).toBe(openssl ? 2 : 0)
    expect(blocks.filter(({ language }) => language === 'console').length).toBeGreaterThan(25)
  },
  GUIDE_TIMEOUT_MS,
)

/** A server in a terminal of its own, whose lines are read as far as `read`. */
interface Server {
  name: string
  program: Program
  read: number
}

/** Somebody who does what the guide says, with as many terminals as it takes. */
class Reader {
  /** Of the certificates that it was shown. */
  readonly serials: string[] = []
  readonly #folder: string
  readonly #ports: readonly string[]
  readonly #servers = new Map<string, Server>()
  /** What was exported, and what is not any more: in every terminal. */
  readonly #exports: string[] = []
  #watch: { terminal: TerminalProgram; shown: string } | undefined
  #scripts = 0

  private constructor(folder: string, ports: readonly string[]) {
    this.#folder = folder
    this.#ports = ports
  }

  /** In a clone, with the package installed. */
  static async arrive(): Promise<Reader> {
    const folder = makeClone()
    symlinkSync(inject('builtDir'), join(folder, 'dist'))
    mkdirSync(join(folder, '.bin'))
    for (const name of ['start-server', 'cache-shell', 'ormuco-cache']) {
      const script = `#!/bin/sh\nexec node '${builtProgram(name)}' "$@"\n`
      writeFileSync(join(folder, '.bin', name), script, { mode: 0o755 })
    }
    const ports: string[] = []
    for (const _ of PORTS) ports.push(String(await reservePort()))
    return new Reader(folder, ports)
  }

  async follow({ language, text, lead }: FencedBlock): Promise<void> {
    const here = this.#here(text)
    if (NOT_RUN.has(language)) return
    if (language === 'log') await this.#readLog(/terminal of `(\w+)` shows:\s*$/.exec(lead)?.[1], here)
    else if (language === 'js') writeFileSync(join(this.#folder, /As `([\w.]+)`/.exec(lead)?.[1] ?? ''), here)
    else if (language !== 'console') throw new Error(`a block of ${language}: ${text}`)
    else if (READY.test(here)) await this.#start(here)
    else if (REPEATS.test(here)) await this.#startWatching(here)
    else if (here.split('\n').some((line) => SHELL_PROMPT.test(line))) await this.#converse(here)
    else await this.#run(here)
  }

  /** Whoever was reading all the time has read the same all the time, and still does. */
  async stopWatching(): Promise<void> {
    if (this.#watch === undefined) return
    const { terminal, shown } = this.#watch
    this.#watch = undefined
    const linesOf = (screen: string) => screen.slice(0, screen.lastIndexOf('\n')).split('\n')
    const before = linesOf(terminal.screen).length
    await until(
      'it goes on reading',
      () => linesOf(terminal.screen).length,
      (lines) => lines > before,
    )
    expect([...new Set(linesOf(terminal.screen))]).toEqual([...new Set(linesOf(shown))])
    terminal.type(CTRL_C)
    await terminal.ended
  }

  /** With the ports that there are, and without what is not on this machine. */
  #here(text: string): string {
    const here = PORTS.reduce(
      (written, port, index) => written.replaceAll(port, this.#ports[index] ?? ''),
      text,
    )
    return openssl ? here : here.replace(/^\$ openssl .*\nserial=.*\n/gm, '')
  }

  async #start(transcript: string): Promise<void> {
    const [command = ''] = commandsIn(transcript)
    const name = /--node-id (\S+)/.exec(command)?.[1] ?? command
    await this.#servers.get(name)?.program.ended
    // A terminal shows both outputs; a shell in between would get the signals that are for the server.
    const direct = command
      .replace(/^\((.*); (start-server .*)\)$/, '$1; exec $2')
      .replace(/^start-server/, 'exec $&')
    const child = spawn('sh', ['-c', `${direct} 2>&1`], {
      cwd: this.#folder,
      env: { PATH: this.#path, CACHE_LOG_FORMAT: 'pretty' },
    })
    const program = new Program(child)
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await program.ended
    })
    const server = { name, program, read: 0 }
    this.#servers.set(name, server)
    await this.#reads(server, linesBehind(transcript, command))
  }

  async #readLog(region: string | undefined, transcript: string): Promise<void> {
    const server = this.#servers.get(`cache-${region}`)
    if (server === undefined) throw new Error(`no server in ${region}: ${transcript}`)
    await this.#reads(server, transcript.trimEnd().split('\n'))
  }

  /** These lines come in this order; others may stand between them. */
  async #reads(server: Server, wanted: readonly string[]): Promise<void> {
    for (const line of wanted)
      server.read = await until(
        `${server.name} shows ${line}`,
        () => {
          const lines = alike(server.program.stdout).split('\n')
          const at = lines.findIndex(
            (candidate, index) => index >= server.read && likeLine(line).test(candidate),
          )
          if (at < 0) throw new Error(lines.slice(server.read).join('\n'))
          return at + 1
        },
        () => true,
        SHOWN_WITHIN_MS,
      )
  }

  async #startWatching(transcript: string): Promise<void> {
    await this.stopWatching()
    const commands = commandsIn(transcript)
    const command = (commands.pop() ?? '').replace(REPEATS, '-r 100000 -i 0.02 ')
    for (const line of commands) this.#export(line)
    const shown = transcript.slice(transcript.indexOf('\n', transcript.lastIndexOf('\n$ ') + 1) + 1)
    const terminal = this.#terminal(command)
    await terminal.shows(shown)
    this.#watch = { terminal, shown }
  }

  async #converse(transcript: string): Promise<void> {
    await this.#meshed()
    const [command = ''] = commandsIn(transcript)
    const [prompt = ''] = /^localhost:\d+> /m.exec(transcript) ?? []
    const lines = transcript.split('\n').filter((line) => line.startsWith(prompt))
    const typed = lines.map((line) => line.slice(prompt.length))
    const expected = `${[...linesBehind(transcript, command), prompt].join('\n')}\n`
    const isRead = typed.every((line) => READS.test(`cache-shell ${line} `))
    await this.#until(expected, isRead, () => this.#screenOf(command, prompt, typed))
  }

  /** Types lines at a prompt of the shell, and before them the password where it is asked for. */
  async #screenOf(command: string, prompt: string, typed: readonly string[]): Promise<string> {
    const shell = this.#terminal(command)
    const [, name] = /--user (\w+)/.exec(command) ?? []
    if (name !== undefined) {
      await shell.shows(`Password for ${name}: `)
      shell.type(`${readFileSync(join(this.#folder, 'passwords', name), 'utf8').trim()}\r`)
    }
    await shell.shows(prompt)
    for (const line of typed) await shell.says(line, '\n', prompt)
    shell.type(CTRL_D)
    expect(await shell.ended).toBe(0)
    return shell.screen
  }

  async #run(transcript: string): Promise<void> {
    const commands = commandsIn(transcript)
    if (commands.some((command) => /\bcache-shell\b/.test(command))) await this.#meshed()
    const isRead = commands.every((command) => READS.test(`${command} `))
    const screen = await this.#until(transcript, isRead, async () => {
      const terminal = this.#terminal(scriptOf(commands, (command) => this.#asRun(command)))
      await terminal.ended
      return terminal.screen
    })
    for (const [serial] of screen.matchAll(/^serial=.*/gm)) this.serials.push(serial)
    for (const command of commands) this.#export(command)
  }

  /** What is shown; again and again, where it is only asked for and takes its time to become as expected. */
  async #until(expected: string, isRead: boolean, show: () => Promise<string>): Promise<string> {
    const deadlineMs = performance.now() + (isRead ? SHOWN_WITHIN_MS : 0)
    for (;;) {
      const screen = await show()
      const isAsExpected = likeness(expected).test(alike(screen))
      // To see where they differ.
      if (!isAsExpected && performance.now() >= deadlineMs) expect(alike(screen)).toBe(alike(expected))
      if (isAsExpected) return screen
    }
  }

  #export(command: string): void {
    if (/^(export|unset) /.test(command)) this.#exports.push(command)
  }

  /** All servers that run are linked with each other. */
  async #meshed(): Promise<void> {
    const servers = [...this.#servers.values()].filter(
      ({ program, name }) => isRunning(program) && /^cache-/.test(name),
    )
    for (const { name, program } of servers)
      for (const other of servers)
        if (other.name !== name)
          await program.says('stdout', new RegExp(`peer connected peer=${other.name} `))
  }

  #terminal(script: string): TerminalProgram {
    const path = join(this.#folder, `.script-${this.#scripts++}`)
    writeFileSync(path, `${this.#exports.join('\n')}\n${script}\n`)
    const env = { NO_COLOR: '1', PATH: this.#path }
    return new TerminalProgram(`sh ${path}`, { cwd: this.#folder, env, columns: COLUMNS })
  }

  /** Signals are for the servers of this test alone, whatever else runs here. */
  #asRun(command: string): string {
    return withoutNpm(command).replace(/\$\(pgrep -f "node-id ([\w-]+)"\)/g, (_, name: string) => {
      const found = [...this.#servers.values()].filter((server) => server.name.startsWith(name))
      return found.map(({ program }) => program.process.pid).join(' ')
    })
  }

  get #path(): string {
    return `${join(this.#folder, '.bin')}${delimiter}${PATH}`
  }
}

function isRunning({ process: { exitCode, signalCode } }: Program): boolean {
  return exitCode === null && signalCode === null
}
