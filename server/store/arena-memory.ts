// Memory for the arena store: extents of 8-byte units inside large segments, allocated and freed like a heap.
//
// Between the store, which lays records out, and plain typed arrays outside the JavaScript heap. Knows nothing of
// records but the first word of an extent. Segments are never copied or moved; the system commits their pages when
// they are first written. Free extents are kept in lists by size with boundary tags, so that freed neighbours join at
// once (Knuth, TAOCP 1, 2.5, algorithm C; the size classes are those of TLSF, Masmano et al. 2004).
//
//   extent in use   word 0: bit 0 and 1 state ≠ 0, bit 2 "the extent before is free", the rest belongs to the owner
//   free extent     word 0: state 0, units << 3 │ word 1: next in list │ word 2: previous │ … │ last word: units
//
// Invariant: no two free extents are neighbours. An address is a unit number over all segments; 0 is none.

import { FIRST_SLOT } from './store.ts'

export const UNIT_BYTES = 8
/** 2^22 units of 8 bytes: segments of 32 MiB. With 32-bit addresses the arena can reach 32 GiB. */
export const SEGMENT_UNITS_LOG2 = 22
export const SEGMENT_UNITS = 1 << SEGMENT_UNITS_LOG2
export const SEGMENT_MASK = SEGMENT_UNITS - 1
export const ARENA_BYTES_MAX = 2 ** 32 * UNIT_BYTES - SEGMENT_UNITS * UNIT_BYTES

/** Extent states, in bits 0 and 1 of the first word. */
export const State = { Free: 0, Head: 1, Continuation: 2 } as const
export const STATE_MASK = 3
export const BEFORE_IS_FREE = 4
const SIZE_SHIFT = 3

/** A free extent needs four words. */
export const EXTENT_UNITS_MIN = 2

const EXACT_CLASSES = 64
const SUBCLASSES_LOG2 = 3
const CLASS_COUNT = EXACT_CLASSES + ((SEGMENT_UNITS_LOG2 - 5) << SUBCLASSES_LOG2)

export class ArenaMemory {
  /** Views of each segment. Read freely; write only inside extents that are in use. */
  readonly words: Uint32Array[] = []
  readonly bytes: Uint8Array[] = []
  readonly views: DataView[] = []
  /** Result of the last `allocate` or `takeLargest`: how many units were really given. */
  givenUnits = 0

  readonly #heads = new Uint32Array(CLASS_COUNT)
  readonly #occupied = new Uint32Array((CLASS_COUNT + 31) >>> 5)
  readonly #unitsMax: number
  #segmentedUnits = 0
  #freeUnits = 0

  /** `bytesMax`: the arena never holds more segments than fit; at least 64 KiB. */
  constructor(bytesMax: number) {
    this.#unitsMax =
      Math.floor(Math.min(Math.max(bytesMax, 65536), ARENA_BYTES_MAX) / UNIT_BYTES) + FIRST_SLOT
  }

  /** Units that could be allocated without freeing anything, in pieces. */
  get freeUnits(): number {
    return this.#freeUnits + this.#unitsMax - this.#segmentedUnits
  }

  /**
   * One extent of `units` (at least EXTENT_UNITS_MIN) or, where the rest would be too small to stand alone, one more:
   * see givenUnits. 0 if there is none in one piece. The first word is undefined but for BEFORE_IS_FREE, which is 0.
   */
  allocate(units: number): number {
    let size = this.#occupiedClassFrom(classThatFits(units))
    while (size < 0) {
      if (!this.#addSegment()) return 0
      size = this.#occupiedClassFrom(classThatFits(units))
    }
    return this.#take(this.#heads[size] as number, units)
  }

  /** The largest free extent, cut to `unitsMax`; 0 if none has `unitsMin` units. See givenUnits. */
  takeLargest(unitsMin: number, unitsMax: number): number {
    for (;;) {
      const size = this.#largestClass()
      const at = size < 0 ? 0 : (this.#heads[size] as number)
      const units = size < 0 ? 0 : this.#freeExtentUnits(at)
      if (units < unitsMax && this.#addSegment()) continue
      return units < unitsMin ? 0 : this.#take(at, Math.min(units, unitsMax))
    }
  }

  /** Gives an extent back. */
  free(at: number, units: number): void {
    const words = this.words[at >>> SEGMENT_UNITS_LOG2] as Uint32Array
    this.#freeUnits += units
    const after = at + units
    if ((after & SEGMENT_MASK) << 1 < words.length && (after & SEGMENT_MASK) !== 0) {
      const first = words[(after & SEGMENT_MASK) << 1] as number
      if ((first & STATE_MASK) === State.Free) {
        this.#unlink(after, first >>> SIZE_SHIFT)
        units += first >>> SIZE_SHIFT
      }
    }
    const index = (at & SEGMENT_MASK) << 1
    if (((words[index] as number) & BEFORE_IS_FREE) !== 0) {
      const before = words[index - 1] as number
      at -= before
      units += before
      this.#unlink(at, before)
    }
    this.#link(at, units)
    this.#markAfter(at + units, true)
  }

  /** Gives back all but the first `keep` units of an extent; keeps one unit more where the rest could not stand alone. Returns what is kept. */
  trim(at: number, units: number, keep: number): number {
    if (units - keep < EXTENT_UNITS_MIN) return units
    // The rest becomes an extent in use for a moment, so that free() sees a well-formed one.
    const rest = at + keep
    const words = this.words[rest >>> SEGMENT_UNITS_LOG2] as Uint32Array
    words[(rest & SEGMENT_MASK) << 1] = State.Continuation
    this.free(rest, units - keep)
    return keep
  }

  #freeExtentUnits(at: number): number {
    const words = this.words[at >>> SEGMENT_UNITS_LOG2] as Uint32Array
    return (words[(at & SEGMENT_MASK) << 1] as number) >>> SIZE_SHIFT
  }

  /** Takes `units` from the front of a free extent. */
  #take(at: number, units: number): number {
    const words = this.words[at >>> SEGMENT_UNITS_LOG2] as Uint32Array
    const index = (at & SEGMENT_MASK) << 1
    const whole = (words[index] as number) >>> SIZE_SHIFT
    this.#unlink(at, whole)
    if (whole - units < EXTENT_UNITS_MIN) {
      this.givenUnits = whole
      this.#markAfter(at + whole, false)
    } else {
      this.givenUnits = units
      this.#link(at + units, whole - units)
    }
    this.#freeUnits -= this.givenUnits
    words[index] = State.Continuation
    return at
  }

  #link(at: number, units: number): void {
    const words = this.words[at >>> SEGMENT_UNITS_LOG2] as Uint32Array
    const index = (at & SEGMENT_MASK) << 1
    const size = classOf(units)
    const next = this.#heads[size] as number
    words[index] = units << SIZE_SHIFT
    words[index + 1] = next
    words[index + 2] = 0
    words[index + (units << 1) - 1] = units
    if (next !== 0)
      (this.words[next >>> SEGMENT_UNITS_LOG2] as Uint32Array)[((next & SEGMENT_MASK) << 1) + 2] = at
    this.#heads[size] = at
    this.#occupied[size >>> 5] = (this.#occupied[size >>> 5] as number) | (1 << (size & 31))
  }

