// An in-process cache of JavaScript values: the least recently used leaves when room is needed. Joins what is known by
// slot: keys, and from key to slot (lru-index.ts), values and sizes (arrays), the order of use (lru-recency.ts), deadlines
// (lru-deadlines.ts). Knows no network; nothing here is shared with other processes.
//
// * Room: what has expired leaves before anything that is still good; then the least recently used.
// * An expired entry is never served. Without a loader it leaves when `get` meets it, and with any later `set` (two
//   each); with a loader nothing takes it away before room is needed, so that the loader gets it as `stale`. Until then
//   `size` and `bytes` count it.
// * A value larger than `maxBytes` is not kept, and neither is what its key held before: that is overwritten.
// * Invariant, whenever foreign code runs (onDispose, the loader): index, arrays, order and counts agree.

import { processClock } from './lru-clock.ts'
import { Deadlines } from './lru-deadlines.ts'
import { Disposals } from './lru-disposals.ts'
import { KeyIndex } from './lru-index.ts'
import { Loads } from './lru-loads.ts'
import {
  checkLoadOptions,
  checkSetOptions,
  checkSize,
  type DisposeReason,
  type LruCacheOptions,
  type LruLoadOptions,
  type LruSetOptions,
  lifetimeMsOf,
  limitsOf,
  NEVER_EXPIRES,
} from './lru-options.ts'
import { NO_SLOT, RecencyOrder } from './lru-recency.ts'

export type {
  DisposeReason,
  LoadContext,
  LruCacheOptions,
  LruLoadOptions,
  LruSetOptions,
} from './lru-options.ts'

/** Since the cache was made. */
export interface LruCounters {
  /** `get` and `getOrLoad` that found a value. */
  hits: number
  /** Those that did not. */
  misses: number
  /** Values stored, by `set` or by a load. */
  sets: number
  /** Entries taken out by `delete` and `clear`. */
  deletes: number
  /** Entries that were still good and left for want of room. */
  evictions: number
  /** Entries that left after their time, whatever made them leave. */
  expirations: number
  /** Values larger than `maxBytes`, which were not kept. */
  tooLarge: number
  /** Calls of the loader. */
  loads: number
  /** Loads that ended in an error which a caller got. */
  loadFailures: number
}

/** Expired entries that a `set` takes out beyond what it needs to make room. */
const EXPIRED_PER_SET = 2

export class LruCache<K extends {}, V extends {}> {
  readonly #maxEntries: number
  readonly #maxBytes: number
  readonly #lifetimeMs: number
  readonly #sizeOf: ((value: V, key: K) => number) | undefined
  readonly #renewOnHit: boolean
  readonly #disposals: Disposals<K, V> | undefined
  readonly #loads: Loads<K, V> | undefined

  #index = new KeyIndex<K>()
  /** By slot; the first belongs to NO_SLOT, and keeps V8 from choosing arrays that can only hold numbers. */
  #values: (V | undefined)[] = [undefined]
  /** By slot; undefined until something has a size. */
  #sizes: number[] | undefined
  #order = new RecencyOrder()
  /** Undefined until something can expire. */
  #deadlines: Deadlines | undefined
  #bytes = 0

  #hits = 0
  #misses = 0
  #sets = 0
  #deletes = 0
  #evictions = 0
  #expirations = 0
  #tooLarge = 0

  /** Throws TypeError or RangeError for options that are unknown, missing or out of range. */
  constructor(options: LruCacheOptions<K, V>) {
    const { maxEntries, maxBytes, lifetimeMs } = limitsOf(options)
    const { sizeOf, renewOnHit = false, loader, onDispose } = options
    this.#maxEntries = maxEntries
    this.#maxBytes = maxBytes
    this.#lifetimeMs = lifetimeMs
    this.#sizeOf = sizeOf
    this.#renewOnHit = renewOnHit
    this.#disposals = onDispose && new Disposals(onDispose)
    this.#loads = loader && new Loads(loader, (key, value) => this.set(key, value))
  }

  /** Entries held. */
  get size(): number {
    return this.#index.count
  }

  /** Sum of the sizes of the entries held; 0 if they have none. */
  get bytes(): number {
    return this.#bytes
  }

