// Records as objects of arena memory: making, filling, reading and freeing them, whole or in pieces.
//
// Between the store's policy and the byte table of arena-record.ts. Knows nothing of order, limits or time.

import { copyBytes, copyWords } from '../../protocol/bytes.ts'
import {
  type ArenaMemory,
  SEGMENT_MASK,
  SEGMENT_UNITS,
  SEGMENT_UNITS_LOG2,
  State,
  UNIT_BYTES,
} from './arena-memory.ts'
import {
  CHAIN_BYTES,
  CHAINED,
  CONTINUATION_BYTES,
  EXPIRY_AFTER,
  EXPIRY_BEFORE,
  EXPIRY_LOW,
  FIRST_PIECE_UNITS_MIN,
  FLAGS_MASK,
  FLAGS_SHIFT,
  HASH,
  HEAD_BYTES,
  HLC_HIGH,
  HLC_LOW,
  KEPT_IN_PLACE,
  KEY_SHIFT,
  KIND_MASK,
  KIND_SHIFT,
  keyBytesOf,
  keyOffset,
  LIFETIME_LOW,
  PIECE_UNITS_MIN,
  SEQ_HIGH,
  SEQ_LOW,
  SLACK,
  TIMED,
  TIMED_BYTES,
  TIMES_HIGH,
  TWO_32,
  unitsOf,
  VALUE_BYTES,
} from './arena-record.ts'
import type { ExpiryLinks } from './expiry.ts'
import { NO_SLOT, type RecordHead, type RecordKind, type Slot, type Span } from './store.ts'

/** Whether a record has room for an expiry: TIMED or 0. */
export type Timing = typeof TIMED | 0

export class ArenaRecords implements ExpiryLinks {
  readonly #memory: ArenaMemory

  constructor(memory: ArenaMemory) {
    this.#memory = memory
  }

  words(slot: Slot): Uint32Array {
    return this.#memory.words[slot >>> SEGMENT_UNITS_LOG2] as Uint32Array
  }

  bytes(slot: Slot): Uint8Array {
    return this.#memory.bytes[slot >>> SEGMENT_UNITS_LOG2] as Uint8Array
  }

  word(slot: Slot, index: number): number {
    return this.words(slot)[((slot & SEGMENT_MASK) << 1) + index] as number
  }

  setWord(slot: Slot, index: number, value: number): void {
    this.words(slot)[((slot & SEGMENT_MASK) << 1) + index] = value
  }

