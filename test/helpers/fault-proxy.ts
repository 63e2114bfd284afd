// A TCP proxy that a test puts between two servers, in user space and without privileges: it delays, slows down, stalls,
// swallows and cuts what passes, each direction by itself, and can be told otherwise at any time.
//
//   dialer ──up──> proxy ──up──> target            dialer <──down── proxy <──down── target
//
// Bytes are never reordered and never lost singly. A connection of which anything was swallowed stays silent for good:
// its ends would not understand each other any more.

import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { FrameReader } from '../../protocol/frame.ts'
import { framed } from './frames.ts'

/** What one direction does with bytes. Times in ms, applied to what arrives from now on. */
export interface Lane {
  delayMs: number
  /** Added to the delay, between nothing and this much. */
  jitterMs: number
  bytesPerSecond: number
  /** stalls: nothing moves and the sender feels it; swallows: bytes, and the end of the connection, vanish. */
  state: 'flows' | 'stalls' | 'swallows'
}

const CLEAR: Lane = { delayMs: 0, jitterMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY, state: 'flows' }
/** What a direction of a connection holds before its sender has to wait: as much as a router would. */
const HELD_BYTES_MAX = 256 * 1024
/** A slow direction sends in pieces, as packets would come. */
const PIECE_BYTES = 4096
const FRAME_BYTES_MAX = 16 * 1024 * 1024

export class FaultProxy {
  readonly port: number
  readonly up: Lane = { ...CLEAR }
  readonly down: Lane = { ...CLEAR }
  /** What becomes of connections that are opened from now on: accepted and forwarded, reset, or accepted and ignored. */
  admits: 'all' | 'none' | 'in silence' = 'all'
  /** What becomes of each frame's payload, both ways, on connections that are opened from now on; undefined: nothing. */
  rewrite: ((payload: Buffer) => Uint8Array | undefined) | undefined
  /** Connections that were forwarded so far, and the bytes that arrived from both ends. */
  forwarded = 0
  refused = 0
  passedBytes = 0
  readonly #target: { host: string; port: number }
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #pipes = new Set<Pipe>()

  /** Listens on `port` of loopback. */
  static async start(port: number, targetPort: number): Promise<FaultProxy> {
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const bound = typeof address === 'object' && address !== null ? address.port : port
    return new FaultProxy(server, bound, targetPort)
  }

