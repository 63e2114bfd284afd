// A steady client of one server of a cluster: it writes batches of random keys of its own and reads some of them back,
// until it is told to stop, and remembers what must be there afterwards.

import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import type { Member } from './processes.ts'

export interface LoadOptions {
  /** Keys it writes again and again, `prefix` and a number. */
  keys: number
  prefix: string
  /** Length of its values, in characters. */
  valueLength?: number
  /** Between two batches, in ms. */
  pauseMs?: number
}

/** Writes per batch, and reads after it. */
const BATCH = 50
const READS = 10

export class Load {
  /** What was confirmed last, by key. */
  readonly written = new Map<string, string>()
  writes = 0
  /** Calls that failed, and why the last one did. */
  failures = 0
  lastFailure = ''
  /** Reads of a key that had been confirmed and did not give what was written last. */
  misreads = 0
  longestMs = 0
  readonly #options: LoadOptions
  readonly #member: Member
  readonly #running: Promise<void>
  #isStopped = false

  constructor(member: Member, options: LoadOptions) {
    this.#member = member
    this.#options = options
    this.#running = this.#run()
  }

  /** Resolves when the batch under way is done. */
  async stop(): Promise<this> {
    this.#isStopped = true
    await this.#running
    return this
  }

  async #run(): Promise<void> {
    const { keys, prefix, valueLength = 100, pauseMs = 0 } = this.#options
    const { client } = this.#member
    for (let round = 0; !this.#isStopped; round++) {
      const fromMs = performance.now()
      const batch = Array.from({ length: BATCH }, (_, index): [string, string] => {
        const key = `${prefix}${(round * BATCH + index) % keys}`
        return [key, `${key}=${round}`.padEnd(valueLength, '.')]
      })
      try {
        const stored = await client.storeMany(batch)
        for (const [index, [key, value]] of batch.entries())
          if (stored[index]?.outcome === 'stored') this.written.set(key, value)
        this.writes += batch.length
        const asked = batch.slice(0, READS).map(([key]) => key)
        const read = await client.retrieveMany(asked)
        for (const [index, key] of asked.entries()) if (read[index] !== this.written.get(key)) this.misreads++
      } catch (error) {
        this.failures++
        this.lastFailure = String(error)
        await wait(20)
      }
      this.longestMs = Math.max(this.longestMs, Math.round(performance.now() - fromMs))
      await (pauseMs === 0 ? turn() : wait(pauseMs))
    }
  }
}
