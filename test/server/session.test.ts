// Sessions under pressure: clients that do not read, do not finish, or do not go; what is held for them is bounded,
// and nobody else suffers.

import { describe, expect, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import type { ServerOptions } from '../../server/options.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import { frame } from '../helpers/frames.ts'
import { type Connection, connect, startServer, WIRES } from '../helpers/server.ts'

const { Ok } = Status
const KIB = 1024
const MIB = 1024 * KIB
const EMPTY = Buffer.alloc(0)

const contents = (key: number, bytes: number) => Buffer.alloc(bytes, `${key};`)

/** Stores `count` values under the keys `0`, `1`, …, each like no other. */
async function fill(connection: Connection, count: number, bytes: number): Promise<void> {
  for (let key = 0; key < count; key++)
    expect((await connection.ask(Opcode.Set, 1, `${key}`, 0, contents(key, bytes)))[0]).toBe(Ok)
}

/** `count` GETs of the keys 0 to `keys` - 1 in turn, with ids from 1. */
function gets(count: number, keys: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, i) => frame(Opcode.Get, i + 1, `${i % keys}`)))
}

/** Reads the replies to `gets`; fails unless each is there, right, and in its place. */
async function expectGets(connection: Connection, count: number, keys: number, bytes: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const [status, id, , value] = await connection.reply()
    const isRight = contents(i % keys, bytes).equals(Object(value))
    if (status !== Ok || id !== i + 1 || !isRight)
      expect.fail(`reply ${i + 1} of ${count}: status ${status}, id ${id}, value right: ${isRight}`)
  }
}

/** Lets the server work until it says so; each round it has answered somebody else once more. */
async function until(server: OrmucoCacheServer, other: Connection, isSo: () => boolean): Promise<void> {
  while (!isSo()) {
    expect(server.stats().server.draining).toBe(false)
    expect(await other.ask(Opcode.Ping, 1)).toEqual([Ok, 1, EMPTY])
  }
}

describe.each(WIRES)('a client that asks much and reads nothing, %s', (wire) => {
  test.each([
    ['large values', { outputBytesMax: 256 * KIB }, 600, 3, 128 * KIB],
    ['small values', { outputBytesMax: 64 * KIB }, 60_000, 10, 1000],
  ])('%s: dispatch stops at the mark and goes on in order', async (_, options, count, keys, bytes) => {
    const server = await startServer(options)
    const other = await connect(server, wire)
    await fill(other, keys, bytes)
    const greedy = await connect(server, wire)
    greedy.transport.pause()
    const { receivedBytes, sentBytes } = server.stats().network
    const requests = gets(count, keys)
    greedy.send(requests)
    await until(
      server,
      other,
      () => server.stats().network.receivedBytes > receivedBytes + requests.length / 100,
    )
    // The kernel takes its share, and then the server stops, whatever else it is asked.
    for (let round = 0; round < 200; round++) await other.ask(Opcode.Ping, 1)
    // Nor does it mix up what waits with what comes meanwhile.
    for (let round = 0; round < 3; round++) await other.ask(Opcode.Ping, 1, Buffer.alloc(1000, 0xc1))
    const held = server.stats().network.sentBytes - sentBytes - 3 * 1000
    expect(held).toBeGreaterThan(options.outputBytesMax)
    expect(held).toBeLessThan((count * bytes) / 2)
    if (wire === 'memory') expect(held).toBeLessThan(options.outputBytesMax + bytes + 64 * KIB + 200 * 16)
    expect(await other.ask(Opcode.Get, 7, '1')).toEqual([Ok, 7, 0, contents(1, bytes)])

    greedy.transport.resume()
    await expectGets(greedy, count, keys, bytes)
    expect(await greedy.ask(Opcode.Ping, 9)).toEqual([Ok, 9, EMPTY])
  })
})

test('a mark below what a socket calls full does not hang', async () => {
  const server = await startServer({ outputBytesMax: 4 * KIB })
  const greedy = await connect(server)
  await fill(greedy, 2, 5000)
  greedy.transport.pause()
  const count = 4000
  for (let i = 0; i < count; i++) {
    greedy.send(frame(Opcode.Get, i + 1, `${i % 2}`))
    // So that the server sees them one by one, and holds one short reply at a time.
    await new Promise((resolve) => setImmediate(resolve))
  }
  greedy.transport.resume()
  await expectGets(greedy, count, 2, 5000)
})

test('whoever ends its sending side gets the answers that fit under the mark', async () => {
  const server = await startServer()
  const hasty = await connect(server)
  await fill(hasty, 2, 128 * KIB)
  hasty.send(gets(40, 2))
  hasty.endWriting()
  await expectGets(hasty, 40, 2, 128 * KIB)
  expect(await hasty.rest()).toHaveLength(0)
})

test('QUIT behind more than a mark of replies: all are sent, then it closes', async () => {
  const server = await startServer({ outputBytesMax: 256 * KIB })
  const greedy = await connect(server)
  await fill(greedy, 2, 128 * KIB)
  greedy.transport.pause()
  greedy.send(gets(300, 2), frame(Opcode.Quit, 301), frame(Opcode.Ping, 302))
  greedy.transport.resume()
  await expectGets(greedy, 300, 2, 128 * KIB)
  expect(await greedy.reply()).toEqual([Ok, 301])
  expect(await greedy.rest()).toHaveLength(0)
})

