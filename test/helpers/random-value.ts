// Random JavaScript values of every kind that a cache can store, nested, with shared and circular references.

import type { Random } from '../server/store/random.ts'

const DEPTH_MAX = 5

/** Any storable value. */
export function randomValue(random: Random): unknown {
  return build(random, 0, [], [...PLAIN_LEAVES, ...OTHER_LEAVES])
}

/** Only what plain MessagePack says: no undefined, no -0, nothing twice. */
export function randomPlainValue(random: Random): unknown {
  return build(random, 0, undefined, PLAIN_LEAVES)
}

type Leaf = (random: Random) => unknown

/** `met` holds the containers that may be referred to again; without it all containers are fresh and plain. */
function build(random: Random, depth: number, met: object[] | undefined, leaves: readonly Leaf[]): unknown {
  if (depth >= DEPTH_MAX || random.oneIn(3)) return (leaves[random.below(leaves.length)] as Leaf)(random)
  if (met !== undefined && met.length > 0 && random.oneIn(8)) return met[random.below(met.length)]
  const count = random.oneIn(12) ? random.below(40) : random.below(5)
  const child = () => build(random, depth + 1, met, leaves)
  switch (random.below(met === undefined ? 2 : 4)) {
    case 0: {
      const array: unknown[] = []
      met?.push(array)
      for (let i = 0; i < count; i++) array.push(child())
      return array
    }
    case 1: {
      const object: Record<string, unknown> = {}
      met?.push(object)
      for (let i = 0; i < count; i++)
        object[met === undefined ? randomName(random) : randomText(random)] = child()
      return object
    }
    case 2: {
      const map = new Map<unknown, unknown>()
      met?.push(map)
      for (let i = 0; i < count; i++) map.set(child(), child())
      return map
    }
    default: {
      const set = new Set<unknown>()
      met?.push(set)
      for (let i = 0; i < count; i++) set.add(child())
      return set
    }
  }
}

const ALPHABETS = [
  'abcdefghijklmnopqrstuvwxyz_0123456789',
  'äöüßéñ€Ωж',
  '😀🎉𝔘',
  '日本語한국어',
  '\u0000\t"\\\u007f\u0080\ufffd',
] as const

/** Mostly short and ASCII; lengths on both sides of 15, 31, 63, 255, 65 535. */
function randomText(random: Random): string {
  const letters = Array.from(
    random.oneIn(4) ? (ALPHABETS[random.below(ALPHABETS.length)] ?? '') : ALPHABETS[0],
  )
  const length = random.oneIn(5_000)
    ? 65_530 + random.below(20)
    : random.oneIn(20)
      ? random.below(300)
      : random.below(20)
  let text = ''
  for (let i = 0; i < length; i++) text += letters[random.below(letters.length)]
  return text
}

function randomName(random: Random): string {
  return random.oneIn(5) ? `${random.below(100)}` : `n${randomText(random)}`
}

const INTEGER_EDGES = [
  0,
  31,
  32,
  127,
  128,
  255,
  256,
  65_535,
  65_536,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
]

function randomInteger(random: Random): number {
  const edge = (INTEGER_EDGES[random.below(INTEGER_EDGES.length)] ?? 0) + random.below(3) - 1
  const integer = random.oneIn(2) ? edge : -edge
  return integer === 0 ? 0 : integer
}

const PLAIN_LEAVES: readonly Leaf[] = [
  () => null,
  (random) => random.oneIn(2),
  randomInteger,
  (random) => random.below(2 ** 32) / (1 + random.below(1000)),
  (random) => random.pick([Number.NaN, Infinity, -Infinity, 5e-324, Number.MAX_VALUE, 0.1]),
  randomText,
  randomText,
  randomText,
  (random) =>
    new Date(random.pick([0, 1, -1, 1.7e12, 8.64e15, -8.64e15, 2 ** 34 * 1000]) + random.below(2) * 0),
  (random) => new Date(random.below(2 ** 32) * (random.oneIn(2) ? 1000 : -1000) + random.below(1000)),
  (random) => Buffer.from(randomText(random)),
  (random) => (random.oneIn(2) ? 1n : -1n) * (2n ** 53n + BigInt(random.below(2 ** 32))),
]

const OTHER_LEAVES: readonly Leaf[] = [
  () => undefined,
  () => -0,
  () => new Date(Number.NaN),
  (random) => BigInt(randomInteger(random)) ** BigInt(random.below(12)),
  (random) => `${randomText(random)}${random.pick(['\ud800', '\udc00', '\udbff x', '\udfff\ud800'])}`,
  (random) => new Uint8Array(Buffer.from(randomText(random))),
  (random) => Float64Array.of(random.below(100), -0, Number.NaN),
  (random) => Int16Array.from({ length: random.below(9) }, () => random.below(65_536)),
  (random) => BigInt64Array.of(BigInt(randomInteger(random))),
  (random) => new DataView(new Uint8Array([1, 2, 3, random.below(256)]).buffer, 1),
  (random) => new Uint8Array([random.below(256)]).buffer,
]
