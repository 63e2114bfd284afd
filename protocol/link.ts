// A link: a dialed transport that is kept alive. It dials, says HELLO, notices when the other end is gone, and dials
// again, until it is closed.
//
// Between a way to dial and an owner who sends requests and reads replies. It speaks HELLO, PING and, by authentication.ts,
// AUTH itself, under one request id of its own; every other reply goes to the owner. It keeps no queue, resends nothing.
//
//              ┌──────────────────────(lost, refused, silent: backoff)───────────────────────┐
//   idle ──> dialing ──> greeting ──(HELLO answered)──> authenticating ──> ready ──(lost)──> waiting ──> dialing …
//     │                     └────────────(without credentials)───────────────^
//     └───────────────────────── close(), destroy() from any state ──────────────────────> closed
//
// A transport belongs to one generation: what a former one still delivers is not listened to. The backoff starts anew
// when it is ready, not with the connection: a server that accepts and then says no, or hangs up, is not hammered.

import { Authentication, AuthenticationError, type CredentialsSource, refusal } from './authentication.ts'
import { type BackoffOptions, backoffMs } from './backoff.ts'
import { errorText } from './error-reply.ts'
import { CacheError, type CacheErrorCode, errorFacts, ProtocolError } from './errors.ts'
import { FrameReader } from './frame.ts'
import {
  FRAME_OVERHEAD_BYTES_MAX,
  PROTOCOL_VERSION_MAX,
  PROTOCOL_VERSION_MIN,
  PUSH_REQUEST_ID,
  REPLY_BYTES_MIN,
  VALUE_BYTES_MAX_CEILING,
} from './limits.ts'
import { Capability, Opcode, Status } from './messages.ts'
import { type ByteRange, emptyRange, Reader } from './reader.ts'
import type { Transport } from './transport.ts'
import { Writer } from './writer.ts'

/** The link's own requests; owners use ids below. */
export const LINK_REQUEST_ID = 0xffff_ffff

/** Opens a transport; exactly one of the callbacks is called, once. Returns how to give up. */
export type Dial = (
  onTransport: (transport: Transport) => void,
  onFailure: (error: Error) => void,
) => () => void

/** What HELLO answered. */
export interface ServerHello {
  version: number
  capabilities: number
  serverVersion: string
  nodeId: string
  /** Hexadecimal; another one with each start of a server: what one start gave out means nothing to another. */
  bootId: string
  region: string
  cluster: string
  valueBytesMax: number
  frameBytesMax: number
}

export interface LinkOptions {
  /** Called for each attempt: names are resolved, and servers chosen, anew. */
  dial: Dial
  /** Whom the errors name. */
  server: () => string
  clientName: string
  /** Left out: nothing is proved, and a server that wants it is not used. Given: each server has to know them. */
  credentials?: CredentialsSource | undefined
  /** For one attempt, up to ready. */
  connectTimeoutMs: number
  /** Silence after which a PING is sent; after three times that without a byte the connection counts as dead. */
  heartbeatMs: number
  reconnect: BackoffOptions
  random(): number
}

export interface LinkEvents {
  /** Requests may be sent. */
  onReady(hello: ServerHello): void
  /** A reply to a request of the owner: head is the status. Valid until it returns. */
  onReply(reply: Reader): void
  /** Everything that was read from one chunk has been handed out. */
  onChunkEnd(): void
  /** The server goes away soon: send no more to it. */
  onServerDraining(): void
  /** Not usable any more; what was sent and not answered stays unanswered. Also called for a failed attempt. */
  onLost(error: CacheError): void
}

const SILENT_BEATS_MAX = 3
/** Until it is ready replies are short. */
const GREETING_FRAME_BYTES_MAX = 64 * 1024
/** Whatever HELLO says, no reply is longer than the largest value any server can be configured for. */
const REPLY_FRAME_BYTES_MAX = VALUE_BYTES_MAX_CEILING + FRAME_OVERHEAD_BYTES_MAX

export type LinkState = 'idle' | 'dialing' | 'greeting' | 'authenticating' | 'ready' | 'waiting' | 'closed'

/** Why a connection is of no use, as far as errors tell it. */
interface Verdict {
  readonly code: CacheErrorCode
  readonly retriable: boolean
}
const UNREACHABLE: Verdict = { code: 'CACHE_UNAVAILABLE', retriable: true }

