// Bytes that nobody of us wrote: decoding returns a value or throws ValueError, and never does anything else.

import { Packr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { ValueFlags } from '../../protocol/messages.ts'
import { decodeValue, encodeValue, VALUE_DEPTH_MAX, ValueError } from '../../protocol/value.ts'
import { randomValue } from '../helpers/random-value.ts'
import { difference } from '../helpers/same-value.ts'
import { forEachSeed, type Random } from '../server/store/random.ts'

const { Raw, Utf8, MessagePack, Extended } = ValueFlags

function bytesOf(value: unknown): { bytes: Buffer; flags: number } {
  const { bytes, at, length, flags } = encodeValue(value)
  return { bytes: Buffer.from(bytes.subarray(at, at + length)), flags }
}

function decodeHex(flags: number, hex: string): unknown {
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
  return decodeValue(bytes, 0, bytes.length, flags)
}

const refused = Symbol('refused')

/** The value, or `refused` for a ValueError; anything else is thrown on. */
function decodeOrRefuse(bytes: Buffer, flags: number): unknown {
  try {
    return decodeValue(bytes, 0, bytes.length, flags)
  } catch (error) {
    if (error instanceof ValueError) return refused
    throw error
  }
}

describe('bytes of others that are well-formed', () => {
  it.each<readonly [string, string, unknown]>([
    [
      'integers of any width',
      '95 cd0005 d30000000000000005 cf0000000000000005 d2ffffffff d1ffff',
      [5, 5, 5, -1, -1],
    ],
    [
      '64-bit integers: a number where it is exact',
      '92 cf001fffffffffffff d3ffe0000000000001',
      [2 ** 53 - 1, 1 - 2 ** 53],
    ],
    ['and a bigint beyond', '92 cf0020000000000000 d3ffe0000000000000', [2n ** 53n, -(2n ** 53n)]],
    ['the extremes', '92 cfffffffffffffffff d38000000000000000', [2n ** 64n - 1n, -(2n ** 63n)]],
    ['a milliseconds timestamp as uint64', 'cf0000018bcfe56800', 1_700_000_000_000],
    ['float32', '92 ca3fc00000 ca7f800000', [1.5, Infinity]],
    ['-0 as a float', 'cb8000000000000000', -0],
    [
      'any width of str, bin, array, map',
      'df00000001 db00000001 61 dc0001 c500026162',
      { a: [Buffer.from('ab')] },
    ],
    ['names that are integers', '83 01a161 ccffa162 d0ffa163', { 1: 'a', 255: 'b', '-1': 'c' }],
    ['an empty name', '81 a0 01', { '': 1 }],
    ['a name twice: the last counts', '82 a16101 a16102', { a: 2 }],
    ['__proto__: a property', '81 a95f5f70726f746f5f5f 81a16101', JSON.parse('{"__proto__":{"a":1}}')],
    ['timestamp 64 with nanoseconds: cut to ms', 'd7ff 0007a11c 00000001', new Date(1000)],
    ['timestamp 96', 'c70cff 3b9ac9ff ffffffffffffffff', new Date(-1)],
  ])('%s', (_name, hex, expected) => {
    expect(difference(decodeHex(MessagePack, hex), expected)).toBeUndefined()
  })

  it('an Extended table may nest containers or name them, and surplus elements of a node are ignored', () => {
    for (const hex of ['91 93 01 01 92 01 02', '92 93 01 01 92 00 01 92 01 02', '91 93 01 01 93 01 02 ']) {
      if (hex.endsWith(' ')) expect(decodeHex(Extended, `${hex}03`)).toEqual([1, [2, 3]])
      else expect(decodeHex(Extended, hex)).toEqual([1, [2]])
    }
    expect(decodeHex(Extended, '91 92 05 01')).toBeUndefined()
  })

  it('a plain Uint8Array as source, at an offset', () => {
    const source = new Uint8Array([0xc1, 0x92, 0x01, 0xa1, 0x61, 0xc1])
    expect(decodeValue(source, 1, 4, MessagePack)).toEqual([1, 'a'])
    expect(decodeValue(source, 4, 1, Utf8)).toBe('a')
    expect(decodeValue(source, 1, 2, Raw)).toEqual(Buffer.from([0x92, 1]))
  })

  it('what is returned shares no memory with the source', () => {
    const { bytes, flags } = bytesOf({
      a: Buffer.from('inner'),
      b: Uint8Array.of(1),
      c: new Uint8Array(9000),
    })
    const value = decodeValue(bytes, 0, bytes.length, flags) as { a: Buffer; b: Uint8Array; c: Uint8Array }
    const raw = decodeValue(bytes, 0, 3, Raw) as Buffer
    const before = raw[0]
    bytes.fill(0x55)
    expect([value.a.toString(), value.b[0], value.c[8000], raw[0]]).toEqual(['inner', 1, 0, before])
  })
})

describe('bytes that are refused', () => {
  it.each<readonly [string, number, string, RegExp]>([
    ['nothing', MessagePack, '', /1 bytes or more needed at byte 0, but the value ends at byte 0/],
    ['bytes behind the value', MessagePack, '0102', /1 bytes follow the value, which ended at byte 1/],
    ['0xc1', MessagePack, '91c1', /0xc1 at byte 1/],
    ['an array of 4 294 967 295', MessagePack, 'ddffffffff01', /4294967295 bytes or more needed at byte 5/],
    ['a map of 4 294 967 295', MessagePack, 'dfffffffffa16101', /8589934590 bytes or more/],
    ['a string of 4 GB', MessagePack, 'dbffffffff', /4294967295 bytes or more/],
    ['bytes of 4 GB', MessagePack, 'c6ffffffff00', /4294967295 bytes or more/],
    ['an extension of 4 GB', MessagePack, 'c9ffffffffff', /a timestamp of 4294967295 bytes/],
    ['a record definition', MessagePack, 'd4724091a16101', /extension 114 at byte 1/],
    ['a RegExp of msgpackr', MessagePack, 'd4780092a178a0', /extension 120/],
    ['undefined of msgpackr', MessagePack, 'd40000', /extension 0/],
    ['a timestamp of 1 byte', MessagePack, 'd4ffff', /a timestamp of 1 bytes/],
    ['a timestamp of 16 bytes', MessagePack, `d8ff${'00'.repeat(16)}`, /a timestamp of 16 bytes/],
    [
      'a billion nanoseconds',
      MessagePack,
      'c70cff3b9aca000000000000000000',
      /out of range: 0 s, 1000000000 ns/,
    ],
    ['a date beyond all dates', MessagePack, 'c70cff000000007fffffffffffffff', /out of range/],
    ['a name that is an array', MessagePack, '819001', /the name at byte 1 is neither/],
    ['a name that is nil', MessagePack, '81c001', /the name at byte 1 is neither/],
    ['text that is not UTF-8', Utf8, '61ff', /a string of 2 bytes is not UTF-8/],
    ['a surrogate in UTF-8', Utf8, 'eda080', /not UTF-8/],
    ['an overlong form', Utf8, `${'61'.repeat(40)}c0af`, /not UTF-8/],
    ['text inside that is not UTF-8', MessagePack, '91a2c328', /not UTF-8/],
    ['a name that is not UTF-8', MessagePack, '81a1ff01', /not UTF-8/],
    ['no table', Extended, '01', /an array of at least one item/],
    ['an empty table', Extended, '90', /an array of at least one item/],
    ['a map in a table', Extended, '91 92 01 80', /a map, where/],
    ['an unknown tag', Extended, '91 91 63', /the tag 99/],
    ['a tag that is text', Extended, '91 91 a3616263', /the tag a string of 3 characters/],
    ['a node without a tag', Extended, '91 90', /the tag of type undefined/],
    ['a reference to nowhere', Extended, '91 92 01 92 00 01', /a reference to 1, which/],
    ['a reference to -1', Extended, '91 92 01 92 00 ff', /a reference to -1/],
    ['a reference to a fraction', Extended, '91 92 01 92 00 cb3fe0000000000000', /a reference to 0.5/],
    ['a reference to a name', Extended, '91 92 01 92 00 a6 6c656e677468', /a reference to a string/],
    ['the value is a reference', Extended, '91 92 00 00', /a reference to 0/],
    ['a leaf in the table', Extended, '92 91 01 91 05', /item 1 of the table is no container/],
    ['a key without a value', Extended, '91 92 03 01', /a key without a value/],
    ['a name that is a number', Extended, '91 93 02 01 01', /a property name that is 1/],
    ['a bigint that is text', Extended, '91 92 07 a3 307831', /hexadecimal digits/],
    ['an empty bigint', Extended, '91 92 07 a0', /hexadecimal digits/],
    ['half a code unit', Extended, '91 92 08 c403 000000', /UTF-16/],
    ['half an element', Extended, '91 93 0a 05 c403 000000', /no whole number of elements of a Uint16Array/],
    ['an unknown kind of bytes', Extended, '91 93 0a 63 c400', /the kind 99/],
    ['bytes that are a number', Extended, '91 93 0a 02 05', /whose bytes are 5/],
    ['unknown flags', 4, '01', /value flags 4 are not known/],
    ['flags from far away', 255, '', /value flags 255/],
  ])('%s', (_name, flags, hex, message) => {
    expect(() => decodeHex(flags, hex)).toThrow(ValueError)
    expect(() => decodeHex(flags, hex)).toThrow(message)
  })

  it('nesting: as deep as may be, and one deeper', () => {
    for (const [open, close] of [
      ['91', 'c0'],
      ['81a161', 'c0'],
    ] as const) {
      expect(() => decodeHex(MessagePack, open.repeat(VALUE_DEPTH_MAX) + close)).not.toThrow()
      expect(() => decodeHex(MessagePack, open.repeat(VALUE_DEPTH_MAX + 1) + close)).toThrow(
        /nested too deep/,
      )
      expect(() => decodeHex(MessagePack, open.repeat(500_000))).toThrow(/nested too deep/)
      expect(() => decodeHex(Extended, open.repeat(500_000))).toThrow(/nested too deep/)
    }
    expect(() => decodeHex(Extended, `91${'9201'.repeat(VALUE_DEPTH_MAX)}9105`)).not.toThrow()
    expect(() => decodeHex(Extended, `91${'9201'.repeat(VALUE_DEPTH_MAX + 2)}9105`)).toThrow(
      /nested too deep/,
    )
  })

  it('a chain of 100 000 references is no recursion', () => {
    const count = 100_000
    const table = Array.from({ length: count }, (_, i) => [1, [0, (i + 1) % count]])
    const bytes = new Packr({ useRecords: false }).pack(table)
    let link = decodeValue(bytes, 0, bytes.length, Extended)
    const first = link
    for (let i = 0; i < count; i++) [link] = link as [unknown]
    expect(link).toBe(first)
  })

  it('arrays within arrays that each claim all the rest allocate it once, not at each level', () => {
    const levels = 200
    const bytes = Buffer.alloc(1_000_000, 0xc0)
    for (let i = 0; i < levels; i++) {
      bytes[i * 5] = 0xdd
      bytes.writeUInt32BE(bytes.length - (i + 1) * 5, i * 5 + 1)
    }
    const before = process.memoryUsage().heapUsed
    expect(() => decodeValue(bytes, 0, bytes.length, MessagePack)).toThrow(ValueError)
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100_000_000)
  })

  it('what msgpackr writes beyond plain MessagePack', () => {
    const beyond: readonly (readonly [Packr, unknown])[] = [
      [new Packr(), { a: 1 }],
      [new Packr({ useRecords: false, structuredClone: true }), [new Set([1])]],
      [new Packr({ useRecords: false, moreTypes: true }), [/x/, new Error('x')]],
      [new Packr({ useRecords: false, bundleStrings: true }), ['some text', 'some more']],
      [new Packr({ useRecords: false, useBigIntExtension: true }), 2n ** 70n],
      [new Packr({ useRecords: false }), undefined],
    ]
    for (const [packr, value] of beyond) {
      const bytes = packr.pack(value)
      expect(() => decodeValue(bytes, 0, bytes.length, MessagePack)).toThrow(ValueError)
      expect(() => decodeValue(bytes, 0, bytes.length, Extended)).toThrow(ValueError)
    }
  })
})