describe('budgets of the whole server', () => {
  test.each(WIRES)('incomplete frames: who goes beyond is closed, %s', async (wire) => {
    const options = { maxValueBytes: 100_000, partialBytesMax: 170_000 }
    const server = await startServer(options)
    const first = await connect(server, wire)
    const second = await connect(server, wire)
    const request = frame(Opcode.Set, 5, 'key', 0, contents(0, 100_000))
    first.send(request.subarray(0, 90_000))
    await until(server, second, () => server.stats().network.receivedBytes > 90_000)
    second.send(request.subarray(0, 99_000))
    const text = 'incomplete frames of all connections exceed 170000 bytes'
    expect(await second.reply()).toEqual([Status.Overloaded, 0, text, 1000])
    expect(await second.rest()).toHaveLength(0)
    const third = await connect(server, wire)
    await until(server, third, () => server.stats().connections.closedSlow === 1)
    first.send(request.subarray(90_000))
    expect((await first.reply()).slice(0, 2)).toEqual([Ok, 5])
    // What was held for both is given back: as much fits again.
    third.send(request.subarray(0, 99_000))
    await until(server, first, () => server.stats().network.receivedBytes > 280_000)
    third.send(request.subarray(99_000))
    expect((await third.reply()).slice(0, 2)).toEqual([Ok, 5])
  })

  test('replies that nobody takes: who has taken none for longest is closed, in memory', async () => {
    const server = await startServer({ maxValueBytes: 100_000, unsentBytesMax: 200_000 })
    const [first, second, third] = await Promise.all([1, 2, 3].map(() => connect(server, 'memory')))
    if (first === undefined || second === undefined || third === undefined) throw new Error('no connections')
    await fill(third, 1, 100_000)
    first.transport.pause()
    second.transport.pause()
    first.send(frame(Opcode.Get, 1, '0'))
    await until(server, third, () => server.stats().commands['get'] === 1)
    second.send(frame(Opcode.Get, 1, '0'))
    await until(server, third, () => server.stats().connections.closedSlow === 1)
    expect(server.stats().connections.clients).toBe(2)
    first.transport.resume()
    await first.closed
    second.transport.resume()
    expect((await second.reply())[0]).toBe(Ok)
    expect((await second.ask(Opcode.Get, 3, '0'))[0]).toBe(Ok)
  })

  test('replies that nobody takes: who goes beyond is closed, tcp', async () => {
    const server = await startServer({ unsentBytesMax: 2 * MIB, outputBytesMax: 1024 * MIB })
    const other = await connect(server)
    await fill(other, 1, MIB)
    const greedy = await connect(server)
    greedy.transport.pause()
    greedy.send(gets(60, 1))
    await until(server, other, () => server.stats().connections.closedSlow === 1)
    expect(server.stats().connections.clients).toBe(1)
    expect((await other.ask(Opcode.Get, 2, '0'))[0]).toBe(Ok)
  })
})

describe('time', () => {
  test('a frame that is not completed and replies that are not taken close their connections', async () => {
    const server = await startServer({ frameTimeoutMs: 100, outputStallMs: 100 })
    const idle = await connect(server)
    await fill(idle, 1, MIB)
    const half = await connect(server)
    half.send(frame(Opcode.Get, 1, 'key').subarray(0, -1))
    const deaf = await connect(server)
    deaf.transport.pause()
    deaf.send(gets(60, 1))
    expect(await half.rest()).toHaveLength(0)
    await until(server, await connect(server), () => server.stats().connections.closedSlow === 2)
    expect(await idle.ask(Opcode.Ping, 2)).toEqual([Ok, 2, EMPTY])
    deaf.transport.resume()
    await deaf.closed
  })
})

describe('connections over their number', () => {
  test('are closed at once; when one leaves, another may come', async () => {
    const server = await startServer({ maxConnections: 2, descriptorsReserved: 0 })
    const first = await connect(server)
    const second = await connect(server)
    await first.ask(Opcode.Ping, 1)
    await second.ask(Opcode.Ping, 1)
    expect(await (await connect(server)).rest()).toHaveLength(0)
    expect(server.stats().connections).toMatchObject({ clients: 2, accepted: 2, refused: 1 })
    expect(await first.ask(Opcode.Quit, 2)).toEqual([Ok, 2])
    await first.closed
    await until(server, second, () => server.stats().connections.clients === 1)
    expect(await (await connect(server)).ask(Opcode.Ping, 3)).toEqual([Ok, 3, EMPTY])
  })
})

test('many clients at once: nobody gets what is meant for another', async () => {
  const options: ServerOptions = { outputBytesMax: 64 * KIB }
  const server = await startServer(options)
  await fill(await connect(server), 7, 3000)
  const clients = await Promise.all(
    Array.from({ length: 20 }, (_, i) => connect(server, i % 2 === 0 ? 'tcp' : 'memory')),
  )
  clients.forEach((client, index) => {
    if (index % 3 === 0) client.transport.pause()
    client.send(gets(500, 7))
  })
  await Promise.all(
    clients.filter((_, index) => index % 3 !== 0).map((client) => expectGets(client, 500, 7, 3000)),
  )
  await Promise.all(
    clients
      .filter((_, index) => index % 3 === 0)
      .map((client) => {
        client.transport.resume()
        return expectGets(client, 500, 7, 3000)
      }),
  )
})
