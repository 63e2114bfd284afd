// What every store does at its limits of entries and bytes, and when it may not forget.

import { describe, expect, it } from 'vitest'
import { NO_SLOT, RecordKind } from '../../../../server/store/store.ts'
import { same } from '../alike.ts'
import { latin1, pattern } from '../driver.ts'
import { forEachSeed } from '../random.ts'
import { forgetNothing, KIB, MIB, type Suite } from './suite.ts'

export function describeLimits(suite: Suite): void {
  const { withEntries, withBytes } = suite

  describe('limits', () => {
    it('keeps one entry if that is the limit', () => {
      const cache = withEntries(1)
      for (const key of ['a', 'b', 'b', 'a']) {
        expect(cache.put(key, `value of ${key}`)).toBe(true)
        expect(cache.lru()).toEqual([key])
        expect(cache.get(key)).toBe(`value of ${key}`)
      }
      expect(cache.store.stats()).toMatchObject({ entries: 1, evictions: 2 })
    })

    it('replaces at the limit without evicting', () => {
      const cache = withEntries(3)
      for (const key of ['a', 'b', 'c', 'a', 'b', 'c', 'c']) cache.put(key, key)
      expect(cache.lru()).toEqual(['a', 'b', 'c'])
      expect(cache.store.stats().evictions).toBe(0)
    })

    it('refuses what can never fit, and changes nothing', () => {
      const cache = withBytes(128 * KIB)
      for (let i = 0; i < 100; i++) cache.put(`k${i}`, pattern(100, i))
      const before = [cache.lru(), cache.logKeys(), cache.store.stats(), cache.store.tailSeq]
      const now = () => [cache.lru(), cache.logKeys(), cache.store.stats(), cache.store.tailSeq]
      expect(cache.put('new', pattern(128 * KIB))).toBe(false)
      expect(now()).toEqual(before)
      expect(cache.put('k7', pattern(MIB))).toBe(false)
      expect(now()).toEqual(before)
      expect(cache.peek('k7')).toBe(latin1(pattern(100, 7)))
    })

    it('takes the largest value that fits, alone', () => {
      const cache = withBytes(128 * KIB)
      for (let i = 0; i < 2000; i++) cache.put(`k${i}`, pattern(20, i))
      const largest = 128 * KIB - 40 - 1 - 16 - 7
      expect(cache.put('x', pattern(largest))).toBe(true)
      expect(cache.peek('x')).toBe(latin1(pattern(largest)))
      expect(cache.put('x', pattern(largest - 8, 2))).toBe(true)
      expect(cache.peek('x')).toBe(latin1(pattern(largest - 8, 2)))
      expect(cache.put('y', pattern(10))).toBe(true)
      expect(cache.lru()).toEqual(['y'])
    })

    it('stays below its limit of bytes after every put, and accounts for every one', () => {
      forEachSeed(5, (random) => {
        const bytesMax = 512 * KIB
        const cache = withBytes(bytesMax)
        const latest = new Map<string, Uint8Array>()
        for (let step = 0; step < 1500; step++) {
          const key = `k${random.below(500)}`
          const value = pattern(random.below(random.pick([10, 200, 200, 5000, 60_000])), step)
          same(cache.put(key, value, random.oneIn(3) ? { ttlMs: 60_000 } : {}), true)
          latest.set(key, value)
          if (random.oneIn(20)) latest.delete(key) && cache.forget(key)
          expect(cache.store.stats().usedBytes).toBeLessThanOrEqual(bytesMax)
        }
        let values = 0
        for (const [key, value] of latest) {
          const found = cache.peek(key)
          if (found !== undefined) expect(found).toBe(latin1(value))
          if (found !== undefined) values += key.length + value.length
        }
        const stats = cache.store.stats()
        expect(stats.dataBytes).toBe(values)
        expect(stats.usedBytes).toBe(cache.chargedBytes())
        expect(stats.usedBytes).toBe(stats.dataBytes + stats.overheadBytes)
        cache.forgetAll()
        expect(cache.store.stats()).toMatchObject({
          entries: 0,
          dataBytes: 0,
          overheadBytes: 0,
          usedBytes: 0,
        })
      })
    })

    it('fills up again and again: nothing is lost to fragments', () => {
      const cache = withBytes(1 * MIB)
      for (const size of [10, 100_000, 100, 30_000, 1000, 10]) {
        for (let filled = 0; filled < 2 * MIB; filled += size + 80)
          cache.put(`${size} ${filled}`, pattern(size))
        expect(cache.store.stats().usedBytes).toBeGreaterThan(1 * MIB * 0.98 - size)
      }
    })

    it('holds more than one block of memory, in values that do not divide it', () => {
      const cache = withBytes(100 * MIB)
      const put = (i: number) => cache.put(`large ${i}`, pattern(3 * MIB + 100 * i, i))
      for (let i = 0; i < 40; i++) expect(put(i)).toBe(true)
      for (let i = 0; i < 20_000; i++) cache.put(`small ${i}`, pattern(i % 500, i))
      const { usedBytes, entries } = cache.store.stats()
      expect(usedBytes).toBeGreaterThan(96 * MIB)
      expect(entries).toBeGreaterThan(20_000 + 28)
      for (let i = 8; i < 40; i += 5) {
        const found = cache.peek(`large ${i}`)
        if (found !== undefined) same(found === latin1(pattern(3 * MIB + 100 * i, i)), true)
      }
      for (let i = 0; i < 20_000; i += 7) same(cache.peek(`small ${i}`), latin1(pattern(i % 500, i)))
    })

    it('evicts about as much as a large value needs, and not more', () => {
      const cache = withBytes(8 * MIB)
      for (let i = 0; i < 60_000; i++) cache.put(`key ${i}`, pattern(100, i))
      const before = cache.store.stats()
      const large = pattern(MIB)
      expect(cache.put('large', large)).toBe(true)
      expect(cache.peek('large')).toBe(latin1(large))
      const after = cache.store.stats()
      const charge = before.usedBytes / before.entries
      const room = 8 * MIB - before.usedBytes
      const expected = before.entries - Math.ceil((MIB + 64 - room) / charge)
      expect(after.entries - 1).toBeGreaterThanOrEqual(expected * 0.99)
      expect(after.entries - 1).toBeLessThanOrEqual(expected + 1)
    })
  })

  describe('fits', () => {
    it('knows the limit of entries', () => {
      const cache = withEntries(2)
      expect(cache.store.fits(1, 1, false)).toBe(true)
      cache.put('a', 'x')
      cache.put('tombstone', '', { kind: RecordKind.Tombstone })
      expect(cache.store.fits(1, 1, true)).toBe(true)
      cache.put('b', 'x', { ttlMs: 10 })
      expect(cache.store.fits(1, 1, false)).toBe(false)
      // What has expired is in the way until it is swept.
      cache.nowMs += 10
      expect(cache.store.fits(1, 1, false)).toBe(false)
      cache.sweepAll()
      expect(cache.store.fits(1, 1, false)).toBe(true)
      cache.put('c', 'x')
      cache.store.flush(cache.hlc)
      expect(cache.store.fits(1, 1, false)).toBe(true)
    })

    it('knows the limit of bytes to the byte, with an expiry and without', () => {
      const cache = withBytes(128 * KIB)
      cache.put('a', pattern(60_000))
      const largest = 128 * KIB - cache.store.stats().usedBytes - 16 - 40 - 3
      expect(cache.store.fits(3, largest, false)).toBe(true)
      expect(cache.store.fits(3, largest + 1, false)).toBe(false)
      expect(cache.store.fits(3, largest - 20, true)).toBe(true)
      expect(cache.store.fits(3, largest - 19, true)).toBe(false)
      expect(cache.store.fits(1, 128 * KIB, false)).toBe(false)
    })

    it('is true if and only if a put removes nothing, and changes nothing by itself', () => {
      forEachSeed(6, (random) => {
        const cache = withBytes(256 * KIB)
        cache.store.retention = { mayForget: (slot) => cache.headOf(slot).hlc % 3 !== 0 }
        let fitting = 0
        for (let step = 0; step < 1500; step++) {
          const key = `key ${step}`
          const value = pattern(random.below(random.pick([20, 300, 300, 20_000])), step)
          const how = random.oneIn(3) ? { ttlMs: 5_000 } : {}
          const before = cache.store.stats()
          const fits = cache.store.fits(key.length, value.length, 'ttlMs' in how)
          expect(cache.store.stats()).toEqual(before)
          const put = cache.put(key, value, how)
          const after = cache.store.stats()
          const removed = after.evictions + after.expirations - before.evictions - before.expirations
          same(fits, put && removed === 0)
          // Nor has a marker gone.
          if (fits) same(after.entries + after.ghosts, before.entries + before.ghosts + 1)
          if (fits) fitting++
          cache.nowMs += random.below(20)
          if (random.oneIn(10)) cache.sweepAll()
          if (random.oneIn(3)) cache.forget(`key ${step - random.below(100)}`)
          while (cache.store.markerBytes > 20_000) cache.store.forget(cache.store.oldestMarker(), 'deleted')
        }
        expect(fitting).toBeGreaterThan(100)
        expect(fitting).toBeLessThan(1400)
      })
    })

    it('is not misled by room in pieces too small to use', () => {
      const cache = withBytes(1 * MIB)
      for (let i = 0; cache.store.stats().evictions === 0; i++) cache.put(`k${i}`, pattern(26))
      // Each leaves a hole of 24 bytes.
      for (const key of cache.lru()) cache.store.strip(cache.find(key), RecordKind.Ghost)
      for (const size of [150_000, 200_000, 250_000, 280_000]) {
        const fits = cache.store.fits(1, size, false)
        expect(cache.put('x', pattern(size))).toBe(fits)
        cache.forget('x')
      }
    })
  })

  describe('retention', () => {
    it('turns what it keeps into ghosts: evicted, expired and looked at, swept, or in the way of a put', () => {
      const cache = withEntries(3)
      const asked: string[] = []
      cache.store.retention = {
        mayForget: (slot) => {
          asked.push(cache.keyOf(slot))
          return cache.keyOf(slot).startsWith('free')
        },
      }
      cache.put('kept', 'x')
      cache.put('free', 'x')
      cache.put('looked at', 'x', { ttlMs: 10 })
      cache.put('b', 'x')
      cache.put('c', 'x', { ttlMs: 20 })
      expect(cache.store.stats()).toMatchObject({ entries: 3, ghosts: 1, evictions: 2 })
      cache.nowMs += 10
      expect(cache.peek('looked at')).toBeUndefined()
      cache.put('d', 'x', { ttlMs: 30 })
      cache.nowMs += 10
      cache.put('e', 'x')
      cache.nowMs += 20
      cache.sweepAll()
      expect(cache.lru()).toEqual(['b', 'e'])
      const ghosts = cache.log().filter((slot) => cache.store.kind(slot) === RecordKind.Ghost)
      expect(ghosts.map((slot) => cache.keyOf(slot)).sort()).toEqual(['c', 'd', 'kept', 'looked at'])
      expect(cache.find('free')).toBe(NO_SLOT)
      expect(cache.store.stats()).toMatchObject({ entries: 2, ghosts: 4, evictions: 2, expirations: 3 })
      expect(new Set(asked)).toEqual(new Set(['kept', 'free', 'looked at', 'c', 'd']))
    })

    it('says which flags the ghosts have that are made for it', () => {
      const cache = withEntries(2)
      let markerFlags = 0
      const flagsOf = (key: string) => cache.headOfKey(key)?.flags
      cache.store.retention = {
        ...forgetNothing,
        get markerFlags() {
          return markerFlags
        },
      }
      for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) {
        markerFlags += 40
        cache.put(key, 'x', { flags: 1, ttlMs: key === 'e' ? 10 : 1000 })
      }
      cache.nowMs += 10
      markerFlags = 255
      expect(cache.peek('e')).toBeUndefined()
      cache.nowMs += 1000
      markerFlags = 254
      cache.sweepAll()
      expect(['a', 'b', 'c', 'd', 'e', 'f'].map(flagsOf)).toEqual([120, 160, 200, 240, 255, 254])
      cache.store.retention = forgetNothing
      for (const key of ['g', 'h', 'i']) cache.put(key, 'x', { flags: 1 })
      expect(flagsOf('g')).toBe(0)
      expect(flagsOf('h')).toBe(1)
    })

    it('cannot lead beyond the limit of bytes; what does not fit beside the ghosts changes nothing', () => {
      const bytesMax = 256 * KIB
      const cache = withBytes(bytesMax)
      cache.store.retention = forgetNothing
      const look = () => [cache.lru(), cache.logKeys(), cache.store.stats(), cache.store.tailSeq]
      let refused = 0
      for (let i = 0; i < 6000 && refused < 20; i++) {
        const before = refused > 0 ? look() : undefined
        if (!cache.put(`key number ${i}`, pattern(i % 300, i), i % 3 === 0 ? { ttlMs: 5000 } : {})) {
          if (before !== undefined) expect(look()).toEqual(before)
          refused++
        }
        expect(cache.store.stats().usedBytes).toBeLessThanOrEqual(bytesMax)
      }
      expect(refused).toBe(20)
      // All is well again as soon as it may forget.
      for (const key of cache.logKeys().slice(0, 1000)) cache.store.forget(cache.find(key), 'evicted')
      expect(cache.put('new', pattern(1000))).toBe(true)
      expect(cache.peek('new')).toBe(latin1(pattern(1000)))
    })

    it('leaves the old value alone when the new one does not fit beside the ghosts', () => {
      const cache = withBytes(128 * KIB)
      cache.store.retention = forgetNothing
      for (let i = 0; i < 500; i++) cache.put(`ghost ${i}`, '', { kind: RecordKind.Ghost })
      expect(cache.put('a', pattern(20_000))).toBe(true)
      expect(cache.put('b', pattern(20_000))).toBe(true)
      const before = [cache.lru(), cache.logKeys(), cache.store.stats(), cache.store.tailSeq]
      expect(cache.put('a', pattern(110_000))).toBe(false)
      expect([cache.lru(), cache.logKeys(), cache.store.stats(), cache.store.tailSeq]).toEqual(before)
      expect(cache.peek('a')).toBe(latin1(pattern(20_000)))
      expect(cache.put('a', pattern(60_000))).toBe(true)
      expect(cache.peek('a')).toBe(latin1(pattern(60_000)))
    })

    it('does not evict the record that is being replaced', () => {
      // The one to be replaced is the least recently used, and due besides.
      for (const mayForget of [true, false]) {
        const cache = withBytes(128 * KIB)
        cache.store.retention = { mayForget: () => mayForget }
        cache.put('a', pattern(60_000), { ttlMs: 10 })
        cache.put('b', pattern(60_000), { ttlMs: 10 })
        cache.nowMs += 10
        expect(cache.put('a', pattern(110_000))).toBe(true)
        expect(cache.peek('a')).toBe(latin1(pattern(110_000)))
        expect(cache.store.stats()).toMatchObject({ entries: 1, ghosts: mayForget ? 0 : 1, expirations: 1 })
        expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
      }
    })
  })
}
