// All transports behave alike: order, backpressure, both kinds of closing, and onClose exactly once.

import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { ReadBuffer } from '../../protocol/read-buffer.ts'
import {
  acceptedTransport,
  type DialEvents,
  dialSocket,
  remoteOf,
  SocketTransport,
  TlsTransport,
} from '../../protocol/socket-transport.ts'
import { dialTls } from '../../protocol/tls-dial.ts'
import { memoryTransports, type Transport } from '../../protocol/transport.ts'
import { authority, HERE } from '../helpers/certificates.ts'

/** One end, and what happened to it. */
class End {
  readonly transport: Transport
  readonly closed: Promise<Error | undefined>
  closedCount = 0
  drainedCount = 0
  receivedBytes = 0
  onChunk: (chunk: Uint8Array) => void = () => {}
  #received: Buffer[] = []
  #onChange: () => void = () => {}

  constructor(transport: Transport) {
    this.transport = transport
    this.closed = new Promise((resolve) => {
      transport.open({
        onChunk: (chunk) => {
          this.onChunk(chunk)
          this.#received.push(Buffer.from(chunk))
          this.receivedBytes += chunk.length
          this.#onChange()
        },
        onDrain: () => {
          this.drainedCount++
          this.#onChange()
        },
        onClose: (error) => {
          this.closedCount++
          resolve(error)
          this.#onChange()
        },
      })
    })
    onTestFinished(() => transport.destroy())
  }

  get received(): Buffer {
    return Buffer.concat(this.#received)
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition())
      await new Promise<void>((resolve) => {
        this.#onChange = resolve
      })
  }
}

/** Both ends of a TCP connection on loopback. */
async function sockets(): Promise<[Socket, Socket]> {
  const server = createServer()
  onTestFinished(() => void server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const socket = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true })
  const accepted = await new Promise<Socket>((resolve) => {
    server.once('connection', (end) => {
      if (socket.readyState === 'open') resolve(end)
      else socket.once('connect', () => resolve(end))
    })
  })
  onTestFinished(() => void accepted.destroy())
  onTestFinished(() => void socket.destroy())
  return [socket, accepted]
}

/** What every socket of a server and its clients reads into. */
const buffer = new ReadBuffer()

