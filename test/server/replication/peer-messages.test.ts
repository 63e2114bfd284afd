// HELLO, PING and the small messages: written and read back, grown at the end, and refused when they lie.

import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../../protocol/errors.ts'
import { MEMBERS_MAX } from '../../../protocol/limits.ts'
import { PeerOpcode } from '../../../protocol/messages.ts'
import {
  Channel,
  type PeerHello,
  type PeerPing,
  readHello,
  readPing,
  readPong,
  readReason,
  TEXT_BYTES_MAX,
  writeHello,
  writePing,
  writePong,
  writeReason,
} from '../../../server/replication/peer-messages.ts'
import { decoded, frame } from '../../helpers/frames.ts'
import { grown, readerOf, written } from '../../helpers/messages.ts'
import { bootOf, bytesOf } from '../../helpers/replicas.ts'

const HLC = 2 ** 50 + 3
const HELLO: PeerHello = {
  versionMin: 1,
  versionMax: 1,
  capabilities: 0,
  cluster: 'default',
  label: 'Montréal-1',
  region: 'ca',
  boot: 'fffefdfc01020304',
  channel: Channel.Bulk,
  wallMs: 1_893_456_000_000,
  hlc: HLC,
  watermark: HLC - 1,
  address: '[::1]:11142',
  usedBytes: 2 ** 40,
  news: [
    { label: 'b', address: '10.0.0.2:11142', boot: bootOf('b'), unseenMs: 1500 },
    { label: 'listed:1', address: undefined, boot: undefined, unseenMs: 0 },
  ],
  removed: [{ label: 'gone', boot: bootOf('gone') }],
}
const PING: PeerPing = {
  wallMs: 1_893_456_000_000,
  hlc: HLC,
  watermark: 0,
  boot: bootOf('a'),
  tailSeq: 2 ** 47,
  stamp: 12_345,
  vector: new Map([['b', { boot: bootOf('b'), hlc: HLC }]]),
  news: HELLO.news,
  removed: HELLO.removed,
}

const helloBytes = written((writer) => writeHello(writer, HELLO))
const pingBytes = written((writer) => writePing(writer, PING))

describe('HELLO', () => {
  test('is read as it was written', () => {
    expect(readHello(readerOf(helloBytes))).toEqual(HELLO)
  })

  test('and operands of a later version are passed over', () => {
    expect(readHello(readerOf(grown(helloBytes)))).toEqual(HELLO)
  })

  test('lists may be missing, or nil', () => {
    for (const rest of [[], [null], [null, null, null, null]]) {
      const short = frame(...decoded(helloBytes).slice(0, 13), ...rest).subarray(4)
      expect(readHello(readerOf(short))).toMatchObject({
        address: undefined,
        usedBytes: 0,
        news: [],
        removed: [],
      })
    }
  })

  test('entries of lists may grow', () => {
    const fields = decoded(helloBytes)
    fields[15] = [['c', null, bytesOf(bootOf('c')), 7, 'later', [1]]]
    fields[16] = [['d', bytesOf(bootOf('d')), 'later']]
    const hello = readHello(readerOf(frame(...fields).subarray(4)))
    expect(hello.news).toEqual([{ label: 'c', address: undefined, boot: bootOf('c'), unseenMs: 7 }])
    expect(hello.removed).toEqual([{ label: 'd', boot: bootOf('d') }])
  })

  test.each<[why: string, index: number, operand: unknown]>([
    ['a node id that is empty', 6, ''],
    [`a node id of more than ${TEXT_BYTES_MAX} bytes`, 6, 'ü'.repeat(TEXT_BYTES_MAX / 2 + 1)],
    ['a cluster that is a number', 5, 5],
    ['a boot id of 7 bytes', 8, Buffer.alloc(7)],
    ['a channel that there is not', 9, 2],
    ['a negative clock', 11, -1],
    ['an address that is a list', 13, []],
    ['more members than there may be', 15, Array(MEMBERS_MAX + 1).fill(['x', null, null, 0])],
    ['a member of three fields', 15, [['x', null, null]]],
    ['a member without a name', 15, [[null, null, null, 0]]],
    ['a removed server without a boot', 16, [['x', null]]],
  ])('is refused with %s', (_, index, operand) => {
    const fields = decoded(helloBytes)
    fields[index] = operand
    expect(() => readHello(readerOf(frame(...fields).subarray(4)))).toThrow(ProtocolError)
  })

  test('is refused when it ends too early, wherever that is', () => {
    for (let end = 3; end < helloBytes.length; end++)
      expect(() => readHello(readerOf(helloBytes.subarray(0, end)))).toThrow(ProtocolError)
    for (let operands = 0; operands < 11; operands++) {
      const short = frame(...decoded(helloBytes).slice(0, 2 + operands)).subarray(4)
      expect(() => readHello(readerOf(short))).toThrow(/missing/)
    }
  })
})