  #unlink(at: number, units: number): void {
    const words = this.words[at >>> SEGMENT_UNITS_LOG2] as Uint32Array
    const index = (at & SEGMENT_MASK) << 1
    const next = words[index + 1] as number
    const previous = words[index + 2] as number
    if (next !== 0)
      (this.words[next >>> SEGMENT_UNITS_LOG2] as Uint32Array)[((next & SEGMENT_MASK) << 1) + 2] = previous
    if (previous !== 0) {
      const before = this.words[previous >>> SEGMENT_UNITS_LOG2] as Uint32Array
      before[((previous & SEGMENT_MASK) << 1) + 1] = next
      return
    }
    const size = classOf(units)
    this.#heads[size] = next
    if (next === 0) this.#occupied[size >>> 5] = (this.#occupied[size >>> 5] as number) & ~(1 << (size & 31))
  }

  /** Tells the extent at `after` (if the segment goes on there) whether the one before it is free. */
  #markAfter(after: number, free: boolean): void {
    if ((after & SEGMENT_MASK) === 0) return
    const words = this.words[after >>> SEGMENT_UNITS_LOG2] as Uint32Array
    const index = (after & SEGMENT_MASK) << 1
    if (index >= words.length) return
    const first = words[index] as number
    words[index] = free ? first | BEFORE_IS_FREE : first & ~BEFORE_IS_FREE
  }

  #occupiedClassFrom(size: number): number {
    let word = size >>> 5
    let bits = (this.#occupied[word] ?? 0) & (-1 << (size & 31))
    while (bits === 0) {
      if (++word >= this.#occupied.length) return -1
      bits = this.#occupied[word] as number
    }
    return (word << 5) + 31 - Math.clz32(bits & -bits)
  }

  #largestClass(): number {
    for (let word = this.#occupied.length - 1; word >= 0; word--) {
      const bits = this.#occupied[word] as number
      if (bits !== 0) return (word << 5) + 31 - Math.clz32(bits)
    }
    return -1
  }

  #addSegment(): boolean {
    const units = Math.min(SEGMENT_UNITS, this.#unitsMax - this.#segmentedUnits)
    if (units < FIRST_SLOT * 2) return false
    const start = this.words.length * SEGMENT_UNITS
    // Nothing is shared: V8 lets plain ones count towards its heap, and collects garbage at every other segment.
    const memory = new SharedArrayBuffer(units * UNIT_BYTES)
    this.words.push(new Uint32Array(memory))
    this.bytes.push(new Uint8Array(memory))
    this.views.push(new DataView(memory))
    this.#segmentedUnits += units
    // Numbers below FIRST_SLOT are not addresses.
    const reserved = start === 0 ? FIRST_SLOT : 0
    this.#freeUnits += units - reserved
    this.#link(start + reserved, units - reserved)
    return true
  }
}

/** The class a free extent of this size is kept in. */
function classOf(units: number): number {
  if (units < EXACT_CLASSES) return units
  const log = 31 - Math.clz32(units)
  return (
    EXACT_CLASSES +
    ((log - 6) << SUBCLASSES_LOG2) +
    ((units >>> (log - SUBCLASSES_LOG2)) & ((1 << SUBCLASSES_LOG2) - 1))
  )
}

/** The lowest class all of whose extents have at least this size. */
function classThatFits(units: number): number {
  if (units < EXACT_CLASSES) return units
  const log = 31 - Math.clz32(units)
  return classOf(units + (1 << (log - SUBCLASSES_LOG2)) - 1)
}
