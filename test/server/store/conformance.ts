// What every store must do, as one suite run for every implementation: describeStore(name, make).
//
// Byte limits are not small here, since a store may need some room to work in; entry limits are.

import { describe, expect, it } from 'vitest'
import { TTL_MS_MAX } from '../../../protocol/limits.ts'
import { NO_SLOT, RecordKind, type Retention } from '../../../server/store/store.ts'
import { Driver, HASH_KEY, latin1, type MakeStore, pattern, START_MS } from './driver.ts'
import { describeExhaustively } from './exhaustive.ts'
import { forEachSeed } from './random.ts'

const KIB = 1024
const MIB = 1024 * KIB
/** Enough that only the limit of entries counts. */
const AMPLE_BYTES = 64 * MIB
const YEAR_MS = 366 * 24 * 3600 * 1000

const forgetNothing: Retention = { mayForget: () => false }

export function describeStore(name: string, make: MakeStore): void {
  const withEntries = (entriesMax: number) =>
    new Driver(make({ entriesMax, bytesMax: AMPLE_BYTES, hashKey: HASH_KEY }))
  const withBytes = (bytesMax: number) =>
    new Driver(make({ entriesMax: Number.POSITIVE_INFINITY, bytesMax, hashKey: HASH_KEY }))

  describe(name, () => {
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
        for (let i = 0; i < 20_000; i++) expect(cache.peek(`k${i}`)).toBe(`v${i}`)
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
              expect(cache.get(key)).toBe(known ? key : undefined)
              if (!known) continue
            } else {
              cache.put(key, key)
            }
            order = [...order.filter((other) => other !== key), key].slice(-50)
            expect(cache.store.stats().entries).toBe(order.length)
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
            expect(cache.put(key, value, random.oneIn(3) ? { ttlMs: 60_000 } : {})).toBe(true)
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
          for (let i = 0; i < 1000; i++)
            expect(cache.peek(`k${i}`)).toBe(i % 2 === 0 ? `new ${i}` : undefined)
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

      it('does not ask retention, and is room for new puts before anything live goes', () => {
        const cache = withBytes(256 * KIB)
        for (let i = 0; i < 40; i++) cache.put(`live ${i}`, pattern(2000, i), { hlc: 10_000 + i })
        for (let i = 0; i < 60; i++) cache.put(`old ${i}`, pattern(2000, i), { hlc: 1 + i, ttlMs: 10 })
        cache.store.retention = {
          mayForget: () => {
            throw new Error('asked')
          },
        }
        cache.store.flush(9000)
        cache.nowMs += 10
        for (let i = 0; i < 70; i++) cache.put(`new ${i}`, pattern(2000, i), { hlc: 11_000 + i })
        for (let i = 0; i < 40; i++) expect(cache.peek(`live ${i}`)).toBe(latin1(pattern(2000, i)))
        for (let i = 0; i < 70; i++) expect(cache.peek(`new ${i}`)).toBe(latin1(pattern(2000, i)))
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

    describeExhaustively(make)

    it('shares nothing with another store', () => {
      const [one, other] = [withEntries(10), withEntries(10)]
      one.put('a', 'x')
      expect(other.peek('a')).toBeUndefined()
      expect(other.store.tailSeq).toBe(0)
    })
  })
}
