// close and destroy, and what becomes of calls under way.

import { describe, expect, test } from 'vitest'
import { Opcode, Status, ValueFlags } from '../../protocol/messages.ts'
import { clientOf } from '../helpers/client.ts'
import {
  answerAll,
  type FakeConnection,
  type Request,
  startFakeServer,
  unusedPort,
  versionNumber,
} from '../helpers/fake-server.ts'

const FOREVER_MS = 1_000_000

describe('close', () => {
  test('waits for what is in flight, takes nothing new, and is done once', async () => {
    const server = await startFakeServer()
    const client = clientOf(server.address)
    const call = client.lookup('k')
    const connection = await server.connection(0)
    const [, id] = await connection.request()
    const closings = [client.close(), client.close()]
    expect(await client.store('new', 1)).toMatchObject({
      outcome: 'unavailable',
      maybeStored: false,
      error: { code: 'CACHE_CLOSED' },
    })
    expect(client.counters().inFlight).toBe(1)
    connection.send([Status.Miss, id])
    expect(await call).toEqual({ outcome: 'miss' })
    await Promise.all(closings)
    await connection.closed
    expect(connection.requests).toHaveLength(1)
  })

  test('waits no longer than it is told; what is in flight then is in doubt', async () => {
    const server = await startFakeServer({ onRequest: () => {} })
    const client = clientOf(server.address, { timeoutMs: FOREVER_MS })
    const call = client.store('k', 1)
    await (await server.connection(0)).request()
    await client.close({ timeoutMs: 20 })
    expect(await call).toMatchObject({
      outcome: 'unavailable',
      maybeStored: true,
      error: { code: 'CACHE_CLOSED' },
    })
    await (await server.connection(0)).closed
  })

  test('what still waits for a connection is answered if one comes in time', async () => {
    const port = await unusedPort()
    const client = clientOf(`127.0.0.1:${port}`, { reconnect: { minMs: 1, maxMs: 5 }, timeoutMs: FOREVER_MS })
    const call = client.store('k', 1)
    const closing = client.close({ timeoutMs: 15_000 })
    await startFakeServer({ port, onRequest: answerAll })
    expect(await call).toMatchObject({ outcome: 'stored' })
    await closing
  })

  test('and is certainly not done if none comes', async () => {
    const client = clientOf(`127.0.0.1:${await unusedPort()}`, { timeoutMs: FOREVER_MS })
    const call = client.store('k', 1)
    await client.close({ timeoutMs: 20 })
    expect(await call).toMatchObject({
      outcome: 'unavailable',
      maybeStored: false,
      error: { code: 'CACHE_CLOSED' },
    })
    expect(client.counters()).toMatchObject({ inFlight: 0, pending: 0 })
  })

  test('of a client that was never used does nothing', async () => {
    const server = await startFakeServer()
    await clientOf(server.address).close()
    expect(server.connections).toEqual([])
  })

  describe('a call of several requests', () => {
    /** Answers the first key of a GET_MANY, and skips the others. */
    function answerFirst([opcode, id, keys]: Request, connection: FakeConnection) {
      const rest = Array.from({ length: Array.isArray(keys) ? keys.length - 1 : 0 }, () => [Status.Skipped])
      if (opcode === Opcode.GetMany)
        connection.send([Status.Ok, id, [[Status.Ok, ValueFlags.MessagePack, Buffer.from([7])], ...rest]])
      else answerAll([opcode, id], connection)
    }

    test('is brought to its end; what begins meanwhile is refused', async () => {
      const server = await startFakeServer({ onRequest: answerFirst })
      const client = clientOf(server.address, { timeoutMs: FOREVER_MS })
      const call = client.retrieveMany(['a', 'b', 'c', 'd'])
      const closing = client.close({ timeoutMs: FOREVER_MS })
      await expect(client.retrieveMany(['a', 'b'], { onUnavailable: 'throw' })).rejects.toMatchObject({
        code: 'CACHE_CLOSED',
      })
      expect(await call).toEqual([7, 7, 7, 7])
      await closing
      expect((await server.connection(0)).requests).toHaveLength(4)
      expect(client.counters()).toMatchObject({ hits: 4, unavailable: 1 })
    })

    test('of which one is a second try is brought to its end', async () => {
      const server = await startFakeServer({
        onRequest: ([, id, entries], connection) => {
          const isFirst = Array.isArray(entries) && entries.length > 1
          if (isFirst) connection.send([Status.ValueTooLarge, id, 'too large'])
          else connection.send([Status.Ok, id, [[Status.Ok, versionNumber(1)]]])
        },
      })
      const client = clientOf(server.address, { timeoutMs: FOREVER_MS })
      const call = client.storeMany([
        ['a', 1],
        ['b', 2],
      ])
      const closing = client.close({ timeoutMs: FOREVER_MS })
      expect((await call).map(({ outcome }) => outcome)).toEqual(['stored', 'stored'])
      await closing
    })

    test('holds it up no longer than it is told', async () => {
      const server = await startFakeServer({ onRequest: () => {} })
      const client = clientOf(server.address, { timeoutMs: FOREVER_MS })
      const call = client.retrieveMany(['a'])
      await client.close({ timeoutMs: 20 })
      expect(await call).toEqual([undefined])
    })

    test('that has failed does not hold it up', async () => {
      const server = await startFakeServer({ onRequest: answerFirst })
      const client = clientOf(server.address, { timeoutMs: FOREVER_MS })
      const reason = new Error('enough')
      const aborted = client.retrieveMany(['a', 'b'], { signal: AbortSignal.abort(reason) })
      await expect(aborted).rejects.toBe(reason)
      await client.close({ timeoutMs: FOREVER_MS })
    })

    test('a listing that nobody goes on with does not hold it up', async () => {
      const server = await startFakeServer({
        onRequest: ([, id], connection) => connection.send([Status.Ok, id, 17, ['a']]),
      })
      const client = clientOf(server.address, { timeoutMs: FOREVER_MS })
      const keys = client.keys()
      expect(await keys.next()).toMatchObject({ value: 'a' })
      await client.close({ timeoutMs: FOREVER_MS })
    })
  })

  test('no events come after it', async () => {
    const server = await startFakeServer({ onRequest: answerAll })
    const client = clientOf(server.address)
    const events: string[] = []
    for (const name of ['unavailable', 'available', 'error'] as const)
      client.on(name, () => events.push(name))
    await client.store('k', 1)
    await client.close()
    await server.stop()
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(events).toEqual([])
  })
})

