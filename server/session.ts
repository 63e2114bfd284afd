// One accepted connection: chunk -> frames -> handler -> replies.
//
// Between a transport and the handlers. It knows opcodes only as numbers and values not at all. It stops dispatching
// when the other end does not read (at the output mark) and goes on when that has drained; it closes after an error
// that leaves no way back, having said why. Everything synchronous; timers belong to the server, which calls `check`.
//
//   open ──(error, QUIT)──────────────────────> ending ──> closed
//     ├──(QUIT, replies are held back)──> leaving ──^         ^
//     └──(transport closed, destroy)──────────────────────────┘

import { errorFacts, ProtocolError } from '../protocol/errors.ts'
import { FrameReader } from '../protocol/frame.ts'
import { FRAME_HEADER_BYTES, FRAME_OVERHEAD_BYTES_MAX, PUSH_REQUEST_ID } from '../protocol/limits.ts'
import { FIRST_PEER_OPCODE, Opcode, PeerOpcode, Status } from '../protocol/messages.ts'
import type { ReadBuffer } from '../protocol/read-buffer.ts'
import { Reader } from '../protocol/reader.ts'
import type { Transport, TransportEvents } from '../protocol/transport.ts'
import type { Handler, Requester } from './handler.ts'
import type { Keyspace } from './keyspace.ts'
import type { ResolvedServerOptions } from './options.ts'
import { OUTPUT_BUFFER_BYTES, type Output } from './output.ts'
import { PEER_FRAME_BYTES_MAX } from './peer-connection.ts'
import type { Counters } from './statistics.ts'

/** What all sessions of a server share. */
export interface SessionHost {
  readonly options: ResolvedServerOptions
  readonly handlers: readonly (Handler | undefined)[]
  readonly keyspace: Keyspace
  readonly output: Output
  /** Where sockets read to, and chunks are worked on: one place whose word view need not be made for each of them. */
  readonly input: ReadBuffer
  readonly counters: Counters
  /** Bytes of partial frames and held chunks, and of unsent replies, over all sessions. */
  readonly held: { partialBytes: number; unsentBytes: number }
  now(): number
  /** A connection said what servers say first. Whoever is returned gets all its frames; undefined: not here. */
  onPeer(session: Session, bytes: Uint8Array, at: number, end: number): PeerEnd | undefined
  /** A chunk is done: something may have been written. */
  onChunkEnd(): void
  onClosed(session: Session, why: string): void
}

/** What a connection becomes once it turned out to come from another server. */
export interface PeerEnd {
  readonly isClosed: boolean
  /** Bytes have come, of a whole frame or not. */
  heard(): void
  /** One frame's payload, lent until it returns. */
  take(bytes: Uint8Array, at: number, end: number): void
  closed(why: string): void
}

const PEER_OPCODES: ReadonlySet<number> = new Set(Object.values(PeerOpcode))
/** For whoever speaks text to the binary port. */
const TEXT_REFUSAL = Buffer.from('binary protocol; use cache-shell, or --http-port\r\n')
/** How a line of text begins, and no frame within the limits. */
const TEXT = /^[\r\n\x20-\x7e]{4}/
/** How a TLS handshake begins: nothing we could say would be understood. */
const TLS_HANDSHAKE = '\x16\x03'

export class Session implements TransportEvents, Requester {
  clientName = ''
  readonly transport: Transport
  readonly #host: SessionHost
  readonly #frames: FrameReader
  readonly #reader = new Reader()
  #state: 'open' | 'leaving' | 'ending' | 'closed' = 'open'
  /** Set while something is wrong with it; reported when it closes. */
  #why = 'closed by the client'
  #frameSeen = false
  /** The first bytes of a connection before its first frame: they tell who is there. */
  #firstBytes = ''
  #paused = false
  #helloSeen = false
  #deferred = 0
  /** Set when the other end is a server: its frames are not requests. */
  #peer: PeerEnd | undefined
  #partialBytes = 0
  #unsentBytes = 0
  /** Since when the present partial frame, or the present unsent replies, have made no progress. */
  #midFrameSinceMs = 0
  #stalledSinceMs: number
  /** Reply bytes handed to the transport, and how many of them the other end had taken at the last check. */
  #handedBytes = 0
  #takenBytes = 0
  lastChunkMs: number

  constructor(transport: Transport, host: SessionHost) {
    this.transport = transport
    this.#host = host
    this.lastChunkMs = host.now()
    this.#stalledSinceMs = this.lastChunkMs
    this.#frames = new FrameReader(host.options.maxValueBytes + FRAME_OVERHEAD_BYTES_MAX, this.#onFrame)
    transport.open({
      onChunk: (chunk) => this.onChunk(chunk),
      onDrain: () => this.onDrain(),
      onClose: (error) => this.onClose(error),
    })
  }

