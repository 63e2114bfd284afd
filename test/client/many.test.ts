// Calls over many keys: more of them than a request holds, values that fill a reply, and servers that answer oddly.

import { describe, expect, test } from 'vitest'
import { Opcode, Status, ValueFlags } from '../../protocol/messages.ts'
import { CLIENT_SURROUNDINGS, clientIn, clientOf, serverAndClient } from '../helpers/client.ts'
import { type FakeConnection, type Request, startFakeServer } from '../helpers/fake-server.ts'

describe.each(CLIENT_SURROUNDINGS)('$mode, $store store', (surrounding) => {
  test('thousands of keys', async () => {
    const client = await clientIn(surrounding)
    const keys = Array.from({ length: 5000 }, (_, i) => `key-${i}`)
    const outcomes = await client.storeMany(keys.map((key, i) => [key, i]))
    expect(outcomes).toHaveLength(5000)
    expect(new Set(outcomes.map(({ outcome }) => outcome))).toEqual(new Set(['stored']))
    expect(await client.retrieveMany(keys)).toEqual(keys.map((_, i) => i))
    expect(await client.deleteMany(keys.slice(1000))).toBe(4000)
    const left = await client.retrieveMany(keys)
    expect(left.slice(0, 1000)).toEqual(keys.slice(0, 1000).map((_, i) => i))
    expect(left.slice(1000).every((value) => value === undefined)).toBe(true)
    expect(client.counters()).toMatchObject({ hits: 6000, misses: 4000, stored: 5000, unavailable: 0 })
  })

  test('values that fill many replies come all, in their order', async () => {
    const client = await clientIn(surrounding)
    const keys = Array.from({ length: 60 }, (_, i) => `large-${i}`)
    const largeValue = (i: number) => Buffer.alloc(100_000 + i, i)
    const outcomes = await client.storeMany(keys.map((key, i) => [key, largeValue(i)]))
    expect(outcomes.every(({ outcome }) => outcome === 'stored')).toBe(true)
    const found = await client.retrieveMany<Buffer>(['nothing', ...keys, 'large-0'])
    expect(found[0]).toBeUndefined()
    keys.forEach((_, i) => {
      expect(found[i + 1]?.equals(largeValue(i))).toBe(true)
    })
    expect(found[61]?.length).toBe(100_000)
    expect(client.counters()).toMatchObject({ hits: 61, misses: 1 })
  })

  test('values of the largest size, each of which fills a reply', async () => {
    const client = await clientIn(surrounding)
    const keys = ['a', 'b', 'c', 'd', 'e']
    await client.storeMany(keys.map((key, i) => [key, Buffer.alloc(1024 * 1024, i)]))
    const found = await client.retrieveMany<Buffer>(keys)
    expect(found.map((value) => value?.[1024 * 1024 - 1])).toEqual([0, 1, 2, 3, 4])
  })

  test('the longest keys', async () => {
    const client = await clientIn(surrounding, { keyPrefix: '😀' })
    const keys = Array.from({ length: 600 }, (_, i) => String(i).padStart(1020, 'k'))
    await client.storeMany(keys.map((key, i) => [key, i]))
    expect(await client.retrieveMany(keys)).toEqual(keys.map((_, i) => i))
    expect(await client.deleteMany(keys)).toBe(600)
  })

  test('no keys at all: no request', async () => {
    const client = await clientIn(surrounding)
    expect(await client.retrieveMany([])).toEqual([])
    expect(await client.storeMany([])).toEqual([])
    expect(await client.storeMany(new Map())).toEqual([])
    expect(await client.deleteMany([])).toBe(0)
    expect((await client.stats())['commands']).toMatchObject({ getMany: 0, setMany: 0, deleteMany: 0 })
  })

  test('a key twice: the last value stays, both are answered, it is deleted once', async () => {
    const client = await clientIn(surrounding)
    await client.storeMany([
      ['k', 1],
      ['k', 2],
    ])
    expect(await client.retrieveMany(['k', 'k'])).toEqual([2, 2])
    expect(await client.deleteMany(['k', 'k'])).toBe(1)
  })

  test('any iterable of entries, with options for all', async () => {
    const client = await clientIn(surrounding)
    const outcomes = await client.storeMany(
      new Map<string, unknown>([
        ['a', { deep: [1, null] }],
        ['b', new Set([1])],
      ]),
      { ttlSeconds: 30 },
    )
    expect(outcomes).toHaveLength(2)
    expect(await client.retrieveMany(['a', 'b'])).toEqual([{ deep: [1, null] }, new Set([1])])
    expect((await client.inspect('b'))?.lifetimeSeconds).toBe(30)
  })
})

