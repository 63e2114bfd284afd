// A TCP or TLS socket as a transport. The one place that reads and writes sockets.
//
// Node reads into a buffer of its own for every chunk, unless it is given one with `onread`. It can be given one for a
// socket that dials, not for one that a server accepts. So an accepted socket is given one where Node itself would have
// put it (docs/adr/0005); where that cannot be, and with TLS, chunks come as 'data'.
//
// Knows no certificates and does not load node:tls: that is for tls-dial.ts and the server.

import { connect, Socket, type TcpSocketConnectOpts } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ReadBuffer } from './read-buffer.ts'
import { explainedTls } from './tls-errors.ts'
import type { Transport, TransportEvents } from './transport.ts'

declare module 'net' {
  /** What a socket reads and writes through; closed with it. */
  interface SocketHandle {
    useUserBuffer?(buffer: Uint8Array): void
    /** The number of the descriptor; left out, or below 0, where the system has none. */
    readonly fd?: number
  }
  interface Socket {
    _handle: SocketHandle | null | undefined
  }
  interface SocketConstructorOpts {
    onread?: OnReadOpts
  }
}

/** How long a connection that we ended may take to be closed by the other side, once all was sent, in ms. */
const LINGER_MS = 1000
/** How long the other side may take nothing of what is still unsent then, in ms. */
const END_IDLE_MS = 10_000
/** What a TLS socket is given at a time, in bytes: it encrypts that at once, into memory that nobody counts. */
const TLS_PIECE_BYTES = 256 * 1024
/** What a TLS socket is given in one turn of the event loop counts as unsent from here on, in bytes. */
const TURN_BYTES_MAX = 64 * 1024

export class SocketTransport implements Transport {
  readonly remote: string
  protected readonly socket: Socket
  readonly #reading: Reading | undefined

  /** Takes the socket over: connected, nobody else reads or writes it. `reading`: where its chunks come, if not as 'data'. */
  constructor(socket: Socket, reading?: Reading) {
    this.socket = socket
    this.#reading = reading
    this.remote = remoteOf(socket)
    socket.setNoDelay(true)
  }

  get unsentBytes(): number {
    return this.socket.writableLength
  }

  open(events: TransportEvents): void {
    let error: Error | undefined
    if (this.#reading === undefined) this.socket.on('data', events.onChunk)
    else this.#reading.onChunk = events.onChunk
    this.socket.on('drain', events.onDrain)
    this.socket.on('error', (reason) => {
      error = reason
    })
    this.socket.on('close', () => events.onClose(error))
  }

  write(bytes: Uint8Array, onReleased?: () => void): boolean {
    const { socket } = this
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
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  end(): void {
    const { socket } = this
    if (socket.destroyed) return
    socket.setTimeout(END_IDLE_MS, () => this.destroy())
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
    if (this.socket.writableLength > 0 && error === undefined) this.reset()
    else this.socket.destroy(error)
  }

  /** What was not sent is lost; so is what the kernel has: else it keeps megabytes, for minutes, for who does not read. */
  protected reset(): void {
    this.socket.resetAndDestroy()
  }
}

/**
 * Address and port of the other end. A socket that listens on all addresses has those of IPv4 as `::ffff:` and the
 * address; here they are as everybody else writes them, and as certificates name them.
 */
export function remoteOf({
  remoteAddress,
  remotePort,
}: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  const address = remoteAddress?.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '')
  return `${address ?? '?'}:${remotePort ?? '?'}`
}

/** Bytes that wait until a TLS socket has sent what it was given before. */
interface Piece {
  bytes: Uint8Array
  onReleased: (() => void) | undefined
}

/**
 * The same over TLS. Node reports a write to such a socket as done one turn of the event loop later, even if the kernel
 * took all of it; so what was written in this turn does not count as unsent yet, up to a bound. And all that waits for
 * such a socket it would encrypt at once: so it waits here.
 */
export class TlsTransport extends SocketTransport {
  #turn = 0
  #turnBytes = 0
  /** Somebody may have seen that bytes are unsent, and wait for the drain. */
  #isAwaited = false
  #onDrain = () => {}
  readonly #queue: Piece[] = []
  #queuedBytes = 0
  /** To be ended when all is written. */
  #isEnding = false

  /** For what the certificate of the other end says; nobody else reads or writes it. */
  readonly tlsSocket: TLSSocket

  constructor(socket: TLSSocket, reading?: Reading) {
    super(socket, reading)
    this.tlsSocket = socket
  }

