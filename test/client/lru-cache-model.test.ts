// The in-process cache against its model: every short sequence of operations, then long random ones.

import { afterEach, describe, expect, it, vi } from 'vitest'
import { LruCache } from '../../client/lru-cache.ts'
import { forEachSeed, type Random, seedRange } from '../server/store/random.ts'
import { type ModelOptions, type Operation, Pair } from './lru-model.ts'

const NEVER = Number.POSITIVE_INFINITY

afterEach(() => {
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

/** A clock without any of the machinery of fake timers, for millions of steps. */
function stubClock(): { advance(ms: number): void } {
  let nowMs = performance.now()
  vi.stubGlobal('performance', { now: () => nowMs })
  return {
    advance(ms) {
      nowMs += ms
    },
  }
}

/** Lifetimes of 2, 4 and ∞ ms against steps of 1 ms: short enough to expire within a sequence. */
const ALPHABET: readonly Operation[] = [
  { do: 'set', key: 'a', value: 0, options: {} },
  { do: 'set', key: 'b', value: 0, options: { ttlSeconds: 0.004 } },
  { do: 'set', key: 'c', value: 0, options: { ttlSeconds: NEVER, sizeBytes: 2 } },
  { do: 'get', key: 'a' },
  { do: 'get', key: 'b' },
  { do: 'delete', key: 'a' },
  { do: 'advance', ms: 1 },
]
const LENGTH_MAX = 6
const SMALL: ModelOptions = { maxEntries: 2, maxBytes: NEVER, ttlSeconds: 0.002, renewOnHit: false }

describe('every sequence of up to six operations gives the answers of the model', () => {
  it.each<[name: string, kind: 'plain' | 'loading', options: ModelOptions]>([
    ['room for two', 'plain', SMALL],
    ['room for three bytes', 'plain', { ...SMALL, maxEntries: 9, maxBytes: 3 }],
    ['renewed on hit, with a loader', 'loading', { ...SMALL, renewOnHit: true }],
  ])('%s', (_, kind, options) => {
    const clock = stubClock()
    for (let length = 1; length <= LENGTH_MAX; length++) {
      for (let number = 0; number < ALPHABET.length ** length; number++) {
        runSequence(new Pair(options, kind, clock), number, length)
      }
    }
  })
})

function runSequence(pair: Pair, number: number, length: number): void {
  const done: Operation[] = []
  let rest = number
  try {
    for (let at = 1; at <= length; at++) {
      const operation = ALPHABET[rest % ALPHABET.length]
      if (operation === undefined) throw new Error('no operation')
      rest = Math.floor(rest / ALPHABET.length)
      // Each value is a new one, so that none can be taken for another.
      done.push(operation.do === 'set' ? { ...operation, value: at } : operation)
      pair.step(done[at - 1] ?? operation)
    }
    pair.check()
  } catch (error) {
    throw new Error(`${String(error)} after ${JSON.stringify(done)}`, { cause: error })
  }
}

describe('random operations', () => {
  it(`give the answers of the model (${seedRange(40)})`, () => {
    vi.useFakeTimers()
    const clock = { advance: (ms: number) => void vi.advanceTimersByTime(ms) }
    forEachSeed(40, (random) => {
      // Up to 16 slots a cache finds every expired entry; beyond, see the next test.
      const options: ModelOptions = {
        maxEntries: 1 + random.below(16),
        maxBytes: random.oneIn(2) ? NEVER : 1 + random.below(40),
        ttlSeconds: random.pick([0.005, 0.5, 20, NEVER]),
        renewOnHit: random.oneIn(2),
      }
      const keys = 1 + random.below(30)
      const pair = new Pair(options, random.pick(['plain', 'loading']), clock)
      for (let step = 1; step <= 1500; step++) {
        pair.step(randomOperation(random, keys, step))
        if (step % 16 === 0) pair.check()
      }
      pair.check()
    })
  })

  it(`on thousands of entries serve nothing expired or overwritten, and lose no value (${seedRange(4)})`, () => {
    const clock = stubClock()
    forEachSeed(4, (random) => runMany(random, clock))
  })
})

function randomOperation(random: Random, keys: number, step: number): Operation {
  const key = `key ${random.below(keys)}`
  if (random.oneIn(200)) return { do: 'clear' }
  if (random.oneIn(8)) return { do: 'advance', ms: random.pick([1, 3, 40, 700, 15_000]) }
  if (random.oneIn(3)) return { do: random.pick(['peek', 'has', 'delete']), key }
  if (random.oneIn(2)) return { do: 'get', key }
  const ttl = random.oneIn(2) ? {} : { ttlSeconds: random.pick([0.002, 0.01, 1, 60, 3600, NEVER]) }
  const size = random.oneIn(2) ? {} : { sizeBytes: 1 + random.below(random.oneIn(9) ? 60 : 6) }
  return { do: 'set', key, value: step, options: { ...ttl, ...size } }
}

function runMany(random: Random, clock: { advance(ms: number): void }): void {
  const maxEntries = 3000
  const latest = new Map<number, { value: number; deadlineMs: number }>()
  const disposed = new Set<number>()
  let nowMs = 0
  let stored = 0
  const cache = new LruCache<number, number>({
    maxEntries,
    onDispose(value) {
      if (disposed.has(value)) throw new Error(`value ${value} was disposed of twice`)
      disposed.add(value)
    },
  })
  for (let step = 1; step <= 60_000; step++) {
    const key = random.below(5000)
    if (random.oneIn(3)) {
      const entry = latest.get(key)
      const value = cache.get(key)
      if (value !== undefined && (entry?.value !== value || entry.deadlineMs <= nowMs))
        throw new Error(`key ${key} at ${nowMs} ms: got ${value}, the latest was ${JSON.stringify(entry)}`)
    } else if (random.oneIn(20)) {
      cache.delete(key)
      latest.delete(key)
    } else {
      const lifetimeMs = 1 + random.below(900)
      cache.set(key, step, { ttlSeconds: lifetimeMs / 1000 })
      latest.set(key, { value: step, deadlineMs: nowMs + lifetimeMs })
      stored++
    }
    if (random.oneIn(50)) {
      const ms = random.below(20)
      nowMs += ms
      clock.advance(ms)
    }
    if (cache.size > maxEntries) throw new Error(`step ${step}: size ${cache.size}`)
  }
  expect(disposed.size + cache.size).toBe(stored)
}
