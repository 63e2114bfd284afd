// The change log: which record was written at which local sequence number, in order, each record once.
//
// Between a store, which appends a record on every write and takes out its former place, and whoever follows the
// store by a cursor. A cursor is just a sequence number: there is no queue per reader, and a reader that is away
// costs nothing. Knows slots only as numbers.
//
//   squeezed segments, by base            dense segments, one per 4096 sequence numbers
//   ┌───────────┐ ┌───────────┐           ┌──────────┐ ┌ ─ ─ ─ ─ ─┐ ┌──────────┐
//   │ offset,   │ │ offset,   │           │ slots    │   squeezed   │ tail     │ ← append
//   │ slot …    │ │ slot …    │           └──────────┘ └ ─ ─ ─ ─ ─┘ └──────────┘
//
// An overwrite leaves a hole. A dense segment with three quarters of holes is squeezed (its holes dropped) once it is not
// among the youngest, and joined with a squeezed neighbour where both fit into one, so that memory follows the number of
// records and not the number of writes: 4 to 16 bytes a record. Squeezing costs 4096 steps and takes 3072 removals to
// earn. Recent records, the ones overwritten most, are found by division; the others by two binary searches.

import { NO_SLOT, type Slot } from './store.ts'

const SEGMENT_ENTRIES_LOG2 = 12
const SEGMENT_ENTRIES = 1 << SEGMENT_ENTRIES_LOG2
/** A dense segment with so many holes is squeezed. */
const HOLES_MAX = (SEGMENT_ENTRIES * 3) / 4
/** The youngest segments stay dense whatever their holes (256 KiB): overwrites mostly hit what was written lately. */
const RECENT_SEGMENTS = 16
/** Offsets are 32-bit: a squeezed segment never spans more sequence numbers. */
const SPAN_MAX = 0xffff_ffff
/** The directory of dense segments may have this many more places than it has segments, and twice as many. */
const DIRECTORY_SLACK = 1024

interface Dense {
  /** First sequence number it may hold. */
  base: number
  /** Places whose record was taken out again. */
  holes: number
  /** By sequence number - base. */
  slots: Uint32Array
}

interface Squeezed {
  base: number
  live: number
  slots: Uint32Array
  /** Sequence number - base, ascending. */
  offsets: Uint32Array
}

export class ChangeLog {
  /** By (sequence number - #denseBase) / 4096; undefined where it was squeezed. The last is the tail. */
  #dense: (Dense | undefined)[] = [newDense(1)]
  #denseBase = 1
  #denseCount = 1
  #tail: Dense = this.#dense[0] as Dense
  #tailBase = 1
  #tailSlots = this.#tail.slots
  /** From here on segments are too young to be squeezed. */
  #recentBase = 1
  #squeezed: Squeezed[] = []
  #tailSeq = 0

  /** Sequence number of the last append; 0 before the first. */
  get tailSeq(): number {
    return this.#tailSeq
  }

