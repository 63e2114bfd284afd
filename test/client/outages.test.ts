// Outages as users see them: one event at the beginning, one at the end, counters in between; how they are noticed, and
// how the client comes back.

import { describe, expect, test } from 'vitest'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { Status } from '../../protocol/messages.ts'
import { addressOf, clientOf, nextEvent } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { answerAll, startFakeServer, unusedPort } from '../helpers/fake-server.ts'
import { startServer } from '../helpers/server.ts'

const RECONNECT = { minMs: 1, maxMs: 5 }
const FOREVER_MS = 1_000_000

/** Names of the events so far, with what they say. */
function eventsOf(client: OrmucoCacheClient) {
  const events: [string, object][] = []
  client.on('unavailable', (facts) => events.push(['unavailable', facts]))
  client.on('available', (facts) => events.push(['available', facts]))
  return events
}

describe('events', () => {
  test('none as long as all is well', async () => {
    const server = await startServer()
    const client = clientOf(server)
    const events = eventsOf(client)
    await client.store('k', 1)
    await client.close()
    expect(events).toEqual([])
    expect(client.counters().outages).toBe(0)
  })

  test('one at the beginning of an outage, however many calls and attempts fail, and one at its end', async () => {
    const port = await unusedPort()
    const client = clientOf(`127.0.0.1:${port}`, { reconnect: RECONNECT, timeoutMs: 50 })
    const events = eventsOf(client)
    for (let i = 0; i < 5; i++) await client.store('k', 1)
    for (let i = 0; i < 20; i++) await client.retrieve('k')
    expect(events).toEqual([
      [
        'unavailable',
        {
          server: `127.0.0.1:${port}`,
          error: expect.objectContaining({
            code: 'CACHE_UNAVAILABLE',
            retriable: true,
            server: `127.0.0.1:${port}`,
          }),
        },
      ],
    ])
    expect(client.counters()).toMatchObject({ outages: 1, unavailable: 25 })

    const available = nextEvent(client, 'available')
    await startFakeServer({ port, onRequest: answerAll })
    await available
    expect(events.slice(1)).toEqual([
      ['available', { server: `127.0.0.1:${port}`, outageMs: expect.any(Number), failedCalls: 25 }],
    ])
    expect(await client.lookup('k')).toEqual({ outcome: 'miss' })
    expect(events).toHaveLength(2)
  })

  test('each outage has its own two, and counts its own calls', async () => {
    const server = await startFakeServer({ onRequest: answerAll })
    const client = clientOf(server.address, { reconnect: RECONNECT })
    const events = eventsOf(client)
    for (let outage = 0; outage < 3; outage++) {
      await client.connect()
      const connection = await server.connection(outage)
      const available = nextEvent(client, 'available')
      connection.socket.destroy()
      await available
    }
    expect(events.map(([name]) => name)).toEqual([
      'unavailable',
      'available',
      'unavailable',
      'available',
      'unavailable',
      'available',
    ])
    for (const [name, facts] of events)
      if (name === 'available') expect(facts).toMatchObject({ failedCalls: 0 })
    expect(client.counters().outages).toBe(3)
  })

  test('the calls that are lost with the connection are counted, and later ones', async () => {
    const server = await startFakeServer({ onRequest: () => {} })
    const { port } = server
    const client = clientOf(server.address, { reconnect: RECONNECT, timeoutMs: FOREVER_MS })
    const lost = [
      client.store('a', 1),
      client.store('b', 1),
      client.retrieve('c'),
      client.retrieveMany(['d']),
    ]
    const connection = await server.connection(0)
    for (const _ of lost) await connection.request()
    await server.stop()
    await Promise.all(lost)
    await client.retrieve('e')
    expect(client.counters()).toMatchObject({ outages: 1, unavailable: 5 })
    const available = nextEvent(client, 'available')
    await startFakeServer({ port, onRequest: answerAll })
    expect(await available).toMatchObject({ failedCalls: 5 })
  })

  test('reads that wait for the first connection are counted where there is none', async () => {
    const port = await unusedPort()
    const client = clientOf(`127.0.0.1:${port}`, { reconnect: RECONNECT })
    await Promise.all([client.retrieve('a'), client.retrieve('b')])
    const available = nextEvent(client, 'available')
    await startFakeServer({ port, onRequest: answerAll })
    expect(await available).toMatchObject({ failedCalls: 2 })
  })

  test('error only if somebody listens', async () => {
    const address = `127.0.0.1:${await unusedPort()}`
    const silent = clientOf(address, { timeoutMs: 30 })
    await silent.store('k', 1)
    const heard = clientOf(address, { timeoutMs: 30 })
    const errors: Error[] = []
    heard.on('error', (error) => errors.push(error))
    await heard.store('k', 1)
    expect(errors).toEqual([expect.objectContaining({ code: 'CACHE_UNAVAILABLE' })])
  })

  test('a listener may use, close or destroy the client', async () => {
    const address = `127.0.0.1:${await unusedPort()}`
    for (const act of ['retrieve', 'close', 'destroy'] as const) {
      const client = clientOf(address, { timeoutMs: FOREVER_MS, reconnect: RECONNECT })
      const acted = new Promise<unknown>((resolve) => {
        client.on('unavailable', () => {
          if (act === 'retrieve') resolve(client.lookup('k'))
          else resolve(client[act]())
        })
      })
      const call = client.lookup('k')
      expect(await call).toMatchObject({ outcome: 'unavailable' })
      const result = await acted
      if (act === 'retrieve') expect(result).toMatchObject({ error: { code: 'CACHE_UNAVAILABLE' } })
      else expect(await client.lookup('k')).toMatchObject({ error: { code: 'CACHE_CLOSED' } })
    }
  })
})

