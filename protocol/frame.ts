// Bytes <-> length-prefixed frames, in place: a frame that lies whole in one chunk is handed out where it lies.
//
// Between a transport's chunks and whoever reads frames. Knows a frame's length and nothing of what is in it. The
// length is checked before anything is allocated, and the buffer of a partial frame grows with the bytes that came,
// not with those that were claimed. After an error it must not be used again: there is no resynchronising.

import { copyBytes } from './bytes.ts'
import { ProtocolError } from './errors.ts'
import { FRAME_HEADER_BYTES } from './limits.ts'
import { Status } from './messages.ts'
import { readUint32 } from './reader.ts'
import { giveBuffer, takeBuffer } from './spare-buffers.ts'

/** First size of a partial frame's buffer, in bytes. */
const PARTIAL_BYTES_MIN = 1024
/** A claim costs at most this many times what was sent for it. Few steps would take less copying, and more memory. */
const GROWTH = 2
const NO_BYTES = Buffer.alloc(0)

/**
 * Gets the payload of a frame, from `at` to `end`; the bytes are only lent until it returns. `view`, where there is one,
 * shows the same bytes.
 * Returns false to stop after this frame: the rest is held until `resume`.
 */
export type OnFrame = (bytes: Uint8Array, at: number, end: number, view: DataView | undefined) => boolean

export class FrameReader {
  /** Longest payload accepted, in bytes; may be changed between frames. */
  frameBytesMax: number
  readonly #onFrame: OnFrame
  /** A frame that has begun, its header included. */
  #partial: Buffer = NO_BYTES
  #partialBytes = 0
  /** Chunks that came, or were left, after onFrame said stop. */
  #held: Uint8Array[] = []
  #stopped = false

  constructor(frameBytesMax: number, onFrame: OnFrame) {
    this.frameBytesMax = frameBytesMax
    this.#onFrame = onFrame
  }

  /** Bytes kept here: of a frame that is not whole yet, and of chunks held back. */
  get bufferedBytes(): number {
    let bytes = this.#partial.length
    for (const chunk of this.#held) bytes += chunk.length
    return bytes
  }

  /** Whether a frame has begun and not ended. */
  get isMidFrame(): boolean {
    return this.#partialBytes > 0
  }

  /** Takes the next bytes of the stream, which are only lent. Throws ProtocolError. */
  push(chunk: Uint8Array, length: number = chunk.length, view?: DataView): void {
    if (this.#stopped) this.#hold(chunk, 0, length)
    else this.#read(chunk, length, view)
  }

  /** Goes on after onFrame said stop. */
  resume(): void {
    this.#stopped = false
    const held = this.#held
    this.#held = []
    for (const chunk of held) this.push(chunk)
  }

  /** Forgets what is kept: nothing will be read any more. */
  discard(): void {
    giveBuffer(this.#partial)
    this.#partial = NO_BYTES
    this.#partialBytes = 0
    this.#held = []
  }

  #read(chunk: Uint8Array, length: number, view: DataView | undefined): void {
    let at = this.#partialBytes === 0 ? 0 : this.#continuePartial(chunk, length)
    while (length - at >= FRAME_HEADER_BYTES && !this.#stopped) {
      const end = at + FRAME_HEADER_BYTES + this.#checkedLength(chunk, at)
      if (end > length) break
      this.#stopped = !this.#onFrame(chunk, at + FRAME_HEADER_BYTES, end, view)
      at = end
    }
    if (at === length) return
    if (this.#stopped) this.#hold(chunk, at, length)
    else this.#keep(chunk, at, length - at)
  }

  #hold(chunk: Uint8Array, at: number, end: number): void {
    this.#held.push(Buffer.from(chunk.subarray(at, end)))
  }

  /** Fills up the frame that began in an earlier chunk; returns how much of this chunk belongs to it. */
  #continuePartial(chunk: Uint8Array, length: number): number {
    let at = 0
    if (this.#partialBytes < FRAME_HEADER_BYTES) {
      at = Math.min(FRAME_HEADER_BYTES - this.#partialBytes, length)
      this.#keep(chunk, 0, at)
      if (this.#partialBytes < FRAME_HEADER_BYTES) return at
    }
    const frameBytes = FRAME_HEADER_BYTES + this.#checkedLength(this.#partial, 0)
    const part = Math.min(frameBytes - this.#partialBytes, length - at)
    this.#keep(chunk, at, part)
    if (this.#partialBytes === frameBytes) {
      const frame = this.#partial
      this.#partial = NO_BYTES
      this.#partialBytes = 0
      this.#stopped = !this.#onFrame(frame, FRAME_HEADER_BYTES, frameBytes, undefined)
      giveBuffer(frame)
    }
    return at + part
  }

  #keep(chunk: Uint8Array, at: number, length: number): void {
    const bytes = this.#partialBytes + length
    if (bytes > this.#partial.length) {
      const former = this.#partial
      this.#partial = takeBuffer(Math.max(bytes, PARTIAL_BYTES_MIN, this.#growth()))
      copyBytes(former, 0, this.#partialBytes, this.#partial, 0)
      giveBuffer(former)
    }
    copyBytes(chunk, at, length, this.#partial, this.#partialBytes)
    this.#partialBytes = bytes
  }

  /** A multiple of what there is, but no more than the frame needs. */
  #growth(): number {
    if (this.#partialBytes < FRAME_HEADER_BYTES) return 0
    return Math.min(this.#partial.length * GROWTH, FRAME_HEADER_BYTES + readUint32(this.#partial, 0))
  }

  #checkedLength(bytes: Uint8Array, at: number): number {
    const length = readUint32(bytes, at)
    if (length > this.frameBytesMax)
      throw new ProtocolError(
        Status.FrameTooLarge,
        `a frame of ${length} bytes is over this connection's limit of ${this.frameBytesMax}`,
      )
    if (length === 0) throw new ProtocolError(Status.Malformed, 'a frame of 0 bytes')
    return length
  }
}
