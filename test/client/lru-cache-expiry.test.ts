// Expiry of the in-process cache. Time is that of vitest's fake timers, which also replace performance.now.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { LruCache } from '../../client/lru-cache.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const pass = (seconds: number) => vi.advanceTimersByTime(seconds * 1000)

describe('an entry', () => {
  it('is there until its time is over, and not a moment longer', () => {
    const cache = new LruCache<string, number>({ maxEntries: 10, ttlSeconds: 60 })
    cache.set('key', 1)
    pass(59.999)
    expect(cache.get('key')).toBe(1)
    expect(cache.has('key')).toBe(true)
    pass(0.001)
    expect(cache.has('key')).toBe(false)
    expect(cache.peek('key')).toBeUndefined()
    expect([...cache.keys(), ...cache.entries()]).toEqual([])
    expect(cache.get('key')).toBeUndefined()
  })

  it('may have a time of its own, a fraction of a second too, or none', () => {
    const cache = new LruCache<string, string>({ maxEntries: 10, ttlSeconds: 60 })
    cache.set('short', 'value', { ttlSeconds: 0.25 })
    cache.set('long', 'value', { ttlSeconds: 1e7 })
    cache.set('never', 'value', { ttlSeconds: Number.POSITIVE_INFINITY })
    cache.set('default', 'value')
    pass(0.2)
    expect([...cache.keys()].length).toBe(4)
    pass(0.05)
    expect([...cache.keys()]).toEqual(['default', 'never', 'long'])
    pass(100)
    expect([...cache.keys()]).toEqual(['never', 'long'])
    pass(1e7)
    expect([...cache.keys()]).toEqual(['never'])
  })

  it('lives no longer than its milliseconds, whatever their product as a fraction is', () => {
    const cache = new LruCache<string, string>({ maxEntries: 10 })
    expect(64.007 * 1000).toBeGreaterThan(64_007)
    cache.set('key', 'value', { ttlSeconds: 64.007 })
    pass(64)
    pass(0.006)
    expect(cache.get('key')).toBe('value')
    pass(0.001)
    expect(cache.get('key')).toBeUndefined()
  })

  it('begins a new time when it is set again, with or without one', () => {
    const cache = new LruCache<string, number>({ maxEntries: 10 })
    cache.set('key', 1, { ttlSeconds: 10 })
    pass(9)
    cache.set('key', 2, { ttlSeconds: 10 })
    pass(9)
    expect(cache.get('key')).toBe(2)
    cache.set('key', 3)
    pass(1e6)
    expect(cache.get('key')).toBe(3)
    cache.set('key', 4, { ttlSeconds: 1 })
    pass(1)
    expect(cache.get('key')).toBeUndefined()
  })

  it('that was set before the first with a time does not expire', () => {
    const cache = new LruCache<number, number>({ maxEntries: 1000, renewOnHit: true })
    for (let key = 0; key < 500; key++) cache.set(key, key)
    cache.set(500, 500, { ttlSeconds: 1 })
    for (let key = 0; key < 500; key++) cache.get(key)
    pass(1e6)
    expect(cache.get(0)).toBe(0)
    expect(cache.get(499)).toBe(499)
    expect(cache.get(500)).toBeUndefined()
  })

  it('is renewed by get alone, and only where that is wished', () => {
    const renewed = new LruCache<string, number>({ maxEntries: 10, ttlSeconds: 10, renewOnHit: true })
    const fixed = new LruCache<string, number>({ maxEntries: 10, ttlSeconds: 10 })
    renewed.set('key', 1)
    fixed.set('key', 1)
    renewed.set('own', 1, { ttlSeconds: 3 })
    for (let second = 0; second < 5; second++) {
      pass(2)
      renewed.get('key')
      renewed.get('own')
      renewed.set('unused', 1, { ttlSeconds: 1 })
      fixed.get('key')
    }
    expect(fixed.has('key')).toBe(false)
    expect(renewed.has('own')).toBe(true)
    pass(3)
    expect(renewed.has('own')).toBe(false)
    renewed.peek('key')
    renewed.has('key')
    pass(7)
    expect(renewed.has('key')).toBe(false)
  })

  it('that has expired is not there to delete, and leaves as expired', () => {
    const reasons: string[] = []
    const cache = new LruCache<string, number>({
      maxEntries: 10,
      ttlSeconds: 1,
      onDispose: (_, key, reason) => reasons.push(`${key} ${reason}`),
    })
    for (const key of ['deleted', 'got', 'overwritten']) cache.set(key, 1)
    pass(1)
    expect(cache.delete('deleted')).toBe(false)
    expect(cache.get('got')).toBeUndefined()
    expect(cache.size).toBe(1)
    cache.set('overwritten', 2)
    expect(reasons).toEqual(['deleted expire', 'got expire', 'overwritten expire'])
    expect(cache.counters()).toMatchObject({ expirations: 3, deletes: 0, misses: 1 })
  })
})

