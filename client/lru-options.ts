// What an in-process cache can be told, and the one validation. Catches what would otherwise be ignored and leave
// entries that never expire: the option names of other caches, a time to live in the wrong place or unit.

/** Why a value left the cache: room was needed, its time was over, it was taken out, or another value took its place. */
export type DisposeReason = 'evict' | 'expire' | 'delete' | 'replace'

export interface LoadContext<V> {
  /** Aborts when every caller that waits for this load has aborted. */
  signal: AbortSignal
  /** The expired value, if the cache still held it. */
  stale: V | undefined
}

export interface LruCacheOptions<K, V> {
  /** Most entries held; 1 to 8388608. This or `maxBytes` must be given; default and limit with `maxBytes`: 8388608. */
  maxEntries?: number
  /** Most bytes held, by the count of `sizeOf` or `sizeBytes`. */
  maxBytes?: number
  /** Size of an entry in bytes, a positive integer, for every `set` that gives no `sizeBytes`. */
  sizeOf?: (value: V, key: K) => number
  /** Time to live of entries that are set without one. Default: Infinity, they never expire. */
  ttlSeconds?: number
  /** A hit counts the time to live from now again. Default: false. */
  renewOnHit?: boolean
  /** Fetches what `getOrLoad` does not find. Must not wait for the key that it is loading. */
  loader?: (key: K, context: LoadContext<V>) => V | Promise<V>
  /** Told of each value that leaves the cache, after the change; may use the cache. What it throws, the call throws
   * that made the value leave (after all values were told). */
  onDispose?: (value: V, key: K, reason: DisposeReason) => void
}

export interface LruSetOptions {
  /** Infinity = never expires; fractions are allowed. Default: the cache's. */
  ttlSeconds?: number
  /** Positive integer. Default: `sizeOf`. */
  sizeBytes?: number
}

export interface LruLoadOptions {
  /** Aborting makes this call reject with `signal.reason`; the load goes on while another caller waits for it. */
  signal?: AbortSignal
}

/** Options with the defaults filled in. */
export interface LruLimits {
  maxEntries: number
  /** Infinity = no limit. */
  maxBytes: number
  /** As `lifetimeMsOf` gives it. */
  lifetimeMs: number
}

/** As a lifetime; a small integer, as almost all lifetimes are, since V8 boxes other numbers wherever they are passed. */
export const NEVER_EXPIRES = 0

/** A JavaScript Map that replaces its keys can hold half of the 2^24 entries for which it has room. */
export const LRU_ENTRIES_MAX = 2 ** 23

const CACHE_OPTIONS: ReadonlySet<string> = new Set([
  'maxEntries',
  'maxBytes',
  'sizeOf',
  'ttlSeconds',
  'renewOnHit',
  'loader',
  'onDispose',
])
const SET_OPTIONS: ReadonlySet<string> = new Set(['ttlSeconds', 'sizeBytes'])
const LOAD_OPTIONS: ReadonlySet<string> = new Set(['signal'])

/** Option names of other caches, and what they are called here. */
const TRANSLATIONS: ReadonlyMap<string, string> = new Map([
  ['max', 'maxEntries'],
  ['maxAge', 'ttlSeconds'],
  ['maxSize', 'maxBytes'],
  ['capacity', 'maxEntries'],
  ['size', 'sizeBytes'],
  ['sizeCalculation', 'sizeOf'],
  ['ttl', 'ttlSeconds'],
  ['ttlMs', 'ttlSeconds'],
  ['EX', 'ttlSeconds'],
  ['PX', 'ttlSeconds'],
  ['updateAgeOnGet', 'renewOnHit'],
  ['fetchMethod', 'loader'],
  ['dispose', 'onDispose'],
])

