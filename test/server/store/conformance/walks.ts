// What every store's change log and scan do.

import { describe, expect, it } from 'vitest'
import { NO_SLOT, RecordKind } from '../../../../server/store/store.ts'
import { pattern } from '../driver.ts'
import { forEachSeed } from '../random.ts'
import type { Suite } from './suite.ts'

export function describeWalks(suite: Suite): void {
  const { withEntries } = suite

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
