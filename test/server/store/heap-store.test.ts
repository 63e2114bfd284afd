import { describe, expect, it } from 'vitest'
import { HeapStore } from '../../../server/store/heap-store.ts'
import { emptyHead, FIRST_SLOT, NO_SLOT, RecordKind, type Slot } from '../../../server/store/store.ts'
import { describeStore } from './conformance.ts'
import { Driver, HASH_KEY, latin1, pattern, START_MS } from './driver.ts'
import { forEachSeed } from './random.ts'

describeStore('HeapStore', (options) => new HeapStore(options))

const withLimits = (entriesMax: number, bytesMax: number) =>
  new Driver(new HeapStore({ entriesMax, bytesMax, hashKey: HASH_KEY }))

describe('HeapStore, beyond what every store does', () => {
  it('refuses limits that are none', () => {
    const { POSITIVE_INFINITY } = Number
    expect(() => withLimits(0, 1000)).toThrow('entriesMax must be at least 1, got 0')
    expect(() => withLimits(Number.NaN, 1000)).toThrow('entriesMax')
    expect(() => withLimits(10, 0)).toThrow('bytesMax must be above 0, got 0')
    expect(() => withLimits(10, Number.NaN)).toThrow('bytesMax')
    expect(() => withLimits(POSITIVE_INFINITY, POSITIVE_INFINITY)).toThrow(
      'without either it grows without bound',
    )
    expect(() => withLimits(10, POSITIVE_INFINITY)).not.toThrow()
  })

  it('is exact to the byte under a limit of bytes, however small', () => {
    // A key of one byte and a value of seven are charged 48 + 16.
    const cache = withLimits(100, 3 * 64)
    for (const key of ['a', 'b', 'c']) expect(cache.put(key, '7 bytes')).toBe(true)
    expect(cache.store.stats()).toMatchObject({ entries: 3, usedBytes: 192, dataBytes: 24, evictions: 0 })
    cache.put('d', '8  bytes')
    expect(cache.lru()).toEqual(['c', 'd'])
    expect(cache.put('e', pattern(192 - 16 - 40))).toBe(false)
    expect(cache.put('e', pattern(192 - 16 - 41))).toBe(true)
    expect(cache.lru()).toEqual(['e'])
  })

  it('keeps a key in its slot for life, and every key in a slot of its own', () => {
    forEachSeed(3, (random) => {
      const cache = withLimits(40, 1_000_000)
      const slots = new Map<string, Slot>()
      for (let step = 0; step < 500; step++) {
        const key = `k${random.below(60)}`
        if (random.oneIn(5)) cache.forget(key)
        else if (random.oneIn(10)) cache.put(key, '', { kind: RecordKind.Tombstone })
        else cache.put(key, pattern(random.below(5000)))
        const present = new Set(cache.logKeys())
        for (const [known, slot] of slots)
          if (!present.has(known)) slots.delete(known)
          else expect(cache.find(known)).toBe(slot)
        slots.set(key, cache.find(key))
        if (!present.has(key)) slots.delete(key)
        expect(new Set(slots.values()).size).toBe(slots.size)
        // Slots are used again: there were never more than 60 keys.
        expect(Math.max(...slots.values())).toBeLessThan(FIRST_SLOT + 60)
      }
    })
  })

  it('refuses to be used wrongly', () => {
    const cache = withLimits(10, 100_000)
    cache.put('a', 'x', { hlc: 100 })
    const a = cache.find('a')
    const bytes = Buffer.from('ab')
    const [keyA, keyB] = [
      { bytes, at: 0, length: 1 },
      { bytes, at: 1, length: 1 },
    ]
    const head = { ...emptyHead(), hlc: 101 }
    expect(() => cache.store.put(0, a, keyB, keyA, head, cache.nowMs)).toThrow('is not the one of this key')
    expect(() => cache.store.put(0, NO_SLOT, keyA, keyA, head, cache.nowMs)).toThrow(
      'is not the one of this key',
    )
    expect(() => cache.store.setExpiry(a, cache.nowMs)).toThrow('written without an expiry')
    cache.store.strip(a, RecordKind.Ghost)
    expect(() => cache.store.touch(a)).toThrow('is not a value')
    cache.store.forget(a, 'deleted')
    expect(() => cache.store.kind(a)).toThrow('names no record')
    expect(() => cache.store.valueBytes(NO_SLOT)).toThrow('names no record')
  })

  it('counts no flushed record, from the flush on, also when some stay', () => {
    const cache = withLimits(2000, 10_000_000)
    for (let i = 0; i < 1000; i++) cache.put(`k${i}`, 'x')
    for (let i = 0; i < 1000; i += 10) cache.store.strip(cache.find(`k${i}`), RecordKind.Ghost)
    for (let i = 5; i < 1000; i += 10) cache.store.strip(cache.find(`k${i}`), RecordKind.Tombstone)
    cache.store.flush(500)
    const counts = { entries: 400, ghosts: 50, tombstones: 50 }
    expect(cache.store.stats()).toMatchObject(counts)
    cache.store.sweep(cache.nowMs, 333)
    expect(cache.store.stats()).toMatchObject(counts)
    cache.sweepAll()
    expect(cache.store.stats()).toMatchObject(counts)
    cache.store.flush(cache.hlc)
    expect(cache.store.stats()).toMatchObject({ entries: 0, ghosts: 0, tombstones: 0 })
    expect(cache.store.stats().usedBytes).toBeGreaterThan(0)
  })

  it('lets markers that may be forgotten go before any value, oldest first', () => {
    const cache = withLimits(1000, 30_000)
    const stable = new Set(['m0', 'm1', 'm3'])
    cache.store.retention = { mayForget: (slot) => stable.has(cache.keyOf(slot)) }
    for (let i = 0; i < 4; i++) cache.put(`m${i}`, '', { kind: RecordKind.Tombstone })
    cache.put('a', pattern(10_000))
    cache.put('b', pattern(19_560))
    expect(cache.logKeys()).toEqual(['m0', 'm1', 'm2', 'm3', 'a', 'b'])
    cache.put('c', pattern(120))
    expect(cache.lru()).toEqual(['a', 'b', 'c'])
    expect(cache.logKeys()).toEqual(['m2', 'm3', 'a', 'b', 'c'])
    // m3 is behind m2, which must stay: now a value goes, and as a ghost.
    cache.put('d', pattern(100))
    expect(cache.lru()).toEqual(['b', 'c', 'd'])
    expect(cache.logKeys()).toEqual(['m2', 'm3', 'a', 'b', 'c', 'd'])
    expect(cache.store.stats()).toMatchObject({ entries: 3, ghosts: 1, tombstones: 2, evictions: 1 })
  })

  it('sweeps ahead: what many deadlines at one time will need is done before that time', () => {
    const cache = withLimits(10_000, 10_000_000)
    for (let i = 0; i < 2000; i++) cache.put(`k${i}`, '', { ttlMs: 3_600_000 + (i % 50) })
    const before: number[] = []
    for (cache.nowMs += 3_590_000; cache.nowMs < START_MS + 3_600_000; cache.nowMs += 50)
      before.push(cache.store.sweep(cache.nowMs, 1000))
    expect(before.reduce((sum, pieces) => sum + pieces)).toBeGreaterThanOrEqual(2000)
    expect(Math.max(...before)).toBeLessThanOrEqual(1000)
    // Nothing is left to do now but to expire what is due.
    expect(cache.store.sweep(START_MS + 3_600_000, 1000)).toBe(40)
  })

  it('looks at a bounded number of slots for a page of a scan', () => {
    const cache = withLimits(100_000, 100_000_000)
    for (let i = 0; i < 10_000; i++) cache.put(`k${i}`)
    for (let i = 0; i < 9_999; i++) cache.forget(`k${i}`)
    let pages = 0
    const seen: string[] = []
    for (let cursor = 0; pages === 0 || cursor !== 0; pages++)
      cursor = cache.store.scan(cursor, 10, cache.nowMs, (slot) => seen.push(cache.keyOf(slot)))
    expect(seen).toEqual(['k9999'])
    expect(pages).toBe(10_000 / 80)
  })

  it('owns what it keeps: neither a small value nor a large one is a view of the caller', () => {
    const cache = withLimits(10, 1_000_000)
    for (const size of [1, 48, 49, 5000]) {
      const value = { bytes: Buffer.from(pattern(size + 20)), at: 10, length: size }
      const key = { bytes: Buffer.from('key'), at: 0, length: 3 }
      const wanted = latin1(value.bytes.subarray(10, 10 + size))
      const slot = cache.store.put(
        0,
        cache.find('key'),
        key,
        value,
        { ...emptyHead(), hlc: size },
        cache.nowMs,
      )
      value.bytes.fill(0)
      key.bytes.fill(0)
      expect(cache.valueOf(slot)).toBe(wanted)
      expect(cache.keyOf(slot)).toBe('key')
    }
  })
})
