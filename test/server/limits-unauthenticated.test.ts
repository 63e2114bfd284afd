// What a connection may cost before it has authenticated: bytes of a frame, bytes of answers, time, and how many there
// may be; each at, below and above its limit. A client that does authenticate has the usual limits from then on.

import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import { SocketTransport } from '../../protocol/socket-transport.ts'
import { memoryTransports } from '../../protocol/transport.ts'
import { Arrivals } from '../../server/arrivals.ts'
import type { ServerOptions } from '../../server/options.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import { Session } from '../../server/session.ts'
import { Counters } from '../../server/statistics.ts'
import type { User } from '../../server/users.ts'
import { authenticate, listener } from '../helpers/authenticating.ts'
import { clientOf } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { frame, framed, payloads } from '../helpers/frames.ts'
import { ScriptedTransport } from '../helpers/scripted-transport.ts'
import { Connection, connect, startServer, WIRES } from '../helpers/server.ts'
import { sessionHost } from '../helpers/session-host.ts'
import { authFileOf, passwordOf, someUsers } from '../helpers/users.ts'

const { Ok, FrameTooLarge, Unauthenticated, Overloaded } = Status
const EMPTY = Buffer.alloc(0)

let users: User[]
beforeAll(async () => {
  users = await someUsers()
})

const guarded = (options: ServerOptions = {}) => startServer({ authFile: authFileOf(users), ...options })

/** A PING whose payload has this many bytes: it has a second operand, which nobody knows. */
function pingOf(bytes: number): Buffer {
  const head = [0x94, Opcode.Ping, 1, 0xc4, 0, 0xda]
  const length = bytes - head.length - 2
  return framed(
    Buffer.concat([Buffer.from(head), Buffer.of(length >> 8, length & 255), Buffer.alloc(length, 'x')]),
  )
}

describe.each(WIRES)('a frame, %s', (wire) => {
  test.each([
    ['the default', 4096, {}],
    ['what was set', 2000, { unauthenticatedFrameBytesMax: 2000 }],
  ])('may have %s', async (_, bytesMax, options) => {
    const server = await guarded(options)
    for (const bytes of [bytesMax - 1, bytesMax]) {
      const connection = await connect(server, wire)
      connection.send(pingOf(bytes))
      expect(await connection.reply()).toEqual([Ok, 1, EMPTY])
    }
    const connection = await connect(server, wire)
    connection.send(pingOf(bytesMax + 1))
    const text = `a frame of ${bytesMax + 1} bytes is over this connection's limit of ${bytesMax} until it has authenticated`
    expect(await connection.reply()).toEqual([FrameTooLarge, 0, text])
    expect(await connection.rest()).toHaveLength(0)
  })

  test('may have what any frame may, once it has authenticated', async () => {
    const connection = await connect(await guarded(), wire)
    await authenticate(connection, 'walt')
    expect((await connection.ask(Opcode.Set, 3, 'key', 0, Buffer.alloc(1_000_000)))[0]).toBe(Ok)
  })
})

test('a length that is claimed costs nothing', async () => {
  const server = await guarded()
  const connection = await connect(server)
  connection.send(Buffer.of(0, 0, 16, 1))
  expect((await connection.reply())[0]).toBe(FrameTooLarge)
})

describe('answers that nobody takes', () => {
  const clogged = () => {
    const transport = new ScriptedTransport()
    transport.isReading = false
    return transport
  }
  /** A PING whose reply has this many bytes, the length in front included. */
  const pingFor = (replyBytes: number) => frame(Opcode.Ping, 7, Buffer.alloc(replyBytes - 4 - 7 - 3, 'p'))
  const answered = (...bytes: number[]) => {
    const transport = clogged()
    const host = sessionHost({ authFile: authFileOf(users), unauthenticatedOutputBytesMax: 2000 })
    new Session(transport, host)
    transport.say(Buffer.concat(bytes.map(pingFor)))
    return { transport, host }
  }
  const count = (bytes: Buffer) => payloads(bytes).length

  test('below the limit the next request is answered', () => {
    const { transport } = answered(1000, 999, 1000)
    expect(count(transport.drain())).toBe(3)
  })

  test('at the limit it waits until they are taken, in whatever chunks they came', () => {
    const { transport } = answered(1000, 1000, 500, 400)
    transport.say(pingFor(300))
    expect(transport.unsentBytes).toBe(2000)
    expect(count(transport.drain())).toBe(2)
    expect(count(transport.drain())).toBe(3)
  })

  test('an answer that goes beyond is the last one', () => {
    const { transport } = answered(1000, 1001, 1000, 1000)
    expect(transport.unsentBytes).toBe(2001)
  })

  test('hold no more memory than they have bytes', () => {
    const { transport, host } = answered(1000, 1000, 1000)
    for (const { buffer, length } of transport.kept) expect(buffer.byteLength).toBe(length)
    expect(host.held.unsentBytes).toBe(2000)
  })

  test('errors count as well', () => {
    const transport = clogged()
    const host = sessionHost({ authFile: authFileOf(users), unauthenticatedOutputBytesMax: 1024 })
    new Session(transport, host)
    transport.say(Buffer.concat(Array.from({ length: 2000 }, () => frame(99, 1))))
    expect(transport.unsentBytes).toBeGreaterThanOrEqual(1024)
    expect(transport.unsentBytes).toBeLessThan(1024 + 100)
  })
})