describe('room', () => {
  it('is made of what has expired before anything that has not, however recently it was used', () => {
    const cache = new LruCache<string, number>({ maxEntries: 3, loader: () => 0 })
    cache.set('live, oldest', 1)
    cache.set('short', 1, { ttlSeconds: 1 })
    cache.set('live', 1)
    cache.get('short')
    pass(1)
    cache.set('new', 1)
    expect([...cache.keys()]).toEqual(['new', 'live', 'live, oldest'])
    expect(cache.counters()).toMatchObject({ evictions: 0, expirations: 1 })
  })

  it('is made of what has expired under a limit of bytes, too', () => {
    const cache = new LruCache<string, number>({ maxBytes: 10, sizeOf: (value) => value })
    cache.set('live', 4)
    cache.set('short', 5, { ttlSeconds: 1 })
    pass(1)
    cache.set('live', 10)
    expect([...cache.keys()]).toEqual(['live'])
    expect(cache.counters()).toMatchObject({ evictions: 0, expirations: 1 })
    expect(cache.bytes).toBe(10)
  })

  it('that an expired entry leaves for want of it is told as such', () => {
    const cache = new LruCache<string, number>({ maxEntries: 1 })
    cache.set('short', 1, { ttlSeconds: 1 })
    pass(1)
    cache.set('new', 1)
    expect(cache.counters()).toMatchObject({ evictions: 0, expirations: 1 })
  })

  it('comes back little by little while there is enough of it', () => {
    const cache = new LruCache<string, number>({ maxEntries: 1000, ttlSeconds: 1 })
    for (let i = 0; i < 10; i++) cache.set(`old ${i}`, i)
    pass(1)
    expect(cache.size).toBe(10)
    for (let i = 1; i <= 5; i++) {
      cache.set(`new ${i}`, i)
      expect(cache.size).toBe(10 - i)
    }
  })

  it('is found by the sets that follow when more overwritten entries come due than one set looks at', () => {
    const cache = new LruCache<number, number>({ maxEntries: 201, loader: () => 0 })
    cache.set(0, 0)
    for (let key = 1; key <= 200; key++) cache.set(key, key, { ttlSeconds: key === 200 ? 11 : 10 })
    // 199 times that are outdated, and one that is not, behind them.
    for (let key = 1; key < 200; key++) cache.set(key, key, { ttlSeconds: 100 })
    cache.get(200)
    pass(11)
    let sets = 0
    while (cache.counters().expirations === 0 && sets < 30) cache.set(1000 + sets++, 0)
    expect(cache.counters().evictions).toBe(Math.floor(199 / 16))
  })
})

describe('the clock', () => {
  it('is read seldom in a busy stretch, and anew when the event loop has turned', () => {
    const cache = new LruCache<string, number>({ maxEntries: 10, ttlSeconds: 60 })
    cache.set('key', 1)
    const read = vi.spyOn(performance, 'now')
    for (let i = 0; i < 640; i++) cache.get('key')
    expect(read.mock.calls.length).toBeLessThanOrEqual(11)
    read.mockClear()
    pass(0.001)
    cache.get('key')
    expect(read).toHaveBeenCalledTimes(1)
  })

  it('is asked itself where it matters: nothing near its end outlives it within a stretch', () => {
    const cache = new LruCache<string, number>({ maxEntries: 10 })
    let lateMs = 0
    const now = performance.now()
    vi.spyOn(performance, 'now').mockImplementation(() => now + lateMs)
    cache.set('key', 1, { ttlSeconds: 0.05 })
    expect(cache.get('key')).toBe(1)
    lateMs = 50
    expect(cache.get('key')).toBeUndefined()
  })

  it('goes on after fake timers took its timer along', () => {
    const cache = new LruCache<string, number>({ maxEntries: 10, ttlSeconds: 60 })
    cache.set('key', 1)
    vi.useRealTimers()
    vi.useFakeTimers()
    pass(3600)
    cache.set('other', 1)
    pass(59)
    expect(cache.get('other')).toBe(1)
    pass(1)
    expect(cache.get('other')).toBeUndefined()
  })

  it('leaves no timer that keeps a process alive', () => {
    vi.useRealTimers()
    const before = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    new LruCache<string, number>({ maxEntries: 10, ttlSeconds: 60 }).set('key', 1)
    expect(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length).toBe(before)
  })
})
