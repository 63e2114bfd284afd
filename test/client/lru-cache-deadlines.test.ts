// Finding what is due, without a cache around it: against an array.

import { describe, expect, it } from 'vitest'
import type { LruClock } from '../../client/lru-clock.ts'
import { Deadlines } from '../../client/lru-deadlines.ts'
import { NO_SLOT } from '../../client/lru-recency.ts'
import { forEachSeed, seedRange } from '../server/store/random.ts'

const NEVER = 0

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
      const renewal = random.oneIn(2) ? 'renewable' : 'fixed'
      const deadlines = new Deadlines(clock, 1 + slots, renewal)
      const wanted = new Map<number, { deadlineMs: number; lifetimeMs: number }>()
      for (let step = 0; step < 2000; step++) {
        const slot = 1 + random.below(slots)
        deadlines.readClock()
        switch (random.below(6)) {
          case 0:
            deadlines.set(slot, NEVER)
            wanted.delete(slot)
            break
          case 1:
            if (wanted.delete(slot)) deadlines.remove(slot)
            break
          case 2: {
            const entry = wanted.get(slot)
            if (renewal === 'fixed' || entry === undefined || entry.deadlineMs <= clock.time) break
            deadlines.renew(slot)
            entry.deadlineMs = clock.time + entry.lifetimeMs
            break
          }
          default: {
            const lifetimeMs = 1 + random.below(random.pick([5, 50, 2000]))
            deadlines.set(slot, lifetimeMs)
            wanted.set(slot, { deadlineMs: clock.time + lifetimeMs, lifetimeMs })
          }
        }
        if (random.oneIn(10)) clock.time += random.below(40)
        deadlines.readClock()
        if (random.oneIn(50)) expect(takeAll(deadlines)).toEqual(removeDue(wanted, clock.time))
      }
      clock.time += 1e6
      deadlines.readClock()
      expect(takeAll(deadlines)).toEqual(removeDue(wanted, clock.time))
    })
  })

  it('gives the earliest first', () => {
    const clock = clockAt(0)
    const deadlines = new Deadlines(clock, 0, 'fixed')
    for (const [slot, lifetimeMs] of [30, 10, 50, 20, 40, 60].entries()) deadlines.set(slot + 1, lifetimeMs)
    clock.time = 50
    deadlines.readClock()
    const order = Array.from({ length: 5 }, () => deadlines.takeDue())
    expect(order).toEqual([2, 4, 1, 5, 3])
    expect(deadlines.takeDue()).toBe(NO_SLOT)
  })

  it('gives a slot whose deadline was brought forward', () => {
    const clock = clockAt(0)
    const deadlines = new Deadlines(clock, 0, 'fixed')
    for (let slot = 1; slot <= 100; slot++) deadlines.set(slot, 1000)
    deadlines.set(77, 10)
    clock.time = 9
    deadlines.readClock()
    expect(deadlines.takeDue()).toBe(NO_SLOT)
    clock.time = 10
    deadlines.readClock()
    expect(deadlines.takeDue()).toBe(77)
  })
})

/** Asks often enough for every outdated time to be passed. */
function takeAll(deadlines: Deadlines): number[] {
  const due: number[] = []
  for (let misses = 0; misses < 20; ) {
    const slot = deadlines.takeDue()
    if (slot === NO_SLOT) misses++
    else {
      deadlines.remove(slot)
      due.push(slot)
    }
  }
  return due.sort((a, b) => a - b)
}

function removeDue(entries: Map<number, { deadlineMs: number }>, nowMs: number): number[] {
  const due = [...entries].filter(([, { deadlineMs }]) => deadlineMs <= nowMs).map(([slot]) => slot)
  for (const slot of due) entries.delete(slot)
  return due.sort((a, b) => a - b)
}