  onChunk(chunk: Uint8Array): void {
    this.#host.counters.receivedBytes += chunk.length
    this.#peer?.heard()
    if (this.#state === 'open') this.#dispatch(chunk)
  }

  /** Replies that had to wait are sent: goes on with the requests that had to wait. */
  onDrain(): void {
    if (this.#state === 'open') this.#dispatch(undefined)
  }

  onClose(error: Error | undefined): void {
    if (this.#state === 'closed') return
    if (error !== undefined) this.#why = error.message
    this.#state = 'closed'
    this.#peer?.closed(this.#why)
    this.#release()
    this.#host.onClosed(this, this.#why)
  }

  get isPeer(): boolean {
    return this.#peer !== undefined
  }

  /** Requests whose replies are held back. */
  get isAwaited(): boolean {
    return this.#deferred > 0
  }

  defer(): void {
    this.#deferred++
  }

  answer(frame: Uint8Array): void {
    this.#deferred--
    if (this.#state !== 'open' && this.#state !== 'leaving') return
    this.transport.write(Buffer.from(frame))
    this.#handedBytes += frame.length
    if (this.#state === 'leaving' && this.#deferred === 0) this.end(this.#why)
    else this.#account()
  }

  quit(): void {
    this.#why = 'quit'
    this.#state = this.#deferred > 0 ? 'leaving' : 'ending'
  }

  /** Tells a client that said HELLO that this server goes away. */
  announceDrain(): void {
    if (this.#state !== 'open' || !this.#helloSeen) return
    const { output } = this.#host
    output.lend(this.transport)
    writeError(output, PUSH_REQUEST_ID, Status.ShuttingDown, 'the server is shutting down')
    output.flush()
  }

  /** Sends what is unsent, then closes. */
  end(why: string): void {
    if (this.#state !== 'open' && this.#state !== 'leaving') return
    this.#why = why
    this.#state = 'ending'
    this.transport.end()
  }

  destroy(why: string): void {
    if (this.#state === 'closed') return
    this.#why = why
    this.#state = 'ending'
    // At once, before the transport has closed: else the next connection pays for what this one held.
    this.#release()
    this.transport.destroy()
  }

  /** Closes the connection if it has been in the middle of a frame, or not reading, for too long. */
  check(nowMs: number): void {
    const { options, counters } = this.#host
    if (this.#unsentBytes > 0) this.#account()
    // What waits for a slow server may grow for long: its window bounds it, and its silence ends it.
    const unsentBytes = this.#peer === undefined ? this.transport.unsentBytes : 0
    const takenBytes = this.#handedBytes - unsentBytes
    if (unsentBytes === 0 || takenBytes > this.#takenBytes) this.#stalledSinceMs = nowMs
    this.#takenBytes = takenBytes
    if (unsentBytes > 0 && nowMs - this.#stalledSinceMs > options.outputStallMs) {
      counters.closedSlow++
      this.destroy(`${unsentBytes} unsent bytes made no progress for ${options.outputStallMs} ms`)
    } else if (this.#frames.isMidFrame && nowMs - this.#midFrameSinceMs > options.frameTimeoutMs) {
      counters.closedSlow++
      this.destroy(`a frame was not complete within ${options.frameTimeoutMs} ms`)
    }
  }

  #dispatch(chunk: Uint8Array | undefined): void {
    const host = this.#host
    const nowMs = host.now()
    host.keyspace.nowMs = nowMs
    this.lastChunkMs = nowMs
    if (!this.#frames.isMidFrame) this.#midFrameSinceMs = nowMs
    const sentBefore = host.output.sentBytes
    if (!this.#frameSeen && chunk !== undefined && this.#firstBytes.length < FRAME_HEADER_BYTES)
      this.#firstBytes += Buffer.from(chunk.subarray(0, FRAME_HEADER_BYTES)).toString('latin1')
    host.output.lend(this.transport)
    try {
      if (chunk === undefined) this.#frames.resume()
      else if (chunk.length > host.input.bytes.length) this.#frames.push(chunk)
      else {
        if (chunk.buffer !== host.input.bytes.buffer) host.input.bytes.set(chunk)
        if (this.#frames.isMidFrame) host.keyspace.lookahead.forget()
        else host.keyspace.lookahead.look(host.input.bytes, host.input.view, chunk.length)
        this.#frames.push(host.input.bytes, chunk.length, host.input.view)
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#refuse(error)
    }
    host.output.flush()
    this.#handedBytes += host.output.sentBytes - sentBefore
    if (this.#state === 'ending') this.transport.end()
    // Two servers that both waited for the other to read would wait for ever.
    else if (this.#peer === undefined) this.#pauseOrResume()
    host.onChunkEnd()
    if (
      host.output.unsentBytes > 0 ||
      this.#unsentBytes > 0 ||
      this.#frames.isMidFrame ||
      this.#partialBytes > 0
    )
      this.#account()
  }

  readonly #onFrame = (bytes: Uint8Array, at: number, end: number, view: DataView | undefined): boolean => {
    const { handlers, counters, output, options } = this.#host
    const reader = this.#reader
    this.#frameSeen = true
    // What follows in this chunk begins now: whoever sends without a pause is in the middle of a frame all the time.
    this.#midFrameSinceMs = this.#host.keyspace.nowMs
    const start = output.at
    try {
      if (this.#peer !== undefined) {
        this.#peer.take(bytes, at, end)
        return !this.#peer.isClosed
      }
      reader.open(bytes, at, end, view)
      if (reader.head >= FIRST_PEER_OPCODE && reader.id === PUSH_REQUEST_ID)
        return this.#onPeer(bytes, at, end)
      const handler = handlers[reader.head]
      if (handler === undefined)
        throw new ProtocolError(Status.UnknownOpcode, `there is no opcode ${reader.head}`)
      if (reader.id === PUSH_REQUEST_ID)
        throw new ProtocolError(Status.Malformed, `request id ${PUSH_REQUEST_ID} is the server's`)
      counters.requests[reader.head] = (counters.requests[reader.head] as number) + 1
      if (reader.head === Opcode.Hello) this.#helloSeen = true
      handler(reader, output, this)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      // Handlers throw before they write; a reply that was begun all the same would be half a frame.
      if (output.at > start) output.at = start
      // Nobody can know which request an answer to id 0 is about.
      const isNobodys = reader.id === PUSH_REQUEST_ID
      const status = isNobodys && error.status !== Status.Forbidden ? Status.Malformed : error.status
      writeError(output, reader.id, status, error.message)
      if (isNobodys || errorFacts(status).closes) {
        this.#why = error.message
        this.#state = 'ending'
      }
    }
    return this.#state === 'open' && output.unsentBytes < options.outputBytesMax
  }

  /** What a server says, and never a client. */
  #onPeer(bytes: Uint8Array, at: number, end: number): boolean {
    const { onPeer, counters } = this.#host
    if (this.#reader.head === PeerOpcode.Hello && !this.#helloSeen) this.#peer = onPeer(this, bytes, at, end)
    if (this.#peer !== undefined) {
      this.#frames.frameBytesMax = PEER_FRAME_BYTES_MAX
      return !this.#peer.isClosed
    }
    counters.peerMessagesRefused++
    throw new ProtocolError(
      PEER_OPCODES.has(this.#reader.head) ? Status.Forbidden : Status.UnknownOpcode,
      `message ${this.#reader.head} is for servers: a client may not send it`,
    )
  }

  /** A frame that cannot be: says so, in the language of whoever is there, and closes. */
  #refuse(error: ProtocolError): void {
    this.#why = error.message
    this.#state = 'ending'
    if (!this.#frameSeen && TEXT.test(this.#firstBytes)) this.transport.write(TEXT_REFUSAL)
    else if (this.#frameSeen || !this.#firstBytes.startsWith(TLS_HANDSHAKE))
      writeError(this.#host.output, 0, error.status, error.message)
  }

  /** Reads on only while the other end reads too. */
  #pauseOrResume(): void {
    const saturated = this.#host.output.unsentBytes >= this.#host.options.outputBytesMax
    if (saturated === this.#paused) return
    this.#paused = saturated
    if (saturated) this.transport.pause()
    else this.transport.resume()
  }

  #release(): void {
    this.#host.held.partialBytes -= this.#partialBytes
    this.#host.held.unsentBytes -= this.#unsentBytes
    this.#partialBytes = 0
    this.#unsentBytes = 0
  }

  /** Keeps the server-wide sums of what is held for this connection, and closes it where they are exceeded. */
  #account(): void {
    const { held, options, counters } = this.#host
    const partialBytes = this.#frames.bufferedBytes
    // Nor is it a reply: clients must not be cut because servers are slow.
    const unsent = this.#peer === undefined ? this.transport.unsentBytes : 0
    // A socket that does not take all keeps the whole buffer it was given.
    const unsentBytes = unsent === 0 ? 0 : Math.max(unsent, OUTPUT_BUFFER_BYTES)
    const partialGrew = partialBytes > this.#partialBytes
    const unsentGrew = unsentBytes > this.#unsentBytes
    held.partialBytes += partialBytes - this.#partialBytes
    held.unsentBytes += unsentBytes - this.#unsentBytes
    this.#partialBytes = partialBytes
    this.#unsentBytes = unsentBytes
    if (partialGrew && held.partialBytes > options.partialBytesMax) {
      counters.closedSlow++
      this.destroy(`incomplete frames of all connections exceed ${options.partialBytesMax} bytes`)
    } else if (unsentGrew && held.unsentBytes > options.unsentBytesMax) {
      counters.closedSlow++
      this.destroy(`unsent replies of all connections exceed ${options.unsentBytesMax} bytes`)
    }
  }
}

function writeError(output: Output, id: number, status: Status, message: string): void {
  output.room(64 + message.length * 3)
  const start = output.beginFrame(3)
  output.int(status)
  output.int(id)
  output.string(message)
  output.endFrame(start)
}
