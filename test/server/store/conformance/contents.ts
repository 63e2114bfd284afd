// What every store does with keys and values, and with the order they are used in.

import { describe, expect, it } from 'vitest'
import { NO_SLOT, RecordKind } from '../../../../server/store/store.ts'
import { same } from '../alike.ts'
import { latin1, pattern } from '../driver.ts'
import { forEachSeed } from '../random.ts'
import { KIB, MIB, type Suite } from './suite.ts'

export function describeContents(suite: Suite): void {
  const { withEntries, withBytes } = suite

  describe('values and keys', () => {
    it('gives back what was put, of any size', () => {
      const cache = withBytes(24 * MIB)
      const sizes = [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 4095, 4096, 65_535, 65_536, MIB - 1, 5 * MIB]
      for (const size of sizes) expect(cache.put(`size ${size}`, pattern(size))).toBe(true)
      for (const size of sizes) expect(cache.get(`size ${size}`)).toBe(latin1(pattern(size)))
      expect(cache.store.stats().entries).toBe(sizes.length)
    })

    it('tells keys of 1 to 1024 bytes apart, whatever the bytes', () => {
      const cache = withEntries(10_000)
      const keys: Uint8Array[] = []
      for (let byte = 0; byte < 256; byte++) keys.push(Uint8Array.of(byte))
      for (const length of [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 255, 256, 1023, 1024]) {
        const key = pattern(length, 3)
        keys.push(
          key,
          key.map((byte, i) => (i === length - 1 ? byte ^ 1 : byte)),
        )
        // The same beginning and another length; zeros at the end count.
        keys.push(
          new Uint8Array(length),
          Uint8Array.from(key, (byte, i) => (i === 0 ? byte ^ 0x80 : byte)),
        )
      }
      for (const [i, key] of keys.entries()) expect(cache.put(key, `value ${i}`)).toBe(true)
      for (const [i, key] of keys.entries()) {
        expect(cache.get(key)).toBe(`value ${i}`)
        expect(cache.keyOf(cache.find(key))).toBe(latin1(key))
      }
      expect(cache.get(new Uint8Array(1022))).toBeUndefined()
    })

    it('tells 20 000 keys apart that differ in little', () => {
      const cache = withEntries(20_000)
      for (let i = 0; i < 20_000; i++) cache.put(`k${i}`, `v${i}`)
      for (let i = 0; i < 20_000; i++) same(cache.peek(`k${i}`), `v${i}`)
      expect(cache.peek('k20000')).toBeUndefined()
    })

    it('keeps every part of the head to its last bit', () => {
      const cache = withEntries(10)
      const times = { expiresAtMs: 2 ** 48 - 1, lifetimeMs: 2 ** 48 - 2 }
      cache.put('large', 'x', { ...times, hlc: Number.MAX_SAFE_INTEGER, origin: 65_535, flags: 255 })
      expect(cache.headOfKey('large')).toEqual({
        ...times,
        kind: RecordKind.Value,
        hlc: Number.MAX_SAFE_INTEGER,
        origin: 65_535,
        flags: 255,
        seq: 1,
        keyBytes: 5,
        valueBytes: 1,
      })
      const odd = { expiresAtMs: 0x9234_8765_4321, lifetimeMs: 0x8000_8000_0001 }
      cache.put('bits', 'xy', { ...odd, hlc: 0x11_2345_8765_4321, origin: 0x8001, flags: 0x80 })
      const slot = cache.find('bits')
      expect(cache.headOf(slot)).toMatchObject({
        ...odd,
        hlc: 0x11_2345_8765_4321,
        origin: 0x8001,
        flags: 0x80,
      })
      expect(cache.store.flags(slot)).toBe(0x80)
      expect(cache.store.expiresAtMs(slot)).toBe(odd.expiresAtMs)
      expect(cache.store.keyBytes(slot)).toBe(4)
      expect(cache.store.valueBytes(slot)).toBe(2)
      expect(cache.store.kind(slot)).toBe(RecordKind.Value)
    })

    it('replaces a value by larger and smaller ones, timed and not', () => {
      const cache = withEntries(10)
      forEachSeed(5, (random) => {
        for (let i = 0; i < 100; i++) {
          const value = pattern(random.pick([0, 1, 8, 50, 100, 101, 5000, 70_000]), i)
          cache.put('a', value, random.oneIn(2) ? { ttlMs: 1000 } : {})
          cache.put('b', pattern(random.below(300), i))
          expect(cache.peek('a')).toBe(latin1(value))
          expect(cache.store.stats().entries).toBe(2)
          expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
        }
      })
    })

    it('gives equal keys equal hashes, and others mostly not', () => {
      const { store } = withEntries(1)
      const key = Buffer.from('..a key..')
      const hash = store.hash({ bytes: key, at: 2, length: 5 })
      expect(store.hash({ bytes: Buffer.from('a key'), at: 0, length: 5 })).toBe(hash)
      const view = new DataView(key.buffer, key.byteOffset, key.length)
      expect(store.hash({ bytes: key, view, at: 2, length: 5 })).toBe(hash)
      expect(hash).toBe(hash | 0)
      const hashes = new Set<number>()
      for (let i = 0; i < 1000; i++) {
        const bytes = Buffer.from(`key ${i}`)
        hashes.add(store.hash({ bytes, at: 0, length: bytes.length }))
      }
      expect(hashes.size).toBeGreaterThan(990)
    })
  })

  describe('order of use', () => {
    it('is the order of puts and touches', () => {
      const cache = withEntries(10)
      for (const key of ['a', 'b', 'c', 'd']) cache.put(key, key)
      expect(cache.lru()).toEqual(['a', 'b', 'c', 'd'])
      cache.get('b')
      expect(cache.lru()).toEqual(['a', 'c', 'd', 'b'])
      cache.get('a')
      cache.get('b')
      cache.get('b')
      expect(cache.lru()).toEqual(['c', 'd', 'a', 'b'])
      cache.put('d', 'another')
      expect(cache.lru()).toEqual(['c', 'a', 'b', 'd'])
      cache.put('c', 'c')
      expect(cache.lru()).toEqual(['a', 'b', 'd', 'c'])
    })

    it('is left alone by looking', () => {
      const cache = withEntries(10)
      for (const key of ['a', 'b', 'c']) cache.put(key, key, { ttlMs: 1000 })
      cache.find('a')
      cache.peek('a')
      cache.headOfKey('a')
      cache.scanKeys()
      cache.logKeys()
      cache.store.setExpiry(cache.find('a'), cache.nowMs + 5000)
      expect(cache.lru()).toEqual(['a', 'b', 'c'])
    })

    it('is empty in an empty store', () => {
      const cache = withEntries(10)
      expect(cache.store.oldest()).toBe(NO_SLOT)
      cache.put('a')
      cache.forget('a')
      expect(cache.store.oldest()).toBe(NO_SLOT)
      expect(cache.store.next(0)).toBe(NO_SLOT)
      expect(cache.scanKeys()).toEqual([])
      expect(cache.find('a')).toBe(NO_SLOT)
    })

    it('is the order of eviction', () => {
      forEachSeed(10, (random) => {
        const cache = withEntries(50)
        let order: string[] = []
        for (let step = 0; step < 1000; step++) {
          const key = `k${random.below(80)}`
          const known = order.includes(key)
          if (random.oneIn(2)) {
            same(cache.get(key), known ? key : undefined)
            if (!known) continue
          } else {
            cache.put(key, key)
          }
          order = [...order.filter((other) => other !== key), key].slice(-50)
          same(cache.store.stats().entries, order.length)
        }
        expect(cache.lru()).toEqual(order)
      })
    })

    it('is the order of eviction by bytes too', () => {
      forEachSeed(5, (random) => {
        const cache = withBytes(256 * KIB)
        let order: string[] = []
        for (let step = 0; step < 600; step++) {
          const key = `k${random.below(300)}`
          cache.put(key, pattern(random.below(random.oneIn(10) ? 30_000 : 3000), step))
          order = [...order.filter((other) => other !== key), key]
          const stats = cache.store.stats()
          expect(stats.usedBytes).toBeLessThanOrEqual(256 * KIB)
          // Whatever is left is the end of the order.
          order = order.slice(-stats.entries)
        }
        expect(cache.lru()).toEqual(order)
        expect(cache.store.stats().evictions).toBeGreaterThan(0)
      })
    })
  })
}