describe('time', () => {
  test('below and at the limit a connection stays; beyond it is told, and closed', async () => {
    const host = sessionHost({ authFile: authFileOf(users) })
    const [ours, theirs] = memoryTransports()
    const connection = new Connection(ours)
    const session = new Session(theirs, host)
    const startMs = host.nowMs
    for (const afterMs of [4999, 5000]) session.check(startMs + afterMs)
    expect(await connection.ask(Opcode.Ping, 1)).toEqual([Ok, 1, EMPTY])
    session.check(startMs + 5001)
    expect(await connection.reply()).toEqual([Unauthenticated, 0, 'not authenticated within 5000 ms'])
    expect(await connection.rest()).toHaveLength(0)
    expect(host.counters.authTimeouts).toBe(1)
  })

  test('is not prolonged by whoever does not read: its place is free at once', () => {
    const host = sessionHost({ authFile: authFileOf(users) })
    for (const isReading of [true, false]) {
      const transport = new ScriptedTransport()
      const session = new Session(transport, host)
      transport.isReading = isReading
      transport.say(frame(Opcode.Ping, 1))
      session.check(host.nowMs + 5001)
      expect([transport.isClosed, transport.isEnded]).toEqual([true, isReading])
    }
    expect(host.counters.authTimeouts).toBe(2)
  })

  test('is no matter once it has authenticated', async () => {
    const host = sessionHost({ authFile: authFileOf(users) })
    const [ours, theirs] = memoryTransports()
    const connection = new Connection(ours)
    const session = new Session(theirs, host)
    await authenticate(connection, 'rhea')
    session.check(host.nowMs + 1_000_000)
    expect(await connection.ask(Opcode.Ping, 5)).toEqual([Ok, 5, EMPTY])
  })

  test('is kept by the server', async () => {
    const server = await guarded({ authTimeoutMs: 100 })
    const silent = await connect(server)
    const halfway = await connect(server)
    await halfway.ask(Opcode.Hello, 1)
    for (const late of [silent, halfway]) {
      expect((await late.reply()).slice(0, 2)).toEqual([Unauthenticated, 0])
      await late.closed
    }
    await eventually(() => server.stats().connections).toMatchObject({ unauthenticated: 0, authTimeouts: 2 })
  })
})

