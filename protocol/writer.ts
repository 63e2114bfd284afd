// Writer of frames and operands: the subset of MessagePack that frames are made of. The reader is in reader.ts.
//
// Between whoever knows what the operands mean and one buffer. Every integer and length in its shortest encoding, but for
// request ids where a caller writes those itself.

import { copyBytes } from './bytes.ts'
import { FRAME_HEADER_BYTES } from './limits.ts'

const TWO_32 = 2 ** 32

/**
 * Writes frames one after another into `bytes`, which it owns and replaces when it must grow. Callers `reserve` before
 * they write: the write methods themselves do not check.
 */
export class Writer {
  bytes: Buffer
  /** The same bytes. */
  view: DataView
  at = 0

  constructor(capacityBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacityBytes)
    this.view = viewOf(this.bytes)
  }

  /** Writes into another buffer from now on; `at` stays. */
  use(bytes: Buffer, view: DataView = viewOf(bytes)): void {
    this.bytes = bytes
    this.view = view
  }

  /** Makes room for `bytes` more. */
  reserve(bytes: number): void {
    if (this.at + bytes <= this.bytes.length) return
    const former = this.bytes
    this.use(Buffer.allocUnsafeSlow(Math.max(this.at + bytes, former.length * 2)))
    former.copy(this.bytes, 0, 0, this.at)
  }

  /** Begins a frame: its length is filled in by `endFrame`. Returns where it began. */
  beginFrame(elements: number): number {
    const start = this.at
    this.at = start + FRAME_HEADER_BYTES
    this.array(elements)
    return start
  }

  endFrame(start: number): void {
    this.view.setInt32(start, this.at - start - FRAME_HEADER_BYTES)
  }

  array(count: number): void {
    if (count < 16) this.bytes[this.at++] = 0x90 | count
    else if (count < 65536) this.#tagged16(0xdc, count)
    else this.#tagged32(0xdd, count)
  }

  map(count: number): void {
    if (count < 16) this.bytes[this.at++] = 0x80 | count
    else this.#tagged16(0xde, count)
  }

  /** An integer within ±(2^53 - 1), in its shortest encoding. At most 9 bytes. */
  int(value: number): void {
    if (value >= 0) {
      if (value < 0x80) this.bytes[this.at++] = value
      else if (value < 0x100) {
        this.bytes[this.at++] = 0xcc
        this.bytes[this.at++] = value
      } else if (value < 0x1_0000) this.#tagged16(0xcd, value)
      else if (value < TWO_32) this.#tagged32(0xce, value)
      else this.#tagged64(0xcf, value)
    } else if (value >= -32) this.bytes[this.at++] = value & 0xff
    else if (value >= -0x80) {
      this.bytes[this.at++] = 0xd0
      this.bytes[this.at++] = value & 0xff
    } else if (value >= -0x8000) this.#tagged16(0xd1, value & 0xffff)
    else if (value >= -0x8000_0000) this.#tagged32(0xd2, value >>> 0)
    else this.#tagged64(0xd3, value)
  }

  nil(): void {
    this.bytes[this.at++] = 0xc0
  }

  bool(value: boolean): void {
    this.bytes[this.at++] = value ? 0xc3 : 0xc2
  }

  float64(value: number): void {
    this.bytes[this.at] = 0xcb
    this.view.setFloat64(this.at + 1, value)
    this.at += 9
  }

  /** The head of a binary; its bytes follow. At most 5 bytes. */
  binaryHead(length: number): void {
    if (length < 0x100) {
      this.bytes[this.at++] = 0xc4
      this.bytes[this.at++] = length
    } else if (length < 0x1_0000) this.#tagged16(0xc5, length)
    else this.#tagged32(0xc6, length)
  }

  /** The head of a string of UTF-8 bytes; they follow. At most 5 bytes. */
  stringHead(length: number): void {
    if (length < 32) this.bytes[this.at++] = 0xa0 | length
    else if (length < 0x100) {
      this.bytes[this.at++] = 0xd9
      this.bytes[this.at++] = length
    } else if (length < 0x1_0000) this.#tagged16(0xda, length)
    else this.#tagged32(0xdb, length)
  }

  /** Bytes that are MessagePack already. */
  raw(bytes: Uint8Array, at: number, length: number): void {
    copyBytes(bytes, at, length, this.bytes, this.at)
    this.at += length
  }

  binary(bytes: Uint8Array, at: number, length: number): void {
    this.binaryHead(length)
    copyBytes(bytes, at, length, this.bytes, this.at)
    this.at += length
  }

  /** A string of at most 2^16 - 1 bytes; `reserve` 3 + 3 bytes for each of its UTF-16 units. */
  string(value: string): void {
    const length = value.length
    const bytes = this.bytes
    if (length < 32) {
      const at = this.at + 1
      let i = 0
      for (; i < length; i++) {
        const unit = value.charCodeAt(i)
        if (unit > 0x7f) break
        bytes[at + i] = unit
      }
      if (i === length) {
        bytes[this.at] = 0xa0 | length
        this.at = at + length
        return
      }
    }
    const written = bytes.write(value, this.at + 3, 'utf8')
    bytes[this.at] = 0xda
    bytes[this.at + 1] = written >>> 8
    bytes[this.at + 2] = written
    this.at += 3 + written
  }

  /** Plain data of statistics: numbers, strings, booleans, null, lists and objects. Reserves for itself. */
  any(value: unknown): void {
    this.reserve(16)
    if (value === null || value === undefined) this.nil()
    else if (typeof value === 'boolean') this.bool(value)
    else if (typeof value === 'number') {
      if (Number.isSafeInteger(value)) this.int(value)
      else this.float64(value)
    } else if (typeof value === 'string') {
      this.reserve(3 + value.length * 3)
      this.string(value)
    } else if (Array.isArray(value)) {
      this.array(value.length)
      for (const item of value) this.any(item)
    } else {
      const entries = Object.entries(value)
      this.map(entries.length)
      for (const [name, item] of entries) {
        this.any(name)
        this.any(item)
      }
    }
  }

  #tagged16(tag: number, value: number): void {
    this.bytes[this.at] = tag
    this.view.setInt16(this.at + 1, value)
    this.at += 3
  }

  #tagged32(tag: number, value: number): void {
    this.bytes[this.at] = tag
    this.view.setInt32(this.at + 1, value)
    this.at += 5
  }

  #tagged64(tag: number, value: number): void {
    this.bytes[this.at] = tag
    this.view.setInt32(this.at + 1, Math.floor(value / TWO_32))
    this.view.setInt32(this.at + 5, value)
    this.at += 9
  }
}

/** A word view of the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
