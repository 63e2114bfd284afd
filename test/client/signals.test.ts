// Signals: an abort rejects with its reason, whenever it comes, and leaves nothing behind.

import { getEventListeners } from 'node:events'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { Opcode } from '../../protocol/messages.ts'
import { CLIENT_SURROUNDINGS, clientIn, clientOf } from '../helpers/client.ts'
import { answerAll, startFakeServer, unusedPort } from '../helpers/fake-server.ts'

describe.each(CLIENT_SURROUNDINGS)('$mode, $store store', (surrounding) => {
  test('before: nothing is sent', async () => {
    const client = await clientIn(surrounding)
    const reason = new Error('never mind')
    for (const call of callsWith(client, AbortSignal.abort(reason))) await expect(call).rejects.toBe(reason)
    expect(await client.has('k')).toBe(false)
  })

  test('after: the result stays, and no listener', async () => {
    const client = await clientIn(surrounding)
    const controller = new AbortController()
    await Promise.all(callsWith(client, controller.signal))
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    controller.abort()
    expect(await client.retrieve('k')).toBe(2)
  })

  test('in the same tick: it rejects, other calls of the tick do not', async () => {
    const client = await clientIn(surrounding)
    await client.connect()
    const controller = new AbortController()
    const before = client.store('before', 1)
    const aborted = client.retrieve('k', { signal: controller.signal })
    const after = client.store('after', 1)
    controller.abort()
    await expect(aborted).rejects.toHaveProperty('name', 'AbortError')
    expect(await Promise.all([before, after])).toEqual([
      expect.objectContaining({ outcome: 'stored' }),
      expect.objectContaining({ outcome: 'stored' }),
    ])
  })

  test('a thousand calls may share one signal', async () => {
    const client = await clientIn(surrounding)
    const warnings: Error[] = []
    const onWarning = (warning: Error) => void warnings.push(warning)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    const { signal } = new AbortController()
    await Promise.all(Array.from({ length: 1000 }, (_, i) => client.store(`k${i}`, i, { signal })))
    await new Promise(setImmediate)
    expect(warnings).toEqual([])
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })
})

test('while the server is silent: it rejects, the slot is free, and the late answer is ignored', async () => {
  const server = await startFakeServer({
    onRequest: (request, connection) => {
      if (request[0] !== Opcode.Get || request[2] !== 'slow') answerAll(request, connection)
    },
  })
  const client = clientOf(server.address)
  const controller = new AbortController()
  const slow = client.lookup('slow', { signal: controller.signal })
  const connection = await server.connection(0)
  const [, id] = await connection.request()
  expect(client.counters().inFlight).toBe(1)
  const reason = new Error('too slow')
  controller.abort(reason)
  await expect(slow).rejects.toBe(reason)
  expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  expect(client.counters()).toMatchObject({ inFlight: 0, unavailable: 0 })
  connection.send([0, id, 2, Buffer.from([1])])
  expect(await client.lookup('other')).toEqual({ outcome: 'miss' })
})

test('while waiting for a connection: it rejects, and the request is never sent', async () => {
  const port = await unusedPort()
  const client = clientOf(`127.0.0.1:${port}`, { reconnect: { minMs: 1, maxMs: 5 } })
  const controller = new AbortController()
  const aborted = client.store('aborted', 1, { signal: controller.signal })
  const kept = client.store('kept', 1)
  controller.abort()
  await expect(aborted).rejects.toHaveProperty('name', 'AbortError')
  expect(client.counters().pending).toBe(1)
  const server = await startFakeServer({ port, onRequest: answerAll })
  expect(await kept).toMatchObject({ outcome: 'stored' })
  const { requests } = await server.connection(0)
  expect(requests.map((request) => request[2])).toEqual(['kept'])
})

test('calls that end otherwise take their listeners along', async () => {
  const port = await unusedPort()
  const { signal } = new AbortController()
  const unreachable = clientOf(`127.0.0.1:${port}`, { timeoutMs: 50 })
  await unreachable.store('k', 1, { signal })
  expect(await unreachable.retrieve('k', { signal })).toBeUndefined()
  const server = await startFakeServer()
  const client = clientOf(server.address, { timeoutMs: 50 })
  await client.retrieve('times out', { signal })
  const lost = client.retrieve('is lost', { signal, timeoutMs: 10_000 })
  await (await server.connection(0)).request()
  ;(await server.connection(0)).socket.destroy()
  await lost
  const destroyed = client.store('is destroyed', 1, { signal, timeoutMs: 10_000 })
  client.destroy()
  await destroyed
  await client.retrieve('k', { signal })
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('a timeout signal works as one', async () => {
  const server = await startFakeServer()
  const client = clientOf(server.address)
  await expect(client.retrieve('k', { signal: AbortSignal.timeout(20) })).rejects.toHaveProperty(
    'name',
    'TimeoutError',
  )
})

test('close does not wait for what was aborted', async () => {
  const server = await startFakeServer()
  const client = clientOf(server.address)
  const controller = new AbortController()
  const call = client.retrieve('k', { signal: controller.signal })
  await (await server.connection(0)).request()
  const closed = client.close({ timeoutMs: 60_000 })
  controller.abort()
  await expect(call).rejects.toHaveProperty('name', 'AbortError')
  await closed
})

/** One of each kind of call. */
function callsWith(client: OrmucoCacheClient, signal: AbortSignal): Promise<unknown>[] {
  const options = { signal }
  return [
    client.connect(options),
    client.store('k', 1, options),
    client.retrieve('k', options),
    client.lookup('k', options),
    client.inspect('k', options),
    client.has('k', options),
    client.touch('k', 9, options),
    client.increment('k', 1, options),
    client.retrieveMany(['k'], options),
    client.storeMany([['many', 1]], options),
    client.delete('many', options),
    client.deleteMany(['many'], options),
    client.stats(options),
  ]
}
