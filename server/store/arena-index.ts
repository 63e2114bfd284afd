// The arena store's hash table: buckets of records chained through word 2 of their heads.
//
// Knows of a record its hash, its next-in-bucket word and where its key lies. A bucket is chosen by the HIGH bits of
// the hash, so buckets stand in hash order at every size of the table: bucket b of a table becomes 2b and 2b + 1 of the
// next. Two things follow: the table doubles in slices, lowest bucket first, with one look-up at either side of a
// boundary; and a position in hash space is a scan cursor that outlives any number of doublings.

import { type ArenaMemory, SEGMENT_MASK, SEGMENT_UNITS_LOG2 } from './arena-memory.ts'
import { HASH, NEXT_IN_BUCKET, TWO_32 } from './arena-record.ts'
import { NO_SLOT, type Slot } from './store.ts'

const BITS_MIN = 10
/** Node 20 holds at most 4 GiB in one array. */
const BITS_MAX = 30
/** Old buckets moved with each insertion: four times what it takes to be done before the next doubling. */
const BUCKETS_PER_INSERT = 4

/** Buckets a scan passes at the most for each record it was asked for: some are empty. */
const SCAN_BUCKETS_PER_RECORD = 8

export class ArenaIndex {
  readonly #memory: ArenaMemory
  #buckets = new Uint32Array(1 << BITS_MIN)
  #bits = BITS_MIN
  /** While doubling: the table before, of which the buckets below #moved are in #buckets already. */
  #former: Uint32Array | undefined
  #moved = 0
  #count = 0

  constructor(memory: ArenaMemory) {
    this.#memory = memory
  }

  /** Memory held, in bytes. */
  get bytes(): number {
    return this.#buckets.byteLength + (this.#former?.byteLength ?? 0)
  }

  /** The first record of the bucket for a hash; go on with `next`. */
  first(hash: number): Slot {
    if (this.#former !== undefined) {
      const bucket = hash >>> (33 - this.#bits)
      if (bucket >= this.#moved) return this.#former[bucket] as number
    }
    return this.#buckets[hash >>> (32 - this.#bits)] as number
  }

  insert(hash: number, slot: Slot): void {
    this.#count++
    if (this.#former !== undefined) this.grow(BUCKETS_PER_INSERT)
    else if (this.#count > this.#buckets.length && this.#bits < BITS_MAX) this.#startDoubling()
    this.#setNext(slot, this.first(hash))
    this.#setFirst(hash, slot)
  }

  remove(hash: number, slot: Slot): void {
    this.#count--
    const next = this.next(slot)
    let at = this.first(hash)
    if (at === slot) {
      this.#setFirst(hash, next)
      return
    }
    for (;;) {
      const after = this.next(at)
      if (after === slot) break
      at = after
    }
    this.#setNext(at, next)
  }

  /** The record moved to another address; its words were copied. */
  replace(hash: number, from: Slot, to: Slot): void {
    let at = this.first(hash)
    if (at === from) {
      this.#setFirst(hash, to)
      return
    }
    while (this.next(at) !== from) at = this.next(at)
    this.#setNext(at, to)
  }

  /** Moves up to `buckets` buckets of a doubling under way; returns how many. */
  grow(buckets: number): number {
    const former = this.#former
    if (former === undefined) return 0
    const end = Math.min(this.#moved + buckets, former.length)
    const done = end - this.#moved
    for (let bucket = this.#moved; bucket < end; bucket++) {
      let slot = former[bucket] as number
      this.#moved = bucket + 1
      while (slot !== NO_SLOT) {
        const next = this.next(slot)
        const hash = this.#hashOf(slot)
        const home = hash >>> (32 - this.#bits)
        this.#setNext(slot, this.#buckets[home] as number)
        this.#buckets[home] = slot
        slot = next
      }
    }
    if (end === former.length) this.#former = undefined
    return done
  }

  /**
   * Visits buckets in hash order from a position in hash space (0 to 2^32 - 1) until about `wanted` records were taken
   * or enough buckets were empty. Returns the position to go on from; 0 at the end.
   */
  scan(cursor: number, wanted: number, take: (slot: Slot) => boolean): number {
    let position = Math.min(Math.max(0, Math.floor(cursor)), TWO_32)
    let taken = 0
    const onRecord = (slot: Slot) => {
      if (take(slot)) taken++
    }
    for (let left = wanted * SCAN_BUCKETS_PER_RECORD; taken < wanted && left > 0; left--) {
      if (position >= TWO_32) return 0
      position = this.#visit(position, onRecord)
    }
    return position >= TWO_32 ? 0 : position
  }

  /** Visits the bucket at a position in hash space and returns where the next one begins; 2^32 at the end. */
  #visit(position: number, onRecord: (slot: Slot) => void): number {
    let shift = 32 - this.#bits
    if (this.#former !== undefined && position >>> (shift + 1) >= this.#moved) shift++
    for (let slot = this.first(position | 0); slot !== NO_SLOT; slot = this.next(slot)) {
      // Only a cursor that we did not give out points into the middle of a bucket.
      if (this.#hashOf(slot) >>> 0 >= position) onRecord(slot)
    }
    return Math.min(TWO_32, ((position >>> shift) + 1) * 2 ** shift)
  }

  #startDoubling(): void {
    this.#former = this.#buckets
    this.#bits++
    this.#buckets = new Uint32Array(2 ** this.#bits)
    this.#moved = 0
  }

  #setFirst(hash: number, slot: Slot): void {
    if (this.#former !== undefined) {
      const bucket = hash >>> (33 - this.#bits)
      if (bucket >= this.#moved) {
        this.#former[bucket] = slot
        return
      }
    }
    this.#buckets[hash >>> (32 - this.#bits)] = slot
  }

  /** The record after this one in its bucket. */
  next(slot: Slot): Slot {
    const words = this.#memory.words[slot >>> SEGMENT_UNITS_LOG2] as Uint32Array
    return words[((slot & SEGMENT_MASK) << 1) + NEXT_IN_BUCKET] as number
  }

  #setNext(slot: Slot, next: Slot): void {
    const words = this.#memory.words[slot >>> SEGMENT_UNITS_LOG2] as Uint32Array
    words[((slot & SEGMENT_MASK) << 1) + NEXT_IN_BUCKET] = next
  }

  #hashOf(slot: Slot): number {
    const words = this.#memory.words[slot >>> SEGMENT_UNITS_LOG2] as Uint32Array
    return words[((slot & SEGMENT_MASK) << 1) + HASH] as number
  }
}