describe('coming back', () => {
  test('after each kind of end of a connection, again and again', async () => {
    const server = await startFakeServer({ onRequest: answerAll })
    const client = clientOf(server.address, { reconnect: RECONNECT })
    const ends = ['destroy', 'resetAndDestroy', 'end'] as const
    for (let round = 0; round < 12; round++) {
      expect(await client.store('k', round)).toMatchObject({ outcome: 'stored' })
      const { socket } = await server.connection(round)
      const available = nextEvent(client, 'available')
      socket[ends[round % 3] ?? 'end']()
      await available
    }
    expect(client.counters()).toMatchObject({ outages: 12, unavailable: 0 })
  })

  test('a real server that is restarted on its port', async () => {
    const first = await startServer()
    const { port } = first.address ?? { port: 0 }
    const client = clientOf(first, { reconnect: RECONNECT })
    await client.store('k', 'before')
    const unavailable = nextEvent(client, 'unavailable')
    first.destroy()
    await unavailable
    expect(await client.lookup('k')).toMatchObject({ outcome: 'unavailable' })
    const waiting = client.store('k', 'after')
    await startServer({ port })
    expect(await waiting).toMatchObject({ outcome: 'stored' })
    expect(await client.retrieve('k')).toBe('after')
  })

  test('what waited for the connection arrives whole, however long the ids have become', async () => {
    let server = await startServer()
    const { port } = server.address ?? { port: 0 }
    const client = clientOf(server, { reconnect: RECONNECT })
    let calls = 0
    // On both sides of each change of an integer's encoding.
    for (const id of [10, 150, 300, 70_000]) {
      while (calls < id) {
        const batch = Math.min(5000, id - calls)
        await Promise.all(Array.from({ length: batch }, () => client.has('k')))
        calls += batch
      }
      const unavailable = nextEvent(client, 'unavailable')
      server.destroy()
      await unavailable
      const waiting = [client.store('a', id), client.storeMany([['b', id]]), client.increment('c', id)]
      calls += waiting.length
      server = await startServer({ port })
      await Promise.all(waiting)
      expect(await client.retrieveMany(['a', 'b', 'c'])).toEqual([id, id, id])
      calls++
    }
  })

  test('calls in flight when the connection breaks are not sent again', async () => {
    const server = await startFakeServer({
      onRequest: (request, connection) => {
        if (connection === server.connections[0]) connection.socket.destroy()
        else answerAll(request, connection)
      },
    })
    const client = clientOf(server.address, { reconnect: RECONNECT })
    const incremented = expect(client.increment('n')).rejects.toMatchObject({ code: 'CACHE_UNAVAILABLE' })
    await incremented
    expect(await client.lookup('k')).toBeDefined()
    await client.store('k', 1)
    const { requests } = await server.connection(1)
    expect(requests.filter(([opcode]) => opcode === 11)).toEqual([])
  })

  test('a server that accepts and hangs up is not hammered: waits grow until one greets', async () => {
    const server = await startFakeServer({ greets: false, onConnection: ({ socket }) => socket.destroy() })
    const client = clientOf(server.address, { reconnect: { minMs: 40, maxMs: 100_000 } })
    // Bounds of the waits: 40, 80, 160, 320, 640 ms …
    await client.store('k', 1, { timeoutMs: 300 })
    expect(server.connections.length).toBeLessThan(30)
    expect(client.counters().outages).toBe(1)
  })
})