  private constructor(server: Server, port: number, targetPort: number) {
    this.#server = server
    this.port = port
    this.#target = { host: '127.0.0.1', port: targetPort }
    server.on('connection', (dialer) => this.#forward(dialer))
  }

  /** Connections that are open at the dialer's side. */
  get open(): number {
    return this.#pipes.size / 2
  }

  change(way: 'up' | 'down' | 'both', lane: Partial<Lane>): void {
    if (way !== 'down') Object.assign(this.up, lane)
    if (way !== 'up') Object.assign(this.down, lane)
    for (const pipe of this.#pipes) pipe.pump()
  }

  /** Resets what is open and lets nobody in. */
  cut(): void {
    this.admits = 'none'
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** Both directions vanish, nothing is closed, and whoever dials is accepted and hears nothing. */
  blackhole(): void {
    this.admits = 'in silence'
    this.change('both', { state: 'swallows' })
  }

  /** As new. What was swallowed does not come back. */
  heal(): void {
    this.admits = 'all'
    this.change('both', CLEAR)
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    for (const pipe of this.#pipes) pipe.stop()
  }

  #forward(dialer: Socket): void {
    this.#keep(dialer)
    if (this.admits === 'none') {
      this.refused++
      dialer.resetAndDestroy()
      return
    }
    if (this.admits === 'in silence') {
      dialer.resume()
      return
    }
    this.forwarded++
    const target = connect({ ...this.#target, allowHalfOpen: true, noDelay: true })
    this.#keep(target)
    const count = (bytes: number) => {
      this.passedBytes += bytes
    }
    const pipes = [
      new Pipe(dialer, target, this.up, count, this.rewrite),
      new Pipe(target, dialer, this.down, count, this.rewrite),
    ] as const
    for (const pipe of pipes) this.#pipes.add(pipe)
    for (const [socket, other] of [
      [dialer, target],
      [target, dialer],
    ] as const)
      socket.on('close', () => {
        for (const pipe of pipes) this.#pipes.delete(pipe)
        // Where bytes vanish, so does the news that somebody hung up.
        if (
          this.up.state === 'swallows' ||
          this.down.state === 'swallows' ||
          pipes.some((pipe) => pipe.isLossy)
        )
          return
        for (const pipe of pipes) pipe.stop()
        other.destroy()
      })
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
  }
}

/** One direction of one connection: what has arrived and is not due yet. */
class Pipe {
  /** Something was swallowed: nothing passes any more. */
  isLossy = false
  readonly #from: Socket
  readonly #to: Socket
  readonly #lane: Lane
  readonly #queue: { bytes: Buffer; dueMs: number }[] = []
  #heldBytes = 0
  #dueMs = 0
  #freeAtMs = 0
  #isEnded = false
  #isBlocked = false
  #timer: NodeJS.Timeout | undefined

  constructor(
    from: Socket,
    to: Socket,
    lane: Lane,
    onBytes: (bytes: number) => void,
    rewrite: FaultProxy['rewrite'],
  ) {
    this.#from = from
    this.#to = to
    this.#lane = lane
    const frames = new FrameReader(FRAME_BYTES_MAX, (bytes, at, end) => {
      const payload = Buffer.from(bytes.subarray(at, end))
      const rewritten = rewrite?.(payload)
      if (rewritten !== undefined) this.#push(framed(rewritten))
      return true
    })
    from.on('data', (chunk: Buffer) => {
      onBytes(chunk.length)
      if (rewrite === undefined) this.#push(chunk)
      else frames.push(chunk)
    })
    from.on('end', () => {
      this.#isEnded = true
      this.pump()
    })
    to.on('drain', () => {
      this.#isBlocked = false
      this.pump()
    })
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#queue.length = 0
  }

  #push(chunk: Buffer): void {
    const { delayMs, jitterMs, bytesPerSecond } = this.#lane
    const nowMs = performance.now()
    const pieceBytes = Number.isFinite(bytesPerSecond) ? PIECE_BYTES : chunk.length
    for (let at = 0; at < chunk.length; at += pieceBytes) {
      const bytes = chunk.subarray(at, at + pieceBytes)
      this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + (bytes.length / bytesPerSecond) * 1000
      this.#dueMs = Math.max(this.#dueMs, this.#freeAtMs + delayMs + Math.random() * jitterMs)
      this.#queue.push({ bytes, dueMs: this.#dueMs })
    }
    this.#heldBytes += chunk.length
    this.pump()
  }

  /** Sends what is due. */
  pump(): void {
    clearTimeout(this.#timer)
    if (this.#lane.state === 'swallows' && (this.#queue.length > 0 || this.#isEnded)) this.isLossy = true
    if (this.isLossy) {
      this.#queue.length = 0
      this.#heldBytes = 0
      this.#from.resume()
      return
    }
    const nowMs = performance.now()
    while (this.#lane.state === 'flows' && !this.#isBlocked) {
      const [next] = this.#queue
      if (next === undefined) break
      if (next.dueMs > nowMs) {
        this.#timer = setTimeout(() => this.pump(), next.dueMs - nowMs)
        break
      }
      this.#queue.shift()
      this.#heldBytes -= next.bytes.length
      if (!this.#to.destroyed && !this.#to.write(next.bytes)) this.#isBlocked = true
    }
    if (this.#heldBytes > HELD_BYTES_MAX) this.#from.pause()
    else this.#from.resume()
    if (this.#isEnded && this.#queue.length === 0 && this.#lane.state === 'flows') this.#to.end()
  }
}
