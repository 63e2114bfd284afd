// What the in-process cache does with keys, values and room. Expiry and loads have files of their own.

import { describe, expect, it } from 'vitest'
import { type DisposeReason, LruCache, type LruCacheOptions } from '../../client/lru-cache.ts'

describe('the order of use', () => {
  it('decides what leaves when there is no room for another entry', () => {
    const cache = new LruCache<string, number>({ maxEntries: 3 })
    cache.set('a', 1)
    cache.set('b', 2)
    cache.set('c', 3)
    cache.get('a')
    cache.set('b', 20)
    cache.set('d', 4)
    expect([...cache.entries()]).toEqual([
      ['d', 4],
      ['b', 20],
      ['a', 1],
    ])
    expect(cache.get('c')).toBeUndefined()
    expect(cache.size).toBe(3)
  })

  it('is not changed by peek, has, keys and entries', () => {
    const cache = new LruCache<string, number>({ maxEntries: 2 })
    cache.set('old', 1)
    cache.set('new', 2)
    expect(cache.peek('old')).toBe(1)
    expect(cache.has('old')).toBe(true)
    expect([...cache.keys()]).toEqual(['new', 'old'])
    expect([...cache.entries()].length).toBe(2)
    cache.set('newer', 3)
    expect(cache.has('old')).toBe(false)
  })

  it('holds for one entry, and for a hundred thousand', () => {
    const one = new LruCache<number, number>({ maxEntries: 1 })
    const many = new LruCache<number, number>({ maxEntries: 100_000 })
    for (let key = 0; key < 250_000; key++) {
      one.set(key, key)
      many.set(key, key)
    }
    expect([...one.entries()]).toEqual([[249_999, 249_999]])
    expect(many.size).toBe(100_000)
    expect([...many.keys()]).toEqual(Array.from({ length: 100_000 }, (_, i) => 249_999 - i))
  })
})

describe('keys and values', () => {
  it('keys are told apart as a Map does', () => {
    const object = {}
    const cache = new LruCache<unknown & {}, string>({ maxEntries: 10 })
    for (const key of [1, '1', true, Number.NaN, object, 1n, '']) cache.set(key, typeof key)
    expect(cache.get('1')).toBe('string')
    expect(cache.get(1)).toBe('number')
    expect(cache.get(Number.NaN)).toBe('number')
    expect(cache.get(object)).toBe('object')
    expect(cache.get({})).toBeUndefined()
    expect(cache.size).toBe(7)
  })

  it('values that are false in a condition are values', () => {
    const cache = new LruCache<string, unknown & {}>({ maxEntries: 10 })
    for (const value of [0, '', false, Number.NaN]) {
      cache.set('key', value)
      expect(cache.get('key')).toBe(value)
    }
  })

  it('undefined and null are refused, as keys and as values', () => {
    const cache = new LruCache<string, string>({ maxEntries: 10 })
    // @ts-expect-error what plain JavaScript could do
    expect(() => cache.set('key', undefined)).toThrow(TypeError)
    // @ts-expect-error
    expect(() => cache.set('key', null)).toThrow('null cannot be stored: it would be a miss')
    // @ts-expect-error
    expect(() => cache.set(undefined, 'value')).toThrow('undefined cannot be a key')
    expect(cache.size).toBe(0)
  })
})

