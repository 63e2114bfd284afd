// Options of single calls: what is refused, with the translation for those who come from other caches. An option that
// was ignored would be a key that never expires.

import { describe, expect, test } from 'vitest'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { clientIn } from '../helpers/client.ts'

const STANDALONE = { mode: 'standalone', store: 'arena' } as const

/** Calls as somebody without a type checker makes them. */
type Untyped = Record<string, (...args: unknown[]) => Promise<unknown>>

async function untypedClient(): Promise<{ client: OrmucoCacheClient; untyped: Untyped }> {
  const client = await clientIn(STANDALONE)
  return { client, untyped: client as unknown as Untyped }
}

describe('a time to live under another name, or in another place', () => {
  test.each([
    [{ ttl: 60 }, 'unknown option ttl: use { ttlSeconds: 60 }'],
    [{ EX: 60 }, 'unknown option EX: use { ttlSeconds: 60 }'],
    [{ ex: 60 }, 'unknown option ex: use { ttlSeconds: 60 }'],
    [{ PX: 1500 }, 'unknown option PX: use { ttlSeconds: 1.5 }'],
    [{ ttlMs: 500 }, 'unknown option ttlMs: use { ttlSeconds: 0.5 }'],
    [{ expires: 'soon' }, 'unknown option expires: use { ttlSeconds: seconds }'],
    [60, 'options are an object, got 60: use { ttlSeconds: 60 }'],
    ['EX', 'options are an object, got EX'],
    [null, 'options are an object, got null'],
    [{ nx: true }, /^unknown option nx; there are timeoutMs, signal, onUnavailable, ttlSeconds, if/],
  ])('store with %j', async (options, message) => {
    const { client, untyped } = await untypedClient()
    for (const call of [
      () => untyped['store']?.('k', 1, options),
      () => untyped['storeMany']?.([['k', 1]], options),
    ]) {
      await expect(call()).rejects.toBeInstanceOf(TypeError)
      await expect(call()).rejects.toThrow(message)
    }
    expect(await client.has('k')).toBe(false)
  })

  test('calls without a time to live say what options there are', async () => {
    const { untyped } = await untypedClient()
    for (const [method, args] of [
      ['retrieve', ['k']],
      ['lookup', ['k']],
      ['retrieveMany', [['k']]],
      ['inspect', ['k']],
      ['has', ['k']],
      ['delete', ['k']],
      ['deleteMany', [['k']]],
      ['clear', []],
      ['connect', []],
      ['stats', []],
    ] as const) {
      await expect(untyped[method]?.(...args, { ttl: 60 }), method).rejects.toThrow(
        /^unknown option ttl; there are /,
      )
      await expect(untyped[method]?.(...args, 60), method).rejects.toThrow('options are an object, got 60')
    }
    await expect(untyped['increment']?.('k', 1, { EX: 5 })).rejects.toThrow('use { ttlSeconds: 5 }')
    await expect(untyped['touch']?.('k', 5, { PX: 5 })).rejects.toThrow('unknown option PX')
  })

  test.each([0, -1, -0, Number.NaN, -Infinity, '60', null, 1e15])(
    'ttlSeconds: %j is a RangeError',
    async (ttlSeconds) => {
      const { client, untyped } = await untypedClient()
      const message =
        /^ttlSeconds: .* is not possible; allowed: above 0, at most 3162240000 \(100 years\), or Infinity$/
      for (const call of [
        () => untyped['store']?.('k', 1, { ttlSeconds }),
        () => untyped['storeMany']?.([['k', 1]], { ttlSeconds }),
        () => untyped['touch']?.('k', ttlSeconds),
        () => untyped['increment']?.('k', 1, { ttlSeconds }),
      ]) {
        await expect(call()).rejects.toBeInstanceOf(RangeError)
        await expect(call()).rejects.toThrow(message)
      }
      expect(await client.has('k')).toBe(false)
    },
  )

  test('touch needs one', async () => {
    const { untyped } = await untypedClient()
    await expect(untyped['touch']?.('k')).rejects.toThrow(/^ttlSeconds is needed/)
  })
})

describe('options of every call', () => {
  test.each([0, -5, Number.NaN, '5', Number.POSITIVE_INFINITY, null])(
    'timeoutMs: %j is a RangeError',
    async (timeoutMs) => {
      const { untyped } = await untypedClient()
      await expect(untyped['retrieve']?.('k', { timeoutMs })).rejects.toBeInstanceOf(RangeError)
      await expect(untyped['delete']?.('k', { timeoutMs })).rejects.toThrow(/^timeoutMs: /)
    },
  )

  test('onUnavailable and signal are what they say', async () => {
    const { untyped } = await untypedClient()
    await expect(untyped['retrieve']?.('k', { onUnavailable: 'explode' })).rejects.toThrow(
      /^onUnavailable: explode/,
    )
    await expect(untyped['retrieve']?.('k', { signal: {} })).rejects.toThrow(/^signal: .*AbortSignal$/)
    await expect(untyped['retrieve']?.('k', { signal: null })).rejects.toThrow(/^signal: null/)
  })

  test('an option that is undefined is one that was left out', async () => {
    const { client, untyped } = await untypedClient()
    const options = { timeoutMs: undefined, signal: undefined, onUnavailable: undefined }
    await untyped['store']?.('k', 1, { ...options, ttlSeconds: undefined, if: undefined })
    expect(await untyped['retrieve']?.('k', { ...options, schema: undefined })).toBe(1)
    expect((await client.inspect('k'))?.ttlSeconds).toBe(Number.POSITIVE_INFINITY)
  })

  test('if: one of three conditions, else a TypeError', async () => {
    const { untyped } = await untypedClient()
    for (const condition of ['exists', 5, null, {}, { version: 'newest' }, { version: undefined }])
      await expect(untyped['store']?.('k', 1, { if: condition }), String(condition)).rejects.toBeInstanceOf(
        TypeError,
      )
    const version = '0'.repeat(32)
    await expect(untyped['storeMany']?.([['k', 1]], { if: { version } })).rejects.toThrow(
      /belongs to one key/,
    )
  })

  test('keys() takes a prefix and a signal', async () => {
    const { client } = await untypedClient()
    const list = async (options: unknown) => {
      for await (const _ of client.keys(options as never)) return
    }
    await expect(list({ pattern: 'a*' })).rejects.toThrow('unknown option pattern; there are prefix, signal')
    await expect(list({ prefix: 5 })).rejects.toBeInstanceOf(TypeError)
    await expect(list({ prefix: '\ud800' })).rejects.toBeInstanceOf(TypeError)
    await expect(list({ prefix: 'x'.repeat(30_000) })).rejects.toMatchObject({ code: 'CACHE_TOO_LARGE' })
    await expect(list({ signal: 'now' })).rejects.toThrow(/^signal: now/)
    await expect(list('prefix')).rejects.toBeInstanceOf(TypeError)
  })
})
