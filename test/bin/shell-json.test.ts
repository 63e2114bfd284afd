// What JSON cannot say, said in JSON all the same; the table in the file's head is held to here.

import { describe, expect, test } from 'vitest'
import { jsonForm } from '../../bin/shell-json.ts'
import { decodeValue, encodeValue } from '../../protocol/value.ts'
import { randomPlainValue, randomValue } from '../helpers/random-value.ts'
import { difference } from '../helpers/same-value.ts'
import { forEachSeed, seedRange } from '../server/store/random.ts'

function text(value: unknown): string {
  return JSON.stringify(jsonForm(value).json)
}

const circle: unknown[] = [1]
circle.push(circle)
const shared = { n: 1 }
const viaMap = new Map<unknown, unknown>([['self', 0]])
viaMap.set('self', viaMap)

describe('with $', () => {
  test.each<[name: string, value: unknown, json: string]>([
    ['undefined', { a: undefined }, '{"a":{"$undefined":true}}'],
    ['NaN', Number.NaN, '{"$number":"NaN"}'],
    ['infinities', [Number.POSITIVE_INFINITY, -1 / 0], '[{"$number":"Infinity"},{"$number":"-Infinity"}]'],
    ['-0', -0, '{"$number":"-0"}'],
    ['a bigint', 12345678901234567890n, '{"$bigint":"12345678901234567890"}'],
    ['a date', new Date(0), '{"$date":"1970-01-01T00:00:00.000Z"}'],
    ['an invalid date', new Date(Number.NaN), '{"$date":null}'],
    ['a Buffer', Buffer.from('hi'), '{"$bytes":"aGk="}'],
    ['an ArrayBuffer', new Uint8Array([104, 105]).buffer, '{"$arraybuffer":"aGk="}'],
    ['a DataView', new DataView(new Uint8Array([1, 104, 105]).buffer, 1), '{"$dataview":"aGk="}'],
    ['a Map', new Map([['a', 1]]), '{"$map":[["a",1]]}'],
    ['a Set', new Set([1, 'a']), '{"$set":[1,"a"]}'],
    ['a typed array', Float64Array.of(1, 2.5, Number.NaN), '{"$float64array":[1,2.5,{"$number":"NaN"}]}'],
    ['big integers in one', BigInt64Array.of(-1n), '{"$bigint64array":[{"$bigint":"-1"}]}'],
    ['a cycle', circle, '[1,{"$ref":"$"}]'],
    ['a shared object', { a: [shared], 'b c': shared }, '{"a":[{"n":1}],"b c":{"$ref":"$.a[0]"}}'],
    ['a cycle through a Map', { m: viaMap }, '{"m":{"$map":[["self",{"$ref":"$.m"}]]}}'],
    [
      'something in a Map',
      new Map([[shared, shared]]),
      '{"$map":[[{"n":1},{"$ref":"$[\\"$map\\"][0][0]"}]]}',
    ],
    ['an object that looks like it', { $map: [] }, '{"$object":[["$map",[]]]}'],
  ])('%s', (_, value, json) => {
    expect(text(value)).toBe(json)
    expect(jsonForm(value).isExact).toBe(false)
  })

  test('an object with a $ among others is nothing special', () => {
    expect(jsonForm({ $map: 1, b: 2 })).toEqual({ json: { $map: 1, b: 2 }, isExact: true })
  })

  test('what is deeper than a stack is cut off', () => {
    let chain: unknown[] = []
    for (let i = 0; i < 100_000; i++) chain = [chain]
    expect(text(chain)).toBe(`${'['.repeat(300)}{"$deep":true}${']'.repeat(300)}`)
  })
})

test('a value that JSON says stays as it is, names that are traps included', () => {
  const value: unknown = JSON.parse('{"__proto__":{"a":1},"constructor":[null,true,"x"],"":1.5}')
  expect(text(value)).toBe('{"__proto__":{"a":1},"constructor":[null,true,"x"],"":1.5}')
  expect(jsonForm(value).isExact).toBe(true)
})

const SEEDS = 10

test(`any value that can be stored is JSON, and exact only if JSON gives it back: ${seedRange(SEEDS)}`, () => {
  forEachSeed(SEEDS, (random) => {
    for (let i = 0; i < 50; i++) {
      const made = i % 2 === 0 ? randomValue(random) : randomPlainValue(random)
      const { bytes, at, length, flags } = encodeValue(made)
      const value = decodeValue(bytes, at, length, flags)
      const { json, isExact } = jsonForm(value)
      const back: unknown = JSON.parse(JSON.stringify(json))
      if (isExact) expect(difference(back, value)).toBeUndefined()
    }
  })
})
