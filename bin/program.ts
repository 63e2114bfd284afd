// Between a commander Command and the process: runs a command when its module is what Node was started with, and
// turns every way it can end into one line on standard error and an exit code. Knows none of the commands.
// Exit codes are set, not forced, so that what was printed gets out first.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { type Command, CommanderError } from 'commander'

const require = createRequire(import.meta.url)

export const ExitCode = {
  Done: 0,
  /** It could not run, or came to grief. */
  Failed: 1,
  /** A flag, argument or variable is not possible. */
  Usage: 2,
} as const

/** Ends a command with one line on standard error, without a stack, and an exit code. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure'
  readonly exitCode: number

  constructor(exitCode: number, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Runs the command with the process's arguments if the module at `moduleUrl` is the process's entry point. */
export async function runAsProgram(
  moduleUrl: string,
  makeCommand: () => Command | Promise<Command>,
): Promise<void> {
  if (isEntryPoint(moduleUrl)) await runCommand(await makeCommand(), process.argv.slice(2))
}

/** Runs the command; afterwards `process.exitCode` says how it went. Does not throw. */
export async function runCommand(command: Command, args: readonly string[]): Promise<void> {
  try {
    throwOnUsageErrors(command)
    await command.parseAsync(args, { from: 'user' })
  } catch (error) {
    process.exitCode = explain(command.name(), error)
  }
}

function isEntryPoint(moduleUrl: string): boolean {
  const started = process.argv[1]
  if (started === undefined) return false
  try {
    // npm starts commands through symbolic links, and people leave out the file's ending: resolve sees through both.
    return require.resolve(started) === fileURLToPath(moduleUrl)
  } catch {
    return false
  }
}

/** By itself commander prints two lines for a bad option, and exits with the code that means "could not run". */
function throwOnUsageErrors(command: Command): void {
  command.exitOverride().configureOutput({ outputError() {} })
  for (const subcommand of command.commands) throwOnUsageErrors(subcommand)
}

function explain(commandName: string, error: unknown): number {
  if (error instanceof CommandFailure) {
    process.stderr.write(`${commandName}: ${error.message}\n`)
    return error.exitCode
  }
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return ExitCode.Done
    const line = error.message.replace(/^error: /, '').replaceAll('\n', ' ')
    if (error.code !== 'commander.help') process.stderr.write(`${commandName}: ${line}; see --help\n`)
    return ExitCode.Usage
  }
  process.stderr.write(`${commandName}: ${error instanceof Error ? error.stack : String(error)}\n`)
  return ExitCode.Failed
}
