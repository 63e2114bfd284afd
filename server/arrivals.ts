// Connections of which nobody knows yet whose they are: in a TLS handshake, or not authenticated. They have places, few
// of them, and fewer for each address, or block of 2^64 of them: so strangers can neither fill the memory nor keep
// everybody else out.
//
// Between whoever accepts connections and sessions. A place is taken at accept, before anything is read, and given back
// when the connection is authenticated, or over. Who finds none is told to come again, if that costs nothing.

import { Status } from '../protocol/messages.ts'
import type { Transport } from '../protocol/transport.ts'
import type { Certificate } from './access.ts'
import { blockIn } from './address-block.ts'
import type { Logger } from './options.ts'
import { isRound, Repeats } from './repeats.ts'
import { pushOf } from './replies.ts'
import type { Counters } from './statistics.ts'

/** When somebody who was not let in should come again, in ms. */
export const RETRY_CONNECT_MS = 1000
/** Refused connections that are being told why: each holds a descriptor for up to a second. */
const FAREWELLS_MAX = 64

export interface ArrivalLimits {
  readonly unauthenticatedMax: number
  readonly unauthenticatedPerAddressMax: number
}

/** A place among the unauthenticated. */
export interface Place {
  /** Gives it back; only the first call counts. */
  leave(): void
}

/** What is known of a connection before it says anything. */
export interface Arrival {
  /** Of the other end; whoever signed it was checked. */
  certificate?: Certificate | undefined
  /** Among the unauthenticated; the session gives it back. */
  place?: Place | undefined
}

export class Arrivals {
  readonly #limits: ArrivalLimits
  readonly #counters: Counters
  readonly #logger: Logger
  readonly #byAddress = new Map<string, number>()
  readonly #repeats = new Repeats()
  #farewells = 0

  constructor(limits: ArrivalLimits, counters: Counters, logger: Logger) {
    this.#limits = limits
    this.#counters = counters
    this.#logger = logger
  }

  /** Takes a place for a connection; `remote` is its address and port. Undefined: there is none, it was counted. */
  enter(remote: string): Place | undefined {
    const { unauthenticatedMax, unauthenticatedPerAddressMax } = this.#limits
    const address = blockIn(remote)
    const fromThere = this.#byAddress.get(address) ?? 0
    if (this.#counters.unauthenticated >= unauthenticatedMax) {
      this.refused('too many unauthenticated connections', { unauthenticatedMax })
      return undefined
    }
    if (fromThere >= unauthenticatedPerAddressMax) {
      this.refused('too many unauthenticated connections of one address', {
        address,
        unauthenticatedPerAddressMax,
      })
      return undefined
    }
    this.#counters.unauthenticated++
    this.#byAddress.set(address, fromThere + 1)
    let isTaken = true
    return {
      leave: () => {
        if (!isTaken) return
        isTaken = false
        this.#leave(address)
      },
    }
  }

  /** Counts a connection that is refused at accept, and says so the 1st, 10th, 100th … time. */
  refused(why: string, facts: object): void {
    this.#counters.refused++
    const times = this.#repeats.count(why)
    if (isRound(times)) this.#logger.warn({ why, ...facts, times }, 'connection refused')
  }

  /** Says that a connection is one too many, and ends it; without a word where too many are being told so. */
  turnAway(transport: Transport, why: string): void {
    if (this.#farewells >= FAREWELLS_MAX) {
      transport.open({ onChunk() {}, onDrain() {}, onClose() {} })
      transport.destroy()
      return
    }
    this.#farewells++
    transport.open({ onChunk() {}, onDrain() {}, onClose: () => void this.#farewells-- })
    transport.write(pushOf(Status.Overloaded, why, RETRY_CONNECT_MS))
    transport.end()
  }

  #leave(address: string): void {
    this.#counters.unauthenticated--
    const left = (this.#byAddress.get(address) ?? 1) - 1
    if (left === 0) this.#byAddress.delete(address)
    else this.#byAddress.set(address, left)
  }
}
