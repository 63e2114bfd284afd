// Which records are due to expire: a hierarchical timing wheel (G. Varghese, T. Lauck: "Hashed and Hierarchical Timing
// Wheels", SOSP 1987), exact to the millisecond.
//
// Between a store, whose records hold the links, and the time it hands in. Knows neither records nor clocks.
//
//   level   a bucket is   256 of them reach        A record lies in the lowest level that reaches its deadline.
//     0       1 ms          256 ms                 A level reaches twice as far as one bucket of the level above is
//     1     128 ms           32 s                  wide, so the bucket whose turn is next there can be dealt out to
//     2      16 s            69 min                the levels below *before* its time begins, a few records a call:
//     3      35 min           6 days               that is what prepare() does. Deadlines beyond the reach of level 5
//     4       3 days          2 years              wait in its farthest bucket and are dealt out anew from there.
//     5       1 year        278 years
//
// Invariant: with `time` what the wheel has reached, level 0 holds deadlines from time to time + 255 (and those that
// were past already when they came, in the bucket of `time`); in a higher level the bucket in which `time` lies is
// empty. So time enters no bucket above level 0 before it has been dealt out, however far the clock jumps.

import { FIRST_SLOT, NO_SLOT, type Slot } from './store.ts'

/** Where records keep what the wheel needs. Links are slots or, at either end of a bucket, the bucket's number. */
export interface ExpiryLinks {
  /** The record's deadline in ms since 1970: an integer above 0. Must not change while the record is in the wheel. */
  expiresAtMs(slot: Slot): number
  next(slot: Slot): number
  setNext(slot: Slot, to: number): void
  prev(slot: Slot): number
  setPrev(slot: Slot, to: number): void
}

const LEVELS = 6
const LEVEL_BUCKETS = 256
const INDEX_MASK = LEVEL_BUCKETS - 1
const WORDS_PER_LEVEL = LEVEL_BUCKETS / 32
const WIDTHS_MS = [1, 2 ** 7, 2 ** 14, 2 ** 21, 2 ** 28, 2 ** 35] as const
/** Holds what a clock that was set back left in buckets that are no longer theirs, until it is dealt out. */
const LIMBO = LEVELS * LEVEL_BUCKETS + LEVEL_BUCKETS
/** Buckets number 256 to 1792: below FIRST_SLOT, so that a link can hold either. */
const BUCKET_NUMBERS = LIMBO + 1

export class ExpiryWheel {
  readonly #links: ExpiryLinks
  /** First and last record of each bucket; NO_SLOT when empty. Numbers below LEVEL_BUCKETS are no buckets. */
  readonly #heads = new Uint32Array(BUCKET_NUMBERS)
  readonly #tails = new Uint32Array(BUCKET_NUMBERS)
  /** One bit per bucket of each level: is anything in it. */
  readonly #occupied = new Uint32Array(LEVELS * WORDS_PER_LEVEL)
  #count = 0
  #time = 0
  /** Nothing is due, and no bucket's time begins, before this. */
  #quietUntil = 0
  #dealt = 0

  constructor(links: ExpiryLinks) {
    this.#links = links
  }

  /** Number of records in the wheel. */
  get count(): number {
    return this.#count
  }

  /** How many records the last `nextDue` dealt out to other buckets before it returned. */
  get dealt(): number {
    return this.#dealt
  }

  /** Takes a record in. `nowMs`, where it is known, gives an empty wheel the time to start from. */
  add(slot: Slot, nowMs: number = this.#time): void {
    if (this.#count === 0) {
      this.#time = nowMs
      this.#quietUntil = Number.POSITIVE_INFINITY
    }
    this.#count++
    this.#place(slot)
  }

  /** Takes a record out. It must be in. */
  remove(slot: Slot): void {
    this.#count--
    this.#unlink(slot)
  }

  /** A record moved to another slot, its links and deadline were copied there. */
  replace(oldSlot: Slot, newSlot: Slot): void {
    const next = this.#links.next(oldSlot)
    const prev = this.#links.prev(oldSlot)
    if (next < FIRST_SLOT) this.#tails[next] = newSlot
    else this.#links.setPrev(next, newSlot)
    if (prev < FIRST_SLOT) this.#heads[prev] = newSlot
    else this.#links.setNext(prev, newSlot)
  }