export class Link {
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  readonly #authentication: Authentication | undefined
  readonly #writer = new Writer(512)
  readonly #reader = new Reader()
  #state: LinkState = 'idle'
  #frames: FrameReader
  #hello: ServerHello | undefined
  #transport: Transport | undefined
  #cancelDial: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #generation = 0
  #failures = 0
  #heardBytes = false
  #silentBeats = 0
  #draining = false

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options
    this.#events = events
    this.#frames = this.#newFrames()
    const { credentials } = options
    if (credentials === undefined) return
    this.#authentication = new Authentication(credentials, {
      onRequest: (opcode, operands) => this.#request(opcode, operands),
      onDone: () => this.#ready(),
      onFailure: (error) => this.#lost(this.#generation, error.message, error.cause, error),
    })
  }

  get state(): LinkState {
    return this.#state
  }

  /** Failed attempts since it was ready: above 0 there is an outage. */
  get failures(): number {
    return this.#failures
  }

  get unsentBytes(): number {
    return this.#transport?.unsentBytes ?? 0
  }

  /** Begins; does nothing if it has begun. */
  open(): void {
    if (this.#state === 'idle') this.#dial()
  }

  /** Sends bytes of whole frames; only while ready. Returns false if the memory is kept (see Transport.write). */
  write(bytes: Uint8Array): boolean {
    return this.#transport === undefined ? true : this.#transport.write(bytes)
  }

  /** Ends for good, after sending what is unsent. */
  close(): void {
    const transport = this.#transport
    this.#leave('closed')
    transport?.end()
  }

  /** Ends for good, at once. */
  destroy(error?: Error): void {
    const transport = this.#transport
    this.#leave('closed')
    transport?.destroy(error)
  }

  /** Gives the present connection up and dials again: the server said that it goes away. */
  redial(): void {
    if (this.#state !== 'ready') return
    const transport = this.#transport
    this.#leave('waiting')
    transport?.end()
    this.#waitAndDial(0)
  }

  #dial(): void {
    const generation = this.#leave('dialing')
    this.#timer = setTimeout(() => this.#onLate(generation), this.#options.connectTimeoutMs)
    this.#cancelDial = this.#options.dial(
      (transport) => {
        if (generation !== this.#generation) transport.destroy()
        else this.#greet(generation, transport)
      },
      (error) => this.#lost(generation, error.message, error),
    )
  }

  #greet(generation: number, transport: Transport): void {
    this.#state = 'greeting'
    this.#cancelDial = undefined
    this.#transport = transport
    this.#frames = this.#newFrames()
    this.#draining = false
    this.#heardBytes = false
    transport.open({
      onChunk: (chunk) => {
        if (generation === this.#generation) this.#onChunk(generation, chunk)
      },
      onDrain: () => {},
      onClose: (error) => this.#lost(generation, error?.message ?? this.#whyClosed(), error),
    })
    const versions = [PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_MAX]
    this.#request(Opcode.Hello, [...versions, Capability.None, this.#options.clientName])
  }

  #whyClosed(): string {
    const isUnheard = this.#state === 'greeting' && !this.#heardBytes
    const hint = ' before it said anything: TLS at one end only, or a certificate that it does not accept?'
    return `the server closed the connection${isUnheard ? hint : ''}`
  }

  /** An attempt has taken its whole time. */
  #onLate(generation: number): void {
    const { connectTimeoutMs } = this.#options
    const error =
      this.#state === 'authenticating' ? this.#authentication?.lateError(connectTimeoutMs) : undefined
    this.#lost(generation, error?.message ?? `no connection within ${connectTimeoutMs} ms`, undefined, error)
  }

  #onChunk(generation: number, chunk: Uint8Array): void {
    this.#heardBytes = true
    try {
      this.#frames.push(chunk)
    } catch (error) {
      if (error instanceof AuthenticationError) this.#lost(generation, error.message, error.cause, error)
      else if (error instanceof ProtocolError)
        this.#lost(generation, `not understood: ${error.message}`, error)
      else throw error
      return
    }
    if (generation !== this.#generation) return
    this.#events.onChunkEnd()
    if (this.#draining) this.#events.onServerDraining()
  }

  #newFrames(): FrameReader {
    const generation = this.#generation
    return new FrameReader(GREETING_FRAME_BYTES_MAX, (bytes, at, end) => {
      const reader = this.#reader
      reader.open(bytes, at, end)
      if (reader.id === LINK_REQUEST_ID) this.#onOwnReply(reader)
      else if (reader.id === PUSH_REQUEST_ID) this.#onPush(reader)
      else this.#events.onReply(reader)
      return generation === this.#generation
    })
  }

  #onOwnReply(reply: Reader): void {
    if (this.#state === 'authenticating') this.#authentication?.onReply(reply)
    else if (this.#state === 'greeting') this.#onHello(reply)
  }

  #onHello(reply: Reader): void {
    if (reply.head === Status.Unauthenticated || reply.head === Status.Forbidden) throw refusal(reply)
    if (reply.head !== Status.Ok)
      throw new ProtocolError(
        Status.Malformed,
        `HELLO was refused with status ${reply.head}: ${errorText(reply)}`,
      )
    const hello = readHello(reply)
    this.#hello = hello
    const isDemanded = (hello.capabilities & Capability.Authentication) !== 0
    if (this.#authentication !== undefined) {
      this.#state = 'authenticating'
      this.#authentication.begin(isDemanded ? 'demanded' : 'offered')
    } else if (!isDemanded) this.#ready()
    else
      throw new AuthenticationError(
        'the server demands authentication: give the options username and password, or credentials',
      )
  }

  #ready(): void {
    const hello = this.#hello
    if (hello === undefined) return
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#timer = undefined
    this.#failures = 0
    this.#frames.frameBytesMax = Math.min(
      Math.max(REPLY_BYTES_MIN, hello.frameBytesMax, hello.valueBytesMax + FRAME_OVERHEAD_BYTES_MAX),
      REPLY_FRAME_BYTES_MAX,
    )
    this.#state = 'ready'
    this.#startHeartbeat()
    this.#events.onReady(hello)
  }

  /** Pushes that this version does not know are ignored. An error push is the server's last word. */
  #onPush(push: Reader): void {
    if (push.head === Status.ShuttingDown) this.#draining = true
    else if (push.head === Status.Unauthenticated) throw refusal(push)
    else if (errorFacts(push.head).closes)
      throw new ProtocolError(
        Status.Malformed,
        `the server closes with status ${push.head}: ${errorText(push)}`,
      )
  }

  #startHeartbeat(): void {
    this.#silentBeats = 0
    this.#heardBytes = true
    const generation = this.#generation
    this.#heartbeat = setInterval(() => {
      // Judged after the poll phase: replies that arrived while this process was busy are read first.
      setImmediate(() => {
        if (generation === this.#generation) this.#beat(generation)
      })
    }, this.#options.heartbeatMs)
    this.#heartbeat.unref()
  }

  #beat(generation: number): void {
    if (this.#heardBytes) {
      this.#heardBytes = false
      this.#silentBeats = 0
      return
    }
    if (++this.#silentBeats === SILENT_BEATS_MAX) {
      this.#lost(
        generation,
        `not a byte for ${SILENT_BEATS_MAX} heartbeats of ${this.#options.heartbeatMs} ms`,
      )
      return
    }
    this.#request(Opcode.Ping, [])
  }

  /** Sends a request of its own. */
  #request(opcode: Opcode, operands: readonly (number | string | Uint8Array)[]): void {
    const writer = this.#writer
    writer.at = 0
    writer.reserve(64)
    const start = writer.beginFrame(2 + operands.length)
    writer.int(opcode)
    writer.int(LINK_REQUEST_ID)
    for (const operand of operands) {
      writer.reserve(64 + (typeof operand === 'number' ? 0 : operand.length * 3))
      if (typeof operand === 'number') writer.int(operand)
      else if (typeof operand === 'string') writer.string(operand)
      else writer.binary(operand, 0, operand.length)
    }
    writer.endFrame(start)
    this.#transport?.write(Buffer.from(writer.bytes.subarray(0, writer.at)))
  }

  #lost(generation: number, why: string, cause?: unknown, { code, retriable }: Verdict = UNREACHABLE): void {
    if (generation !== this.#generation || this.#state === 'closed') return
    const transport = this.#transport
    this.#leave('waiting')
    transport?.destroy()
    const server = this.#options.server()
    // Before anybody hears of it: whatever they do then, the link goes on, unless they close it.
    this.#waitAndDial(this.#failures++)
    this.#events.onLost(new CacheError(code, `${server}: ${why}`, { retriable, server, cause }))
  }

  #waitAndDial(attempt: number): void {
    const waitMs = backoffMs(attempt, this.#options.random(), this.#options.reconnect)
    const generation = this.#generation
    this.#timer = setTimeout(() => {
      if (generation === this.#generation) this.#dial()
    }, waitMs)
    // Waiting for a server must not keep a process alive: calls that wait have a timer of their own.
    this.#timer.unref()
  }

  /** Ends the present generation, with everything that belongs to it. Returns the new one. */
  #leave(state: 'dialing' | 'waiting' | 'closed'): number {
    this.#state = state
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    if (this.#heartbeat !== undefined) clearInterval(this.#heartbeat)
    this.#timer = undefined
    this.#heartbeat = undefined
    this.#transport = undefined
    this.#hello = undefined
    this.#authentication?.cancel()
    const cancel = this.#cancelDial
    this.#cancelDial = undefined
    this.#generation++
    cancel?.()
    return this.#generation
  }
}

const range: ByteRange = emptyRange()

function readHello(reply: Reader): ServerHello {
  reply.required('version')
  const version = reply.uint()
  reply.required('capabilities')
  const capabilities = reply.uint()
  reply.required('server version')
  const serverVersion = reply.string()
  reply.required('node id')
  const nodeId = reply.string()
  reply.required('boot id')
  reply.range(range)
  const bootId = Buffer.from(range.bytes.subarray(range.at, range.at + range.length)).toString('hex')
  reply.required('region')
  const region = reply.string()
  reply.required('cluster')
  const cluster = reply.string()
  reply.required('largest value')
  const valueBytesMax = reply.uint()
  reply.required('largest frame')
  const frameBytesMax = reply.uint()
  return {
    version,
    capabilities,
    serverVersion,
    nodeId,
    bootId,
    region,
    cluster,
    valueBytesMax,
    frameBytesMax,
  }
}
