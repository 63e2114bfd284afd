import { describe, expect, it } from 'vitest'
import { type ExpiryLinks, ExpiryWheel } from '../../../server/store/expiry.ts'
import { FIRST_SLOT, NO_SLOT, type Slot } from '../../../server/store/store.ts'
import { forEachSeed, randomFrom } from './random.ts'

const START_MS = 1_704_067_200_000
const SECOND = 1000
const HOUR = 3600 * SECOND
const DAY = 24 * HOUR
const YEAR = 366 * DAY

/** Records that have nothing but a deadline and links, numbered from FIRST_SLOT on. */
class Deadlines implements ExpiryLinks {
  readonly of = new Map<Slot, number>()
  readonly nexts = new Map<Slot, number>()
  readonly prevs = new Map<Slot, number>()
  /** How often the wheel wrote a link: a measure of its work. */
  writes = 0

  expiresAtMs(slot: Slot): number {
    return this.#known(this.of, slot)
  }
  next(slot: Slot): number {
    return this.#known(this.nexts, slot)
  }
  prev(slot: Slot): number {
    return this.#known(this.prevs, slot)
  }
  setNext(slot: Slot, to: number): void {
    this.#known(this.of, slot)
    this.writes++
    this.nexts.set(slot, to)
  }
  setPrev(slot: Slot, to: number): void {
    this.#known(this.of, slot)
    this.prevs.set(slot, to)
  }

  #known(map: Map<Slot, number>, slot: Slot): number {
    const value = map.get(slot)
    if (value === undefined) throw new Error(`the wheel asked for ${slot}, which is not there`)
    return value
  }
}

class Bench {
  readonly links = new Deadlines()
  readonly wheel = new ExpiryWheel(this.links)
  #slots = FIRST_SLOT

  add(deadlineMs: number, nowMs?: number): Slot {
    const slot = this.#slots++
    this.links.of.set(slot, deadlineMs)
    this.wheel.add(slot, nowMs)
    return slot
  }

  remove(slot: Slot): void {
    this.wheel.remove(slot)
    this.links.of.delete(slot)
    this.links.nexts.delete(slot)
    this.links.prevs.delete(slot)
  }

  /** What an arena does when it moves a record. */
  move(slot: Slot): Slot {
    const moved = this.#slots++
    this.links.of.set(moved, this.links.expiresAtMs(slot))
    this.links.nexts.set(moved, this.links.next(slot))
    this.links.prevs.set(moved, this.links.prev(slot))
    this.wheel.replace(slot, moved)
    this.links.of.delete(slot)
    this.links.nexts.delete(slot)
    this.links.prevs.delete(slot)
    return moved
  }

  /** Takes everything out that is due. */
  drain(nowMs: number, dealtMax?: number): number[] {
    const due: number[] = []
    for (;;) {
      const slot = this.wheel.nextDue(nowMs, dealtMax)
      if (slot === NO_SLOT) {
        if (dealtMax !== undefined && this.wheel.dealt === dealtMax) continue
        return due
      }
      due.push(this.links.expiresAtMs(slot))
      this.remove(slot)
    }
  }
}

