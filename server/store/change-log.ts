// The change log: which record was written at which local sequence number, in order, each record once.
//
// Between a store, which appends a record on every write and takes out its former place, and whoever follows the
// store by a cursor. A cursor is just a sequence number: there is no queue per reader, and a reader that is away
// costs nothing. Knows slots only as numbers.
//
//   segments, oldest first           dense: slots[seq - base]           squeezed: offsets[i] = seq - base, slots[i]
//   ┌──────────┐ ┌──────────┐ ┌──────────┐
//   │ squeezed │ │  dense   │ │  tail    │ ← append
//   └──────────┘ └──────────┘ └──────────┘
//
// An overwrite leaves a hole. A segment at most half full is squeezed (its holes dropped) and joined with a squeezed
// neighbour where both fit into one, so that memory follows the number of records and not the number of writes: 4 bytes
// a record while it is dense, 8 to 16 afterwards. Squeezing a segment costs 4096 steps and takes 2048 removals to earn.

import { NO_SLOT, type Slot } from './store.ts'

const SEGMENT_ENTRIES = 4096
/** Offsets are 32-bit: a squeezed segment never spans more sequence numbers. */
const SPAN_MAX = 0xffff_ffff

interface Segment {
  /** First sequence number it may hold. */
  base: number
  /** Number of places, holes included. */
  length: number
  live: number
  slots: Uint32Array
  /** Present when squeezed: ascending. */
  offsets: Uint32Array | undefined
}

export class ChangeLog {
  #segments: Segment[] = [denseSegment(1)]
  #tail: Segment = this.#segments[0] as Segment
  #tailSeq = 0
  #count = 0

  /** Sequence number of the last append; 0 before the first. */
  get tailSeq(): number {
    return this.#tailSeq
  }

  /** Number of records in the log. */
  get count(): number {
    return this.#count
  }

  /** Memory held, in bytes. */
  get bytes(): number {
    let bytes = 0
    for (const segment of this.#segments)
      bytes += segment.slots.byteLength + (segment.offsets?.byteLength ?? 0)
    return bytes
  }

  /** Puts a record at the tail; returns its sequence number. */
  append(slot: Slot): number {
    let tail = this.#tail
    if (tail.length === SEGMENT_ENTRIES) {
      tail = denseSegment(this.#tailSeq + 1)
      this.#segments.push(tail)
      this.#tail = tail
      this.#tidy(this.#segments.length - 2)
    }
    tail.slots[tail.length++] = slot
    tail.live++
    this.#count++
    return ++this.#tailSeq
  }

  /** Takes the record at `seq` out. */
  remove(seq: number): void {
    const at = this.#segmentOf(seq)
    const segment = this.#segments[at] as Segment
    segment.slots[placeOf(segment, seq)] = NO_SLOT
    segment.live--
    this.#count--
    if (segment.live * 2 <= segment.length && segment !== this.#tail) this.#tidy(at)
  }

  /** The record at `seq` has another slot now. */
  replace(seq: number, slot: Slot): void {
    const segment = this.#segments[this.#segmentOf(seq)] as Segment
    segment.slots[placeOf(segment, seq)] = slot
  }

  /** The record with the lowest sequence number above `afterSeq`; NO_SLOT at the end. */
  next(afterSeq: number): Slot {
    if (afterSeq >= this.#tailSeq) return NO_SLOT
    let at = this.#segmentOf(afterSeq + 1)
    let segment = this.#segments[at]
    let place = segment === undefined ? 0 : firstPlaceFrom(segment, afterSeq + 1)
    while (segment !== undefined) {
      for (; place < segment.length; place++) {
        const slot = segment.slots[place] as number
        if (slot !== NO_SLOT) return slot
      }
      segment = this.#segments[++at]
      place = 0
    }
    return NO_SLOT
  }

  /** Index of the last segment whose base is at most `seq` (the first segment if there is none). */
  #segmentOf(seq: number): number {
    const segments = this.#segments
    let high = segments.length - 1
    if (seq >= this.#tail.base) return high
    let low = 0
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((segments[middle] as Segment).base <= seq) low = middle
      else high = middle - 1
    }
    return low
  }

  /** Drops, squeezes or joins the segment at an index, as its emptiness asks. Never the tail. */
  #tidy(at: number): void {
    const segments = this.#segments
    const segment = segments[at]
    if (segment === undefined || segment === this.#tail || segment.live * 2 > segment.length) return
    if (segment.live === 0) {
      segments.splice(at, 1)
      return
    }
    const before = segments[at - 1]
    if (before?.offsets !== undefined && joinable(before, segment)) {
      segments.splice(at - 1, 2, squeeze(before, segment))
      return
    }
    const after = segments[at + 1]
    if (after?.offsets !== undefined && joinable(segment, after)) {
      segments.splice(at, 2, squeeze(segment, after))
      return
    }
    segments[at] = squeeze(segment, undefined)
  }
}

function denseSegment(base: number): Segment {
  return { base, length: 0, live: 0, slots: new Uint32Array(SEGMENT_ENTRIES), offsets: undefined }
}

function joinable(first: Segment, second: Segment): boolean {
  const span = second.base + lastOffset(second) - first.base
  return first.live + second.live <= SEGMENT_ENTRIES && span < SPAN_MAX
}

function lastOffset(segment: Segment): number {
  return segment.offsets === undefined ? segment.length : (segment.offsets[segment.length - 1] ?? 0)
}

/** One or two neighbouring segments as a new one without holes. */
function squeeze(first: Segment, second: Segment | undefined): Segment {
  const live = first.live + (second?.live ?? 0)
  const slots = new Uint32Array(live)
  const offsets = new Uint32Array(live)
  let length = 0
  for (const from of second === undefined ? [first] : [first, second]) {
    const shift = from.base - first.base
    for (let place = 0; place < from.length; place++) {
      const slot = from.slots[place] as number
      if (slot === NO_SLOT) continue
      slots[length] = slot
      offsets[length++] = shift + (from.offsets === undefined ? place : (from.offsets[place] as number))
    }
  }
  return { base: first.base, length, live, slots, offsets }
}

/** The place of a sequence number that is in this segment. */
function placeOf(segment: Segment, seq: number): number {
  return segment.offsets === undefined ? seq - segment.base : firstPlaceFrom(segment, seq)
}

/** The first place whose sequence number is at least `seq`. */
function firstPlaceFrom(segment: Segment, seq: number): number {
  const offset = seq - segment.base
  if (segment.offsets === undefined) return Math.max(0, offset)
  let low = 0
  let high = segment.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((segment.offsets[middle] as number) < offset) low = middle + 1
    else high = middle
  }
  return low
}