describe('values over the limit of the server', () => {
  const large = Buffer.alloc(2000)
  const tooLarge = {
    outcome: 'unavailable',
    maybeStored: false,
    error: expect.objectContaining({
      code: 'CACHE_TOO_LARGE',
      retriable: false,
      message: expect.stringMatching(/a value of 2000 bytes is over the server's limit of 1000$/),
    }),
  }

  test('are not sent once it is known: those around them keep their order', async () => {
    const { client } = await serverAndClient({ maxValueBytes: 1000 })
    await client.connect()
    const entries: [string, unknown][] = [
      ['twice', 'first'],
      ['large', large],
      ...Array.from({ length: 600 }, (_, i): [string, unknown] => [`k${i}`, i]),
      ['twice', 'last'],
    ]
    const outcomes = await client.storeMany(entries)
    expect(outcomes[1]).toEqual(tooLarge)
    expect(outcomes.filter(({ outcome }) => outcome === 'stored')).toHaveLength(602)
    expect(await client.retrieve('twice')).toBe('last')
    expect(client.counters()).toMatchObject({ stored: 602, unavailable: 1 })
    expect((await client.stats())['commands']).toMatchObject({ setMany: 2 })
  })

  test('nor is a later call overtaken', async () => {
    const { client } = await serverAndClient({ maxValueBytes: 1000 })
    await client.connect()
    const many = client.storeMany([
      ['k', 'old'],
      ['large', large],
    ])
    await Promise.all([many, client.store('k', 'new')])
    expect(await client.retrieve('k')).toBe('new')
  })

  test('where calls throw, nothing is sent', async () => {
    const { client } = await serverAndClient({ maxValueBytes: 1000 })
    await client.connect()
    const many = client.storeMany(
      [
        ['k', 1],
        ['large', large],
      ],
      { onUnavailable: 'throw' },
    )
    await expect(many).rejects.toMatchObject({ code: 'CACHE_TOO_LARGE', key: 'large' })
    expect(await client.has('k')).toBe(false)
  })

  test('before the first connection they cost nobody else', async () => {
    const { client } = await serverAndClient({ maxValueBytes: 1000 })
    const outcomes = await client.storeMany([
      ['a', 1],
      ['large', large],
      ['b', 2],
    ])
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['stored', 'unavailable', 'stored'])
    expect(await client.retrieveMany(['a', 'large', 'b'])).toEqual([1, undefined, 2])
  })
})

