// How many connections may come in, and which of them when it gets tight.
//
// Between the listener, which has the sockets, and the system's limit of open files. libuv accepts and closes whatever
// comes when no descriptor is left: nobody is told, and this server's own dials fail as well. It must never come to that,
// so a reserve is kept back: one half for dials and files, the other for connections from other servers. Into that, and
// beyond `maxConnections`, come only candidates: closed unless they soon turn out to come from a server. When nothing
// but candidates would have to be refused, the oldest makes way: whoever holds places to keep servers out must hurry.
//
//   0 ········ maxConnections ········ + reserve / 2 ········ limit of open files
//     anybody                 candidates            dials, files

import type { Arrivals } from './arrivals.ts'
import { descriptorLimit, descriptorsOpen } from './descriptors.ts'
import type { ResolvedServerOptions } from './options.ts'

/** What a visit can be closed through at once: its socket, and its transport as soon as it has one. */
export interface Destroyable {
  destroy(): void
}

/** A connection, from accept to close. */
export class Visit {
  readonly sinceMs: number
  /** It has left. */
  isOver = false
  /**
   * Set by whoever takes it over. Not a function: V8 makes one that is assigned to a property in old space, where it
   * keeps all that it refers to until a full collection.
   */
  owner: Destroyable
  readonly #admission: Admission

  constructor(sinceMs: number, owner: Destroyable, admission: Admission) {
    this.sinceMs = sinceMs
    this.owner = owner
    this.#admission = admission
  }

  /** Whether it must turn out to come from another server. */
  get isCandidate(): boolean {
    return this.#admission.isCandidate(this)
  }

  /** It does. */
  confirm(): void {
    this.#admission.confirm(this)
  }

  /** It is closed; only the first call counts. */
  leave(): void {
    this.#admission.leave(this)
  }
}

type Limits = Pick<
  ResolvedServerOptions,
  'maxConnections' | 'descriptorsReserved' | 'authTimeoutMs' | 'logger'
>

export class Admission {
  readonly #limits: Limits
  readonly #arrivals: Arrivals
  /** Beyond so many connections there are only candidates, and at most so many. */
  #connectionsMax: number
  readonly #candidatesMax: number
  /** A descriptor of this number tells that so many are open: the system takes the lowest that is free. */
  #descriptorMax = Number.POSITIVE_INFINITY
  #visits = 0
  /** Those that are not confirmed, in the order in which they came. */
  readonly #candidates = new Set<Visit>()

  constructor(limits: Limits, arrivals: Arrivals) {
    this.#limits = limits
    this.#arrivals = arrivals
    this.#connectionsMax = limits.maxConnections
    this.#candidatesMax = Math.floor(limits.descriptorsReserved / 2)
  }

  /** Lowers the limits to what the system allows, as it is now. */
  keepReserve(limit = descriptorLimit(), open = descriptorsOpen()): void {
    const { logger, descriptorsReserved, maxConnections } = this.#limits
    if (limit === undefined) return
    this.#descriptorMax = limit - this.#candidatesMax
    const connections = Math.max(1, limit - open - descriptorsReserved)
    if (connections >= maxConnections) return
    this.#connectionsMax = connections
    logger.warn(
      { maxConnections, connections, descriptorLimit: limit, descriptorsReserved },
      'the limit of open files allows fewer connections',
    )
  }

  /** A connection was accepted, as `descriptor`, -1 where that is unknown. Undefined: it must be closed; it was counted. */
  enter(descriptor: number, nowMs: number, owner: Destroyable): Visit | undefined {
    const isFull = this.#visits >= this.#connectionsMax
    const isShort = descriptor >= this.#descriptorMax
    const visit = new Visit(nowMs, owner, this)
    if (isFull || isShort) {
      const why = isFull ? 'too many connections' : 'too many open files'
      const isCrowded =
        this.#candidates.size >= this.#candidatesMax ||
        this.#visits >= this.#connectionsMax + this.#candidatesMax
      if (isCrowded && !this.#refuseOldest(why)) return undefined
      this.#candidates.add(visit)
    }
    this.#visits++
    return visit
  }

  /** Closes the candidates whose time is over. */
  check(nowMs: number): void {
    for (const { sinceMs } of this.#candidates) {
      if (nowMs - sinceMs <= this.#limits.authTimeoutMs) return
      this.#refuseOldest('too many connections')
    }
  }

  isCandidate(visit: Visit): boolean {
    return this.#candidates.has(visit)
  }

  confirm(visit: Visit): void {
    this.#candidates.delete(visit)
  }

  leave(visit: Visit): void {
    if (visit.isOver) return
    visit.isOver = true
    this.#visits--
    this.#candidates.delete(visit)
  }

  /** Refuses the oldest candidate, or, if there is none, whoever just came: false. */
  #refuseOldest(why: string): boolean {
    const connections = this.#visits
    this.#arrivals.refused(why, { connections, maxConnections: this.#limits.maxConnections })
    const [oldest] = this.#candidates
    if (oldest === undefined) return false
    oldest.leave()
    oldest.owner.destroy()
    return true
  }
}
