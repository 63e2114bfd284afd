// The messages of an anti-entropy round: their bytes. What they are for is told in rounds.ts.
//
//   OPEN     id, full, gap, hlc, F, nonce, leaf bits, digests      digests: 8 bytes a leaf, or none when all are 0
//   ANSWER   id, verdict, gap, hlc, F, [leaf, count, …]            the leaves that differ, with the answerer's counts
//   ASK      id, [leaf…]
//   LIST     id, last, entries                                     32 bytes an entry
//   RECORDS  id, hlc, F, [record…]
//   WANT, PURGE  id, [seq…]                                        sequence numbers of whoever made the list
//   TURN     id                                                    everything of this group of leaves is sent
//   CLOSE    id                                                    completed, on both sides
//   BUSY     id                                                    not now

import { ProtocolError } from '../../protocol/errors.ts'
import { PUSH_REQUEST_ID } from '../../protocol/limits.ts'
import { PeerOpcode, Status } from '../../protocol/messages.ts'
import { emptyRange, type Reader } from '../../protocol/reader.ts'
import { viewOf, type Writer } from '../../protocol/writer.ts'
import type { BootId } from '../origins.ts'
import type { RecordKind } from '../store/store.ts'
import { required } from './peer-messages.ts'

export const LEAF_BITS_MAX = 12
export const NONCE_BYTES = 16
export const ENTRY_BYTES = 32
/** Entries of one LIST. */
export const LIST_ENTRIES_MAX = 1024
/** Sequence numbers of one WANT or PURGE. */
export const SEQS_MAX = 4096

export const Verdict = {
  Differs: 0,
  /** The answerer needs a full round. */
  Full: 1,
} as const
export type Verdict = (typeof Verdict)[keyof typeof Verdict]

export interface RoundOpen {
  id: number
  full: boolean
  gap: number
  hlc: number
  watermark: number
  nonce: Uint8Array
  leafBits: number
  /** Two words a leaf; undefined: all 0. */
  digests: Int32Array | undefined
}

export interface RoundAnswer {
  id: number
  verdict: Verdict
  gap: number
  hlc: number
  watermark: number
  leaves: { leaf: number; count: number }[]
}

/** A record in a list. */
export interface ListEntry {
  /** 53 bits of its key's hash under the round's nonce. */
  hash: number
  hlc: number
  origin: BootId
  kind: RecordKind
  seq: number
}

function begin(writer: Writer, opcode: PeerOpcode, id: number, operands: number): number {
  const start = writer.beginFrame(operands + 3)
  writer.int(opcode)
  writer.int(PUSH_REQUEST_ID)
  writer.int(id)
  return start
}

export function writeOpen(writer: Writer, open: RoundOpen): void {
  const digestBytes = open.digests === undefined ? 0 : open.digests.length * 4
  writer.reserve(128 + digestBytes)
  const start = begin(writer, PeerOpcode.RoundOpen, open.id, 7)
  writer.bool(open.full)
  writer.int(open.gap)
  writer.int(open.hlc)
  writer.int(open.watermark)
  writer.binary(open.nonce, 0, NONCE_BYTES)
  writer.int(open.leafBits)
  writer.binaryHead(digestBytes)
  for (const word of open.digests ?? []) {
    writer.view.setInt32(writer.at, word)
    writer.at += 4
  }
  writer.endFrame(start)
}

export function readOpen(reader: Reader): RoundOpen {
  const id = required(reader, 'round').uint()
  const full = required(reader, 'full').bool()
  const gap = required(reader, 'gap').uint()
  const hlc = required(reader, 'hybrid clock').uint()
  const watermark = required(reader, 'flush watermark').uint()
  required(reader, 'nonce').range(range)
  const nonce = Uint8Array.from(range.bytes.subarray(range.at, range.at + range.length))
  if (nonce.length !== NONCE_BYTES) throw bad(`a nonce has ${NONCE_BYTES} bytes, got ${nonce.length}`)
  const leafBits = required(reader, 'leaf bits').uint()
  if (leafBits > LEAF_BITS_MAX) throw bad(`at most ${LEAF_BITS_MAX} leaf bits, got ${leafBits}`)
  required(reader, 'digests').range(range)
  const words = 2 << leafBits
  if (range.length !== 0 && range.length !== words * 4)
    throw bad(`${words * 4} bytes of digests are expected, got ${range.length}`)
  let digests: Int32Array | undefined
  if (range.length > 0) {
    digests = new Int32Array(words)
    const view = viewOf(range.bytes)
    for (let i = 0; i < words; i++) digests[i] = view.getInt32(range.at + i * 4)
  }
  reader.close()
  return { id, full, gap, hlc, watermark, nonce, leafBits, digests }
}

export function writeAnswer(writer: Writer, answer: RoundAnswer): void {
  writer.reserve(128 + answer.leaves.length * 10)
  const start = begin(writer, PeerOpcode.RoundAnswer, answer.id, 5)
  writer.int(answer.verdict)
  writer.int(answer.gap)
  writer.int(answer.hlc)
  writer.int(answer.watermark)
  writer.array(answer.leaves.length * 2)
  for (const { leaf, count } of answer.leaves) {
    writer.int(leaf)
    writer.int(count)
  }
  writer.endFrame(start)
}