describe('a server that', () => {
  const packed = Buffer.from([7])

  async function clientAgainst(onRequest: (request: Request, connection: FakeConnection) => void) {
    const server = await startFakeServer({ onRequest })
    return clientOf(server.address)
  }

  function keysOf(request: Request): string[] {
    const [, , keys] = request
    return Array.isArray(keys) ? keys.map(String) : []
  }

  test('answers one key a time is asked until all are there', async () => {
    const client = await clientAgainst((request, connection) => {
      const entries = keysOf(request).map((_, i) =>
        i === 0 ? [Status.Ok, ValueFlags.MessagePack, packed] : [Status.Skipped],
      )
      connection.send([Status.Ok, request[1], entries])
    })
    expect(await client.retrieveMany(['a', 'b', 'c', 'd'])).toEqual([7, 7, 7, 7])
  })

  test('skips every key for ever is not asked for ever', async () => {
    let asked = 0
    const client = await clientAgainst((request, connection) => {
      asked++
      connection.send([Status.Ok, request[1], keysOf(request).map(() => [Status.Skipped])])
    })
    expect(await client.retrieveMany(['a', 'b'])).toEqual([undefined, undefined])
    await expect(client.retrieveMany(['a', 'b'], { onUnavailable: 'throw' })).rejects.toMatchObject({
      code: 'CACHE_PROTOCOL',
    })
    expect(asked).toBe(2)
    expect(client.counters()).toMatchObject({ unavailable: 2, hits: 0, misses: 0 })
  })

  test('answers slowly gets as much time as the whole call has', async () => {
    let asked = 0
    const client = await clientAgainst((request, connection) => {
      asked++
      const answer = () =>
        connection.send([
          Status.Ok,
          request[1],
          keysOf(request).map((_, i) => (i === 0 ? [Status.Miss] : [Status.Skipped])),
        ])
      setTimeout(answer, 30)
    })
    const keys = Array.from({ length: 400 }, (_, i) => `k${i}`)
    await expect(client.retrieveMany(keys, { timeoutMs: 200, onUnavailable: 'throw' })).rejects.toMatchObject(
      { code: 'CACHE_TIMEOUT' },
    )
    expect(asked).toBeLessThan(400)
  })

  test('sends a value that nobody can read costs that key only', async () => {
    const client = await clientAgainst((request, connection) => {
      connection.send([
        Status.Ok,
        request[1],
        [
          [Status.Ok, ValueFlags.MessagePack, packed],
          [Status.Ok, ValueFlags.Utf8, Buffer.from([0xff])],
          [Status.Ok, 99, packed],
          [Status.Ok, ValueFlags.MessagePack, packed],
        ],
      ])
    })
    expect(await client.retrieveMany(['a', 'b', 'c', 'd'])).toEqual([7, undefined, undefined, 7])
    expect(client.counters()).toMatchObject({ hits: 2, undecodable: 2, outages: 0 })
    await expect(client.retrieveMany(['a', 'b', 'c', 'd'], { onUnavailable: 'throw' })).rejects.toMatchObject(
      { code: 'CACHE_PROTOCOL' },
    )
    expect(client.counters()).toMatchObject({ outages: 0 })
  })

  test('answers a part of a request only is not believed', async () => {
    const client = await clientAgainst((request, connection) => {
      if (request[0] === Opcode.DeleteMany) connection.send([Status.Ok, request[1], [Status.Ok]])
      else connection.send([Status.Ok, request[1], [[Status.Miss]]])
    })
    await expect(client.retrieveMany(['a', 'b'], { onUnavailable: 'throw' })).rejects.toMatchObject({
      code: 'CACHE_PROTOCOL',
    })
    await expect(client.deleteMany(['a', 'b'])).rejects.toMatchObject({ code: 'CACHE_PROTOCOL' })
    expect(
      await client.storeMany([
        ['a', 1],
        ['b', 1],
      ]),
    ).toEqual([
      {
        outcome: 'unavailable',
        maybeStored: true,
        error: expect.objectContaining({ code: 'CACHE_PROTOCOL' }),
      },
      {
        outcome: 'unavailable',
        maybeStored: true,
        error: expect.objectContaining({ code: 'CACHE_PROTOCOL' }),
      },
    ])
  })

  test('refuses an entry says so for that entry', async () => {
    const client = await clientAgainst((request, connection) => {
      connection.send([Status.Ok, request[1], [[Status.Overloaded], [Status.Conflict], [Status.Internal]]])
    })
    expect(
      await client.storeMany([
        ['a', 1],
        ['b', 1],
        ['c', 1],
      ]),
    ).toEqual([
      {
        outcome: 'unavailable',
        maybeStored: false,
        error: expect.objectContaining({ code: 'CACHE_OVERLOADED', retriable: true }),
      },
      { outcome: 'conflict', version: undefined },
      {
        outcome: 'unavailable',
        maybeStored: true,
        error: expect.objectContaining({ code: 'CACHE_UNAVAILABLE' }),
      },
    ])
  })
})