describe('several servers', () => {
  test('the next one where nobody listens', async () => {
    const server = await startServer()
    const client = clientOf(`127.0.0.1:${await unusedPort()},${addressOf(server)}`, { reconnect: RECONNECT })
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
  })

  test('the next one, and reads wait for it', async () => {
    const server = await startServer()
    await clientOf(server).store('k', 1)
    const client = clientOf(`127.0.0.1:${await unusedPort()},${addressOf(server)}`, { reconnect: RECONNECT })
    const calls = [client.retrieve('k'), client.retrieveMany(['k'])]
    const unavailable = nextEvent(client, 'unavailable').then(() => client.retrieve('k'))
    expect(await Promise.all([...calls, unavailable])).toEqual([1, [1], 1])
  })

  test('none: reads fail once each has been tried, and from then on at once', async () => {
    const addresses = [await unusedPort(), await unusedPort(), await unusedPort()].map(
      (port) => `localhost:${port}`,
    )
    const client = clientOf(addresses.join(), { reconnect: RECONNECT, timeoutMs: FOREVER_MS })
    expect(await client.lookup('k')).toMatchObject({
      outcome: 'unavailable',
      error: { code: 'CACHE_UNAVAILABLE', server: addresses[2] },
    })
    const again = client.lookup('k')
    expect(client.counters()).toMatchObject({ pending: 0, unavailable: 2 })
    expect(await again).toMatchObject({ error: { code: 'CACHE_UNAVAILABLE' } })
  })

  test('reads while the client is between two of them wait for the next', async () => {
    const [one, two] = [
      await startFakeServer({ onRequest: answerAll }),
      await startFakeServer({ onRequest: answerAll }),
    ]
    const client = clientOf(`${one.address},${two.address}`, { reconnect: RECONNECT })
    await client.connect()
    const unavailable = nextEvent(client, 'unavailable')
    await one.stop()
    await unavailable
    expect(await client.lookup('k')).toEqual({ outcome: 'miss' })
  })

  test('the next one where the first accepts and says nothing', async () => {
    const silent = await startFakeServer({ greets: false })
    const server = await startServer()
    const client = clientOf(`${silent.address},${addressOf(server)}`, {
      reconnect: RECONNECT,
      connectTimeoutMs: 50,
    })
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
    expect(silent.connections).toHaveLength(1)
  })

  test('the next one when the first breaks off', async () => {
    const [one, two] = [
      await startFakeServer({ onRequest: answerAll }),
      await startFakeServer({ onRequest: answerAll }),
    ]
    const client = clientOf(`${one.address},${two.address}`, { reconnect: RECONNECT })
    await client.connect()
    const available = nextEvent(client, 'available')
    await one.stop()
    expect(await available).toMatchObject({ server: two.address })
    expect(await client.lookup('k')).toEqual({ outcome: 'miss' })
  })

  test('none: the error names the one that was tried', async () => {
    const addresses = [`127.0.0.1:${await unusedPort()}`, `localhost:${await unusedPort()}`]
    const client = clientOf(addresses.join(), { reconnect: RECONNECT, timeoutMs: 50 })
    const found = await client.lookup('k')
    if (found.outcome !== 'unavailable') throw new Error(found.outcome)
    expect(addresses).toContain(found.error.server)
    expect(found.error.message).toMatch(/ECONNREFUSED/)
  })
})

