// Operands that several commands of the shell share: numbers, times to live, key patterns, hexadecimal bytes.
// From words to what a request needs; a word that cannot be it is a UsageError that says what is allowed.

import { FRAME_HEADER_BYTES, TTL_MS_MAX } from '../protocol/limits.ts'
import { duration } from '../protocol/notation.ts'
import { readUint32 } from '../protocol/reader.ts'
import { type CommandInput, UsageError } from './shell-input.ts'

/** No end, as an operand on the wire. */
const TTL_NONE_MS = 0
const TTL_ALLOWED = `seconds above 0 (or 500ms, 5m, 1h), at most ${TTL_MS_MAX / 1000}, or never`

/** A time to live in ms, 0 for none; a bare number is seconds. */
export function readTtlMs(input: CommandInput, what: string): number {
  const text = input.word(what)
  if (/^(never|inf|infinity)$/i.test(text)) return TTL_NONE_MS
  return checkedTtl(what, text, duration.parse(text), TTL_ALLOWED)
}

/** A time to live that is written in ms. */
export function readTtlInMs(input: CommandInput, what: string): number {
  const text = input.word(what)
  const ms = /^\d+$/.test(text) ? Number(text) : undefined
  return checkedTtl(what, text, ms, `whole milliseconds from 1 to ${TTL_MS_MAX}`)
}

function checkedTtl(what: string, text: string, ms: number | undefined, allowed: string): number {
  if (ms !== undefined && ms > 0 && ms <= TTL_MS_MAX) return ms
  throw new UsageError(`${what} ${JSON.stringify(text)} is not possible; allowed: ${allowed}`)
}

/** An integer that a counter can hold. */
export function readInteger(input: CommandInput, what: string): number {
  const text = input.word(what)
  const number = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(number)) return number
  throw new UsageError(
    `${what} ${JSON.stringify(text)} is not possible; allowed: an integer within ±(2^53 - 1)`,
  )
}

/** Which keys: those with a prefix that also pass a test. */
export interface KeyPattern {
  prefix: string
  matches(key: string): boolean
}

/**
 * A prefix; or, if it has `*` or `?`, a pattern for whole keys: what stands before the first of these is its prefix.
 * `\` before one of them takes its meaning away.
 */
export function keyPattern(text: string): KeyPattern {
  const parts = text.match(/\\[*?\\]|[*?]|[^*?\\]+|\\/g) ?? []
  const wild = parts.findIndex((part) => part === '*' || part === '?')
  const literal = (part: string) => (part.length === 2 && part.startsWith('\\') ? part.slice(1) : part)
  if (wild < 0) return { prefix: parts.map(literal).join(''), matches: () => true }
  const prefix = parts.slice(0, wild).map(literal).join('')
  const rest = parts
    .slice(wild)
    .flatMap((part) =>
      part === '*' || part === '?' ? [part] : Array.from(literal(part), (char) => `=${char}`),
    )
  return { prefix, matches: (key) => matchesGlob(Array.from(key.slice(prefix.length)), rest) }
}

/**
 * `pattern`: `*`, `?`, and `=` before each plain character. Takes time in proportion to the product of the lengths at
 * most: it goes back only to the last `*`.
 */
function matchesGlob(chars: readonly string[], pattern: readonly string[]): boolean {
  let at = 0
  let star = -1
  let starAt = 0
  let p = 0
  while (at < chars.length) {
    const part = pattern[p]
    if (part === '*') {
      star = p++
      starAt = at
    } else if (part === '?' || part === `=${chars[at]}`) {
      p++
      at++
    } else if (star >= 0) {
      p = star + 1
      at = ++starAt
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}

export interface RawBytes {
  bytes: Buffer
  /** The whole frames among them, from the beginning. */
  frames: readonly Buffer[]
}

/**
 * Bytes in hexadecimal, blanks between them or not. If they begin as the inside of a frame does, with an array, they
 * are one, and get their length in front; no length of a frame begins like that. Anything else stays as it is.
 */
export function readRawBytes(input: CommandInput): RawBytes {
  const digits = input.words('HEX').join('').replace(/^0x/i, '')
  if (!/^(?:[0-9a-f]{2})+$/i.test(digits))
    throw new UsageError('HEX is pairs of hexadecimal digits, blanks between them or not')
  const bytes = Buffer.from(digits, 'hex')
  const first = bytes[0] ?? 0
  if ((first & 0xf0) !== 0x90 && first !== 0xdc && first !== 0xdd)
    return { bytes, frames: wholeFrames(bytes) }
  const header = Buffer.alloc(FRAME_HEADER_BYTES)
  header.writeUInt32BE(bytes.length)
  const frame = Buffer.concat([header, bytes])
  return { bytes: frame, frames: [frame] }
}

function wholeFrames(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = []
  let at = 0
  while (bytes.length - at >= FRAME_HEADER_BYTES) {
    const end = at + FRAME_HEADER_BYTES + readUint32(bytes, at)
    if (end > bytes.length) break
    frames.push(bytes.subarray(at, end))
    at = end
  }
  return frames
}
