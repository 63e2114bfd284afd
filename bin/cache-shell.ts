#!/usr/bin/env node
// cache-shell: talk to a server by hand, or from a script. Puts the shell together with what it stands in: a terminal,
// a pipe, or the arguments of one command; and with the process: its streams, its environment, its exit code.
//
// Exit codes: 0 done, 1 a miss or a condition that was not met, 2 usage, 3 unreachable or timed out, 4 refused. The last
// of a command that is repeated counts, and the highest of the lines of a pipe; a terminal ends with 0.

import { createInterface } from 'node:readline'
import type { Writable } from 'node:stream'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { Access } from '../client/access.ts'
import { dialTcp, type ServerAddress } from '../client/dial.ts'
import { DEFAULT_PORT } from '../protocol/limits.ts'
import { duration, hostPort } from '../protocol/notation.ts'
import { PACKAGE_VERSION } from '../protocol/version.ts'
import { type AccessFlags, accessBy, accessOptions } from './access-flags.ts'
import { askPassword } from './password.ts'
import { CommandFailure, runAsProgram } from './program.ts'
import { Shell } from './shell.ts'
import type { AskPassword } from './shell-commands.ts'
import { completer } from './shell-completion.ts'
import { ShellConnection } from './shell-connection.ts'
import { History, historyPath } from './shell-history.ts'
import { ArgumentInput, LineInput } from './shell-input.ts'
import { ShellExit } from './shell-outcome.ts'
import type { Style } from './shell-render.ts'
import { runLines, runRepeatedly } from './shell-script.ts'
import { type ServerFlags, shellServers } from './shell-servers.ts'
import { Terminal } from './shell-terminal.ts'
import { Trace } from './shell-trace.ts'

/** Long enough for three round trips around the world and a lost packet. */
const TIMEOUT_MS_DEFAULT = 5000
const COLUMNS_DEFAULT = 80

interface Flags extends ServerFlags, AccessFlags {
  repeat?: number
  interval: number
  timeout: number
  json?: true
  trace?: true
  yes?: true
}

/** The command, to be mounted or run by itself. `-h` is the host, as in redis-cli. */
export function shellCommand(): Command {
  const command = new Command('cache-shell')
    .description('Talk to a cache server: by hand, from a script, or one command at a time.')
    .helpOption('--help', 'show this help')
    .version(PACKAGE_VERSION)
    .argument('[command...]', 'one command and its operands; left out: a prompt, or lines from a pipe')
    .passThroughOptions()
    .option('-s, --server <host:port>', 'server to talk to, or several with commas (SERVERS)')
    .option('-h, --host <host>', 'its host (SERVER_HOST, default localhost)')
    .option('-p, --port <port>', `its port (SERVER_PORT, default ${DEFAULT_PORT})`, readPort)
    .addOption(
      new Option('-t, --timeout <duration>', 'for a command, all in all')
        .argParser(readTimeout)
        .default(TIMEOUT_MS_DEFAULT, duration.format(TIMEOUT_MS_DEFAULT)),
    )
    .option('-r, --repeat <times>', 'run the command so many times', readTimes)
    .option('-i, --interval <seconds>', 'from the beginning of one time to that of the next', readDuration, 0)
    .option('-y, --yes', 'do not ask before clear')
    .option('--json', 'show every reply as JSON')
    .option('--trace', 'show every frame in hexadecimal, with its meaning')
    .addHelpText('after', AFTER_HELP)
    .action(async (words: string[], flags: Flags) => {
      process.exitCode = await runShell(words, flags)
    })
  for (const option of accessOptions()) command.addOption(option)
  return command
}

const AFTER_HELP = `
cache-shell help lists the commands, cache-shell help set explains one.
Exit codes: 0 done, 1 a miss or a condition not met, 2 usage, 3 unreachable or timed out, 4 refused.

  cache-shell set my-key '[1,2,3]' EX 60
  cache-shell -r 6 -i 1 get my-key
  echo 'get my-key' | cache-shell --json`

async function runShell(words: readonly string[], flags: Flags): Promise<ShellExit> {
  const { stdin, stdout } = process
  const servers = shellServers(flags, process.env)
  // Whoever read the output may have seen enough.
  stdout.on('error', () => process.exit(ShellExit.Done))
  if (words.length === 0 && flags.repeat !== undefined)
    throw new CommandFailure(
      ShellExit.Usage,
      '--repeat needs a command, such as: cache-shell -r 6 -i 1 get my-key',
    )
  const reach = { servers, ...(await accessBy(flags, process.env, words.length > 0 ? 'nothing' : 'lines')) }
  if (words.length > 0) return runArguments(words, flags, reach)
  if (stdin.isTTY && stdout.isTTY) return runTerminal(flags, reach)
  const { shell, connection } = makeShell(flags, reach, {})
  return runLines(stdin, shell).finally(() => connection.close())
}

/** Where the servers are, who one is there, and how one speaks to them. */
interface Reach extends Access {
  servers: readonly ServerAddress[]
}

