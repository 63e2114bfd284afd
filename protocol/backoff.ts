// (attempt, random) -> how long to wait before dialing again. Pure.
//
// Exponential with full jitter (Brooker, "Exponential Backoff and Jitter", 2015): anywhere between 0 and a bound that
// doubles, so that a thousand clients that lost the same server do not come back in the same instant.

export interface BackoffOptions {
  /** Bound of the first wait, in ms. */
  minMs: number
  /** The bound stops doubling here, in ms. */
  maxMs: number
}

/** `attempt`: 0 for the first wait. `random`: from 0 up to, but not including, 1. Returns ms. */
export function backoffMs(attempt: number, random: number, options: BackoffOptions): number {
  const boundMs = Math.min(options.maxMs, options.minMs * 2 ** Math.min(attempt, 30))
  return Math.floor(random * boundMs)
}
