// Write concern in the client: what goes to the wire, what the result says, and replies that overtake each other.

import { describe, expect, test } from 'vitest'
import { acksTimeoutMs } from '../../client/acks.ts'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { ACKS_ALL, ACKS_TIMEOUT_MS_MAX } from '../../protocol/limits.ts'
import { Opcode, Status } from '../../protocol/messages.ts'
import { CLIENT_SURROUNDINGS, clientIn, clientOf, PATIENT_MS } from '../helpers/client.ts'
import { startFakeServer, versionNumber } from '../helpers/fake-server.ts'
import { startBereaved, startCluster } from '../helpers/linked-servers.ts'
import { connect } from '../helpers/server.ts'

/** Calls as somebody without a type checker makes them. */
type Untyped = Record<string, (...args: unknown[]) => Promise<unknown>>

describe('on the wire', () => {
  test.each([
    [1, 1],
    [64, 64],
    ['all', ACKS_ALL],
  ] as const)('acks: %j', async (acks, operand) => {
    const server = await startFakeServer()
    const client = clientOf(server.address, { timeoutMs: 4000 })
    const storing = client.store('key', 'value', { acks })
    const connection = await server.connection(0)
    const set = await connection.request()
    expect(set.slice(0, 8)).toEqual([Opcode.Set, set[1], 'key', 1, Buffer.from('value'), null, 0, null])
    expect(set.slice(8)).toEqual([operand, 3900])
    connection.send([Status.Ok, set[1], versionNumber(1), 1])
    expect(await storing).toMatchObject({ outcome: 'stored', acks: 1 })

    const deleting = client.delete('key', { acks, timeoutMs: 1000 })
    const del = await connection.request()
    expect(del).toEqual([Opcode.Delete, del[1], 'key', operand, 900])
    connection.send([Status.Ok, del[1], 1])
    expect(await deleting).toBe(true)
  })

  test('none, or 0, is no operand at all', async () => {
    const server = await startFakeServer({
      onRequest: ([, id], connection) => connection.send([Status.Ok, id, versionNumber(1), 0]),
    })
    const client = clientOf(server.address)
    await client.store('key', 'value', { acks: 0 })
    await client.store('key', 'value', {})
    await client.store('key', 'value')
    await client.delete('key', { acks: 0 })
    await client.delete('key')
    const lengths = (await server.connection(0)).requests.map((request) => request.length - 2)
    expect(lengths).toEqual([6, 6, 3, 1, 1])
  })

  test.each([
    [250, 150],
    [100, 50],
    [3, 1],
    [1, 1],
    [0.5, 1],
    [1e9, ACKS_TIMEOUT_MS_MAX],
  ])('of %d ms the server may wait %d', (totalMs, waitMs) => {
    expect(acksTimeoutMs(totalMs)).toBe(waitMs)
  })
})

describe('the result', () => {
  test('says how many servers have it', async () => {
    const [a, b] = await startCluster(['a', 'b', 'c'])
    if (a === undefined || b === undefined) throw new Error('three servers')
    const client = clientOf(a)
    expect(await client.store('key', [1], { acks: 1 })).toMatchObject({ outcome: 'stored' })
    expect(await client.store('key', [2], { acks: 'all' })).toMatchObject({ outcome: 'stored', acks: 2 })
    expect(await clientOf(b).retrieve('key')).toEqual([2])
    expect(await client.delete('key', { acks: 'all' })).toBe(true)
    expect(await clientOf(b).retrieve('key')).toBe(undefined)
    expect(await client.delete('key', { acks: 'all' })).toBe(false)
  })

  test('fewer than were asked for is stored all the same, and comes before the deadline', async () => {
    const client = clientOf(await startBereaved())
    // Server and client stand still together on a busy machine, and then the client gets time back to hear the answer.
    const options = { acks: 1, timeoutMs: 2000 } as const
    await client.connect()
    const storing = client.store('key', 'value', options)
    const deleting = client.delete('other', options)
    // Others do not wait for it.
    expect(await client.retrieve('key')).toBe('value')
    expect(await storing).toMatchObject({ outcome: 'stored', acks: 0 })
    expect(await deleting).toBe(false)
    expect(client.counters()).toMatchObject({ stored: 1, timeouts: 0, unavailable: 0 })
  })

  test.each(CLIENT_SURROUNDINGS)(
    'is 0 where there are no others: $mode, $store store',
    async (surrounding) => {
      const client = await clientIn(surrounding)
      expect(await client.store('key', 1, { acks: 'all' })).toMatchObject({ outcome: 'stored', acks: 0 })
      expect(await client.delete('key', { acks: 3 })).toBe(true)
      expect(await client.delete('key', { acks: 3 })).toBe(false)
    },
  )
})

