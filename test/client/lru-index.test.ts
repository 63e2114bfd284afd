// From keys to slots, without a cache around it: against a Map.

import { describe, expect, it } from 'vitest'
import { KeyIndex } from '../../client/lru-index.ts'
import { NO_SLOT } from '../../client/lru-recency.ts'
import { forEachSeed, type Random, seedRange } from '../server/store/random.ts'

type Key = string | number | boolean | object

/** How keys are made of numbers. Those of one ending have one hash. */
const KINDS: readonly [name: string, keyOf: (number: number, random: Random) => Key][] = [
  ['that end differently', (number) => `user:${number}`],
  ['of up to three characters', (number) => number.toString(36)],
  ['that all end alike', (number) => `${number}`.padStart(6, '0').concat(':profile')],
  [
    'of which three in ten end alike',
    (number) => (number % 10 < 3 ? `${100 + number}:profile` : `${number}`),
  ],
  ['of which many end in one of 300 ways', (number) => `${1000 + number}`.concat(`: ending ${number % 300}`)],
  ['beyond Latin-1', (number) => `ключ ${number}`],
  ['that are strings and others', (number) => (number % 2 === 0 ? number : `${number - 1}`)],
  [
    'that are no strings',
    (number) => (number % 3 === 0 ? Number.NaN : number % 3 === 1 ? number / 2 : -number),
  ],
]

describe('find', () => {
  it.each(KINDS)(`tells the slot of keys %s (${seedRange(6)})`, (_, keyOf) => {
    forEachSeed(6, (random) => {
      const index = new KeyIndex<Key>()
      const wanted = new Map<Key, number>()
      const free: number[] = []
      const range = random.pick([20, 600, 8000])
      // Grows to half the range, then on average neither grows nor shrinks.
      for (let step = 0; step < 4 * range; step++) {
        const key = keyOf(random.below(range), random)
        const slot = wanted.get(key)
        if (index.find(anew(key)) !== (slot ?? NO_SLOT)) {
          throw new Error(`step ${step}: ${String(key)} in ${index.find(key)} instead of ${slot}`)
        }
        if (slot === undefined) {
          const taken = free.pop() ?? wanted.size + 1
          index.add(key, taken)
          wanted.set(key, taken)
        } else {
          index.remove(slot)
          wanted.delete(key)
          free.push(slot)
        }
        if (step % range === 0) expectSame(index, wanted, free)
      }
      expectSame(index, wanted, free)
    })
  })

  it('goes on when strings that end alike outnumber the others, and when these have left', () => {
    const index = new KeyIndex<string>()
    const wanted = new Map<string, number>()
    const add = (key: string) => {
      index.add(key, wanted.size + 1)
      wanted.set(key, wanted.size + 1)
    }
    for (let number = 0; number < 1000; number++) add(`user:${number}`)
    for (let number = 1000; number < 3000; number++) add(`user:${number}:profile`)
    expectSame(index, wanted, [])
    const free = [...wanted.values()].slice(0, 1000)
    for (const slot of free) index.remove(slot)
    for (const key of [...wanted.keys()].slice(0, 1000)) wanted.delete(key)
    expectSame(index, wanted, free)
    for (let number = 0; number < 1000; number++) expect(index.find(`user:${number}`)).toBe(NO_SLOT)
  })

  it('tells keys apart as a Map does', () => {
    const index = new KeyIndex<unknown & {}>()
    const object = {}
    const keys = ['', '0', 0, Number.NaN, true, 1n, object, 'constructor', '__proto__']
    for (const [at, key] of keys.entries()) index.add(key, at + 1)
    expect(keys.map((key) => index.find(key))).toEqual(keys.map((_, at) => at + 1))
    expect(index.find(-0)).toBe(index.find(0))
    for (const other of ['1', 1, {}, false, 'true', '0 ']) expect(index.find(other)).toBe(NO_SLOT)
  })
})

describe('memory', () => {
  it('is taken for the keys that are there, not for those that have left', () => {
    const index = new KeyIndex<string>()
    for (let number = 0; number < 1000; number++) index.add(`${number}`, 1 + number)
    const before = process.memoryUsage().arrayBuffers
    for (let number = 1000; number < 200_000; number++) {
      const slot = 1 + (number % 1000)
      index.remove(slot)
      index.add(`${number}`, slot)
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000)
    expect(index.count).toBe(1000)
  })
})

/** The same key, but if it is a string one of its own, as it comes from a socket. */
function anew(key: Key): Key {
  return typeof key === 'string' ? Buffer.from(key).toString() : key
}

function expectSame(index: KeyIndex<Key>, wanted: ReadonlyMap<Key, number>, free: readonly number[]): void {
  expect(index.count).toBe(wanted.size)
  const found = [...wanted.keys()].map((key) => index.find(anew(key)))
  expect(found).toEqual([...wanted.values()])
  expect(found.map((slot) => index.keyIn(slot))).toEqual([...wanted.keys()])
  expect(free.filter((slot) => index.keyIn(slot) !== undefined)).toEqual([])
}
