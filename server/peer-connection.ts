// One TCP connection to another server, dialed or accepted: its HELLOs, its frames, and when it was last heard.
//
// Between a transport (or the session that a peer's HELLO came in on) and the mesh. Knows frames and HELLO; what other
// messages mean is the replicator's business. A connection says HELLO once in each direction, the dialer first, once it
// has authenticated where there is a cluster secret; of an accepted one the session has seen to that.
//
//   dialed ──(authenticated)──(hello sent)──> greeting ──(HELLO came)──> up ──> closed
//   accepted ────────────────────────────────────────────(HELLO came, answered)──> up ──> closed

import { AuthenticationError } from '../protocol/authentication.ts'
import { errorText } from '../protocol/error-reply.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { FrameReader } from '../protocol/frame.ts'
import { FRAME_OVERHEAD_BYTES_MAX, PUSH_REQUEST_ID, VALUE_BYTES_MAX_CEILING } from '../protocol/limits.ts'
import { FIRST_ERROR, FIRST_PEER_OPCODE, PeerOpcode, Status } from '../protocol/messages.ts'
import { Reader } from '../protocol/reader.ts'
import type { Transport } from '../protocol/transport.ts'
import { Writer } from '../protocol/writer.ts'
import { isCertified, NO_CERTIFICATE, type PeerProofs } from './access.ts'
import type { ClusterSecret } from './cluster-secret.ts'
import { PeerAuthentication, UNAUTHENTICATED_BYTES_MAX } from './peer-authentication.ts'
import type { LinkState } from './replication/link-state.ts'
import {
  Channel,
  type PeerHello,
  readHello,
  readReason,
  writeHello,
  writeReason,
} from './replication/peer-messages.ts'
import { PeerRefusal } from './replication/replicator.ts'
import { pushOf } from './replies.ts'

/** A batch may end with the largest value there is. */
export const PEER_FRAME_BYTES_MAX = VALUE_BYTES_MAX_CEILING + 4 * FRAME_OVERHEAD_BYTES_MAX
/** Before its HELLO nobody needs more. */
const GREETING_BYTES_MAX = 256 * 1024
/** Unsent, beyond the largest frame: some windows of the stream, which is sent again after a REWIND. */
const UNSENT_BYTES_MAX = 64 * 1024 * 1024
/** A link without a byte for so long is dead, in ms. */
const SILENCE_MS_MAX = 5000
/** A bulk connection without a byte for so many intervals is made anew. */
const ROUNDS_MISSED = 5
/** What a server refuses with as it refuses a client, as a code of ours. */
const CODES: Readonly<Record<number, string>> = {
  [Status.Unauthenticated]: 'secret',
  [Status.Forbidden]: 'role',
  [Status.Overloaded]: 'overloaded',
}

export interface PeerConnectionEvents {
  /** The other end, which was dialed, may be greeted. */
  onReady(connection: PeerConnection): void
  /** The other end said who it is; throws, or refuses, if it is not let in. */
  onHello(connection: PeerConnection, hello: PeerHello): void
  /** A message, lent until it returns. Throws ProtocolError. */
  onMessage(connection: PeerConnection, bytes: Uint8Array, at: number, end: number): void
  /** Called exactly once. */
  onClosed(connection: PeerConnection): void
  now(): number
}

export class PeerConnection {
  readonly remote: string
  /** Of an accepted connection once its HELLO has come. */
  channel: Channel | undefined
  /** The address that was dialed; undefined for an accepted one. */
  readonly dialed: string | undefined
  readonly #proofs: PeerProofs
  /** Monotonic time of the last bytes, in ms. */
  heardMs: number
  hello: PeerHello | undefined
  link: LinkState | undefined
  /** Why it was closed, as far as is known; and whether the other end said so. */
  why = 'the connection was closed'
  refusedBy: { code: string; text: string; label: string | undefined } | undefined
  /** Set when this end refuses to go on: the other end did not prove that it belongs here. */
  unproven: string | undefined
  readonly #transport: Transport
  readonly #events: PeerConnectionEvents
  readonly #reader = new Reader()
  readonly #writer = new Writer(1024)
  /** Of the largest frame sent so far: it may be on its way for long, and others wait behind it. */
  #largestBytes = 0
  #authentication: PeerAuthentication | undefined
  #isRefusing = false
  #isClosed = false