  /** Memory for a record with this many key and value bytes; NO_SLOT if there is not enough, even in pieces. */
  allocate(timing: Timing, payloadBytes: number): Slot {
    const units = unitsOf((timing === 0 ? HEAD_BYTES : HEAD_BYTES + TIMED_BYTES) + payloadBytes)
    if (units <= SEGMENT_UNITS >>> 1) {
      const slot = this.#memory.allocate(units)
      if (slot !== NO_SLOT) {
        this.setWord(slot, 0, State.Head | timing | (this.#memory.givenUnits > units ? SLACK : 0))
        return slot
      }
    }
    return this.#allocateChain(timing, payloadBytes)
  }

  /** Whether `allocate` would find memory. By trying: only that tells whether what is free in pieces will do. */
  canAllocate(timing: Timing, payloadBytes: number): boolean {
    const slot = this.allocate(timing, payloadBytes)
    if (slot === NO_SLOT) return false
    // An unchained record's size follows from fields that nobody has written.
    if ((this.word(slot, 0) & CHAINED) !== 0) this.free(slot)
    else this.#memory.free(slot, this.#memory.givenUnits)
    return true
  }

  /** Whether a record could take a key and value of these sizes without a change to its memory. */
  fitsInPlace(slot: Slot, timing: Timing, payloadBytes: number): boolean {
    const word0 = this.word(slot, 0)
    if ((word0 & (CHAINED | TIMED)) !== timing) return false
    const former = keyBytesOf(word0) + this.word(slot, VALUE_BYTES)
    const head = timing === 0 ? HEAD_BYTES : HEAD_BYTES + TIMED_BYTES
    return unitsOf(head + former) === unitsOf(head + payloadBytes)
  }

  /** Fills a record: all but its hash's chain, its lists and its sequence number. */
  write(slot: Slot, hash: number, key: Span, value: Span, head: RecordHead): void {
    const words = this.words(slot)
    const index = (slot & SEGMENT_MASK) << 1
    const word0 =
      ((words[index] as number) & (KEPT_IN_PLACE | CHAINED | TIMED)) |
      (head.kind << KIND_SHIFT) |
      (head.flags << FLAGS_SHIFT) |
      (key.length << KEY_SHIFT)
    words[index] = word0
    words[index + HASH] = hash
    words[index + VALUE_BYTES] = value.length
    words[index + HLC_LOW] = head.hlc
    words[index + HLC_HIGH] = head.hlc / TWO_32
    words[index + SEQ_HIGH] = head.origin
    if ((word0 & TIMED) !== 0) {
      words[index + EXPIRY_LOW] = head.expiresAtMs
      words[index + TIMES_HIGH] = ((head.expiresAtMs / TWO_32) << 16) | (head.lifetimeMs / TWO_32)
      words[index + LIFETIME_LOW] = head.lifetimeMs
    }
    if ((word0 & CHAINED) !== 0) {
      this.#writeChain(slot, 0, key)
      this.#writeChain(slot, key.length, value)
      return
    }
    const at = ((slot & SEGMENT_MASK) << 3) + keyOffset(word0)
    this.#copyIn(key, slot, at)
    this.#copyIn(value, slot, at + key.length)
  }

  /** Gives a record that stays where it is (see fitsInPlace) a new value and version; its key is the same. */
  rewrite(slot: Slot, value: Span, head: RecordHead, seq: number): void {
    const words = this.words(slot)
    const index = (slot & SEGMENT_MASK) << 1
    const word0 =
      ((words[index] as number) & ~(KIND_MASK | FLAGS_MASK)) |
      (head.kind << KIND_SHIFT) |
      (head.flags << FLAGS_SHIFT)
    words[index] = word0
    words[index + VALUE_BYTES] = value.length
    words[index + HLC_LOW] = head.hlc
    words[index + HLC_HIGH] = head.hlc / TWO_32
    words[index + SEQ_LOW] = seq
    words[index + SEQ_HIGH] = ((seq / TWO_32) << 16) | head.origin
    if ((word0 & TIMED) !== 0) {
      words[index + EXPIRY_LOW] = head.expiresAtMs
      words[index + TIMES_HIGH] = ((head.expiresAtMs / TWO_32) << 16) | (head.lifetimeMs / TWO_32)
      words[index + LIFETIME_LOW] = head.lifetimeMs
    }
    this.#copyIn(value, slot, ((slot & SEGMENT_MASK) << 3) + keyOffset(word0) + keyBytesOf(word0))
  }

  /** Gives all of a record's memory back. */
  free(slot: Slot): void {
    const word0 = this.word(slot, 0)
    if ((word0 & CHAINED) !== 0) this.#freeChain(this.#continuation(slot, word0))
    this.#memory.free(slot, this.#units(slot, word0))
  }

  /** Cuts the value's bytes off; the key stays where it is. */
  dropValue(slot: Slot): void {
    const word0 = this.word(slot, 0)
    const keyBytes = keyBytesOf(word0)
    if ((word0 & CHAINED) === 0) {
      const keep = unitsOf(keyOffset(word0) + keyBytes)
      const kept = this.#memory.trim(slot, this.#units(slot, word0), keep)
      this.setWord(slot, 0, (this.word(slot, 0) & ~SLACK) | (kept > keep ? SLACK : 0))
    } else {
      this.#truncateChain(slot, word0, keyBytes)
    }
    this.setWord(slot, VALUE_BYTES, 0)
  }

  keyEquals(slot: Slot, key: Span): boolean {
    const word0 = this.word(slot, 0)
    const length = key.length
    if (keyBytesOf(word0) !== length) return false
    const theirs = key.bytes
    const theirAt = key.at
    if ((word0 & CHAINED) !== 0) return this.#chainEquals(slot, word0, key)
    const ours = this.bytes(slot)
    const ourAt = ((slot & SEGMENT_MASK) << 3) + keyOffset(word0)
    let i = 0
    if (key.view !== undefined) {
      const ourView = this.#view(slot)
      for (const wordsEnd = length - 3; i < wordsEnd; i += 4)
        if (ourView.getInt32(ourAt + i, true) !== key.view.getInt32(theirAt + i, true)) return false
    }
    for (; i < length; i++) if (ours[ourAt + i] !== theirs[theirAt + i]) return false
    return true
  }

  copyKey(slot: Slot, target: Uint8Array, at: number): void {
    const word0 = this.word(slot, 0)
    this.#copyOut(slot, word0, 0, keyBytesOf(word0), target, at)
  }

  copyValue(slot: Slot, target: Uint8Array, at: number, view?: DataView): void {
    const words = this.words(slot)
    const index = (slot & SEGMENT_MASK) << 1
    const word0 = words[index] as number
    if (view !== undefined && (word0 & CHAINED) === 0) {
      const from = (index << 2) + keyOffset(word0) + keyBytesOf(word0)
      const length = words[index + VALUE_BYTES] as number
      copyWords(this.bytes(slot), this.#view(slot), from, length, target, view, at)
      return
    }
    this.#copyOut(slot, word0, keyBytesOf(word0), this.word(slot, VALUE_BYTES), target, at)
  }

  hash(slot: Slot): number {
    return this.word(slot, HASH) | 0
  }

  kind(slot: Slot): RecordKind {
    return ((this.word(slot, 0) & KIND_MASK) >>> KIND_SHIFT) as RecordKind
  }

  setKind(slot: Slot, kind: RecordKind): void {
    this.setWord(slot, 0, (this.word(slot, 0) & ~KIND_MASK) | (kind << KIND_SHIFT))
  }

  setFlags(slot: Slot, flags: number): void {
    this.setWord(slot, 0, (this.word(slot, 0) & ~FLAGS_MASK) | (flags << FLAGS_SHIFT))
  }

  hlc(slot: Slot): number {
    return this.word(slot, HLC_HIGH) * TWO_32 + this.word(slot, HLC_LOW)
  }

  seq(slot: Slot): number {
    return (this.word(slot, SEQ_HIGH) >>> 16) * TWO_32 + this.word(slot, SEQ_LOW)
  }

  setSeq(slot: Slot, seq: number): void {
    const words = this.words(slot)
    const index = (slot & SEGMENT_MASK) << 1
    words[index + SEQ_LOW] = seq
    words[index + SEQ_HIGH] = ((words[index + SEQ_HIGH] as number) & 0xffff) | ((seq / TWO_32) << 16)
  }

  expiresAtMs(slot: Slot): number {
    if ((this.word(slot, 0) & TIMED) === 0) return 0
    return (this.word(slot, TIMES_HIGH) >>> 16) * TWO_32 + this.word(slot, EXPIRY_LOW)
  }

  setExpiresAtMs(slot: Slot, expiresAtMs: number): void {
    this.setWord(slot, EXPIRY_LOW, expiresAtMs)
    const lifetimeHigh = this.word(slot, TIMES_HIGH) & 0xffff
    this.setWord(slot, TIMES_HIGH, ((expiresAtMs / TWO_32) << 16) | lifetimeHigh)
  }

  // The links of the expiry wheel, for timed records.

  next(slot: Slot): number {
    return this.word(slot, EXPIRY_AFTER)
  }

  setNext(slot: Slot, to: number): void {
    this.setWord(slot, EXPIRY_AFTER, to)
  }

  prev(slot: Slot): number {
    return this.word(slot, EXPIRY_BEFORE)
  }

  setPrev(slot: Slot, to: number): void {
    this.setWord(slot, EXPIRY_BEFORE, to)
  }

  head(slot: Slot, into: RecordHead): void {
    const word0 = this.word(slot, 0)
    into.kind = this.kind(slot)
    into.flags = (word0 >>> FLAGS_SHIFT) & 0xff
    into.hlc = this.hlc(slot)
    into.origin = this.word(slot, SEQ_HIGH) & 0xffff
    into.seq = this.seq(slot)
    into.expiresAtMs = this.expiresAtMs(slot)
    into.lifetimeMs =
      (word0 & TIMED) === 0
        ? 0
        : (this.word(slot, TIMES_HIGH) & 0xffff) * TWO_32 + this.word(slot, LIFETIME_LOW)
    into.keyBytes = keyBytesOf(word0)
    into.valueBytes = this.word(slot, VALUE_BYTES)
  }

  #view(slot: Slot): DataView {
    return this.#memory.views[slot >>> SEGMENT_UNITS_LOG2] as DataView
  }

  #copyIn(span: Span, slot: Slot, at: number): void {
    if (span.view === undefined) copyBytes(span.bytes, span.at, span.length, this.bytes(slot), at)
    else copyWords(span.bytes, span.view, span.at, span.length, this.bytes(slot), this.#view(slot), at)
  }

  // Chains. A chain's bytes are a stream over its pieces: key, then value.

  #allocateChain(timing: Timing, payloadBytes: number): Slot {
    const headBytes = (timing === 0 ? HEAD_BYTES : HEAD_BYTES + TIMED_BYTES) + CHAIN_BYTES
    const memory = this.#memory
    if (memory.freeUnits < unitsOf(headBytes + payloadBytes)) return NO_SLOT
    const slot = memory.takeLargest(FIRST_PIECE_UNITS_MIN, unitsOf(headBytes + payloadBytes))
    if (slot === NO_SLOT) return NO_SLOT
    const firstUnits = memory.givenUnits
    const chainWord = (headBytes - CHAIN_BYTES) >>> 2
    this.setWord(slot, 0, State.Head | timing | CHAINED)
    this.setWord(slot, chainWord, firstUnits)
    this.setWord(slot, chainWord + 1, NO_SLOT)
    let missing = payloadBytes - (firstUnits * UNIT_BYTES - headBytes)
    let last = slot
    let linkWord = chainWord + 1
    while (missing > 0) {
      const piece = memory.takeLargest(
        PIECE_UNITS_MIN,
        Math.max(PIECE_UNITS_MIN, unitsOf(CONTINUATION_BYTES + missing)),
      )
      if (piece === NO_SLOT) {
        this.free(slot)
        return NO_SLOT
      }
      const units = memory.givenUnits
      this.setWord(piece, 0, State.Continuation | (units << 3))
      this.setWord(piece, 1, NO_SLOT)
      this.setWord(last, linkWord, piece)
      last = piece
      linkWord = 1
      missing -= units * UNIT_BYTES - CONTINUATION_BYTES
    }
    return slot
  }

  #freeChain(piece: Slot): void {
    while (piece !== NO_SLOT) {
      const next = this.word(piece, 1)
      this.#memory.free(piece, this.word(piece, 0) >>> 3)
      piece = next
    }
  }

