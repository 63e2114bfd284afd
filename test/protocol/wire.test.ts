// The reader and writer of operands, against bytes written out by hand and against msgpackr as an independent codec.

import { Packr, unpack } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../protocol/errors.ts'
import { Status } from '../../protocol/messages.ts'
import { emptyRange, Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import { hex, payloads } from '../helpers/frames.ts'
import { forEachSeed, type Random, seedRange } from '../server/store/random.ts'

const packr = new Packr({ useRecords: false })
const SAFE = Number.MAX_SAFE_INTEGER

/** A reader before one operand; behind the frame lie bytes that it must not look at. */
function readerOf(operand: Uint8Array): Reader {
  const payload = Buffer.concat([hex('93 00 01'), operand])
  const reader = new Reader()
  reader.open(Buffer.concat([hex('ee ee'), payload, Buffer.alloc(16, 0xa0)]), 2, 2 + payload.length)
  return reader
}

/** What msgpackr would not write: a head and as many bytes as it says. */
function sized(head: string, length: number): Buffer {
  return Buffer.concat([hex(head), Buffer.alloc(length, 0x61)])
}

function statusOf(read: () => unknown): Status | 'no error' {
  try {
    read()
  } catch (error) {
    if (error instanceof ProtocolError) return error.status
    throw error
  }
  return 'no error'
}

const INTEGERS: readonly (readonly [string, number])[] = [
  ['00', 0],
  ['7f', 127],
  ['ff', -1],
  ['e0', -32],
  ['cc 00', 0],
  ['cc ff', 255],
  ['cd 00 00', 0],
  ['cd ff ff', 65_535],
  ['ce 00 00 00 00', 0],
  ['ce ff ff ff ff', 2 ** 32 - 1],
  ['cf 00 00 00 00 00 00 00 00', 0],
  ['cf 00 00 00 01 00 00 00 00', 2 ** 32],
  ['cf 00 1f ff ff ff ff ff ff', SAFE],
  ['d0 00', 0],
  ['d0 7f', 127],
  ['d0 80', -128],
  ['d1 00 00', 0],
  ['d1 7f ff', 32_767],
  ['d1 80 00', -32_768],
  ['d2 00 00 00 00', 0],
  ['d2 7f ff ff ff', 2 ** 31 - 1],
  ['d2 80 00 00 00', -(2 ** 31)],
  ['d3 00 00 00 00 00 00 00 00', 0],
  ['d3 00 1f ff ff ff ff ff ff', SAFE],
  ['d3 ff ff ff ff ff ff ff ff', -1],
  ['d3 ff ff ff ff 00 00 00 00', -(2 ** 32)],
  ['d3 ff e0 00 00 00 00 00 01', -SAFE],
  ['ca 00 00 00 00', 0],
  ['ca 80 00 00 00', 0],
  ['ca 3f 80 00 00', 1],
  ['ca 4b 7f ff ff', 2 ** 24 - 1],
  ['ca c3 7f 00 00', -255],
  ['cb 00 00 00 00 00 00 00 00', 0],
  ['cb 80 00 00 00 00 00 00 00', 0],
  ['cb 3f f0 00 00 00 00 00 00', 1],
  ['cb 43 3f ff ff ff ff ff ff', SAFE],
  ['cb c3 3f ff ff ff ff ff ff', -SAFE],
]

const NO_INTEGERS: readonly (readonly [string, string])[] = [
  ['2^53 as uint64', 'cf 00 20 00 00 00 00 00 00'],
  ['2^64 - 1', 'cf ff ff ff ff ff ff ff ff'],
  ['2^53 as int64', 'd3 00 20 00 00 00 00 00 00'],
  ['-2^53', 'd3 ff e0 00 00 00 00 00 00'],
  ['-2^63', 'd3 80 00 00 00 00 00 00 00'],
  ['0.5 as float32', 'ca 3f 00 00 00'],
  ['infinity as float32', 'ca 7f 80 00 00'],
  ['NaN as float32', 'ca 7f c0 00 00'],
  ['0.1', 'cb 3f b9 99 99 99 99 99 9a'],
  ['2^53 as float64', 'cb 43 40 00 00 00 00 00 00'],
  ['-infinity', 'cb ff f0 00 00 00 00 00 00'],
  ['NaN', 'cb 7f f8 00 00 00 00 00 00'],
  ['nil', 'c0'],
  ['false', 'c2'],
  ['a str', 'a1 31'],
  ['a bin', 'c4 01 31'],
  ['a list', '91 01'],
  ['a map', '81 01 01'],
]

/** A head, and how many bytes follow. */
const TEXTS: readonly (readonly [string, number])[] = [
  ['a0', 0],
  ['a1', 1],
  ['bf', 31],
  ['d9 00', 0],
  ['d9 1f', 31],
  ['d9 ff', 255],
  ['da 00 00', 0],
  ['da 00 20', 32],
  ['da ff ff', 65_535],
  ['db 00 00 00 00', 0],
  ['db 00 00 00 05', 5],
  ['db 00 01 00 00', 65_536],
  ['c4 00', 0],
  ['c4 ff', 255],
  ['c5 00 00', 0],
  ['c5 ff ff', 65_535],
  ['c6 00 00 00 00', 0],
  ['c6 00 01 00 00', 65_536],
]

const EXTENSIONS = [
  'c7 01 05 00',
  'c8 00 01 05 00',
  'c9 00 00 00 01 05 00',
  'd4 05 00',
  'd5 05 00 00',
].concat(['d6 ff 00 00 00 00', 'd7 05 00 00 00 00 00 00 00 00', `d8 05 ${'00 '.repeat(16)}`])

describe('integers', () => {
  test.each(INTEGERS)('%s is %d', (bytes, value) => {
    const reader = readerOf(hex(bytes))
    expect(reader.int()).toBe(value)
    expect(reader.at).toBe(reader.end)
    if (value >= 0) expect(readerOf(hex(bytes)).uint()).toBe(value)
    else expect(statusOf(() => readerOf(hex(bytes)).uint())).toBe(Status.BadOperand)
    expect(new Reader().number(hex(bytes), hex(bytes).length)).toBe(value)
  })

  test.each(NO_INTEGERS)('%s is refused', (_, bytes) => {
    expect(statusOf(() => readerOf(hex(bytes)).int())).toBe(Status.BadOperand)
    expect(statusOf(() => readerOf(hex(bytes)).uint())).toBe(Status.BadOperand)
    expect(new Reader().number(hex(bytes), hex(bytes).length)).toBeNaN()
  })

  test('a value is a number only if nothing follows', () => {
    expect(new Reader().number(hex('05 00'), 2)).toBeNaN()
    expect(new Reader().number(hex('05 00'), 1)).toBe(5)
    expect(new Reader().number(hex('cd 05'), 2)).toBeNaN()
    expect(new Reader().number(hex(''), 0)).toBeNaN()
  })
})

describe('texts', () => {
  test.each(TEXTS)('%s and %i bytes', (head, length) => {
    const operand = sized(head, length)
    const reader = readerOf(operand)
    const range = emptyRange()
    reader.range(range)
    expect(range.length).toBe(length)
    const found = Buffer.from(range.bytes).subarray(range.at, range.at + length)
    expect(found.equals(operand.subarray(hex(head).length))).toBe(true)
    expect(reader.at).toBe(reader.end)
    expect(readerOf(operand).string()).toBe('a'.repeat(length))
  })

  test.each(TEXTS)('%s that claims one byte more than there is', (head, length) => {
    if (length === 0) return
    const operand = sized(head, length)
    expect(statusOf(() => readerOf(operand.subarray(0, -1)).range(emptyRange()))).toBe(Status.Malformed)
  })

  test('invalid UTF-8 is replaced in texts for people', () => {
    expect(readerOf(hex('a3 61 ff 62')).string()).toBe('a\ufffdb')
  })

  test.each(['00', 'c0', 'c3', '90', '80', 'cb 00 00 00 00 00 00 00 00'])('%s is none', (bytes) => {
    expect(statusOf(() => readerOf(hex(bytes)).range(emptyRange()))).toBe(Status.BadOperand)
  })
})

describe('lists and maps', () => {
  test.each([
    ['90', 0],
    ['9f', 15],
    ['dc 00 00', 0],
    ['dc 00 10', 16],
    ['dc ff ff', 65_535],
    ['dd 00 00 00 02', 2],
    ['dd 00 01 00 00', 65_536],
  ])('%s announces %i elements', (head, count) => {
    expect(readerOf(Buffer.concat([hex(head), Buffer.alloc(count)])).array()).toBe(count)
    expect(readerOf(Buffer.concat([hex(head), Buffer.alloc(count)])).any()).toEqual(Array(count).fill(0))
  })

  test.each(['dc 00 04 01 02 03', 'dd 00 00 00 04 01 02 03', 'dd ff ff ff ff', 'dc ff ff 00'])(
    '%s claims more elements than there are bytes',
    (bytes) => {
      expect(statusOf(() => readerOf(hex(bytes)).array())).toBe(Status.Malformed)
    },
  )

  test.each(['de 00 02 01 02 03', 'df 00 00 00 02 01 02 03', 'df ff ff ff ff', 'df 80 00 00 00 00'])(
    '%s claims more entries than there are bytes',
    (bytes) => {
      expect(statusOf(() => readerOf(hex(bytes)).map())).toBe(Status.Malformed)
    },
  )

  test('a map in every encoding', () => {
    for (const head of ['81', 'de 00 01', 'df 00 00 00 01'])
      expect(readerOf(hex(`${head} a1 61 c3`)).any()).toEqual({ a: true })
  })

  test('nesting is bounded', () => {
    const nested = (depth: number) => hex(`${'91'.repeat(depth)}c0`)
    const nestedMap = (depth: number) => hex(`${'81 a1 61'.repeat(depth)}c0`)
    for (const read of [(reader: Reader) => reader.any(), (reader: Reader) => reader.skip(0)]) {
      expect(statusOf(() => read(readerOf(nested(8))))).toBe('no error')
      expect(statusOf(() => read(readerOf(nestedMap(8))))).toBe('no error')
      expect(statusOf(() => read(readerOf(nested(9))))).toBe(Status.Malformed)
      expect(statusOf(() => read(readerOf(nestedMap(9))))).toBe(Status.Malformed)
      expect(statusOf(() => read(readerOf(nested(100_000))))).toBe(Status.Malformed)
    }
  })
})

test.each(EXTENSIONS)('extension %s is refused, whatever is expected', (bytes) => {
  const readers: ((reader: Reader) => unknown)[] = [
    (reader) => reader.int(),
    (reader) => reader.uint(),
    (reader) => reader.bool(),
    (reader) => reader.array(),
    (reader) => reader.map(),
    (reader) => reader.range(emptyRange()),
    (reader) => reader.any(),
    (reader) => reader.skip(0),
  ]
  for (const read of readers) {
    expect(statusOf(() => read(readerOf(hex(bytes))))).toBe(Status.Malformed)
    expect(statusOf(() => read(readerOf(hex('c1'))))).toBe(Status.Malformed)
  }
})

test('cut off after every byte, an operand is malformed', () => {
  const whole = [
    ...INTEGERS.map(([bytes]) => hex(bytes)),
    ...TEXTS.filter(([, length]) => length < 300).map(([head, length]) => sized(head, length)),
    packr.pack([1, ['a', Buffer.from('b')], { c: [null, true, 1.5] }]),
  ]
  for (const operand of whole)
    for (let bytes = 0; bytes < operand.length; bytes++) {
      const cut = operand.subarray(0, bytes)
      expect(statusOf(() => readerOf(cut).any())).toBe(Status.Malformed)
      expect(statusOf(() => readerOf(cut).skip(0))).toBe(Status.Malformed)
    }
})

describe('a frame', () => {
  const open = (bytes: string) => {
    const reader = new Reader()
    reader.open(hex(bytes), 0, hex(bytes).length)
    return reader
  }

  test('begins with two integers in any encoding', () => {
    const reader = open('dd 00 00 00 03 cd 00 0b cb 40 00 00 00 00 00 00 00 c3')
    expect([reader.head, reader.id, reader.operands]).toEqual([11, 2, 1])
  })

  test.each(['', '90', '91 01', '00', 'a1 61', '80', 'c0', '92 01', '93 01 01 d4 00 00 00'])(
    '%s is none',
    (bytes) => {
      expect(statusOf(() => open(bytes).close())).not.toBe('no error')
    },
  )

  test('an id of 2^32 is refused and not taken over', () => {
    const reader = open('92 01 ce ff ff ff ff')
    expect(reader.id).toBe(2 ** 32 - 1)
    const bytes = hex('92 01 cf 00 00 00 01 00 00 00 00')
    expect(statusOf(() => reader.open(bytes, 0, bytes.length))).toBe(Status.Malformed)
    expect(reader.id).toBe(0)
  })

  test('optional operands may be nil or missing', () => {
    const reader = open('94 01 01 c0 05')
    expect(reader.optional()).toBe(false)
    expect(reader.optional()).toBe(true)
    expect(reader.uint()).toBe(5)
    expect(reader.optional()).toBe(false)
    expect(statusOf(() => reader.required('key'))).toBe(Status.BadOperand)
  })

  test('operands that nobody asked for are passed over, bytes behind the array are not', () => {
    const unknown = packr.pack([null, true, 1.5, -7, 2 ** 40, 'ü', Buffer.alloc(300), [[]], { a: [1] }])
    const elements = Buffer.concat([hex('9b 01 01'), unknown.subarray(1)])
    const reader = new Reader()
    reader.open(elements, 0, elements.length)
    reader.close()
    expect(reader.operands).toBe(0)
    const longer = Buffer.concat([elements, hex('c0')])
    reader.open(longer, 0, longer.length)
    expect(statusOf(() => reader.close())).toBe(Status.Malformed)
  })

  test('float 32 and every integer are passed over', () => {
    for (const bytes of [
      ...INTEGERS.map(([integer]) => integer),
      'ca 3f 00 00 00',
      'cf ff ff ff ff ff ff ff ff',
    ]) {
      const reader = readerOf(hex(bytes))
      reader.close()
      expect(reader.at).toBe(reader.end)
    }
  })
})

describe('the writer', () => {
  function written(write: (writer: Writer) => void): Buffer {
    const writer = new Writer(8)
    writer.reserve(70_000)
    write(writer)
    return Buffer.from(writer.bytes.subarray(0, writer.at))
  }

  const EDGES = [0, 31, 32, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2 ** 31, 2 ** 32, SAFE]
  const around = EDGES.flatMap((edge) => [edge - 1, edge, edge + 1]).filter(Number.isSafeInteger)

  test.each([...around, ...around.map((edge) => -edge)])('%d, as short as it can be', (value) => {
    const bytes = written((writer) => writer.int(value))
    expect(Number(unpack(bytes))).toBe(value + 0)
    expect(bytes.length).toBe(shortest(value))
  })

  test.each([0, 31, 32, 255, 256, 65_535, 65_536])('the head of %i bytes', (length) => {
    const payload = Buffer.alloc(length, 0x62)
    expect(payload.equals(unpack(written((writer) => writer.binary(payload, 0, length))))).toBe(true)
    const asString = written((writer) => {
      writer.stringHead(length)
      writer.raw(payload, 0, length)
    })
    expect(unpack(asString)).toBe('b'.repeat(length))
  })

  test.each(['', 'a', 'ä', 'a'.repeat(31), `${'a'.repeat(30)}ä`, 'a'.repeat(32), '€'.repeat(5000), '😀'])(
    'a text, %s',
    (text) => {
      expect(unpack(written((writer) => writer.string(text)))).toBe(text)
    },
  )

  test.each([0, 15, 16, 65_535, 65_536])('a list of %i', (count) => {
    const bytes = written((writer) => {
      writer.array(count)
      for (let i = 0; i < count; i++) writer.bool(i % 2 === 0)
    })
    expect(unpack(bytes)).toHaveLength(count)
  })

  test('statistics: everything that any() says', () => {
    const wide = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`name${i}`, i]))
    const value = { a: 1, b: -2.5, c: null, d: [true, false, 'ä', {}], e: { f: [] }, wide }
    const bytes = written((writer) => writer.any(value))
    expect(unpack(bytes)).toEqual(value)
    expect(readerOf(bytes).any()).toEqual(value)
    expect(unpack(written((writer) => writer.any(undefined)))).toBe(null)
  })

  test('frames one after another, growing', () => {
    const writer = new Writer(1)
    for (let id = 1; id <= 3; id++) {
      writer.reserve(40)
      const start = writer.beginFrame(3)
      writer.int(0)
      writer.int(id * 1000)
      writer.nil()
      writer.endFrame(start)
    }
    const frames = payloads(writer.bytes.subarray(0, writer.at)).map((payload) => unpack(payload))
    expect(frames).toEqual([
      [0, 1000, null],
      [0, 2000, null],
      [0, 3000, null],
    ])
  })
})

