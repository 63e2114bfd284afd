// The ordinary clients: a few hundred calls a second, on schedule whether or not the calls before have been answered,
// so that a server that is slow for a moment is seen by all that were asked in that moment. Each value that comes back
// is looked at as a whole.

import { OrmucoCacheClient } from '../../client/client.ts'
import type { ClientOptions } from '../../client/options.ts'
import { Chance } from '../simulation/chance.ts'
import { isValueOf, VALUE_BYTES_MAX, VALUE_BYTES_MIN, valueFor } from './values.ts'

export interface OrdinaryCounts {
  calls: number
  /** Ended with an error. */
  failed: number
  /** Values that are not the key's, or are missing. */
  wrong: number
}

const CLIENTS = 8
const KEYS = 2000
/** One call in so many writes. */
const WRITES = 5
const TICK_MS = 5
/** After a pause of its own process, so many calls are made up for; a storm would measure itself. */
const BURST_MAX = 8
/** What was wrong is told so often. */
const COMPLAINTS_MAX = 5

export class OrdinaryClients {
  readonly counts: OrdinaryCounts = { calls: 0, failed: 0, wrong: 0 }
  readonly complaints: string[] = []
  readonly #clients: readonly OrmucoCacheClient[]
  readonly #perSecond: number
  readonly #chance: Chance
  #timer: NodeJS.Timeout | undefined
  #latenciesMs: number[] = []

  constructor(options: ClientOptions, perSecond: number, seed: number) {
    this.#clients = Array.from({ length: CLIENTS }, () => new OrmucoCacheClient(options))
    this.#perSecond = perSecond
    this.#chance = new Chance(seed)
  }

  /** Connects, and sets every key once. */
  async start(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.connect()))
    for (let number = 0; number < KEYS; number++) {
      const key = keyOf(number)
      await this.#client().store(key, this.#newValue(key))
    }
    let dueMs = performance.now()
    const everyMs = 1000 / this.#perSecond
    this.#timer = setInterval(() => {
      const nowMs = performance.now()
      dueMs = Math.max(dueMs, nowMs - BURST_MAX * everyMs)
      for (; dueMs <= nowMs; dueMs += everyMs) void this.#call()
    }, TICK_MS)
  }

  /** The times of calls that have ended since it was asked before, in ms. */
  takeLatencies(): number[] {
    const taken = this.#latenciesMs
    this.#latenciesMs = []
    return taken
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#clients.map((client) => client.close()))
  }

  async #call(): Promise<void> {
    const key = keyOf(this.#chance.below(KEYS))
    const client = this.#client()
    const isWrite = this.#chance.oneIn(WRITES)
    const value = isWrite ? this.#newValue(key) : undefined
    this.counts.calls++
    const fromMs = performance.now()
    try {
      const found = isWrite ? await client.store(key, value) : await client.retrieve(key)
      this.#latenciesMs.push(performance.now() - fromMs)
      if (!isWrite && !isValueOf(key, found)) {
        this.counts.wrong++
        this.#complain(
          `${key} is ${Buffer.isBuffer(found) ? found.toString('latin1', 0, 40) : String(found)}`,
        )
      }
    } catch (error) {
      this.counts.failed++
      this.#complain(error instanceof Error ? error.message : String(error))
    }
  }

  #client(): OrmucoCacheClient {
    const client = this.#clients[this.#chance.below(CLIENTS)]
    if (client === undefined) throw new Error('no clients')
    return client
  }

  #newValue(key: string): Buffer {
    return valueFor(key, this.#chance.between(VALUE_BYTES_MIN, VALUE_BYTES_MAX))
  }

  #complain(what: string): void {
    if (this.complaints.length < COMPLAINTS_MAX) this.complaints.push(what)
  }
}

function keyOf(number: number): string {
  return `ordinary:${number}`
}
