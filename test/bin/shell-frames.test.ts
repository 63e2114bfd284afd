// Frames in words. What is described was written by msgpackr, not by our writer.

import { describe, expect, test } from 'vitest'
import { FrameWords, hexLines } from '../../bin/shell-frames.ts'
import { Opcode, Status, ValueFlags } from '../../protocol/messages.ts'
import { frame, frameOf, hex } from '../helpers/frames.ts'
import { forEachSeed, seedRange } from '../server/store/random.ts'

const version = Buffer.from('00112233445566778899aabbccddeeff', 'hex')

describe('a request', () => {
  test.each<[elements: readonly unknown[], words: string]>([
    [[Opcode.Hello, 1, 1, 1, 0, 'me'], 'HELLO id=1 versionMin=1 versionMax=1 capabilities=0 clientName="me"'],
    [[Opcode.Get, 7, 'my-key', 1], 'GET id=7 key="my-key" want=1'],
    [[Opcode.Get, 7, Buffer.from('bin')], 'GET id=7 key="bin"'],
    [
      [Opcode.Set, 8, 'k', ValueFlags.MessagePack, Buffer.from([0x93, 1, 2, 3]), 60000, 1],
      'SET id=8 key="k" flags=2 value=[ 1, 2, 3 ] ttlMs=60000 condition=1',
    ],
    [
      [Opcode.Set, 8, 'k', 0, Buffer.from([0, 255]), null],
      'SET id=8 key="k" flags=0 value=<Buffer 00 ff> ttlMs=null',
    ],
    [
      [Opcode.Set, 8, 'k', 9, Buffer.from([0, 255])],
      'SET id=8 key="k" flags=9 value=0x00ff (value flags 9 are not known (0 to 3 are): from a newer version, or not a value)',
    ],
    [[Opcode.GetMany, 9, ['a', 'b']], 'GET_MANY id=9 keys=["a", "b"]'],
    [
      [Opcode.GetMany, 9, Array.from({ length: 20 }, () => 'k')],
      `GET_MANY id=9 keys=[${'"k", '.repeat(16)}… 4 more]`,
    ],
    [[Opcode.Quit, 2], 'QUIT id=2'],
    [
      [Opcode.Set, 8, 'k', 1, 'v', null, 0, null, 255, 900],
      'SET id=8 key="k" flags=1 value=\'v\' ttlMs=null condition=0 version=null acks=255 acksTimeoutMs=900',
    ],
    [[Opcode.Delete, 8, 'k', 1, 900], 'DELETE id=8 key="k" acks=1 acksTimeoutMs=900'],
    [[Opcode.Peers, 2], 'PEERS id=2'],
    [[Opcode.Lag, 2], 'LAG id=2'],
    [[Opcode.ForgetPeer, 2, 'b'], 'FORGET_PEER id=2 nodeId="b"'],
    [[Opcode.Ping, 2, 'p', 5, true], 'PING id=2 payload="p" operand2=5 operand3=true'],
    [[99, 2, 'x'], 'opcode 99 id=2 operand1="x"'],
  ])('%j', (elements, words) => {
    expect(new FrameWords().describe('sent', frame(...elements))).toBe(words)
  })
})

describe('a reply', () => {
  test('has the names of what was asked', () => {
    const words = new FrameWords()
    words.describe('sent', frame(Opcode.Get, 7, 'k', 1))
    words.describe('sent', frame(Opcode.Scan, 8, 0))
    expect(words.describe('received', frame(Status.Ok, 8, 0, ['a', 'b']))).toBe(
      'Ok id=8 (SCAN) cursor=0 keys=["a", "b"]',
    )
    expect(words.describe('received', frame(Status.Ok, 7, 1, Buffer.from('hé'), version, null))).toBe(
      "Ok id=7 (GET) flags=1 value='hé' version=0x00112233445566778899aabbccddeeff ttlMs=null",
    )
  })

  test('to nobody knows what, and unasked', () => {
    const words = new FrameWords()
    expect(words.describe('received', frame(Status.Miss, 3))).toBe('Miss id=3')
    expect(words.describe('received', frame(Status.ShuttingDown, 0, 'bye'))).toBe(
      'ShuttingDown id=0 (unasked) text="bye"',
    )
    expect(words.describe('received', frame(200, 3, 'new', 50))).toBe(
      'status 200 id=3 text="new" retryAfterMs=50',
    )
  })

  test('of peers, and of a write that waited', () => {
    const words = new FrameWords()
    words.describe('sent', frame(Opcode.Lag, 1))
    words.describe('sent', frame(Opcode.Delete, 2, 'k', 1))
    expect(words.describe('received', frame(Status.Miss, 2, 1))).toBe('Miss id=2 (DELETE) acks=1')
    expect(words.describe('received', frame(Status.Ok, 1, [{ nodeId: 'b', lagMs: 5 }]))).toBe(
      'Ok id=1 (LAG) peers=[{"nodeId":"b","lagMs":5}]',
    )
  })

  test('of statistics', () => {
    const words = new FrameWords()
    words.describe('sent', frame(Opcode.Stats, 1))
    expect(words.describe('received', frame(0, 1, { cache: { hits: 1 } }))).toBe(
      'Ok id=1 (STATS) statistics={"cache":{"hits":1}}',
    )
  })
})

describe('what is no frame of ours is said to be that', () => {
  test.each<[name: string, bytes: Buffer, words: RegExp]>([
    ['no array', frameOf().subarray(0, 4), /^\(not readable: /],
    ['text', hex('00000003 61 62 63'), /^\(not readable: an array is expected/],
    ['cut off', hex('00000004 93 03 01 a5'), /^GET id=1 \(not readable: .* 5 bytes wanted, 0 left\)$/],
    ['an extension', hex('00000006 93 02 01 d4 00 00'), /^PING id=1 \(not readable: .*\)$/],
    [
      'too deep',
      hex(`0000000a 93 02 01 ${'91'.repeat(7)}`),
      /^PING id=1 \(not readable: nesting deeper than 3\)$/,
    ],
    ['more than its array', hex('00000004 92 02 01 05'), /^PING id=1 \(not readable: 1 bytes after/],
  ])('%s', (_, bytes, words) => {
    expect(new FrameWords().describe('sent', bytes)).toMatch(words)
  })

  const SEEDS = 200
  test(`whatever the bytes are, it is one line: ${seedRange(SEEDS)}`, () => {
    forEachSeed(SEEDS, (random) => {
      const bytes = Buffer.from(Array.from({ length: 4 + random.below(40) }, () => random.below(256)))
      bytes[4] = 0x90 + random.below(8)
      bytes[5] = random.below(20)
      const words = new FrameWords()
      for (const direction of ['sent', 'received'] as const)
        expect(words.describe(direction, bytes).split('\n').length).toBeGreaterThan(0)
    })
  })
})

test('bytes in lines of 24, the first 512 of them', () => {
  expect(hexLines(Buffer.from([0, 1, 255]))).toBe('   00 01 ff')
  const lines = hexLines(Buffer.alloc(600)).split('\n')
  expect(lines).toHaveLength(23)
  expect(lines[0]).toBe(`   ${'00 '.repeat(23)}00`)
  expect(lines[22]).toBe('   … 88 more of 600 bytes')
})
