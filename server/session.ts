// One accepted connection: chunk -> frames -> handler -> replies.
//
// Between a transport and the handlers. It knows opcodes only as numbers and values not at all. It stops dispatching
// while the other end does not read (at the output mark); it closes after an error that leaves no way back, having said
// why. Everything synchronous; timers belong to the server, which calls `check`. What the other end may is a rank; until
// it has authenticated, where it must, that is less than nothing, and frames, output and time are short.
//
//   open ──(error, QUIT)──────────────────────> ending ──> closed
//     ├──(QUIT, replies are held back)──> leaving ──^         ^
//     └──(transport closed, destroy)──────────────────────────┘

import { errorFacts, ProtocolError } from '../protocol/errors.ts'
import { FrameReader } from '../protocol/frame.ts'
import { FRAME_OVERHEAD_BYTES_MAX, PUSH_REQUEST_ID } from '../protocol/limits.ts'
import { FIRST_PEER_OPCODE, Opcode, PeerOpcode, Status } from '../protocol/messages.ts'
import type { ReadBuffer } from '../protocol/read-buffer.ts'
import { Reader } from '../protocol/reader.ts'
import type { Transport, TransportEvents } from '../protocol/transport.ts'
import type { Access, Challenge, Principal } from './access.ts'
import { forbidden, Rank, REQUIRED_RANKS } from './access.ts'
import { type Arrival, RETRY_CONNECT_MS } from './arrivals.ts'
import { FirstBytes } from './first-bytes.ts'
import type { Handler, Requester } from './handler.ts'
import { type Held, Holdings } from './holdings.ts'
import type { Keyspace } from './keyspace.ts'
import type { ResolvedServerOptions } from './options.ts'
import { OUTPUT_BUFFER_BYTES, type Output } from './output.ts'
import { PEER_FRAME_BYTES_MAX } from './peer-connection.ts'
import { errorBytes, pushOf, writeError } from './replies.ts'
import type { Member } from './roster.ts'
import { Stall } from './stall.ts'
import type { Counters } from './statistics.ts'
import { ERROR_PRICE_BYTES, PRICES, Share, STRANGERS_PRICE_BYTES, type Turns } from './turns.ts'

/** What all sessions of a server share. */
export interface SessionHost {
  readonly options: ResolvedServerOptions
  readonly handlers: readonly (Handler | undefined)[]
  readonly access: Access
  readonly keyspace: Keyspace
  readonly output: Output
  /** Where sockets read to, and chunks are worked on: one place whose word view need not be made for each of them. */
  readonly input: ReadBuffer
  readonly counters: Counters
  /** Bytes of partial frames and held chunks, and of unsent replies, over all sessions. */
  readonly held: Held
  readonly turns: Turns
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

export class Session implements TransportEvents, Requester, Member {
  clientName = ''
  rosterIndex = -1
  challenge: Challenge | undefined
  readonly transport: Transport
  readonly #host: SessionHost
  readonly #frames: FrameReader
  readonly #reader = new Reader()
  readonly #holdings: Holdings
  readonly #share: Share
  readonly #arrival: Arrival
  /** Who is there; undefined until that is known. */
  #principal: Principal | undefined
  /** Of the principal: looked at for each request. */
  #rank: Rank = Rank.Unauthenticated
  /** Something else than to authenticate was asked for before. */
  #askedBefore = false
  #state: 'open' | 'leaving' | 'ending' | 'closed' = 'open'
  /** What is said now is the last. */
  #isLast = false
  /** Set while something is wrong with it; reported when it closes. */
  #why: string | undefined
  #frameSeen = false
  readonly #firstBytes = new FirstBytes()
  #paused = false
  #helloSeen = false
  #deferred = 0
  /** Set when the other end is a server: its frames are not requests. */
  #peer: PeerEnd | undefined
  /** Since when the present partial frame has made no progress. */
  #midFrameSinceMs = 0
  readonly #stall: Stall
  readonly #sinceMs: number
  lastChunkMs: number
  #outputBytesMax: number

