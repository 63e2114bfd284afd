// Conditional writes: only if absent, only if present, only if nobody has written since.

import { describe, expect, test } from 'vitest'
import type { Stored, Version } from '../../client/calls.ts'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { CLIENT_SURROUNDINGS, clientIn } from '../helpers/client.ts'

describe.each(CLIENT_SURROUNDINGS)('$mode, $store store', (surrounding) => {
  test('absent: only the first one stores, the others hear what is there', async () => {
    const client = await clientIn(surrounding)
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => client.store('lock', i, { if: 'absent', ttlSeconds: 60 })),
    )
    const [first, ...others] = outcomes
    const version = versionOf(first)
    expect(others).toEqual(others.map(() => ({ outcome: 'conflict', version })))
    expect(await client.lookup('lock')).toMatchObject({ value: 0, version })
    expect(client.counters()).toMatchObject({ stored: 1, conflicts: 19 })
    await client.delete('lock')
    expect(await client.store('lock', 'again', { if: 'absent' })).toMatchObject({ outcome: 'stored' })
  })

  test('present: only over what is there', async () => {
    const client = await clientIn(surrounding)
    expect(await client.store('k', 1, { if: 'present' })).toEqual({ outcome: 'conflict', version: undefined })
    expect(await client.has('k')).toBe(false)
    await client.store('k', 1)
    expect(await client.store('k', 2, { if: 'present' })).toMatchObject({ outcome: 'stored' })
    expect(await client.retrieve('k')).toBe(2)
  })

  test('version: only if nobody has written, touched, deleted or counted since', async () => {
    const client = await clientIn(surrounding)
    const version = versionOf(await client.store('k', 1))
    const next = versionOf(await client.store('k', 2, { if: { version } }))
    expect(next).not.toBe(version)
    expect(await client.store('k', 3, { if: { version } })).toEqual({ outcome: 'conflict', version: next })
    expect(await client.lookup('k')).toMatchObject({ value: 2, version: next })
    expect(await client.inspect('k')).toMatchObject({ version: next })

    await client.touch('k', 100)
    expect(await client.store('k', 3, { if: { version: next } })).toMatchObject({ outcome: 'conflict' })
    const touched = await found(client, 'k')
    await client.increment('k')
    expect(await client.store('k', 9, { if: { version: touched } })).toMatchObject({ outcome: 'conflict' })
    const counted = await found(client, 'k')
    await client.delete('k')
    expect(await client.store('k', 9, { if: { version: counted } })).toEqual({
      outcome: 'conflict',
      version: undefined,
    })
    await client.store('k', 'anew')
    expect(await client.store('k', 9, { if: { version: counted } })).toMatchObject({ outcome: 'conflict' })
  })

  test('reads leave the version as it is', async () => {
    const client = await clientIn(surrounding, {}, { renewOnHit: true })
    const version = versionOf(await client.store('k', 1, { ttlSeconds: 100 }))
    await client.retrieve('k')
    await client.lookup('k')
    await client.inspect('k')
    await client.retrieveMany(['k'])
    expect(await client.store('k', 2, { if: { version } })).toMatchObject({ outcome: 'stored' })
  })

  test('a version is of one key and one server: of another it never fits', async () => {
    const client = await clientIn(surrounding)
    const other = await clientIn(surrounding)
    await client.store('k', 1)
    const elsewhere = versionOf(await other.store('k', 1))
    expect(await client.store('k', 2, { if: { version: elsewhere } })).toMatchObject({ outcome: 'conflict' })
    const otherKey = versionOf(await client.store('other', 1))
    expect(await client.store('k', 2, { if: { version: otherKey } })).toMatchObject({ outcome: 'conflict' })
  })

  test('racing read-modify-write loops lose nothing', async () => {
    const client = await clientIn(surrounding)
    await client.store('list', [])
    const append = async (item: number) => {
      for (;;) {
        const { value, version } = await hit<number[]>(client, 'list')
        const outcome = await client.store('list', [...value, item], { if: { version } })
        if (outcome.outcome === 'stored') return
        expect(outcome.outcome).toBe('conflict')
      }
    }
    await Promise.all(Array.from({ length: 25 }, (_, item) => append(item)))
    const { value } = await hit<number[]>(client, 'list')
    expect([...value].sort((a, b) => a - b)).toEqual(Array.from({ length: 25 }, (_, item) => item))
  })

  test('storeMany takes absent and present, each key by itself', async () => {
    const client = await clientIn(surrounding)
    await client.store('b', 'old')
    const entries = (['a', 'b', 'c'] as const).map((key) => [key, `new ${key}`] as const)
    expect((await client.storeMany(entries, { if: 'absent' })).map(({ outcome }) => outcome)).toEqual([
      'stored',
      'conflict',
      'stored',
    ])
    await client.delete('a')
    expect((await client.storeMany(entries, { if: 'present' })).map(({ outcome }) => outcome)).toEqual([
      'conflict',
      'stored',
      'stored',
    ])
    expect(await client.retrieveMany(['a', 'b', 'c'])).toEqual([undefined, 'new b', 'new c'])
  })

  test('versions rise with each write', async () => {
    const client = await clientIn(surrounding)
    const outcomes = await Promise.all(Array.from({ length: 300 }, (_, i) => client.store(`k${i % 7}`, i)))
    const versions = outcomes.map(versionOf)
    expect([...versions].sort()).toEqual(versions)
    expect(new Set(versions).size).toBe(300)
  })
})

function versionOf(outcome: Stored | undefined): Version {
  if (outcome?.outcome !== 'stored') throw new Error(`not stored but ${outcome?.outcome}`)
  return outcome.version
}

async function hit<T>(client: OrmucoCacheClient, key: string): Promise<{ value: T; version: Version }> {
  const found = await client.lookup<T>(key)
  if (found.outcome !== 'hit') throw new Error(found.outcome)
  return found
}

async function found(client: OrmucoCacheClient, key: string): Promise<Version> {
  return (await hit(client, key)).version
}
