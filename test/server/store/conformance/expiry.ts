// What every store does with deadlines, whatever the clock does.

import { describe, expect, it } from 'vitest'
import { TTL_MS_MAX } from '../../../../protocol/limits.ts'
import { NO_SLOT } from '../../../../server/store/store.ts'
import { pattern, START_MS } from '../driver.ts'
import { KIB, type Suite, YEAR_MS } from './suite.ts'

export function describeExpiry(suite: Suite): void {
  const { withEntries, withBytes } = suite

  describe('expiry', () => {
    it('serves until the millisecond of the deadline, without a sweep', () => {
      const cache = withEntries(10)
      cache.put('a', 'x', { ttlMs: 100 })
      cache.nowMs += 99
      expect(cache.get('a')).toBe('x')
      cache.nowMs += 1
      expect(cache.find('a')).not.toBe(NO_SLOT)
      expect(cache.get('a')).toBeUndefined()
      expect(cache.find('a')).toBe(NO_SLOT)
      expect(cache.store.stats()).toMatchObject({ entries: 0, usedBytes: 0, expirations: 1, evictions: 0 })
    })

    it('sweeps what is due, as much as the budget says', () => {
      const cache = withEntries(10_000)
      for (let i = 0; i < 1000; i++) cache.put(`short ${i}`, 'x', { ttlMs: 50 })
      for (let i = 0; i < 1000; i++) cache.put(`long ${i}`, 'x', { ttlMs: 5000 })
      cache.put('for ever', 'x')
      cache.sweepAll()
      expect(cache.store.stats().entries).toBe(2001)
      cache.nowMs += 50
      expect(cache.store.sweep(cache.nowMs, 100)).toBeGreaterThanOrEqual(100)
      expect(cache.store.stats().entries).toBeGreaterThanOrEqual(1801)
      cache.sweepAll()
      expect(cache.store.stats()).toMatchObject({ entries: 1001, expirations: 1000 })
      cache.nowMs += YEAR_MS
      cache.sweepAll()
      expect(cache.scanKeys()).toEqual(['for ever'])
      expect(cache.store.stats()).toMatchObject({ entries: 1, expirations: 2000 })
    })

    it('frees what expired a millisecond ago before it evicts anything live', () => {
      for (const back of [1, 0]) {
        const cache = withEntries(4)
        cache.put('live and old', 'x')
        cache.put('live', 'x', { ttlMs: 1000 })
        cache.put('due', 'x', { ttlMs: 10 })
        cache.put('young', 'x')
        cache.nowMs += 10 + back
        cache.put('new', 'x')
        expect(cache.lru()).toEqual(['live and old', 'live', 'young', 'new'])
        expect(cache.store.stats()).toMatchObject({ evictions: 0, expirations: 1 })
      }
    })

    it('frees everything due before it evicts, by bytes, hours or a year later', () => {
      for (const later of [1, 3_600_000, YEAR_MS]) {
        const cache = withBytes(256 * KIB)
        for (let i = 0; i < 20; i++) cache.put(`live ${i}`, pattern(3000, i), { ttlMs: 2 * YEAR_MS })
        for (let i = 0; i < 60; i++) cache.put(`due ${i}`, pattern(3000, i), { ttlMs: later - (i % 7) })
        expect(cache.store.stats()).toMatchObject({ entries: 80, evictions: 0 })
        cache.nowMs += later
        for (let i = 0; i < 55; i++) cache.put(`new ${i}`, pattern(3000, i))
        expect(cache.store.stats().evictions).toBe(0)
        for (let i = 0; i < 20; i++) expect(cache.peek(`live ${i}`)).toBeDefined()
        for (let i = 0; i < 55; i++) expect(cache.peek(`new ${i}`)).toBeDefined()
      }
    })

    it('moves a deadline nearer, farther and away, at the same version', () => {
      const cache = withEntries(10)
      for (const key of ['near', 'far', 'never', 'back']) cache.put(key, 'x', { ttlMs: 1000 })
      const [log, head] = [cache.logKeys(), cache.headOfKey('far')]
      cache.store.setExpiry(cache.find('near'), cache.nowMs + 10)
      cache.store.setExpiry(cache.find('far'), cache.nowMs + YEAR_MS)
      cache.store.setExpiry(cache.find('never'), 0)
      cache.store.setExpiry(cache.find('back'), 0)
      cache.store.setExpiry(cache.find('back'), cache.nowMs + 20)
      expect(cache.logKeys()).toEqual(log)
      expect(cache.headOfKey('far')).toEqual({ ...head, expiresAtMs: cache.nowMs + YEAR_MS })
      const kept = (laterMs: number) => {
        cache.nowMs = START_MS + laterMs
        cache.sweepAll()
        return cache.lru()
      }
      expect(kept(9)).toEqual(['near', 'far', 'never', 'back'])
      expect(kept(10)).toEqual(['far', 'never', 'back'])
      expect(kept(20)).toEqual(['far', 'never'])
      expect(kept(YEAR_MS - 1)).toEqual(['far', 'never'])
      expect(kept(YEAR_MS)).toEqual(['never'])
      expect(kept(3 * YEAR_MS)).toEqual(['never'])
    })

    it('follows the latest put: with another deadline, or none', () => {
      const cache = withEntries(10)
      for (const key of ['a', 'b', 'c']) cache.put(key, 'x', { ttlMs: 10 })
      cache.put('a', 'y')
      cache.put('b', 'y', { ttlMs: 1000 })
      cache.put('d', 'x')
      cache.put('d', 'y', { ttlMs: 5 })
      cache.nowMs += 10
      cache.sweepAll()
      expect(cache.lru()).toEqual(['a', 'b'])
      cache.nowMs += 990
      expect(cache.peek('b')).toBeUndefined()
      expect(cache.peek('a')).toBe('y')
    })

    it('neither loses nor expires early what is there when the clock goes back', () => {
      for (const back of [1, 300, 288_000, YEAR_MS]) {
        const cache = withEntries(100)
        for (let i = 0; i < 50; i++) cache.put(`k${i}`, 'x', { ttlMs: 1 + 40 * i * i })
        cache.sweepAll()
        cache.nowMs = START_MS - back
        cache.put('new', 'x', { ttlMs: back + 20 })
        cache.sweepAll()
        expect(cache.store.stats().entries).toBe(51)
        for (let i = 0; i < 50; i++) {
          cache.nowMs = START_MS + 40 * i * i
          cache.sweepAll()
          expect(cache.find(`k${i}`)).not.toBe(NO_SLOT)
          cache.nowMs += 1
          cache.sweepAll()
          expect(cache.find(`k${i}`)).toBe(NO_SLOT)
        }
        expect(cache.store.stats()).toMatchObject({ entries: 0, expirations: 51 })
      }
    })

    it('keeps what lives a hundred years, and lets it go then', () => {
      const cache = withEntries(10)
      cache.put('a', 'x', { ttlMs: TTL_MS_MAX })
      cache.put('b', 'x', { expiresAtMs: 2 ** 48 - 1 })
      for (let year = 1; year < 100; year += 9) {
        cache.nowMs = START_MS + year * YEAR_MS
        cache.sweepAll()
        expect(cache.lru()).toEqual(['a', 'b'])
      }
      cache.nowMs = START_MS + TTL_MS_MAX
      cache.sweepAll()
      expect(cache.lru()).toEqual(['b'])
    })

    it('takes in what has expired already, and does not serve it', () => {
      const cache = withEntries(2)
      cache.put('live', 'x')
      cache.put('late', 'x', { expiresAtMs: cache.nowMs - 1000 })
      expect(cache.peek('late')).toBeUndefined()
      cache.put('late', 'x', { expiresAtMs: cache.nowMs })
      cache.put('new', 'x')
      expect(cache.lru()).toEqual(['live', 'new'])
    })
  })
}