describe('how many', () => {
  const setUp = (unauthenticatedMax: number, unauthenticatedPerAddressMax: number) => {
    const { said, logger } = listener()
    const counters = new Counters()
    const limits = { unauthenticatedMax, unauthenticatedPerAddressMax }
    return { arrivals: new Arrivals(limits, counters, logger), counters, said }
  }

  test('places, below, at and above the limit; one that is given back can be taken', () => {
    const { arrivals, counters } = setUp(3, 3)
    const places = [1, 2, 3].map((port) => arrivals.enter(`10.0.0.1:${port}`))
    expect(places).not.toContain(undefined)
    expect(arrivals.enter('10.0.0.2:4')).toBe(undefined)
    expect(counters).toMatchObject({ unauthenticated: 3, refused: 1 })
    places[0]?.leave()
    places[0]?.leave()
    expect(counters.unauthenticated).toBe(2)
    expect(arrivals.enter('10.0.0.2:5')).not.toBe(undefined)
    expect(arrivals.enter('10.0.0.2:6')).toBe(undefined)
  })

  test('places of all addresses that begin with the same 64 bits', () => {
    const { arrivals, counters, said } = setUp(512, 64)
    const enter = (network: number, host: number) =>
      arrivals.enter(`2001:db8:0:${network}::${host.toString(16)}:50000`)
    const places = Array.from({ length: 64 }, (_, host) => enter(7, host + 1))
    expect(places).not.toContain(undefined)
    expect(enter(7, 1000)).toBe(undefined)
    expect(said('connection refused')).toMatchObject([{ address: '2001:db8:0:7::/64', times: 1 }])
    expect(enter(8, 1000)).not.toBe(undefined)
    places[0]?.leave()
    expect(enter(7, 1001)).not.toBe(undefined)
    expect(counters).toMatchObject({ unauthenticated: 65, refused: 1 })
  })

  test('places of one address, IPv6 too; another one still finds some', () => {
    const { arrivals, counters } = setUp(10, 2)
    for (const address of ['10.0.0.1', '::1', 'fe80::1%eth0']) {
      const places = [1, 2].map((port) => arrivals.enter(`${address}:${port}`))
      expect(places).not.toContain(undefined)
      expect(arrivals.enter(`${address}:3`)).toBe(undefined)
      places[1]?.leave()
      expect(arrivals.enter(`${address}:4`)).not.toBe(undefined)
    }
    expect(counters).toMatchObject({ unauthenticated: 6, refused: 3 })
  })

  test('64 at a time are told that they are too many, the others are closed without a word', () => {
    const { arrivals } = setUp(1, 1)
    const turnedAway = () => {
      const [near, far] = memoryTransports()
      let isClosed: () => void = () => {}
      const seen = { said: 0, isDestroyed: false, close: () => isClosed() }
      near.open = ({ onClose }) => {
        isClosed = () => onClose(undefined)
      }
      near.write = () => {
        seen.said++
        return true
      }
      near.end = () => {}
      near.destroy = () => {
        seen.isDestroyed = true
        far.destroy()
      }
      arrivals.turnAway(near, 'too many')
      return seen
    }
    const told = Array.from({ length: 64 }, turnedAway)
    expect(told.every(({ said, isDestroyed }) => said === 1 && !isDestroyed)).toBe(true)
    expect(turnedAway()).toMatchObject({ said: 0, isDestroyed: true })
    told[0]?.close()
    expect(turnedAway()).toMatchObject({ said: 1, isDestroyed: false })
  })

  test('refusals are logged the 1st, 10th and 100th time', () => {
    const { arrivals, said } = setUp(1, 1)
    arrivals.enter('10.0.0.1:1')
    for (let port = 1; port <= 150; port++) arrivals.enter(`10.0.${port % 7}.1:${port}`)
    expect(said('connection refused').map(({ times }) => times)).toEqual([1, 10, 100])
  })

  test.each<[string, ServerOptions]>([
    ['of all addresses', { unauthenticatedMax: 2 }],
    ['of one address', { unauthenticatedPerAddressMax: 2 }],
  ])('%s: one more is told to come again; who authenticates makes room', async (_, options) => {
    const server = await guarded(options)
    const [first, second] = [await connect(server), await connect(server)]
    await first.ask(Opcode.Ping, 1)
    await second.ask(Opcode.Ping, 1)
    const third = await connect(server)
    expect(await third.reply()).toEqual([Overloaded, 0, 'too many unauthenticated connections', 1000])
    expect(await third.rest()).toHaveLength(0)
    expect(server.stats().connections).toMatchObject({ unauthenticated: 2, refused: 1 })
    await authenticate(first, 'rhea')
    expect(server.stats().connections.unauthenticated).toBe(1)
    expect((await (await connect(server)).ask(Opcode.Ping, 1))[0]).toBe(Ok)
    second.transport.destroy()
    await eventually(() => server.stats().connections.unauthenticated).toBe(1)
    expect((await (await connect(server)).ask(Opcode.Ping, 1))[0]).toBe(Ok)
  })

  test('has no bearing on those who need not authenticate', async () => {
    const server = await startServer({ unauthenticatedMax: 1, unauthenticatedPerAddressMax: 1 })
    const connections = await Promise.all([1, 2, 3].map(() => connect(server)))
    for (const connection of connections) expect((await connection.ask(Opcode.Ping, 1))[0]).toBe(Ok)
    expect(server.stats().connections).toMatchObject({ unauthenticated: 0, refused: 0 })
  })

  const isLinux = process.platform === 'linux'
  if (!isLinux) console.log('skipped: connections from another address; only Linux has 127.0.0.2 by itself')
  test.skipIf(!isLinux)('a hundred who only connect do not keep a client from elsewhere out', async () => {
    const server = await guarded({ unauthenticatedMax: 50, unauthenticatedPerAddressMax: 20 })
    const { port } = server.address ?? { port: 0 }
    const idle = await Promise.all(Array.from({ length: 100 }, () => connectFrom(server, '127.0.0.2')))
    await eventually(() => server.stats().connections).toMatchObject({ unauthenticated: 20, refused: 80 })
    const credentials = { username: 'walt', password: passwordOf('walt') }
    const client = clientOf(`127.0.0.1:${port}`, credentials)
    expect(await client.store('key', 1)).toMatchObject({ outcome: 'stored' })
    for (const { transport } of idle) transport.destroy()
    await eventually(() => server.stats().connections.unauthenticated).toBe(0)
  })
})

/** A connection from another address of this machine. */
async function connectFrom(server: OrmucoCacheServer, localAddress: string): Promise<Connection> {
  const { host, port } = server.address ?? { host: '', port: 0 }
  const socket = connectSocket({ host, port, localAddress })
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return new Connection(new SocketTransport(socket))
}
