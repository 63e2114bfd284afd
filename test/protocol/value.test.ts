import { runInNewContext } from 'node:vm'
import { Unpackr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { ValueFlags } from '../../protocol/messages.ts'
import { decodeValue, encodeValue, VALUE_DEPTH_MAX, VALUE_ITEMS_MAX } from '../../protocol/value.ts'
import { difference } from '../helpers/same-value.ts'

/** The bytes of a value, copied out as every caller must. */
function encode(value: unknown): { bytes: Buffer; flags: number } {
  const { bytes, at, length, flags } = encodeValue(value)
  return { bytes: Buffer.from(bytes.subarray(at, at + length)), flags }
}

/** Stores and retrieves: among other bytes, in memory that is overwritten before anybody looks at the result. */
function roundTrip(value: unknown): unknown {
  const { bytes, flags } = encode(value)
  const chunk = Buffer.alloc(bytes.length + 20, 0xc1)
  bytes.copy(chunk, 13)
  const result = decodeValue(chunk, 13, bytes.length, flags)
  chunk.fill(0xee)
  return result
}

function hex(value: unknown): string {
  const { bytes, flags } = encode(value)
  return `${flags} ${bytes.toString('hex')}`
}

function nested(levels: number): unknown[] {
  let value: unknown[] = []
  for (let i = 1; i < levels; i++) value = [value]
  return value
}

const DETACHED = 'bytes of a detached ArrayBuffer, which somebody else has now'

/** What `make` makes of memory, after that has gone. */
function givenAway<T>(make: (memory: ArrayBuffer) => T): T {
  const memory = new ArrayBuffer(8)
  const made = make(memory)
  structuredClone(memory, { transfer: [memory] })
  return made
}

const { Raw, Utf8, MessagePack, Extended } = ValueFlags
const shared = { n: 1 }
const sharedDate = new Date(1)

describe('what is stored comes back', () => {
  const table: readonly (readonly [string, unknown, number])[] = [
    ['a Buffer', Buffer.from('bytes'), Raw],
    ['an empty Buffer', Buffer.alloc(0), Raw],
    ['a Buffer of 100 000 bytes', Buffer.alloc(100_000, 7), Raw],
    ['a string', 'hello', Utf8],
    ['an empty string', '', Utf8],
    ['20 characters', 'x'.repeat(20), Utf8],
    ['21 characters', 'x'.repeat(21), Utf8],
    ['16 characters, the last not ASCII', `${'x'.repeat(15)}é`, Utf8],
    ['umlauts', 'äöü'.repeat(30), Utf8],
    ['emoji', '🎉'.repeat(9), Utf8],
    ['U+FFFD itself', 'a\ufffdb', Utf8],
    ['U+FFFD in a long string', `${'x'.repeat(100)}\ufffd`, Utf8],
    ['a byte order mark', '\ufeffx', Utf8],
    ['65 536 characters', 'x'.repeat(65_536), Utf8],
    ['65 536 characters of three bytes', '€'.repeat(65_536), Utf8],
    ['a million characters', 'y'.repeat(1_000_000), Utf8],
    ['null', null, MessagePack],
    ['true', true, MessagePack],
    ['false', false, MessagePack],
    ...[
      0,
      1,
      -1,
      127,
      128,
      -32,
      -33,
      255,
      256,
      -128,
      -129,
      65_535,
      65_536,
      -32_769,
      2 ** 31,
      -(2 ** 31) - 1,
    ].map((n) => [`${n}`, n, MessagePack] as const),
    ...[2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 60, 2 ** 64, 1e300, 0.1, 5e-324].map(
      (n) => [`${n}`, n, MessagePack] as const,
    ),
    ['NaN', Number.NaN, MessagePack],
    ['Infinity', Infinity, MessagePack],
    ['-Infinity', -Infinity, MessagePack],
    ['an array', [1, 'a', null, [true, []]], MessagePack],
    ['an object', { id: 1, tags: ['a', 'b'], deep: { er: {} } }, MessagePack],
    [
      'names of any kind',
      { '': 1, 0: 2, 'a b': 3, ü: 4, constructor: 5, toString: 6, length: 7 },
      MessagePack,
    ],
    ['a name of 300 characters', { ['n'.repeat(300)]: 1 }, MessagePack],
    [
      '70 000 properties',
      Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, i])),
      MessagePack,
    ],
    ['70 000 elements', Array.from({ length: 70_000 }, (_, i) => i), MessagePack],
    ['40 containers', Array.from({ length: 40 }, (_, i) => ({ i })), MessagePack],
    ['a Buffer inside', { data: Buffer.from([0, 255]) }, MessagePack],
    ['a large Buffer inside', [Buffer.alloc(70_000, 3)], MessagePack],
    ['a toJSON that is data', { toJSON: 'x', constructor: 1 }, MessagePack],
    ['the deepest array', nested(VALUE_DEPTH_MAX), MessagePack],
    ['2^53 as a bigint', 2n ** 53n, MessagePack],
    ['the largest 64-bit bigint', [2n ** 64n - 1n], MessagePack],
    ['the smallest 64-bit bigint', -(2n ** 63n), MessagePack],
    ...[0, 1, 999, 1000, -1, -1000, 1.7e12 + 123, 2 ** 32 * 1000, 2 ** 34 * 1000 + 5, 8.64e15, -8.64e15].map(
      (ms) => [`the date ${ms}`, new Date(ms), MessagePack] as const,
    ),
    ['one Date twice', { created: sharedDate, updated: sharedDate }, MessagePack],
    ['a small bigint', 5n, Extended],
    ['0n', 0n, Extended],
    ['a bigint just beyond 64 bits', 2n ** 64n, Extended],
    ['and below', -(2n ** 63n) - 1n, Extended],
    ['a huge bigint', [3n ** 5000n, -(3n ** 5000n)], Extended],
    ['-0', -0, Extended],
    ['-0 inside', { a: [-0, 0] }, Extended],
    ['undefined', undefined, Extended],
    ['undefined inside', { a: undefined, b: [undefined, 1] }, Extended],
    ['an invalid Date', [new Date(Number.NaN)], Extended],
    ['a lone surrogate', 'a\ud800b', Extended],
    ['a lone surrogate after 70 000 characters', `${'x'.repeat(70_000)}\ud800`, Extended],
    ['a lone surrogate in a name', { '\ud83d': 1 }, Extended],
    ['a lone surrogate inside', { '\udc00': ['x\ud83d'] }, Extended],
    [
      '__proto__ as a property',
      JSON.parse('{"__proto__": {"polluted": 1}, "a": [{"__proto__": 2}]}'),
      Extended,
    ],
    [
      'a Map',
      new Map<unknown, unknown>([
        ['a', 1],
        [{ k: 1 }, new Map()],
        [undefined, -0],
        [Number.NaN, null],
      ]),
      Extended,
    ],
    ['a Set', new Set<unknown>([3, 1, 2, 'x', [], new Set()]), Extended],
    ['a Map in an object', { m: new Map([[1, new Set([{ a: [1] }])]]) }, Extended],
    ['one object twice', [shared, shared], Extended],
    ['the deepest Set', [nested(VALUE_DEPTH_MAX - 1), -0], Extended],
    ['a Uint8Array', new Uint8Array([1, 2, 3]), Extended],
    ['a Uint8Array inside', { a: new Uint8Array(300) }, Extended],
    ['a Uint8ClampedArray', Uint8ClampedArray.of(1, 300), Extended],
    ['an Int8Array', Int8Array.of(-1), Extended],
    ['a Uint16Array', Uint16Array.of(1, 65_535), Extended],
    ['an Int16Array', Int16Array.of(-2), Extended],
    ['a Uint32Array', Uint32Array.of(2 ** 32 - 1), Extended],
    ['an Int32Array', Int32Array.of(-3), Extended],
    ['a Float32Array', Float32Array.of(1.5, -0), Extended],
    ['a Float64Array', Float64Array.of(0.1, Number.NaN), Extended],
    ['a BigUint64Array', BigUint64Array.of(2n ** 64n - 1n), Extended],
    ['a BigInt64Array', BigInt64Array.of(-1n), Extended],
    ['a large typed array', new Float64Array(20_000).fill(0.1), Extended],
    ['a part of a typed array', new Uint32Array([1, 2, 3, 4]).subarray(1, 3), Extended],
    ['an ArrayBuffer', new Uint8Array([9, 8]).buffer, Extended],
    ['a DataView', new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2), Extended],
    ['an empty typed array', [new Float64Array(0)], Extended],
  ]

  it.each(table)('%s', (_name, value, flags) => {
    expect(encode(value).flags).toBe(flags)
    expect(difference(roundTrip(value), value)).toBeUndefined()
  })

  it('cycles', () => {
    const self: unknown[] = []
    self.push(self)
    const parent: { name: string; children?: unknown } = { name: 'parent' }
    parent.children = [{ parent, siblings: new Set([parent]) }, { parent }]
    const map = new Map<unknown, unknown>()
    map.set(map, [map])
    const set = new Set<unknown>([1])
    set.add(set).add([set, parent])
    for (const value of [self, parent, map, set, { self, parent, map, set }]) {
      expect(difference(roundTrip(value), value)).toBeUndefined()
    }
  })

  it('a value that would be 2^200 if it were written out as a tree', () => {
    let value: unknown = ['end']
    for (let i = 0; i < 200; i++) value = [value, value]
    const back = roundTrip(value)
    let level = back
    for (let i = 0; i < 200; i++) {
      const [left, right] = level as [unknown, unknown]
      expect(left).toBe(right)
      level = left
    }
    expect(level).toEqual(['end'])
  })
})

