// In-place reader of operands: the subset of MessagePack that frames are made of. The writer is in writer.ts.
//
// Between byte arrays and whoever knows what the operands mean. Integers, strings, binaries, booleans, nil, arrays of
// these; maps only where HELLO and STATS have them. Neither end allocates for a key or a value: the reader says where
// they lie. Whatever the bytes, the reader never reads past the end of its frame: it throws ProtocolError.
// MessagePack: https://github.com/msgpack/msgpack/blob/master/spec.md

import { isUtf8 } from 'node:buffer'
import { ProtocolError } from './errors.ts'
import { Status } from './messages.ts'

const TWO_32 = 2 ** 32
/** Deepest nesting of what `any` reads: statistics are a map of maps, or of lists of maps. */
const ANY_DEPTH_MAX = 8

/** Where some bytes lie; reused, valid until its owner moves on. */
export interface ByteRange {
  bytes: Uint8Array
  /** The same bytes, where whoever lends them has such a view: it reads whole words. */
  view?: DataView | undefined
  at: number
  length: number
}

export function emptyRange(): ByteRange {
  return { bytes: NO_BYTES, view: undefined, at: 0, length: 0 }
}

/** Whether the bytes are UTF-8, as those of a key must be. */
export function isUtf8Text({ bytes, at, length }: ByteRange): boolean {
  for (let i = 0; i < length; i++)
    if ((bytes[at + i] as number) > 0x7f) return isUtf8(bytes.subarray(at, at + length))
  return true
}

const NO_BYTES = Buffer.alloc(0)
const scratch = new DataView(new ArrayBuffer(8))

/** Reads one frame at a time; one instance serves all frames of a connection, or of all connections. */
export class Reader {
  bytes: Uint8Array = NO_BYTES
  view: DataView | undefined
  at = 0
  end = 0
  /** Operands of the frame that were not read yet. */
  operands = 0
  /** First element of the frame: opcode or status. */
  head = 0
  id = 0

  /** Takes a frame's payload and reads its first two elements; `operands` says how many follow. */
  open(bytes: Uint8Array, at: number, end: number, view?: DataView): void {
    this.bytes = bytes
    this.view = view
    this.at = at
    this.end = end
    this.id = 0
    // The usual frame: a short array, an opcode or status of one byte, an id of four.
    if (end - at >= 7 && bytes[at + 2] === 0xce && (bytes[at + 1] as number) < 0x80) {
      const short = (bytes[at] as number) - 0x92
      if (short >= 0 && short <= 13) {
        this.head = bytes[at + 1] as number
        this.id = readUint32(bytes, at + 3)
        this.operands = short
        this.at = at + 7
        return
      }
    }
    const count = this.array()
    if (count < 2) throw malformed(`a frame is an array of at least 2 elements, got ${count}`)
    this.head = this.uint()
    const id = this.uint()
    if (id >= TWO_32) throw malformed(`a request id is at most ${TWO_32 - 1}, got ${id}`)
    this.id = id
    this.operands = count - 2
  }

  /** Counts one operand off; false if there is none. Nil counts as none: an optional operand may be nil. */
  optional(): boolean {
    if (this.operands === 0) return false
    this.operands--
    if (this.bytes[this.at] !== 0xc0 || this.at >= this.end) return true
    this.at++
    return false
  }

  /** Counts one operand off that must be there. */
  required(name: string): void {
    if (this.operands === 0) throw badOperand(`${name} is missing`)
    this.operands--
  }

  /** Passes over operands that this version does not know, and checks that the frame ends with its array. */
  close(): void {
    while (this.operands > 0) {
      this.operands--
      this.skip(0)
    }
    if (this.at !== this.end)
      throw malformed(`${this.end - this.at} bytes after the end of the frame's array`)
  }