describe('ExpiryWheel', () => {
  it('finds a record due at its deadline and not a millisecond before', () => {
    // Both sides of every edge between levels, from wherever in its bucket time stands.
    const edges = [1, 127, 128, 255, 256, 257, 16_383, 16_384, 32_640, 32_767, 32_768]
    for (let level = 3; level <= 5; level++)
      for (const off of [-128, -1, 0, 1, 128]) edges.push(2 ** (7 * level) + off, 2 ** (7 * level + 1) + off)
    for (const startMs of [START_MS, START_MS + 127, START_MS + 77, 2 ** 41 - 1, 2 ** 42])
      for (const delay of edges) {
        const bench = new Bench()
        bench.add(startMs + delay, startMs)
        expect(bench.drain(startMs)).toEqual([])
        expect(bench.drain(startMs + delay - 1)).toEqual([])
        expect(bench.drain(startMs + delay)).toEqual([startMs + delay])
        expect(bench.wheel.count).toBe(0)
      }
  })

  it('finds every record of many at its own millisecond, ticking', () => {
    const bench = new Bench()
    const random = randomFrom(1)
    const expected = new Map<number, number>()
    for (let i = 0; i < 3000; i++) {
      const deadline = START_MS + random.below(3000)
      bench.add(deadline, START_MS)
      expected.set(deadline, (expected.get(deadline) ?? 0) + 1)
    }
    for (let now = START_MS; now < START_MS + 3000; now++) {
      const due = bench.drain(now)
      expect(due).toEqual(new Array(expected.get(now) ?? 0).fill(now))
    }
    expect(bench.wheel.count).toBe(0)
  })

  it('jumps over a year, whether there is something on the way or not', () => {
    const bench = new Bench()
    bench.add(START_MS + 10, START_MS)
    bench.add(START_MS + DAY, START_MS)
    bench.add(START_MS + 2 * YEAR, START_MS)
    expect(bench.drain(START_MS + YEAR).sort()).toEqual([START_MS + 10, START_MS + DAY])
    bench.add(START_MS + YEAR + 5)
    expect(bench.drain(START_MS + YEAR + 4)).toEqual([])
    expect(bench.drain(START_MS + YEAR + 5)).toEqual([START_MS + YEAR + 5])
    expect(bench.drain(START_MS + 2 * YEAR - 1)).toEqual([])
    expect(bench.drain(START_MS + 2 * YEAR)).toEqual([START_MS + 2 * YEAR])
  })

  it('does work for records, not for milliseconds', () => {
    const bench = new Bench()
    for (let i = 0; i < 10; i++) bench.add(START_MS + 90 * YEAR + i, START_MS)
    bench.links.writes = 0
    for (let month = 1; month < 12 * 90; month++) expect(bench.drain(START_MS + month * 30 * DAY)).toEqual([])
    // Each record moves down at the most once per level.
    expect(bench.links.writes).toBeLessThan(10 * 6 * 4)
  })

  it('holds deadlines beyond the reach of its last level', () => {
    const bench = new Bench()
    const farthest = 2 ** 48 - 1
    bench.add(farthest, START_MS)
    bench.add(START_MS + 300 * YEAR, START_MS)
    expect(bench.drain(START_MS + 300 * YEAR - 1)).toEqual([])
    expect(bench.drain(START_MS + 300 * YEAR)).toEqual([START_MS + 300 * YEAR])
    expect(bench.drain(farthest - 1)).toEqual([])
    expect(bench.drain(farthest)).toEqual([farthest])
  })

  it('returns what is past already when it comes', () => {
    const bench = new Bench()
    bench.add(START_MS + HOUR, START_MS)
    expect(bench.drain(START_MS)).toEqual([])
    bench.add(START_MS - DAY)
    bench.add(START_MS)
    expect(bench.drain(START_MS).sort()).toEqual([START_MS - DAY, START_MS])
  })

  it('returns the same record until it is removed', () => {
    const bench = new Bench()
    const slot = bench.add(START_MS, START_MS)
    expect(bench.wheel.nextDue(START_MS)).toBe(slot)
    expect(bench.wheel.nextDue(START_MS)).toBe(slot)
    bench.remove(slot)
    expect(bench.wheel.nextDue(START_MS)).toBe(NO_SLOT)
  })

  it('deals no more records than it was told, and comes to the same in the end', () => {
    const bench = new Bench()
    // One bucket of a high level, full of records of which one is due.
    for (let i = 0; i < 1000; i++) bench.add(START_MS + DAY + 60 * SECOND + i, START_MS)
    const due = START_MS + DAY + 1
    bench.add(due, START_MS)
    let calls = 0
    for (;;) {
      bench.links.writes = 0
      const slot = bench.wheel.nextDue(due, 10)
      calls++
      expect(bench.wheel.dealt).toBeLessThanOrEqual(10)
      expect(bench.links.writes).toBeLessThanOrEqual(10 * 4)
      if (slot !== NO_SLOT) break
      expect(bench.wheel.dealt).toBe(10)
    }
    expect(calls).toBeGreaterThan(10)
    expect(bench.drain(due)).toEqual([due])
  })

  it('finds what is due in one call when it is told no bound', () => {
    const bench = new Bench()
    for (let i = 0; i < 1000; i++) bench.add(START_MS + DAY + 60 * SECOND + i, START_MS)
    const slot = bench.add(START_MS + DAY + 1, START_MS)
    expect(bench.wheel.nextDue(START_MS + DAY + 1)).toBe(slot)
  })

  it('finds nothing left to deal once it was prepared', () => {
    const bench = new Bench()
    const deadline = START_MS + HOUR
    for (let i = 0; i < 5000; i++) bench.add(deadline + i, START_MS)
    for (let now = START_MS; now < deadline; now += 64) {
      expect(bench.wheel.nextDue(now, 0)).toBe(NO_SLOT)
      while (bench.wheel.prepare(50) === 50);
    }
    expect(bench.wheel.nextDue(deadline - 1)).toBe(NO_SLOT)
    expect(bench.wheel.dealt).toBe(0)
    expect(bench.drain(deadline + 2499)).toHaveLength(2500)
    expect(bench.drain(deadline + 4999)).toHaveLength(2500)
  })

  it('loses nothing and returns nothing early when the clock is set back', () => {
    for (const back of [1, 100, 255, 256, 300, 40_000, HOUR, DAY, YEAR, 40 * YEAR]) {
      const bench = new Bench()
      const delays = [1, 50, 200, 255, 256, 300, 5000, 33_000, 2 * HOUR, 3 * DAY, 2 * YEAR]
      for (const delay of delays) bench.add(START_MS + delay, START_MS)
      expect(bench.drain(START_MS)).toEqual([])
      const now = START_MS - back
      expect(bench.drain(now)).toEqual([])
      // New ones between the new time and the former one.
      bench.add(now + 1)
      bench.add(START_MS)
      expect(bench.drain(now)).toEqual([])
      expect(bench.drain(now + 1)).toContain(now + 1)
      bench.drain(START_MS)
      expect(bench.wheel.count).toBe(delays.length)
      for (const delay of delays) {
        expect(bench.drain(START_MS + delay - 1)).toEqual([])
        expect(bench.drain(START_MS + delay)).toEqual([START_MS + delay])
      }
    }
  })

  it('deals out what a clock set back has left behind, a few at a time', () => {
    const bench = new Bench()
    for (let i = 0; i < 100; i++) bench.add(START_MS + HOUR + i * SECOND, START_MS)
    expect(bench.drain(START_MS)).toEqual([])
    expect(bench.wheel.nextDue(START_MS - YEAR, 10)).toBe(NO_SLOT)
    expect(bench.wheel.dealt).toBe(10)
    expect(bench.wheel.nextDue(START_MS - YEAR, 10)).toBe(NO_SLOT)
    expect(bench.wheel.dealt).toBe(10)
    expect(bench.wheel.prepare(1000)).toBe(80)
    expect(bench.wheel.prepare(1000)).toBe(0)
    expect(bench.drain(START_MS + HOUR - 1)).toEqual([])
    expect(bench.drain(START_MS + 2 * HOUR)).toHaveLength(100)
  })

  it('keeps what was late when the clock goes back below its deadline', () => {
    const bench = new Bench()
    bench.add(START_MS + DAY, START_MS)
    bench.drain(START_MS)
    bench.add(START_MS - 10)
    expect(bench.drain(START_MS - 20)).toEqual([])
    expect(bench.drain(START_MS - 11)).toEqual([])
    expect(bench.drain(START_MS - 10)).toEqual([START_MS - 10])
  })

  it('starts anew from the time it is told when it was empty', () => {
    const bench = new Bench()
    bench.remove(bench.add(START_MS + 10, START_MS))
    bench.links.writes = 0
    bench.add(START_MS + 50 * YEAR + 10, START_MS + 50 * YEAR)
    expect(bench.drain(START_MS + 50 * YEAR + 10)).toEqual([START_MS + 50 * YEAR + 10])
    expect(bench.links.writes).toBeLessThan(3)
  })

  it('agrees with a sorted list, whatever comes', () => {
    forEachSeed(150, (random) => {
      const bench = new Bench()
      let slots: Slot[] = []
      let now = START_MS + random.below(DAY)
      const someTime = () =>
        random.below(random.pick([3, 300, 3 * SECOND, 40 * SECOND, HOUR, 10 * DAY, 3 * YEAR]))
      for (let step = 0; step < 400; step++) {
        const action = random.below(12)
        if (action < 5)
          slots.push(bench.add(now + someTime() - random.below(3), random.oneIn(2) ? now : undefined))
        else if (action < 6 && slots.length > 0)
          bench.remove(slots.splice(random.below(slots.length), 1)[0] ?? 0)
        else if (action < 7 && slots.length > 0) {
          const at = random.below(slots.length)
          slots[at] = bench.move(slots[at] ?? 0)
        } else if (action < 8) bench.wheel.prepare(random.below(20))
        else {
          now += random.oneIn(4) ? -someTime() : someTime()
          const isDue = (slot: Slot) => bench.links.expiresAtMs(slot) <= now
          const due = slots.filter(isDue).map((slot) => bench.links.expiresAtMs(slot))
          slots = slots.filter((slot) => !isDue(slot))
          const drained = bench.drain(now, random.oneIn(2) ? 1 + random.below(5) : undefined)
          expect(drained.sort()).toEqual(due.sort())
        }
        expect(bench.wheel.count).toBe(slots.length)
      }
    })
  })
})
