// Write concern, as operands: how many other servers should have a write before it is answered, and how long the server
// may wait for them.

import { ACKS_ALL, ACKS_TIMEOUT_MS_MAX, MEMBERS_MAX } from '../protocol/limits.ts'
import type { Writer } from '../protocol/writer.ts'

/** How many other servers; 'all': all that the server knows. */
export type AcksWanted = number | 'all'

/**
 * What the server gives up earlier than the call does, in ms: its answer, which says how many there were, must still
 * come in time. It looks at the clock every 50 ms, and the way takes a while; but never more than half of the time.
 */
const MARGIN_MS = 100

/** The operand; 0 for a write that does not wait. Throws RangeError. */
export function acksOf(wanted: AcksWanted | undefined): number {
  if (wanted === undefined) return 0
  if (wanted === 'all') return ACKS_ALL
  if (Number.isInteger(wanted) && wanted >= 0 && wanted <= MEMBERS_MAX) return wanted
  throw new RangeError(
    `acks: ${String(wanted)} is not possible; allowed: a whole number from 0 to ${MEMBERS_MAX}, or 'all'`,
  )
}

/** How long a server may wait for others, in ms, when the call has `leftMs` in all. */
export function acksTimeoutMs(leftMs: number): number {
  const waitMs = Math.floor(Math.max(leftMs - MARGIN_MS, leftMs / 2))
  return Math.min(Math.max(waitMs, 1), ACKS_TIMEOUT_MS_MAX)
}

/** Writes both operands; the caller has reserved 16 bytes. */
export function writeAcks(writer: Writer, acks: number, leftMs: number): void {
  writer.int(acks)
  writer.int(acksTimeoutMs(leftMs))
}
