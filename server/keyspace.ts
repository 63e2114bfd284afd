// What the commands mean: find, decide, stamp, put. Between the handlers, which know operands and replies, and the
// store, which knows records. Conditions, counters, default and renewed times to live are decided here, once for both
// stores; every write gets its version from the clock. No I/O; the time of day is set by the session for each chunk.

import { TTL_MS_MAX, VERSION_BYTES } from '../protocol/limits.ts'
import { Condition, ValueFlags } from '../protocol/messages.ts'
import { emptyRange, isUtf8Text, Reader } from '../protocol/reader.ts'
import { viewOf, Writer } from '../protocol/writer.ts'
import type { HybridClock } from './clock.ts'
import { Lookahead } from './lookahead.ts'
import type { Origins } from './origins.ts'
import {
  emptyHead,
  NO_SLOT,
  type RecordHead,
  RecordKind,
  type Slot,
  type Span,
  type Store,
} from './store/store.ts'
import type { Writes } from './writes.ts'

/** The longest integer of MessagePack. */
const NUMBER_BYTES_MAX = 9
/** Any time to live, and no end of it, in ms. */
export const TTL_NONE = 0
/** As TTL operand of a write: the server's default. */
export const TTL_DEFAULT = -1

export const WriteOutcome = { Stored: 0, Conflict: 1, TooLarge: 2, NotInteger: 3, NotUtf8: 4 } as const
export type WriteOutcome = (typeof WriteOutcome)[keyof typeof WriteOutcome]

export interface KeyspaceOptions {
  defaultTtlMs: number
  renewOnHit: boolean
}

export interface KeyspaceCounters {
  hits: number
  misses: number
  sets: number
  deletes: number
  conflicts: number
}

export class Keyspace {
  readonly store: Store
  /** Where sessions announce the requests of a chunk. */
  readonly lookahead: Lookahead
  readonly counters: KeyspaceCounters = { hits: 0, misses: 0, sets: 0, deletes: 0, conflicts: 0 }
  /** Time of day in ms since 1970, for everything until it is set again. */
  nowMs = 0
  /** After INCR and DECR: the new number. */
  number = 0
  /** After DELETE: whether there was a value. */
  existed = false
  /** Head of the record that the last write made, or that a refused condition met (then see `conflictSlot`). */
  readonly written: RecordHead = emptyHead()
  /** After a refused condition: the record that is there, or NO_SLOT. */
  conflictSlot: Slot = NO_SLOT

  readonly #clock: HybridClock
  readonly #options: KeyspaceOptions
  readonly #origins: Origins
  readonly #writes: Writes
  readonly #head: RecordHead = emptyHead()
  readonly #number = new Writer(NUMBER_BYTES_MAX)
  readonly #numberReader = new Reader()
  readonly #value: Span = emptyRange()

  constructor(store: Store, clock: HybridClock, origins: Origins, writes: Writes, options: KeyspaceOptions) {
    this.store = store
    this.lookahead = new Lookahead(store)
    this.#clock = clock
    this.#origins = origins
    this.#writes = writes
    this.#options = options
  }

  /** A value to serve, made the most recently used; NO_SLOT on a miss. */
  get(key: Span): Slot {
    const slot = this.peek(key)
    if (slot === NO_SLOT) this.counters.misses++
    else this.hit(slot)
    return slot
  }

