// A link: a dialed transport that is kept alive. It dials, says HELLO, notices when the other end is gone, and dials
// again, until it is closed.
//
// Between a way to dial and an owner who sends requests and reads replies. It speaks HELLO and PING itself, under one
// request id of its own; every other reply goes to the owner. It keeps no queue and resends nothing.
//
//              ┌───────────────(lost, refused, silent: backoff)───────────────┐
//   idle ──> dialing ──> greeting ──(HELLO answered)──> ready ──(lost)──> waiting ──> dialing …
//     └──────────────── close(), destroy() from any state ────────────────> closed
//
// A transport belongs to one generation: what a former one still delivers is not listened to. The backoff starts anew
// with the first answer, not with the connection: a server that accepts and then hangs up is not hammered.

import { type BackoffOptions, backoffMs } from './backoff.ts'
import { CacheError, errorFacts, ProtocolError } from './errors.ts'
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
import { Reader } from './reader.ts'
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
/** Until HELLO is answered replies are short. */
const GREETING_FRAME_BYTES_MAX = 64 * 1024
/** Whatever HELLO says, no reply is longer than the largest value any server can be configured for. */
const REPLY_FRAME_BYTES_MAX = VALUE_BYTES_MAX_CEILING + FRAME_OVERHEAD_BYTES_MAX

export class Link {
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  readonly #writer = new Writer(512)
  readonly #reader = new Reader()
  #state: 'idle' | 'dialing' | 'greeting' | 'ready' | 'waiting' | 'closed' = 'idle'
  #frames: FrameReader
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
  }

  get state(): 'idle' | 'dialing' | 'greeting' | 'ready' | 'waiting' | 'closed' {
    return this.#state
  }

  /** Failed attempts since the last answer: above 0 there is an outage. */
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
    this.#timer = setTimeout(() => {
      this.#lost(generation, `no connection within ${this.#options.connectTimeoutMs} ms`)
    }, this.#options.connectTimeoutMs)
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
    transport.open({
      onChunk: (chunk) => {
        if (generation === this.#generation) this.#onChunk(generation, chunk)
      },
      onDrain: () => {},
      onClose: (error) => this.#lost(generation, error?.message ?? 'the server closed the connection', error),
    })
    const writer = this.#writer
    writer.at = 0
    writer.reserve(64 + this.#options.clientName.length * 3)
    const start = writer.beginFrame(6)
    writer.int(Opcode.Hello)
    writer.int(LINK_REQUEST_ID)
    writer.int(PROTOCOL_VERSION_MIN)
    writer.int(PROTOCOL_VERSION_MAX)
    writer.int(Capability.None)
    writer.string(this.#options.clientName)
    writer.endFrame(start)
    this.#send()
  }

  #onChunk(generation: number, chunk: Uint8Array): void {
    this.#heardBytes = true
    try {
      this.#frames.push(chunk)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#lost(generation, `not understood: ${error.message}`, error)
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
    if (this.#state !== 'greeting') return
    if (reply.head !== Status.Ok)
      throw new ProtocolError(
        Status.Malformed,
        `HELLO was refused with status ${reply.head}: ${errorText(reply)}`,
      )
    const hello = readHello(reply)
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
    const writer = this.#writer
    writer.at = 0
    const start = writer.beginFrame(2)
    writer.int(Opcode.Ping)
    writer.int(LINK_REQUEST_ID)
    writer.endFrame(start)
    this.#send()
  }

  #send(): void {
    this.#transport?.write(Buffer.from(this.#writer.bytes.subarray(0, this.#writer.at)))
  }

  #lost(generation: number, why: string, cause?: Error): void {
    if (generation !== this.#generation || this.#state === 'closed') return
    const transport = this.#transport
    this.#leave('waiting')
    transport?.destroy()
    const server = this.#options.server()
    // Before anybody hears of it: whatever they do then, the link goes on, unless they close it.
    this.#waitAndDial(this.#failures++)
    this.#events.onLost(
      new CacheError('CACHE_UNAVAILABLE', `${server}: ${why}`, { retriable: true, server, cause }),
    )
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
    const cancel = this.#cancelDial
    this.#cancelDial = undefined
    this.#generation++
    cancel?.()
    return this.#generation
  }
}

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
  reply.skip(0)
  reply.required('region')
  const region = reply.string()
  reply.required('cluster')
  const cluster = reply.string()
  reply.required('largest value')
  const valueBytesMax = reply.uint()
  reply.required('largest frame')
  const frameBytesMax = reply.uint()
  return { version, capabilities, serverVersion, nodeId, region, cluster, valueBytesMax, frameBytesMax }
}

/** The text of an error reply; cut, since it may come from anybody. */
export function errorText(reply: Reader): string {
  return reply.optional() ? reply.string().slice(0, 500) : '(no text)'
}
