// Every call settles within its deadline, whatever the server does or leaves undone, and says truly what may have
// happened: `maybeStored` is false only for what never left this process.

import { expect, test } from 'vitest'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { Opcode, Status, ValueFlags } from '../../protocol/messages.ts'
import { clientOf } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { answerAll, startFakeServer, unusedPort, versionNumber } from '../helpers/fake-server.ts'

const DEADLINE_MS = 60
const FOREVER_MS = 1_000_000

/** One of each kind of call; what each ends with. */
async function endings(client: OrmucoCacheClient): Promise<Record<string, unknown>> {
  const calls: Record<string, Promise<unknown>> = {
    connect: client.connect(),
    store: client.store('k', 1),
    storeWithOptions: client.store('k', 1, { ttlSeconds: 5 }),
    storeMany: client.storeMany([['k', 1]]),
    retrieve: client.retrieve('k'),
    lookup: client.lookup('k'),
    inspect: client.inspect('k'),
    has: client.has('k'),
    retrieveMany: client.retrieveMany(['k', 'l']),
    delete: client.delete('k'),
    deleteMany: client.deleteMany(['k']),
    touch: client.touch('k', 5),
    increment: client.increment('k'),
    clear: client.clear(),
    stats: client.stats(),
    keys: client.keys().next(),
    retrieveOrThrow: client.retrieve('k', { onUnavailable: 'throw' }),
    storeOrThrow: client.store('k', 1, { onUnavailable: 'throw' }),
    deleteOrNot: client.delete('k', { onUnavailable: 'ignore' }),
  }
  const told: Record<string, unknown> = {}
  for (const [name, call] of Object.entries(calls))
    told[name] = await call.then(
      (value) => value,
      (error: { code?: string }) => `rejected with ${error.code}`,
    )
  return told
}

/** What calls end with when they cannot be served. */
function unserved(code: string, maybeStored: boolean): Record<string, unknown> {
  const unavailable = { outcome: 'unavailable', maybeStored, error: expect.objectContaining({ code }) }
  const rejected = `rejected with ${code}`
  return {
    connect: rejected,
    store: unavailable,
    storeWithOptions: unavailable,
    storeMany: [unavailable],
    retrieve: undefined,
    lookup: { outcome: 'unavailable', error: expect.objectContaining({ code }) },
    inspect: undefined,
    has: false,
    retrieveMany: [undefined, undefined],
    delete: rejected,
    deleteMany: rejected,
    touch: rejected,
    increment: rejected,
    clear: rejected,
    stats: rejected,
    keys: rejected,
    retrieveOrThrow: rejected,
    storeOrThrow: rejected,
    deleteOrNot: false,
  }
}

test('a server that accepts and never says a word: nothing was sent', async () => {
  const server = await startFakeServer({ greets: false })
  const client = clientOf(server.address, { timeoutMs: DEADLINE_MS })
  expect(await endings(client)).toEqual(unserved('CACHE_TIMEOUT', false))
  // All but connect and stats, which ask nothing of the cache.
  expect(client.counters()).toMatchObject({ inFlight: 0, pending: 0, unavailable: 17, timeouts: 17 })
  expect((await server.connection(0)).requests).toEqual([])
})

test('a server that greets and then stops: everything may have happened', async () => {
  const server = await startFakeServer()
  const client = clientOf(server.address, { timeoutMs: DEADLINE_MS, heartbeatMs: FOREVER_MS })
  expect(await endings(client)).toEqual(unserved('CACHE_TIMEOUT', true))
  expect(client.counters()).toMatchObject({
    inFlight: 0,
    pending: 0,
    unavailable: 17,
    timeouts: 17,
    outages: 0,
  })
})

test('a server that greets and then hangs up on the first request: everything may have happened', async () => {
  const server = await startFakeServer({ onRequest: (_, connection) => connection.socket.destroy() })
  const client = clientOf(server.address)
  expect(await endings(client)).toEqual(unserved('CACHE_UNAVAILABLE', true))
})

test('nobody listens: writes wait until their deadline for somebody to come, reads of an outage do not', async () => {
  const client = clientOf(`127.0.0.1:${await unusedPort()}`, {
    timeoutMs: FOREVER_MS,
    reconnect: { minMs: 1, maxMs: 5 },
  })
  // Its own deadline is far: it ends with the first failed attempt.
  expect(await client.lookup('first')).toMatchObject({ error: { code: 'CACHE_UNAVAILABLE' } })
  expect(await client.lookup('second')).toMatchObject({ error: { code: 'CACHE_UNAVAILABLE' } })
  const stored = await client.store('k', 1, { timeoutMs: DEADLINE_MS })
  expect(stored).toMatchObject({
    outcome: 'unavailable',
    maybeStored: false,
    error: { code: 'CACHE_TIMEOUT' },
  })
  if (stored.outcome === 'unavailable') expect(stored.error.message).toMatch(/ECONNREFUSED/)
  await expect(client.delete('k', { timeoutMs: DEADLINE_MS })).rejects.toMatchObject({
    code: 'CACHE_TIMEOUT',
  })
})

test('a write whose deadline passed while it waited for a connection is not sent later', async () => {
  const port = await unusedPort()
  const client = clientOf(`127.0.0.1:${port}`, { reconnect: { minMs: 1, maxMs: 5 } })
  const late = client.store('late', 1, { timeoutMs: DEADLINE_MS })
  const deleted = expect(client.delete('late', { timeoutMs: DEADLINE_MS })).rejects.toMatchObject({
    code: 'CACHE_TIMEOUT',
  })
  const kept = client.store('kept', 1)
  expect(await late).toMatchObject({ outcome: 'unavailable', maybeStored: false })
  await deleted
  const server = await startFakeServer({ port, onRequest: answerAll })
  expect(await kept).toMatchObject({ outcome: 'stored' })
  expect((await server.connection(0)).requests.map(([opcode, , key]) => [opcode, key])).toEqual([
    [Opcode.Set, 'kept'],
  ])
})

