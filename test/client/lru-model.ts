// What an in-process cache must look like from outside, written for clearness alone: an array, oldest use first, from
// which expired entries vanish at once. The real one holds them for a while; nobody can tell but by `size`, `bytes` and
// when `onDispose` says 'expire'.

import { LruCache, type LruSetOptions } from '../../client/lru-cache.ts'

export interface ModelOptions {
  maxEntries: number
  maxBytes: number
  ttlSeconds: number
  renewOnHit: boolean
}

interface ModelEntry {
  key: string
  value: number
  deadlineMs: number
  lifetimeMs: number
  sizeBytes: number
}

export class LruModel {
  nowMs = 0
  entries: ModelEntry[] = []
  /** `reason key=value`, but for what has expired. */
  disposals: string[] = []
  /** Values whose time was over before anything else took them out. */
  readonly expired = new Set<number>()
  readonly #options: ModelOptions

  constructor(options: ModelOptions) {
    this.#options = options
  }

  advance(ms: number): void {
    this.nowMs += ms
    for (const entry of this.entries) if (entry.deadlineMs <= this.nowMs) this.expired.add(entry.value)
    this.entries = this.entries.filter((entry) => entry.deadlineMs > this.nowMs)
  }

  get(key: string): number | undefined {
    const entry = this.#take(key)
    if (entry === undefined) return undefined
    if (this.#options.renewOnHit) entry.deadlineMs = this.nowMs + entry.lifetimeMs
    this.entries.push(entry)
    return entry.value
  }

  peek(key: string): number | undefined {
    return this.entries.find((entry) => entry.key === key)?.value
  }

  set(key: string, value: number, { ttlSeconds, sizeBytes = 1 }: LruSetOptions): boolean {
    const before = this.#take(key)
    if (before !== undefined) this.#dispose('replace', before)
    if (sizeBytes > this.#options.maxBytes) return false
    const lifetimeMs = (ttlSeconds ?? this.#options.ttlSeconds) * 1000
    this.entries.push({ key, value, sizeBytes, lifetimeMs, deadlineMs: this.nowMs + lifetimeMs })
    while (this.entries.length > this.#options.maxEntries || this.bytes > this.#options.maxBytes) {
      const oldest = this.entries.shift()
      if (oldest !== undefined) this.#dispose('evict', oldest)
    }
    return true
  }

  delete(key: string): boolean {
    const entry = this.#take(key)
    if (entry !== undefined) this.#dispose('delete', entry)
    return entry !== undefined
  }

  clear(): void {
    for (const entry of this.entries) this.#dispose('delete', entry)
    this.entries = []
  }

  get bytes(): number {
    return this.entries.reduce((sum, entry) => sum + entry.sizeBytes, 0)
  }

  /** As the cache's `entries` lists them. */
  list(): [key: string, value: number][] {
    return this.entries.map(({ key, value }): [string, number] => [key, value]).reverse()
  }

  #take(key: string): ModelEntry | undefined {
    const at = this.entries.findIndex((entry) => entry.key === key)
    return at < 0 ? undefined : this.entries.splice(at, 1)[0]
  }

  #dispose(reason: string, entry: ModelEntry): void {
    this.disposals.push(`${reason} ${entry.key}=${entry.value}`)
  }
}

/** One thing to do to a cache and to the model of it. */
export type Operation =
  | { do: 'get' | 'peek' | 'has' | 'delete'; key: string }
  | { do: 'set'; key: string; value: number; options: LruSetOptions }
  | { do: 'clear' }
  | { do: 'advance'; ms: number }

/** A cache and its model, side by side. `clock.advance` makes time pass for the cache. */
export class Pair {
  readonly model: LruModel
  readonly cache: LruCache<string, number>
  readonly #options: ModelOptions
  readonly #clock: { advance(ms: number): void }
  readonly #disposals: { reason: string; key: string; value: number }[] = []

  constructor(options: ModelOptions, kind: 'plain' | 'loading', clock: { advance(ms: number): void }) {
    this.#options = options
    this.#clock = clock
    this.model = new LruModel(options)
    const { ttlSeconds, renewOnHit, maxEntries, maxBytes } = options
    this.cache = new LruCache<string, number>({
      maxEntries,
      ...(maxBytes === Number.POSITIVE_INFINITY ? {} : { maxBytes }),
      ttlSeconds,
      renewOnHit,
      sizeOf: () => 1,
      onDispose: (value, key, reason) => this.#disposals.push({ reason, key, value }),
      ...(kind === 'loading' ? { loader: () => 0 } : {}),
    })
  }

  /** Does it to both; throws if the answers differ. */
  step(operation: Operation): void {
    const { wanted, got } = this.#both(operation)
    if (wanted !== got) throw new Error(`${JSON.stringify(operation)}: ${got} instead of ${wanted}`)
  }

  #both(operation: Operation): { wanted: unknown; got: unknown } {
    const { model, cache } = this
    switch (operation.do) {
      case 'advance':
        model.advance(operation.ms)
        this.#clock.advance(operation.ms)
        return { wanted: 0, got: 0 }
      case 'clear':
        return { wanted: model.clear(), got: cache.clear() }
      case 'set': {
        const { key, value, options } = operation
        return { wanted: model.set(key, value, options), got: cache.set(key, value, options) }
      }
      case 'has':
        return { wanted: model.peek(operation.key) !== undefined, got: cache.has(operation.key) }
      default:
        return { wanted: model[operation.do](operation.key), got: cache[operation.do](operation.key) }
    }
  }

  /** Throws unless what the two hold and have let go agrees. */
  check(): void {
    const { model, cache } = this
    const differences = [
      differ('entries', model.list().join(' '), [...cache.entries()].join(' ')),
      differ('disposals', model.disposals.join(', '), this.#liveDisposals().join(', ')),
    ].filter((text) => text !== undefined)
    if (differences.length > 0) throw new Error(differences.join('; '))
    if (cache.size < model.entries.length || cache.size > this.#options.maxEntries)
      throw new Error(`size is ${cache.size}`)
    if (cache.bytes < model.bytes || cache.bytes > this.#options.maxBytes)
      throw new Error(`bytes are ${cache.bytes}`)
  }

  /** Without what had expired, which may leave late, but only once, and never as evicted or replaced. */
  #liveDisposals(): string[] {
    const seen = new Set<number>()
    return this.#disposals.flatMap(({ reason, key, value }) => {
      const text = `${reason} ${key}=${value}`
      if (seen.has(value)) throw new Error(`${text}: a second time`)
      seen.add(value)
      if (!this.model.expired.has(value)) return [text]
      if (reason === 'evict' || reason === 'replace') throw new Error(`${text}, but it had expired`)
      return []
    })
  }
}

function differ(what: string, wanted: string, got: string): string | undefined {
  return wanted === got ? undefined : `${what} are ${got} instead of ${wanted}`
}