describe('destroy', () => {
  test('cuts the connection; what has left is in doubt, what has not is not', async () => {
    const server = await startFakeServer()
    const client = clientOf(server.address)
    const left = client.store('left', 1)
    const connection = await server.connection(0)
    await connection.request()
    const unsent = client.store('unsent', 1)
    client.destroy(new Error('enough'))
    expect(await left).toMatchObject({
      maybeStored: true,
      error: { code: 'CACHE_CLOSED', message: 'enough' },
    })
    expect(await unsent).toMatchObject({
      maybeStored: false,
      error: { code: 'CACHE_CLOSED', message: 'enough' },
    })
    await connection.closed
    expect(connection.requests).toHaveLength(1)
  })

  test('ends a close that waits', async () => {
    const server = await startFakeServer()
    const client = clientOf(server.address, { timeoutMs: FOREVER_MS })
    const call = client.lookup('k')
    await (await server.connection(0)).request()
    const closing = client.close({ timeoutMs: FOREVER_MS })
    client.destroy()
    await closing
    expect(await call).toMatchObject({ outcome: 'unavailable', error: { code: 'CACHE_CLOSED' } })
  })

  test('while it connects, and while it waits to', async () => {
    const connecting = clientOf((await startFakeServer({ greets: false })).address)
    const waiting = clientOf(`127.0.0.1:${await unusedPort()}`, {
      reconnect: { minMs: FOREVER_MS, maxMs: FOREVER_MS },
    })
    await waiting.lookup('k')
    for (const client of [connecting, waiting]) {
      const call = client.store('k', 1)
      client.destroy()
      expect(await call).toMatchObject({ maybeStored: false, error: { code: 'CACHE_CLOSED' } })
    }
  })
})