describe('what is no number of servers', () => {
  const WRONG = [Number.NaN, -1, 1.5, 65, 255, Number.POSITIVE_INFINITY, 'most', '1', null, true, [1], {}]

  test.each(WRONG.map((acks) => [acks]))('%j is a RangeError, and nothing is sent', async (acks) => {
    const client: OrmucoCacheClient = await clientIn({ mode: 'standalone', store: 'arena' })
    const untyped = client as unknown as Untyped
    const message = `acks: ${String(acks)} is not possible; allowed: a whole number from 0 to 64, or 'all'`
    await client.store('there', 1)
    for (const call of [
      () => untyped['store']?.('key', 1, { acks }),
      () => untyped['delete']?.('there', { acks }),
    ]) {
      await expect(call()).rejects.toBeInstanceOf(RangeError)
      await expect(call()).rejects.toThrow(message)
    }
    expect(await client.has('key')).toBe(false)
    expect(await client.has('there')).toBe(true)
  })

  test.each([
    [
      'storeMany',
      [['k', 1]],
      'unknown option acks; there are timeoutMs, signal, onUnavailable, ttlSeconds, if',
    ],
    ['deleteMany', ['k'], 'unknown option acks; there are timeoutMs, signal, onUnavailable'],
    ['retrieve', 'k', 'unknown option acks; there are timeoutMs, signal, onUnavailable, schema'],
  ] as const)('%s has no acks', async (method, argument, message) => {
    const client: OrmucoCacheClient = await clientIn({ mode: 'standalone', store: 'arena' })
    await expect((client as unknown as Untyped)[method]?.(argument, { acks: 1 })).rejects.toThrow(message)
  })
})

test('replies find their calls in whatever order they come', async () => {
  const COUNT = 700
  const server = await startFakeServer()
  const client = clientOf(server.address, { timeoutMs: PATIENT_MS })
  await Promise.all([
    client.connect(),
    server.connection(0).then(async (connection) => {
      const [, id] = await connection.request()
      connection.send([Status.Ok, id])
    }),
  ])
  const connection = await server.connection(0)
  const calls = Array.from({ length: COUNT }, (_, i) => client.retrieve(`key ${i}`))
  const requests: [id: unknown, key: unknown][] = []
  while (requests.length < COUNT) {
    const [, id, key] = await connection.request()
    requests.push([id, key])
  }
  // Every third first, then the others from the end.
  const thirds = requests.filter((_, i) => i % 3 === 0)
  const others = requests.filter((_, i) => i % 3 !== 0).reverse()
  for (const [id, key] of [...thirds, ...others])
    connection.send([Status.Ok, id, 1, Buffer.from(String(key))])
  expect(await Promise.all(calls)).toEqual(Array.from({ length: COUNT }, (_, i) => `key ${i}`))
  expect(client.counters()).toMatchObject({ hits: COUNT, inFlight: 0, pending: 0 })
})

test('closing waits for a write that waits for others', async () => {
  const server = await startBereaved()
  const client = clientOf(server)
  await client.connect()
  const storing = client.store('key', 'value', { acks: 1, timeoutMs: 400 })
  await client.close({ timeoutMs: PATIENT_MS })
  expect(await storing).toMatchObject({ outcome: 'stored', acks: 0 })
  expect(await (await connect(server)).ask(Opcode.Get, 1, 'key')).toEqual([
    Status.Ok,
    1,
    1,
    Buffer.from('value'),
  ])
})
