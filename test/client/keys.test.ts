// Keys and sizes: what is taken, what is refused before anything is sent, and that a refusal touches no other call.

import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Stored } from '../../client/calls.ts'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { CLIENT_SURROUNDINGS, clientIn, serverAndClient } from '../helpers/client.ts'

const MIB = 1024 * 1024

/** Lengths on both sides of every change of a key's encoding. */
const KEYS = [
  'a',
  'ä',
  '€',
  '😀',
  '\u0000',
  ' ',
  'a'.repeat(31),
  'a'.repeat(32),
  'a'.repeat(48),
  'a'.repeat(49),
  'a'.repeat(255),
  'a'.repeat(256),
  'a'.repeat(1024),
  `${'a'.repeat(30)}ä`,
  `${'a'.repeat(47)}€`,
  'ü'.repeat(16),
  'ü'.repeat(512),
  '😀'.repeat(256),
  '__proto__',
  'constructor',
]

describe.each(CLIENT_SURROUNDINGS)('$mode, $store store', (surrounding) => {
  test('keys of every length and script are told apart', async () => {
    const client = await clientIn(surrounding)
    await Promise.all(KEYS.map((key, index) => client.store(key, index)))
    expect(await Promise.all(KEYS.map((key) => client.retrieve(key)))).toEqual(KEYS.map((_, index) => index))
    expect(await client.retrieveMany(KEYS)).toEqual(KEYS.map((_, index) => index))
    const listed: string[] = []
    for await (const key of client.keys()) listed.push(key)
    expect(listed.sort()).toEqual([...KEYS].sort())
    expect(await client.deleteMany(KEYS)).toBe(KEYS.length)
  })

  test.each([
    ['an empty key', '', TypeError, /^a key has at least one character, got an empty string$/],
    [
      'a lone surrogate',
      'a\ud800b',
      TypeError,
      /^a key is text: it has a lone surrogate, which UTF-8 cannot say$/,
    ],
    ['a lone surrogate at the end', `${'a'.repeat(60)}\udbff`, TypeError, /lone surrogate/],
    ['1025 bytes', 'a'.repeat(1025), Error, /^a key has at most 1024 bytes, got 102\d$/],
    [
      '1025 bytes in 1024 characters',
      `${'a'.repeat(1023)}ä`,
      Error,
      /^a key has at most 1024 bytes, got 102\d$/,
    ],
    ['a number', 5, TypeError, /^a key is a string, got number$/],
    ['undefined', undefined, TypeError, /^a key is a string, got undefined$/],
    ['null', null, TypeError, /^a key is a string, got object$/],
  ])('%s is refused by every method, after a key prefix too', async (_, bad, kind, message) => {
    for (const client of [await clientIn(surrounding), await clientIn(surrounding, { keyPrefix: 'p:' })]) {
      const calls = Object.entries(callsWith(client, bad as string))
      const failures = await Promise.all(calls.map(([, call]) => call.then(() => undefined, identity)))
      for (const [index, [method]] of calls.entries()) {
        const failure = failures[index]
        expect(failure, method).toBeInstanceOf(kind)
        expect(failure, method).toMatchObject({ message: expect.stringMatching(message) })
        // What a logger prints of an error does not give the key away.
        expect(inspect(failure)).not.toContain('aaaa')
        if (kind === Error) expect(failure).toMatchObject({ code: 'CACHE_TOO_LARGE', retriable: false })
      }
      expect(await client.has('good')).toBe(false)
    }
  })

  test('a prefix counts as part of the key', async () => {
    const client = await clientIn(surrounding, { keyPrefix: 'ää' })
    await client.store('a'.repeat(1020), 1)
    expect(await client.has('a'.repeat(1020))).toBe(true)
    await expect(client.store('a'.repeat(1021), 1)).rejects.toThrow('at most 1024 bytes, got 1025')
  })

  test('a refused call touches no other call of its tick', async () => {
    const client = await clientIn(surrounding)
    for (const round of ['before there is a connection', 'after']) {
      const before = client.store('before', round)
      const refused = expect(client.store('x'.repeat(1025), 1)).rejects.toMatchObject({
        code: 'CACHE_TOO_LARGE',
      })
      const unstorable = expect(client.store('f', { f: () => 1 })).rejects.toBeInstanceOf(TypeError)
      const empty = expect(client.retrieve('')).rejects.toBeInstanceOf(TypeError)
      const after = client.store('after', round)
      await Promise.all([refused, unstorable, empty])
      expect(await Promise.all([before, after])).toEqual([
        expect.objectContaining({ outcome: 'stored' }),
        expect.objectContaining({ outcome: 'stored' }),
      ])
      expect(await client.retrieveMany(['before', 'after'])).toEqual([round, round])
    }
  })

  test('values up to the limit are stored; beyond it CACHE_TOO_LARGE, and others of the tick are untouched', async () => {
    const client = await clientIn(surrounding)
    for (const round of ['before there is a connection', 'after']) {
      const calls = [
        client.store('largest', Buffer.alloc(MIB, 1)),
        client.store('one more', Buffer.alloc(MIB + 1)),
        client.store('small', round),
        client.store('beyond a frame', Buffer.alloc(2 * MIB)),
        client.store('with options', 'x'.repeat(2 * MIB), { ttlSeconds: 5 }),
        client.store('small too', round),
      ]
      expect((await Promise.all(calls)).map(told)).toEqual([
        'stored',
        'CACHE_TOO_LARGE, not stored',
        'stored',
        'CACHE_TOO_LARGE, not stored',
        'CACHE_TOO_LARGE, not stored',
        'stored',
      ])
      expect(await client.retrieveMany(['small', 'small too', 'one more'])).toEqual([round, round, undefined])
      expect(await client.retrieve<Buffer>('largest')).toHaveLength(MIB)
    }
    expect(client.counters().outages).toBe(0)
  })

  test('storeMany: a value beyond the limit costs itself only', async () => {
    const client = await clientIn(surrounding)
    const outcomes = await client.storeMany([
      ['a', 1],
      ['large', Buffer.alloc(MIB + 1)],
      ['larger', Buffer.alloc(3 * MIB)],
      ['b', 2],
    ])
    expect(outcomes.map(told)).toEqual([
      'stored',
      'CACHE_TOO_LARGE, not stored',
      'CACHE_TOO_LARGE, not stored',
      'stored',
    ])
    expect(await client.retrieveMany(['a', 'b', 'large'])).toEqual([1, 2, undefined])
  })
})

