// When each slot of an in-process cache expires, and which slot is due first. Knows no keys, values or recency.
//
// A slot's deadline stands in `#deadlineMs`. A heap (four children per node) finds the earliest, and is lazy: a slot
// is in it at most once, under a time that is never later than its deadline. So overwriting, renewing, removing or
// re-using a slot, which all move its deadline away, cost nothing; the heap catches up when the old time comes up at
// the top. Only an earlier deadline moves a slot within the heap at once.
//
// Bounds: memory by the highest slot; work by HEAP_STEPS_MAX outdated tops per `takeDue`. Thus `takeDue` may miss a
// slot that is due only while more than that many outdated times are due at the same moment (after a burst of
// overwrites); the next calls catch up.

import type { LruClock } from './lru-clock.ts'
import { NO_SLOT } from './lru-recency.ts'

const HEAP_STEPS_MAX = 16
const CHILDREN = 4
const SLOTS_MIN = 64
/** Deadlines this near are compared with the real time. So nothing outlives its deadline, unless the program did not
 * let go of the event loop for longer than this. */
const NEAR_MS = 50

export class Deadlines {
  readonly #clock: LruClock
  #nowMs = 0
  /** By slot; Infinity = never, NaN = never, and not in the heap. */
  #deadlineMs: Float64Array
  /** By slot; what `renew` adds to the time, 0 = never expires. Undefined if nothing is renewed. */
  #lifetimeMs: Float64Array | undefined
  /** By slot: its index in the heap, if it is there. */
  #position: Int32Array
  #heapMs: Float64Array
  #heapSlot: Int32Array
  #heapCount = 0
  /** No time in the heap is later: what is set to expire after it, most often the latest, need not look there. */
  #latestMs = 0

  /**
   * @param slotCount slots below this may be asked for before they are set: they never expire
   * @param renewal whether `renew` will be called
   */
  constructor(clock: LruClock, slotCount: number, renewal: 'renewable' | 'fixed') {
    this.#clock = clock
    this.#deadlineMs = new Float64Array(slotCount).fill(Number.NaN)
    if (renewal === 'renewable') this.#lifetimeMs = new Float64Array(slotCount)
    this.#position = new Int32Array(slotCount)
    this.#heapMs = new Float64Array(slotCount)
    this.#heapSlot = new Int32Array(slotCount)
  }

  /** Reads the clock for the calls of `set` and `takeDue` that follow. */
  readClock(): void {
    this.#nowMs = this.#clock.nowMs()
  }

