import { describe, expect, it } from 'vitest'
import { ArenaStore } from '../../../server/store/arena-store.ts'
import { NO_SLOT } from '../../../server/store/store.ts'
import { describeStore } from './conformance.ts'
import { Driver, HASH_KEY } from './driver.ts'

describeStore('ArenaStore', (options) => new ArenaStore(options))

describe('ArenaStore, beyond what every store does', () => {
  it('passes no more flushed values than it is told to, on the way to the oldest', () => {
    const cache = new Driver(new ArenaStore({ entriesMax: 1000, bytesMax: 2 ** 20, hashKey: HASH_KEY }))
    for (let i = 0; i < 100; i++) cache.put(`k${i}`, 'v')
    cache.store.flush(cache.hlc)
    cache.put('new', 'v')
    expect(cache.store.oldest(99)).toBe(NO_SLOT)
    expect(cache.keyOf(cache.store.oldest(100))).toBe('new')
    // Each piece of upkeep brings it nearer.
    cache.store.sweep(cache.nowMs, 1)
    expect(cache.keyOf(cache.store.oldest(99))).toBe('new')
  })
})
