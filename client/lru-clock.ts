// Between the in-process cache and the system's monotonic clock, which costs as much to read as a lookup costs
// (about 50 ns). Knows nothing of entries.
//
// `nowMs` reads. `recentMs` repeats the last reading at most READING_USES_MAX times, and never past the moment when
// the event loop turns a millisecond later. So it is late only inside one synchronous stretch of code, by at most the
// length of that stretch. Who needs to know whether a deadline has passed asks `recentMs` first, and reads only when
// the deadline is near.

/** Whole milliseconds from an arbitrary start; never goes back. Whole, since V8 boxes what is no small integer. */
export interface LruClock {
  /** Reads the clock. */
  nowMs(): number
  /** A reading that may be late, never early. */
  recentMs(): number
}

const READING_USES_MAX = 64
const READING_LIFE_MS = 1
/** A release that has not come by then is lost (another test's fake timers took it along), or the loop is blocked. */
const RELEASE_LOST_MS = 1000

class CoarseClock implements LruClock {
  #readingMs = 0
  #usesLeft = 0
  #releaseSetAtMs = Number.NEGATIVE_INFINITY

  readonly #release = (): void => {
    this.#usesLeft = 0
    this.#releaseSetAtMs = Number.NEGATIVE_INFINITY
  }

  nowMs(): number {
    const nowMs = Math.floor(performance.now())
    this.#readingMs = nowMs
    this.#usesLeft = READING_USES_MAX
    if (nowMs - this.#releaseSetAtMs > RELEASE_LOST_MS || nowMs < this.#releaseSetAtMs) {
      this.#releaseSetAtMs = nowMs
      setTimeout(this.#release, READING_LIFE_MS).unref()
    }
    return nowMs
  }

  recentMs(): number {
    if (this.#usesLeft === 0) return this.nowMs()
    this.#usesLeft--
    return this.#readingMs
  }
}

/** One for all caches of this process: it has at most one timer pending, and that does not keep the process alive. */
export const processClock: LruClock = new CoarseClock()