async function runArguments(words: readonly string[], flags: Flags, reach: Reach): Promise<ShellExit> {
  const { stdin, stdout, stderr } = process
  const { repeat = 1, interval } = flags
  // An error that is all there is to say is no output; among the replies of several times it has its place.
  const writeError = repeat === 1 ? writerTo(stderr) : writerTo(stdout)
  const confirm = stdin.isTTY && stdout.isTTY ? askOnce : undefined
  const { shell, connection } = makeShell(flags, reach, {
    writeError,
    confirm,
    askPassword: stdin.isTTY ? (question) => askPassword(question) : undefined,
  })
  return runRepeatedly(new ArgumentInput(words), shell, repeat, interval).finally(() => connection.close())
}

async function runTerminal(flags: Flags, reach: Reach): Promise<ShellExit> {
  const { stdin, stdout } = process
  let terminal: Terminal | undefined
  const { shell, connection, style } = makeShell(flags, reach, {
    confirm: async (question) => (await terminal?.confirm(question)) ?? false,
    askPassword: async (question) => terminal?.askPassword(question),
    print: (text) => (terminal === undefined ? stdout.write(text) : terminal.print(text)),
    onStateChange: () => terminal?.setPrompt(promptOf(connection, style())),
  })
  if (!flags.json) stdout.write(`ormuco-cache ${PACKAGE_VERSION}; help lists the commands, quit leaves\n`)
  await shell.connect(NEVER)
  const history = new History(historyPath(process.env))
  if (history.problem !== undefined) stdout.write(`(no history: ${history.problem})\n`)
  terminal = new Terminal({ input: stdin, output: stdout }, history, completer(connection))
  terminal.setPrompt(promptOf(connection, style()))
  await terminal
    .run(async (line, signal) => (await shell.run(new LineInput(line), signal)).kind !== 'quit')
    .finally(() => connection.close())
  return ShellExit.Done
}

const NEVER = new AbortController().signal

interface Surroundings {
  writeError?: (text: string) => Promise<void>
  confirm?: ((question: string) => Promise<boolean>) | undefined
  askPassword?: AskPassword | undefined
  /** Where the trace goes; left out, standard error. */
  print?: (text: string) => void
  onStateChange?: () => void
}

function makeShell(flags: Flags, { servers, credentials, tls }: Reach, surroundings: Surroundings) {
  const { stdout, stderr, env } = process
  const write = writerTo(stdout)
  const { writeError = write, confirm, askPassword, onStateChange = () => {} } = surroundings
  const { print = (text: string) => void stderr.write(text) } = surroundings
  const isTerminal = stdout.isTTY === true
  const color = isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb'
  const style = (): Style => ({
    form: flags.json ? 'json' : isTerminal ? 'terminal' : 'plain',
    color,
    // Some terminals claim to have none.
    columns: stdout.columns > 0 ? stdout.columns : COLUMNS_DEFAULT,
  })
  let server = servers[0] ?? { host: 'localhost', port: DEFAULT_PORT }
  const trace = new Trace(flags.trace === true, print)
  const onServer = (tried: ServerAddress) => {
    server = tried
  }
  const connection = new ShellConnection({
    dial: dialTcp(servers, onServer, tls),
    server: () => hostPort.format(server),
    credentials,
    serverCount: servers.length,
    timeoutMs: flags.timeout,
    tap: trace,
    onStateChange,
  })
  const shell = new Shell({
    connection,
    trace,
    timeoutMs: flags.timeout,
    style,
    write,
    writeError,
    confirm: flags.yes ? undefined : confirm,
    askPassword,
  })
  return { shell, connection, style }
}

function promptOf(connection: ShellConnection, { color }: Style): string {
  const text = connection.isConnected ? connection.server : `${connection.server} (not connected)`
  return color ? `\x1b[1m${text}>\x1b[0m ` : `${text}> `
}

function writerTo(stream: Writable): (text: string) => Promise<void> {
  return (text) => new Promise((resolve) => stream.write(text, () => resolve()))
}

function askOnce(question: string): Promise<boolean> {
  const readline = createInterface({ input: process.stdin, output: process.stdout })
  return new Promise((resolve) => {
    const onClose = () => {
      process.stdout.write('\n')
      resolve(false)
    }
    readline.on('close', onClose)
    readline.question(question, (answer) => {
      readline.off('close', onClose)
      readline.close()
      resolve(/^y(?:es)?$/i.test(answer.trim()))
    })
  })
}

function readPort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port < 1 || port > 65_535) throw new InvalidArgumentError('It takes a whole number from 1 to 65535.')
  return port
}

function readTimes(text: string): number {
  const times = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (times < 1) throw new InvalidArgumentError('It takes a whole number from 1 to 999999999.')
  return times
}

/** In ms. */
function readDuration(text: string): number {
  const ms = duration.parse(text)
  if (ms === undefined || ms > DURATION_MS_MAX)
    throw new InvalidArgumentError(`It takes ${duration.allowed}, at most 24 days.`)
  return ms
}

/** In ms, at least one. */
function readTimeout(text: string): number {
  const ms = readDuration(text)
  if (ms < 1) throw new InvalidArgumentError('It takes at least 1ms.')
  return ms
}

/** What a timer can do. */
const DURATION_MS_MAX = 24 * 24 * 3600 * 1000

await runAsProgram(import.meta.url, shellCommand)