describe('a limit of bytes', () => {
  it('lets leave as many of the oldest as a value needs', () => {
    const cache = new LruCache<string, string>({ maxBytes: 10, sizeOf: (value) => value.length })
    cache.set('a', '1234')
    cache.set('b', '12')
    cache.set('c', '123')
    expect(cache.bytes).toBe(9)
    cache.set('d', '123456')
    expect([...cache.keys()]).toEqual(['d', 'c'])
    expect(cache.bytes).toBe(9)
  })

  it('counts the new size of a value that is overwritten, and may evict others for it', () => {
    const cache = new LruCache<string, string>({ maxBytes: 10, sizeOf: (value) => value.length })
    cache.set('a', '1')
    cache.set('b', '1234')
    cache.set('c', '1234')
    cache.set('b', '123456')
    expect([...cache.keys()]).toEqual(['b', 'c'])
    cache.set('b', '1')
    expect(cache.bytes).toBe(5)
    cache.delete('c')
    cache.delete('b')
    expect(cache.bytes).toBe(0)
  })

  it('takes the size from the call where it is given', () => {
    const cache = new LruCache<string, string>({ maxBytes: 10, sizeOf: () => 1 })
    cache.set('a', 'value', { sizeBytes: 9 })
    cache.set('b', 'value')
    expect(cache.bytes).toBe(10)
    cache.set('c', 'value')
    expect([...cache.keys()]).toEqual(['c', 'b'])
  })

  it('needs a size for every value', () => {
    const cache = new LruCache<string, string>({ maxBytes: 10 })
    expect(() => cache.set('a', 'value')).toThrow('use { sizeBytes }, or sizeOf in its options')
    expect(cache.set('a', 'value', { sizeBytes: 5 })).toBe(true)
  })

  it('keeps neither a value larger than all room, nor what its key held before', () => {
    const left: unknown[] = []
    const cache = new LruCache<string, string>({
      maxBytes: 10,
      sizeOf: (value) => value.length,
      onDispose: (...args) => left.push(args),
    })
    cache.set('a', 'small')
    cache.set('b', 'other')
    expect(cache.set('a', 'larger than ten')).toBe(false)
    expect(cache.get('a')).toBeUndefined()
    expect(cache.get('b')).toBe('other')
    expect(cache.bytes).toBe(5)
    expect(left).toEqual([['small', 'a', 'replace']])
    expect(cache.counters().tooLarge).toBe(1)
  })

  it('refuses sizes that would make it boundless, and changes nothing then', () => {
    const cache = new LruCache<string, number>({ maxBytes: 10, sizeOf: (value) => value })
    cache.set('a', 5)
    for (const size of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => cache.set('a', size)).toThrow(RangeError)
      expect(() => cache.set('a', 1, { sizeBytes: size })).toThrow(RangeError)
    }
    expect(cache.get('a')).toBe(5)
    expect(cache.bytes).toBe(5)
  })

  it('holds beside a limit of entries; without it sizes are only counted', () => {
    const both = new LruCache<number, string>({ maxEntries: 2, maxBytes: 100 })
    for (let key = 0; key < 5; key++) both.set(key, 'value', { sizeBytes: 10 })
    expect([both.size, both.bytes]).toEqual([2, 20])
    const counted = new LruCache<number, string>({ maxEntries: 3 })
    counted.set(1, 'no size')
    counted.set(2, 'value', { sizeBytes: 7 })
    expect(counted.bytes).toBe(7)
    counted.set(3, 'value')
    counted.set(4, 'value')
    counted.set(5, 'value')
    expect([counted.size, counted.bytes]).toEqual([3, 0])
  })
})

describe('taking out', () => {
  it('delete says whether there was something', () => {
    const cache = new LruCache<string, number>({ maxEntries: 2 })
    cache.set('a', 1)
    expect(cache.delete('a')).toBe(true)
    expect(cache.delete('a')).toBe(false)
    expect(cache.size).toBe(0)
  })

  it('clear leaves a cache that works as a new one', () => {
    const cache = new LruCache<number, number>({ maxEntries: 200, maxBytes: 1000, sizeOf: () => 5 })
    for (let key = 0; key < 500; key++) cache.set(key, key)
    cache.clear()
    expect([cache.size, cache.bytes, [...cache.keys()]]).toEqual([0, 0, []])
    expect(cache.get(499)).toBeUndefined()
    for (let key = 0; key < 500; key++) cache.set(key, key)
    expect([cache.size, cache.bytes]).toEqual([200, 1000])
    expect([...cache.keys()].at(-1)).toBe(300)
  })
})