  /** The key's value, which becomes the most recently used; undefined on a miss. */
  get(key: K): V | undefined {
    const slot = this.#index.find(key)
    if (slot === NO_SLOT) {
      this.#misses++
      return undefined
    }
    const deadlines = this.#deadlines
    if (deadlines?.isOver(slot)) {
      this.#misses++
      if (this.#loads === undefined) this.#leaveAlone(slot, 'expire')
      return undefined
    }
    this.#hits++
    this.#order.touch(slot)
    if (this.#renewOnHit) deadlines?.renew(slot)
    return this.#values[slot]
  }

  /** The key's value; undefined on a miss. Changes neither order, nor time to live, nor counters. */
  peek(key: K): V | undefined {
    const slot = this.#index.find(key)
    return slot === NO_SLOT || this.#deadlines?.isOver(slot) ? undefined : this.#values[slot]
  }

  /** Whether `peek` would find a value. */
  has(key: K): boolean {
    const slot = this.#index.find(key)
    return slot !== NO_SLOT && !this.#deadlines?.isOver(slot)
  }

  /**
   * Stores a value as the most recently used. Throws TypeError or RangeError for bad options, undefined and null, and
   * what `onDispose` throws.
   * @returns false if it is larger than `maxBytes` and was not kept
   */
  set(key: K, value: V, options?: LruSetOptions): boolean {
    if (options !== undefined) checkSetOptions(options)
    if (key === undefined || key === null) throw new TypeError(`${key} cannot be a key`)
    if (value === undefined || value === null)
      throw new TypeError(`${value} cannot be stored: it would be a miss`)
    const lifetimeMs =
      options === undefined ? this.#lifetimeMs : lifetimeMsOf(options.ttlSeconds, this.#lifetimeMs)
    const sizeBytes = this.#sizeBytesOf(key, value, options?.sizeBytes)
    this.#disposals?.refuseEndlessChain()
    this.#loads?.outdate(key)

    if (lifetimeMs !== NEVER_EXPIRES) {
      this.#deadlines ??= new Deadlines(
        processClock,
        this.#values.length,
        this.#renewOnHit ? 'renewable' : 'fixed',
      )
    }
    this.#deadlines?.readClock()
    const slot = this.#index.find(key)
    const fits = sizeBytes <= this.#maxBytes
    if (!fits) {
      this.#tooLarge++
      if (slot !== NO_SLOT) this.#leave(slot, this.#isOver(slot) ? 'expire' : 'replace')
    } else if (slot !== NO_SLOT) {
      this.#replace(slot, key, value, sizeBytes, lifetimeMs)
    } else {
      this.#add(key, value, sizeBytes, lifetimeMs)
    }
    this.#disposals?.tell()
    return fits
  }

  /** @returns whether there was a value. Throws what `onDispose` throws. */
  delete(key: K): boolean {
    this.#loads?.outdate(key)
    const slot = this.#index.find(key)
    if (slot === NO_SLOT) return false
    const isOver = this.#isOver(slot)
    this.#leaveAlone(slot, isOver ? 'expire' : 'delete')
    return !isOver
  }

  /** Takes out everything, expired or not, the least recently used first. Throws what `onDispose` throws. */
  clear(): void {
    this.#loads?.outdateAll()
    while (this.#disposals !== undefined && this.#index.count > 0) this.#leave(this.#order.oldest, 'delete')
    this.#deletes += this.#index.count
    this.#index = new KeyIndex()
    this.#values = [undefined]
    this.#sizes = undefined
    this.#order = new RecencyOrder()
    this.#deadlines = undefined
    this.#bytes = 0
    this.#disposals?.tell()
  }

  /**
   * The key's value; on a miss what the loader returns, which is stored unless the key was set, deleted or cleared
   * meanwhile. One load per key, however many callers wait. Errors are not cached.
   *
   * Rejects with the loader's error, with `signal.reason`, and with what `onDispose` or `sizeOf` throws when the value
   * is stored.
   */
  async getOrLoad(key: K, options?: LruLoadOptions): Promise<V> {
    if (options !== undefined) checkLoadOptions(options)
    if (this.#loads === undefined) throw new TypeError('this LruCache was made without a loader')
    const signal = options?.signal
    signal?.throwIfAborted()
    const value = this.get(key)
    if (value !== undefined) return value
    const stale = this.#index.find(key)
    return this.#loads.join(key, stale === NO_SLOT ? undefined : this.#values[stale], signal)
  }

  /**
   * The keys, the most recently used first. The list is made when the iteration begins: a key that has left or expired
   * by its turn is passed over, one that came later is not visited.
   */
  *keys(): Generator<K, void, undefined> {
    for (const key of this.#listKeys()) if (this.has(key)) yield key
  }

  /** The same with the values. */
  *entries(): Generator<[key: K, value: V], void, undefined> {
    for (const key of this.#listKeys()) {
      const value = this.peek(key)
      if (value !== undefined) yield [key, value]
    }
  }

  counters(): LruCounters {
    return {
      hits: this.#hits,
      misses: this.#misses,
      sets: this.#sets,
      deletes: this.#deletes,
      evictions: this.#evictions,
      expirations: this.#expirations,
      tooLarge: this.#tooLarge,
      loads: this.#loads?.started ?? 0,
      loadFailures: this.#loads?.failed ?? 0,
    }
  }

  #sizeBytesOf(key: K, value: V, sizeBytes: number | undefined): number {
    if (sizeBytes !== undefined) return checkSize('sizeBytes', sizeBytes)
    if (this.#sizeOf !== undefined) return checkSize('sizeOf', this.#sizeOf(value, key))
    if (this.#maxBytes === Number.POSITIVE_INFINITY) return 0
    throw new TypeError(
      'an LruCache with maxBytes needs the size of each value: use { sizeBytes }, or sizeOf in its options',
    )
  }

  #add(key: K, value: V, sizeBytes: number, lifetimeMs: number): void {
    this.#makeRoom(1, sizeBytes)
    const slot = this.#order.add()
    this.#index.add(key, slot)
    this.#fill(slot, value, sizeBytes, lifetimeMs)
  }

  #replace(slot: number, key: K, value: V, sizeBytes: number, lifetimeMs: number): void {
    const before = this.#values[slot]
    const isOver = this.#isOver(slot)
    if (isOver) this.#expirations++
    // The same value again has not left.
    if (before !== undefined && before !== value)
      this.#disposals?.add(before, key, isOver ? 'expire' : 'replace')
    this.#order.touch(slot)
    this.#fill(slot, value, sizeBytes, lifetimeMs)
    this.#makeRoom(0, 0)
  }

  #fill(slot: number, value: V, sizeBytes: number, lifetimeMs: number): void {
    this.#sets++
    this.#values[slot] = value
    this.#deadlines?.set(slot, lifetimeMs)
    if (this.#sizes === undefined) {
      if (sizeBytes === 0) return
      this.#sizes = new Array<number>(this.#values.length).fill(0)
    }
    this.#bytes += sizeBytes - (this.#sizes[slot] ?? 0)
    this.#sizes[slot] = sizeBytes
  }

  #makeRoom(entries: number, sizeBytes: number): void {
    const deadlines = this.#deadlines
    if (deadlines !== undefined) {
      let spare = this.#loads === undefined ? EXPIRED_PER_SET : 0
      while (this.#lacksRoom(entries, sizeBytes) || spare-- > 0) {
        const due = deadlines.takeDue()
        if (due === NO_SLOT) break
        this.#leave(due, 'expire')
      }
    }
    while (this.#lacksRoom(entries, sizeBytes)) {
      const oldest = this.#order.oldest
      this.#leave(oldest, this.#isOver(oldest) ? 'expire' : 'evict')
    }
  }

  #lacksRoom(entries: number, sizeBytes: number): boolean {
    return this.#index.count + entries > this.#maxEntries || this.#bytes + sizeBytes > this.#maxBytes
  }

  #isOver(slot: number): boolean {
    return this.#deadlines?.isOver(slot) ?? false
  }

  #leaveAlone(slot: number, reason: DisposeReason): void {
    this.#leave(slot, reason)
    this.#disposals?.tell()
  }

  #leave(slot: number, reason: DisposeReason): void {
    const key = this.#index.keyIn(slot)
    const value = this.#values[slot]
    if (key === undefined || value === undefined) return
    if (reason === 'evict') this.#evictions++
    else if (reason === 'expire') this.#expirations++
    else if (reason === 'delete') this.#deletes++
    this.#index.remove(slot)
    this.#values[slot] = undefined
    this.#order.remove(slot)
    this.#deadlines?.remove(slot)
    if (this.#sizes !== undefined) {
      this.#bytes -= this.#sizes[slot] ?? 0
      this.#sizes[slot] = 0
    }
    this.#disposals?.add(value, key, reason)
  }

  #listKeys(): K[] {
    const keys: K[] = []
    for (let slot = this.#order.newest; slot !== NO_SLOT; slot = this.#order.older(slot)) {
      const key = this.#index.keyIn(slot)
      if (key !== undefined) keys.push(key)
    }
    return keys
  }
}