/** How many bytes MessagePack needs at the least. */
function shortest(value: number): number {
  if (value >= -32 && value < 128) return 1
  if (value >= -128 && value < 256) return 2
  if (value >= -32_768 && value < 65_536) return 3
  return value >= -(2 ** 31) && value < 2 ** 32 ? 5 : 9
}

test(`what msgpackr writes is read, what we write msgpackr reads (${seedRange(300)})`, () => {
  const defaults = new Packr()
  forEachSeed(300, (random) => {
    const value = randomOperands(random, 0)
    for (const codec of [packr, defaults]) {
      const bytes = codec.pack(value)
      expect(plain(readerOf(bytes).any())).toEqual(plain(value))
      const skipped = readerOf(bytes)
      skipped.close()
      expect(skipped.at).toBe(skipped.end)
    }
    const writer = new Writer(16)
    writer.any(value)
    expect(plain(unpack(writer.bytes.subarray(0, writer.at)))).toEqual(plain(value))
  })
})

function randomOperands(random: Random, depth: number): unknown[] {
  return Array.from({ length: random.below(12) }, () => {
    switch (random.below(depth < 6 ? 7 : 6)) {
      case 0:
        return null
      case 1:
        return random.oneIn(2)
      case 2:
        return random.below(1000) - 500
      case 3:
        return (random.below(2 ** 31) - 2 ** 30) * (random.below(2 ** 20) + 1)
      case 4:
        return random.below(1000) / 7
      case 5:
        return ['ä', '€', 'a', '😀', 'aä'][random.below(5)]?.repeat(random.below(60))
      default:
        return randomOperands(random, depth + 1)
    }
  })
}

/** msgpackr reads 64-bit integers as bigint where they are large; compare them as numbers. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value)
  return Array.isArray(value) ? value.map(plain) : value
}
