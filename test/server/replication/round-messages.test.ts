// The messages of a round: written and read back, grown at the end, and refused when they lie.

import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../../protocol/errors.ts'
import { PeerOpcode } from '../../../protocol/messages.ts'
import type { Reader } from '../../../protocol/reader.ts'
import {
  ENTRY_BYTES,
  LEAF_BITS_MAX,
  LIST_ENTRIES_MAX,
  type ListEntry,
  NONCE_BYTES,
  type RoundOpen,
  readAnswer,
  readList,
  readNumbers,
  readOpen,
  readSign,
  SEQS_MAX,
  Verdict,
  writeAnswer,
  writeList,
  writeNumbers,
  writeOpen,
  writeSign,
} from '../../../server/replication/round-messages.ts'
import { decoded, frame } from '../../helpers/frames.ts'
import { grown, readerOf, written } from '../../helpers/messages.ts'
import { bootOf } from '../../helpers/replicas.ts'

const HLC = 2 ** 50 + 3
const OPEN: RoundOpen = {
  id: 300,
  full: true,
  gap: HLC - 5,
  hlc: HLC,
  watermark: HLC - 1,
  nonce: Uint8Array.from({ length: NONCE_BYTES }, (_, i) => i * 16),
  leafBits: 1,
  digests: Int32Array.of(1, -1, 2 ** 31 - 1, -(2 ** 31)),
}
const ANSWER = {
  id: 300,
  verdict: Verdict.Differs,
  gap: 5,
  hlc: HLC,
  watermark: 0,
  leaves: [
    { leaf: 0, count: 70_000 },
    { leaf: 4095, count: 0 },
  ],
}
const ENTRIES: ListEntry[] = [
  { hash: 2 ** 53 - 1, hlc: HLC, origin: 'fffefdfc01020304', kind: 2, seq: 2 ** 48 - 1 },
  { hash: 0, hlc: 1, origin: bootOf('a'), kind: 0, seq: 1 },
  { hash: 2 ** 32, hlc: 2, origin: bootOf('b'), kind: 1, seq: 2 ** 32 + 5 },
]

function changed(payload: Buffer, index: number, operand: unknown): Reader {
  const fields = decoded(payload)
  fields[index] = operand
  return readerOf(frame(...fields).subarray(4))
}

const openBytes = written((writer) => writeOpen(writer, OPEN))
const answerBytes = written((writer) => writeAnswer(writer, ANSWER))
const listBytes = written((writer) => writeList(writer, 300, true, ENTRIES))

test('OPEN is read as it was written, with digests and without', () => {
  expect(readOpen(readerOf(openBytes))).toEqual(OPEN)
  expect(readOpen(readerOf(grown(openBytes)))).toEqual(OPEN)
  const without = { ...OPEN, full: false, digests: undefined }
  expect(readOpen(readerOf(written((writer) => writeOpen(writer, without))))).toEqual(without)
})

test('ANSWER is read as it was written; an unknown verdict is no demand for a full round', () => {
  expect(readAnswer(readerOf(answerBytes))).toEqual(ANSWER)
  expect(readAnswer(readerOf(grown(answerBytes)))).toEqual(ANSWER)
  expect(readAnswer(changed(answerBytes, 3, Verdict.Full)).verdict).toBe(Verdict.Full)
  expect(readAnswer(changed(answerBytes, 3, 9)).verdict).toBe(Verdict.Differs)
})

test('LIST is read as it was written: 32 bytes an entry, sequence numbers of 48 bits', () => {
  expect(decoded(listBytes)[4]).toHaveLength(ENTRIES.length * ENTRY_BYTES)
  expect(readList(readerOf(listBytes))).toEqual({ id: 300, isLast: true, entries: ENTRIES })
  expect(readList(readerOf(grown(listBytes)))).toEqual({ id: 300, isLast: true, entries: ENTRIES })
  const none = written((writer) => writeList(writer, 1, false, []))
  expect(readList(readerOf(none))).toEqual({ id: 1, isLast: false, entries: [] })
})

test.each([PeerOpcode.RoundAsk, PeerOpcode.RoundWant, PeerOpcode.RoundPurge])(
  'numbers of message %i',
  (opcode) => {
    const numbers = Array.from({ length: SEQS_MAX }, (_, i) => 2 ** 40 + i)
    const bytes = written((writer) => writeNumbers(writer, opcode, 7, numbers))
    expect(decoded(bytes)[0]).toBe(opcode)
    expect(readNumbers(readerOf(bytes))).toEqual({ id: 7, numbers })
  },
)

test.each([PeerOpcode.RoundTurn, PeerOpcode.RoundClose, PeerOpcode.RoundBusy])(
  'sign of message %i',
  (opcode) => {
    const bytes = written((writer) => writeSign(writer, opcode, 7))
    expect(readSign(readerOf(bytes))).toBe(7)
    expect(readSign(readerOf(grown(bytes)))).toBe(7)
  },
)

describe('is refused', () => {
  const wantBytes = written((writer) => writeNumbers(writer, PeerOpcode.RoundWant, 1, [1]))
  const bent = Buffer.from(decoded(listBytes)[4] as Buffer)
  bent[25] = 3
  test.each<[why: string, read: () => unknown]>([
    ['a nonce of 15 bytes', () => readOpen(changed(openBytes, 7, Buffer.alloc(15)))],
    ['more leaves than there may be', () => readOpen(changed(openBytes, 8, LEAF_BITS_MAX + 1))],
    ['digests for other leaves', () => readOpen(changed(openBytes, 8, 2))],
    ['digests that are cut', () => readOpen(changed(openBytes, 9, Buffer.alloc(15)))],
    ['full that is no boolean', () => readOpen(changed(openBytes, 3, 1))],
    ['a leaf beyond the last', () => readAnswer(changed(answerBytes, 7, [4096, 1]))],
    ['a leaf that only looks small in 32 bits', () => readAnswer(changed(answerBytes, 7, [2 ** 32, 1]))],
    [
      'more leaves in an answer than there are',
      () => readAnswer(changed(answerBytes, 7, Array(2 * 4096 + 2).fill(0))),
    ],
    ['an entry of 31 bytes', () => readList(changed(listBytes, 4, Buffer.alloc(31)))],
    [
      'a list that is too long',
      () => readList(changed(listBytes, 4, Buffer.alloc(ENTRY_BYTES * (LIST_ENTRIES_MAX + 1)))),
    ],
    ['an entry of a kind that there is not', () => readList(changed(listBytes, 4, bent))],
    ['too many numbers', () => readNumbers(changed(wantBytes, 3, Array(SEQS_MAX + 1).fill(1)))],
    ['a number below 0', () => readNumbers(changed(wantBytes, 3, [-1]))],
  ])('%s', (_, read) => {
    expect(read).toThrow(ProtocolError)
  })

  test('whatever ends too early', () => {
    for (const [bytes, read] of [
      [openBytes, readOpen],
      [answerBytes, readAnswer],
      [listBytes, readList],
      [wantBytes, readNumbers],
    ] as const)
      for (let end = 3; end < bytes.length; end++)
        expect(() => read(readerOf(bytes.subarray(0, end)))).toThrow(ProtocolError)
  })
})