describe('PING', () => {
  test('is read as it was written, and as a later version would write it', () => {
    expect(readPing(readerOf(pingBytes))).toEqual(PING)
    expect(readPing(readerOf(grown(pingBytes)))).toEqual(PING)
  })

  test('of a full cluster fits whatever buffer it is written into', () => {
    const label = (i: number) => `${i}`.padEnd(TEXT_BYTES_MAX, 'x')
    const many = Array.from({ length: MEMBERS_MAX }, (_, i) => label(i))
    const full: PeerPing = {
      ...PING,
      vector: new Map(many.map((name) => [name, { boot: bootOf('b'), hlc: HLC }])),
      news: many.map((name) => ({ label: name, address: name, boot: bootOf('b'), unseenMs: 2 ** 40 })),
      removed: many.map((name) => ({ label: name, boot: bootOf('b') })),
    }
    expect(readPing(readerOf(written((writer) => writePing(writer, full))))).toEqual(full)
  })

  test.each<[why: string, index: number, operand: unknown]>([
    ['a vector of too many', 8, Array(MEMBERS_MAX + 1).fill(['x', Buffer.alloc(8), 1])],
    ['a vector with an entry of two fields', 8, [['x', Buffer.alloc(8)]]],
    ['a tail that is a text', 6, 'tail'],
    ['a clock beyond 2^53', 3, 2n ** 60n],
  ])('is refused with %s', (_, index, operand) => {
    const fields = decoded(pingBytes)
    fields[index] = operand
    expect(() => readPing(readerOf(frame(...fields).subarray(4)))).toThrow(ProtocolError)
  })
})

test('PONG is read as it was written', () => {
  const bytes = written((writer) => writePong(writer, 5, 1_893_456_000_000))
  expect(readPong(readerOf(bytes))).toEqual({ stamp: 5, wallMs: 1_893_456_000_000 })
  expect(readPong(readerOf(grown(bytes)))).toEqual({ stamp: 5, wallMs: 1_893_456_000_000 })
})

describe('a reason', () => {
  test.each([[undefined], ['cache-1']])('is read as it was written, from %s', (label) => {
    const bytes = written((writer) => writeReason(writer, PeerOpcode.Refused, 'label', 'ein Gründ', label))
    expect(decoded(bytes)[0]).toBe(PeerOpcode.Refused)
    expect(readReason(readerOf(bytes))).toEqual({ code: 'label', text: 'ein Gründ', label })
  })

  test('without a text is one, and a long text is cut', () => {
    expect(readReason(readerOf(frame(PeerOpcode.Bye, 0, 'closing').subarray(4))).text).toBe('')
    const long = frame(PeerOpcode.Bye, 0, 'closing', 'x'.repeat(100_000)).subarray(4)
    expect(readReason(readerOf(long)).text.length).toBeLessThanOrEqual(2 * TEXT_BYTES_MAX)
  })

  test('with a code that is too long is none', () => {
    expect(() => readReason(readerOf(frame(PeerOpcode.Bye, 0, 'x'.repeat(257)).subarray(4)))).toThrow(
      ProtocolError,
    )
  })
})