  array(): number {
    const first = this.#byte()
    if (first >= 0x90 && first <= 0x9f) return first & 15
    let count: number
    if (first === 0xdc) count = this.#uint16()
    else if (first === 0xdd) count = this.#uint32()
    else throw this.#unexpected('an array', first)
    // Each element has at least one byte, so a larger count is a lie.
    if (count > this.end - this.at) throw malformed(`an array of ${count} in ${this.end - this.at} bytes`)
    return count
  }

  map(): number {
    const first = this.#byte()
    if (first >= 0x80 && first <= 0x8f) return first & 15
    let count: number
    if (first === 0xde) count = this.#uint16()
    else if (first === 0xdf) count = this.#uint32()
    else throw this.#unexpected('a map', first)
    if (count * 2 > this.end - this.at) throw malformed(`a map of ${count} in ${this.end - this.at} bytes`)
    return count
  }

  /** An integer from 0 to 2^53 - 1, in any encoding. */
  uint(): number {
    const first = this.bytes[this.at] as number
    if (first < 0x80 && this.at < this.end) {
      this.at++
      return first
    }
    const value = this.int()
    if (value < 0) throw badOperand(`an integer from 0 is expected, got ${value}`)
    return value
  }

  /** An integer within ±(2^53 - 1), in any encoding, or a float that is one. */
  int(): number {
    const first = this.#byte()
    if (first < 0x80) return first
    if (first >= 0xe0) return first - 256
    switch (first) {
      case 0xcc:
        return this.#byte()
      case 0xcd:
        return this.#uint16()
      case 0xce:
        return this.#uint32()
      case 0xcf:
        return safe(this.#uint32() * TWO_32 + this.#uint32())
      case 0xd0:
        return (this.#byte() << 24) >> 24
      case 0xd1:
        return (this.#uint16() << 16) >> 16
      case 0xd2:
        return this.#uint32() | 0
      case 0xd3:
        return safe((this.#uint32() | 0) * TWO_32 + this.#uint32())
      case 0xca:
        scratch.setUint32(0, this.#uint32())
        return integral(scratch.getFloat32(0))
      case 0xcb:
        return integral(this.#float64())
      default:
        throw this.#unexpected('an integer', first)
    }
  }

  /** The integer (or integral float) that the first `length` bytes are, no more and no less; NaN if they are not. */
  number(bytes: Uint8Array, length: number): number {
    this.bytes = bytes
    this.at = 0
    this.end = length
    try {
      const value = this.int()
      return this.at === length ? value : Number.NaN
    } catch {
      return Number.NaN
    }
  }

  bool(): boolean {
    const first = this.#byte()
    if (first !== 0xc2 && first !== 0xc3) throw this.#unexpected('a boolean', first)
    return first === 0xc3
  }

  /** Where the bytes of a string or binary (in any encoding) lie. */
  range(into: ByteRange): void {
    const first = this.#byte()
    let length: number
    if (first >= 0xa0 && first <= 0xbf) length = first & 31
    else if (first === 0xc4 || first === 0xd9) length = this.#byte()
    else if (first === 0xc5 || first === 0xda) length = this.#uint16()
    else if (first === 0xc6 || first === 0xdb) length = this.#uint32()
    else throw this.#unexpected('a string or binary', first)
    if (length > this.end - this.at) throw truncated(length, this.end - this.at)
    into.bytes = this.bytes
    into.view = this.view
    into.at = this.at
    into.length = length
    this.at += length
  }

  /** A string; invalid UTF-8 becomes U+FFFD. */
  string(): string {
    this.range(textRange)
    return Buffer.from(
      textRange.bytes.buffer,
      textRange.bytes.byteOffset + textRange.at,
      textRange.length,
    ).toString('utf8')
  }

  /** Anything that HELLO and STATS may hold, as JavaScript values. */
  any(depth = 0): unknown {
    if (depth > ANY_DEPTH_MAX) throw malformed(`nesting deeper than ${ANY_DEPTH_MAX}`)
    const first = this.bytes[this.at] as number
    if (this.at >= this.end) throw truncated(1, 0)
    if (first === 0xc0) {
      this.at++
      return null
    }
    if (first === 0xc2 || first === 0xc3) return this.bool()
    if (first === 0xcb) {
      this.at++
      return this.#float64()
    }
    if ((first >= 0x80 && first <= 0x8f) || first === 0xde || first === 0xdf) {
      const entries: [string, unknown][] = []
      for (let left = this.map(); left > 0; left--) entries.push([this.string(), this.any(depth + 1)])
      return Object.fromEntries(entries)
    }
    if ((first >= 0x90 && first <= 0x9f) || first === 0xdc || first === 0xdd) {
      const items: unknown[] = []
      for (let left = this.array(); left > 0; left--) items.push(this.any(depth + 1))
      return items
    }
    return isText(first) ? this.string() : this.int()
  }

  /** Passes over one value of any kind that frames may hold. */
  skip(depth: number): void {
    if (depth > ANY_DEPTH_MAX) throw malformed(`nesting deeper than ${ANY_DEPTH_MAX}`)
    const first = this.bytes[this.at] as number
    if (this.at >= this.end) throw truncated(1, 0)
    if (first === 0xc0 || first === 0xc2 || first === 0xc3) this.at++
    else if (first === 0xca) this.#advance(5)
    else if (first === 0xcb || first === 0xcf || first === 0xd3) this.#advance(9)
    else if (isText(first)) this.range(textRange)
    else if ((first >= 0x90 && first <= 0x9f) || first === 0xdc || first === 0xdd)
      for (let left = this.array(); left > 0; left--) this.skip(depth + 1)
    else if ((first >= 0x80 && first <= 0x8f) || first === 0xde || first === 0xdf)
      for (let left = this.map() * 2; left > 0; left--) this.skip(depth + 1)
    else this.int()
  }

  #byte(): number {
    if (this.at >= this.end) throw truncated(1, 0)
    return this.bytes[this.at++] as number
  }

  #uint16(): number {
    const at = this.#advance(2)
    return ((this.bytes[at] as number) << 8) | (this.bytes[at + 1] as number)
  }

  #uint32(): number {
    return readUint32(this.bytes, this.#advance(4))
  }

  #float64(): number {
    const at = this.#advance(8)
    scratch.setUint32(0, readUint32(this.bytes, at))
    scratch.setUint32(4, readUint32(this.bytes, at + 4))
    return scratch.getFloat64(0)
  }

  #advance(bytes: number): number {
    const at = this.at
    if (bytes > this.end - at) throw truncated(bytes, this.end - at)
    this.at = at + bytes
    return at
  }

  #unexpected(wanted: string, first: number): ProtocolError {
    this.at--
    const what = isExtension(first)
      ? 'an extension type'
      : `type byte 0x${first.toString(16).padStart(2, '0')}`
    return isExtension(first) || first === 0xc1
      ? malformed(`${wanted} is expected, got ${what}`)
      : badOperand(`${wanted} is expected, got ${what}`)
  }
}

const textRange: ByteRange = emptyRange()

export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  )
}

function isText(first: number): boolean {
  return (
    (first >= 0xa0 && first <= 0xbf) || (first >= 0xc4 && first <= 0xc6) || (first >= 0xd9 && first <= 0xdb)
  )
}

function isExtension(first: number): boolean {
  return (first >= 0xc7 && first <= 0xc9) || (first >= 0xd4 && first <= 0xd8)
}

function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw badOperand('an integer is beyond ±(2^53 - 1)')
  return value
}

function integral(value: number): number {
  if (!Number.isSafeInteger(value)) throw badOperand(`an integer is expected, got the float ${value}`)
  // Adding 0 makes 0 of -0.
  return value + 0
}

function truncated(wanted: number, left: number): ProtocolError {
  return malformed(`the frame ends in the middle of a value: ${wanted} bytes wanted, ${left} left`)
}

function malformed(message: string): ProtocolError {
  return new ProtocolError(Status.Malformed, message)
}

function badOperand(message: string): ProtocolError {
  return new ProtocolError(Status.BadOperand, message)
}
