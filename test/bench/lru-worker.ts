// One in-process cache in a process of its own, so that what the compiler learnt from one contestant does not slow
// another: a workload over prebuilt keys, and what it took. The job is the argument, the outcome the output, both JSON.
//
// The loop lets the event loop turn every SLICE operations, as a service does: caches that keep a reading of the clock
// renew it then.

import { setImmediate } from 'node:timers/promises'
import { randomFrom } from '../server/store/random.ts'
import { keyOf } from './keys.ts'
import { median } from './statistics.ts'

export type LruContestant = 'ormuco' | 'lru-cache'

export interface LruJob {
  contestant: LruContestant
  /** 'read-through': get, and set on a miss. 'hits': only get, of keys that are there. */
  workload: 'read-through' | 'hits'
  /** Infinity does not survive JSON: left out = never expires. */
  ttlSeconds?: number
  keys: number
  room: number
  operations: number
  skew: number
  seed: number
  warmUpPasses: number
  passes: number
}

export interface LruOutcome {
  /** Operations (a get, with the set that may follow) per second of wall time; median of the passes. */
  perSecond: number
  /** The same per second of this process's processor time, all its threads together. */
  perProcessorSecond: number
  /** 0 to 1, in the last pass. */
  hitRatio: number
}

interface Subject {
  get(key: string): object | undefined
  set(key: string, value: object): unknown
}

const SLICE = 4096

async function run(job: LruJob): Promise<LruOutcome> {
  const subject = await make(job)
  // Flat strings, as they come from a socket, not the result of a concatenation.
  const keys = Array.from({ length: job.keys }, (_, number) => Buffer.from(keyOf(number)).toString())
  const values = keys.map((_, number) => ({ number }))
  const sequence = skewed(job)
  let hits = 0
  const slice = (from: number, to: number) => {
    for (let at = from; at < to; at++) {
      const number = sequence[at] ?? 0
      const key = keys[number] ?? ''
      if (subject.get(key) !== undefined) hits++
      else subject.set(key, values[number] ?? keys)
    }
  }
  const passes: { perSecond: number; perProcessorSecond: number }[] = []
  for (let pass = 0; pass < job.warmUpPasses + job.passes; pass++) {
    hits = 0
    const processorBefore = process.cpuUsage()
    const before = performance.now()
    for (let from = 0; from < sequence.length; from += SLICE) {
      slice(from, Math.min(from + SLICE, sequence.length))
      await setImmediate()
    }
    const seconds = (performance.now() - before) / 1e3
    const { user, system } = process.cpuUsage(processorBefore)
    passes.push({
      perSecond: sequence.length / seconds,
      perProcessorSecond: (sequence.length / (user + system)) * 1e6,
    })
  }
  const measured = passes.slice(job.warmUpPasses)
  return {
    perSecond: median(measured.map(({ perSecond }) => perSecond)),
    perProcessorSecond: median(measured.map(({ perProcessorSecond }) => perProcessorSecond)),
    hitRatio: hits / sequence.length,
  }
}

async function make({ contestant, room, ttlSeconds }: LruJob): Promise<Subject> {
  if (contestant === 'lru-cache') {
    const { LRUCache } = await import('lru-cache')
    return new LRUCache<string, object>({
      max: room,
      ...(ttlSeconds === undefined ? {} : { ttl: ttlSeconds * 1000 }),
    })
  }
  const { LruCache } = await import('../../client/lru-cache.ts')
  return new LruCache<string, object>({
    maxEntries: room,
    ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
  })
}

/** Key numbers by Zipf's law: the rank r comes with a probability proportional to 1 / r ^ skew. Which key has which rank is
 * random too, or neighbours in rank would be neighbours in memory. */
function skewed({ workload, keys, room, operations, skew, seed }: LruJob): Uint32Array {
  const random = randomFrom(seed)
  const count = workload === 'hits' ? Math.min(keys, room) : keys
  const numberOfRank = Uint32Array.from({ length: count }, (_, number) => number)
  for (let at = count - 1; at > 0; at--) {
    const other = random.below(at + 1)
    const number = numberOfRank[at] ?? 0
    numberOfRank[at] = numberOfRank[other] ?? 0
    numberOfRank[other] = number
  }
  const cumulated = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += 1 / (rank + 1) ** skew
    cumulated[rank] = sum
  }
  return Uint32Array.from({ length: operations }, () => {
    const drawn = (random.below(2 ** 32) / 2 ** 32) * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((cumulated[middle] ?? sum) < drawn) low = middle + 1
      else high = middle
    }
    return numberOfRank[low] ?? 0
  })
}

const job: LruJob = JSON.parse(process.argv[2] ?? '{}')
process.stdout.write(JSON.stringify(await run(job)))