  constructor(
    transport: Transport,
    channel: Channel | undefined,
    dialed: string | undefined,
    events: PeerConnectionEvents,
    proofs: PeerProofs = {},
  ) {
    this.#proofs = proofs
    this.#transport = transport
    this.remote = transport.remote
    this.channel = channel
    this.dialed = dialed
    this.#events = events
    this.heardMs = events.now()
  }

  /** What a dialed connection proves, and wants to be proved. */
  get secret(): ClusterSecret | undefined {
    return this.#proofs.secret
  }

  get isDialed(): boolean {
    return this.dialed !== undefined
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** One of the two ends does not want the other. */
  get isRefused(): boolean {
    return this.#isRefusing || this.refusedBy !== undefined || this.unproven !== undefined
  }

  /** A stream on which nobody said HELLO, nor why not. */
  get isUnanswered(): boolean {
    return this.channel === Channel.Stream && this.hello === undefined && !this.isRefused
  }

  get unsentBytes(): number {
    return this.#transport.unsentBytes
  }

  /**
   * Reads the transport itself, and authenticates if there is a secret; an accepted connection gets its frames from the
   * session instead.
   */
  open(): void {
    const firstBytesMax = this.secret === undefined ? GREETING_BYTES_MAX : UNAUTHENTICATED_BYTES_MAX
    const frames = new FrameReader(firstBytesMax, (bytes, at, end) => {
      this.take(bytes, at, end)
      if (this.hello !== undefined) frames.frameBytesMax = PEER_FRAME_BYTES_MAX
      else if (this.#authentication === undefined) frames.frameBytesMax = GREETING_BYTES_MAX
      return !this.#isClosed
    })
    this.#transport.open({
      onChunk: (chunk) => {
        if (this.#isClosed) return
        this.heard()
        try {
          frames.push(chunk)
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error
          this.destroy(error.message)
        }
      },
      onDrain: () => {},
      onClose: (error) => this.closed(error?.message ?? this.why),
    })
    if (this.secret === undefined) this.#events.onReady(this)
    else this.#authenticate(this.secret)
  }

  #authenticate(secret: ClusterSecret): void {
    const { ownNonces = new Set() } = this.#proofs
    this.#authentication = new PeerAuthentication(secret, ownNonces, {
      onRequest: (frame) => this.send(frame),
      onDone: () => {
        this.#authentication = undefined
        this.#events.onReady(this)
      },
      onFailure: (error) => this.#distrust(error),
    })
    this.#authentication.begin()
  }

  #distrust({ message }: AuthenticationError): void {
    this.unproven = message
    this.destroy(message)
  }

  /** Bytes have come: a large value on a slow network is no silence. */
  heard(): void {
    this.heardMs = this.#events.now()
  }

  /** One frame's payload. */
  take(bytes: Uint8Array, at: number, end: number): void {
    if (this.#isClosed) return
    const reader = this.#reader
    try {
      reader.open(bytes, at, end)
      if (this.isDialed && reader.head < FIRST_PEER_OPCODE) this.#takeReply(reader)
      else if (this.#authentication !== undefined)
        throw new ProtocolError(Status.Malformed, `message ${reader.head} before it has authenticated`)
      else if (reader.head === PeerOpcode.Hello) this.#takeHello(reader)
      else if (reader.head === PeerOpcode.Bye) this.#takeBye(reader)
      else if (this.hello === undefined && reader.head === PeerOpcode.Refused) this.#takeBye(reader)
      else if (this.hello === undefined)
        throw new ProtocolError(Status.Malformed, `HELLO is expected first, got message ${reader.head}`)
      else this.#events.onMessage(this, bytes, at, end)
    } catch (error) {
      if (error instanceof AuthenticationError) this.#distrust(error)
      else if (error instanceof ProtocolError) this.#misunderstood(error)
      else throw error
    }
  }

  #misunderstood({ message }: ProtocolError): void {
    const why = `not understood: ${message}`
    if (this.hello !== undefined || this.isDialed) {
      this.destroy(why)
      return
    }
    // Perhaps a program that is being written: what is wrong with its HELLO helps it.
    this.#transport.write(pushOf(Status.Malformed, message))
    this.why = why
    this.end()
  }

  /** What a server says to clients too: the answers to AUTH, and that somebody must go. */
  #takeReply(reply: Reader): void {
    if (reply.head >= FIRST_ERROR) {
      const text = errorText(reply)
      this.refusedBy = { code: CODES[reply.head] ?? `status ${reply.head}`, text, label: undefined }
      this.why = text
      this.end()
    } else if (this.#authentication !== undefined && reply.id !== PUSH_REQUEST_ID)
      this.#authentication.take(reply)
    else throw new ProtocolError(Status.Malformed, `HELLO is expected first, got message ${reply.head}`)
  }

  #takeHello(reader: Reader): void {
    if (this.hello !== undefined) throw new ProtocolError(Status.Malformed, 'HELLO was said twice')
    const hello = readHello(reader)
    this.hello = hello
    this.channel ??= hello.channel
    this.#events.onHello(this, hello)
  }

  #takeBye(reader: Reader): void {
    this.refusedBy = readReason(reader)
    this.why = this.refusedBy.text
    this.end()
  }

  /** A frame, lent until it returns. */
  send(bytes: Uint8Array): void {
    if (this.#isClosed) return
    // Whoever talks and does not listen would have the answers pile up here.
    if (this.#transport.unsentBytes > UNSENT_BYTES_MAX + this.#largestBytes) {
      this.destroy('it does not read what it is sent')
      return
    }
    this.#largestBytes = Math.max(this.#largestBytes, bytes.length)
    this.#transport.write(Buffer.from(bytes))
  }

  sendHello(hello: PeerHello): void {
    this.#writer.at = 0
    writeHello(this.#writer, hello)
    this.send(this.#writer.bytes.subarray(0, this.#writer.at))
  }

  /** Says why, then closes. `label`: of this server, for an end that has not heard it in a HELLO. */
  bye(code: string, text: string, label?: string): void {
    this.#writer.at = 0
    const opcode = this.hello === undefined ? PeerOpcode.Refused : PeerOpcode.Bye
    writeReason(this.#writer, opcode, code, text, label)
    this.send(this.#writer.bytes.subarray(0, this.#writer.at))
    this.why = text
    this.end()
  }

  /** The same, of an end that is not let in. */
  refuse(code: string, text: string): void {
    this.#isRefusing = true
    this.bye(code, text)
  }

  /** Whoever dials again while a stream is silent has probably lost it already. */
  isAlive(nowMs: number, pingMs: number): boolean {
    return nowMs - this.heardMs < 2 * pingMs
  }

  /**
   * Throws a PeerRefusal if what it has proved is not its own, or its certificate is what proves it and names somebody
   * else, or no server.
   */
  mustBelong(label: string): void {
    const { certificate, isPeer = true, isReflected = false } = this.#proofs
    if (isReflected)
      throw new PeerRefusal('secret', 'it has proved nothing: the proof was made by this server')
    if (certificate === undefined) return
    if (!isCertified(label, certificate)) {
      const why = certificate === NO_CERTIFICATE ? 'it has no' : `${label} is not named by its`
      throw new PeerRefusal('certificate', `${why} certificate`)
    }
    if (!isPeer) throw new PeerRefusal('role', 'its certificate does not have the role peer (OU)')
  }

  /** Closes it if it has brought no byte for too long; `roundMs`: between two rounds, when bulk is silent. */
  closeIfSilent(nowMs: number, roundMs: number): void {
    const isUpBulk = this.channel === Channel.Bulk && this.hello !== undefined
    // Nothing is said there between two rounds, and a connection that died unnoticed would end them for good.
    const silenceMsMax = isUpBulk ? Math.max(SILENCE_MS_MAX, ROUNDS_MISSED * roundMs) : SILENCE_MS_MAX
    if (nowMs - this.heardMs > silenceMsMax) this.destroy(`not a byte for ${silenceMsMax} ms`)
  }

  end(): void {
    this.#transport.end()
    this.closed(this.why)
  }

  destroy(why: string): void {
    this.why = why
    this.#transport.destroy()
    this.closed(why)
  }

  /** The transport is gone, or as good as gone. */
  closed(why: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#authentication?.cancel()
    this.why = why
    this.#events.onClosed(this)
  }
}