test('storeMany to a server with a small limit: a value beyond it costs itself only', async () => {
  const { client } = await serverAndClient({ maxValueBytes: 100 })
  const outcomes = await client.storeMany([
    ['a', 1],
    ['large', 'x'.repeat(101)],
    ['b', 'x'.repeat(100)],
  ])
  expect(outcomes.map(told)).toEqual(['stored', 'CACHE_TOO_LARGE, not stored', 'stored'])
  expect(await client.retrieveMany(['a', 'large', 'b'])).toEqual([1, undefined, 'x'.repeat(100)])
})

test('a value that no memory is left for is CACHE_TOO_LARGE', async () => {
  const { client } = await serverAndClient({ maxMemoryBytes: MIB, maxValueBytes: 4 * MIB })
  await client.store('small', 1)
  expect(told(await client.store('large', Buffer.alloc(2 * MIB)))).toBe('CACHE_TOO_LARGE, not stored')
  expect((await client.storeMany([['large', Buffer.alloc(2 * MIB)]])).map(told)).toEqual([
    'CACHE_TOO_LARGE, not stored',
  ])
  expect(await client.retrieve('small')).toBe(1)
})

/** Every method that takes a key, with this one. */
function callsWith(client: OrmucoCacheClient, key: string): Record<string, Promise<unknown>> {
  return {
    store: client.store(key, 1),
    storeWithOptions: client.store(key, 1, { ttlSeconds: 1 }),
    retrieve: client.retrieve(key),
    retrieveWithOptions: client.retrieve(key, { timeoutMs: 1000 }),
    lookup: client.lookup(key),
    inspect: client.inspect(key),
    has: client.has(key),
    delete: client.delete(key),
    touch: client.touch(key, 1),
    increment: client.increment(key),
    retrieveMany: client.retrieveMany(['good', key]),
    // Far enough back to be in another request than the first ones.
    storeMany: client.storeMany([...Array.from({ length: 2000 }, () => ['good', 1] as const), [key, 1]]),
    deleteMany: client.deleteMany(['good', key]),
  }
}

function told(outcome: Stored): string {
  if (outcome.outcome !== 'unavailable') return outcome.outcome
  return `${outcome.error.code}, ${outcome.maybeStored ? 'maybe' : 'not'} stored`
}

function identity(error: unknown): unknown {
  return error
}
