// getOrLoad: one load per key, callers that give up, and what changes while a load is under way.

import { afterEach, describe, expect, it, vi } from 'vitest'
import { type LoadContext, LruCache, type LruCacheOptions } from '../../client/lru-cache.ts'

afterEach(() => {
  vi.useRealTimers()
})

interface Call extends LoadContext<string> {
  key: string
  resolve(value: string): void
  reject(error: unknown): void
}

/** A cache whose loads the test ends. */
function loading(options: Partial<LruCacheOptions<string, string>> = {}) {
  const calls: Call[] = []
  const cache = new LruCache<string, string>({
    maxEntries: 10,
    loader: (key, context) =>
      new Promise((resolve, reject) => void calls.push({ key, ...context, resolve, reject })),
    ...options,
  })
  const call = (index: number): Call => {
    const found = calls[index]
    if (found === undefined) throw new Error(`there were ${calls.length} loads`)
    return found
  }
  return { cache, calls, call }
}

describe('getOrLoad', () => {
  it('loads what is not there, once, and stores it', async () => {
    const { cache, calls, call } = loading()
    const waiting = Promise.all([cache.getOrLoad('key'), cache.getOrLoad('key'), cache.getOrLoad('key')])
    expect(calls.map(({ key }) => key)).toEqual(['key'])
    expect(cache.get('key')).toBeUndefined()
    call(0).resolve('loaded')
    expect(await waiting).toEqual(['loaded', 'loaded', 'loaded'])
    expect(cache.get('key')).toBe('loaded')
    expect(await cache.getOrLoad('key')).toBe('loaded')
    expect(calls.length).toBe(1)
    expect(cache.counters()).toMatchObject({ loads: 1, loadFailures: 0, sets: 1, misses: 4, hits: 2 })
  })

  it('loads a thousand keys for a thousand callers each with a thousand loads', async () => {
    let loads = 0
    const cache = new LruCache<number, number>({
      maxEntries: 1000,
      loader: async (key) => {
        loads++
        await null
        return key * 2
      },
    })
    const answers = await Promise.all(Array.from({ length: 100_000 }, (_, i) => cache.getOrLoad(i % 1000)))
    expect(loads).toBe(1000)
    expect(answers.every((answer, i) => answer === (i % 1000) * 2)).toBe(true)
  })

  it('takes a loader that answers at once', async () => {
    const cache = new LruCache<string, string>({ maxEntries: 1, loader: (key) => `value of ${key}` })
    expect(await cache.getOrLoad('a')).toBe('value of a')
    expect(cache.has('a')).toBe(true)
  })

  it('gives the loaded value the time to live and the size that the cache gives', async () => {
    vi.useFakeTimers()
    const { cache, call } = loading({ ttlSeconds: 10, maxBytes: 100, sizeOf: (value) => value.length })
    const waiting = cache.getOrLoad('key')
    call(0).resolve('12345')
    await waiting
    expect(cache.bytes).toBe(5)
    vi.advanceTimersByTime(10_000)
    expect(cache.has('key')).toBe(false)
  })

  it('rejects without a loader, and for options it does not know', async () => {
    const bare = new LruCache<string, string>({ maxEntries: 1 })
    await expect(bare.getOrLoad('key')).rejects.toThrow('this LruCache was made without a loader')
    const { cache, calls } = loading()
    // @ts-expect-error
    await expect(cache.getOrLoad('key', { ttlSeconds: 5 })).rejects.toThrow(
      'getOrLoad has no option ttlSeconds: there are signal',
    )
    // @ts-expect-error
    await expect(cache.getOrLoad('key', { signal: new AbortController() })).rejects.toThrow(TypeError)
    expect(calls.length).toBe(0)
  })
})

describe('an error of the loader', () => {
  it('rejects all who wait, and the next call loads again', async () => {
    const { cache, calls, call } = loading()
    const waiting = Promise.allSettled([cache.getOrLoad('key'), cache.getOrLoad('key')])
    const error = new Error('no database')
    call(0).reject(error)
    expect(await waiting).toEqual([
      { status: 'rejected', reason: error },
      { status: 'rejected', reason: error },
    ])
    const next = cache.getOrLoad('key')
    call(1).resolve('value')
    expect(await next).toBe('value')
    expect(calls.length).toBe(2)
    expect(cache.counters().loadFailures).toBe(1)
  })

  it('may be thrown at once', async () => {
    const cache = new LruCache<string, string>({
      maxEntries: 1,
      loader: () => {
        throw new Error('at once')
      },
    })
    await expect(cache.getOrLoad('key')).rejects.toThrow('at once')
    await expect(cache.getOrLoad('key')).rejects.toThrow('at once')
    expect(cache.size).toBe(0)
  })

  it('is what undefined and null are', async () => {
    // @ts-expect-error
    const cache = new LruCache<string, string>({ maxEntries: 1, loader: () => undefined })
    await expect(cache.getOrLoad('key')).rejects.toThrow('the loader returned undefined')
  })
})

