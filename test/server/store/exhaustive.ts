// Every sequence of a few operations over three keys and two places, against the naive model: what random tests only
// make likely, for small n this makes certain.

import { describe, it } from 'vitest'
import { NO_SLOT, RecordKind } from '../../../server/store/store.ts'
import { alike, same } from './alike.ts'
import { Driver, HASH_KEY, type MakeStore, START_MS } from './driver.ts'
import { type MayForget, Model, retentionOf, viewOf } from './model.ts'

interface Pair {
  cache: Driver
  model: Model
}

type Operation = [name: string, run: (pair: Pair) => void]

const put = (key: string, ttlMs?: number): Operation => [
  `put ${key}${ttlMs === undefined ? '' : ` for ${ttlMs} ms`}`,
  ({ cache, model }) => {
    const how = ttlMs === undefined ? {} : { ttlMs }
    cache.put(key, `${key} ${cache.hlc}`, how)
    model.put(key, `${key} ${cache.hlc - 1}`, cache.hlc, how)
  },
]

const get = (key: string): Operation => [
  `get ${key}`,
  ({ cache, model }) => same(cache.get(key), model.get(key)),
]

const remove = (key: string): Operation => [
  `delete ${key}`,
  ({ cache, model }) => {
    cache.put(key, '', { kind: RecordKind.Tombstone })
    model.put(key, '', cache.hlc, { kind: RecordKind.Tombstone })
  },
]

const forget = (key: string): Operation => [
  `forget ${key}`,
  ({ cache, model }) => same(cache.forget(key), model.forget(key)),
]

/** Of a value or a marker: what has expired is noticed first. */
const strip = (key: string, flags?: number): Operation => [
  `strip ${key}, flags ${flags}`,
  ({ cache, model }) => {
    cache.findLive(key)
    const slot = cache.find(key)
    if (slot !== NO_SLOT) cache.store.strip(slot, RecordKind.Ghost, flags)
    same(slot !== NO_SLOT, model.strip(key, RecordKind.Ghost, flags))
  },
]

const later = (ms: number): Operation => [
  `${ms} ms later`,
  ({ cache, model }) => {
    cache.nowMs += ms
    model.nowMs += ms
  },
]

const sweep: Operation = ['sweep', ({ cache }) => cache.store.sweep(cache.nowMs, 2)]

const flush: Operation = [
  'flush all but the last write',
  ({ cache, model }) => {
    cache.store.flush(cache.hlc - 1)
    model.flush(cache.hlc - 1)
  },
]

/** Afterwards stamps begin anew, with three that were flushed. */
const takeBack: Operation = [
  'flush what may come next too, and take it back',
  ({ cache, model }) => {
    cache.store.flush(cache.hlc + 1)
    model.flush(cache.hlc + 1)
    cache.hlc = Math.max(0, cache.hlc - 2)
    cache.store.resetWatermark(cache.hlc)
    model.resetWatermark(cache.hlc)
  },
]

/** Each set is small enough for all its sequences of the given length; `EXHAUSTIVE=1` (environment) makes them longer by one. */
const SETS: { about: string; length: number; operations: Operation[] }[] = [
  { about: 'recency', length: 6, operations: [put('a'), put('b'), put('c'), get('a'), forget('b')] },
  { about: 'expiry', length: 6, operations: [put('a', 1), put('b', 2), put('c'), get('a'), later(1)] },
  {
    about: 'markers and flushes',
    length: 5,
    operations: [put('a', 1), put('b'), remove('a'), strip('b'), flush, later(1), sweep],
  },
  {
    about: 'the age of markers, and flushes taken back',
    length: 5,
    operations: [put('a', 1), put('b'), remove('b'), strip('a', 9), strip('b'), flush, takeBack],
  },
]

const RETENTIONS: { about: string; mayForget: MayForget; shorter: number }[] = [
  { about: 'alone', mayForget: () => true, shorter: 0 },
  { about: 'with replicas that lag', mayForget: (hlc) => hlc % 2 === 0, shorter: 1 },
]

const LONGER = Number(process.env['EXHAUSTIVE'] ?? 0)

export function describeExhaustively(make: MakeStore): void {
  describe('does as the model does in every sequence of a few operations', () => {
    for (const { about, length, operations } of SETS)
      for (const { about: retention, mayForget, shorter } of RETENTIONS)
        it(`${about}, ${retention}`, () => {
          const sequence: Operation[] = []
          const visit = (depth: number): void => {
            check(make, sequence, mayForget)
            if (depth === length - shorter + LONGER) return
            for (const operation of operations) {
              sequence.push(operation)
              visit(depth + 1)
              sequence.pop()
            }
          }
          visit(0)
        })
  })
}

function check(make: MakeStore, sequence: Operation[], mayForget: MayForget): void {
  const cache = new Driver(make({ entriesMax: 2, bytesMax: 65_536, hashKey: HASH_KEY }))
  cache.store.retention = retentionOf(cache, mayForget)
  cache.markerFlags = 7
  const pair = { cache, model: new Model(2, mayForget, START_MS) }
  pair.model.markerFlags = 7
  try {
    for (const [, run] of sequence) run(pair)
    const [seen, wanted] = [viewOf(cache, pair.model), pair.model.view()]
    alike(seen, wanted)
    cache.sweepAll()
    const [swept, stats] = [viewOf(cache, pair.model), cache.store.stats()]
    alike(swept, wanted)
    same(stats.entries, wanted.lru.length)
    same(stats.usedBytes, cache.chargedBytes())
  } catch (error) {
    throw new Error(`${sequence.map(([name]) => name).join(', ')}: ${String(error)}`, { cause: error })
  }
}
