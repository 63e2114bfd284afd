// A TCP (later TLS) socket as a transport. The one place that reads and writes sockets.
//
// Node reads into a buffer of its own for every chunk, unless it is given one with `onread`. It can be given one for a
// socket that dials, and for one made around a handle; not for one that a server accepts. So an accepted socket's
// handle moves to a socket of ours (docs/adr/0005); where that cannot be, chunks come as 'data'.

import { connect, Socket, type TcpSocketConnectOpts } from 'node:net'
import type { ReadBuffer } from './read-buffer.ts'
import type { Transport, TransportEvents } from './transport.ts'

declare module 'net' {
  /** What a socket reads and writes through; closed with it. */
  interface SocketHandle {
    useUserBuffer?(buffer: Uint8Array): void
  }
  interface Socket {
    _handle: SocketHandle | null | undefined
  }
  interface SocketConstructorOpts {
    handle?: SocketHandle
    onread?: OnReadOpts
    writableHighWaterMark?: number
  }
}

/** How long a connection that we ended may take to be closed by the other side, once all was sent, in ms. */
const LINGER_MS = 1000
/** How long the other side may take nothing of what is still unsent then, in ms. */
const END_IDLE_MS = 10_000

export class SocketTransport implements Transport {
  readonly remote: string
  readonly #socket: Socket
  readonly #reading: Reading | undefined

  /** Takes the socket over: connected, nobody else reads or writes it. `reading`: where its chunks come, if not as 'data'. */
  constructor(socket: Socket, reading?: Reading) {
    this.#socket = socket
    this.#reading = reading
    this.remote = `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? '?'}`
    socket.setNoDelay(true)
  }

  get unsentBytes(): number {
    return this.#socket.writableLength
  }

  open(events: TransportEvents): void {
    let error: Error | undefined
    if (this.#reading === undefined) this.#socket.on('data', events.onChunk)
    else this.#reading.onChunk = events.onChunk
    this.#socket.on('drain', events.onDrain)
    this.#socket.on('error', (reason) => {
      error = reason
    })
    this.#socket.on('close', () => events.onClose(error))
  }

  write(bytes: Uint8Array, onReleased?: () => void): boolean {
    const socket = this.#socket
    if (onReleased === undefined) socket.write(bytes)
    else
      socket.write(bytes, () => {
        if (!isTaken) onReleased()
      })
    // Node tries the system call at once: nothing is queued if the kernel took it all.
    const isTaken = socket.writableLength === 0
    return isTaken
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  end(): void {
    const socket = this.#socket
    if (socket.destroyed) return
    socket.setTimeout(END_IDLE_MS, () => socket.destroy())
    socket.end(() => {
      if (socket.destroyed) return
      const timer = setTimeout(() => socket.destroy(), LINGER_MS)
      timer.unref()
      socket.once('close', () => clearTimeout(timer))
    })
    // Closing with unread bytes in the receive buffer would reset the connection, and our last words with it: so
    // whatever still comes is read and ignored for a moment.
    socket.resume()
  }

  destroy(error?: Error): void {
    this.#socket.destroy(error)
  }
}

/** Where the chunks of a socket with `onread` go, once somebody wants them. */
interface Reading {
  onChunk: (chunk: Uint8Array) => void
}

/**
 * A transport of a socket that a server accepted with `pauseOnConnect`; it reads into `buffer`, which it shares with
 * others. `markBytes`: it says that it has drained only after it held so much.
 */
export function acceptedTransport(accepted: Socket, buffer: ReadBuffer, markBytes: number): SocketTransport {
  const handle = accepted._handle
  if (typeof handle?.useUserBuffer !== 'function') {
    accepted.resume()
    return new SocketTransport(accepted)
  }
  const [reading, onread] = readInto(buffer)
  accepted._handle = null
  const socket = new Socket({ handle, onread, writableHighWaterMark: markBytes })
  // The server counts the sockets it accepted.
  socket.once('close', () => accepted.destroy())
  return new SocketTransport(socket, reading)
}

/** Begins to connect, as `net.connect` does, to read into `buffer`. `transport` may be called once it is connected. */
export function dialSocket(
  options: TcpSocketConnectOpts,
  buffer: ReadBuffer,
): { socket: Socket; transport: () => SocketTransport } {
  const [reading, onread] = readInto(buffer)
  const socket = connect({ ...options, onread })
  return { socket, transport: () => new SocketTransport(socket, reading) }
}

function readInto(buffer: ReadBuffer) {
  const reading: Reading = { onChunk: () => {} }
  const onread = {
    buffer: buffer.bytes,
    callback(length: number) {
      reading.onChunk(buffer.head(length))
      return true
    },
  }
  return [reading, onread] as const
}