describe('a caller that gives up', () => {
  it('rejects with its reason at once, while the others go on', async () => {
    const { cache, call } = loading()
    const impatient = new AbortController()
    const reason = new Error('too slow for me')
    const leaving = cache.getOrLoad('key', { signal: impatient.signal })
    const staying = [cache.getOrLoad('key'), cache.getOrLoad('key', { signal: new AbortController().signal })]
    impatient.abort(reason)
    await expect(leaving).rejects.toBe(reason)
    expect(call(0).signal.aborted).toBe(false)
    call(0).resolve('value')
    expect(await Promise.all(staying)).toEqual(['value', 'value'])
  })

  it('aborts the load if it was the last, and what still comes of it is not kept', async () => {
    const { cache, calls, call } = loading()
    const controllers = [new AbortController(), new AbortController()]
    const leaving = Promise.allSettled(controllers.map(({ signal }) => cache.getOrLoad('key', { signal })))
    controllers[0]?.abort('first')
    expect(call(0).signal.aborted).toBe(false)
    controllers[1]?.abort('second')
    expect(call(0).signal.aborted).toBe(true)
    expect(call(0).signal.reason).toBe('second')
    expect(await leaving).toEqual([
      { status: 'rejected', reason: 'first' },
      { status: 'rejected', reason: 'second' },
    ])
    const next = cache.getOrLoad('key')
    expect(calls.length).toBe(2)
    call(0).resolve('late')
    await null
    call(1).resolve('fresh')
    expect(await next).toBe('fresh')
    expect(cache.get('key')).toBe('fresh')
  })

  it('leaves no unhandled rejection when the loader minds the signal', async () => {
    const { cache, call } = loading()
    const controller = new AbortController()
    const leaving = cache.getOrLoad('key', { signal: controller.signal })
    controller.abort()
    call(0).reject(call(0).signal.reason)
    await expect(leaving).rejects.toThrow(DOMException)
    expect(cache.counters().loadFailures).toBe(0)
  })

  it('beforehand is not served, not even from the cache', async () => {
    const { cache, calls } = loading()
    cache.set('there', 'value')
    const signal = AbortSignal.abort('no')
    await expect(cache.getOrLoad('there', { signal })).rejects.toBe('no')
    await expect(cache.getOrLoad('elsewhere', { signal })).rejects.toBe('no')
    expect(calls.length).toBe(0)
  })

  it('afterwards changes nothing, and its signal holds nothing of the load', async () => {
    const { cache, call } = loading()
    const controller = new AbortController()
    const remove = vi.spyOn(controller.signal, 'removeEventListener')
    const waiting = cache.getOrLoad('key', { signal: controller.signal })
    call(0).resolve('value')
    expect(await waiting).toBe('value')
    expect(remove).toHaveBeenCalledTimes(1)
    controller.abort()
    expect(call(0).signal.aborted).toBe(false)
    expect(cache.get('key')).toBe('value')
  })
})

