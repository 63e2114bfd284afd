// The link over the in-memory transport: its states, what it asks for itself, and that former transports are not
// listened to. The server's end is in the hands of the test.

import { setImmediate as afterIo } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Dial, LINK_REQUEST_ID, Link, type LinkOptions } from '../../protocol/link.ts'
import { Capability, Opcode, Status } from '../../protocol/messages.ts'
import { memoryTransports, type TransportEvents } from '../../protocol/transport.ts'
import { frame } from '../helpers/frames.ts'
import { FOREVER_MS, greeting, linkOf } from '../helpers/link.ts'
import { Connection } from '../helpers/server.ts'

const GREETING = greeting(Capability.None)

/** Connects, greets, and takes HELLO. */
async function readyLink(options: Partial<LinkOptions> = {}) {
  const made = linkOf(options)
  made.link.open()
  const { connection, transport } = (await made.attempt(0)).succeed()
  await connection.reply()
  connection.send(GREETING)
  await made.until(() => made.told.includes('ready'))
  return { ...made, connection, transport }
}

test('idle until opened; then it dials once, says HELLO, and is ready when that is answered', async () => {
  const { link, attempt, attempts, told, hellos, until } = linkOf()
  expect(link.state).toBe('idle')
  link.open()
  link.open()
  expect(link.state).toBe('dialing')
  const { connection } = (await attempt(0)).succeed()
  expect(link.state).toBe('greeting')
  expect(await connection.reply()).toEqual([Opcode.Hello, LINK_REQUEST_ID, 1, 1, 0, 'a test'])
  connection.send(GREETING)
  await until(() => told.length > 0)
  expect(link.state).toBe('ready')
  expect(hellos).toEqual([
    {
      version: 1,
      capabilities: 0,
      serverVersion: '1.2.3',
      nodeId: 'node',
      bootId: '0000000000000000',
      region: 'here',
      cluster: 'c',
      valueBytesMax: 1000,
      frameBytesMax: 66_536,
    },
  ])
  expect(attempts).toHaveLength(1)
})

test('the greeting may come in pieces', async () => {
  const { link, attempt, told, until } = linkOf()
  link.open()
  const { connection } = (await attempt(0)).succeed()
  for (const byte of GREETING) {
    expect(told).toEqual([])
    connection.send(Buffer.from([byte]))
    await afterIo()
  }
  await until(() => told.length > 0)
  expect(told).toEqual(['ready'])
})

test('what it is given to write arrives, replies come back, its own requests do not show', async () => {
  const { link, connection, told, until } = await readyLink()
  link.write(frame(Opcode.Get, 1, 'k'))
  expect(await connection.reply()).toEqual([Opcode.Get, 1, 'k'])
  connection.send(frame(Status.Ok, LINK_REQUEST_ID), frame(Status.Miss, 1), frame(99, 0, 'unknown push'))
  await until(() => told.length > 1)
  expect(told).toEqual(['ready', 'reply 1 1'])
})

test('a failed attempt: it waits, and dials again, for ever', async () => {
  const { link, attempt, errors, told } = linkOf()
  link.open()
  for (let i = 0; i < 20; i++) {
    ;(await attempt(i)).fail(`reason ${i}`)
    expect(link.state).toBe('waiting')
    expect(link.failures).toBe(i + 1)
  }
  expect(told).toEqual(Array.from({ length: 20 }, () => 'lost'))
  expect(errors[19]).toMatchObject({
    code: 'CACHE_UNAVAILABLE',
    retriable: true,
    server: 'a-server',
    message: 'a-server: reason 19',
    cause: new Error('reason 19'),
  })
})

test('failures are forgotten with the greeting, not with the connection', async () => {
  const { link, attempt, told, until } = linkOf()
  link.open()
  ;(await attempt(0)).fail('refused')
  const { connection } = (await attempt(1)).succeed()
  await connection.reply()
  expect(link.failures).toBe(1)
  connection.transport.destroy()
  await until(() => told.length === 2)
  expect(link.failures).toBe(2)
  const again = (await attempt(2)).succeed().connection
  again.send(GREETING)
  await until(() => told.length === 3)
  expect(link.failures).toBe(0)
})

test('a failure is told once: whatever else a given-up attempt reports is not heard', async () => {
  const { link, attempt, told, until } = linkOf({ connectTimeoutMs: 5 })
  link.open()
  const first = await attempt(0)
  await until(() => told.length > 0)
  expect(first.givenUp).toBe(true)
  first.fail('late')
  const { connection } = first.succeed()
  await connection.closed
  expect(told).toEqual(['lost'])
})

test('no greeting within the time to connect: lost', async () => {
  const { link, attempt, errors, until } = linkOf({ connectTimeoutMs: 5 })
  link.open()
  const { connection } = (await attempt(0)).succeed()
  await until(() => errors.length > 0)
  await connection.closed
  expect(errors[0]?.message).toBe('a-server: no connection within 5 ms')
})

test('a former transport is not listened to, whatever it still delivers', async () => {
  const former: TransportEvents[] = []
  const dial: Dial = (onTransport) => {
    onTransport({
      remote: 'nowhere',
      unsentBytes: 0,
      open: (events) => void former.push(events),
      write: () => true,
      pause() {},
      resume() {},
      end() {},
      destroy() {},
    })
    return () => {}
  }
  const { link, told, until } = linkOf({ dial })
  const deliver = (index: number, ...frames: Buffer[]) => former[index]?.onChunk(Buffer.concat(frames))
  link.open()
  deliver(0, GREETING)
  link.redial()
  await afterIo()
  deliver(0, frame(Status.Ok, 5), frame(Status.ShuttingDown, 0), GREETING, Buffer.alloc(100, 0xff))
  former[0]?.onClose(new Error('late'))
  expect(told).toEqual(['ready'])
  while (former.length < 2) await afterIo()
  deliver(0, GREETING)
  expect(link.state).toBe('greeting')
  deliver(1, GREETING)
  await until(() => told.length > 1)
  deliver(0, frame(Status.Ok, 6))
  former[0]?.onClose(undefined)
  expect(told).toEqual(['ready', 'ready'])
  expect(link.state).toBe('ready')
})