describe('onDispose', () => {
  function recorded(options: Partial<LruCacheOptions<string, string>> = {}) {
    const left: [value: string, key: string, reason: DisposeReason][] = []
    const cache = new LruCache<string, string>({
      maxEntries: 2,
      onDispose: (...args) => left.push(args),
      ...options,
    })
    return { cache, left }
  }

  it('is told of every value that leaves, and why', () => {
    const { cache, left } = recorded()
    cache.set('a', 'a1')
    cache.set('a', 'a2')
    cache.set('b', 'b1')
    cache.set('c', 'c1')
    cache.delete('b')
    cache.clear()
    expect(left).toEqual([
      ['a1', 'a', 'replace'],
      ['a2', 'a', 'evict'],
      ['b1', 'b', 'delete'],
      ['c1', 'c', 'delete'],
    ])
  })

  it('is not told of a value that is set again: it has not left', () => {
    const { cache, left } = recorded()
    cache.set('a', 'same')
    cache.set('a', 'same')
    expect(left).toEqual([])
  })

  it('sees the change done', () => {
    const sizes: number[] = []
    const cache = new LruCache<string, string>({
      maxEntries: 2,
      onDispose: (_, key) => sizes.push(cache.size, cache.has(key) ? 1 : 0),
    })
    cache.set('a', '1')
    cache.set('b', '1')
    cache.set('c', '1')
    cache.clear()
    expect(sizes).toEqual([2, 0, 0, 0, 0, 0])
  })

  it('may change the cache; what that makes leave is told afterwards', () => {
    const order: string[] = []
    const cache = new LruCache<string, string>({
      maxEntries: 2,
      onDispose(value, key, reason) {
        order.push(`${reason} ${key}=${value}`)
        if (key === 'a') {
          cache.set('a2', value)
          cache.delete('c')
          order.push('a is done')
        }
      },
    })
    cache.set('a', '1')
    cache.set('b', '2')
    cache.set('c', '3')
    expect(order).toEqual(['evict a=1', 'a is done', 'evict b=2', 'delete c=3'])
    expect([...cache.entries()]).toEqual([['a2', '1']])
    cache.set('d', '4')
    cache.set('e', '5')
    expect([...cache.keys()]).toEqual(['e', 'd'])
  })

  it('may clear the cache while it is told of what clear took out', () => {
    const { cache, left } = recorded({ onDispose: () => cache.clear() })
    cache.set('a', '1')
    cache.set('b', '1')
    cache.clear()
    cache.set('c', '1')
    expect([...cache.keys()]).toEqual(['c'])
    expect(left).toEqual([])
  })

  it('that always puts back what left is stopped', () => {
    const cache = new LruCache<string, number>({
      maxEntries: 2,
      onDispose: (value, key) => void cache.set(key, value),
    })
    cache.set('a', 1)
    cache.set('b', 2)
    expect(() => cache.set('c', 3)).toThrow('onDispose calls set')
    expect(cache.size).toBe(2)
    expect(cache.set('b', 2)).toBe(true)
  })

  it('that throws makes the call throw, when all have been told and the change is done', () => {
    const told: string[] = []
    const cache = new LruCache<string, number>({
      maxEntries: 3,
      onDispose(_, key) {
        told.push(key)
        throw new Error(`cannot close ${key}`)
      },
    })
    for (const key of ['a', 'b', 'c']) cache.set(key, 1)
    expect(() => cache.set('d', 1)).toThrow('cannot close a')
    expect([...cache.keys()]).toEqual(['d', 'c', 'b'])
    expect(() => cache.delete('b')).toThrow('cannot close b')
    expect(cache.has('b')).toBe(false)
    expect(() => cache.clear()).toThrow('cannot close c')
    expect(told).toEqual(['a', 'b', 'c', 'd'])
    cache.set('e', 1)
    expect([...cache.keys()]).toEqual(['e'])
  })
})

describe('iteration', () => {
  it('passes over what left, shows new values, and does not visit what came', () => {
    const cache = new LruCache<string, number>({ maxEntries: 10 })
    for (const key of ['a', 'b', 'c', 'd']) cache.set(key, 1)
    const seen: [string, number][] = []
    for (const [key, value] of cache.entries()) {
      seen.push([key, value])
      cache.delete('c')
      cache.set('b', 2)
      cache.set('a', 2)
      cache.set(`new ${key}`, 3)
    }
    expect(seen).toEqual([
      ['d', 1],
      ['b', 2],
      ['a', 2],
    ])
  })

  it('ends although each step uses and clears', () => {
    const cache = new LruCache<number, number>({ maxEntries: 100 })
    for (let key = 0; key < 100; key++) cache.set(key, key)
    let count = 0
    for (const key of cache.keys()) {
      cache.get(key)
      if (++count === 50) cache.clear()
    }
    expect(count).toBe(50)
  })
})

