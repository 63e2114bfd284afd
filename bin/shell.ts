// The shell: a command in, its outcome shown and given back. Between what was typed, wherever, and the connection;
// knows neither terminals nor the process. Errors of the line, of the server and of the network all become outcomes:
// nothing a user can type, and nothing a server can answer, ends the shell.

import { ServerCalls } from './shell-calls.ts'
import type { AskPassword, Run } from './shell-commands.ts'
import { Deadline, type ShellConnection } from './shell-connection.ts'
import { readCommand } from './shell-dictionary.ts'
import type { CommandFlag, CommandInput } from './shell-input.ts'
import { type Outcome, outcomeOfError } from './shell-outcome.ts'
import { render, type Style } from './shell-render.ts'
import type { Trace } from './shell-trace.ts'

export interface ShellOptions {
  connection: ShellConnection
  trace: Trace
  /** For a command, all in all. */
  timeoutMs: number
  /** Asked anew for each command: a terminal's width changes. */
  style(): Style
  /** Resolve when the text is on its way. */
  write(text: string): Promise<void>
  /** Where an error goes that is not shown as JSON. */
  writeError(text: string): Promise<void>
  /** Whether to go on with what cannot be undone; undefined: nobody can be asked. */
  confirm: ((question: string) => Promise<boolean>) | undefined
  /** Asks for a password without showing it; undefined: nobody can be asked. */
  askPassword: AskPassword | undefined
}

/** A command that was read without fault; may run more than once. */
export interface PreparedCommand {
  run: Run
  flags: ReadonlySet<CommandFlag>
}

export class Shell {
  readonly #options: ShellOptions

  constructor(options: ShellOptions) {
    this.#options = options
  }

  /** Connects, so that there is something to say before the first command; a failure is shown, and not final. */
  async connect(signal: AbortSignal): Promise<Outcome> {
    const { connection, timeoutMs } = this.#options
    const failure = await connection
      .connect(new Deadline(timeoutMs, signal))
      .then(() => undefined, outcomeOfError)
    if (failure !== undefined) await this.#show(failure, this.#options.style())
    return failure ?? { kind: 'ok' }
  }

  /** Reads a command and runs it. */
  async run(input: CommandInput, signal: AbortSignal): Promise<Outcome> {
    const command = await this.prepare(input)
    return 'run' in command ? this.execute(command, signal) : command
  }

  /** Reads a command; one that is wrong is shown as an error, and that outcome given back. */
  async prepare(input: CommandInput): Promise<PreparedCommand | Outcome> {
    try {
      return { run: readCommand(input), flags: input.flags }
    } catch (error) {
      const outcome = outcomeOfError(error)
      await this.#show(outcome, this.#style(input.flags))
      return outcome
    }
  }

  async execute({ run, flags }: PreparedCommand, signal: AbortSignal): Promise<Outcome> {
    const { connection, timeoutMs, trace } = this.#options
    const deadline = new Deadline(timeoutMs, signal)
    const context = {
      calls: new ServerCalls(connection, deadline),
      confirm: this.#confirm(flags, deadline),
      askPassword: inGoodTime(this.#options.askPassword, deadline),
    }
    const style = this.#style(flags)
    const wasTracing = trace.isOn
    trace.isOn ||= flags.has('--trace')
    try {
      const outcome = await run(context)
      await this.#show(outcome, style)
      return outcome
    } catch (error) {
      const outcome = outcomeOfError(error)
      await this.#show(outcome, style)
      return outcome
    } finally {
      trace.isOn = wasTracing
    }
  }

  #style(flags: ReadonlySet<CommandFlag>): Style {
    const style = this.#options.style()
    return flags.has('--json') ? { ...style, form: 'json' } : style
  }

  #confirm(flags: ReadonlySet<CommandFlag>, deadline: Deadline) {
    const { confirm } = this.#options
    return flags.has('-y') || flags.has('--yes') ? undefined : inGoodTime(confirm, deadline)
  }

  async #show(outcome: Outcome, style: Style): Promise<void> {
    const { write, writeError } = this.#options
    const isError = outcome.kind === 'error' && style.form !== 'json'
    for await (const text of render(outcome, style)) await (isError ? writeError(text) : write(text))
  }
}

/** People may take longer than servers: the command's time begins anew when they have answered. */
function inGoodTime<Answer>(
  ask: ((question: string) => Promise<Answer>) | undefined,
  deadline: Deadline,
): ((question: string) => Promise<Answer>) | undefined {
  if (ask === undefined) return undefined
  return async (question) => {
    const answer = await ask(question)
    deadline.renew()
    return answer
  }
}
