// JavaScript values <-> value bytes and their flags byte (ValueFlags in messages.ts; PROTOCOL.md has the bytes).
// The only file that imports msgpackr. Only clients and gateways use it: to a server a value is opaque.
//
//   Buffer                                     Raw           the caller's own bytes, not copied
//   string                                     Utf8
//   what plain MessagePack says exactly        MessagePack   null, booleans, numbers, arrays, objects, Date, Buffer
//   everything else that can be stored         Extended      Map, Set, undefined, -0, cycles, typed arrays, bigint, …
//
// What comes back is what was stored, or storing throws: nothing is changed or dropped in silence, but for what JSON
// users expect (symbol keys and inherited properties are not stored, classes come back as plain objects, toJSON is
// asked). Measured on an object of 214 bytes: 1.2 µs to encode, of which msgpackr takes 0.9, and 1.1 to decode.

import { Packr, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } from 'msgpackr/index-no-eval'
import { ValueFlags } from './messages.ts'
import { VALUE_DEPTH_MAX, ValueError } from './value-error.ts'
import { isPlain } from './value-plain.ts'
import { copyOut, readPlain } from './value-reader.ts'
import { isDetached } from './value-table.ts'
import { readTable } from './value-table-reader.ts'
import { toPlain, writeTable } from './value-table-writer.ts'
import { readText, writeText } from './value-text.ts'

export { VALUE_DEPTH_MAX, VALUE_ITEMS_MAX, ValueError } from './value-error.ts'

/** Where an encoded value lies: `length` bytes from `at` in `bytes`. */
export interface EncodedValue {
  bytes: Uint8Array
  at: number
  length: number
  flags: ValueFlags
}

/** A larger buffer than this is not kept for the next value. */
const PACK_BUFFER_BYTES_MAX = 1024 * 1024
const PACK_BUFFER_BYTES = 16 * 1024

/** The table and a leaf's node are two levels more than the value has. */
const TABLE_DEPTH_MAX = VALUE_DEPTH_MAX + 2

const packr = new Packr({
  useRecords: false,
  // sizes as small as they can be, and more than 65 535 properties
  variableMapSize: true,
  useToJSON: false,
  // These two are for a getter that answers differently when asked again: without them msgpackr writes an extension
  // that no reader here accepts.
  encodeUndefinedAsNil: true,
  writeFunction() {
    throw new TypeError('cannot store value: a getter returned a function')
  },
})

const encoded: EncodedValue = { bytes: Buffer.alloc(0), at: 0, length: 0, flags: ValueFlags.Raw }

/**
 * The bytes of a value. Returns one object that each call overwrites, and bytes that may be the caller's own or a
 * buffer that the next call reuses: copy them at once.
 *
 * Throws TypeError for what cannot be stored and RangeError for nesting deeper than VALUE_DEPTH_MAX; the message
 * names the path (`cannot store value.user.callback: a function`), and the error's `key`, not enumerable, is
 * `keyForErrors`. What the value's getters and `toJSON` throw goes through.
 */
export function encodeValue(value: unknown, keyForErrors?: string): EncodedValue {
  if (typeof value === 'string') {
    if (writeText(value, encoded)) {
      encoded.flags = ValueFlags.Utf8
      return encoded
    }
  } else if (Buffer.isBuffer(value) && !isDetached(value)) {
    encoded.bytes = value
    encoded.at = 0
    encoded.length = value.length
    encoded.flags = ValueFlags.Raw
    return encoded
  } else if (isPlain(value)) return pack(value, ValueFlags.MessagePack)
  return encodeUnusual(value, keyForErrors)
}

function encodeUnusual(value: unknown, keyForErrors: string | undefined): EncodedValue {
  const { items, needed } = writeTable(value, keyForErrors)
  return needed ? pack(items, ValueFlags.Extended) : pack(toPlain(items[0]), ValueFlags.MessagePack)
}

function pack(value: unknown, flags: ValueFlags): EncodedValue {
  const target = packr.pack(value, REUSE_BUFFER_MODE | RESET_BUFFER_MODE)
  encoded.bytes = target
  encoded.at = target.start
  encoded.length = target.end - target.start
  encoded.flags = flags
  if (target.length > PACK_BUFFER_BYTES_MAX) packr.useBuffer(Buffer.allocUnsafeSlow(PACK_BUFFER_BYTES))
  return encoded
}

/**
 * The value that these bytes say. Shares no memory with `bytes`, which may be reused at once: Buffers and typed
 * arrays are copies. Throws ValueError when the flags byte is not known or the bytes are not what it says; whatever
 * the bytes are, time and memory stay in proportion to `length`.
 */
export function decodeValue(bytes: Uint8Array, at: number, length: number, flags: number): unknown {
  const source =
    bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  switch (flags) {
    case ValueFlags.Raw:
      return copyOut(source, at, length)
    case ValueFlags.Utf8:
      return readText(source, at, length)
    case ValueFlags.MessagePack:
      return readPlain(source, at, length, VALUE_DEPTH_MAX)
    case ValueFlags.Extended:
      return readTable(readPlain(source, at, length, TABLE_DEPTH_MAX))
    default:
      throw new ValueError(
        `value flags ${flags} are not known (0 to 3 are): from a newer version, or not a value`,
      )
  }
}