describe('counters', () => {
  it('count what happened', () => {
    const cache = new LruCache<string, number>({ maxEntries: 2 })
    cache.get('a')
    cache.set('a', 1)
    cache.set('a', 2)
    cache.set('b', 1)
    cache.set('c', 1)
    cache.get('b')
    cache.peek('b')
    cache.has('z')
    cache.delete('z')
    cache.delete('b')
    cache.clear()
    expect(cache.counters()).toEqual({
      hits: 1,
      misses: 1,
      sets: 4,
      deletes: 2,
      evictions: 1,
      expirations: 0,
      tooLarge: 0,
      loads: 0,
      loadFailures: 0,
    })
  })
})

describe('options', () => {
  const make = (options: object | number) => () =>
    // @ts-expect-error what plain JavaScript could do
    new LruCache(options)

  it.each<[options: object | number, message: string]>([
    [{}, 'LruCache needs maxEntries or maxBytes: without either it would grow without bound'],
    [500, 'use { maxEntries: 500 }'],
    [{ max: 500 }, 'LruCache has no option max: use { maxEntries }'],
    [{ maxSize: 500 }, 'LruCache has no option maxSize: use { maxBytes }'],
    [{ maxEntries: 5, ttl: 60_000 }, 'LruCache has no option ttl: use { ttlSeconds }, in seconds'],
    [{ maxEntries: 5, updateAgeOnGet: true }, 'use { renewOnHit }'],
    [{ maxEntries: 5, fetchMethod: () => 1 }, 'use { loader }'],
    [{ maxEntries: 5, dispose: () => {} }, 'use { onDispose }'],
    [{ maxBytes: 5, sizeCalculation: () => 1 }, 'use { sizeOf }'],
    [{ maxEntires: 5 }, 'LruCache has no option maxEntires: there are maxEntries, maxBytes,'],
    [{ maxEntries: '5' }, 'maxEntries is 5; allowed: an integer from 1 to 8388608'],
    [{ maxEntries: 5, ttlSeconds: '60' }, 'ttlSeconds is "60"; a number is needed'],
    [{ maxEntries: 5, renewOnHit: 1 }, 'renewOnHit is 1; a boolean is needed'],
    [{ maxEntries: 5, loader: {} }, 'loader is [object Object]; a function is needed'],
    [{ maxBytes: 5, loader: () => 1 }, 'LruCache with maxBytes and a loader needs sizeOf'],
  ])('%o throws', (options, message) => {
    expect(make(options)).toThrow(message)
  })

  it.each([
    { maxEntries: 0 },
    { maxEntries: -1 },
    { maxEntries: 1.5 },
    { maxEntries: Number.POSITIVE_INFINITY },
    { maxEntries: 2 ** 23 + 1 },
    { maxBytes: 0 },
    { maxBytes: Number.NaN },
    { maxEntries: 1, ttlSeconds: 0 },
    { maxEntries: 1, ttlSeconds: -1 },
    { maxEntries: 1, ttlSeconds: Number.NaN },
  ])('%o is out of range', (options) => {
    expect(make(options)).toThrow(RangeError)
  })

  it.each<[options: unknown, message: string]>([
    [60, 'set takes its third argument as an object: use { ttlSeconds: 60 }'],
    [{ ttl: 60 }, 'set has no option ttl: use { ttlSeconds }, in seconds'],
    [{ EX: 60 }, 'set has no option EX: use { ttlSeconds }, in seconds'],
    [{ PX: 60 }, 'set has no option PX: use { ttlSeconds }, in seconds'],
    [{ size: 60 }, 'set has no option size: use { sizeBytes }'],
    [{ tags: [] }, 'set has no option tags: there are ttlSeconds, sizeBytes'],
    [null, 'set takes an object of options, got null'],
    [{ ttlSeconds: 0 }, 'ttlSeconds is 0; allowed: above 0, fractions too, or Infinity for never'],
    [{ ttlSeconds: Number.NaN }, 'ttlSeconds is NaN'],
  ])('set with %o throws and stores nothing', (options, message) => {
    const cache = new LruCache<string, number>({ maxEntries: 1 })
    // @ts-expect-error what plain JavaScript could do
    expect(() => cache.set('key', 1, options)).toThrow(message)
    expect(cache.size).toBe(0)
  })
})
