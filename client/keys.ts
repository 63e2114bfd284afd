// Keys and versions between JavaScript strings and operands.

import { CacheError } from '../protocol/errors.ts'
import { KEY_BYTES_MAX, VERSION_BYTES } from '../protocol/limits.ts'
import { type ByteRange, emptyRange, type Reader } from '../protocol/reader.ts'
import { Writer } from '../protocol/writer.ts'
import type { Version } from './calls.ts'

/** Up to this many characters a loop is faster than a call into the runtime. */
const LOOP_CHARS_MAX = 48

/**
 * Writes a key as an operand, `prefix` (well-formed text) before it. Throws TypeError for what is no string, is empty
 * or has a lone surrogate (which UTF-8 cannot say), and CacheError CACHE_TOO_LARGE for more than 1024 bytes.
 */
export function writeKey(writer: Writer, ownKey: string, prefix: string): void {
  if (typeof ownKey !== 'string') throw new TypeError(`a key is a string, got ${typeof ownKey}`)
  if (ownKey.length === 0) throw new TypeError('a key has at least one character, got an empty string')
  const key = prefix === '' ? ownKey : prefix + ownKey
  const length = key.length
  if (length > KEY_BYTES_MAX) throw keyTooLarge(key)
  writer.reserve(3 + length * 3 + 64)
  const bytes = writer.bytes
  if (length <= LOOP_CHARS_MAX) {
    const headBytes = length < 32 ? 1 : 2
    const at = writer.at + headBytes
    let i = 0
    for (; i < length; i++) {
      const unit = key.charCodeAt(i)
      if (unit > 0x7f) break
      bytes[at + i] = unit
    }
    if (i === length) {
      writer.stringHead(length)
      writer.at += length
      return
    }
  }
  if (!key.isWellFormed())
    throw new TypeError('a key is text: it has a lone surrogate, which UTF-8 cannot say')
  const keyBytes = Buffer.byteLength(key)
  if (keyBytes > KEY_BYTES_MAX) throw keyTooLarge(key)
  writer.stringHead(keyBytes)
  writer.at += writer.bytes.write(key, writer.at, 'utf8')
}

/** Throws what `writeKey` would, and writes nothing: for calls over many keys, which are sent all or none. */
export function checkKey(key: string, prefix: string): void {
  scratch.at = 0
  writeKey(scratch, key, prefix)
}

const scratch = new Writer(3 + KEY_BYTES_MAX * 3 + 64)

/** The prefix of a listing, that of the client before it. Throws TypeError or CacheError as `writeKey` does. */
export function scanPrefix(prefix: unknown, keyPrefix: string): string {
  if (typeof prefix !== 'string' || !prefix.isWellFormed())
    throw new TypeError('prefix: text without lone surrogates is needed')
  const whole = keyPrefix + prefix
  if (Buffer.byteLength(whole) > KEY_BYTES_MAX) throw keyTooLarge(whole)
  return whole
}

function keyTooLarge(key: string): CacheError {
  const keyBytes = Buffer.byteLength(key)
  return new CacheError('CACHE_TOO_LARGE', `a key has at most ${KEY_BYTES_MAX} bytes, got ${keyBytes}`, {
    key,
  })
}

const range: ByteRange = emptyRange()
const hexBytes = Buffer.alloc(VERSION_BYTES)
const HEX = Buffer.from('0123456789abcdef')
/** The origin of the last version read, and its text: one server's writes mostly have one origin. */
const originBytes = Buffer.alloc(VERSION_BYTES / 2)
let originText = '0000000000000000'

/** Reads a version operand that must be there, as its opaque string: 32 hexadecimal digits. */
export function readVersion(reply: Reader): Version {
  reply.required('version')
  reply.range(range)
  const { bytes, at, length } = range
  if (length !== VERSION_BYTES) return Buffer.from(bytes.subarray(at, at + length)).toString('hex') as Version
  let known = true
  for (let i = 0; i < VERSION_BYTES / 2; i++) {
    const byte = bytes[at + i] as number
    hexBytes[i * 2] = HEX[byte >>> 4] as number
    hexBytes[i * 2 + 1] = HEX[byte & 15] as number
    if (originBytes[i] !== bytes[at + VERSION_BYTES / 2 + i]) known = false
  }
  if (!known) {
    originBytes.set(bytes.subarray(at + VERSION_BYTES / 2, at + VERSION_BYTES))
    originText = originBytes.toString('hex')
  }
  return (hexBytes.toString('latin1') + originText) as Version
}

/** The bytes of a version. Throws TypeError for what never was one. */
export function versionBytes(version: unknown): Buffer {
  if (typeof version === 'string' && /^[0-9a-f]{32}$/.test(version)) return Buffer.from(version, 'hex')
  throw new TypeError(`a version is what a store or lookup gave, got ${String(version)}`)
}
