// A shell for tests: over the in-memory transport to a server of the test's own, or over any other dial; what it
// writes is kept. Its connection is closed when the test ends.

import { onTestFinished } from 'vitest'
import { Shell } from '../../bin/shell.ts'
import { ShellConnection } from '../../bin/shell-connection.ts'
import { ArgumentInput, LineInput } from '../../bin/shell-input.ts'
import { exitOf, type Outcome } from '../../bin/shell-outcome.ts'
import type { Style } from '../../bin/shell-render.ts'
import { Trace } from '../../bin/shell-trace.ts'
import type { CredentialsSource } from '../../protocol/authentication.ts'
import type { Dial } from '../../protocol/link.ts'
import { memoryTransports } from '../../protocol/transport.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'

export interface TestShellOptions {
  style?: Partial<Style>
  timeoutMs?: number
  serverCount?: number
  server?: () => string
  trace?: boolean
  confirm?: (question: string) => Promise<boolean>
  askPassword?: (question: string) => Promise<string | undefined>
  credentials?: CredentialsSource
  onStateChange?: () => void
}

export interface Ran {
  outcome: Outcome
  /** What was written for it, errors included. */
  text: string
  exit: number
}

/** Reaches a server within this process. */
export function dialMemory(server: OrmucoCacheServer): Dial {
  return (onTransport) => {
    let isGivenUp = false
    queueMicrotask(() => {
      if (isGivenUp) return
      const [ours, theirs] = memoryTransports()
      server.serve(theirs)
      onTransport(ours)
    })
    return () => {
      isGivenUp = true
    }
  }
}

/** Reaches nobody. */
export const dialRefused: Dial = (_, onFailure) => {
  queueMicrotask(() => onFailure(new Error('connect ECONNREFUSED')))
  return () => {}
}

export class TestShell {
  readonly connection: ShellConnection
  readonly shell: Shell
  /** All that was written to the output, and of errors. */
  output = ''
  errors = ''
  traced = ''

  constructor(dial: Dial, options: TestShellOptions = {}) {
    const { timeoutMs = 5000, serverCount = 1, server = () => 'cache:11142' } = options
    const style: Style = { form: 'plain', color: false, columns: 80, ...options.style }
    const trace = new Trace(options.trace === true, (text) => {
      this.traced += text
    })
    this.connection = new ShellConnection({
      dial,
      server,
      serverCount,
      credentials: options.credentials,
      timeoutMs,
      tap: trace,
      onStateChange: options.onStateChange ?? (() => {}),
    })
    this.shell = new Shell({
      connection: this.connection,
      trace,
      timeoutMs,
      style: () => style,
      write: async (text) => {
        this.output += text
      },
      writeError: async (text) => {
        this.errors += text
      },
      confirm: options.confirm,
      askPassword: options.askPassword,
    })
    onTestFinished(() => this.connection.close())
  }

  /** Runs a line, or arguments, to its end. */
  async run(line: string | readonly string[], signal = new AbortController().signal): Promise<Ran> {
    const before = this.output.length
    const errorsBefore = this.errors.length
    const input = typeof line === 'string' ? new LineInput(line) : new ArgumentInput(line)
    const outcome = await this.shell.run(input, signal)
    const text = this.output.slice(before) + this.errors.slice(errorsBefore)
    return { outcome, text, exit: exitOf(outcome) }
  }

  /** Only what a line writes. */
  async says(line: string | readonly string[]): Promise<string> {
    return (await this.run(line)).text
  }
}
