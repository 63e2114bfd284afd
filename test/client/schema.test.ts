// Schemas: a value that does not look as the caller expects is a miss, and counted.

import { describe, expect, test } from 'vitest'
import type { StandardSchemaV1 } from '../../client/calls.ts'
import { CLIENT_SURROUNDINGS, clientIn } from '../helpers/client.ts'

/** Takes { name: string } and puts out the name in capitals; synchronous or not. */
function nameSchema(timing: 'now' | 'later'): StandardSchemaV1<unknown, string> {
  return {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate(value) {
        const name = typeof value === 'object' && value !== null && 'name' in value ? value.name : undefined
        const result =
          typeof name === 'string' ? { value: name.toUpperCase() } : { issues: [{ message: 'no name' }] }
        return timing === 'now' ? result : Promise.resolve(result)
      },
    },
  }
}

describe.each(CLIENT_SURROUNDINGS)('$mode, $store store', (surrounding) => {
  test.each(['now', 'later'] as const)('a schema that answers %s: its output, or a miss', async (timing) => {
    const client = await clientIn(surrounding)
    const schema = nameSchema(timing)
    await client.storeMany([
      ['good', { name: 'ann' }],
      ['bad', { title: 'x' }],
    ])
    expect(await client.retrieve('good', { schema })).toBe('ANN')
    expect(await client.retrieve('bad', { schema })).toBeUndefined()
    expect(await client.retrieve('nothing', { schema })).toBeUndefined()
    expect(await client.lookup('good', { schema })).toMatchObject({ outcome: 'hit', value: 'ANN' })
    expect(await client.lookup('bad', { schema })).toEqual({ outcome: 'miss' })
    expect(await client.lookup('nothing', { schema })).toEqual({ outcome: 'miss' })
    expect(await client.retrieveMany(['bad', 'good', 'nothing'], { schema })).toEqual([
      undefined,
      'ANN',
      undefined,
    ])
    expect(client.counters()).toMatchObject({ hits: 6, misses: 3, schemaMismatches: 3 })
  })

  test('what a schema throws goes through', async () => {
    const client = await clientIn(surrounding)
    await client.store('k', 1)
    const failure = new Error('a bug in the schema')
    const schema: StandardSchemaV1 = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate() {
          throw failure
        },
      },
    }
    await expect(client.retrieve('k', { schema })).rejects.toBe(failure)
    await expect(client.lookup('k', { schema })).rejects.toBe(failure)
    await expect(client.retrieveMany(['k'], { schema })).rejects.toBe(failure)
    expect(await client.retrieve('nothing', { schema })).toBeUndefined()
  })

  test('null is a value to a schema, and may be its output', async () => {
    const client = await clientIn(surrounding)
    await client.store('k', null)
    const schema: StandardSchemaV1<unknown, string | null> = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value) => ({ value: value === null ? null : 'x' }),
      },
    }
    expect(await client.retrieve('k', { schema })).toBeNull()
  })
})