describe('half-open connections', () => {
  test('are found by heartbeats, and left', async () => {
    const server = await startFakeServer({ answersPings: false, onRequest: () => {} })
    const client = clientOf(server.address, { heartbeatMs: 15, reconnect: RECONNECT, timeoutMs: FOREVER_MS })
    const found = await client.lookup('k')
    expect(found).toMatchObject({ outcome: 'unavailable', error: { code: 'CACHE_UNAVAILABLE' } })
    if (found.outcome === 'unavailable')
      expect(found.error.message).toMatch(/not a byte for 3 heartbeats of 15 ms/)
    const connection = await server.connection(0)
    await connection.closed
    expect(connection.pings).toBe(2)
    await server.connection(1)
  })

  test('an idle connection that answers heartbeats stays', async () => {
    const server = await startFakeServer({ onRequest: answerAll })
    const client = clientOf(server.address, { heartbeatMs: 10 })
    await client.connect()
    const connection = await server.connection(0)
    await eventually(() => connection.pings).toBeGreaterThan(10)
    expect(client.counters().outages).toBe(0)
    expect(server.connections).toHaveLength(1)
  })

  test('a busy connection is not asked for signs of life', async () => {
    const server = await startFakeServer({ onRequest: answerAll, answersPings: false })
    const client = clientOf(server.address, { heartbeatMs: 200 })
    await client.connect()
    const endMs = performance.now() + 700
    while (performance.now() < endMs) await client.retrieve('k')
    expect(client.counters()).toMatchObject({ outages: 0, unavailable: 0 })
  })
})

describe('a server that goes away politely', () => {
  test('what is in flight is answered, what comes after goes to the next connection', async () => {
    const server = await startFakeServer({
      onRequest: (request, connection) => {
        if (connection !== server.connections[0]) answerAll(request, connection)
      },
    })
    const client = clientOf(server.address, { reconnect: RECONNECT })
    const events = eventsOf(client)
    const inFlight = client.lookup('in flight')
    const connection = await server.connection(0)
    const [, id] = await connection.request()
    connection.send([Status.ShuttingDown, 0, 'the server is shutting down'])
    await new Promise(setImmediate)
    await new Promise((resolve) => setTimeout(resolve, 20))
    const later = client.lookup('later')
    expect(client.counters()).toMatchObject({ inFlight: 1, pending: 1 })
    connection.send([Status.Miss, id])
    expect(await Promise.all([inFlight, later])).toEqual([{ outcome: 'miss' }, { outcome: 'miss' }])
    await connection.closed
    expect(connection.requests).toHaveLength(1)
    expect(events).toEqual([])
  })

  test('an answer that never comes does not keep the client there', async () => {
    const server = await startFakeServer({
      onRequest: (request, connection) => {
        if (connection !== server.connections[0]) answerAll(request, connection)
        else connection.send([Status.ShuttingDown, 0, 'the server is shutting down'])
      },
    })
    const client = clientOf(server.address, { reconnect: RECONNECT, heartbeatMs: FOREVER_MS })
    const lost = client.lookup('lost', { timeoutMs: 60 })
    const connection = await server.connection(0)
    await connection.request()
    expect(await lost).toMatchObject({ error: { code: 'CACHE_TIMEOUT' } })
    expect(await client.lookup('k')).toEqual({ outcome: 'miss' })
    await connection.closed
  })

  test('a real server that drains: no call fails until it is gone', async () => {
    const server = await startServer()
    const client = clientOf(server, { reconnect: RECONNECT })
    const events = eventsOf(client)
    await client.store('k', 1)
    const reads = Array.from({ length: 100 }, () => client.retrieve('k'))
    const closed = server.close()
    expect(await Promise.all(reads)).toEqual(reads.map(() => 1))
    await closed
    await eventually(() => events.map(([name]) => name)).toEqual(['unavailable'])
  })
})
