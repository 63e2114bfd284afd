// How a command of the shell ends: what there is to show, and which exit code that means. Between the commands, which
// make outcomes, and the renderer; nobody looks at texts to find out what happened.

import { CacheError, type CacheErrorCode } from '../protocol/errors.ts'
import { UsageError } from './shell-input.ts'
import type { Column } from './shell-table.ts'

export const ShellExit = {
  Done: 0,
  /** A miss, or a condition that was not met. */
  Miss: 1,
  Usage: 2,
  /** Unreachable, or no reply in time. */
  Unreachable: 3,
  Refused: 4,
} as const
export type ShellExit = (typeof ShellExit)[keyof typeof ShellExit]

/** What a command comes to, known at once … */
export type WholeOutcome =
  | { kind: 'ok' }
  /** A write, and how many other servers have it; `wanted`: as many as were asked for, if that is known. */
  | { kind: 'acknowledged'; acks: number; awaited: number; wanted: number }
  /** `shown` stands for it on a terminal. */
  | { kind: 'value'; value: unknown; shown?: string; exit?: ShellExit }
  /** One per key, in their order; undefined for a miss. */
  | { kind: 'values'; keys: readonly string[]; found: readonly ({ value: unknown } | undefined)[] }
  /** Named facts, for reading. */
  | { kind: 'facts'; facts: Readonly<Record<string, unknown>> }
  /** Rows of facts with the same names; `empty` stands for none on a terminal. */
  | {
      kind: 'table'
      rows: readonly Readonly<Record<string, unknown>>[]
      columns: readonly Column[]
      empty: string
    }
  | { kind: 'text'; text: string }
  /** Frames that came, each with its meaning. */
  | { kind: 'frames'; frames: readonly { bytes: Uint8Array; meaning: string }[]; closed: boolean }
  | { kind: 'miss' }
  /** A condition was not met: what did not happen, and why. */
  | { kind: 'not-done'; label: string; text: string }
  | { kind: 'error'; code: string; text: string; exit: ShellExit }
  | { kind: 'quit' }

/** … or keys as they come; that may throw between pages. */
export type Outcome = WholeOutcome | { kind: 'keys'; pages: AsyncIterable<readonly string[]> }

export function exitOf(outcome: Outcome): ShellExit {
  switch (outcome.kind) {
    case 'miss':
    case 'not-done':
      return ShellExit.Miss
    case 'values':
      return outcome.found.includes(undefined) ? ShellExit.Miss : ShellExit.Done
    case 'acknowledged':
      return outcome.acks < outcome.wanted ? ShellExit.Miss : ShellExit.Done
    case 'value':
      return outcome.exit ?? ShellExit.Done
    case 'error':
      return outcome.exit
    default:
      return ShellExit.Done
  }
}

/** The user stopped a command. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

const UNREACHABLE: ReadonlySet<CacheErrorCode> = new Set([
  'CACHE_TIMEOUT',
  'CACHE_UNAVAILABLE',
  'CACHE_QUEUE_FULL',
  'CACHE_CLOSED',
])

/** The outcome that an error of a command means; an error that only a mistake in this program can be is thrown on. */
export function outcomeOfError(error: unknown): Outcome {
  if (error instanceof CacheError) {
    const exit = UNREACHABLE.has(error.code) ? ShellExit.Unreachable : ShellExit.Refused
    return { kind: 'error', code: error.code, text: error.message, exit }
  }
  if (error instanceof Interrupted)
    return { kind: 'error', code: 'INTERRUPTED', text: error.message, exit: ShellExit.Unreachable }
  if (error instanceof UsageError) return usageOutcome(error.message)
  throw error
}

export function usageOutcome(text: string): Outcome {
  return { kind: 'error', code: 'USAGE', text, exit: ShellExit.Usage }
}