test('a late answer is ignored, and later calls get their own', async () => {
  const server = await startFakeServer()
  const client = clientOf(server.address)
  const first = client.retrieve('first', { timeoutMs: DEADLINE_MS })
  const connection = await server.connection(0)
  const [, lateId] = await connection.request()
  expect(await first).toBeUndefined()
  const second = client.retrieve('second')
  const [, id] = await connection.request()
  connection.send([Status.Ok, lateId, ValueFlags.Utf8, 'first'], [Status.Ok, id, ValueFlags.Utf8, 'second'])
  expect(await second).toBe('second')
  expect(client.counters()).toMatchObject({ hits: 1, timeouts: 1, outages: 0 })
})

test('answers in any order find their calls', async () => {
  const server = await startFakeServer()
  const client = clientOf(server.address)
  const calls = Array.from({ length: 200 }, (_, i) => client.retrieve(`k${i}`))
  const connection = await server.connection(0)
  const asked: [id: number, key: unknown][] = []
  while (asked.length < 200) {
    const [, id, key] = await connection.request()
    asked.push([id, key])
  }
  const [one, two] = [asked.filter((_, i) => i % 2 === 1).reverse(), asked.filter((_, i) => i % 2 === 0)]
  for (const [id, key] of [...one, ...two]) connection.send([Status.Ok, id, ValueFlags.Utf8, key])
  expect(await Promise.all(calls)).toEqual(Array.from({ length: 200 }, (_, i) => `k${i}`))
})

test('ids that a call waits under are not given to others, however many come and go', async () => {
  let slowId = 0
  const server = await startFakeServer({
    onRequest: (request, connection) => {
      const [, id, key] = request
      if (key === 'slow') slowId = id
      else connection.send([Status.Ok, id, ValueFlags.Utf8, String(key)])
    },
  })
  const client = clientOf(server.address)
  const slow = client.retrieve('slow')
  for (let round = 0; round < 40; round++) {
    const keys = Array.from({ length: 100 }, (_, i) => `${round}-${i}`)
    expect(await Promise.all(keys.map((key) => client.retrieve(key)))).toEqual(keys)
  }
  expect(client.counters().inFlight).toBe(1)
  ;(await server.connection(0)).send([Status.Ok, slowId, ValueFlags.Utf8, 'at last'])
  expect(await slow).toBe('at last')
})

test('each call has its own deadline', async () => {
  const server = await startFakeServer({
    onRequest: (request, connection) => {
      if (request[2] === 'answered') answerAll(request, connection)
    },
  })
  const client = clientOf(server.address, { timeoutMs: DEADLINE_MS })
  const patient = client.store('k', 1, { timeoutMs: 10_000 })
  expect(await client.store('k', 1)).toMatchObject({ outcome: 'unavailable', maybeStored: true })
  expect(await client.lookup('answered')).toEqual({ outcome: 'miss' })
  expect(client.counters().inFlight).toBe(1)
  const connection = await server.connection(0)
  const [, id] = connection.requests[0] ?? [0, 0]
  connection.send([Status.Ok, id, versionNumber(1), 0])
  expect(await patient).toMatchObject({ outcome: 'stored' })
})

test('the queue is full: calls fail at once, others of the tick are served', async () => {
  const port = await unusedPort()
  const client = clientOf(`127.0.0.1:${port}`, {
    queueBytesMax: 10_000,
    timeoutMs: FOREVER_MS,
    reconnect: { minMs: 1, maxMs: 5 },
  })
  const kept = [client.store('a', Buffer.alloc(6000)), client.store('b', Buffer.alloc(6000))]
  expect(await client.store('c', 1)).toMatchObject({
    outcome: 'unavailable',
    maybeStored: false,
    error: { code: 'CACHE_QUEUE_FULL', retriable: true },
  })
  await expect(client.delete('c')).rejects.toMatchObject({ code: 'CACHE_QUEUE_FULL' })
  expect(await client.lookup('c')).toMatchObject({
    outcome: 'unavailable',
    error: { code: 'CACHE_QUEUE_FULL' },
  })
  expect((await client.storeMany([['c', 1]])).map(({ outcome }) => outcome)).toEqual(['unavailable'])
  expect(client.counters()).toMatchObject({ pending: 2, unavailable: 4, timeouts: 0 })
  await startFakeServer({ port, onRequest: answerAll })
  for (const outcome of await Promise.all(kept)) expect(outcome).toMatchObject({ outcome: 'stored' })
  expect(await client.lookup('c')).toEqual({ outcome: 'miss' })
})

test('a server that reads nothing: the queue fills, calls fail at once, and what it holds is let go', async () => {
  const server = await startFakeServer({
    onConnection: ({ socket }) => socket.once('data', () => socket.pause()),
  })
  const client = clientOf(server.address, {
    queueBytesMax: 1024 * 1024,
    timeoutMs: DEADLINE_MS,
    heartbeatMs: 20,
  })
  await client.connect().catch(() => {})
  const codes = new Set<string>()
  const value = Buffer.alloc(256 * 1024)
  await eventually(async () => {
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => client.store('k', value)))
    for (const outcome of outcomes) if (outcome.outcome === 'unavailable') codes.add(outcome.error.code)
    return codes.has('CACHE_QUEUE_FULL')
  }).toBe(true)
  expect(client.counters()).toMatchObject({ inFlight: 0 })
})
