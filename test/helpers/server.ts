// A server of a test's own, and raw connections to it: over TCP, or over the in-memory transport. Connections know
// bytes and frames, no commands. Everything is cut when the test ends.

import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { onTestFinished } from 'vitest'
import { SocketTransport } from '../../protocol/socket-transport.ts'
import { memoryTransports, type Transport } from '../../protocol/transport.ts'
import type { ServerOptions, StoreKind } from '../../server/options.ts'
import { OrmucoCacheServer } from '../../server/server.ts'
import { decoded, frame } from './frames.ts'

export const STORES = ['arena', 'heap'] as const satisfies readonly StoreKind[]
export const WIRES = ['tcp', 'memory'] as const
export type Wire = (typeof WIRES)[number]
/** Every store over every transport, for `describe.each`. */
export const SURROUNDINGS = STORES.flatMap((store) => WIRES.map((wire) => ({ store, wire })))

/** A server on a free port of loopback. */
export async function startServer(options: ServerOptions = {}): Promise<OrmucoCacheServer> {
  const server = new OrmucoCacheServer({ port: 0, nodeId: 'cache-1', ...options })
  onTestFinished(() => server.destroy())
  await server.start()
  return server
}

/** A raw connection to a server. */
export async function connect(server: OrmucoCacheServer, wire: Wire = 'tcp'): Promise<Connection> {
  if (wire === 'memory') {
    const [ours, theirs] = memoryTransports()
    const connection = new Connection(ours)
    server.serve(theirs)
    return connection
  }
  const { host, port } = server.address ?? { host: '', port: 0 }
  const socket = connectSocket({ host, port, allowHalfOpen: true })
  await once(socket, 'connect')
  // What the server's end of a connection means to a client that is done with it too.
  socket.on('end', () => socket.end())
  return new Connection(new SocketTransport(socket), () => socket.end())
}

export class Connection {
  readonly transport: Transport
  /** Resolves with the error, if any, when the connection is over. */
  readonly closed: Promise<Error | undefined>
  /** Ends this side alone; the other may still speak. Only over TCP. */
  readonly endWriting: () => void
  #received: Buffer[] = []
  #receivedBytes = 0
  #isClosed = false
  #onChange: () => void = () => {}

  constructor(transport: Transport, endWriting: () => void = () => transport.end()) {
    this.transport = transport
    this.endWriting = endWriting
    this.closed = new Promise((resolve) => {
      transport.open({
        onChunk: (chunk) => {
          this.#received.push(Buffer.from(chunk))
          this.#receivedBytes += chunk.length
          this.#onChange()
        },
        onDrain: () => {},
        onClose: (error) => {
          this.#isClosed = true
          this.#onChange()
          resolve(error)
        },
      })
    })
    onTestFinished(() => transport.destroy())
  }

  /** Bytes that came and were not read yet. */
  get receivedBytes(): number {
    return this.#receivedBytes
  }

  send(...chunks: readonly Uint8Array[]): void {
    this.transport.write(Buffer.concat(chunks))
  }

  /** The next `bytes` bytes; fails if the connection ends before. */
  async take(bytes: number): Promise<Buffer> {
    while (this.#receivedBytes < bytes) {
      if (this.#isClosed)
        throw new Error(`the connection closed with ${this.#receivedBytes} of ${bytes} bytes`)
      await new Promise<void>((resolve) => {
        this.#onChange = resolve
      })
    }
    const parts: Buffer[] = []
    for (let missing = bytes; missing > 0; ) {
      const chunk = this.#received[0] ?? Buffer.alloc(0)
      const part = chunk.subarray(0, missing)
      parts.push(part)
      missing -= part.length
      if (part.length === chunk.length) this.#received.shift()
      else this.#received[0] = chunk.subarray(part.length)
    }
    this.#receivedBytes -= bytes
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
  }

  /** Everything that comes until the connection closes. */
  async rest(): Promise<Buffer> {
    await this.closed
    return this.take(this.#receivedBytes)
  }

  /** The payload of the next frame. */
  async payload(): Promise<Buffer> {
    const head = await this.take(4)
    return this.take(head.readUInt32BE())
  }

  /** The next frame, as msgpackr reads it. */
  async reply(): Promise<unknown[]> {
    return decoded(await this.payload())
  }

  /** Sends a frame that msgpackr writes; the reply, as msgpackr reads it. */
  ask(...elements: readonly unknown[]): Promise<unknown[]> {
    this.send(frame(...elements))
    return this.reply()
  }
}