  constructor(transport: Transport, host: SessionHost, arrival: Arrival = {}) {
    const { access, options } = host
    this.transport = transport
    this.#host = host
    this.#holdings = new Holdings(host.held, options, () => this.#onOverdrawn())
    this.#share = new Share(host.turns, () => this.onDrain())
    this.#arrival = arrival
    this.#sinceMs = host.now()
    this.lastChunkMs = this.#sinceMs
    this.#stall = new Stall(this.#sinceMs)
    this.#frames = new FrameReader(options.unauthenticatedFrameBytesMax, this.#onFrame)
    this.#outputBytesMax = options.unauthenticatedOutputBytesMax
    const principal = access.arrival(arrival.certificate)
    if (principal !== undefined) this.authenticated(principal)
    transport.open({
      onChunk: (chunk) => this.onChunk(chunk),
      onDrain: () => this.onDrain(),
      onClose: (error) => this.onClose(error),
    })
    if (this.mustAuthenticate && !access.takesProofs)
      this.#dismiss(Status.Unauthenticated, 'the certificate names no role (OU)')
  }

  get mustAuthenticate(): boolean {
    return this.#rank === Rank.Unauthenticated
  }

  authenticated(principal: Principal): void {
    const { options } = this.#host
    this.challenge = undefined
    this.#principal = principal
    this.#rank = principal.rank
    this.#frames.frameBytesMax = options.maxValueBytes + FRAME_OVERHEAD_BYTES_MAX
    this.#outputBytesMax = options.outputBytesMax
    this.#arrival.place?.leave()
  }

  authenticationFailed(why: string): void {
    const { access, counters } = this.#host
    counters.authFailures++
    access.failed(this.transport.remote, this.challenge?.name ?? '', why)
    this.#isLast = true
  }