  /** Number of records in the log. */
  get count(): number {
    let count = this.#tailSeq - this.#tailBase + 1
    for (const dense of this.#dense) if (dense !== undefined) count -= dense.holes
    for (const segment of this.#squeezed) count += segment.live
    return count + (this.#denseCount - 1) * SEGMENT_ENTRIES
  }

  /** Memory held, in bytes. */
  get bytes(): number {
    let bytes = this.#denseCount * SEGMENT_ENTRIES * 4
    for (const segment of this.#squeezed) bytes += segment.slots.byteLength * 2
    return bytes
  }

  /** Puts a record at the tail; returns its sequence number. */
  append(slot: Slot): number {
    const seq = ++this.#tailSeq
    if (seq - this.#tailBase === SEGMENT_ENTRIES) this.#newTail(seq)
    this.#tailSlots[seq - this.#tailBase] = slot
    return seq
  }

  /** Takes the record at `seq` out. */
  remove(seq: number): void {
    const dense = this.#dense[this.#denseIndexOf(seq)]
    if (dense === undefined) {
      this.#removeSqueezed(seq)
      return
    }
    dense.slots[seq - dense.base] = NO_SLOT
    if (++dense.holes >= HOLES_MAX && dense.base < this.#recentBase)
      this.#squeezeDense(this.#denseIndexOf(seq))
  }

  /** The record at `seq` has another slot now. */
  replace(seq: number, slot: Slot): void {
    const dense = this.#dense[this.#denseIndexOf(seq)]
    if (dense !== undefined) {
      dense.slots[seq - dense.base] = slot
      return
    }
    const segment = this.#squeezed[this.#squeezedIndexOf(seq)] as Squeezed
    segment.slots[placeFrom(segment, seq)] = slot
  }

  /** The record with the lowest sequence number above `afterSeq`; NO_SLOT at the end. */
  next(afterSeq: number): Slot {
    const seq = afterSeq + 1
    if (seq > this.#tailSeq) return NO_SLOT
    if (seq >= this.#tailBase) return this.#nextInTail(seq)
    // Squeezed segments may lie before, and between, the dense ones; each range of numbers is in one place only.
    const old = this.#nextSqueezed(seq)
    const recent = this.#nextDense(seq)
    if (old === undefined) return recent?.slot ?? NO_SLOT
    return recent === undefined || old.seq < recent.seq ? old.slot : recent.slot
  }

  /** Where those read who are up to date. */
  #nextInTail(seq: number): Slot {
    const slots = this.#tailSlots
    const end = this.#tailSeq - this.#tailBase
    for (let place = seq - this.#tailBase; place <= end; place++) {
      const slot = slots[place] as number
      if (slot !== NO_SLOT) return slot
    }
    return NO_SLOT
  }

  #denseIndexOf(seq: number): number {
    return seq < this.#denseBase ? -1 : (seq - this.#denseBase) >>> SEGMENT_ENTRIES_LOG2
  }

  #newTail(base: number): void {
    this.#tail = newDense(base)
    this.#tailBase = base
    this.#tailSlots = this.#tail.slots
    this.#recentBase = base - (RECENT_SEGMENTS - 1) * SEGMENT_ENTRIES
    this.#dense.push(this.#tail)
    this.#denseCount++
    const aged = this.#dense.length - 1 - RECENT_SEGMENTS
    if ((this.#dense[aged]?.holes ?? 0) >= HOLES_MAX) this.#squeezeDense(aged)
    // A few old segments that stay dense must not make the directory grow with the number of writes.
    while (this.#dense.length > this.#denseCount * 2 + DIRECTORY_SLACK)
      this.#squeezeDense(this.#dense.findIndex((segment) => segment !== undefined))
  }

  #squeezeDense(index: number): void {
    const dense = this.#dense[index] as Dense
    this.#dense[index] = undefined
    this.#denseCount--
    if (dense.holes < SEGMENT_ENTRIES) {
      const at = this.#squeezedIndexOf(dense.base) + 1
      this.#squeezed.splice(at, 0, squeezed(dense))
      this.#join(at)
    }
    let gone = 0
    while (this.#dense[gone] === undefined) gone++
    if (gone === 0) return
    this.#dense.splice(0, gone)
    this.#denseBase += gone * SEGMENT_ENTRIES
  }

  #removeSqueezed(seq: number): void {
    const at = this.#squeezedIndexOf(seq)
    const segment = this.#squeezed[at] as Squeezed
    segment.slots[placeFrom(segment, seq)] = NO_SLOT
    if (--segment.live * 2 > segment.slots.length) return
    if (segment.live === 0) this.#squeezed.splice(at, 1)
    else {
      this.#squeezed[at] = joined(segment, undefined)
      this.#join(at)
    }
  }

  /** Joins the squeezed segment at an index with a neighbour, if both fit into one. */
  #join(at: number): void {
    const segment = this.#squeezed[at] as Squeezed
    const before = this.#squeezed[at - 1]
    const after = this.#squeezed[at + 1]
    if (before !== undefined && this.#joinable(before, segment))
      this.#squeezed.splice(at - 1, 2, joined(before, segment))
    else if (after !== undefined && this.#joinable(segment, after))
      this.#squeezed.splice(at, 2, joined(segment, after))
  }

  /** Whether two neighbours fit into one, and nothing dense lies between: ranges must not overlap. */
  #joinable(first: Squeezed, second: Squeezed): boolean {
    if (!fitTogether(first, second)) return false
    for (
      let index = Math.max(0, this.#denseIndexOf(first.base));
      index < this.#denseIndexOf(second.base);
      index++
    )
      if (this.#dense[index] !== undefined) return false
    return true
  }

  /** Index of the last squeezed segment whose base is at most `seq`; -1 if there is none. */
  #squeezedIndexOf(seq: number): number {
    let low = 0
    let high = this.#squeezed.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#squeezed[middle] as Squeezed).base <= seq) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  #nextSqueezed(seq: number): { seq: number; slot: Slot } | undefined {
    for (let at = Math.max(0, this.#squeezedIndexOf(seq)); at < this.#squeezed.length; at++) {
      const segment = this.#squeezed[at] as Squeezed
      for (let place = placeFrom(segment, seq); place < segment.slots.length; place++) {
        const slot = segment.slots[place] as number
        if (slot !== NO_SLOT) return { seq: segment.base + (segment.offsets[place] as number), slot }
      }
    }
    return undefined
  }

  #nextDense(seq: number): { seq: number; slot: Slot } | undefined {
    for (let index = Math.max(0, this.#denseIndexOf(seq)); index < this.#dense.length; index++) {
      const segment = this.#dense[index]
      if (segment === undefined) continue
      for (let place = Math.max(0, seq - segment.base); place < SEGMENT_ENTRIES; place++) {
        const slot = segment.slots[place] as number
        if (slot !== NO_SLOT) return { seq: segment.base + place, slot }
      }
    }
    return undefined
  }
}

function newDense(base: number): Dense {
  return { base, holes: 0, slots: new Uint32Array(SEGMENT_ENTRIES) }
}

function squeezed(dense: Dense): Squeezed {
  const live = SEGMENT_ENTRIES - dense.holes
  const slots = new Uint32Array(live)
  const offsets = new Uint32Array(live)
  let length = 0
  for (let place = 0; place < SEGMENT_ENTRIES; place++) {
    const slot = dense.slots[place] as number
    if (slot === NO_SLOT) continue
    slots[length] = slot
    offsets[length++] = place
  }
  return { base: dense.base, live, slots, offsets }
}

function fitTogether(first: Squeezed, second: Squeezed): boolean {
  const last = second.base + (second.offsets[second.offsets.length - 1] as number)
  return first.live + second.live <= SEGMENT_ENTRIES && last - first.base < SPAN_MAX
}

/** One or two neighbouring segments as a new one without holes. */
function joined(first: Squeezed, second: Squeezed | undefined): Squeezed {
  const live = first.live + (second?.live ?? 0)
  const slots = new Uint32Array(live)
  const offsets = new Uint32Array(live)
  let length = 0
  for (const from of second === undefined ? [first] : [first, second]) {
    const shift = from.base - first.base
    for (let place = 0; place < from.slots.length; place++) {
      const slot = from.slots[place] as number
      if (slot === NO_SLOT) continue
      slots[length] = slot
      offsets[length++] = shift + (from.offsets[place] as number)
    }
  }
  return { base: first.base, live, slots, offsets }
}

/** The first place whose sequence number is at least `seq`. */
function placeFrom(segment: Squeezed, seq: number): number {
  const offset = seq - segment.base
  let low = 0
  let high = segment.slots.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((segment.offsets[middle] as number) < offset) low = middle + 1
    else high = middle
  }
  return low
}
