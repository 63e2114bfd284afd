// How a record lies in arena memory: the byte table that all of the arena store agrees on.
//
//   word   0  state 2 · before-is-free 1 · chained 1 · timed 1 · kind 2 · slack 1 │ flags 8 │ key bytes 11 │ spare 5
//          1  hash of the key
//          2  next record in the same index bucket
//          3  previous in its list: towards the more recently used value, or the younger marker
//          4  next in its list: towards the older
//          5  value bytes
//          6  hybrid logical clock, low 32 bits
//          7  hybrid logical clock, high 21 bits │ spare 11
//          8  sequence number, low 32 bits
//          9  sequence number, high 16 bits │ origin 16
//   timed 10  expiry in ms, low 32 bits
//         11  expiry, high 16 bits │ lifetime, high 16 bits
//         12  lifetime in ms, low 32 bits
//         13  previous in its expiry bucket        14  next in its expiry bucket
//   chained   +0 units of this first extent        +1 next extent
//         …   key bytes, value bytes
//
// 40 bytes before the key, 60 with an expiry; then the whole is rounded up to 8. A record is one extent (whose size
// follows from its fields; `slack` = one unit more), or, when no hole is large enough, a chain of them: a continuation
// is word 0: state, units << 3 · word 1: next extent · bytes.

import { BEFORE_IS_FREE, STATE_MASK, UNIT_BYTES } from './arena-memory.ts'

export const HASH = 1
export const NEXT_IN_BUCKET = 2
export const LIST_BEFORE = 3
export const LIST_AFTER = 4
export const VALUE_BYTES = 5
export const HLC_LOW = 6
export const HLC_HIGH = 7
export const SEQ_LOW = 8
export const SEQ_HIGH = 9
export const EXPIRY_LOW = 10
export const TIMES_HIGH = 11
export const LIFETIME_LOW = 12
export const EXPIRY_BEFORE = 13
export const EXPIRY_AFTER = 14

export const CHAINED = 8
export const TIMED = 16
export const KIND_SHIFT = 5
export const KIND_MASK = 3 << KIND_SHIFT
export const SLACK = 128
export const FLAGS_SHIFT = 8
export const FLAGS_MASK = 0xff << FLAGS_SHIFT
export const KEY_SHIFT = 16
export const KEY_BYTES_MASK = 0x7ff
/** What an overwrite in place must keep of word 0. */
export const KEPT_IN_PLACE = STATE_MASK | BEFORE_IS_FREE | SLACK

export const HEAD_WORDS = 10
export const TIMED_WORDS = 5
export const HEAD_BYTES = HEAD_WORDS * 4
export const TIMED_BYTES = TIMED_WORDS * 4
export const CHAIN_BYTES = 8
/** A continuation's own two words. */
export const CONTINUATION_BYTES = 8
/** A chain's pieces are not made smaller than this: below it the links would outweigh the bytes. */
export const PIECE_UNITS_MIN = 4
/** The first piece of a chain must hold the longest head. */
export const FIRST_PIECE_UNITS_MIN = (HEAD_BYTES + TIMED_BYTES + CHAIN_BYTES + UNIT_BYTES * 2 - 1) >>> 3

export const TWO_32 = 2 ** 32

/** Offset of the key in an unchained record, in bytes. */
export function keyOffset(word0: number): number {
  return (word0 & TIMED) === 0 ? HEAD_BYTES : HEAD_BYTES + TIMED_BYTES
}

export function keyBytesOf(word0: number): number {
  return (word0 >>> KEY_SHIFT) & KEY_BYTES_MASK
}

export function unitsOf(bytes: number): number {
  return (bytes + UNIT_BYTES - 1) >>> 3
}
