// When calls are looked at: one timer for all of them, which runs while there are any.
//
// A deadline is judged only after the poll phase has read what arrived while this process was busy. After a standstill
// (a long garbage collection, a synchronous computation, a laptop that slept) calls get some of that time back, so that
// what is still on its way may arrive, such as the greeting of a first connection; but not again and again: a process that
// is always late has deadlines too.

import { performance } from 'node:perf_hooks'

/** How often deadlines are looked at, in ms: a call ends at most this late. */
const SWEEP_EVERY_MS = 10
/** A sweep, or a write, this late means that the process itself stood still. */
export const STALL_MS = 50
/** What calls get back of such a time, at the most, and how often. */
const GRACE_MS_MAX = 250
const GRACE_EVERY_MS = 1000

export class Deadlines {
  /** `judge` ends what is late and says whether anything is left; `isGrace`: nothing may be called late now. */
  readonly #judgeCalls: (nowMs: number, isGrace: boolean) => boolean
  #timer: NodeJS.Timeout | undefined
  #sweptMs = 0
  #graceUntilMs = 0
  #graceAgainMs = 0

  constructor(judge: (nowMs: number, isGrace: boolean) => boolean) {
    this.#judgeCalls = judge
  }

  /** There is a call: looks at deadlines from now on, until none is left. */
  start(): void {
    if (this.#timer === undefined) this.#arm()
  }

  stop(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #arm(): void {
    this.#sweptMs = performance.now()
    this.#timer = setTimeout(this.#sweep, SWEEP_EVERY_MS)
  }

  readonly #sweep = (): void => {
    const nowMs = performance.now()
    const lateMs = nowMs - this.#sweptMs - SWEEP_EVERY_MS
    if (lateMs > STALL_MS && nowMs >= this.#graceAgainMs) {
      this.#graceUntilMs = nowMs + Math.min(lateMs, GRACE_MS_MAX)
      this.#graceAgainMs = nowMs + GRACE_EVERY_MS
    }
    setImmediate(lateMs > STALL_MS ? () => setImmediate(this.#judge) : this.#judge)
  }

  readonly #judge = (): void => {
    if (this.#timer === undefined) return
    const nowMs = performance.now()
    if (this.#judgeCalls(nowMs, nowMs < this.#graceUntilMs)) this.#arm()
    else this.#timer = undefined
  }
}
