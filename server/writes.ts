// What replication does for the commands: the other end of a write, seen from the handlers.
//
// Between keyspace and handlers, which decide and stamp, and the replicator, which knows the other servers. A server
// without others, and a test of sessions alone, use `aloneWrites`.

import type { HybridClock } from './clock.ts'
import type { Slot, Store } from './store/store.ts'

/** Told once: how many other servers have a write. */
export type OnAcks = (count: number) => void

export interface Writes {
  /** Whether a delete must leave a tombstone: somebody else may hold the value, or an older one. */
  readonly mustMark: boolean
  /** Flags of a tombstone that is made now. */
  readonly markerFlags: number
  /** Everything stamped until now is gone, here and everywhere. */
  flush(nowMs: number): void
  /** A value was renewed because it was read. */
  extended(slot: Slot, formerExpiresAtMs: number): void
  /**
   * Waits until `wanted` other servers have the last write, or all of them (ACKS_ALL), at most `timeoutMs`. Calls
   * `done` later, exactly once; returns how many there are to wait for: if 0, it is not called.
   */
  awaitAcks(wanted: number, timeoutMs: number, done: OnAcks): number
}

/** There is no other server. */
export function aloneWrites(store: Store, clock: HybridClock): Writes {
  return {
    mustMark: false,
    markerFlags: 0,
    flush: (nowMs) => store.flush(clock.tick(nowMs)),
    extended: () => {},
    awaitAcks: () => 0,
  }
}
