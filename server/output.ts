// Where reply bytes are made: one buffer that serves all connections, lent to one of them for the length of a chunk.
//
// Between the handlers, which write replies, and a transport, which gets them in one write per chunk (or one per full
// buffer). Only when a socket does not take it all does it keep the buffer, and the next connection gets a fresh one.

import { giveBuffer, takeBuffer } from '../protocol/spare-buffers.ts'
import type { Transport } from '../protocol/transport.ts'
import { viewOf, Writer } from '../protocol/writer.ts'

/** Replies of a chunk are written at the latest when they fill this. Larger replies get a buffer of their own. */
export const OUTPUT_BUFFER_BYTES = 64 * 1024
/** Replies shorter than this are sent through views that are kept: about 80 bytes each, made as they are needed. */
const HEAD_VIEWS = 1024

export class Output extends Writer {
  /** What the borrower's transport could not send, in bytes; as of the last lend or flush. */
  unsentBytes = 0
  /** All bytes ever handed to transports. */
  sentBytes = 0
  #standard: Buffer
  #standardView: DataView
  /** Views of the standard buffer's first n bytes, by n: making one costs as much as a short reply. */
  #heads: (Buffer | undefined)[] = new Array(HEAD_VIEWS).fill(undefined)
  #borrower: Transport | undefined

  constructor() {
    super(OUTPUT_BUFFER_BYTES)
    this.#standard = this.bytes
    this.#standardView = this.view
  }

  lend(transport: Transport): void {
    this.#borrower = transport
    this.unsentBytes = transport.unsentBytes
  }

  /** Makes room for a whole frame; to be called between frames. Inside one, `reserve` makes more. */
  room(bytes: number): void {
    if (this.at + bytes <= this.bytes.length) return
    this.flush()
    if (bytes > this.bytes.length) this.use(takeBuffer(bytes))
  }

  /** Writes what was made to the borrower. */
  flush(): void {
    const transport = this.#borrower
    if (this.at === 0 || transport === undefined) return
    const length = this.at
    this.at = 0
    this.sentBytes += length
    if (this.bytes !== this.#standard) {
      const large = this.bytes
      const release = () => giveBuffer(large)
      if (transport.write(large.subarray(0, length), release)) release()
    } else if (this.unsentBytes > 0) {
      // It will wait in a queue anyway: a copy of the right size keeps the buffer here.
      transport.write(copyOf(this.bytes, length))
    } else if (!transport.write(this.#head(length))) {
      this.#standard = Buffer.allocUnsafeSlow(OUTPUT_BUFFER_BYTES)
      this.#standardView = viewOf(this.#standard)
      this.#heads.fill(undefined)
    }
    if (this.bytes !== this.#standard) this.use(this.#standard, this.#standardView)
    this.unsentBytes = transport.unsentBytes
  }

  /** The same, as a copy: whoever does not take it keeps no more than that. For those who get little. */
  flushCopy(): void {
    const transport = this.#borrower
    if (this.at === 0 || transport === undefined) return
    const copy = copyOf(this.bytes, this.at)
    this.at = 0
    this.sentBytes += copy.length
    transport.write(copy)
    this.unsentBytes = transport.unsentBytes
  }

  #head(length: number): Buffer {
    if (length >= HEAD_VIEWS) return this.bytes.subarray(0, length)
    const known = this.#heads[length]
    if (known !== undefined) return known
    const head = this.bytes.subarray(0, length)
    this.#heads[length] = head
    return head
  }
}

/** The first bytes, in memory of their own: a slice of Node's pool would keep all of that, 64 KiB since Node 26. */
function copyOf(bytes: Buffer, length: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(length)
  bytes.copy(copy, 0, 0, length)
  return copy
}
