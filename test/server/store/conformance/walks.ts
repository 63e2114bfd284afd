// What every store's change log, flush and scan do.

import { describe, expect, it } from 'vitest'
import { NO_SLOT, RecordKind } from '../../../../server/store/store.ts'
import { same } from '../alike.ts'
import { type Driver, latin1, pattern } from '../driver.ts'
import { forEachSeed } from '../random.ts'
import { KIB, type Suite } from './suite.ts'

export function describeWalks(suite: Suite): void {
  const { withEntries, withBytes } = suite

  describe('change log', () => {
    it('has each record once, at its latest write', () => {
      const cache = withEntries(10)
      expect(cache.store.tailSeq).toBe(0)
      for (const key of ['a', 'b', 'c', 'd']) cache.put(key, key)
      cache.put('b', 'again')
      cache.forget('c')
      cache.get('a')
      expect(cache.logKeys()).toEqual(['a', 'd', 'b'])
      expect(cache.store.tailSeq).toBe(5)
      expect(cache.headOfKey('b')?.seq).toBe(5)
      const after = (seq: number) => {
        const slot = cache.store.next(seq)
        return slot === NO_SLOT ? undefined : cache.keyOf(slot)
      }
      expect([0, 1, 2, 3, 4, 5, 6].map(after)).toEqual(['a', 'd', 'd', 'd', 'b', undefined, undefined])
    })

    it('has markers in their places, and moves nothing for a strip or a touch', () => {
      const cache = withEntries(10)
      for (const key of ['a', 'b', 'c']) cache.put(key, key, { ttlMs: 100 })
      cache.store.strip(cache.find('a'), RecordKind.Ghost)
      cache.store.strip(cache.find('b'), RecordKind.Tombstone)
      expect(cache.logKeys()).toEqual(['a', 'b', 'c'])
      cache.put('a', '', { kind: RecordKind.Tombstone })
      expect(cache.logKeys()).toEqual(['b', 'c', 'a'])
      expect(cache.store.tailSeq).toBe(4)
    })

    it('stays whole through many overwrites of few keys, and many evictions', () => {
      forEachSeed(3, (random) => {
        const cache = withEntries(100)
        let order: string[] = []
        for (let step = 0; step < 20_000; step++) {
          const key = random.oneIn(10) ? `rare ${step}` : `k${random.below(40)}`
          cache.put(key, key)
          if (step < 19_000) continue
          if (step === 19_000) order = cache.logKeys()
          else order = [...order.filter((other) => other !== key), key]
        }
        expect(cache.store.tailSeq).toBe(20_000)
        expect(cache.logKeys()).toEqual(order.filter((key) => cache.find(key) !== NO_SLOT))
        expect(cache.logKeys().sort()).toEqual(cache.lru().sort())
      })
    })
  })

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

    it('never goes back', () => {
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
  })

  describe('scan', () => {
    it('visits every value, in pages of about the count', () => {
      const cache = withEntries(5000)
      for (let i = 0; i < 3000; i++) cache.put(`k${i}`, 'x', i % 2 === 0 ? { ttlMs: 10 } : {})
      cache.put('tombstone', '', { kind: RecordKind.Tombstone })
      const seen = new Set<string>()
      let cursor = 0
      let pages = 0
      do {
        let page = 0
        cursor = cache.store.scan(cursor, 50, cache.nowMs, (slot) => {
          seen.add(cache.keyOf(slot))
          page++
        })
        expect(page).toBeLessThanOrEqual(100)
        pages++
      } while (cursor !== 0)
      expect(seen.size).toBe(3000)
      expect(pages).toBeGreaterThan(20)
      cache.nowMs += 10
      expect(new Set(cache.scanKeys()).size).toBe(1500)
    })

    it('takes any cursor', () => {
      const cache = withEntries(100)
      for (let i = 0; i < 100; i++) cache.put(`k${i}`)
      for (const cursor of [
        1,
        2047,
        2048,
        2100,
        99_999,
        2 ** 31,
        2 ** 32 - 1,
        2 ** 32,
        Number.MAX_SAFE_INTEGER,
      ]) {
        let at = cursor
        for (let pages = 0; pages < 10_000; pages++) {
          at = cache.store.scan(at, 10, cache.nowMs, () => {})
          if (at === 0) break
        }
        expect(at).toBe(0)
      }
    })

    it('misses nothing that is there throughout, and ends, whatever happens meanwhile', () => {
      forEachSeed(4, (random) => {
        const cache = withEntries(100_000)
        const stable = Array.from({ length: 500 }, (_, i) => `stable ${i}`)
        const keys = [...stable, ...Array.from({ length: 1500 }, (_, i) => `passing ${i}`)]
        while (keys.length > 0) cache.put(keys.splice(random.below(keys.length), 1)[0] ?? '', 'x')
        const seen = new Set<string>()
        let cursor = 0
        let pages = 0
        let added = 0
        do {
          cursor = cache.store.scan(cursor, 20, cache.nowMs, (slot) => seen.add(cache.keyOf(slot)))
          if (++pages > 20_000) throw new Error('a scan that never ends')
          for (let change = random.below(12); change > 0; change--) {
            const any = `passing ${random.below(1500)}`
            const kept = `stable ${random.below(500)}`
            switch (random.below(7)) {
              case 0:
                cache.forget(any)
                break
              case 1:
                cache.put(any, pattern(random.below(2000)))
                break
              case 2:
                cache.put(kept, pattern(random.below(2000)), random.oneIn(2) ? { ttlMs: 1e9 } : {})
                break
              case 3:
                cache.get(kept)
                break
              case 4:
                cache.sweepAll()
                break
              case 5:
                if (cache.findLive(any) !== NO_SLOT) cache.store.strip(cache.find(any), RecordKind.Ghost)
                break
              default:
                // Grows through a doubling or two of any table.
                for (let i = 0; i < 20 && added < 20_000; i++) cache.put(`added ${added++}`, 'x')
            }
          }
        } while (cursor !== 0)
        expect(stable.filter((key) => !seen.has(key))).toEqual([])
      })
    })
  })
}