describe('what comes back in another form', () => {
  class Point {
    static readonly origin = 0
    readonly x = 1
    readonly inner = { y: 2 }
    readonly #hidden = 3
    get sum(): number {
      return this.x + this.#hidden
    }
  }

  it.each<readonly [string, unknown, unknown]>([
    ['a class instance: its own properties', new Point(), { x: 1, inner: { y: 2 } }],
    ['an object without prototype: a plain one', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    ['symbol keys: not stored', { a: 1, [Symbol('s')]: 2 }, { a: 1 }],
    [
      'properties that are not enumerable: not stored',
      Object.defineProperty({ a: 1 }, 'b', { value: 2 }),
      { a: 1 },
    ],
    ['properties of an array: not stored', Object.assign([1], { extra: 2 }), [1]],
    ['a subclass of Array: an Array', new (class Stack extends Array<number> {})(3).fill(1), [1, 1, 1]],
    ['holes: undefined', Object.assign(new Array(3), { 0: 1, 2: 3 }), [1, undefined, 3]],
    ['a boxed number', [Object(5)], [5]],
    ['boxed others', [Object('s'), Object(false), Object(5n)], ['s', false, 5n]],
    [
      'a getter: what it says',
      {
        get now() {
          return 1
        },
      },
      { now: 1 },
    ],
    ['toJSON of a class', { at: { toJSON: (name: string) => `json of ${name}` } }, { at: 'json of at' }],
    ['toJSON that is not enumerable', Object.defineProperty({ a: 1 }, 'toJSON', { value: () => 'b' }), 'b'],
    ['toJSON at the top', { toJSON: (name: string) => [name] }, ['']],
    ['toJSON that gives undefined', [{ toJSON: () => undefined }], [undefined]],
    ['toJSON whose result has a toJSON', { toJSON: () => ({ toJSON: 1, a: 2 }) }, { toJSON: 1, a: 2 }],
    ['toJSON in a Map', new Map([['u', new URL('http://h/p')]]), new Map([['u', 'http://h/p']])],
    ['a URL', { url: new URL('http://host/path?q') }, { url: 'http://host/path?q' }],
    [
      'a subclass of Map: a Map',
      new (class Registry extends Map<string, number> {})([['a', 1]]),
      new Map([['a', 1]]),
    ],
    [
      'what a vm context made',
      runInNewContext('({ a: [1], m: new Map([[1, new Date(5)]]), s: new Set([2]) })'),
      { a: [1], m: new Map([[1, new Date(5)]]), s: new Set([2]) },
    ],
    ['a view of shared memory: a copy', new Uint8Array(new SharedArrayBuffer(2)), new Uint8Array(2)],
  ])('%s', (_name, value, expected) => {
    expect(difference(roundTrip(value), expected)).toBeUndefined()
  })

  it('a class instance and toJSON stay plain MessagePack', () => {
    expect(encode(new Point()).flags).toBe(MessagePack)
    expect(encode({ a: [new Point(), { toJSON: () => ({ b: 1 }) }] }).flags).toBe(MessagePack)
  })

  it('one object with a toJSON in two places is asked once, also when it is part of a cycle', () => {
    let asked = 0
    const node: { toJSON?: unknown } = {}
    node.toJSON = () => {
      asked++
      return { next: node }
    }
    const back = roundTrip([node, node]) as { next: unknown }[]
    expect(asked).toBe(1)
    expect(back[0]).toBe(back[1])
    expect(back[0]?.next).toBe(back[0])
  })
})

describe('what cannot be stored', () => {
  const unstorable: readonly (readonly [string, unknown, string])[] = [
    ['a function', () => 1, 'value: a function'],
    ['a symbol', Symbol('s'), 'value: a symbol'],
    ['a function inside', { user: { callback() {} } }, 'value.user.callback: a function'],
    ['a class inside', { list: [1, [class {}]] }, 'value.list[1][0]: a function'],
    ['a symbol inside', [{ 'a b': Symbol.iterator }], 'value[0]["a b"]: a symbol'],
    ['in a Map', { m: new Map([['x', { f() {} }]]) }, 'value.m.values()[0].f: a function'],
    [
      'as a key of a Map',
      new Map([
        [1, 1],
        [() => 1, 2],
      ] as never),
      'value.keys()[1]: a function',
    ],
    ['in a Set', new Set([0, Symbol('s')]), 'value.values()[1]: a symbol'],
    ['what toJSON gave', { a: { toJSON: () => () => 1 } }, 'value.a: a function'],
    ['a boxed symbol', [Object(Symbol('s'))], 'value[0]: a symbol'],
    [
      'an Error',
      { error: new RangeError('x') },
      'value.error: an Error (store its name and message instead)',
    ],
    ['a RegExp', [/x/], 'value[0]: a RegExp (store its source and flags instead)'],
    ['a Promise', { a: Promise.resolve(1) }, 'value.a: a Promise (await it first)'],
    ['a WeakMap', [new WeakMap()], 'value[0]: a weak reference'],
    ['a WeakRef', [new WeakRef({})], 'value[0]: a weak reference'],
    ['an iterator', { i: new Map().keys() }, 'value.i: an iterator (store an array of it instead)'],
    ['of an array', { i: [1].values() }, 'value.i: an iterator (store an array of it instead)'],
    [
      'of a typed array',
      [new Uint8Array(1).entries()],
      'value[0]: an iterator (store an array of it instead)',
    ],
    ['of a string', ['ab'[Symbol.iterator]()], 'value[0]: an iterator (store an array of it instead)'],
    ['of matches', ['ab'.matchAll(/a/g)], 'value[0]: an iterator (store an array of it instead)'],
    [
      'one that a generator made',
      [(async function* () {})()],
      'value[0]: an iterator (store an array of it instead)',
    ],
    [
      'a typed array whose memory is gone',
      { a: [givenAway((memory) => new Uint16Array(memory))] },
      `value.a[0]: ${DETACHED}`,
    ],
    [
      'a DataView whose memory is gone',
      [givenAway((memory) => new DataView(memory))],
      `value[0]: ${DETACHED}`,
    ],
    ['an ArrayBuffer whose memory is gone', { a: givenAway((memory) => memory) }, `value.a: ${DETACHED}`],
    ['a Buffer whose memory is gone', givenAway((memory) => Buffer.from(memory)), `value: ${DETACHED}`],
    [
      'such a Buffer inside',
      { a: { b: givenAway((memory) => Buffer.from(memory)) } },
      `value.a.b: ${DETACHED}`,
    ],
    ['a generator', (function* () {})(), 'value: an iterator (store an array of it instead)'],
    ['shared memory', [new SharedArrayBuffer(1)], 'value[0]: a SharedArrayBuffer'],
  ]

  it.each(unstorable)('%s: a TypeError that says where', (_name, value, message) => {
    expect(() => encodeValue(value)).toThrow(new TypeError(`cannot store ${message}`))
  })

  it('a value that is too deep: a RangeError', () => {
    const message = new RegExp(
      `^cannot store value[[\\]0]+…[[\\]0]+: nested deeper than ${VALUE_DEPTH_MAX} levels$`,
    )
    for (const levels of [VALUE_DEPTH_MAX + 1, 5_000]) {
      expect(() => encodeValue(nested(levels))).toThrow(RangeError)
      expect(() => encodeValue(nested(levels))).toThrow(message)
    }
    let list: object = {}
    for (let i = 0; i < 50_000; i++) list = { next: list }
    expect(() => encodeValue(list)).toThrow(RangeError)
    expect(() => encodeValue([-0, list])).toThrow(RangeError)
  })

  it('a sparse array that claims billions: a RangeError, at once', () => {
    expect(() => encodeValue({ a: new Array(2 ** 32 - 1) })).toThrow(
      new RangeError('cannot store value.a: an array of 4294967295 elements'),
    )
    expect(() => encodeValue(new Array(VALUE_ITEMS_MAX))).toThrow(/more than 4194304 elements$/)
  })

  it('the error has the key, where loggers do not look', () => {
    let error: unknown
    try {
      encodeValue({ f() {} }, 'user:1')
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({ key: 'user:1' })
    expect(Object.keys(error as object)).toEqual([])
    expect(String(error)).not.toContain('user:1')
  })

  it('what a getter or toJSON throws goes through, and the next value is as usual', () => {
    const angry = new Error('not today')
    const thrower = () => {
      throw angry
    }
    for (const value of [
      { toJSON: thrower },
      Object.defineProperty({}, 'a', { get: thrower, enumerable: true }),
    ]) {
      expect(() => encodeValue([shared, value])).toThrow(angry)
      expect(hex([shared])).toBe('2 9181a16e01')
    }
  })

  it('a getter that stores a value itself disturbs nothing', () => {
    const value = {
      before: { a: 1 },
      get during() {
        return encode({ other: [shared, { x: -0 }] }).bytes.length
      },
      after: 'z',
    }
    expect(roundTrip(value)).toEqual({ before: { a: 1 }, during: value.during, after: 'z' })
  })

  it('a getter that stores a value itself does not hide that one object stands in two places', () => {
    const value = {
      left: shared,
      get between() {
        return encode([1]).flags
      },
      right: shared,
    }
    const back = roundTrip(value) as typeof value
    expect(back.left).toBe(back.right)
  })

  it('a getter that turns into a function while it is packed', () => {
    let reads = 0
    const value = Object.defineProperty({}, 'a', {
      get: () => (reads++ === 0 ? 1 : () => 1),
      enumerable: true,
    })
    expect(() => encodeValue(value)).toThrow(TypeError)
    expect(hex(1)).toBe('2 01')
  })
})

describe('the bytes', () => {
  it.each<readonly [unknown, string]>([
    // what INCR works on: the smallest MessagePack integer, or a float that is integral
    [5, '2 05'],
    [-1, '2 ff'],
    [200, '2 ccc8'],
    [70_000, '2 ce00011170'],
    [-70_000, '2 d2fffeee90'],
    [2 ** 40, '2 cb4270000000000000'],
    ['hi', '1 6869'],
    [Buffer.from('hi'), '0 6869'],
    [[1, 2, 3], '2 93010203'],
    [{ a: Buffer.from([9]) }, '2 81a161c40109'],
    [new Date(1000), '2 d6ff00000001'],
    [2n ** 63n, '2 cf8000000000000000'],
    [undefined, '3 919105'],
    [-0, '3 919106'],
    [[-0], '3 91920191 06'],
    [{ a: undefined }, '3 919302a1619105'],
    [new Map([['a', 1]]), '3 919303a16101'],
    [new Set([1]), '3 91920401'],
    [255n, '3 919207a26666'],
    [-255n, '3 919207a32d6666'],
    ['\ud800', '3 919208c40200d8'],
    [new Date(Number.NaN), '3 919109'],
    [new Uint8Array([1, 2]), '3 91930a02c4020102'],
    [Uint16Array.of(258), '3 91930a05c4020201'],
    [[shared, shared], '3 9293019200019200 019302a16e01'],
  ])('%o', (value, expected) => {
    expect(hex(value)).toBe(expected.replace(/(?<=\w\w) /g, ''))
  })

  it('a cycle refers to the first item', () => {
    const self: { me?: unknown } = {}
    self.me = self
    expect(hex(self)).toBe('3 919302a26d65920000')
  })

  it('a Buffer is the caller’s own, not a copy', () => {
    const buffer = Buffer.from('own')
    expect(encodeValue(buffer).bytes).toBe(buffer)
  })

  it('a stranger with a stock MessagePack library reads what is plain', () => {
    const value = {
      id: 1,
      name: 'Ada',
      at: new Date(1.7e12),
      tags: ['a'],
      data: Buffer.from([1]),
      n: null,
      f: 0.5,
    }
    expect(new Unpackr({ useRecords: false }).unpack(encode(value).bytes)).toEqual(value)
  })

  it('a large value leaves no large buffer behind', () => {
    encodeValue(['x'.repeat(3_000_000)])
    expect(encodeValue([1]).bytes.length).toBeLessThan(100_000)
  })
})