  /**
   * A record whose deadline is at or before `nowMs`, still in the wheel: the caller removes it, or will get it again.
   * NO_SLOT: there is none. In no promised order.
   *
   * Where a bucket must be dealt out on the way, the call deals at most `dealtMax` records; NO_SLOT with `dealt` =
   * `dealtMax` means that it stopped there, and to go on, call again. Upkeep passes a small bound. Whoever must free
   * memory now passes none, so that nothing live is evicted while anything due takes up room; since upkeep has dealt
   * out ahead of time, that call finds its work done, or else pays once for the upkeep that was left undone.
   *
   * Time may go backwards: what is not due by the new time comes due later, at its deadline.
   */
  nextDue(nowMs: number, dealtMax: number = Number.POSITIVE_INFINITY): Slot {
    this.#dealt = 0
    if (nowMs < this.#time) {
      this.#setBack(nowMs)
    } else if (nowMs < this.#quietUntil) {
      this.#time = nowMs
      return NO_SLOT
    }
    for (;;) {
      const bucket = this.#headOf(LIMBO) === NO_SLOT ? this.#advance(nowMs) : LIMBO
      if (bucket === 0) return NO_SLOT
      for (let slot = this.#headOf(bucket); slot !== NO_SLOT; slot = this.#headOf(bucket)) {
        if (this.#links.expiresAtMs(slot) <= nowMs) return slot
        if (this.#dealt === dealtMax) return NO_SLOT
        this.#dealt++
        this.#unlink(slot)
        this.#place(slot)
      }
    }
  }

  /** Deals out up to `recordsMax` records ahead of their buckets' time; returns how many. 0: nothing to do for now. */
  prepare(recordsMax: number): number {
    let dealt = this.#deal(LIMBO, recordsMax)
    for (let level = LEVELS - 1; level > 0 && dealt < recordsMax; level--)
      dealt += this.#deal(bucketAt(level, tickAt(level, this.#time) + 1), recordsMax - dealt)
    return dealt
  }

  /**
   * Moves time on towards `nowMs` up to the next bucket that needs something done, and returns that bucket: one of
   * level 0 that is due, or one of a higher level whose time is about to begin. 0 when time has reached `nowMs`.
   */
  #advance(nowMs: number): number {
    const dueMs = this.#firstOccupied(0, this.#time)
    let beginsMs = Number.POSITIVE_INFINITY
    let bucket = 0
    for (let level = 1; level < LEVELS; level++) {
      const tick = this.#firstOccupied(level, tickAt(level, this.#time) + 1)
      const startMs = tick * widthOf(level)
      if (startMs < beginsMs) {
        beginsMs = startMs
        bucket = bucketAt(level, tick)
      }
    }
    if (dueMs < beginsMs && dueMs <= nowMs) {
      this.#time = dueMs
      return bucketAt(0, dueMs)
    }
    if (beginsMs <= nowMs) {
      this.#time = Math.max(this.#time, beginsMs - 1)
      return bucket
    }
    this.#time = nowMs
    this.#quietUntil = Math.min(dueMs, beginsMs)
    return 0
  }

  /** The clock was set back: whatever lies farther ahead now than its level reaches goes to limbo. */
  #setBack(nowMs: number): void {
    // The bucket of `time` also holds what was past when it came: that need not be past any more.
    this.#toLimbo(bucketAt(0, this.#time))
    for (let level = 0; level < LEVELS; level++) {
      const end = tickAt(level, this.#time) + LEVEL_BUCKETS
      const reach = tickAt(level, nowMs) + LEVEL_BUCKETS
      // Backwards from the end of the former reach; more than once around would only meet the same buckets again.
      for (let tick = end - 1; tick >= reach && tick >= end - LEVEL_BUCKETS; tick--)
        this.#toLimbo(bucketAt(level, tick))
    }
    this.#time = nowMs
    this.#quietUntil = 0
  }

  #place(slot: Slot): void {
    const deadlineMs = Math.max(this.#links.expiresAtMs(slot), this.#time)
    let level = 0
    let tick = deadlineMs
    let first = this.#time
    while (tick - first >= LEVEL_BUCKETS) {
      if (++level === LEVELS) {
        level--
        tick = first + INDEX_MASK
        break
      }
      tick = tickAt(level, deadlineMs)
      first = tickAt(level, this.#time)
    }
    this.#quietUntil = Math.min(this.#quietUntil, tick * widthOf(level))
    this.#append(slot, bucketAt(level, tick))
  }

  #append(slot: Slot, bucket: number): void {
    const tail = this.#tails[bucket] ?? NO_SLOT
    this.#links.setNext(slot, bucket)
    this.#tails[bucket] = slot
    if (tail === NO_SLOT) {
      this.#links.setPrev(slot, bucket)
      this.#heads[bucket] = slot
      this.#mark(bucket)
    } else {
      this.#links.setPrev(slot, tail)
      this.#links.setNext(tail, slot)
    }
  }

  #unlink(slot: Slot): void {
    const next = this.#links.next(slot)
    const prev = this.#links.prev(slot)
    if (next < FIRST_SLOT) this.#tails[next] = prev < FIRST_SLOT ? NO_SLOT : prev
    else this.#links.setPrev(next, prev)
    if (prev >= FIRST_SLOT) {
      this.#links.setNext(prev, next)
    } else {
      this.#heads[prev] = next < FIRST_SLOT ? NO_SLOT : next
      if (next < FIRST_SLOT) this.#unmark(prev)
    }
  }

