// One connection to one server at a time, one request at a time: between the shell's commands and a Link.
//
// A command has one deadline for everything: to connect, to send, to be answered. It never waits for a backoff: where
// there is no connection, a new link dials at once, once for each server there is. Between commands the link keeps the
// connection alive and dials again by itself. Requests are not repeated: if one was sent and not answered, the error
// says that it may have been carried out.

import { performance } from 'node:perf_hooks'
import type { Credentials, CredentialsSource } from '../protocol/authentication.ts'
import { errorText } from '../protocol/error-reply.ts'
import { CacheError, type CacheErrorCode, errorFacts, ProtocolError } from '../protocol/errors.ts'
import { FRAME_HEADER_BYTES } from '../protocol/limits.ts'
import { type Dial, Link, type ServerHello } from '../protocol/link.ts'
import { FIRST_ERROR, Opcode, Status } from '../protocol/messages.ts'
import type { Reader } from '../protocol/reader.ts'
import { Writer } from '../protocol/writer.ts'
import { type Tap, tapped } from './shell-tap.ts'

const CLIENT_NAME = 'cache-shell'
/** A shell may idle for hours: its signs of life should neither fill the statistics nor the trace. */
const HEARTBEAT_MS = 10_000
const RECONNECT = { minMs: 50, maxMs: 2000 }
const REQUEST_ID_MAX = 0x3fff_ffff

const CHANGES: ReadonlySet<Opcode> = new Set([
  Opcode.Set,
  Opcode.Delete,
  Opcode.Touch,
  Opcode.SetMany,
  Opcode.DeleteMany,
  Opcode.Increment,
  Opcode.Decrement,
  Opcode.Clear,
])

export interface ShellConnectionOptions {
  dial: Dial
  /** Whom the errors and the prompt name: the server that is connected, or tried. */
  server: () => string
  /** Left out: whoever the server takes a stranger for. */
  credentials?: CredentialsSource | undefined
  /** How many servers `dial` tries in turn. */
  serverCount: number
  /** To connect to one of them. */
  timeoutMs: number
  /** Sees everything, both ways. */
  tap: Tap
  /** `isConnected` has changed. */
  onStateChange(): void
}

/** How long a command may take, all in all, and how to stop it. */
export class Deadline {
  readonly timeoutMs: number
  readonly signal: AbortSignal
  #atMs = 0

  constructor(timeoutMs: number, signal: AbortSignal) {
    this.timeoutMs = timeoutMs
    this.signal = signal
    this.renew()
  }

  get leftMs(): number {
    return Math.max(0, this.#atMs - performance.now())
  }

  /** For a command that gets on, page by page. */
  renew(): void {
    this.#atMs = performance.now() + this.timeoutMs
  }
}

/** What the command under way waits for. */
interface Step {
  onReady(): void
  onReply(reply: Reader): void
  onFrame(frame: Uint8Array): void
  onLost(error: CacheError): void
}
const NOTHING: Step = { onReady() {}, onReply() {}, onFrame() {}, onLost() {} }

export interface RawReplies {
  /** Whole frames, copied. */
  frames: Buffer[]
  /** The server closed the connection. */
  closed: boolean
}

export class ShellConnection {
  readonly #options: ShellConnectionOptions
  readonly #dial: Dial
  #credentials: CredentialsSource | undefined
  #link: Link
  #step = NOTHING
  #hello: ServerHello | undefined
  #nextId = 1