test('redial: a new connection, no loss told; only a ready link does', async () => {
  const { link, connection, attempt, told } = await readyLink()
  link.redial()
  expect(link.state).toBe('waiting')
  link.redial()
  await connection.closed
  await attempt(1)
  link.redial()
  expect(link.state).toBe('dialing')
  expect(told).toEqual(['ready'])
})

test('an error push that ends the connection: lost, with its text', async () => {
  const { connection, errors, until } = await readyLink()
  connection.send(frame(Status.FrameTooLarge, 0, 'a frame of 9 bytes is too much'))
  await until(() => errors.length > 0)
  expect(errors[0]?.message).toMatch(/the server closes with status 17: a frame of 9 bytes is too much$/)
  await connection.closed
})

test('a frame beyond the limit of the greeting: lost', async () => {
  const { connection, errors, until } = await readyLink()
  connection.send(Buffer.from([0, 2, 0, 1]))
  await until(() => errors.length > 0)
  expect(errors[0]?.message).toMatch(/a frame of 131073 bytes is over this connection's limit of 131072/)
})

test('a long frame before the greeting: lost', async () => {
  const { link, attempt, errors, until } = linkOf()
  link.open()
  ;(await attempt(0)).succeed().connection.send(Buffer.from([0, 1, 0, 1]))
  await until(() => errors.length > 0)
  expect(errors[0]?.message).toMatch(/limit of 65536/)
})

test('silence: two heartbeats, then lost', async () => {
  const { connection, errors, until } = await readyLink({ heartbeatMs: 5 })
  await until(() => errors.length > 0)
  expect(errors[0]?.message).toBe('a-server: not a byte for 3 heartbeats of 5 ms')
  const received = await connection.rest()
  const ping = frame(Opcode.Ping, LINK_REQUEST_ID)
  expect(received).toEqual(Buffer.concat([ping, ping]))
})

test('any byte is a sign of life', async () => {
  const { connection, errors, told } = await readyLink({ heartbeatMs: 5 })
  for (let answered = 0; answered < 10; answered++) {
    expect(await connection.reply()).toEqual([Opcode.Ping, LINK_REQUEST_ID])
    connection.send(answered % 2 === 0 ? frame(Status.Ok, LINK_REQUEST_ID) : frame(99, 0))
  }
  expect(errors).toEqual([])
  expect(told).toEqual(['ready'])
})

test.each(['close', 'destroy'] as const)('%s from every state ends for good', async (end) => {
  const idle = linkOf()
  idle.link[end]()
  idle.link.open()
  expect(idle.link.state).toBe('closed')

  const dialing = linkOf()
  dialing.link.open()
  dialing.link[end]()
  expect((await dialing.attempt(0)).givenUp).toBe(true)

  const greeting = linkOf()
  greeting.link.open()
  const { connection } = (await greeting.attempt(0)).succeed()
  greeting.link[end]()
  await connection.closed

  const ready = await readyLink()
  ready.link[end]()
  await ready.connection.closed

  const waiting = linkOf()
  waiting.link.open()
  ;(await waiting.attempt(0)).fail('refused')
  waiting.link[end]()

  await new Promise((resolve) => setTimeout(resolve, 20))
  for (const { link, told, attempts } of [idle, dialing, greeting, ready, waiting]) {
    expect(link.state).toBe('closed')
    expect(told.filter((what) => what !== 'ready').length).toBeLessThanOrEqual(1)
    expect(attempts.length).toBeLessThanOrEqual(1)
    link.close()
    link.destroy()
    link.redial()
    expect(link.state).toBe('closed')
    expect(link.write(frame(Opcode.Ping, 1))).toBe(true)
  }
})

test('close sends what was written before', async () => {
  const { link, connection } = await readyLink()
  link.write(frame(Opcode.Set, 1, 'k', 0, Buffer.alloc(500)))
  link.close()
  expect(await connection.reply()).toEqual([Opcode.Set, 1, 'k', 0, Buffer.alloc(500)])
  await connection.closed
})

test.each(['close', 'destroy'] as const)('%s within each of its own events is safe', async (end) => {
  for (const event of ['onReady', 'onReply', 'onLost', 'onServerDraining', 'onChunkEnd'] as const) {
    let link: Link | undefined
    let connection: Connection | undefined
    const act = () => link?.[end]()
    const ignore = () => {}
    const events = {
      onReady: ignore,
      onReply: ignore,
      onLost: ignore,
      onServerDraining: ignore,
      onChunkEnd: ignore,
    }
    link = new Link(
      {
        dial: (onTransport) => {
          const [ours, theirs] = memoryTransports()
          connection = new Connection(theirs)
          onTransport(ours)
          return () => {}
        },
        server: () => 'a-server',
        clientName: '',
        connectTimeoutMs: FOREVER_MS,
        heartbeatMs: FOREVER_MS,
        reconnect: { minMs: 1, maxMs: 1 },
        random: () => 0,
      },
      { ...events, [event]: act },
    )
    link.open()
    connection?.send(GREETING, frame(Status.Ok, 7), frame(Status.ShuttingDown, 0), frame(Status.Ok, 8))
    if (event === 'onLost') connection?.send(Buffer.alloc(8, 0xff))
    await connection?.closed
    expect(link.state).toBe('closed')
  }
})
