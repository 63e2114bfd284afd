// Between an in-process cache and its `onDispose`: keeps what left the cache until the change that made it leave is
// done, then tells. So the callback always sees a cache that is whole, and may change it; what that makes leave is
// told afterwards, in order, not in a nested call.

import type { DisposeReason } from './lru-options.ts'

/** A callback that puts back what left makes the next one leave, for ever: after so many in a row it is refused. */
const CHAIN_MAX = 1000

interface Disposal<K, V> {
  value: V
  key: K
  reason: DisposeReason
  /** How many callbacks led to this one. */
  chain: number
}

export class Disposals<K, V> {
  readonly #onDispose: (value: V, key: K, reason: DisposeReason) => void
  #waiting: Disposal<K, V>[] = []
  #state: 'idle' | 'telling' = 'idle'
  /** That of the callback that is running. */
  #chain = 0

  constructor(onDispose: (value: V, key: K, reason: DisposeReason) => void) {
    this.#onDispose = onDispose
  }

  /** Throws Error if what comes next would be one more link of an endless chain of callbacks. To be called before a
   * change that can make values leave and adds one. */
  refuseEndlessChain(): void {
    if (this.#chain < CHAIN_MAX) return
    throw new Error(`onDispose calls set, which disposes of a value, and so on, ${CHAIN_MAX} times: stopped`)
  }

  add(value: V, key: K, reason: DisposeReason): void {
    this.#waiting.push({ value, key, reason, chain: this.#chain + 1 })
  }

  /** Tells all that wait, also those that come up meanwhile. Throws what the callback threw first, at the end. */
  tell(): void {
    if (this.#waiting.length === 0 || this.#state === 'telling') return
    this.#state = 'telling'
    let failure: { error: unknown } | undefined
    const waiting = this.#waiting
    for (let told = 0; told < waiting.length; told++) {
      const disposal = waiting[told]
      if (disposal === undefined) continue
      this.#chain = disposal.chain
      try {
        this.#onDispose(disposal.value, disposal.key, disposal.reason)
      } catch (error) {
        failure ??= { error }
      }
    }
    this.#waiting = []
    this.#chain = 0
    this.#state = 'idle'
    if (failure !== undefined) throw failure.error
  }
}