  override get unsentBytes(): number {
    const freshBytes = this.#turn === turn ? Math.min(this.#turnBytes, TURN_BYTES_MAX) : 0
    return Math.max(0, this.socket.writableLength + this.#queuedBytes - freshBytes)
  }

  override open(events: TransportEvents): void {
    this.#onDrain = events.onDrain
    super.open({
      onChunk: events.onChunk,
      onDrain: () => {},
      onClose: (error) => {
        for (const { onReleased } of this.#queue.splice(0)) onReleased?.()
        this.#queuedBytes = 0
        events.onClose(error && explainedTls(error))
      },
    })
  }

  /** Takes a copy of what is short: when a socket with TLS is done with the bytes it tells a turn late as well. */
  override write(bytes: Uint8Array, onReleased?: () => void): boolean {
    endTurn()
    if (this.#turn !== turn) this.#turnBytes = 0
    this.#turn = turn
    this.#turnBytes += bytes.length
    const isCopied = bytes.length <= TURN_BYTES_MAX
    this.#enqueue(isCopied ? Buffer.from(bytes) : bytes, isCopied ? undefined : onReleased)
    this.#feed()
    if (this.unsentBytes > 0) this.#isAwaited = true
    return isCopied
  }

  override end(): void {
    this.#isEnding = true
    if (this.#queue.length > 0) this.socket.setTimeout(END_IDLE_MS, () => this.destroy())
    else super.end()
  }

  /** Node cannot reset such a connection. */
  protected override reset(): void {
    this.socket.destroy()
  }

  #enqueue(bytes: Uint8Array, onReleased: (() => void) | undefined): void {
    this.#queuedBytes += bytes.length
    for (let at = 0; at < bytes.length; at += TLS_PIECE_BYTES) {
      const isLast = at + TLS_PIECE_BYTES >= bytes.length
      const piece = bytes.subarray(at, at + TLS_PIECE_BYTES)
      this.#queue.push({ bytes: piece, onReleased: isLast ? onReleased : undefined })
    }
  }

  #feed(): void {
    while (this.socket.writableLength < TLS_PIECE_BYTES) {
      const piece = this.#queue.shift()
      if (piece === undefined) return
      this.#queuedBytes -= piece.bytes.length
      this.socket.write(piece.bytes, (error) => {
        piece.onReleased?.()
        if (!error) this.#onWritten()
      })
    }
  }

  /** The socket's own 'drain' comes only after it held more than its mark, which differs from Node to Node. */
  #onWritten(): void {
    this.#feed()
    if (this.#isEnding && this.#queue.length === 0) super.end()
    if (!this.#isAwaited || this.socket.writableLength > 0) return
    this.#isAwaited = false
    this.#onDrain()
  }
}

/** Of the event loop, counted only while somebody writes: all TLS sockets share the one immediate that ends it. */
let turn = 1
let isTurnEnding = false

function endTurn(): void {
  if (isTurnEnding) return
  isTurnEnding = true
  setImmediate(() => {
    turn++
    isTurnEnding = false
  })
}

/** Where the chunks of a socket with `onread` go, once somebody wants them. */
interface Reading {
  onChunk: (chunk: Uint8Array) => void
}

/**
 * A transport of a socket that a server accepted with `pauseOnConnect`; it reads into `buffer`, which it shares with
 * others. It says that it has drained only after it held the server's `highWaterMark`.
 */
export function acceptedTransport(accepted: Socket, buffer: ReadBuffer): SocketTransport {
  const reading = readAccepted(accepted, buffer)
  accepted.resume()
  return new SocketTransport(accepted, reading)
}

/** Has the socket read into `buffer`, as `onread` would have; undefined where that cannot be. */
function readAccepted(accepted: Socket, buffer: ReadBuffer): Reading | undefined {
  const handle = accepted._handle
  onreadPlaces ??= findOnreadPlaces()
  const [bufferPlace, callbackPlace] = onreadPlaces
  if (typeof handle?.useUserBuffer !== 'function' || !bufferPlace || !callbackPlace) return undefined
  const { reading, onread } = readInto(buffer)
  Object.assign(accepted, { [bufferPlace]: onread.buffer, [callbackPlace]: onread.callback })
  handle.useUserBuffer(onread.buffer)
  return reading
}

/** Where every socket keeps buffer and callback of `onread`; undefined where this Node keeps them elsewhere. */
let onreadPlaces: readonly (symbol | undefined)[] | undefined

function findOnreadPlaces(): readonly (symbol | undefined)[] {
  const onread = { buffer: Buffer.alloc(1), callback: () => true }
  const socket = new Socket({ onread })
  const places = new Map(Object.getOwnPropertySymbols(socket).map((key) => [Reflect.get(socket, key), key]))
  return [places.get(onread.buffer), places.get(onread.callback)]
}

/** Exactly one of these is called, once, unless the dial is given up before. */
export interface DialEvents {
  onTransport(transport: SocketTransport): void
  onFailure(error: Error): void
}

/** Connects as `net.connect` does, to read into `buffer`. Returns how to give up. */
export function dialSocket(
  options: TcpSocketConnectOpts,
  buffer: ReadBuffer,
  events: DialEvents,
): () => void {
  const { reading, onread } = readInto(buffer)
  const socket = connect({ ...options, onread })
  return awaitConnection(socket, 'connect', () => new SocketTransport(socket, reading), events)
}

/** For whoever connects a socket: where it is to read to. */
export function readInto(buffer: ReadBuffer) {
  const reading: Reading = { onChunk: () => {} }
  const onread = {
    buffer: buffer.bytes,
    callback(length: number) {
      reading.onChunk(buffer.head(length))
      return true
    },
  }
  return { reading, onread }
}

/** Waits for a socket that connects, until `ready` is emitted or it fails. Returns how to give up. */
export function awaitConnection(
  socket: Socket,
  ready: 'connect' | 'secureConnect',
  transport: () => SocketTransport,
  events: DialEvents,
): () => void {
  const stopListening = () => {
    socket.off(ready, onReady)
    socket.off('error', onError)
  }
  const giveUp = () => {
    stopListening()
    // A socket that is destroyed while it connects may still report an error.
    socket.on('error', () => {})
    socket.destroy()
  }
  const onReady = () => {
    stopListening()
    events.onTransport(transport())
  }
  const onError = (error: Error) => {
    giveUp()
    events.onFailure(error)
  }
  socket.once(ready, onReady)
  socket.once('error', onError)
  return giveUp
}