  /** What was known of users has changed: whoever is gone must go, and a new role counts from the next request. */
  reexamine(): void {
    if (this.#principal === undefined || this.#state === 'closed') return
    const principal = this.#host.access.again(this.#principal)
    if (principal === undefined || (this.isPeer && !principal.isPeer))
      this.#dismiss(Status.Unauthenticated, 'who authenticated this connection was removed, or has new keys')
    else if (principal !== this.#principal) this.authenticated(principal)
  }

  onChunk(chunk: Uint8Array): void {
    this.#host.counters.receivedBytes += chunk.length
    this.#peer?.heard()
    if (this.#state === 'open') this.#dispatch(chunk)
  }

  /** Replies that had to wait are sent, or it is its turn: goes on with the requests that had to wait. */
  onDrain(): void {
    if (this.#state === 'open' && !this.#share.isWaiting) this.#dispatch(undefined)
  }

  onClose(error: Error | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#arrival.place?.leave()
    const unsaid = this.isPeer ? 'the connection was closed' : 'closed by the client'
    const why = error?.message ?? this.#why ?? unsaid
    this.#peer?.closed(why)
    this.#holdings.release()
    this.#host.onClosed(this, why)
  }

  get principal(): Principal | undefined {
    return this.#principal
  }

  get isPeer(): boolean {
    return this.#peer !== undefined
  }

  get deferred(): number {
    return this.#deferred
  }

  defer(): void {
    this.#deferred++
  }

  answer(frame: Uint8Array): void {
    this.#deferred--
    if (this.#state !== 'open' && this.#state !== 'leaving') return
    this.transport.write(Buffer.from(frame))
    this.#stall.handed(frame.length)
    if (this.#state === 'leaving' && this.#deferred === 0) this.end('quit')
    else this.#account()
  }

  quit(): void {
    this.#why = 'quit'
    this.#state = this.#deferred > 0 ? 'leaving' : 'ending'
  }

  /** Tells a client that said HELLO that this server goes away. */
  announceDrain(): void {
    if (this.#state !== 'open' || !this.#helloSeen) return
    this.#push(Status.ShuttingDown, 'the server is shutting down')
  }

  #push(status: Status, text: string, retryAfterMs?: number): void {
    const frame = pushOf(status, text, retryAfterMs)
    this.transport.write(frame)
    this.#stall.handed(frame.length)
    this.#host.output.sentBytes += frame.length
  }

  /** Says why, unasked, and closes. What was held for it is free at once. */
  #dismiss(status: Status, why: string, retryAfterMs?: number): void {
    this.#push(status, why, retryAfterMs)
    this.#peer?.closed(why)
    this.#holdings.release()
    this.#frames.discard()
    this.end(why)
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
    this.#holdings.release()
    this.transport.destroy()
  }

  /** Closes the connection if it has not authenticated, was in the middle of a frame, or not reading, for too long. */
  check(nowMs: number): void {
    const { options, counters } = this.#host
    if (this.mustAuthenticate && this.#state === 'open' && nowMs - this.#sinceMs > options.authTimeoutMs) {
      counters.authTimeouts++
      const why = `not authenticated within ${options.authTimeoutMs} ms`
      // Whoever does not read is not waited for: it would keep a place among the unauthenticated.
      if (this.transport.unsentBytes > 0) this.destroy(why)
      else this.#dismiss(Status.Unauthenticated, why)
      return
    }
    if (this.#holdings.unsentBytes > 0) this.#account()
    // What waits for a slow server may grow for long: its window bounds it, and its silence ends it.
    const unsentBytes = this.#peer === undefined ? this.transport.unsentBytes : 0
    if (this.#stall.isOver(nowMs, unsentBytes)) this.#holdings.progressed()
    if (unsentBytes > 0 && nowMs - this.#stall.sinceMs > options.outputStallMs) {
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
    this.#share.begin(sentBefore)
    if (!this.#frameSeen && chunk !== undefined) this.#firstBytes.note(chunk)
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
    this.#stall.handed(host.output.sentBytes - sentBefore)
    if (this.#state === 'ending') this.transport.end()
    // Two servers that both waited for the other to read would wait for ever.
    else if (this.#peer === undefined) this.#pauseOrResume()
    host.onChunkEnd()
    if (
      host.output.unsentBytes > 0 ||
      this.#holdings.unsentBytes > 0 ||
      this.#frames.isMidFrame ||
      this.#holdings.partialBytes > 0
    )
      this.#account()
  }

  readonly #onFrame = (bytes: Uint8Array, at: number, end: number, view: DataView | undefined): boolean => {
    const { output } = this.#host
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
      if ((REQUIRED_RANKS[reader.head] as number) > this.#rank) this.#carryOutRestricted(reader)
      else this.#carryOut(reader)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#share.spend(ERROR_PRICE_BYTES)
      // Handlers throw before they write; a reply that was begun all the same would be half a frame.
      if (output.at > start) output.at = start
      // Nobody can know which request an answer to id 0 is about.
      const isNobodys = reader.id === PUSH_REQUEST_ID
      const status = isNobodys && error.status !== Status.Forbidden ? Status.Malformed : error.status
      this.#writeError(reader.id, status, error.message, error.retryAfterMs)
      if (this.mustAuthenticate) output.flushCopy()
      if (status === Status.Overloaded) this.#host.counters.overloaded++
      if (isNobodys || this.#isLast || errorFacts(status).closes) {
        this.#why = error.message
        this.#state = 'ending'
      }
    }
    if (this.#state !== 'open' || output.unsentBytes >= this.#outputBytesMax) return false
    if (this.#holdings.isOverdrawn(output.unsentBytes)) return false
    return this.#share.mayGoOn(output.sentBytes + output.at)
  }

  #carryOut(request: Reader): void {
    const { handlers, counters, output } = this.#host
    const handler = handlers[request.head]
    if (handler === undefined)
      throw new ProtocolError(Status.UnknownOpcode, `there is no opcode ${request.head}`)
    if (request.id === PUSH_REQUEST_ID)
      throw new ProtocolError(Status.Malformed, `request id ${PUSH_REQUEST_ID} is the server's`)
    counters.requests[request.head] = (counters.requests[request.head] as number) + 1
    this.#share.spend(PRICES[request.head] as number)
    if (request.head === Opcode.Hello) this.#helloSeen = true
    handler(request, output, this)
  }

  /** Before authentication some requests may be made, one at a time. */
  #carryOutRestricted(request: Reader): void {
    const { counters, output } = this.#host
    if (!this.mustAuthenticate) {
      counters.forbidden++
      throw forbidden(request.head, this.#principal?.role)
    }
    this.#share.spend(STRANGERS_PRICE_BYTES)
    if (REQUIRED_RANKS[request.head] === Rank.Anybody) {
      this.#carryOut(request)
      output.flushCopy()
      return
    }
    // Once is a client that did not know.
    this.#isLast = this.#askedBefore
    this.#askedBefore = true
    throw new ProtocolError(Status.Unauthenticated, 'this connection must authenticate first: see AUTH')
  }

  /** What a server says, and never a client. */
  #onPeer(bytes: Uint8Array, at: number, end: number): boolean {
    const { onPeer, counters, access, output } = this.#host
    if (this.#reader.head === PeerOpcode.Hello && !this.#helloSeen) {
      // What a peer is answered is written at once: the answers to what was asked before it come first.
      output.flush()
      const why = this.#principal?.isPeer === true ? undefined : access.whyNoPeer()
      if (why === undefined) this.#peer = onPeer(this, bytes, at, end)
      else {
        counters.peerMessagesRefused++
        access.peerRefused(this.transport.remote, 'role', why)
        throw new ProtocolError(Status.Forbidden, why)
      }
    }
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
    const isShort = this.mustAuthenticate && error.status === Status.FrameTooLarge
    this.#why = isShort ? `${error.message} until it has authenticated` : error.message
    this.#state = 'ending'
    const refusal = this.#frameSeen ? undefined : this.#firstBytes.refusal
    if (refusal === undefined) this.#writeError(PUSH_REQUEST_ID, error.status, this.#why)
    else if (refusal.length > 0) this.transport.write(refusal)
  }

  #writeError(id: number, status: Status, text: string, retryAfterMs?: number): void {
    const { output } = this.#host
    output.room(errorBytes(text))
    writeError(output, id, status, text, retryAfterMs)
  }

  /** Reads on only while the other end reads too, and has had its turn. */
  #pauseOrResume(): void {
    const saturated = this.#share.isWaiting || this.#host.output.unsentBytes >= this.#outputBytesMax
    if (saturated === this.#paused) return
    this.#paused = saturated
    if (saturated) this.transport.pause()
    else this.transport.resume()
  }

  /** Tells how much is held for this connection, and closes it if that is too much for the server. */
  #account(): void {
    const { options, counters } = this.#host
    // What waits for a slow server is no reply: clients must not be cut because servers are slow.
    const unsent = this.#peer === undefined ? this.transport.unsentBytes : 0
    // A socket that does not take all keeps the whole buffer it was given; before authentication that is a copy.
    const unsentBytes = unsent === 0 || this.mustAuthenticate ? unsent : Math.max(unsent, OUTPUT_BUFFER_BYTES)
    if (!this.#holdings.update(this.#frames.bufferedBytes, unsentBytes)) return
    counters.closedSlow++
    counters.overloaded++
    const why = `incomplete frames of all connections exceed ${options.partialBytesMax} bytes`
    this.#dismiss(Status.Overloaded, why, RETRY_CONNECT_MS)
  }

  /** Nothing can be said to somebody who does not read. */
  #onOverdrawn(): void {
    this.#host.counters.closedSlow++
    this.#host.counters.overloaded++
    this.destroy(`unsent replies of all connections exceed ${this.#host.options.unsentBytesMax} bytes`)
  }
}
