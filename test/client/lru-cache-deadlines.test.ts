// Finding what is due, without a cache around it: against an array.

import { describe, expect, it } from 'vitest'
import type { LruClock } from '../../client/lru-clock.ts'
import { Deadlines } from '../../client/lru-deadlines.ts'
import { NO_SLOT } from '../../client/lru-recency.ts'
import { forEachSeed, seedRange } from '../server/store/random.ts'

const NEVER = Number.POSITIVE_INFINITY

function clockAt(nowMs: number): LruClock & { time: number } {
  return {
    time: nowMs,
    nowMs() {
      return this.time
    },
    recentMs() {
      return this.time
    },
  }
}

describe('takeDue', () => {
  it(`finds each slot that is due once, and no other, whatever happened to it before (${seedRange(60)})`, () => {
    forEachSeed(60, (random) => {
      const clock = clockAt(0)
      const slots = 1 + random.below(300)
      const deadlines = new Deadlines(clock, 1 + random.below(slots), random.pick(['renewable', 'fixed']))
      const wanted = new Map<number, number>()
      for (let step = 0; step < 2000; step++) {
        const slot = 1 + random.below(slots)
        switch (random.below(5)) {
          case 0:
            deadlines.set(slot, clock.time, NEVER)
            wanted.delete(slot)
            break
          case 1:
            if (wanted.delete(slot)) deadlines.remove(slot)
            break
          default: {
            const lifetimeMs = 1 + random.below(random.pick([5, 50, 2000]))
            deadlines.set(slot, clock.time, lifetimeMs)
            wanted.set(slot, clock.time + lifetimeMs)
          }
        }
        if (random.oneIn(10)) clock.time += random.below(40)
        if (random.oneIn(50)) expect(takeAll(deadlines, clock.time)).toEqual(removeDue(wanted, clock.time))
      }
      clock.time += 1e6
      expect(takeAll(deadlines, clock.time)).toEqual(removeDue(wanted, clock.time))
    })
  })

  it('gives the earliest first', () => {
    const deadlines = new Deadlines(clockAt(0), 0, 'fixed')
    for (const [slot, lifetimeMs] of [30, 10, 50, 20, 40, 60].entries())
      deadlines.set(slot + 1, 0, lifetimeMs)
    const order = Array.from({ length: 5 }, () => deadlines.takeDue(50))
    expect(order).toEqual([2, 4, 1, 5, 3])
    expect(deadlines.takeDue(50)).toBe(NO_SLOT)
  })

  it('gives a slot whose deadline was brought forward', () => {
    const deadlines = new Deadlines(clockAt(0), 0, 'fixed')
    for (let slot = 1; slot <= 100; slot++) deadlines.set(slot, 0, 1000)
    deadlines.set(77, 0, 10)
    expect(deadlines.takeDue(9)).toBe(NO_SLOT)
    expect(deadlines.takeDue(10)).toBe(77)
  })
})

/** Asks often enough for every outdated time to be passed. */
function takeAll(deadlines: Deadlines, nowMs: number): number[] {
  const due: number[] = []
  for (let misses = 0; misses < 20; ) {
    const slot = deadlines.takeDue(nowMs)
    if (slot === NO_SLOT) misses++
    else {
      expect(deadlines.isOver(slot)).toBe(true)
      deadlines.remove(slot)
      due.push(slot)
    }
  }
  return due.sort((a, b) => a - b)
}

function removeDue(deadlines: Map<number, number>, nowMs: number): number[] {
  const due = [...deadlines].filter(([, deadlineMs]) => deadlineMs <= nowMs).map(([slot]) => slot)
  for (const slot of due) deadlines.delete(slot)
  return due.sort((a, b) => a - b)
}