/** Both ends of a TCP connection, made and accepted as clients and servers do, and the server. */
async function bufferedEnds(): Promise<[End, End, Server]> {
  const server = createServer({ pauseOnConnect: true, highWaterMark: 4096 })
  onTestFinished(() => void server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = new Promise<End>((resolve) =>
    server.once('connection', (socket: Socket) => resolve(new End(acceptedTransport(socket, buffer)))),
  )
  const dialed = await dial((events) => dialSocket(at(server), buffer, events))
  return [new End(dialed), await accepted, server]
}

/** Both ends of a connection with TLS, dialed and accepted as clients and servers do. */
async function tlsEnds(): Promise<[End, End, TLSSocket]> {
  const signer = await authority()
  const server = createTlsServer(await signer.issue({ commonName: 'server', names: HERE }))
  onTestFinished(() => void server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = new Promise<End>((resolve) =>
    server.once('secureConnection', (socket: TLSSocket) => resolve(new End(new TlsTransport(socket)))),
  )
  const dialed = await dial((events) => dialTls(at(server), { ca: signer.cert }, buffer, events))
  if (!(dialed instanceof TlsTransport)) throw new Error('no TLS')
  return [new End(dialed), await accepted, dialed.tlsSocket]
}

function at(server: Server): { host: string; port: number } {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { host: address.address, port: address.port }
}

function dial(begin: (events: DialEvents) => () => void): Promise<SocketTransport> {
  return new Promise((resolve, reject) => {
    begin({ onTransport: resolve, onFailure: reject })
  })
}

type Kind = 'socket' | 'buffered socket' | 'TLS' | 'memory'

async function ends(kind: Kind): Promise<[End, End]> {
  if (kind === 'buffered socket') {
    const [one, two] = await bufferedEnds()
    return [one, two]
  }
  if (kind === 'TLS') {
    const [one, two] = await tlsEnds()
    return [one, two]
  }
  if (kind === 'memory') {
    const [one, two] = memoryTransports()
    return [new End(one), new End(two)]
  }
  const [one, two] = await sockets()
  one.on('end', () => one.end())
  return [new End(new SocketTransport(one)), new End(new SocketTransport(two))]
}

const MANY = 64 * 1024 * 1024
const block = Buffer.alloc(1024 * 1024, 'x')

describe.each(['socket', 'buffered socket', 'TLS', 'memory'] as const)('a %s transport', (kind) => {
  test('carries bytes both ways, in order', async () => {
    const [one, two] = await ends(kind)
    for (let i = 0; i < 100; i++) one.transport.write(Buffer.from(`${i},`))
    two.transport.write(Buffer.from('back'))
    const expected = Array.from({ length: 100 }, (_, i) => `${i},`).join('')
    await two.until(() => two.receivedBytes === expected.length)
    await one.until(() => one.receivedBytes === 4)
    expect(two.received.toString()).toBe(expected)
    expect(one.received.toString()).toBe('back')
  })

  test('gives the memory back when write says so', async () => {
    const [one, two] = await ends(kind)
    const bytes = Buffer.from('first')
    expect(one.transport.write(bytes)).toBe(true)
    bytes.write('other')
    await two.until(() => two.receivedBytes === 5)
    expect(two.received.toString()).toBe('first')
  })

  test('keeps what a paused end does not take, and says when it is gone', async () => {
    const [one, two] = await ends(kind)
    two.transport.pause()
    let sent = 0
    while (one.transport.unsentBytes < 4 * block.length && sent < MANY) {
      one.transport.write(block)
      sent += block.length
    }
    expect(one.transport.unsentBytes).toBeGreaterThanOrEqual(4 * block.length)
    two.transport.resume()
    await one.until(() => one.drainedCount > 0)
    expect(one.transport.unsentBytes).toBe(0)
    await two.until(() => two.receivedBytes === sent)
  })

  test('gives memory that it kept back once, when that is sent, and not before', async () => {
    const [one, two] = await ends(kind)
    two.transport.pause()
    const kept = new Set<Buffer>()
    const early: Buffer[] = []
    let sent = 0
    while (one.transport.unsentBytes < 4 * block.length && sent < MANY) {
      const bytes = Buffer.from(block)
      kept.add(bytes)
      const isTaken = one.transport.write(bytes, () => {
        if (!kept.delete(bytes)) early.push(bytes)
      })
      if (isTaken) kept.delete(bytes)
      sent += block.length
    }
    expect(kept.size).toBe(kind === 'memory' ? 0 : Math.ceil(one.transport.unsentBytes / block.length))
    two.transport.resume()
    await one.until(() => one.drainedCount > 0)
    await two.until(() => two.receivedBytes === sent)
    expect([kept.size, early.length]).toEqual([0, 0])
  })

  test('end() sends what is kept before it closes', async () => {
    const [one, two] = await ends(kind)
    two.transport.pause()
    for (let i = 0; i < 8; i++) one.transport.write(block)
    one.transport.end()
    two.transport.resume()
    expect(await two.closed).toBe(undefined)
    expect(await one.closed).toBe(undefined)
    expect(two.receivedBytes).toBe(8 * block.length)
    expect([one.closedCount, two.closedCount]).toEqual([1, 1])
  })

  test('destroy() closes at once, with its reason on this side', async () => {
    const [one, two] = await ends(kind)
    const reason = new Error('enough')
    one.transport.destroy(reason)
    expect(await one.closed).toBe(reason)
    await two.closed
    one.transport.destroy(new Error('once more'))
    two.transport.destroy()
    two.transport.end()
    expect([one.closedCount, two.closedCount]).toEqual([1, 1])
  })

  test('what is written after the end goes nowhere', async () => {
    const [one, two] = await ends(kind)
    one.transport.write(Buffer.from('last'))
    one.transport.end()
    await two.closed
    await one.closed
    expect(two.received.toString()).toBe('last')
    expect([one.transport.write(Buffer.from('later')), two.closedCount]).toEqual([true, 1])
  })

  test('names the other end', async () => {
    const [one] = await ends(kind)
    expect(one.transport.remote).toMatch(kind === 'memory' ? /^in memory$/ : /^127\.0\.0\.1:\d+$/)
  })
})

test.each(['socket', 'buffered socket'] as const)(
  'a %s transport that is destroyed with bytes unsent takes back those that the kernel has',
  async (kind) => {
    const [one, two] = await ends(kind)
    two.transport.pause()
    let sent = 0
    for (; one.transport.unsentBytes === 0; sent += block.length) one.transport.write(block)
    const kernelBytes = sent - one.transport.unsentBytes
    one.transport.destroy()
    expect(await one.closed).toBe(undefined)
    two.transport.resume()
    await two.closed
    // What had reached the other end is its own.
    expect(two.receivedBytes).toBeLessThan(kernelBytes)
  },
)

test.each([
  ['10.0.0.9', '10.0.0.9:5'],
  ['::ffff:10.0.0.9', '10.0.0.9:5'],
  ['::FFFF:10.0.0.9', '10.0.0.9:5'],
  ['fe80::ffff:1', 'fe80::ffff:1:5'],
  ['::ffff:0:1', '::ffff:0:1:5'],
  [undefined, '?:5'],
])('the other end at %s is called %s', (remoteAddress, remote) => {
  expect(remoteOf({ remoteAddress, remotePort: 5 })).toBe(remote)
})

describe('in memory', () => {
  test('delivery is never synchronous', async () => {
    const [one, two] = await ends('memory')
    one.transport.write(Buffer.from('x'))
    expect(two.receivedBytes).toBe(0)
    await two.until(() => two.receivedBytes === 1)
  })

  test('what is said last, when the other end has taken all before, arrives', async () => {
    const [one, two] = memoryTransports()
    const heard: string[] = []
    one.open({
      onChunk: () => {},
      onDrain: () => {
        one.write(Buffer.from('the last'))
        one.end()
      },
      onClose: () => {},
    })
    await new Promise<void>((resolve) => {
      two.open({
        onChunk: (chunk) => void heard.push(Buffer.from(chunk).toString()),
        onDrain: () => {},
        onClose: () => resolve(),
      })
      one.write(Buffer.from('the first'))
    })
    expect(heard).toEqual(['the first', 'the last'])
  })

  test('what was written before the other end opened waits for it', async () => {
    const [one, two] = memoryTransports()
    one.write(Buffer.from('early'))
    one.end()
    const late = new End(two)
    await late.closed
    expect(late.received.toString()).toBe('early')
  })

  test('a pause in the middle of a delivery holds the rest', async () => {
    const [one, two] = memoryTransports()
    const chunks: number[] = []
    two.open({
      onChunk: (chunk) => {
        chunks.push(chunk.length)
        two.pause()
      },
      onDrain: () => {},
      onClose: () => {},
    })
    const sender = new End(one)
    one.write(Buffer.alloc(1))
    one.write(Buffer.alloc(2))
    await Promise.resolve()
    await Promise.resolve()
    expect([chunks, one.unsentBytes, sender.drainedCount]).toEqual([[1], 2, 0])
    two.resume()
    await sender.until(() => sender.drainedCount > 0)
    expect([chunks, one.unsentBytes]).toEqual([[1, 2], 0])
  })
})

describe('with TLS', () => {
  /** The turn of the event loop in which this is called is over, and what it wrote was tried. */
  const nextTurn = async () => {
    for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve))
  }

  test('what the kernel takes is never unsent, in many turns or one', async () => {
    const [one, two] = await tlsEnds()
    for (let i = 0; i < 100; i++) {
      one.transport.write(Buffer.alloc(100))
      expect(one.transport.unsentBytes).toBe(0)
      if (i % 10 === 0) await nextTurn()
    }
    await two.until(() => two.receivedBytes === 10_000)
    expect([one.transport.unsentBytes, one.drainedCount]).toEqual([0, 0])
  })

  test('what it does not take is unsent at the latest a turn later, and at once beyond a bound', async () => {
    const [one, two] = await tlsEnds()
    two.transport.pause()
    let sent = 0
    while (one.transport.unsentBytes === 0 && sent < MANY) {
      one.transport.write(block)
      sent += block.length
      await nextTurn()
    }
    const { unsentBytes } = one.transport
    expect(unsentBytes).toBeGreaterThan(0)
    one.transport.write(Buffer.alloc(1000))
    await nextTurn()
    expect(one.transport.unsentBytes).toBe(unsentBytes + 1000)
    one.transport.write(block)
    expect(one.transport.unsentBytes).toBe(unsentBytes + 1000 + block.length - 64 * 1024)
    const drainedBefore = one.drainedCount
    two.transport.resume()
    await one.until(() => one.drainedCount > drainedBefore)
    await two.until(() => two.receivedBytes === sent + 1000 + block.length)
    expect([one.transport.unsentBytes, one.drainedCount]).toEqual([0, drainedBefore + 1])
  })

  test('what waits is given to the socket in pieces, and arrives whole', async () => {
    const [one, two, socket] = await tlsEnds()
    two.transport.pause()
    const released: number[] = []
    for (let i = 0; i < 24; i++) one.transport.write(Buffer.alloc(block.length, i), () => released.push(i))
    await nextTurn()
    expect(socket.writableLength).toBeLessThanOrEqual(512 * 1024)
    expect(one.transport.unsentBytes).toBeGreaterThan(8 * block.length)
    two.transport.resume()
    one.transport.end()
    expect(await two.closed).toBe(undefined)
    const { received } = two
    expect(received).toHaveLength(24 * block.length)
    for (let i = 0; i < 24; i++)
      expect(received.subarray(i * block.length, (i + 1) * block.length).every((byte) => byte === i)).toBe(
        true,
      )
    expect(released).toEqual(Array.from({ length: 24 }, (_, i) => i))
  })

  test('what waits is released when the connection is cut', async () => {
    const [one, two] = await tlsEnds()
    two.transport.pause()
    let released = 0
    for (let i = 0; i < 24; i++) one.transport.write(Buffer.from(block), () => released++)
    one.transport.destroy()
    await one.closed
    expect([released, one.transport.unsentBytes]).toEqual([24, 0])
  })

  test('what was dialed reads into the one buffer too', async () => {
    const [one, two] = await tlsEnds()
    const buffers = new Set<ArrayBufferLike>()
    one.onChunk = (chunk) => buffers.add(chunk.buffer)
    two.transport.write(Buffer.from('x'))
    await one.until(() => one.receivedBytes === 1)
    expect([...buffers]).toEqual([buffer.bytes.buffer])
  })
})