  #deal(bucket: number, recordsMax: number): number {
    let dealt = 0
    for (; dealt < recordsMax; dealt++) {
      const slot = this.#headOf(bucket)
      if (slot === NO_SLOT) break
      this.#unlink(slot)
      this.#place(slot)
    }
    return dealt
  }

  /** Hangs a whole bucket onto limbo's end. */
  #toLimbo(bucket: number): void {
    const head = this.#headOf(bucket)
    if (head === NO_SLOT) return
    const tail = this.#tails[bucket] ?? NO_SLOT
    const limboTail = this.#tails[LIMBO] ?? NO_SLOT
    if (limboTail === NO_SLOT) {
      this.#heads[LIMBO] = head
      this.#links.setPrev(head, LIMBO)
    } else {
      this.#links.setNext(limboTail, head)
      this.#links.setPrev(head, limboTail)
    }
    this.#links.setNext(tail, LIMBO)
    this.#tails[LIMBO] = tail
    this.#heads[bucket] = NO_SLOT
    this.#tails[bucket] = NO_SLOT
    this.#unmark(bucket)
  }

  #headOf(bucket: number): Slot {
    return this.#heads[bucket] ?? NO_SLOT
  }

  #mark(bucket: number): void {
    if (bucket === LIMBO) return
    const word = (bucket - LEVEL_BUCKETS) >>> 5
    this.#occupied[word] = (this.#occupied[word] ?? 0) | (1 << (bucket & 31))
  }

  #unmark(bucket: number): void {
    if (bucket === LIMBO) return
    const word = (bucket - LEVEL_BUCKETS) >>> 5
    this.#occupied[word] = (this.#occupied[word] ?? 0) & ~(1 << (bucket & 31))
  }

  /** The first occupied tick of a level among the 256 from `from` on; Infinity if there is none. */
  #firstOccupied(level: number, from: number): number {
    const start = from & INDEX_MASK
    const words = level * WORDS_PER_LEVEL
    for (let i = 0; i <= WORDS_PER_LEVEL; i++) {
      const word = ((start >>> 5) + i) & (WORDS_PER_LEVEL - 1)
      let bits = this.#occupied[words + word] ?? 0
      // The word of `start` is met twice: now its bits from start on, at the end those below.
      if (i === 0) bits &= -1 << (start & 31)
      if (bits !== 0) {
        const index = (word << 5) + 31 - Math.clz32(bits & -bits)
        return from + ((index - start) & INDEX_MASK)
      }
    }
    return Number.POSITIVE_INFINITY
  }
}

/** A level's bucket numbers follow those of the level below; 0 to 255 are left free, so that 0 is never a bucket. */
function bucketAt(level: number, tick: number): number {
  return (level + 1) * LEVEL_BUCKETS + (tick & INDEX_MASK)
}

function tickAt(level: number, timeMs: number): number {
  return Math.floor(timeMs / widthOf(level))
}

function widthOf(level: number): number {
  return WIDTHS_MS[level] ?? 1
}
