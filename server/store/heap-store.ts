// The readable store: a Map, two linked lists, and one JavaScript object per record.
//
// Between the handlers and the JavaScript heap. It is the reference that the arena store is tested against, and the
// store for those who cannot have large memory blocks. A slot is an index into an array of records: a key keeps its
// slot for life, through overwrites too, so that walking the slots in order is a scan that misses nothing and ends.
//
// Making room, in this order: what was flushed, what is due, markers that may be forgotten, and only then values,
// least recently used first.
//
// Invariant: every record is in the map, in the change log, in one list (values by recency, markers by age), in the
// expiry wheel iff it has an expiry, and in the tally. usedBytes ≤ bytesMax after every call.

import { copyBytes } from '../../protocol/bytes.ts'
import { ChangeLog } from './change-log.ts'
import { chargeOf, timedBytesOf } from './charge.ts'
import { ExpiryWheel } from './expiry.ts'
import {
  chargeOfMarker,
  chargeOfRecord,
  type HeapRecord,
  HeapRecords,
  noBytes,
  RecordList,
  Tally,
} from './heap-record.ts'
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
/** Slots a put that needs room looks at between two looks at whether it has enough. */
const PURGE_SLOTS_PER_STEP = 16

export class HeapStore implements Store {
  retention: Retention = forgetFreely

  readonly #entriesMax: number
  readonly #bytesMax: number
  readonly #hash: KeyedHash
  readonly #records = new HeapRecords()
  readonly #values = new RecordList()
  readonly #markers = new RecordList()
  readonly #log = new ChangeLog()
  readonly #wheel: ExpiryWheel
  readonly #all = new Tally()
  #evictions = 0
  #expirations = 0

  /** Records stamped at or below it were flushed: nobody sees them any more. */
  #watermark = -1
  /** The highest hlc ever put. */
  #hlcMax = -1
  /** The flushed records that still take up room; a part of #all. */
  #flushed = new Tally()
  /** Where the purge goes on. */
  #purgeSlot = FIRST_SLOT

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
    this.#values.remove(record)
    this.#values.addNewest(record)
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

  /**
   * Beyond what Store says: NO_SLOT also when what retention makes it keep leaves no room; then, too, nothing has
   * changed. Throws if the record is flushed already (hlc at or below the watermark) or `slot` is not this key's.
   */
  put(_hash: number, slot: Slot, key: Span, value: Span, head: RecordHead, nowMs: number): Slot {
    if (head.hlc <= this.#watermark)
      throw new RangeError(`put: hlc ${head.hlc} is not above the watermark ${this.#watermark}`)
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
    if (head.hlc > this.#hlcMax) this.#hlcMax = head.hlc
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

  strip(slot: Slot, kind: typeof RecordKind.Ghost | typeof RecordKind.Tombstone): void {
    const record = this.#records.at(slot)
    this.#leave(record)
    record.kind = kind
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
    if (watermark <= this.#watermark) return
    this.#watermark = watermark
    this.#purgeSlot = FIRST_SLOT
    // The usual flush is stamped now and leaves nothing: only one that is late has to count what it leaves.
    this.#flushed = watermark >= this.#hlcMax ? this.#all.copy() : this.#tallyOfFlushed()
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
    return this.#firstVisible(this.#values.oldest)
  }

  newer(slot: Slot): Slot {
    return this.#firstVisible(this.#records.at(slot).newer)
  }

  stats(): StoreStats {
    const all = this.#all
    const flushed = this.#flushed
    return {
      entries: all.values - flushed.values,
      ghosts: all.ghosts - flushed.ghosts,
      tombstones: all.tombstones - flushed.tombstones,
      dataBytes: all.dataBytes,
      overheadBytes: all.chargedBytes - all.dataBytes,
      usedBytes: all.chargedBytes,
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
    let missing = this.#all.chargedBytes - this.#flushed.chargedBytes + charge - this.#bytesMax
    if (replaced !== undefined) missing -= chargeOfRecord(replaced)
    for (let record = this.#values.oldest; record !== undefined && missing > 0; record = record.newer) {
      if (record === replaced || this.#isFlushed(record)) continue
      missing -= chargeOfRecord(record)
      if (!this.retention.mayForget(record.slot)) missing += chargeOfMarker(record)
    }
    for (let record = this.#markers.oldest; record !== undefined && missing > 0; record = record.newer) {
      if (record === replaced || this.#isFlushed(record)) continue
      if (!this.retention.mayForget(record.slot)) break
      missing -= chargeOfRecord(record)
    }
    return missing <= 0
  }

  /** Frees room for a record of this charge and, if it is a value, a place among the entries. */
  #makeRoom(charge: number, places: 0 | 1, nowMs: number): void {
    for (;;) {
      const tooManyBytes = this.#all.chargedBytes + charge > this.#bytesMax
      const visible = this.#all.values - this.#flushed.values
      const tooManyEntries = places > 0 && visible + places > this.#entriesMax
      if (!tooManyBytes && !tooManyEntries) return
      // Flushed records do not count as entries, but take up bytes.
      if (tooManyBytes && this.#purge(PURGE_SLOTS_PER_STEP) > 0) continue
      const due = this.#wheel.nextDue(nowMs)
      if (due !== NO_SLOT) this.#letGo(this.#records.at(due), 'expired')
      else if (!(tooManyBytes && this.#dropOldestMarker())) this.#evictOldest()
    }
  }

  /** Only the oldest is asked for: markers become forgettable about in the order they came. */
  #dropOldestMarker(): boolean {
    const marker = this.#markers.oldest
    if (marker === undefined || !this.retention.mayForget(marker.slot)) return false
    this.#drop(marker)
    return true
  }

  #evictOldest(): void {
    const oldest = this.#values.oldest
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
      this.strip(record.slot, RecordKind.Ghost)
    }
  }

  /** Drops flushed records from the slots next in turn; returns at how many slots it looked. */
  #purge(slotsMax: number): number {
    let looked = 0
    for (; looked < slotsMax && this.#flushed.records > 0; looked++) {
      const record = this.#records.peek(this.#purgeSlot++)
      if (record !== undefined && this.#isFlushed(record)) this.#drop(record)
    }
    return looked
  }

  #tallyOfFlushed(): Tally {
    const tally = new Tally()
    for (let slot = FIRST_SLOT; slot < this.#records.endSlot; slot++) {
      const record = this.#records.peek(slot)
      if (record !== undefined && this.#isFlushed(record)) tally.add(record)
    }
    return tally
  }

  #isFlushed(record: HeapRecord): boolean {
    return record.hlc <= this.#watermark
  }

  #firstVisible(from: HeapRecord | undefined): Slot {
    let record = from
    while (record !== undefined && this.#isFlushed(record)) record = record.newer
    return record?.slot ?? NO_SLOT
  }

  #drop(record: HeapRecord): void {
    this.#log.remove(record.seq)
    this.#leave(record)
    this.#records.remove(record)
  }

  /** Into its list, the wheel and the tally; the change log is put's business. */
  #enter(record: HeapRecord, nowMs?: number): void {
    this.#listOf(record).addNewest(record)
    if (record.expiresAtMs !== 0) this.#wheel.add(record.slot, nowMs)
    this.#all.add(record)
  }

  #leave(record: HeapRecord): void {
    this.#listOf(record).remove(record)
    if (record.expiresAtMs !== 0) this.#wheel.remove(record.slot)
    this.#all.subtract(record)
    if (this.#isFlushed(record)) this.#flushed.subtract(record)
  }

  #listOf(record: HeapRecord): RecordList {
    return record.kind === RecordKind.Value ? this.#values : this.#markers
  }
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