  /** A value that `peek` found is served. */
  hit(slot: Slot): void {
    this.counters.hits++
    this.store.touch(slot)
    if (this.#options.renewOnHit) this.#renew(slot)
  }

  /** A value, without any effect on the LRU order, the expiry or the counters. */
  peek(key: Span): Slot {
    return this.store.findLive(this.lookahead.hash(key), key, this.nowMs)
  }

  /** `ttlMs`: TTL_DEFAULT, TTL_NONE or the time to live. `version`: for Condition.Version, 16 bytes. */
  set(
    key: Span,
    flags: number,
    value: Span,
    ttlMs: number,
    condition: Condition,
    version: Span,
  ): WriteOutcome {
    const hash = this.lookahead.hash(key)
    if (condition !== Condition.None && !this.#holds(hash, key, condition, version)) {
      this.counters.conflicts++
      return WriteOutcome.Conflict
    }
    const head = this.#head
    head.kind = RecordKind.Value
    head.flags = flags
    this.#setLifetime(head, ttlMs)
    return this.#put(hash, this.store.find(hash, key), key, value)
  }

  /**
   * Deletes; afterwards `existed` says whether there was something. Where there are other servers it leaves a tombstone
   * even if there was nothing: this server may have evicted what others still hold.
   */
  delete(key: Span): WriteOutcome {
    const hash = this.lookahead.hash(key)
    const slot = this.store.findLive(hash, key, this.nowMs)
    this.existed = slot !== NO_SLOT
    if (this.existed) this.counters.deletes++
    if (!this.#writes.mustMark) {
      if (this.existed) this.store.forget(slot, 'deleted')
      return WriteOutcome.Stored
    }
    const head = this.#head
    head.kind = RecordKind.Tombstone
    head.flags = this.#writes.markerFlags
    head.expiresAtMs = 0
    head.lifetimeMs = 0
    return this.#stamp(hash, this.store.find(hash, key), key, NO_VALUE)
  }

  /** A new time to live; a new version, since other servers must hear of it. False if there is no such value. */
  touch(key: Span, ttlMs: number): boolean {
    const slot = this.peek(key)
    if (slot === NO_SLOT) return false
    const value = this.#value
    value.length = this.store.valueBytes(slot)
    value.bytes = Buffer.allocUnsafe(value.length)
    value.at = 0
    this.store.copyValue(slot, value.bytes, 0)
    this.store.head(slot, this.#head)
    this.#setLifetime(this.#head, ttlMs)
    return this.#put(this.lookahead.hash(key), slot, key, value) === WriteOutcome.Stored
  }

  /** Adds to the integer there; absent counts as `start`. Keeps the time to live it has; `ttlMs` is for a new one. */
  increment(key: Span, by: number, start: number, ttlMs: number): WriteOutcome {
    const store = this.store
    const slot = this.peek(key)
    const head = this.#head
    let number = start
    if (slot === NO_SLOT) {
      head.kind = RecordKind.Value
      head.flags = ValueFlags.MessagePack
      this.#setLifetime(head, ttlMs)
    } else {
      store.head(slot, head)
      number = this.#numberAt(slot, head)
    }
    this.number = number + by
    if (!Number.isSafeInteger(this.number)) return WriteOutcome.NotInteger
    this.#number.at = 0
    this.#number.int(this.number)
    const value = this.#value
    value.bytes = this.#number.bytes
    value.at = 0
    value.length = this.#number.at
    const hash = this.lookahead.hash(key)
    return this.#put(hash, slot === NO_SLOT ? store.find(hash, key) : slot, key, value)
  }

  /** Everything stamped until now is gone. */
  clear(): void {
    this.#writes.flush(this.nowMs)
  }

  /** Writes a record's version as it stands on the wire: u64 hlc, boot id of its origin. */
  writeVersion(head: RecordHead, target: DataView, at: number): void {
    target.setInt32(at, head.hlc / 2 ** 32)
    target.setInt32(at + 4, head.hlc)
    target.setInt32(at + 8, this.#origins.highWord(head.origin))
    target.setInt32(at + 12, this.#origins.lowWord(head.origin))
  }

  /** Milliseconds a record has left; Infinity = no end. */
  ttlMs(slot: Slot): number {
    const expiresAtMs = this.store.expiresAtMs(slot)
    return expiresAtMs === 0 ? Number.POSITIVE_INFINITY : expiresAtMs - this.nowMs
  }

  #put(hash: number, slot: Slot, key: Span, value: Span): WriteOutcome {
    const outcome = this.#stamp(hash, slot, key, value)
    if (outcome === WriteOutcome.Stored) this.counters.sets++
    return outcome
  }

  #stamp(hash: number, slot: Slot, key: Span, value: Span): WriteOutcome {
    // Only a new key can be anything but text: what is found was checked when it came.
    if (slot === NO_SLOT && !isUtf8Text(key)) return WriteOutcome.NotUtf8
    const head = this.#head
    head.hlc = this.#clock.tick(this.nowMs)
    head.origin = this.#origins.self
    if (this.store.put(hash, slot, key, value, head, this.nowMs) === NO_SLOT) return WriteOutcome.TooLarge
    this.written.hlc = head.hlc
    this.written.origin = head.origin
    return WriteOutcome.Stored
  }

  #setLifetime(head: RecordHead, ttlMs: number): void {
    const lifetimeMs = ttlMs === TTL_DEFAULT ? this.#options.defaultTtlMs : ttlMs
    head.lifetimeMs = lifetimeMs
    head.expiresAtMs = lifetimeMs === TTL_NONE ? 0 : this.nowMs + lifetimeMs
  }

  #renew(slot: Slot): void {
    const former = this.store.expiresAtMs(slot)
    if (former === 0) return
    this.store.head(slot, this.#head)
    if (this.#head.lifetimeMs === 0) return
    // Another server may have renewed it by a clock that is ahead of this one's.
    const expiresAtMs = Math.max(former, this.nowMs + this.#head.lifetimeMs)
    if (expiresAtMs === former) return
    this.store.setExpiry(slot, expiresAtMs)
    this.#writes.extended(slot, former)
  }

  #holds(hash: number, key: Span, condition: Condition, version: Span): boolean {
    const slot = this.store.findLive(hash, key, this.nowMs)
    this.conflictSlot = slot
    if (slot === NO_SLOT) return condition === Condition.Absent
    if (condition === Condition.Present) return true
    this.store.head(slot, this.written)
    return condition === Condition.Version && this.#isVersion(version, this.written)
  }

  #isVersion(version: Span, head: RecordHead): boolean {
    this.writeVersion(head, ownVersionView, 0)
    for (let i = 0; i < VERSION_BYTES; i++) if (version.bytes[version.at + i] !== ownVersion[i]) return false
    return true
  }

  /** The number a record holds; NaN if it holds none. */
  #numberAt(slot: Slot, head: RecordHead): number {
    if (head.flags !== ValueFlags.MessagePack || head.valueBytes > NUMBER_BYTES_MAX || head.valueBytes === 0)
      return Number.NaN
    this.store.copyValue(slot, numberBytes, 0)
    return this.#numberReader.number(numberBytes, head.valueBytes)
  }
}

const NO_VALUE: Span = { bytes: new Uint8Array(0), at: 0, length: 0 }
const ownVersion = new Uint8Array(VERSION_BYTES)
const ownVersionView = viewOf(ownVersion)
const numberBytes = new Uint8Array(NUMBER_BYTES_MAX)

/** Whether an integer is a possible time to live. */
export function isTtl(ttlMs: number): boolean {
  return ttlMs >= 0 && ttlMs <= TTL_MS_MAX
}
