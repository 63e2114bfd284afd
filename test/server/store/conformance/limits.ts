// What every store does at its limits of entries and bytes, and when it may not forget.

import { describe, expect, it } from 'vitest'
import { NO_SLOT, RecordKind } from '../../../../server/store/store.ts'
import { same } from '../alike.ts'
import { latin1, pattern } from '../driver.ts'
import { forEachSeed } from '../random.ts'
import { forgetNothing, KIB, MIB, type Suite, YEAR_MS } from './suite.ts'

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

  describe('markers', () => {
    it('are versions without a value: not live, not counted as entries, not evicted as values', () => {
      const cache = withEntries(2)
      cache.put('a', pattern(1000), { ttlMs: 100, hlc: 77, origin: 5, flags: 3 })
      cache.put('b', pattern(1000), { hlc: 78 })
      cache.store.strip(cache.find('a'), RecordKind.Ghost)
      cache.store.strip(cache.find('b'), RecordKind.Tombstone)
      expect(cache.peek('a')).toBeUndefined()
      expect(cache.peek('b')).toBeUndefined()
      expect(cache.lru()).toEqual([])
      expect(cache.scanKeys()).toEqual([])
      expect(cache.headOfKey('a')).toMatchObject({
        kind: RecordKind.Ghost,
        hlc: 77,
        origin: 5,
        seq: 1,
        expiresAtMs: 0,
        keyBytes: 1,
        valueBytes: 0,
      })
      expect(cache.headOfKey('b')).toMatchObject({
        kind: RecordKind.Tombstone,
        hlc: 78,
        seq: 2,
        valueBytes: 0,
      })
      expect(cache.keyOf(cache.find('a'))).toBe('a')
      expect(cache.store.stats()).toMatchObject({
        entries: 0,
        ghosts: 1,
        tombstones: 1,
        dataBytes: 0,
        evictions: 0,
      })
      cache.put('c', 'x')
      cache.put('d', 'x')
      expect(cache.store.stats()).toMatchObject({ entries: 2, ghosts: 1, tombstones: 1, evictions: 0 })
      expect(cache.lru()).toEqual(['c', 'd'])
    })

    it('do not expire', () => {
      const cache = withEntries(10)
      cache.put('a', 'x', { ttlMs: 100 })
      cache.store.strip(cache.find('a'), RecordKind.Ghost)
      cache.nowMs += YEAR_MS
      cache.sweepAll()
      expect(cache.headOfKey('a')?.kind).toBe(RecordKind.Ghost)
      expect(cache.store.stats().expirations).toBe(0)
    })

    it('free the bytes of the value', () => {
      const cache = withBytes(1 * MIB)
      for (const [key, size] of Object.entries({ small: 1, middle: 3000, large: 700_000 })) {
        cache.put(key, pattern(size))
        cache.store.strip(cache.find(key), RecordKind.Ghost)
      }
      expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
      expect(cache.store.stats().usedBytes).toBeLessThan(300)
      expect(cache.put('as large', pattern(900_000))).toBe(true)
      expect(cache.peek('as large')).toBe(latin1(pattern(900_000)))
      expect(cache.store.stats().ghosts).toBe(3)
    })

    it('free the bytes of a value that had to be stored in pieces', () => {
      const cache = withBytes(256 * KIB)
      for (const key of ['hole 1', 'stays 1', 'hole 2', 'stays 2'])
        cache.put(key, pattern(key.startsWith('hole') ? 100_000 : 100))
      cache.forget('hole 1')
      cache.forget('hole 2')
      for (const kind of [RecordKind.Ghost, RecordKind.Tombstone, RecordKind.Ghost] as const) {
        expect(cache.put('large', pattern(180_000))).toBe(true)
        expect(cache.peek('large')).toBe(latin1(pattern(180_000)))
        cache.store.strip(cache.find('large'), kind)
        expect(cache.put('as large', pattern(180_000))).toBe(true)
        expect(cache.peek('as large')).toBe(latin1(pattern(180_000)))
        expect(cache.keyOf(cache.find('large'))).toBe('large')
        expect(cache.store.stats()).toMatchObject({ entries: 3, evictions: 0 })
        cache.forget('as large')
      }
    })

    it('are replaced by values and replace them', () => {
      const cache = withEntries(10)
      cache.put('a', 'first')
      cache.put('a', '', { kind: RecordKind.Tombstone })
      expect(cache.peek('a')).toBeUndefined()
      expect(cache.store.stats()).toMatchObject({ entries: 0, tombstones: 1 })
      cache.put('a', 'second')
      expect(cache.peek('a')).toBe('second')
      cache.put('a', '', { kind: RecordKind.Ghost })
      expect(cache.store.stats()).toMatchObject({ entries: 0, ghosts: 1, tombstones: 0 })
      cache.store.strip(cache.find('a'), RecordKind.Tombstone)
      expect(cache.store.stats()).toMatchObject({ entries: 0, ghosts: 0, tombstones: 1 })
      cache.store.forget(cache.find('a'), 'deleted')
      expect(cache.store.stats()).toMatchObject({ entries: 0, ghosts: 0, tombstones: 0, usedBytes: 0 })
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
