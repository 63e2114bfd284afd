// The loads of an in-process cache that are under way: at most one per key that counts, however many callers wait for
// it. Knows the cache only by what it hands loaded values to.
//
//   counts ── set, delete or clear of its key ──> outdated: its callers get the value, the cache does not
//     │  └─── all its callers aborted ──────────> abandoned: its signal aborts, nobody gets anything
//     └────── the loader settles ───────────────> done
//
// Invariant: a load that counts is in `#current` under its key; no other load is.

import type { LoadContext } from './lru-options.ts'

interface Waiter<V> {
  resolve(value: V): void
  reject(reason: unknown): void
}

interface Load<V> {
  readonly waiters: Set<Waiter<V>>
  readonly abort: AbortController
}

export class Loads<K, V> {
  readonly #loader: (key: K, context: LoadContext<V>) => V | Promise<V>
  readonly #store: (key: K, value: V) => void
  readonly #current = new Map<K, Load<V>>()
  #started = 0
  #failed = 0

  /** @param store takes what was loaded while the load counted; what it throws, the callers' promises reject with. */
  constructor(
    loader: (key: K, context: LoadContext<V>) => V | Promise<V>,
    store: (key: K, value: V) => void,
  ) {
    this.#loader = loader
    this.#store = store
  }

  /** Calls of the loader. */
  get started(): number {
    return this.#started
  }

  /** Those that threw or rejected while somebody waited. */
  get failed(): number {
    return this.#failed
  }

  /**
   * Waits for the key's load, and starts it if there is none. Rejects with the loader's error, or with
   * `signal.reason`.
   * @param stale what the loader gets as such if it is started
   */
  join(key: K, stale: V | undefined, signal: AbortSignal | undefined): Promise<V> {
    let load = this.#current.get(key)
    if (load === undefined) {
      load = { waiters: new Set(), abort: new AbortController() }
      this.#current.set(key, load)
      const waiting = this.#wait(key, load, signal)
      void this.#run(key, load, stale)
      return waiting
    }
    return this.#wait(key, load, signal)
  }

  /** What is being loaded for this key is older than the cache's own state. */
  outdate(key: K): void {
    this.#current.delete(key)
  }

  outdateAll(): void {
    this.#current.clear()
  }

  #wait(key: K, load: Load<V>, signal: AbortSignal | undefined): Promise<V> {
    return new Promise<V>((resolve, reject) => {
      if (signal === undefined) {
        load.waiters.add({ resolve, reject })
        return
      }
      const onAbort = () => {
        load.waiters.delete(waiter)
        reject(signal.reason)
        if (load.waiters.size === 0) this.#abandon(key, load, signal.reason)
      }
      const release = () => signal.removeEventListener('abort', onAbort)
      const waiter: Waiter<V> = {
        resolve(value) {
          release()
          resolve(value)
        },
        reject(reason) {
          release()
          reject(reason)
        },
      }
      load.waiters.add(waiter)
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Never rejects: whatever goes wrong goes to those who wait. */
  async #run(key: K, load: Load<V>, stale: V | undefined): Promise<void> {
    this.#started++
    try {
      const value = await this.#loader(key, { signal: load.abort.signal, stale })
      if (value === undefined || value === null) {
        throw new TypeError(`the loader returned ${value}: return a value that stands for nothing, or throw`)
      }
      if (this.#retire(key, load)) this.#store(key, value)
      for (const waiter of load.waiters) waiter.resolve(value)
    } catch (error) {
      this.#retire(key, load)
      if (load.waiters.size > 0) this.#failed++
      for (const waiter of load.waiters) waiter.reject(error)
    }
  }

  #abandon(key: K, load: Load<V>, reason: unknown): void {
    this.#retire(key, load)
    load.abort.abort(reason)
  }

  /** @returns whether the load counted until now */
  #retire(key: K, load: Load<V>): boolean {
    return this.#current.get(key) === load && this.#current.delete(key)
  }
}
