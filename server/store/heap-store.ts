// The readable store: a Map, linked lists, and one JavaScript object per record.
//
// Between the handlers and the JavaScript heap. It is the reference that the arena store is tested against, and the
// store for those who cannot have large memory blocks. A slot is an index into an array of records: a key keeps its
// slot for life, through overwrites too, so that walking the slots in order is a scan that misses nothing and ends.
//
// Making room, in this order: what was flushed, what is due, markers that may be forgotten, and only then values,
// least recently used first.
//
// Invariant: every record is in the map, in the change log, in one list, and in the expiry wheel iff it has an expiry.
// usedBytes ≤ bytesMax after every call.

import { copyBytes } from '../../protocol/bytes.ts'
import { ChangeLog } from './change-log.ts'
import { chargeOf, TIMED_CHARGE_BYTES, timedBytesOf } from './charge.ts'
import { ExpiryWheel } from './expiry.ts'
import { HeapLists } from './heap-lists.ts'
import { chargeOfMarker, chargeOfRecord, type HeapRecord, HeapRecords, noBytes } from './heap-record.ts'
import { KeyedHash } from './siphash.ts'
import {
  FIRST_SLOT,
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

/** Slots a scan looks at, at the most, for each record it was asked for: bounds a page over an emptied store. */
const SCAN_SLOTS_PER_COUNT = 8

export class HeapStore implements Store {
  retention: Retention = forgetFreely

  readonly #entriesMax: number
  readonly #bytesMax: number
  readonly #hash: KeyedHash
  readonly #records = new HeapRecords()
  readonly #lists = new HeapLists()
  readonly #log = new ChangeLog()
  readonly #wheel: ExpiryWheel
  #evictions = 0
  #expirations = 0

  /** Throws a RangeError for limits that are no limits. */
  constructor(options: StoreOptions) {
    const { entriesMax, bytesMax } = options
    if (!(entriesMax >= 1)) throw new RangeError(`entriesMax must be at least 1, got ${entriesMax}`)
    if (!(bytesMax > 0)) throw new RangeError(`bytesMax must be above 0, got ${bytesMax}`)
    if (entriesMax === Number.POSITIVE_INFINITY && bytesMax === Number.POSITIVE_INFINITY)
      throw new RangeError('a store needs entriesMax or bytesMax: without either it grows without bound')
    this.#entriesMax = entriesMax
    this.#bytesMax = bytesMax
    this.#hash = new KeyedHash(options.hashKey)
    this.#wheel = new ExpiryWheel({
      expiresAtMs: (slot) => this.#records.at(slot).expiresAtMs,
      next: (slot) => this.#records.at(slot).wheelNext,
      setNext: (slot, to) => {
        this.#records.at(slot).wheelNext = to
      },
      prev: (slot) => this.#records.at(slot).wheelPrev,
      setPrev: (slot, to) => {
        this.#records.at(slot).wheelPrev = to
      },
    })
  }

  /** For those above who want one; the map hashes by itself. */
  hash(key: Span): number {
    return this.#hash.hash(key.bytes, key.at, key.length, key.view)
  }

  /** Where its objects lie is not this store's business. */
  warm(): void {}

  find(_hash: number, key: Span): Slot {
    const record = this.#records.byKey(keyOf(key))
    return record === undefined || this.#isFlushed(record) ? NO_SLOT : record.slot
  }

  findLive(_hash: number, key: Span, nowMs: number): Slot {
    const record = this.#records.byKey(keyOf(key))
    if (record === undefined || this.#isFlushed(record) || record.kind !== RecordKind.Value) return NO_SLOT
    if (!isExpired(record, nowMs)) return record.slot
    this.#letGo(record, 'expired')
    return NO_SLOT
  }

  touch(slot: Slot): void {
    const record = this.#records.at(slot)
    if (record.kind !== RecordKind.Value) throw new Error(`touch: slot ${slot} is not a value`)
    this.#lists.values.remove(record)
    this.#lists.values.addNewest(record)
  }

  head(slot: Slot, into: RecordHead): void {
    const record = this.#records.at(slot)
    into.kind = record.kind
    into.flags = record.flags
    into.hlc = record.hlc
    into.origin = record.origin
    into.seq = record.seq
    into.expiresAtMs = record.expiresAtMs
    into.lifetimeMs = record.lifetimeMs
    into.keyBytes = record.key.length
    into.valueBytes = record.value.length
  }

  kind(slot: Slot): RecordKind {
    return this.#records.at(slot).kind
  }

  flags(slot: Slot): number {
    return this.#records.at(slot).flags
  }

  valueBytes(slot: Slot): number {
    return this.#records.at(slot).value.length
  }

  keyBytes(slot: Slot): number {
    return this.#records.at(slot).key.length
  }

  expiresAtMs(slot: Slot): number {
    return this.#records.at(slot).expiresAtMs
  }

  copyValue(slot: Slot, target: Uint8Array, at: number): void {
    target.set(this.#records.at(slot).value, at)
  }

  copyKey(slot: Slot, target: Uint8Array, at: number): void {
    const key = this.#records.at(slot).key
    for (let i = 0; i < key.length; i++) target[at + i] = key.charCodeAt(i)
  }

  /** Beyond what Store says: throws if `slot` is not this key's. */
  put(_hash: number, slot: Slot, key: Span, value: Span, head: RecordHead, nowMs: number): Slot {
    const { watermark } = this.#lists
    if (head.hlc <= watermark)
      throw new RangeError(`put: hlc ${head.hlc} is not above the watermark ${watermark}`)
    const charge = chargeOf(key.length, value.length, timedBytesOf(head.expiresAtMs, head.lifetimeMs))
    const name = keyOf(key)
    const former = this.#records.byKey(name)
    const replaced = former === undefined || this.#isFlushed(former) ? undefined : former
    if (slot !== (replaced?.slot ?? NO_SLOT)) throw new Error(`put: slot ${slot} is not the one of this key`)
    if (!this.#canMakeRoom(charge, replaced)) return NO_SLOT

    // From here on nothing can fail. The record to be replaced leaves first, so that making room cannot meet it.
    if (replaced !== undefined) {
      this.#log.remove(replaced.seq)
      this.#leave(replaced)
    } else if (former !== undefined) {
      this.#drop(former)
    }
    this.#makeRoom(charge, head.kind === RecordKind.Value ? 1 : 0, nowMs)
    const record = replaced ?? this.#records.create(name)
    record.kind = head.kind
    record.flags = head.flags
    record.hlc = head.hlc
    record.origin = head.origin
    record.expiresAtMs = head.expiresAtMs
    record.lifetimeMs = head.lifetimeMs
    record.timedBytes = timedBytesOf(head.expiresAtMs, head.lifetimeMs)
    record.value = copyOf(value)
    record.seq = this.#log.append(record.slot)
    this.#enter(record, nowMs)
    return record.slot
  }

  setExpiry(slot: Slot, expiresAtMs: number): void {
    const record = this.#records.at(slot)
    if (record.timedBytes === 0) throw new Error(`setExpiry: slot ${slot} was written without an expiry`)
    if (record.expiresAtMs !== 0) this.#wheel.remove(slot)
    record.expiresAtMs = expiresAtMs
    if (expiresAtMs !== 0) this.#wheel.add(slot)
  }

  fits(keyBytes: number, valueBytes: number, timed: boolean): boolean {
    if (this.#lists.visible.values >= this.#entriesMax) return false
    const charge = chargeOf(keyBytes, valueBytes, timed ? TIMED_CHARGE_BYTES : 0)
    return this.#lists.chargedBytes + charge <= this.#bytesMax
  }

  strip(slot: Slot, kind: typeof RecordKind.Ghost | typeof RecordKind.Tombstone, flags?: number): void {
    const record = this.#records.at(slot)
    this.#leave(record)
    record.kind = kind
    if (flags !== undefined) record.flags = flags
    record.expiresAtMs = 0
    record.value = noBytes
    this.#enter(record)
  }

  forget(slot: Slot, why: Removal): void {
    if (why === 'evicted') this.#evictions++
    else if (why === 'expired') this.#expirations++
    this.#drop(this.#records.at(slot))
  }

  /** Beyond what Store says: counts fall at once, bytes as the purge frees them. */
  flush(watermark: number): void {
    if (watermark > this.#lists.watermark) this.#lists.flush(watermark)
  }

  resetWatermark(to: number): void {
    this.#purge(Number.POSITIVE_INFINITY)
    this.#lists.watermark = Math.min(to, this.#lists.watermark)
  }

  sweep(nowMs: number, budget: number): number {
    let done = this.#purge(budget)
    while (done < budget) {
      const slot = this.#wheel.nextDue(nowMs, budget - done)
      done += this.#wheel.dealt
      if (slot === NO_SLOT) break
      this.#letGo(this.#records.at(slot), 'expired')
      done++
    }
    return done < budget ? done + this.#wheel.prepare(budget - done) : done
  }

  next(afterSeq: number): Slot {
    let slot = this.#log.next(afterSeq)
    while (slot !== NO_SLOT) {
      const record = this.#records.at(slot)
      if (!this.#isFlushed(record)) break
      slot = this.#log.next(record.seq)
    }
    return slot
  }

  get tailSeq(): number {
    return this.#log.tailSeq
  }

  /** The cursor is a slot. A page over mostly empty slots may visit none and still not be the last. */
  scan(cursor: number, count: number, nowMs: number, visit: (slot: Slot) => void): number {
    const from = Math.max(FIRST_SLOT, cursor)
    const end = this.#records.endSlot
    const pageEnd = Math.min(from + count * SCAN_SLOTS_PER_COUNT, end)
    let visited = 0
    let slot = from
    for (; slot < pageEnd && visited < count; slot++) {
      const record = this.#records.peek(slot)
      if (record === undefined || record.kind !== RecordKind.Value) continue
      if (this.#isFlushed(record) || isExpired(record, nowMs)) continue
      visit(slot)
      visited++
    }
    return slot < end ? slot : 0
  }

  oldest(): Slot {
    return slotOf(this.#lists.values.oldest)
  }

  newer(slot: Slot): Slot {
    return slotOf(this.#records.at(slot).newer)
  }

  oldestMarker(): Slot {
    return slotOf(this.#lists.markers.oldest)
  }

  newerMarker(slot: Slot): Slot {
    return slotOf(this.#records.at(slot).newer)
  }

  get markerBytes(): number {
    return this.#lists.visible.markerBytes
  }

  stats(): StoreStats {
    const { visible, flushedTally, chargedBytes } = this.#lists
    const dataBytes = visible.dataBytes + flushedTally.dataBytes
    return {
      entries: visible.values,
      ghosts: visible.ghosts,
      tombstones: visible.tombstones,
      dataBytes,
      overheadBytes: chargedBytes - dataBytes,
      usedBytes: chargedBytes,
      evictions: this.#evictions,
      expirations: this.#expirations,
    }
  }

  /**
   * Whether `makeRoom` would succeed, found out without changing anything. It looks at the records that would have to
   * go, and rarely at more: only a value that all of them cannot make room for costs a look at every record.
   */
  #canMakeRoom(charge: number, replaced: HeapRecord | undefined): boolean {
    if (charge > this.#bytesMax) return false
    const { values, markers, visible } = this.#lists
    let missing = visible.chargedBytes + charge - this.#bytesMax
    if (replaced !== undefined) missing -= chargeOfRecord(replaced)
    for (let record = values.oldest; record !== undefined && missing > 0; record = record.newer) {
      if (record === replaced) continue
      missing -= chargeOfRecord(record)
      if (!this.retention.mayForget(record.slot)) missing += chargeOfMarker(record)
    }
    for (let record = markers.oldest; record !== undefined && missing > 0; record = record.newer) {
      if (record === replaced) continue
      if (!this.retention.mayForget(record.slot)) break
      missing -= chargeOfRecord(record)
    }
    return missing <= 0
  }

  /** Frees room for a record of this charge and, if it is a value, a place among the entries. */
  #makeRoom(charge: number, places: 0 | 1, nowMs: number): void {
    for (;;) {
      const tooManyBytes = this.#lists.chargedBytes + charge > this.#bytesMax
      const tooManyEntries = places > 0 && this.#lists.visible.values + places > this.#entriesMax
      if (!tooManyBytes && !tooManyEntries) return
      // Flushed records do not count as entries, but take up bytes.
      if (tooManyBytes && this.#purge(1) > 0) continue
      const due = this.#wheel.nextDue(nowMs)
      if (due !== NO_SLOT) this.#letGo(this.#records.at(due), 'expired')
      else if (!(tooManyBytes && this.#dropOldestMarker())) this.#evictOldest()
    }
  }

  /** Only the oldest is asked for: markers become forgettable about in the order they came. */
  #dropOldestMarker(): boolean {
    const marker = this.#lists.markers.oldest
    if (marker === undefined || !this.retention.mayForget(marker.slot)) return false
    this.#drop(marker)
    return true
  }

  #evictOldest(): void {
    const oldest = this.#lists.values.oldest
    if (oldest === undefined)
      throw new Error('making room: no value is left, although there was room to be made')
    this.#letGo(oldest, 'evicted')
  }

  /** A value goes; its version stays as a ghost if somebody may not know it yet. */
  #letGo(record: HeapRecord, why: 'evicted' | 'expired'): void {
    if (this.#isFlushed(record)) {
      this.#drop(record)
    } else if (this.retention.mayForget(record.slot)) {
      this.forget(record.slot, why)
    } else {
      if (why === 'evicted') this.#evictions++
      else this.#expirations++
      this.strip(record.slot, RecordKind.Ghost, this.retention.markerFlags ?? 0)
    }
  }

  /** Drops up to so many flushed records; returns how many. */
  #purge(recordsMax: number): number {
    let dropped = 0
    for (; dropped < recordsMax; dropped++) {
      const record = this.#lists.flushed.oldest
      if (record === undefined) break
      this.#drop(record)
    }
    return dropped
  }

  #isFlushed(record: HeapRecord): boolean {
    return this.#lists.isFlushed(record)
  }

  #drop(record: HeapRecord): void {
    this.#log.remove(record.seq)
    this.#leave(record)
    this.#records.remove(record)
  }

  /** Into its list and the wheel; the change log is put's business. */
  #enter(record: HeapRecord, nowMs?: number): void {
    this.#lists.enter(record)
    if (record.expiresAtMs !== 0) this.#wheel.add(record.slot, nowMs)
  }

  #leave(record: HeapRecord): void {
    this.#lists.leave(record)
    if (record.expiresAtMs !== 0) this.#wheel.remove(record.slot)
  }
}

function slotOf(record: HeapRecord | undefined): Slot {
  return record?.slot ?? NO_SLOT
}

function isExpired(record: HeapRecord, nowMs: number): boolean {
  return record.expiresAtMs !== 0 && record.expiresAtMs <= nowMs
}

/** The key's bytes as a string of one character each. */
function keyOf(key: Span): string {
  return Buffer.from(key.bytes.buffer, key.bytes.byteOffset + key.at, key.length).toString('latin1')
}

function copyOf(value: Span): Uint8Array {
  if (value.length === 0) return noBytes
  const copy = new Uint8Array(value.length)
  copyBytes(value.bytes, value.at, value.length, copy, 0)
  return copy
}
