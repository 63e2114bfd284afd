// The Extended form, for what plain MessagePack cannot say: a table of tagged nodes which plain MessagePack can.
// Here are its tags, and the leaves in both directions; value-table-writer.ts and value-table-reader.ts do the rest.
//
//   table  [item, item…]     the first is the value itself; the others are containers that occur more than once
//   item   nil, boolean, number, str, bin (a Buffer), timestamp, or a node
//   node   [tag, …]          so an array on the wire is always a node, and there are no maps
//
// Arrays, plain objects, Maps and Sets keep their identity within one value, cycles included. Everything else is a
// leaf: two places that held the same Date or typed array get one each.

import { types } from 'node:util'
import { ValueError } from './value-error.ts'

/** The first element of a node, and what follows it. Only append: a number never changes its meaning. */
export const Tag = {
  /** index: the container in that place of the table */
  Reference: 0,
  /** item… */
  Array: 1,
  /** name, item, name, item…: a name is str or a Utf16 node */
  Object: 2,
  /** key item, value item, key item, value item… */
  Map: 3,
  /** item… */
  Set: 4,
  Undefined: 5,
  NegativeZero: 6,
  /** str: hexadecimal digits, `-` before them if it is negative */
  Bigint: 7,
  /** bin: a string with lone surrogates, two bytes per code unit, little-endian */
  Utf16: 8,
  InvalidDate: 9,
  /** kind, bin: elements little-endian */
  Bytes: 10,
} as const

/** The kinds of Tag.Bytes. Only append. */
export const ByteKind = {
  ArrayBuffer: 0,
  DataView: 1,
  Uint8Array: 2,
  Uint8ClampedArray: 3,
  Int8Array: 4,
  Uint16Array: 5,
  Int16Array: 6,
  Uint32Array: 7,
  Int32Array: 8,
  Float32Array: 9,
  Float64Array: 10,
  BigUint64Array: 11,
  BigInt64Array: 12,
  /** From Node 24 on; others cannot read it. */
  Float16Array: 13,
} as const

interface TypedArrayConstructor {
  readonly name: string
  readonly BYTES_PER_ELEMENT: number
  new (buffer: ArrayBuffer): ArrayBufferView
}

const typedArrays: readonly TypedArrayConstructor[] = [
  Uint8Array,
  Uint8ClampedArray,
  Int8Array,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  Float32Array,
  Float64Array,
  BigUint64Array,
  BigInt64Array,
  ...('Float16Array' in globalThis ? [globalThis.Float16Array] : []),
]
const typedArrayOfKind = new Map(
  typedArrays.map((type): [number, TypedArrayConstructor] => [
    ByteKind[type.name as keyof typeof ByteKind],
    type,
  ]),
)

/** The real kind of a typed array, whatever a subclass calls itself. */
const typedArrayName = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)?.get

/** V8 has no bigint of more than 2^30 bits. */
const BIGINT_DIGITS_MAX = 2 ** 28

// These nodes are always alike and nobody changes them, so a million holes are one array.
export const UNDEFINED: readonly unknown[] = [Tag.Undefined]
export const NEGATIVE_ZERO: readonly unknown[] = [Tag.NegativeZero]
export const INVALID_DATE: readonly unknown[] = [Tag.InvalidDate]

/** The value of a node that holds no others. Throws ValueError. */
export function readLeaf(node: readonly unknown[]): unknown {
  switch (node[0]) {
    case Tag.Undefined:
      return undefined
    case Tag.NegativeZero:
      return -0
    case Tag.Bigint:
      return readBigint(node[1])
    case Tag.Utf16:
      return readUtf16(node[1])
    case Tag.InvalidDate:
      return new Date(Number.NaN)
    case Tag.Bytes:
      return readBytes(node[1], node[2])
    default:
      throw new ValueError(`a node with the tag ${describe(node[0])}: damaged, or from a newer version`)
  }
}

export function writeBigint(value: bigint): readonly unknown[] {
  return [Tag.Bigint, value.toString(16)]
}

function readBigint(text: unknown): bigint {
  if (typeof text !== 'string' || text.length > BIGINT_DIGITS_MAX || !/^-?[0-9a-f]+$/i.test(text)) {
    throw new ValueError(`a bigint whose hexadecimal digits are ${describe(text)}`)
  }
  return text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`)
}

export function writeUtf16(text: string): readonly unknown[] {
  return [Tag.Utf16, Buffer.from(text, 'utf16le')]
}

function readUtf16(bytes: unknown): string {
  if (!Buffer.isBuffer(bytes) || bytes.length % 2 !== 0) {
    throw new ValueError(`UTF-16 that is no even number of bytes but ${describe(bytes)}`)
  }
  return bytes.toString('utf16le')
}

/** Whether its memory was given away, as `postMessage` can: it looks empty, and is not. */
export function isDetached(value: ArrayBufferView | ArrayBuffer): boolean {
  const buffer = ArrayBuffer.isView(value) ? value.buffer : value
  if (buffer.byteLength > 0) return false
  try {
    new Uint8Array(buffer)
    return false
  } catch {
    return true
  }
}

/** A node over the memory of `value`, not a copy. Undefined for a typed array this code has not heard of. */
export function writeBytes(value: ArrayBufferView | ArrayBuffer): readonly unknown[] | undefined {
  if (!ArrayBuffer.isView(value)) return [Tag.Bytes, ByteKind.ArrayBuffer, Buffer.from(value)]
  const name = types.isDataView(value) ? 'DataView' : typedArrayName?.call(value)
  if (!(name in ByteKind)) return undefined
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  return [Tag.Bytes, ByteKind[name as keyof typeof ByteKind], bytes]
}

function readBytes(kind: unknown, bytes: unknown): unknown {
  if (!Buffer.isBuffer(bytes)) throw new ValueError(`a typed array whose bytes are ${describe(bytes)}`)
  const memory = ownMemory(bytes)
  if (kind === ByteKind.ArrayBuffer) return memory
  if (kind === ByteKind.DataView) return new DataView(memory)
  const type = typeof kind === 'number' ? typedArrayOfKind.get(kind) : undefined
  if (type === undefined) throw new ValueError(`bytes of the kind ${describe(kind)}, which is not known here`)
  if (bytes.length % type.BYTES_PER_ELEMENT !== 0) {
    throw new ValueError(`${bytes.length} bytes are no whole number of elements of a ${type.name}`)
  }
  return new type(memory)
}

/** Memory that holds these bytes and no others: a small Buffer shares its own with strangers. */
function ownMemory(bytes: Buffer): ArrayBuffer {
  const { buffer } = bytes
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes.length) return buffer
  return new Uint8Array(bytes).buffer
}

/** Names what somebody else sent without repeating it at length. */
export function describe(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  if (typeof value === 'string') return `a string of ${value.length} characters`
  if (Buffer.isBuffer(value)) return `${value.length} bytes`
  return value === null ? 'null' : Array.isArray(value) ? 'a node' : `of type ${typeof value}`
}
