// A transport whose other end is the fuzzer: chunks are delivered when it says so, and what is written is read, or kept,
// as it likes. Everything synchronous.
//
// It is stricter than a network: a chunk's memory is overwritten as soon as it was handled, since it was only lent, and
// of what it keeps of a write it makes sure that nobody changed it in the meantime.

import type { ReadBuffer } from '../../protocol/read-buffer.ts'
import type { Transport, TransportEvents } from '../../protocol/transport.ts'
import { demand } from './violation.ts'

/** Bytes of a write that the other end has not taken, and what they were. */
interface Kept {
  bytes: Uint8Array
  asWritten: Buffer
}

export class Wire implements Transport {
  readonly remote: string
  unsentBytes = 0
  /** `ended`: what is kept will still be sent. */
  state: 'new' | 'open' | 'ended' | 'closed' = 'new'
  /** Whether the other end takes what is written. */
  isReading = true
  isPaused = false
  /** Gets what the other end reads. */
  onRead: (bytes: Buffer) => void = () => {}
  readonly #input: ReadBuffer | undefined
  #events: TransportEvents | undefined
  readonly #kept: Kept[] = []
  /** Chunks that came while it was paused. */
  readonly #waiting: Buffer[] = []

  /** `input`: where chunks lie when they are handed out, as those of sockets do. */
  constructor(remote: string, input?: ReadBuffer) {
    this.remote = remote
    this.#input = input
  }

  open(events: TransportEvents): void {
    demand(this.state === 'new', 'a transport was opened twice')
    this.#events = events
    this.state = 'open'
  }

  write(bytes: Uint8Array): boolean {
    if (this.state === 'ended' || this.state === 'closed') return true
    if (this.isReading && this.#kept.length === 0) {
      this.onRead(Buffer.from(bytes))
      return true
    }
    this.#kept.push({ bytes, asWritten: Buffer.from(bytes) })
    this.unsentBytes += bytes.length
    return false
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  end(): void {
    if (this.state !== 'open') return
    this.state = 'ended'
    // As with a socket, whatever still comes is read and ignored.
    this.isPaused = false
  }

  destroy(error?: Error): void {
    // As with a socket, nobody hears of it before the turn of the event loop is over.
    const closed = this.#cut()
    if (closed !== undefined) setImmediate(() => closed.onClose(error))
  }

  // What the other end does.

  /** Both ends have had everything that was said. */
  get isSettled(): boolean {
    return this.unsentBytes === 0 && this.#waiting.length === 0
  }

  get isOver(): boolean {
    return this.state === 'ended' || this.state === 'closed'
  }

  /** Sends a chunk; one that comes while this end is paused waits, unless it `slips` through, as some do. */
  say(chunk: Buffer, slips = false): void {
    if (this.state === 'closed') return
    // Nothing overtakes what waits.
    if ((this.isPaused && !slips) || this.#waiting.length > 0) this.#waiting.push(chunk)
    else this.#deliver(chunk)
  }

  /** Takes everything that is kept, and hears what waited. */
  drain(): void {
    for (const { bytes, asWritten } of this.#kept)
      demand(asWritten.equals(bytes), 'bytes were changed while the transport kept them')
    const kept = this.#kept.splice(0)
    this.unsentBytes = 0
    for (const { asWritten } of kept) this.onRead(asWritten)
    if (kept.length > 0 && this.state === 'open') this.#events?.onDrain()
    while (!this.isPaused && this.#waiting.length > 0) {
      const chunk = this.#waiting.shift()
      if (chunk !== undefined) this.#deliver(chunk)
    }
  }

  /** Everything was said and taken that can be: the connection is over. */
  close(): void {
    if (this.state === 'closed') return
    this.drain()
    this.cut()
  }

  /** The connection is gone, with all that was on its way. */
  cut(error?: Error): void {
    this.#cut()?.onClose(error)
  }

  /** Whom to tell; undefined if it was over already. */
  #cut(): TransportEvents | undefined {
    if (this.state === 'closed') return undefined
    this.state = 'closed'
    this.unsentBytes = 0
    this.#kept.length = 0
    return this.#events
  }

  #deliver(chunk: Buffer): void {
    if (this.state === 'closed') return
    const input = this.#input
    let lent: Buffer
    if (input !== undefined && chunk.length <= input.bytes.length) {
      input.bytes.set(chunk)
      lent = input.head(chunk.length)
    } else lent = Buffer.from(chunk)
    this.#events?.onChunk(lent)
    lent.fill(0xdb)
  }
}
