// Child processes of the benchmark: pinned to a core, bounded in time, and ended by their id whatever happens.
// Nothing else in the benchmark spawns. Invariant: a child that was started is in `living` until it has exited, and
// leaving this process, by Ctrl-C too, kills what is there.

import { type ChildProcess, spawn } from 'node:child_process'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const STOP_GRACE_MS = 5_000
const START_TIMEOUT_MS = 20_000
const ERROR_TEXT_MAX = 2_000

const living = new Set<ChildProcess>()

/** What to run. It runs in the system's folder for temporary files, so that no `.env` reaches it. */
export interface Command {
  command: string
  args: readonly string[]
  /** Undefined: not pinned. */
  core?: number | undefined
  env?: Record<string, string>
  /** With a channel for messages, as `fork` has it. */
  hasChannel?: boolean
}

/** A server under measurement. */
export interface RunningServer {
  pid: number
  port: number
  /** Ends it and waits until it has exited. */
  stop(): Promise<void>
}

/** Kills all children when this process ends. To be called once. */
export function endChildrenWithThisProcess(): void {
  process.on('exit', () => {
    for (const child of living) child.kill('SIGKILL')
  })
  process.on('SIGINT', () => process.exit(130))
  process.on('SIGTERM', () => process.exit(143))
  process.on('SIGHUP', () => process.exit(129))
}

/** Starts a server on a port of ours, ready when it accepts connections. */
export async function startOnPort(name: string, run: (port: number) => Command): Promise<RunningServer> {
  const port = await freePort()
  const { child, errorText } = start(run(port))
  child.stdout?.resume()
  const until = performance.now() + START_TIMEOUT_MS
  while (!(await accepts(port))) {
    if (child.exitCode !== null || child.signalCode !== null || performance.now() > until) {
      await end(child)
      throw new Error(`${name} did not start: ${errorText()}`)
    }
    await delay(50)
  }
  return { pid: idOf(child), port, stop: () => end(child) }
}

/** Starts a server that prints a line with its port; `onErrorLine` gets what it writes to standard error. */
export async function startAnnounced(
  name: string,
  command: Command,
  announcement: RegExp,
  onErrorLine: (line: string) => void = () => {},
): Promise<RunningServer & { announced: RegExpExecArray; child: ChildProcess }> {
  const { child, errorText } = start(command, onErrorLine)
  let timer: NodeJS.Timeout | undefined
  const announced = await new Promise<RegExpExecArray | undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), START_TIMEOUT_MS)
    let text = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      if (text.length > ERROR_TEXT_MAX) return
      text += chunk
      const match = announcement.exec(text)
      if (match !== null) resolve(match)
    })
    child.once('close', () => resolve(undefined))
  })
  clearTimeout(timer)
  if (announced === undefined) {
    await end(child)
    throw new Error(`${name} did not start: ${errorText()}`)
  }
  return { pid: idOf(child), port: Number(announced[1]), stop: () => end(child), announced, child }
}

/** Runs a process to its end and returns its standard output; rejects on failure, and kills it after `timeoutMs`. */
export async function runToEnd(command: Command, timeoutMs: number): Promise<string> {
  const { child, errorText } = start(command)
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  let output = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  clearTimeout(timer)
  if (code === 0) return output
  const what = code === null ? `was ended after ${timeoutMs} ms at the most` : `exited with ${code}`
  throw new Error(`${basename(command.args[0] ?? command.command)} ${what}: ${errorText()}`)
}

/** Starts a process of which nothing is awaited; its standard output is for whoever starts it to read. */
export function start(
  { command, args, core, env, hasChannel = false }: Command,
  onErrorLine: (line: string) => void = () => {},
): { child: ChildProcess; errorText: () => string } {
  const { PATH } = process.env
  const words = core === undefined ? [command, ...args] : ['taskset', '-c', `${core}`, command, ...args]
  const child = spawn(words[0] ?? command, words.slice(1), {
    cwd: tmpdir(),
    env: { ...(PATH === undefined ? {} : { PATH }), LANG: 'C', ...env },
    stdio: hasChannel ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
  })
  living.add(child)
  let errorText = ''
  child.once('error', (error) => {
    errorText += error.message
    living.delete(child)
  })
  child.once('exit', () => living.delete(child))
  let rest = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    errorText = (errorText + chunk).slice(-ERROR_TEXT_MAX)
    const lines = (rest + chunk).split('\n')
    rest = (lines.pop() ?? '').slice(-ERROR_TEXT_MAX)
    for (const line of lines) onErrorLine(line)
  })
  return { child, errorText: () => errorText.trim() || 'it said nothing' }
}

/** Asks it to end, then kills it; resolves when it is gone. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS)
  await exited
  clearTimeout(timer)
}

function idOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('a child process without an id')
  return child.pid
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(address !== null && typeof address === 'object' ? address.port : 0))
    })
  })
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
