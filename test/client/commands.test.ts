// Every method of the client, in every surrounding: what it does to the cache and what it answers.

import { describe, expect, onTestFinished, test } from 'vitest'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { CLIENT_SURROUNDINGS, clientIn } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { randomValue } from '../helpers/random-value.ts'
import { difference } from '../helpers/same-value.ts'
import { randomFrom, seeds } from '../server/store/random.ts'

/** A cyclic value, and one of everything that JSON cannot say. */
function unusualValue(): unknown {
  const value: Record<string, unknown> = {
    date: new Date(1_700_000_000_000),
    map: new Map<unknown, unknown>([
      ['a', 1],
      [2, new Set(['x'])],
    ]),
    big: 2n ** 70n,
    negativeZero: -0,
    nan: Number.NaN,
    infinite: -Infinity,
    missing: undefined,
    bytes: Buffer.from([0, 255, 128]),
    floats: new Float32Array([1, 2.5]),
  }
  value['self'] = value
  return value
}

describe.each(CLIENT_SURROUNDINGS)('$mode, $store store', (surrounding) => {
  test('says its mode, connects, and closes by `await using`', async () => {
    const client = await clientIn(surrounding)
    expect(client.mode).toBe(surrounding.mode)
    expect(await client.connect()).toBe(client)
    await client[Symbol.asyncDispose]()
    await expect(client.connect()).rejects.toMatchObject({ code: 'CACHE_CLOSED' })
  })

  test('store and retrieve: the value, or undefined', async () => {
    const client = await clientIn(surrounding)
    expect(await client.retrieve('my-key')).toBeUndefined()
    expect(await client.store('my-key', [1, 2, 3])).toEqual({
      outcome: 'stored',
      version: expect.stringMatching(/^[0-9a-f]{32}$/),
      acks: 0,
      acksAwaited: 0,
    })
    expect(await client.retrieve('my-key')).toEqual([1, 2, 3])
    await client.store('my-key', null)
    expect(await client.retrieve('my-key')).toBeNull()
  })

  test('what comes back is what was stored, to the last detail, and a copy', async () => {
    const client = await clientIn(surrounding)
    const value = unusualValue()
    await client.store('unusual', value)
    const found = await client.retrieve('unusual')
    expect(difference(value, found)).toBeUndefined()
    expect(found).not.toBe(value)

    const bytes = Buffer.from('abc')
    const stored = client.store('bytes', bytes)
    bytes[0] = 0
    await stored
    expect(await client.retrieve('bytes')).toEqual(Buffer.from('abc'))
  })

  test.each(seeds(3))('random values come back as they were: seed %d', async (seed) => {
    const client = await clientIn(surrounding)
    const random = randomFrom(seed)
    const values = Array.from({ length: 100 }, () => randomValue(random))
    await Promise.all(values.map((value, index) => client.store(`value-${index}`, value)))
    const found = await Promise.all(values.map((_, index) => client.retrieve(`value-${index}`)))
    values.forEach((value, index) => {
      expect(difference(value, found[index]), `value ${index} of SEED=${seed}`).toBeUndefined()
    })
  })

  test('a value may use the cache while it is being stored', async () => {
    const client = await clientIn(surrounding)
    await client.connect()
    const inner: Promise<unknown>[] = []
    const value = {
      toJSON() {
        inner.push(client.store('inner', 'in'), client.retrieve('nothing'))
        return { outer: true }
      },
    }
    const outer = [
      client.store('plain', value),
      client.store('with options', [1, value], { ttlSeconds: 60 }),
      client.storeMany([['many', value]]),
    ]
    await Promise.all([...outer, ...inner])
    expect(await client.retrieveMany(['plain', 'with options', 'many', 'inner'])).toEqual([
      { outer: true },
      [1, { outer: true }],
      { outer: true },
      'in',
    ])
  })

  test('what cannot be stored is a TypeError that names the path, and nothing is sent', async () => {
    const client = await clientIn(surrounding)
    await expect(client.store('k', { user: { callback: () => 1 } })).rejects.toThrow(/user\.callback/)
    await expect(client.store('k', Symbol('s'))).rejects.toBeInstanceOf(TypeError)
    await expect(client.store('k', { s: Symbol('s') }, { ttlSeconds: 1 })).rejects.toBeInstanceOf(TypeError)
    const entries: [string, unknown][] = [
      ['first', 1],
      ['second', { f: () => 1 }],
    ]
    await expect(client.storeMany(entries)).rejects.toThrow(TypeError)
    expect(await client.retrieveMany(['k', 'first', 'second'])).toEqual([undefined, undefined, undefined])
  })

  test('lookup tells all that is known of a hit, and misses', async () => {
    const client = await clientIn(surrounding)
    expect(await client.lookup('k')).toEqual({ outcome: 'miss' })
    const stored = await client.store('k', { a: 1 })
    expect(await client.lookup('k')).toEqual({
      outcome: 'hit',
      value: { a: 1 },
      version: stored.outcome === 'stored' ? stored.version : '',
      ttlSeconds: Number.POSITIVE_INFINITY,
      from: 'server',
      region: 'default',
    })
    await client.store('k', 'brief', { ttlSeconds: 100 })
    const found = await client.lookup<string>('k')
    if (found.outcome !== 'hit') throw new Error(found.outcome)
    expect(found.value).toBe('brief')
    expect(found.ttlSeconds).toBeGreaterThan(0)
    expect(found.ttlSeconds).toBeLessThanOrEqual(100)
  })

  test('inspect tells version, size and times, and leaves the LRU order alone', async () => {
    const client = await clientIn(surrounding, {}, { maxEntries: 2 })
    expect(await client.inspect('old')).toBeUndefined()
    const stored = await client.store('old', 'four', { ttlSeconds: 50 })
    await client.store('new', 1)
    const entry = await client.inspect('old')
    expect(entry).toEqual({
      version: stored.outcome === 'stored' ? stored.version : '',
      valueBytes: 4,
      ttlSeconds: expect.any(Number),
      lifetimeSeconds: 50,
    })
    expect(entry?.ttlSeconds).toBeLessThanOrEqual(50)
    expect(await client.inspect('new')).toMatchObject({
      ttlSeconds: Number.POSITIVE_INFINITY,
      lifetimeSeconds: Number.POSITIVE_INFINITY,
    })
    expect(await client.has('old')).toBe(true)
    await client.store('newest', 1)
    expect(await client.retrieve('old')).toBeUndefined()
    expect(await client.retrieve('new')).toBe(1)
  })

  test('a hit makes the least recently used entry the most recently used one', async () => {
    const client = await clientIn(surrounding, {}, { maxEntries: 3 })
    for (const key of ['a', 'b', 'c']) await client.store(key, key)
    await client.retrieve('a')
    await client.store('d', 'd')
    expect(await client.retrieveMany(['a', 'b', 'c', 'd'])).toEqual(['a', undefined, 'c', 'd'])
  })

  test('delete and has: whether there was something', async () => {
    const client = await clientIn(surrounding)
    await client.store('k', 1)
    expect(await client.has('k')).toBe(true)
    expect(await client.delete('k')).toBe(true)
    expect(await client.delete('k')).toBe(false)
    expect(await client.has('k')).toBe(false)
  })

  test('touch gives a new time to live, or none, to what is there', async () => {
    const client = await clientIn(surrounding)
    expect(await client.touch('k', 5)).toBe(false)
    await client.store('k', 'value', { ttlSeconds: 5 })
    expect(await client.touch('k', 500)).toBe(true)
    const entry = await client.inspect('k')
    expect(entry?.lifetimeSeconds).toBe(500)
    expect(entry?.ttlSeconds).toBeGreaterThan(5)
    expect(await client.touch('k', Number.POSITIVE_INFINITY)).toBe(true)
    expect(await client.inspect('k')).toMatchObject({ ttlSeconds: Number.POSITIVE_INFINITY })
    expect(await client.retrieve('k')).toBe('value')
  })

  test('ttlSeconds: the one of the call, else the default, Infinity for none, fractions allowed', async () => {
    const client = await clientIn(surrounding, {}, { ttlSeconds: 64.007 })
    const lifetime = async () => (await client.inspect('k'))?.lifetimeSeconds
    await client.store('k', 1)
    expect(await lifetime()).toBe(64.007)
    await client.store('k', 1, { ttlSeconds: 2.5 })
    expect(await lifetime()).toBe(2.5)
    // A number whose product with 1000 is a trifle more than its milliseconds.
    await client.store('k', 1, { ttlSeconds: 32.002 })
    expect(await lifetime()).toBe(32.002)
    await client.store('k', 1, { ttlSeconds: Number.POSITIVE_INFINITY })
    expect(await lifetime()).toBe(Number.POSITIVE_INFINITY)
    await client.store('k', 1, { ttlSeconds: 1 / 3 })
    expect(await lifetime()).toBe(0.334)
    await client.storeMany([['k', 1]], { ttlSeconds: 9 })
    expect(await lifetime()).toBe(9)
  })

  test('what has expired is a miss to everything', async () => {
    const client = await clientIn(surrounding)
    await client.store('k', 1, { ttlSeconds: 0.001 })
    await eventually(() => client.has('k')).toBe(false)
    expect(await client.retrieve('k')).toBeUndefined()
    expect(await client.lookup('k')).toEqual({ outcome: 'miss' })
    expect(await client.inspect('k')).toBeUndefined()
    expect(await client.touch('k', 9)).toBe(false)
    expect(await client.delete('k')).toBe(false)
    expect(await client.store('k', 2, { if: 'present' })).toEqual({ outcome: 'conflict', version: undefined })
    expect(await client.increment('k')).toBe(1)
  })

  test('renewOnHit: a hit starts the time to live anew, an inspection does not', async () => {
    const client = await clientIn(surrounding, {}, { renewOnHit: true })
    await client.store('k', 1, { ttlSeconds: 1000 })
    await eventually(async () => (await client.inspect('k'))?.ttlSeconds).toBeLessThan(1000)
    // Of one tick: the server answers both within the same millisecond.
    const [, after] = await Promise.all([client.retrieve('k'), client.inspect('k')])
    expect(after?.ttlSeconds).toBe(1000)
    await eventually(async () => (await client.inspect('k'))?.ttlSeconds).toBeLessThan(1000)
    const [, afterMany] = await Promise.all([client.retrieveMany(['k']), client.inspect('k')])
    expect(afterMany?.ttlSeconds).toBe(1000)
  })

  test('increment counts, down too, from an initial value, and keeps the time to live', async () => {
    const client = await clientIn(surrounding)
    expect(await client.increment('n')).toBe(1)
    expect(await client.increment('n', 41)).toBe(42)
    expect(await client.increment('n', -50)).toBe(-8)
    expect(await client.increment('n', 0)).toBe(-8)
    expect(await client.retrieve('n')).toBe(-8)
    expect(await client.increment('other', 5, { initial: 10, ttlSeconds: 60 })).toBe(15)
    expect(await client.increment('other', 5, { initial: 10, ttlSeconds: 600 })).toBe(20)
    expect((await client.inspect('other'))?.lifetimeSeconds).toBe(60)
    await client.store('stored', 7)
    expect(await client.increment('stored')).toBe(8)
  })

  test('increment refuses what is no integer, and what would not be one any more', async () => {
    const client = await clientIn(surrounding)
    for (const value of ['7', 1.5, { n: 1 }, null, 2 ** 53, Buffer.from([1])]) {
      await client.store('k', value)
      await expect(client.increment('k')).rejects.toMatchObject({ code: 'CACHE_NOT_INTEGER' })
      expect(await client.retrieve('k')).toEqual(value)
    }
    await client.store('k', Number.MAX_SAFE_INTEGER)
    await expect(client.increment('k')).rejects.toMatchObject({ code: 'CACHE_NOT_INTEGER' })
    expect(await client.increment('k', -1)).toBe(Number.MAX_SAFE_INTEGER - 1)
    for (const by of [0.5, Number.NaN, 2 ** 53])
      await expect(client.increment('k', by)).rejects.toBeInstanceOf(RangeError)
    await expect(client.increment('k', 1, { initial: 0.1 })).rejects.toThrow(/initial: 0\.1/)
  })

  test('concurrent increments all count', async () => {
    const client = await clientIn(surrounding)
    const results = await Promise.all(Array.from({ length: 500 }, () => client.increment('n', 2)))
    expect(new Set(results).size).toBe(500)
    expect(await client.retrieve('n')).toBe(1000)
  })

  test('clear: everything is gone, what comes after stays', async () => {
    const client = await clientIn(surrounding)
    for (let i = 0; i < 200; i++) void client.store(`k${i}`, i)
    const cleared = client.clear()
    const stored = client.store('after', 1)
    await Promise.all([cleared, stored])
    expect(await collect(client)).toEqual(['after'])
    expect(await client.retrieve('k7')).toBeUndefined()
  })

  test('stats: the sections, as plain data', async () => {
    const client = await clientIn(surrounding)
    await client.store('k', 1)
    await client.retrieve('k')
    await client.retrieve('nothing')
    const stats = await client.stats()
    expect(Object.keys(stats)).toEqual([
      'server',
      'memory',
      'cache',
      'commands',
      'connections',
      'network',
      'replication',
      'peers',
      'eventLoop',
    ])
    expect(stats['server']).toMatchObject({ store: surrounding.store, draining: false })
    expect(stats['memory']).toMatchObject({ entries: 1 })
    expect(stats['cache']).toMatchObject({ hits: 1, misses: 1, sets: 1, hitRatio: 0.5 })
    expect(stats['commands']).toMatchObject({ get: 2, set: 1 })
  })

  test('counters: what this client has seen, as a copy', async () => {
    const client = await clientIn(surrounding)
    const version = await client.store('k', 1)
    await client.store('k', 2, { if: 'absent' })
    await client.retrieve('k')
    await client.retrieve('nothing')
    await client.lookup('k')
    await client.retrieveMany(['k', 'nothing', 'k'])
    await client.storeMany([
      ['a', 1],
      ['b', 2],
    ])
    expect(version.outcome).toBe('stored')
    const counters = client.counters()
    expect(counters).toEqual({
      hits: 4,
      misses: 2,
      stored: 3,
      conflicts: 1,
      unavailable: 0,
      timeouts: 0,
      undecodable: 0,
      schemaMismatches: 0,
      outages: 0,
      inFlight: 0,
      pending: 0,
    })
    counters.hits = 99
    const call = client.retrieve('k')
    expect(client.counters().inFlight).toBe(1)
    await call
    expect(client.counters()).toMatchObject({ hits: 5, inFlight: 0 })
  })

  test('calls made before there is a connection are pending, then answered in their order', async () => {
    const client = await clientIn(surrounding)
    const calls = [client.store('k', 1), client.increment('k'), client.retrieve('k'), client.delete('k')]
    expect(client.counters()).toMatchObject({ inFlight: 0, pending: 4 })
    expect(await Promise.all(calls)).toEqual([expect.objectContaining({ outcome: 'stored' }), 2, 2, true])
  })

  test('calls of one tick take effect in their order', async () => {
    const client = await clientIn(surrounding)
    await client.connect()
    const found: Promise<unknown>[] = []
    for (let i = 0; i < 2000; i++) {
      void client.store('k', i)
      found.push(client.retrieve('k'))
    }
    expect(await Promise.all(found)).toEqual(Array.from({ length: 2000 }, (_, i) => i))
  })

  test('a key prefix keeps users of one cache apart, in listings too', async () => {
    const client = await clientIn(surrounding, { keyPrefix: 'ä:' })
    await client.store('k', 1)
    await client.storeMany([['many', 2]])
    await client.increment('n')
    expect(await client.retrieve('k')).toBe(1)
    expect(await client.retrieveMany(['k', 'many', 'ä:k'])).toEqual([1, 2, undefined])
    expect((await collect(client)).sort()).toEqual(['k', 'many', 'n'])
    expect(await collect(client, 'm')).toEqual(['many'])
    expect(await client.deleteMany(['k', 'many', 'nothing'])).toBe(2)
    expect(await client.delete('n')).toBe(true)
  })

  test('close waits for the calls under way; then calls end as closed', async () => {
    const client = await clientIn(surrounding)
    const stored = Array.from({ length: 50 }, (_, i) => client.store(`k${i}`, i))
    const [first, second] = [client.close(), client.close()]
    let closed = false
    void second.then(() => {
      closed = true
    })
    for (const outcome of await Promise.all(stored)) {
      expect(outcome.outcome).toBe('stored')
      expect(closed).toBe(false)
    }
    await Promise.all([first, second, client.close()])
    expect(await client.retrieve('k1')).toBeUndefined()
    expect(await client.lookup('k1')).toMatchObject({
      outcome: 'unavailable',
      error: { code: 'CACHE_CLOSED' },
    })
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'unavailable', maybeStored: false })
    await expect(client.delete('k1')).rejects.toMatchObject({ code: 'CACHE_CLOSED' })
    await expect(collect(client)).rejects.toMatchObject({ code: 'CACHE_CLOSED' })
  })

  test('destroy ends the calls under way at once, with its reason', async () => {
    const client = await clientIn(surrounding)
    await client.connect()
    const reason = new Error('enough')
    const calls = [client.lookup('k'), client.store('k', 1)] as const
    const deleted = expect(client.delete('k')).rejects.toMatchObject({
      code: 'CACHE_CLOSED',
      message: 'enough',
      cause: reason,
    })
    client.destroy(reason)
    client.destroy()
    expect(await calls[0]).toMatchObject({ outcome: 'unavailable', error: { code: 'CACHE_CLOSED' } })
    expect(await calls[1]).toMatchObject({ outcome: 'unavailable', maybeStored: false })
    await deleted
    await client.close()
    expect(client.counters()).toMatchObject({ inFlight: 0, pending: 0 })
  })
})

test('stand-alone caches are apart from each other', async () => {
  const surrounding = { mode: 'standalone', store: 'arena' } as const
  const [one, two] = [await clientIn(surrounding), await clientIn(surrounding)]
  await one.store('k', 1)
  expect(await two.retrieve('k')).toBeUndefined()
})

test('clients of one server see the same', async () => {
  const { clientOf } = await import('../helpers/client.ts')
  const { startServer } = await import('../helpers/server.ts')
  const server = await startServer()
  const [one, two] = [clientOf(server), clientOf(server)]
  onTestFinished(() => server.destroy())
  await one.store('k', { from: 'one' })
  expect(await two.retrieve('k')).toEqual({ from: 'one' })
})

async function collect(client: OrmucoCacheClient, prefix?: string): Promise<string[]> {
  const keys: string[] = []
  for await (const key of client.keys(prefix === undefined ? {} : { prefix })) keys.push(key)
  return keys
}