  /** @param lifetimeMs 0 = never expires */
  set(slot: number, lifetimeMs: number): void {
    if (slot >= this.#deadlineMs.length) this.#grow(slot + 1)
    if (this.#lifetimeMs !== undefined) this.#lifetimeMs[slot] = lifetimeMs
    if (lifetimeMs === 0) {
      this.remove(slot)
      return
    }
    const before = this.#deadlineMs[slot] ?? Number.NaN
    const deadlineMs = this.#nowMs + lifetimeMs
    this.#deadlineMs[slot] = deadlineMs
    if (Number.isNaN(before)) this.#rise(this.#heapCount++, deadlineMs, slot)
    else if (deadlineMs < this.#latestMs) this.#bringForward(slot, deadlineMs)
    if (deadlineMs > this.#latestMs) this.#latestMs = deadlineMs
  }

  /** The slot no longer expires. */
  remove(slot: number): void {
    if (!Number.isNaN(this.#deadlineMs[slot])) this.#deadlineMs[slot] = Number.POSITIVE_INFINITY
  }

  /** Counts the slot's lifetime from now again. */
  renew(slot: number): void {
    const lifetimeMs = this.#lifetimeMs?.[slot] ?? 0
    if (lifetimeMs !== 0) this.#deadlineMs[slot] = this.#clock.recentMs() + lifetimeMs
  }

  /** Has the slot's deadline passed? Exact but for what NEAR_MS says. */
  isOver(slot: number): boolean {
    // Nothing at all is due: true of nearly every question, and the slot's own deadline need not be fetched.
    if (this.#heapCount === 0 || (this.#heapMs[0] ?? 0) - this.#clock.recentMs() > NEAR_MS) return false
    const deadlineMs = this.#deadlineMs[slot] ?? Number.POSITIVE_INFINITY
    if (!(deadlineMs - this.#clock.recentMs() <= NEAR_MS)) return false
    return deadlineMs <= this.#clock.nowMs()
  }

  /** A slot whose deadline has passed, the earliest first; NO_SLOT if none was found. It must be set or removed next. */
  takeDue(): number {
    const nowMs = this.#nowMs
    for (let step = 0; step < HEAP_STEPS_MAX; step++) {
      if (this.#heapCount === 0 || (this.#heapMs[0] ?? 0) > nowMs) return NO_SLOT
      const slot = this.#heapSlot[0] ?? NO_SLOT
      const deadlineMs = this.#deadlineMs[slot] ?? 0
      if (deadlineMs <= nowMs || deadlineMs === Number.POSITIVE_INFINITY) this.#dropTop(slot)
      else this.#postpone(deadlineMs, slot)
      if (deadlineMs <= nowMs) return slot
    }
    return NO_SLOT
  }

  /** Gives the top its true time. */
  #postpone(deadlineMs: number, slot: number): void {
    this.#latestMs = Math.max(this.#latestMs, deadlineMs)
    this.#sink(0, deadlineMs, slot)
  }

  #bringForward(slot: number, deadlineMs: number): void {
    const at = this.#position[slot] ?? 0
    if (deadlineMs < (this.#heapMs[at] ?? 0)) this.#rise(at, deadlineMs, slot)
  }

  #dropTop(slot: number): void {
    this.#deadlineMs[slot] = Number.NaN
    const last = --this.#heapCount
    if (last > 0) this.#sink(0, this.#heapMs[last] ?? 0, this.#heapSlot[last] ?? NO_SLOT)
  }

  /** Moves the hole at `at` up to where (timeMs, slot) belongs, and puts that there. */
  #rise(at: number, timeMs: number, slot: number): void {
    while (at > 0) {
      const parent = (at - 1) >> 2
      const parentMs = this.#heapMs[parent] ?? 0
      if (parentMs <= timeMs) break
      this.#place(at, parentMs, this.#heapSlot[parent] ?? NO_SLOT)
      at = parent
    }
    this.#place(at, timeMs, slot)
  }

  /** The same, downwards. */
  #sink(at: number, timeMs: number, slot: number): void {
    for (;;) {
      const first = CHILDREN * at + 1
      const end = Math.min(first + CHILDREN, this.#heapCount)
      let least = at
      let leastMs = timeMs
      for (let child = first; child < end; child++) {
        const childMs = this.#heapMs[child] ?? 0
        if (childMs < leastMs) {
          least = child
          leastMs = childMs
        }
      }
      if (least === at) break
      this.#place(at, leastMs, this.#heapSlot[least] ?? NO_SLOT)
      at = least
    }
    this.#place(at, timeMs, slot)
  }

  #place(at: number, timeMs: number, slot: number): void {
    this.#heapMs[at] = timeMs
    this.#heapSlot[at] = slot
    this.#position[slot] = at
  }

  #grow(slotCount: number): void {
    const length = Math.max(SLOTS_MIN, slotCount, 2 * this.#deadlineMs.length)
    this.#deadlineMs = widened(this.#deadlineMs, new Float64Array(length).fill(Number.NaN))
    if (this.#lifetimeMs !== undefined) {
      this.#lifetimeMs = widened(this.#lifetimeMs, new Float64Array(length))
    }
    this.#position = widened(this.#position, new Int32Array(length))
    this.#heapMs = widened(this.#heapMs, new Float64Array(length))
    this.#heapSlot = widened(this.#heapSlot, new Int32Array(length))
  }
}

function widened<T extends Float64Array | Int32Array>(from: T, into: T): T {
  into.set(from)
  return into
}