const MUTATIONS_PER_SEED = 50
const INTERESTING = [
  0x00, 0x7f, 0x80, 0x90, 0xa0, 0xc0, 0xc1, 0xc4, 0xc7, 0xcb, 0xcf, 0xd4, 0xd9, 0xdc, 0xdd, 0xdf, 0xff,
]

function mutate(bytes: Buffer, random: Random): Buffer {
  const mutant = Buffer.from(bytes)
  const at = random.below(mutant.length)
  switch (random.below(4)) {
    case 0:
      mutant[at] = random.below(256)
      return mutant
    case 1:
      mutant[at] = INTERESTING[random.below(INTERESTING.length)] ?? 0
      return mutant
    case 2:
      return Buffer.concat([mutant.subarray(0, at), mutant.subarray(at + 1 + random.below(4))])
    default:
      return Buffer.concat([mutant.subarray(0, at), mutant.subarray(random.below(mutant.length))])
  }
}

describe('damage', () => {
  it('every truncation is refused', () => {
    forEachSeed(120, (random) => {
      const { bytes, flags } = bytesOf([randomValue(random)])
      const step = Math.ceil(bytes.length / 100)
      for (let length = 0; length < bytes.length; length += step) {
        expect(decodeOrRefuse(bytes.subarray(0, length), flags), `${length} bytes`).toBe(refused)
      }
    })
  })

  it('random mutations give a value that can be stored again, or are refused', () => {
    let accepted = 0
    forEachSeed(600, (random) => {
      let { bytes } = bytesOf(randomValue(random))
      if (bytes.length > 5_000) bytes = bytes.subarray(0, 5_000)
      for (let i = 0; i < MUTATIONS_PER_SEED && bytes.length > 0; i++) {
        const mutant = mutate(random.oneIn(10) ? mutate(bytes, random) : bytes, random)
        const flags = random.oneIn(4) ? random.below(6) : random.pick([MessagePack, Extended])
        const value = decodeOrRefuse(mutant, flags)
        if (value === refused) continue
        accepted++
        const again = bytesOf(value)
        expect(
          difference(decodeValue(again.bytes, 0, again.bytes.length, again.flags), value),
        ).toBeUndefined()
      }
    })
    if (!('SEEDS' in process.env)) expect(accepted).toBeGreaterThan(1_000)
  })

  it('random bytes are values or refused', () => {
    const bytes = Buffer.alloc(64)
    forEachSeed(40_000, (random) => {
      const length = random.below(bytes.length)
      for (let at = 0; at < length; at++) bytes[at] = random.below(256)
      if (random.oneIn(2)) bytes[0] = 0x90 | random.below(16)
      decodeOrRefuse(bytes.subarray(0, length), random.below(5))
    })
  })
})