describe('sockets that read into one buffer', () => {
  test('an accepted socket does: none of its chunks comes as data', async () => {
    const [one, two] = await bufferedEnds()
    const buffers = new Set<ArrayBufferLike>()
    two.onChunk = (chunk) => buffers.add(chunk.buffer)
    one.transport.write(Buffer.from('x'))
    await two.until(() => two.receivedBytes === 1)
    expect([...buffers]).toEqual([buffer.bytes.buffer])
  })

  test('the server that accepted one knows when it is closed', async () => {
    const [one, two, server] = await bufferedEnds()
    const count = () =>
      new Promise((resolve) => server.getConnections((_, connections) => resolve(connections)))
    expect(await count()).toBe(1)
    one.transport.end()
    await two.closed
    expect(await count()).toBe(0)
    await new Promise((resolve) => server.close(resolve))
  })

  test('a socket without such a handle gives its chunks as data', async () => {
    const [one, accepted] = await sockets()
    accepted.pause()
    Object.defineProperty(accepted._handle, 'useUserBuffer', { value: undefined })
    const two = new End(acceptedTransport(accepted, buffer))
    one.write('x')
    await two.until(() => two.receivedBytes === 1)
  })
})

describe('a socket that we ended', () => {
  test('is cut when the other side does not close in time', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const [stubborn, accepted] = await sockets()
    stubborn.resume()
    const ours = new End(new SocketTransport(accepted))
    ours.transport.end()
    await once(stubborn, 'end')
    while (ours.closedCount === 0) {
      vi.advanceTimersByTime(1000)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await ours.closed).toBe(undefined)
  })

  test('is not cut while the other side is still reading', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const [slow, accepted] = await sockets()
    const ours = new End(new SocketTransport(accepted))
    let sent = 0
    while (ours.transport.unsentBytes === 0 && sent < MANY) {
      ours.transport.write(block)
      sent += block.length
    }
    ours.transport.end()
    await new Promise((resolve) => setImmediate(resolve))
    vi.advanceTimersByTime(5000)
    let read = 0
    slow.on('data', (chunk: Buffer) => {
      read += chunk.length
    })
    await once(slow, 'end')
    expect(read).toBe(sent)
  })
})
