// The default store: records in arena memory, outside the JavaScript heap, so that neither garbage collection nor V8's
// limits feel them.
//
// Between the handlers and arena memory: the policy. What a record looks like is told by arena-record.ts; an address of
// arena memory is its slot. Room for n bytes is made by removing about n bytes of what is due, then of what was used
// least recently, whatever their sizes: if the freed pieces lie apart, the new record is a chain of them, so that no
// class of sizes ever owns memory.
//
// Invariant: a record stands in its index bucket, in one list (arena-lists.ts), in the change log at its sequence
// number, and in the expiry wheel iff it has an expiry. charged bytes ≤ bytesMax after every call.

import { ArenaIndex } from './arena-index.ts'
import type { ArenaList } from './arena-list.ts'
import { ArenaLists } from './arena-lists.ts'
import { ArenaMemory, SEGMENT_MASK, SEGMENT_UNITS_LOG2 } from './arena-memory.ts'
import {
  FLAGS_SHIFT,
  HASH,
  KIND_MASK,
  keyBytesOf,
  NEXT_IN_BUCKET,
  TIMED,
  VALUE_BYTES,
} from './arena-record.ts'
import { ArenaRecords } from './arena-records.ts'
import { ArenaWarmer } from './arena-warm.ts'
import { ChangeLog } from './change-log.ts'
import { chargeOf, TIMED_CHARGE_BYTES, timedBytesOf } from './charge.ts'
import { ExpiryWheel } from './expiry.ts'
import { KeyedHash } from './siphash.ts'
import {
  forgetFreely,
  NO_SLOT,
  type RecordHead,
  RecordKind,
  type Removal,
  type Retention,
  type Slot,
  type Span,
  type Store,
  type StoreOptions,
  type StoreStats,
} from './store.ts'

/** Records a write that needs room purges at a time, after a flush. */
const PURGE_STEP = 16

export class ArenaStore implements Store {
  retention: Retention = forgetFreely

  readonly #entriesMax: number
  readonly #bytesMax: number
  readonly #hash: KeyedHash
  readonly #memory: ArenaMemory
  readonly #records: ArenaRecords
  readonly #index: ArenaIndex
  readonly #warmer: ArenaWarmer
  readonly #lists: ArenaLists
  /** Of #lists. */
  readonly #values: ArenaList
  readonly #log = new ChangeLog()
  readonly #wheel: ExpiryWheel

  #evictions = 0
  #expirations = 0

  /** What is stamped at or below it was flushed. */
  #watermark = -1
  /** The highest hlc ever put: a watermark at or above it leaves nothing. */
  #hlcMax = -1
  /** Flushed records may be there still: they are invisible. */
  #purging = false
  /** Where the purge has come to in the change log, and where it ends. */
  #purgedSeq = 0
  #purgeEndSeq = 0

