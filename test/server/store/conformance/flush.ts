// What every store's flush does, and what it does when a flush is taken back.

import { describe, expect, it } from 'vitest'
import { NO_SLOT, RecordKind } from '../../../../server/store/store.ts'
import { same } from '../alike.ts'
import { type Driver, latin1, pattern } from '../driver.ts'
import { forEachSeed } from '../random.ts'
import { forgetNothing, KIB, type Suite } from './suite.ts'

export function describeFlush(suite: Suite): void {
  const { withEntries, withBytes } = suite

  describe('flush', () => {
    const fill = (cache: Driver, count: number) => {
      for (let i = 0; i < count; i++)
        cache.put(`k${i}`, pattern(i % 100, i), i % 3 === 0 ? { ttlMs: 5000 } : {})
    }

    it('makes everything invisible at once, and the sweep frees it', () => {
      const cache = withEntries(5000)
      fill(cache, 3000)
      cache.store.strip(cache.find('k7'), RecordKind.Ghost)
      cache.store.flush(cache.hlc)
      expect(cache.find('k1')).toBe(NO_SLOT)
      expect(cache.findLive('k1')).toBe(NO_SLOT)
      expect(cache.find('k7')).toBe(NO_SLOT)
      expect(cache.store.next(0)).toBe(NO_SLOT)
      expect(cache.store.oldest()).toBe(NO_SLOT)
      expect(cache.scanKeys()).toEqual([])
      expect(cache.store.stats()).toMatchObject({ entries: 0 })
      expect(cache.store.sweep(cache.nowMs, 10)).toBeGreaterThanOrEqual(10)
      cache.sweepAll()
      expect(cache.store.stats()).toEqual({
        entries: 0,
        ghosts: 0,
        tombstones: 0,
        dataBytes: 0,
        overheadBytes: 0,
        usedBytes: 0,
        evictions: 0,
        expirations: 0,
      })
      expect(cache.store.tailSeq).toBe(3000)
    })

    it('is passed on the way to the oldest value, or not further than is asked for', () => {
      const cache = withEntries(5000)
      fill(cache, 3000)
      cache.store.flush(cache.hlc)
      cache.put('new', 'v')
      expect(cache.keyOf(cache.store.oldest())).toBe('new')
      expect(cache.keyOf(cache.store.oldest(3000))).toBe('new')
      // A store that sets flushed records aside has nothing to pass.
      const near = cache.store.oldest(2999)
      expect(near === NO_SLOT || cache.keyOf(near) === 'new').toBe(true)
      cache.sweepAll()
      expect(cache.keyOf(cache.store.oldest(0))).toBe('new')
    })

    it('spares what was stamped later, wherever that stands', () => {
      const cache = withEntries(5000)
      const watermark = 5000
      for (let i = 0; i < 1000; i++)
        cache.put(`k${i}`, `v${i}`, { hlc: i % 5 === 0 ? watermark + 1 + i : 1 + i, ttlMs: 1000 + i })
      const expected = Array.from({ length: 200 }, (_, i) => `k${i * 5}`)
      cache.store.flush(watermark)
      const check = () => {
        expect(cache.logKeys()).toEqual(expected)
        expect(cache.lru()).toEqual(expected)
        expect(cache.scanKeys().sort()).toEqual([...expected].sort())
      }
      check()
      cache.store.sweep(cache.nowMs, 300)
      check()
      cache.sweepAll()
      check()
      expect(cache.store.stats()).toMatchObject({ entries: 200, evictions: 0, expirations: 0 })
      expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
    })

    it('takes new puts at once, of the same keys and others', () => {
      const cache = withEntries(1000)
      fill(cache, 1000)
      cache.store.flush(cache.hlc)
      for (let i = 0; i < 1000; i += 2) cache.put(`k${i}`, `new ${i}`)
      cache.put('other', 'x')
      const check = () => {
        for (let i = 0; i < 1000; i++) same(cache.peek(`k${i}`), i % 2 === 0 ? `new ${i}` : undefined)
        expect(cache.lru()).toHaveLength(501)
        expect(cache.logKeys()).toHaveLength(501)
      }
      check()
      cache.store.sweep(cache.nowMs, 100)
      check()
      cache.sweepAll()
      check()
      expect(cache.store.stats()).toMatchObject({ entries: 501, evictions: 0, expirations: 0 })
    })

    it('does not go back by itself', () => {
      const cache = withEntries(100)
      cache.put('a', 'x', { hlc: 100 })
      cache.store.flush(100)
      cache.store.flush(50)
      expect(cache.find('a')).toBe(NO_SLOT)
      cache.put('a', 'y', { hlc: 101 })
      cache.sweepAll()
      expect(cache.peek('a')).toBe('y')
      cache.store.flush(101)
      expect(cache.find('a')).toBe(NO_SLOT)
    })

    it('asks retention about nothing flushed, and is room for new puts before anything live goes', () => {
      const cache = withBytes(256 * KIB)
      for (let i = 0; i < 40; i++) cache.put(`live ${i}`, pattern(2000, i), { hlc: 10_000 + i })
      for (let i = 0; i < 60; i++)
        cache.put(`old ${i}`, pattern(2000, i), { hlc: 1 + i, ...(i % 2 === 0 ? { ttlMs: 10 } : {}) })
      cache.store.retention = {
        mayForget: (slot) => {
          if (cache.keyOf(slot).startsWith('old')) throw new Error('asked about a flushed record')
          return true
        },
      }
      cache.store.flush(9000)
      cache.nowMs += 10
      for (let i = 0; i < 70; i++) cache.put(`new ${i}`, pattern(2000, i), { hlc: 11_000 + i })
      for (let i = 0; i < 40; i++) expect(cache.peek(`live ${i}`)).toBe(latin1(pattern(2000, i)))
      for (let i = 0; i < 70; i++) expect(cache.peek(`new ${i}`)).toBe(latin1(pattern(2000, i)))
      cache.sweepAll()
      expect(cache.store.stats()).toMatchObject({ entries: 110, evictions: 0, expirations: 0 })
    })

    it('holds for a second flush while the first is being purged', () => {
      const cache = withEntries(5000)
      fill(cache, 1000)
      cache.store.flush(500)
      cache.store.sweep(cache.nowMs, 200)
      fill(cache, 300)
      cache.store.flush(1200)
      cache.sweepAll()
      const expected = Array.from({ length: 100 }, (_, i) => `k${200 + i}`)
      expect(cache.logKeys()).toEqual(expected)
      expect(cache.store.stats().entries).toBe(100)
    })

    it('counts, charges and walks no flushed marker any more, whether it leaves something or not', () => {
      for (const left of [0, 100, 1000]) {
        const cache = withEntries(5000)
        for (let i = 0; i < 1000; i++) cache.put(`k${i}`, 'x', i % 3 === 0 ? { ttlMs: 5000 } : {})
        // By age they do not stand in the order of their stamps.
        for (let i = 999; i >= 0; i -= 2)
          cache.store.strip(cache.find(`k${i}`), i % 4 === 1 ? RecordKind.Ghost : RecordKind.Tombstone)
        const expected = cache.markers().slice(0, left / 2)
        cache.store.flush(cache.hlc - left)
        expect(cache.markers()).toEqual(expected)
        cache.checkMarkers()
        cache.store.sweep(cache.nowMs, 300)
        expect(cache.markers()).toEqual(expected)
        cache.sweepAll()
        expect(cache.markers()).toEqual(expected)
        cache.checkMarkers()
        expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
      }
    })

    it('tells old markers from those that come while it is being purged', () => {
      forEachSeed(10, (random) => {
        const cache = withEntries(1000)
        const mark = (key: string) => {
          const kind = random.pick([RecordKind.Ghost, RecordKind.Tombstone])
          if (random.oneIn(2)) cache.put(key, '', { kind })
          else if (cache.find(key) !== NO_SLOT) cache.store.strip(cache.find(key), kind, random.below(256))
          else cache.put(key, pattern(random.below(100)))
        }
        for (let round = 0; round < 4; round++) {
          for (let i = 0; i < 200; i++) mark(`k${random.below(60)}`)
          const spared = random.pick([0, 1, 50, 150])
          const expected = cache
            .markers()
            .filter((key) => (cache.headOfKey(key)?.hlc ?? 0) > cache.hlc - spared)
          cache.store.flush(cache.hlc - spared)
          expect(cache.markers()).toEqual(expected)
          for (let i = 0; i < 100; i++) {
            mark(`k${random.below(60)}`)
            if (random.oneIn(10)) cache.store.sweep(cache.nowMs, random.below(10))
            if (random.oneIn(10)) cache.forget(`k${random.below(60)}`)
            cache.checkMarkers()
          }
        }
        cache.sweepAll()
        cache.checkMarkers()
        expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
        expect(cache.store.stats().entries).toBe(cache.lru().length)
      })
    })

    it('makes room of markers too, also where retention keeps all that is not flushed', () => {
      for (const left of [0, 1]) {
        const cache = withBytes(128 * KIB)
        cache.store.retention = forgetNothing
        for (let i = 0; i < 1500; i++) cache.put(`k${i}`, '', { kind: RecordKind.Tombstone })
        expect(cache.put('large', pattern(100_000))).toBe(false)
        cache.store.flush(1501 - left * 2)
        expect(cache.put('large', pattern(100_000))).toBe(true)
        expect(cache.peek('large')).toBe(latin1(pattern(100_000)))
        expect(cache.store.stats()).toMatchObject({ entries: 1, tombstones: left, evictions: 0 })
        // What was purged is not room twice.
        cache.sweepAll()
        const before = [cache.logKeys(), cache.store.stats()]
        expect(cache.put('as large', pattern(130_950))).toBe(false)
        expect([cache.logKeys(), cache.store.stats()]).toEqual(before)
      }
    })

    it('takes nothing that was flushed before it came', () => {
      const cache = withEntries(10)
      cache.put('a', 'x', { hlc: 100 })
      cache.put('b', 'x', { hlc: 101 })
      cache.store.flush(100)
      for (const swept of [false, true]) {
        if (swept) cache.sweepAll()
        for (const key of ['a', 'b', 'c'])
          expect(() => cache.put(key, 'y', { hlc: 100 })).toThrow('hlc 100 is not above the watermark 100')
        expect(cache.logKeys()).toEqual(['b'])
      }
      expect(cache.put('a', 'y', { hlc: 101 })).toBe(true)
      expect(cache.lru()).toEqual(['b', 'a'])
    })
  })

  describe('a flush taken back', () => {
    const FUTURE = 1_000_000

    it('is purged at once, and covers nothing that comes later', () => {
      const cache = withEntries(5000)
      for (let i = 0; i < 3000; i++)
        cache.put(`k${i}`, pattern(i % 100, i), i % 3 === 0 ? { ttlMs: 5000 } : {})
      for (let i = 0; i < 3000; i += 5) cache.store.strip(cache.find(`k${i}`), RecordKind.Ghost)
      cache.store.flush(FUTURE)
      cache.store.sweep(cache.nowMs, 100)
      cache.store.resetWatermark(2000)
      expect(cache.store.stats()).toMatchObject({ entries: 0, ghosts: 0, usedBytes: 0 })
      expect(cache.store.stats()).toMatchObject({ evictions: 0, expirations: 0 })
      expect(cache.store.next(0)).toBe(NO_SLOT)
      // Stamps that were flushed, for keys that were and others.
      for (let i = 0; i < 100; i++) cache.put(`k${i * 31}`, 'new', { hlc: 2001 + i })
      cache.put('tombstone', '', { hlc: 2500, kind: RecordKind.Tombstone })
      const check = () => {
        expect(cache.lru()).toEqual(Array.from({ length: 100 }, (_, i) => `k${i * 31}`))
        expect(cache.markers()).toEqual(['tombstone'])
        expect(cache.logKeys()).toHaveLength(101)
        expect(cache.peek('k31')).toBe('new')
      }
      check()
      cache.nowMs += 10_000
      cache.sweepAll()
      check()
      cache.checkMarkers()
      expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
    })

    it('still refuses what is stamped at or below the watermark it is reset to', () => {
      const cache = withEntries(10)
      cache.store.flush(FUTURE)
      cache.store.resetWatermark(500)
      expect(() => cache.put('a', 'x', { hlc: 500 })).toThrow('hlc 500 is not above the watermark 500')
      expect(cache.put('a', 'x', { hlc: 501 })).toBe(true)
    })

    it('leaves what was stamped even later, and its place in every order', () => {
      const cache = withEntries(100)
      for (let i = 0; i < 40; i++)
        cache.put(`k${i}`, 'x', { hlc: i % 4 === 0 ? FUTURE + 1 + i : 1 + i, ttlMs: 1000 })
      for (let i = 0; i < 40; i += 8) cache.store.strip(cache.find(`k${i}`), RecordKind.Tombstone)
      const look = () => [cache.lru(), cache.logKeys(), cache.markers(), cache.scanKeys().sort()]
      cache.store.flush(FUTURE)
      const before = look()
      cache.store.resetWatermark(10)
      expect(look()).toEqual(before)
      expect(before.map((keys) => keys.length)).toEqual([5, 10, 5, 5])
      expect(cache.store.stats()).toMatchObject({ entries: 5, tombstones: 5, expirations: 0 })
      expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
      // The next flush does not take it for gone.
      cache.store.flush(FUTURE + 20)
      cache.checkMarkers()
      expect(cache.markers()).toEqual(['k24', 'k32'])
      cache.sweepAll()
      expect(cache.store.stats()).toMatchObject({ entries: 3, tombstones: 2 })
      cache.nowMs += 1000
      cache.sweepAll()
      expect(cache.store.stats()).toMatchObject({ entries: 0, expirations: 3 })
    })

    it('gives way to flushes at the right time, which count at once', () => {
      const cache = withEntries(100)
      cache.put('a', 'x', { hlc: FUTURE - 1 })
      cache.store.flush(FUTURE)
      cache.store.resetWatermark(0)
      for (let i = 0; i < 50; i++) cache.put(`k${i}`, 'x', { hlc: 101 + i })
      cache.store.flush(100)
      expect(cache.store.stats().entries).toBe(50)
      cache.store.flush(150)
      expect(cache.store.stats().entries).toBe(0)
      expect(cache.lru()).toEqual([])
      cache.store.flush(149)
      cache.put('b', 'x', { hlc: 151 })
      cache.sweepAll()
      expect(cache.logKeys()).toEqual(['b'])
    })

    it('is never reset to a higher watermark; without a flush nothing happens', () => {
      const cache = withEntries(10)
      cache.put('a', 'x', { hlc: 7 })
      cache.store.resetWatermark(50)
      cache.store.flush(5)
      cache.store.resetWatermark(50)
      expect(cache.peek('a')).toBe('x')
      cache.put('b', 'x', { hlc: 6 })
      expect(cache.lru()).toEqual(['a', 'b'])
    })

    it('asks retention about nothing', () => {
      const cache = withEntries(10)
      cache.store.retention = {
        mayForget: () => {
          throw new Error('asked about a flushed record')
        },
      }
      cache.put('a', 'x', { ttlMs: 10 })
      cache.store.flush(FUTURE)
      cache.nowMs += 10
      cache.store.resetWatermark(0)
      expect(cache.store.stats()).toMatchObject({ entries: 0, ghosts: 0, usedBytes: 0, expirations: 0 })
    })
  })
}
