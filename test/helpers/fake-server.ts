// A server that behaves as a test wants it to, badly above all. Frames are read and written by msgpackr, not by our
// own code. It greets and answers heartbeats unless told otherwise; everything else is up to the test.

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import { decoded, frame } from './frames.ts'

export interface FakeManners {
  /** Default true: HELLO is answered. */
  greets?: boolean
  /** Default true: heartbeats are answered. */
  answersPings?: boolean
  /** As HELLO tells them; default none. */
  capabilities?: number
  /** One byte, eight times; default 7. */
  bootByte?: number
  /** Limits as HELLO tells them. */
  valueBytesMax?: number
  frameBytesMax?: number
  /** Default 0: any free one. */
  port?: number
  /** Hears of each connection before anything is read from it. */
  onConnection?: (connection: FakeConnection) => void
  /** Hears of each request that is not answered here already. */
  onRequest?: (request: Request, connection: FakeConnection) => void
}

/** Opcode, request id, operands. */
export type Request = [opcode: number, id: number, ...operands: unknown[]]

const REGION = 'fake-region'
/** Request id of the client's own HELLO and PING. */
export const LINK_ID = 0xffff_ffff

export class FakeServer {
  readonly connections: FakeConnection[] = []
  readonly #net: Server
  readonly #manners: FakeManners
  #changed: () => void = () => {}

  constructor(net: Server, manners: FakeManners) {
    this.#net = net
    this.#manners = manners
    net.on('connection', (socket) => {
      const connection = new FakeConnection(socket, this.#manners)
      this.connections.push(connection)
      manners.onConnection?.(connection)
      this.#changed()
    })
  }

  /** host:port */
  get address(): string {
    const bound = this.#net.address()
    if (typeof bound !== 'object' || bound === null) throw new Error('the server does not listen')
    return `127.0.0.1:${bound.port}`
  }

  get port(): number {
    return Number(this.address.split(':')[1])
  }

  /** The n-th connection ever, from 0 on: there, or as soon as it is. */
  async connection(index: number): Promise<FakeConnection> {
    for (;;) {
      const found = this.connections[index]
      if (found !== undefined) return found
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  /** Stops listening and cuts all connections. */
  async stop(): Promise<void> {
    if (!this.#net.listening) return
    const closed = once(this.#net, 'close')
    this.#net.close()
    for (const { socket } of this.connections) socket.destroy()
    await closed
  }
}

/** Listens on loopback until the test ends. */
export async function startFakeServer(manners: FakeManners = {}): Promise<FakeServer> {
  const net = createServer({ noDelay: true })
  const server = new FakeServer(net, manners)
  net.listen(manners.port ?? 0, '127.0.0.1')
  await once(net, 'listening')
  onTestFinished(() => server.stop())
  return server
}

/** A port that nobody listens on: one that was free just now. */
export async function unusedPort(): Promise<number> {
  const server = await startFakeServer()
  const { port } = server
  await server.stop()
  return port
}

export class FakeConnection {
  readonly socket: Socket
  /** All requests so far but HELLO and PING. */
  readonly requests: Request[] = []
  /** Heartbeats so far. */
  pings = 0
  receivedBytes = 0
  readonly closed: Promise<void>
  readonly #manners: FakeManners
  #taken = 0
  #rest = Buffer.alloc(0)
  #changed: () => void = () => {}

  constructor(socket: Socket, manners: FakeManners) {
    this.socket = socket
    this.#manners = manners
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#changed()
        resolve()
      })
    })
    socket.on('error', () => {})
    socket.on('data', (chunk) => this.#onChunk(chunk))
  }

  /** The next request that no test has taken yet. */
  async request(): Promise<Request> {
    for (;;) {
      const request = this.requests[this.#taken]
      if (request !== undefined) {
        this.#taken++
        return request
      }
      if (this.socket.destroyed) throw new Error('the client closed the connection')
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  /** Sends frames of these elements, each in its own. */
  send(...messages: readonly (readonly unknown[])[]): void {
    this.raw(Buffer.concat(messages.map((elements) => frame(...elements))))
  }

  raw(bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes)
  }

  /** What HELLO is answered with. */
  greet(id: number = LINK_ID): void {
    const valueBytesMax = this.#manners.valueBytesMax ?? 1024 * 1024
    const frameBytesMax = this.#manners.frameBytesMax ?? valueBytesMax + 64 * 1024
    const limits = [valueBytesMax, frameBytesMax]
    const { capabilities = 0, bootByte = 7 } = this.#manners
    this.send([
      Status.Ok,
      id,
      1,
      capabilities,
      '0.0.0',
      'fake',
      Buffer.alloc(8, bootByte),
      REGION,
      'default',
      ...limits,
    ])
  }

  #onChunk(chunk: Buffer): void {
    this.receivedBytes += chunk.length
    this.#rest = Buffer.concat([this.#rest, chunk])
    for (;;) {
      if (this.#rest.length < 4) return
      const end = 4 + this.#rest.readUInt32BE()
      if (this.#rest.length < end) return
      const payload = this.#rest.subarray(4, end)
      this.#rest = this.#rest.subarray(end)
      this.#onRequest(asRequest(decoded(payload)))
    }
  }

  #onRequest(request: Request): void {
    const [opcode, id] = request
    if (opcode === Opcode.Hello) {
      if (this.#manners.greets !== false) this.greet(id)
      return
    }
    if (opcode === Opcode.Ping && id === LINK_ID) {
      this.pings++
      if (this.#manners.answersPings !== false) this.send([Status.Ok, id])
      return
    }
    this.requests.push(request)
    this.#manners.onRequest?.(request, this)
    this.#changed()
  }
}

function asRequest(elements: unknown[]): Request {
  const [opcode, id, ...operands] = elements
  if (typeof opcode !== 'number' || typeof id !== 'number') throw new Error('not a request')
  return [opcode, id, ...operands]
}

/** Version bytes, different for each number. */
export function versionNumber(number: number): Buffer {
  const version = Buffer.alloc(16)
  version.writeUInt32BE(number, 4)
  return version
}

/** Answers as a friendly server with an empty cache would: every GET misses, every SET is stored. */
export function answerAll(request: Request, connection: FakeConnection): void {
  const [opcode, id] = request
  switch (opcode) {
    case Opcode.Get:
    case Opcode.Delete:
    case Opcode.Inspect:
    case Opcode.Touch:
      connection.send([Status.Miss, id])
      break
    case Opcode.Set:
      connection.send([Status.Ok, id, versionNumber(id), 0])
      break
    default:
      connection.send([Status.Ok, id])
  }
}

/** Keeps this process from doing anything else. */
export function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
