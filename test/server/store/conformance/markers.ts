// What every store does with markers: ghosts and tombstones, versions without a value.

import { describe, expect, it } from 'vitest'
import { NO_SLOT, RecordKind } from '../../../../server/store/store.ts'
import { latin1, pattern } from '../driver.ts'
import { forEachSeed } from '../random.ts'
import { forgetNothing, KIB, MIB, type Suite, YEAR_MS } from './suite.ts'

export function describeMarkers(suite: Suite): void {
  const { withEntries, withBytes } = suite

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

    it('keep the flags of the value, or take those they are given, and nothing else changes', () => {
      for (const size of [0, 1, 7, 300]) {
        const cache = withEntries(10)
        const how = { flags: 0xaa, hlc: 0x11_2345_8765_4321, origin: 0x8001 }
        cache.put('plain', pattern(size), how)
        cache.put('timed', pattern(size), { ...how, ttlMs: 1000 })
        for (const key of ['plain', 'timed']) {
          const was = { ...cache.headOfKey(key), valueBytes: 0, expiresAtMs: 0 }
          cache.store.strip(cache.find(key), RecordKind.Ghost)
          expect(cache.headOfKey(key)).toEqual({ ...was, kind: RecordKind.Ghost })
          for (const flags of [0, 255, 1, 128]) {
            cache.store.strip(cache.find(key), RecordKind.Tombstone, flags)
            expect(cache.headOfKey(key)).toEqual({ ...was, kind: RecordKind.Tombstone, flags })
            expect(cache.store.flags(cache.find(key))).toBe(flags)
          }
          cache.store.strip(cache.find(key), RecordKind.Ghost)
          expect(cache.headOfKey(key)).toEqual({ ...was, kind: RecordKind.Ghost, flags: 128 })
          expect(cache.keyOf(cache.find(key))).toBe(key)
        }
      }
    })

    it('stand by age, whatever they were before and however they came', () => {
      const cache = withEntries(3)
      expect(cache.markers()).toEqual([])
      for (const key of ['a', 'b', 'c']) cache.put(key, key)
      cache.store.strip(cache.find('b'), RecordKind.Ghost)
      cache.put('d', '', { kind: RecordKind.Tombstone })
      cache.store.strip(cache.find('a'), RecordKind.Tombstone)
      expect(cache.markers()).toEqual(['b', 'd', 'a'])
      // In place, as another kind; stripped once more; as a value and back.
      cache.put('b', '', { kind: RecordKind.Tombstone })
      expect(cache.markers()).toEqual(['d', 'a', 'b'])
      cache.store.strip(cache.find('d'), RecordKind.Ghost, 5)
      expect(cache.markers()).toEqual(['a', 'b', 'd'])
      cache.put('a', 'again')
      expect(cache.markers()).toEqual(['b', 'd'])
      cache.put('a', '', { kind: RecordKind.Ghost })
      expect(cache.markers()).toEqual(['b', 'd', 'a'])
      cache.store.forget(cache.find('d'), 'deleted')
      expect(cache.markers()).toEqual(['b', 'a'])
      cache.store.retention = forgetNothing
      cache.put('e', 'x', { ttlMs: 10 })
      for (const key of ['f', 'g', 'h']) cache.put(key, 'x')
      expect(cache.markers()).toEqual(['b', 'a', 'c', 'e'])
      cache.put('i', 'x', { ttlMs: 10 })
      cache.nowMs += 10
      cache.sweepAll()
      expect(cache.markers()).toEqual(['b', 'a', 'c', 'e', 'f', 'i'])
      cache.checkMarkers()
    })

    it('are charged by the formula after every change, and counted by kind', () => {
      forEachSeed(10, (random) => {
        const cache = withBytes(512 * KIB)
        if (random.oneIn(2)) cache.store.retention = { mayForget: (slot) => cache.headOf(slot).hlc % 2 === 0 }
        for (let step = 0; step < 400; step++) {
          const key = `k${random.below(30)}${'.'.repeat(random.below(3) * 7)}`
          const kind = random.pick([RecordKind.Ghost, RecordKind.Tombstone])
          const how = random.oneIn(2) ? { ttlMs: 1 + random.below(50) } : {}
          switch (random.below(6)) {
            case 0:
              cache.put(key, '', { kind })
              break
            case 1:
              // Replication never writes one with times, but a store may be asked to.
              cache.put(key, '', { kind, lifetimeMs: 1 })
              break
            case 2:
              cache.put(key, pattern(random.below(random.pick([2, 40, 9000])), step), how)
              break
            case 3:
              if (cache.find(key) !== NO_SLOT) cache.store.strip(cache.find(key), kind, random.below(256))
              break
            case 4:
              if (random.oneIn(4) && cache.find(key) !== NO_SLOT)
                cache.store.forget(cache.find(key), 'deleted')
              break
            default:
              cache.nowMs += random.below(10)
              cache.store.sweep(cache.nowMs, 5)
          }
          cache.checkMarkers()
          expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
        }
        cache.forgetAll()
        expect(cache.markers()).toEqual([])
        expect(cache.store.markerBytes).toBe(0)
      })
    })
  })
}