  constructor(options: StoreOptions) {
    this.#entriesMax = options.entriesMax
    this.#bytesMax = options.bytesMax
    this.#hash = new KeyedHash(options.hashKey)
    this.#memory = new ArenaMemory(options.bytesMax)
    const records = new ArenaRecords(this.#memory)
    this.#records = records
    this.#index = new ArenaIndex(this.#memory)
    this.#warmer = new ArenaWarmer(this.#memory, this.#index)
    this.#lists = new ArenaLists(this.#memory, records)
    this.#values = this.#lists.values
    this.#wheel = new ExpiryWheel(records)
  }

  hash(key: Span): number {
    return this.#hash.hash(key.bytes, key.at, key.length, key.view)
  }

  warm(hashes: Int32Array, count: number): void {
    this.#warmer.warm(hashes, count)
  }

  find(hash: number, key: Span): Slot {
    const slot = this.#lookUp(hash, key)
    return slot !== NO_SLOT && this.#isFlushed(slot) ? NO_SLOT : slot
  }

  findLive(hash: number, key: Span, nowMs: number): Slot {
    const slot = this.find(hash, key)
    if (slot === NO_SLOT) return NO_SLOT
    const word0 = this.#records.word(slot, 0)
    // The usual record: a value without expiry.
    if ((word0 & (KIND_MASK | TIMED)) === 0) return slot
    if ((word0 & KIND_MASK) !== 0) return NO_SLOT
    const expiresAtMs = this.#records.expiresAtMs(slot)
    if (expiresAtMs === 0 || expiresAtMs > nowMs) return slot
    this.#letGo(slot, 'expired')
    return NO_SLOT
  }

  touch(slot: Slot): void {
    if (this.#values.newest === slot) return
    this.#values.remove(slot)
    this.#values.addNewest(slot)
  }

  head(slot: Slot, into: RecordHead): void {
    this.#records.head(slot, into)
  }

  kind(slot: Slot): RecordKind {
    return this.#records.kind(slot)
  }

  flags(slot: Slot): number {
    return (this.#records.word(slot, 0) >>> FLAGS_SHIFT) & 0xff
  }

  valueBytes(slot: Slot): number {
    return this.#records.word(slot, VALUE_BYTES)
  }

  keyBytes(slot: Slot): number {
    return keyBytesOf(this.#records.word(slot, 0))
  }

  expiresAtMs(slot: Slot): number {
    return this.#records.expiresAtMs(slot)
  }

  copyValue(slot: Slot, target: Uint8Array, at: number, view?: DataView): void {
    this.#records.copyValue(slot, target, at, view)
  }

  copyKey(slot: Slot, target: Uint8Array, at: number): void {
    this.#records.copyKey(slot, target, at)
  }

  put(hash: number, slot: Slot, key: Span, value: Span, head: RecordHead, nowMs: number): Slot {
    if (head.hlc <= this.#watermark)
      throw new RangeError(`put: hlc ${head.hlc} is not above the watermark ${this.#watermark}`)
    const records = this.#records
    const timing = head.expiresAtMs === 0 && head.lifetimeMs === 0 ? 0 : TIMED
    const payloadBytes = key.length + value.length
    if (slot !== NO_SLOT && this.#staysInPlace(slot, timing, payloadBytes, head)) {
      this.#overwrite(slot, value, head, nowMs)
      return slot
    }
    const charge = chargeOf(key.length, value.length, timedBytesOf(head.expiresAtMs, head.lifetimeMs))
    if (!this.#canMakeRoom(charge, slot)) return NO_SLOT
    // What was flushed under this key hides from find, and must not stand in the index twice.
    const former = slot === NO_SLOT && this.#purging ? this.#lookUp(hash, key) : slot
    if (former !== NO_SLOT) this.#remove(former)
    const made = this.#makeRoom(charge, timing, payloadBytes, head.kind, nowMs)
    if (made === NO_SLOT) return NO_SLOT
    this.#index.insert(hash, made)
    records.write(made, hash, key, value, head)
    records.setSeq(made, this.#log.append(made))
    if (head.hlc > this.#hlcMax) this.#hlcMax = head.hlc
    if (head.expiresAtMs !== 0) this.#wheel.add(made, nowMs)
    this.#lists.enter(made)
    return made
  }

  setExpiry(slot: Slot, expiresAtMs: number): void {
    if (this.#records.expiresAtMs(slot) !== 0) this.#wheel.remove(slot)
    this.#records.setExpiresAtMs(slot, expiresAtMs)
    if (expiresAtMs !== 0) this.#wheel.add(slot)
  }

  strip(slot: Slot, kind: typeof RecordKind.Ghost | typeof RecordKind.Tombstone, flags?: number): void {
    const records = this.#records
    this.#lists.leave(slot)
    if (records.expiresAtMs(slot) !== 0) {
      this.#wheel.remove(slot)
      records.setExpiresAtMs(slot, 0)
    }
    records.dropValue(slot)
    records.setKind(slot, kind)
    if (flags !== undefined) records.setFlags(slot, flags)
    this.#lists.enter(slot)
  }

  fits(keyBytes: number, valueBytes: number, timed: boolean): boolean {
    if (this.#lists.entries >= this.#entriesMax) return false
    const charge = chargeOf(keyBytes, valueBytes, timed ? TIMED_CHARGE_BYTES : 0)
    if (this.#lists.chargedBytes + charge > this.#bytesMax) return false
    return this.#records.canAllocate(timed ? TIMED : 0, keyBytes + valueBytes)
  }

  forget(slot: Slot, why: Removal): void {
    if (why === 'evicted') this.#evictions++
    else if (why === 'expired') this.#expirations++
    this.#remove(slot)
  }

  flush(watermark: number): void {
    if (watermark <= this.#watermark) return
    this.#watermark = watermark
    this.#purging = true
    this.#purgedSeq = 0
    this.#purgeEndSeq = this.#log.tailSeq
    if (watermark >= this.#hlcMax) this.#lists.flushAll()
    else this.#lists.flushSome(watermark)
  }

  resetWatermark(to: number): void {
    this.#purge(Number.POSITIVE_INFINITY)
    if (to < this.#watermark) this.#watermark = to
    // The highest stamp was wrong: without this no flush would seem to leave nothing before its time has come.
    if (this.#lists.chargedBytes === 0) this.#hlcMax = -1
  }

  sweep(nowMs: number, budget: number): number {
    let done = this.#index.grow(budget)
    done += this.#purge(budget - done)
    while (done < budget) {
      const slot = this.#wheel.nextDue(nowMs, budget - done)
      done += this.#wheel.dealt
      if (slot === NO_SLOT) break
      this.#letGo(slot, 'expired')
      done++
    }
    return done + this.#wheel.prepare(budget - done)
  }

  next(afterSeq: number): Slot {
    let slot = this.#log.next(afterSeq)
    while (slot !== NO_SLOT && this.#isFlushed(slot)) slot = this.#log.next(this.#records.seq(slot))
    return slot
  }

  get tailSeq(): number {
    return this.#log.tailSeq
  }

  scan(cursor: number, count: number, nowMs: number, visit: (slot: Slot) => void): number {
    return this.#index.scan(cursor, count, (slot) => {
      if (!this.#isServable(slot, nowMs)) return false
      visit(slot)
      return true
    })
  }

  oldest(flushedMax: number = Number.POSITIVE_INFINITY): Slot {
    return this.#skipFlushed(this.#values.oldest, flushedMax)
  }

  newer(slot: Slot): Slot {
    return this.#skipFlushed(this.#values.newer(slot), Number.POSITIVE_INFINITY)
  }

  oldestMarker(): Slot {
    return this.#lists.markers.oldest
  }

  newerMarker(slot: Slot): Slot {
    return this.#lists.markers.newer(slot)
  }

  get markerBytes(): number {
    return this.#lists.markerBytes
  }

  stats(): StoreStats {
    const { entries, ghosts, tombstones, dataBytes, chargedBytes } = this.#lists
    return {
      entries,
      ghosts,
      tombstones,
      dataBytes,
      overheadBytes: chargedBytes - dataBytes,
      usedBytes: chargedBytes,
      evictions: this.#evictions,
      expirations: this.#expirations,
    }
  }

  /** The same memory, list and charge: what remains is a new version, the most recent use, and maybe another size. */
  #overwrite(slot: Slot, value: Span, head: RecordHead, nowMs: number): void {
    const records = this.#records
    this.#log.remove(records.seq(slot))
    if (head.kind === RecordKind.Value) {
      this.#lists.dataBytes += value.length - records.word(slot, VALUE_BYTES)
      this.touch(slot)
    } else {
      this.#lists.renewMarker(slot, head.kind)
    }
    if (records.expiresAtMs(slot) !== 0) this.#wheel.remove(slot)
    records.rewrite(slot, value, head, this.#log.append(slot))
    if (head.hlc > this.#hlcMax) this.#hlcMax = head.hlc
    if (head.expiresAtMs !== 0) this.#wheel.add(slot, nowMs)
  }

  /** The record of this key, flushed or not. */
  #lookUp(hash: number, key: Span): Slot {
    const segments = this.#memory.words
    let slot = this.#index.first(hash)
    while (slot !== NO_SLOT) {
      const words = segments[slot >>> SEGMENT_UNITS_LOG2] as Uint32Array
      const index = (slot & SEGMENT_MASK) << 1
      if (((words[index + HASH] as number) | 0) === hash && this.#records.keyEquals(slot, key)) return slot
      slot = words[index + NEXT_IN_BUCKET] as number
    }
    return NO_SLOT
  }

  /** An overwrite in place needs the same memory and the same list; anything else makes a new record. */
  #staysInPlace(slot: Slot, timing: typeof TIMED | 0, payloadBytes: number, head: RecordHead): boolean {
    const sameList = (this.#records.kind(slot) === RecordKind.Value) === (head.kind === RecordKind.Value)
    return sameList && this.#records.fitsInPlace(slot, timing, payloadBytes)
  }

  /** Looks before anything is removed: a write that cannot fit must leave everything as it was. */
  #canMakeRoom(charge: number, replaced: Slot): boolean {
    if (charge > this.#bytesMax) return false
    const lists = this.#lists
    let missing = lists.chargedBytes - lists.flushedMarkerBytes + charge - this.#bytesMax
    if (replaced !== NO_SLOT) missing -= lists.chargeOf(replaced)
    for (let slot = this.#values.oldest; slot !== NO_SLOT && missing > 0; slot = this.#values.newer(slot)) {
      if (slot === replaced) continue
      missing -= lists.chargeOf(slot)
      if (!this.#isFlushed(slot) && !this.retention.mayForget(slot)) missing += lists.chargeOf(slot, 0)
    }
    return missing <= 0
  }

  /** Memory for a new record, within the limits; NO_SLOT if there is nothing left to remove. */
  #makeRoom(
    charge: number,
    timing: typeof TIMED | 0,
    payloadBytes: number,
    kind: RecordKind,
    nowMs: number,
  ): Slot {
    if (kind === RecordKind.Value)
      while (this.#lists.entries >= this.#entriesMax) if (!this.#removeOne(nowMs)) return NO_SLOT
    while (this.#lists.chargedBytes + charge > this.#bytesMax) if (!this.#removeOne(nowMs)) return NO_SLOT
    for (;;) {
      const slot = this.#records.allocate(timing, payloadBytes)
      if (slot !== NO_SLOT) return slot
      if (!this.#removeOne(nowMs)) return NO_SLOT
    }
  }

  /** What is due first, else the least recently used; false if there is no value left. */
  #removeOne(nowMs: number): boolean {
    // What was flushed is of no use to anybody any more.
    if (this.#purge(PURGE_STEP) > 0) return true
    const due = this.#wheel.nextDue(nowMs)
    if (due !== NO_SLOT) {
      this.#letGo(due, 'expired')
      return true
    }
    const oldest = this.#values.oldest
    if (oldest === NO_SLOT) return false
    this.#letGo(oldest, 'evicted')
    return true
  }

  /** A value goes: without a trace if replication allows it, else its version stays as a ghost. */
  #letGo(slot: Slot, why: 'evicted' | 'expired'): void {
    if (this.#isFlushed(slot)) {
      this.forget(slot, 'flushed')
    } else if (this.retention.mayForget(slot)) {
      this.forget(slot, why)
    } else {
      if (why === 'evicted') this.#evictions++
      else this.#expirations++
      this.strip(slot, RecordKind.Ghost, this.retention.markerFlags ?? 0)
    }
  }

  #purge(budget: number): number {
    let done = 0
    while (done < budget && this.#purging) {
      const slot = this.#log.next(this.#purgedSeq)
      done++
      this.#purgedSeq = slot === NO_SLOT ? Number.POSITIVE_INFINITY : this.#records.seq(slot)
      if (this.#purgedSeq > this.#purgeEndSeq) this.#purging = false
      else if (this.#isFlushed(slot)) this.forget(slot, 'flushed')
    }
    return done
  }

  #isFlushed(slot: Slot): boolean {
    return this.#purging && this.#records.hlc(slot) <= this.#watermark
  }

  #isServable(slot: Slot, nowMs: number): boolean {
    if (this.#records.kind(slot) !== RecordKind.Value || this.#isFlushed(slot)) return false
    const expiresAtMs = this.#records.expiresAtMs(slot)
    return expiresAtMs === 0 || expiresAtMs > nowMs
  }

  /** NO_SLOT where more than `most` would have to be skipped. */
  #skipFlushed(slot: Slot, most: number): Slot {
    for (let left = most; slot !== NO_SLOT && this.#isFlushed(slot); left--) {
      if (left <= 0) return NO_SLOT
      slot = this.#values.newer(slot)
    }
    return slot
  }

  #remove(slot: Slot): void {
    const records = this.#records
    if (this.#isFlushed(slot)) this.#lists.leaveFlushed(slot)
    else this.#lists.leave(slot)
    this.#log.remove(records.seq(slot))
    if (records.expiresAtMs(slot) !== 0) this.#wheel.remove(slot)
    this.#index.remove(records.word(slot, HASH) | 0, slot)
    records.free(slot)
  }
}