  /** Frees the pieces that hold nothing of the first `keepBytes` of the stream. */
  #truncateChain(slot: Slot, word0: number, keepBytes: number): void {
    const chainWord = keyOffset(word0) >>> 2
    let left = keepBytes
    let last = slot
    let linkWord = chainWord + 1
    let headBytes = keyOffset(word0) + CHAIN_BYTES
    let units = this.#units(slot, word0)
    while (left > units * UNIT_BYTES - headBytes) {
      left -= units * UNIT_BYTES - headBytes
      last = this.word(last, linkWord)
      linkWord = 1
      headBytes = CONTINUATION_BYTES
      units = this.word(last, 0) >>> 3
    }
    this.#freeChain(this.word(last, linkWord))
    this.setWord(last, linkWord, NO_SLOT)
    const kept = this.#memory.trim(last, units, Math.max(PIECE_UNITS_MIN, unitsOf(headBytes + left)))
    if (last === slot) this.setWord(slot, chainWord, kept)
    else this.setWord(last, 0, (this.word(last, 0) & 7) | (kept << 3))
  }

  /** Units of a record's first or only extent. */
  #units(slot: Slot, word0: number): number {
    const at = keyOffset(word0)
    if ((word0 & CHAINED) !== 0) return this.word(slot, at >>> 2)
    const units = unitsOf(at + keyBytesOf(word0) + this.word(slot, VALUE_BYTES))
    return (word0 & SLACK) === 0 ? units : units + 1
  }

  #continuation(slot: Slot, word0: number): Slot {
    return this.word(slot, (keyOffset(word0) >>> 2) + 1)
  }

  #copyOut(slot: Slot, word0: number, from: number, length: number, target: Uint8Array, at: number): void {
    if ((word0 & CHAINED) === 0) {
      copyBytes(this.bytes(slot), ((slot & SEGMENT_MASK) << 3) + keyOffset(word0) + from, length, target, at)
      return
    }
    this.#eachPiece(slot, word0, from, length, (bytes, pieceAt, count, done) => {
      copyBytes(bytes, pieceAt, count, target, at + done)
    })
  }

  #writeChain(slot: Slot, from: number, span: Span): void {
    this.#eachPiece(slot, this.word(slot, 0), from, span.length, (bytes, pieceAt, count, done) => {
      copyBytes(span.bytes, span.at + done, count, bytes, pieceAt)
    })
  }

  #chainEquals(slot: Slot, word0: number, key: Span): boolean {
    let equal = true
    this.#eachPiece(slot, word0, 0, key.length, (bytes, pieceAt, count, done) => {
      for (let i = 0; i < count; i++) if (bytes[pieceAt + i] !== key.bytes[key.at + done + i]) equal = false
    })
    return equal
  }

  /** Walks the stretch [from, from + length) of a chain's stream, piece by piece. */
  #eachPiece(
    slot: Slot,
    word0: number,
    from: number,
    length: number,
    onPiece: (bytes: Uint8Array, at: number, count: number, done: number) => void,
  ): void {
    let piece = slot
    let headBytes = keyOffset(word0) + CHAIN_BYTES
    let units = this.#units(slot, word0)
    let next = this.#continuation(slot, word0)
    let skip = from
    let done = 0
    while (done < length) {
      const room = units * UNIT_BYTES - headBytes
      if (skip < room) {
        const count = Math.min(room - skip, length - done)
        onPiece(this.bytes(piece), ((piece & SEGMENT_MASK) << 3) + headBytes + skip, count, done)
        done += count
        skip = 0
      } else {
        skip -= room
      }
      piece = next
      if (done < length) {
        headBytes = CONTINUATION_BYTES
        units = this.word(piece, 0) >>> 3
        next = this.word(piece, 1)
      }
    }
  }
}