  constructor(options: ShellConnectionOptions) {
    this.#options = options
    this.#credentials = options.credentials
    this.#dial = tapped(options.dial, {
      onFrame: (direction, frame) => {
        options.tap.onFrame(direction, frame)
        if (direction === 'received') this.#step.onFrame(frame)
      },
      onOther: (direction, bytes) => options.tap.onOther(direction, bytes),
    })
    this.#link = this.#newLink()
  }

  get isConnected(): boolean {
    return this.#link.state === 'ready'
  }

  /** A command is under way: another one has to wait. */
  get isBusy(): boolean {
    return this.#step !== NOTHING
  }

  get server(): string {
    return this.#options.server()
  }

  /** Which start of which server is, or was last, connected. */
  get bootId(): string | undefined {
    return this.#hello?.bootId
  }

  /** Resolves when connected. Rejects with CacheError, or with the reason of the deadline's signal. */
  async connect(deadline: Deadline): Promise<void> {
    for (let attempt = 1; !this.isConnected; attempt++) {
      try {
        await this.#attempt(deadline)
      } catch (error) {
        const isLast = attempt >= this.#options.serverCount || deadline.leftMs === 0
        if (isLast || !(error instanceof CacheError)) throw error
      }
    }
  }

  /**
   * Connects anew, as somebody else. If no server takes them for that, everything is as before; the errors are those of
   * `connect`.
   */
  async authenticate(deadline: Deadline, credentials: Credentials): Promise<void> {
    const former = this.#credentials
    this.#credentials = async () => credentials
    this.#replaceLink()
    try {
      await this.connect(deadline)
    } catch (error) {
      this.#credentials = former
      this.#replaceLink()
      throw error
    }
  }

  /**
   * Sends a request and reads its reply; connects before, if need be. `write` reserves for and writes `operands`
   * operands; `read` gets a reply that is no error, valid until it returns. Rejects with CacheError, with what `read`
   * throws, or with the reason of the deadline's signal.
   */
  async request<T>(
    deadline: Deadline,
    opcode: Opcode,
    operands: number,
    write: (writer: Writer) => void,
    read: (reply: Reader) => T,
  ): Promise<T> {
    const id = this.#nextId
    this.#nextId = id === REQUEST_ID_MAX ? 1 : id + 1
    const writer = new Writer(256)
    const start = writer.beginFrame(2 + operands)
    writer.int(opcode)
    writer.int(id)
    write(writer)
    writer.endFrame(start)
    await this.connect(deadline)
    this.#refuseTooLarge(writer.at - FRAME_HEADER_BYTES)

    const doubt = CHANGES.has(opcode) ? '; it may have been carried out' : ''
    const late = () => `no reply within ${deadline.timeoutMs} ms${doubt}`
    return this.#wait<T>(deadline, late, (resolve, reject) => {
      this.#step = {
        ...NOTHING,
        onReply: (reply) => {
          if (reply.id !== id) return
          this.#step = NOTHING
          try {
            if (reply.head >= FIRST_ERROR) reject(this.#errorOf(reply))
            else resolve(read(reply))
          } catch (error) {
            reject(error instanceof ProtocolError ? this.#error('CACHE_PROTOCOL', error.message) : error)
            // A reply that cannot be read is the connection's trouble: the link ends it.
            if (error instanceof ProtocolError) throw error
          }
        },
        onLost: ({ code, message, server, cause }) =>
          reject(new CacheError(code, `${message}${doubt}`, { retriable: true, server, cause })),
      }
      this.#link.write(writer.bytes.subarray(0, writer.at))
    })
  }

  /** Sends bytes as they are; collects what comes until there are `wanted` frames or the connection is closed. */
  async raw(deadline: Deadline, bytes: Uint8Array, wanted: number): Promise<RawReplies> {
    await this.connect(deadline)
    const frames: Buffer[] = []
    const late = () => `${frames.length} of ${wanted} replies within ${deadline.timeoutMs} ms`
    try {
      return await this.#wait<RawReplies>(deadline, late, (resolve) => {
        this.#step = {
          ...NOTHING,
          onFrame: (frame) => {
            frames.push(Buffer.from(frame))
            if (frames.length === wanted) resolve({ frames, closed: false })
          },
          onLost: () => resolve({ frames, closed: true }),
        }
        this.#link.write(bytes)
      })
    } catch (error) {
      // Nobody knows in the middle of what frame the server is now.
      this.#replaceLink()
      throw error
    }
  }

  /** Ends the connection at once, for good: whatever was asked is answered or given up by now. Idempotent. */
  close(): void {
    this.#link.destroy()
  }

  async #attempt(deadline: Deadline): Promise<void> {
    if (this.#link.state === 'closed') throw this.#error('CACHE_CLOSED', 'the connection was closed')
    if (this.#link.state === 'waiting') this.#replaceLink()
    const late = () => `no connection within ${deadline.timeoutMs} ms`
    await this.#wait<void>(deadline, late, (resolve, reject) => {
      this.#step = { ...NOTHING, onReady: resolve, onLost: reject }
      this.#link.open()
    })
  }

  /** A promise that also ends at the deadline, and when the command is stopped. */
  async #wait<T>(
    deadline: Deadline,
    late: () => string,
    begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => void,
  ): Promise<T> {
    const { signal } = deadline
    signal.throwIfAborted()
    let timer: NodeJS.Timeout | undefined
    let onAbort = () => {}
    try {
      return await new Promise<T>((resolve, reject) => {
        timer = setTimeout(() => reject(this.#error('CACHE_TIMEOUT', late())), deadline.leftMs)
        onAbort = () => reject(signal.reason)
        signal.addEventListener('abort', onAbort)
        begin(resolve, reject)
      })
    } finally {
      this.#step = NOTHING
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
  }

  #newLink(): Link {
    const { server, serverCount, timeoutMs, onStateChange } = this.#options
    const link = new Link(
      {
        dial: this.#dial,
        server,
        clientName: CLIENT_NAME,
        credentials: this.#credentials,
        connectTimeoutMs: timeoutMs / serverCount,
        heartbeatMs: HEARTBEAT_MS,
        reconnect: RECONNECT,
        random: Math.random,
      },
      {
        onReady: (hello) => {
          this.#hello = hello
          this.#step.onReady()
          onStateChange()
        },
        onReply: (reply) => this.#step.onReply(reply),
        onChunkEnd: () => {},
        onServerDraining: () => {
          if (this.isBusy) return
          link.redial()
          onStateChange()
        },
        onLost: (error) => {
          this.#step.onLost(explained(error, this.#credentials !== undefined))
          // Asking again, all the time, is of no use before somebody has typed another name or password.
          if (link === this.#link && !error.retriable) this.#replaceLink()
          else onStateChange()
        },
      },
    )
    return link
  }

  /** The former link gives up at once; the new one has not begun. */
  #replaceLink(): void {
    this.#link.destroy()
    this.#link = this.#newLink()
    this.#options.onStateChange()
  }

  #refuseTooLarge(frameBytes: number): void {
    const { frameBytesMax, valueBytesMax } = this.#hello ?? {}
    if (frameBytesMax === undefined || frameBytes <= frameBytesMax) return
    throw this.#error(
      'CACHE_TOO_LARGE',
      `a request of ${frameBytes} bytes is over the server's limit of ${frameBytesMax} (values: ${valueBytesMax})`,
    )
  }

  #errorOf(reply: Reader): CacheError {
    const { server } = this
    return new CacheError(errorFacts(reply.head).code, errorText(reply), { server })
  }

  #error(code: CacheErrorCode, message: string): CacheError {
    const { server } = this
    return new CacheError(code, `${server}: ${message}`, { server })
  }
}

/** In words for whoever sits there. */
function explained(error: CacheError, hasCredentials: boolean): CacheError {
  const { code, message, server, cause } = error
  if (code === 'CACHE_UNAUTHENTICATED' && !hasCredentials)
    return new CacheError(code, `${server}: who are you? ${HOW_TO_SAY}`, { server, cause })
  // Whoever answers with something that cannot even be a frame is no server of ours.
  if (!(cause instanceof ProtocolError) || cause.status !== Status.FrameTooLarge) return error
  return new CacheError(code, `${message}; is the port that of a cache server?`, { server, cause })
}

const HOW_TO_SAY = 'type auth USER, or start cache-shell with --user USER --askpass'