describe('while a load is under way', () => {
  it('a set wins over what is loaded', async () => {
    const { cache, calls, call } = loading()
    const waiting = cache.getOrLoad('key')
    cache.set('key', 'written')
    call(0).resolve('loaded')
    expect(await waiting).toBe('loaded')
    expect(cache.get('key')).toBe('written')
    expect(await cache.getOrLoad('key')).toBe('written')
    expect(calls.length).toBe(1)
  })

  it.each<[name: string, change: (cache: LruCache<string, string>) => void]>([
    ['delete', (cache) => void cache.delete('key')],
    ['clear', (cache) => cache.clear()],
    ['set and delete', (cache) => void (cache.set('key', 'written') && cache.delete('key'))],
    ['set of a value that is too large', (cache) => void cache.set('key', 'written', { sizeBytes: 1000 })],
  ])('%s: what is loaded does not come back, and later callers load anew', async (_, change) => {
    const { cache, calls, call } = loading({ maxBytes: 100, sizeOf: () => 1 })
    const before = cache.getOrLoad('key')
    change(cache)
    const after = cache.getOrLoad('key')
    expect(calls.length).toBe(2)
    call(0).resolve('old')
    expect(await before).toBe('old')
    expect(cache.has('key')).toBe(false)
    call(1).resolve('new')
    expect(await after).toBe('new')
    expect(cache.get('key')).toBe('new')
  })

  it('an outdated load that ends last overwrites nothing', async () => {
    const { cache, call } = loading()
    const before = cache.getOrLoad('key')
    cache.delete('key')
    const after = cache.getOrLoad('key')
    call(1).resolve('new')
    expect(await after).toBe('new')
    call(0).resolve('old')
    expect(await before).toBe('old')
    expect(cache.get('key')).toBe('new')
  })

  it('an outdated load that fails leaves the next one alone', async () => {
    const { cache, calls, call } = loading()
    const before = cache.getOrLoad('key')
    cache.delete('key')
    const after = cache.getOrLoad('key')
    call(0).reject(new Error('late'))
    await expect(before).rejects.toThrow('late')
    const joined = cache.getOrLoad('key')
    expect(calls.length).toBe(2)
    call(1).resolve('new')
    expect(await Promise.all([after, joined])).toEqual(['new', 'new'])
  })

  it('changes of other keys do not matter', async () => {
    const { cache, call } = loading()
    const waiting = cache.getOrLoad('key')
    cache.set('other', 'value')
    cache.delete('other')
    call(0).resolve('loaded')
    await waiting
    expect(cache.get('key')).toBe('loaded')
  })
})

describe('an expired value', () => {
  it('is handed to the loader, which may return it', async () => {
    vi.useFakeTimers()
    const cache = new LruCache<string, string>({
      maxEntries: 10,
      ttlSeconds: 1,
      loader: (_, { stale }) => stale ?? 'loaded',
    })
    expect(await cache.getOrLoad('key')).toBe('loaded')
    cache.set('key', 'old')
    vi.advanceTimersByTime(1000)
    expect(cache.get('key')).toBeUndefined()
    cache.set('other', 'value')
    expect(await cache.getOrLoad('key')).toBe('old')
    expect(cache.get('key')).toBe('old')
  })

  it('leaves when the load is done, as expired, and stays when it fails', async () => {
    vi.useFakeTimers()
    const left: unknown[] = []
    const { cache, call } = loading({ ttlSeconds: 1, onDispose: (...args) => left.push(args) })
    cache.set('key', 'old')
    vi.advanceTimersByTime(1000)
    const failing = cache.getOrLoad('key')
    expect(call(0).stale).toBe('old')
    call(0).reject(new Error('no database'))
    await expect(failing).rejects.toThrow('no database')
    expect(left).toEqual([])
    const waiting = cache.getOrLoad('key')
    expect(call(1).stale).toBe('old')
    call(1).resolve('new')
    expect(await waiting).toBe('new')
    expect(left).toEqual([['old', 'key', 'expire']])
  })

  it('is not kept when there is no room', async () => {
    vi.useFakeTimers()
    const { cache, call } = loading({ maxEntries: 1, ttlSeconds: 1 })
    cache.set('key', 'old')
    vi.advanceTimersByTime(1000)
    cache.set('other', 'value')
    const waiting = cache.getOrLoad('key')
    expect(call(0).stale).toBeUndefined()
    call(0).resolve('new')
    await waiting
  })
})

describe('storing what was loaded', () => {
  it('is not necessary for the callers: a value that is too large reaches them', async () => {
    const { cache, call } = loading({ maxBytes: 3, sizeOf: (value) => value.length })
    const waiting = cache.getOrLoad('key')
    call(0).resolve('too large')
    expect(await waiting).toBe('too large')
    expect(cache.has('key')).toBe(false)
    expect(cache.counters().tooLarge).toBe(1)
  })

  it('rejects with what onDispose throws', async () => {
    const { cache, call } = loading({
      maxEntries: 1,
      onDispose: () => {
        throw new Error('cannot close')
      },
    })
    cache.set('other', 'value')
    const waiting = cache.getOrLoad('key')
    call(0).resolve('value')
    await expect(waiting).rejects.toThrow('cannot close')
    expect(cache.get('key')).toBe('value')
  })
})