export function readAnswer(reader: Reader): RoundAnswer {
  const id = required(reader, 'round').uint()
  const verdict = required(reader, 'verdict').uint() === Verdict.Full ? Verdict.Full : Verdict.Differs
  const gap = required(reader, 'gap').uint()
  const hlc = required(reader, 'hybrid clock').uint()
  const watermark = required(reader, 'flush watermark').uint()
  const leaves: RoundAnswer['leaves'] = []
  const count = required(reader, 'leaves').array()
  if (count > 2 << LEAF_BITS_MAX) throw bad(`at most ${1 << LEAF_BITS_MAX} leaves, got ${count / 2}`)
  for (let left = count; left >= 2; left -= 2)
    leaves.push({ leaf: leafOf(reader.uint()), count: reader.uint() })
  reader.close()
  return { id, verdict, gap, hlc, watermark, leaves }
}

export function writeNumbers(
  writer: Writer,
  opcode: typeof PeerOpcode.RoundAsk | typeof PeerOpcode.RoundWant | typeof PeerOpcode.RoundPurge,
  id: number,
  numbers: readonly number[],
): void {
  writer.reserve(64 + numbers.length * 9)
  const start = begin(writer, opcode, id, 1)
  writer.array(numbers.length)
  for (const number of numbers) writer.int(number)
  writer.endFrame(start)
}

export function readNumbers(reader: Reader): { id: number; numbers: number[] } {
  const id = required(reader, 'round').uint()
  const count = required(reader, 'numbers').array()
  if (count > SEQS_MAX) throw bad(`at most ${SEQS_MAX} numbers, got ${count}`)
  const numbers: number[] = []
  for (let left = count; left > 0; left--) numbers.push(reader.uint())
  reader.close()
  return { id, numbers }
}

export function writeSign(
  writer: Writer,
  opcode: typeof PeerOpcode.RoundTurn | typeof PeerOpcode.RoundClose | typeof PeerOpcode.RoundBusy,
  id: number,
): void {
  writer.reserve(32)
  writer.endFrame(begin(writer, opcode, id, 0))
}

export function readSign(reader: Reader): number {
  const id = required(reader, 'round').uint()
  reader.close()
  return id
}

export function writeList(writer: Writer, id: number, isLast: boolean, entries: readonly ListEntry[]): void {
  writer.reserve(64 + entries.length * ENTRY_BYTES)
  const start = begin(writer, PeerOpcode.RoundList, id, 2)
  writer.bool(isLast)
  writer.binaryHead(entries.length * ENTRY_BYTES)
  const { view } = writer
  for (const { hash, hlc, origin, kind, seq } of entries) {
    const at = writer.at
    view.setFloat64(at, hash)
    view.setFloat64(at + 8, hlc)
    view.setUint32(at + 16, Number.parseInt(origin.slice(0, 8), 16))
    view.setUint32(at + 20, Number.parseInt(origin.slice(8), 16))
    // Sequence numbers have 48 bits in the store: the kind goes above them.
    view.setUint32(at + 24, (kind << 16) | Math.floor(seq / 2 ** 32))
    view.setUint32(at + 28, seq >>> 0)
    writer.at += ENTRY_BYTES
  }
  writer.endFrame(start)
}

export function readList(reader: Reader): { id: number; isLast: boolean; entries: ListEntry[] } {
  const id = required(reader, 'round').uint()
  const isLast = required(reader, 'last').bool()
  required(reader, 'entries').range(range)
  if (range.length % ENTRY_BYTES !== 0 || range.length > LIST_ENTRIES_MAX * ENTRY_BYTES)
    throw bad(`entries of ${ENTRY_BYTES} bytes are expected, got ${range.length} bytes`)
  const entries: ListEntry[] = []
  const view = viewOf(range.bytes)
  for (let at = range.at; at < range.at + range.length; at += ENTRY_BYTES) {
    const high = view.getUint32(at + 24)
    entries.push({
      hash: view.getFloat64(at),
      hlc: view.getFloat64(at + 8),
      origin: hex(view.getUint32(at + 16)) + hex(view.getUint32(at + 20)),
      kind: kindOf(high >>> 16),
      seq: (high & 0xffff) * 2 ** 32 + view.getUint32(at + 28),
    })
  }
  reader.close()
  return { id, isLast, entries }
}

function hex(word: number): string {
  return word.toString(16).padStart(8, '0')
}

function kindOf(kind: number): RecordKind {
  if (kind === 0 || kind === 1 || kind === 2) return kind
  throw bad(`a record's kind is 0 to 2, got ${kind}`)
}

function leafOf(leaf: number): number {
  if (leaf >= 1 << LEAF_BITS_MAX) throw bad(`there is no leaf ${leaf}`)
  return leaf
}

function bad(message: string): ProtocolError {
  return new ProtocolError(Status.BadOperand, message)
}

const range = emptyRange()