/** Throws TypeError or RangeError, which name the option, its value and what is allowed. */
export function limitsOf<K, V>(options: LruCacheOptions<K, V>): LruLimits {
  if (typeof options === 'number') {
    throw new TypeError(`LruCache takes an object of options: use { maxEntries: ${options} }`)
  }
  refuseUnknown('LruCache', options, CACHE_OPTIONS)
  const { maxEntries, maxBytes, sizeOf, ttlSeconds, renewOnHit, loader, onDispose } = options
  if (maxEntries === undefined && maxBytes === undefined) {
    throw new TypeError('LruCache needs maxEntries or maxBytes: without either it would grow without bound')
  }
  requireType('renewOnHit', renewOnHit, 'boolean')
  requireType('sizeOf', sizeOf, 'function')
  requireType('loader', loader, 'function')
  requireType('onDispose', onDispose, 'function')
  if (maxBytes !== undefined && loader !== undefined && sizeOf === undefined) {
    throw new TypeError(
      'LruCache with maxBytes and a loader needs sizeOf: loaded values come without sizeBytes',
    )
  }
  return {
    maxEntries: maxEntries === undefined ? LRU_ENTRIES_MAX : count('maxEntries', maxEntries, LRU_ENTRIES_MAX),
    maxBytes: maxBytes === undefined ? Number.POSITIVE_INFINITY : count('maxBytes', maxBytes),
    lifetimeMs: lifetimeMsOf(ttlSeconds, NEVER_EXPIRES),
  }
}

/** Throws for options of `set` that do not exist. */
export function checkSetOptions(options: LruSetOptions): void {
  if (typeof options === 'number') {
    throw new TypeError(`set takes its third argument as an object: use { ttlSeconds: ${options} }`)
  }
  refuseUnknown('set', options, SET_OPTIONS)
}

/** Throws for options of `getOrLoad` that do not exist. */
export function checkLoadOptions(options: LruLoadOptions): void {
  refuseUnknown('getOrLoad', options, LOAD_OPTIONS)
  const { signal } = options
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(`signal is ${String(signal)}; an AbortSignal is needed`)
  }
}

/** @returns whole milliseconds, rounded up, or NEVER_EXPIRES. Throws RangeError for 0, negative and NaN. */
export function lifetimeMsOf(ttlSeconds: number | undefined, defaultMs: number): number {
  if (ttlSeconds === undefined) return defaultMs
  requireType('ttlSeconds', ttlSeconds, 'number')
  if (!(ttlSeconds > 0)) {
    throw new RangeError(
      `ttlSeconds is ${ttlSeconds}; allowed: above 0, fractions too, or Infinity for never`,
    )
  }
  if (ttlSeconds === Number.POSITIVE_INFINITY) return NEVER_EXPIRES
  // 2.007 are 2007 ms, though the product is a trifle more.
  return Math.ceil(ttlSeconds * 1000 * (1 - 2 ** -51))
}

/** A size as given or as counted. Throws RangeError: entries of no size would be without bound. */
export function checkSize(name: 'sizeBytes' | 'sizeOf', sizeBytes: number): number {
  return count(name, sizeBytes)
}

function count(name: string, value: number, max = Number.MAX_SAFE_INTEGER): number {
  if (Number.isInteger(value) && value >= 1 && value <= max) return value
  throw new RangeError(`${name} is ${String(value)}; allowed: an integer from 1 to ${max}`)
}

function requireType(name: string, value: unknown, type: 'boolean' | 'function' | 'number'): void {
  if (value === undefined || typeof value === type) return
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
  throw new TypeError(`${name} is ${shown}; a ${type} is needed`)
}

function refuseUnknown(whose: string, options: object, known: ReadonlySet<string>): void {
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`${whose} takes an object of options, got ${String(options)}`)
  }
  for (const name in options) {
    if (known.has(name)) continue
    const ours = TRANSLATIONS.get(name)
    const unit = ours === 'ttlSeconds' ? ', in seconds' : ''
    const hint =
      ours !== undefined && known.has(ours) ? `use { ${ours} }${unit}` : `there are ${[...known].join(', ')}`
    throw new TypeError(`${whose} has no option ${name}: ${hint}`)
  }
}
