// The arena store, the heap store and the naive model, driven by the same random operations.
//
// Under a limit of entries all must give equal answers at every step. Under a limit of bytes the two stores may free
// different amounts (memory in pieces is not memory in objects): there each is held to what must be true of any cache.

import { describe, expect, it } from 'vitest'
import { ArenaStore } from '../../../server/store/arena-store.ts'
import { HeapStore } from '../../../server/store/heap-store.ts'
import { NO_SLOT, RecordKind } from '../../../server/store/store.ts'
import { alike } from './alike.ts'
import { Driver, HASH_KEY, type MakeStore, START_MS } from './driver.ts'
import { type MayForget, Model, retentionOf, viewOf } from './model.ts'
import { Operations } from './operations.ts'
import { forEachSeed, seedRange } from './random.ts'

const STORES: [name: string, make: MakeStore][] = [
  ['heap', (options) => new HeapStore(options)],
  ['arena', (options) => new ArenaStore(options)],
]
const STEPS = 2500

describe('stores under a limit of entries', () => {
  it(`give the same answers as the model at every step (${seedRange(20)})`, () => {
    forEachSeed(20, (random) => {
      const entriesMax = random.pick([1, 3, 30, 200])
      const keys = 2 + random.below(entriesMax * 3)
      const rate = random.pick([1, 2, 10])
      const mayForget: MayForget = rate === 1 ? () => true : (hlc) => hlc % rate !== 0
      const subjects = STORES.map(([name, make]) => {
        const cache = new Driver(make({ entriesMax, bytesMax: 1 << 30, hashKey: HASH_KEY }))
        cache.store.retention = retentionOf(cache, mayForget)
        return { name, cache }
      })
      const model = new Model(entriesMax, mayForget, START_MS)
      const operations = new Operations(random, keys)
      for (let step = 0; step < STEPS; step++) {
        const operation = operations.next()
        const wanted = operation.onModel(model)
        const view = step % 32 === 0 || step > STEPS - 10 ? model.view() : undefined
        for (const { name, cache } of subjects)
          inStep(step, `${operation.name} on ${name}`, () => {
            alike(operation.onStore(cache), wanted)
            if (view !== undefined) alike(viewOf(cache, model), view)
          })
        if (step % 128 === 127) inStep(step, 'statistics', () => checkStats(subjects, model))
      }
    })
  })
})

/** Once everything due is swept; only when an expiry is noticed is each store's own affair. */
function checkStats(subjects: { cache: Driver }[], model: Model): void {
  const stats = subjects.map(({ cache }) => {
    cache.sweepAll()
    expect(cache.store.stats().usedBytes).toBe(cache.chargedBytes())
    return { ...cache.store.stats(), expirations: undefined }
  })
  for (const each of stats) expect(each).toEqual(stats[0])
  expect(stats[0]?.entries).toBe(model.view().lru.length)
}

describe.each(STORES)('%s store under a limit of bytes', (_name, make) => {
  it(`stays below it, and gives back nothing overwritten, deleted, flushed or expired (${seedRange(8)})`, () => {
    forEachSeed(8, (random) => {
      const bytesMax = random.pick([200_000, 1_000_000, 5_000_000])
      const entriesMax = random.oneIn(3) ? 300 : Number.POSITIVE_INFINITY
      const cache = new Driver(make({ entriesMax, bytesMax, hashKey: HASH_KEY }))
      const rate = random.pick([1, 2, 50])
      const mayForget: MayForget = rate === 1 ? () => true : (hlc) => hlc % rate !== 0
      cache.store.retention = retentionOf(cache, mayForget)
      // A model without bounds: what a cache that never forgets by itself would hold.
      const model = new Model(Number.POSITIVE_INFINITY, mayForget, START_MS)
      const operations = new Operations(random, random.pick([50, 300, 2000]))
      for (let step = 0; step < STEPS; step++) {
        const operation = operations.next()
        inStep(step, operation.name, () => {
          const before = fingerprint(cache)
          const answer = operation.onStore(cache)
          // Refused for want of room: then nothing has changed, and the model does not hear of it.
          const refused = operation.name.startsWith('put') && answer === false
          const wanted = refused ? undefined : operation.onModel(model)
          if (refused) alike(fingerprint(cache), before)
          if (typeof answer === 'string') alike(answer, wanted)
          const { usedBytes, entries } = cache.store.stats()
          if (usedBytes > bytesMax || entries > entriesMax)
            throw new Error(`${usedBytes} bytes of ${bytesMax}, ${entries} entries of ${entriesMax}`)
        })
        if (step % 64 === 63) inStep(step, 'a look at all', () => checkAll(cache, model))
      }
      cache.forgetAll()
      cache.sweepAll()
      expect(cache.store.stats()).toMatchObject({ entries: 0, ghosts: 0, tombstones: 0, usedBytes: 0 })
    })
  })
})

/** Differs after anything that changes records. */
function fingerprint({ store }: Driver): unknown {
  return { ...store.stats(), tailSeq: store.tailSeq, first: store.next(0), oldest: store.oldest() }
}

/** What the store has is a part of what the model has, in the same orders, and is charged to the byte. */
function checkAll(cache: Driver, model: Model): void {
  cache.sweepAll()
  const { store } = cache
  const lru = cache.lru()
  const present = new Set(lru)
  const inModel = (keys: string[]) => keys.filter((key) => present.has(key))
  alike(lru, inModel(model.view().lru))
  const values = cache.log().filter((slot) => store.kind(slot) === RecordKind.Value)
  const logged = values.map((slot) => cache.keyOf(slot))
  alike(logged, inModel(model.logKeys()))
  alike([...new Set(cache.scanKeys())].sort(), lru.sort())
  for (const slot of values) {
    const key = cache.keyOf(slot)
    alike([key, cache.find(key), cache.valueOf(slot)], [key, slot, model.peek(key)])
  }
  cache.checkMarkers()
  const stats = store.stats()
  expect(stats.entries).toBe(lru.length)
  expect(stats.usedBytes).toBe(cache.chargedBytes())
  expect(store.next(store.tailSeq)).toBe(NO_SLOT)
}

function inStep<T>(step: number, name: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw new Error(`step ${step}, ${name}: ${String(error)}`, { cause: error })
  }
}
