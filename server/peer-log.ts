// What happens to peers, as log lines and as what STATS remembers of each: last error, reconnects.
//
// Between the mesh and the logger. Whatever repeats (a server that is down, a peer that is refused) is logged the first
// time and then every tenth, hundredth, thousandth …, and always counted.

import type { Logger } from './options.ts'
import { isRound, Repeats } from './repeats.ts'
import type { ReplicationEvent } from './replication/replicator.ts'

/** What is remembered of a peer beyond its link. */
export interface PeerHistory {
  reconnects: number
  lastError: string | undefined
  /** Times it was refused, or refused us. */
  refusals: number
}

/** Names that are remembered; what strangers call themselves must not fill the memory. */
const HISTORIES_MAX = 256
/** A member that could not be reached for so long is worth a warning, in ms. */
const MISSING_LINK_MS = 15_000

export class PeerLog {
  readonly #logger: Logger
  readonly #histories = new Map<string, PeerHistory>()
  readonly #repeats = new Repeats()
  readonly #missingSinceMs = new Map<string, number>()
  /** Connections of servers that were refused, or refused this one. */
  refusals = 0

  constructor(logger: Logger) {
    this.#logger = logger
  }

  of(label: string): PeerHistory {
    const known = this.#histories.get(label)
    if (known !== undefined) return known
    const made = { reconnects: -1, lastError: undefined, refusals: 0 }
    if (this.#histories.size < HISTORIES_MAX) this.#histories.set(label, made)
    return made
  }

  connected(label: string, remote: string, region: string): void {
    const history = this.of(label)
    history.reconnects++
    this.#repeats.forget((key) => key.endsWith(` ${label}`))
    this.#logger.info({ peer: label, remote, region, reconnects: history.reconnects }, 'peer connected')
  }

  /** Two servers dialed each other: the one link gives way to the other, which is no reconnect. */
  superseded(label: string): void {
    this.of(label).reconnects--
  }

  /** `wasHeard`: it was told of as connected; others may come and go in numbers. */
  lost(label: string, remote: string, why: string, wasHeard = true): void {
    this.of(label).lastError = why
    const times = wasHeard ? undefined : this.#repeats.count(`lost unheard ${label}`)
    if (times === undefined) this.#logger.warn({ peer: label, remote, why }, 'peer lost')
    else if (isRound(times)) this.#logger.warn({ peer: label, remote, why, times }, 'peer lost')
  }

  failed(label: string, address: string, why: string): void {
    this.of(label).lastError = why
    const times = this.#repeats.count(`failed ${label}`)
    if (isRound(times)) this.#logger.warn({ peer: label, address, why, times }, 'peer unreachable')
  }

  /** Somebody listens there, and says nothing that a server says. */
  unanswered(label: string, address: string, why: string): void {
    const hint = 'is it a cache server, and TLS spoken at both ends or at neither?'
    this.failed(label, address, `${why} before HELLO; ${hint}`)
  }

  /** This server does not let somebody in. */
  refused(label: string, remote: string, code: string, why: string): void {
    // Strangers have no history: it is for those this server has to do with.
    this.#refusal(this.#histories.get(label), why)
    const times = this.#repeats.count(`refused ${label}`)
    if (isRound(times)) this.#logger.warn({ peer: label, remote, code, why, times }, 'peer refused')
  }

  /** Somebody does not let this server in. */
  refusedBy(label: string, remote: string, code: string, why: string): void {
    if (code === 'closing' || code === 'new boot') return
    this.#refusal(this.of(label), why)
    const times = this.#repeats.count(`refused by ${label}`)
    if (isRound(times)) this.#logger.warn({ peer: label, remote, code, why, times }, 'refused by peer')
  }

  /** Members without a link, at a monotonic time in ms: a warning when that lasts. */
  missing(labels: readonly string[], nowMs: number): void {
    for (const label of this.#missingSinceMs.keys())
      if (!labels.includes(label)) this.#missingSinceMs.delete(label)
    for (const label of labels) {
      const sinceMs = this.#missingSinceMs.get(label)
      if (sinceMs === undefined) this.#missingSinceMs.set(label, nowMs)
      else if (nowMs - sinceMs > MISSING_LINK_MS) {
        this.#missingSinceMs.set(label, nowMs + 4 * MISSING_LINK_MS)
        const consequence = 'its data comes through others, seconds late'
        this.#logger.warn({ peer: label, consequence }, 'no link to member')
      }
    }
  }

  event(name: ReplicationEvent, facts: Record<string, unknown>): void {
    const peer = typeof facts['peer'] === 'string' ? facts['peer'] : ''
    if (name === 'round started' || name === 'round ended') {
      const phrase = name === 'round started' ? 'full sync started' : 'peer caught up'
      if (facts['full'] === true) this.#logger.info({ peer }, phrase)
      return
    }
    if (name === 'clock skew' || name === 'refused by peer') {
      this.#refusal(this.of(peer), String(facts['reason']))
      const times = this.#repeats.count(`${name} ${peer}`)
      if (isRound(times)) this.#logger.warn({ ...facts, times }, name)
      return
    }
    if (name === 'clocks apart') {
      // Every second, and nothing is refused yet.
      const times = this.#repeats.count(`${name} ${peer}`)
      if (isRound(times)) this.#logger.warn({ ...facts, times }, name)
      return
    }
    this.#logger.warn(facts, name)
  }

  #refusal(history: PeerHistory | undefined, why: string): void {
    this.refusals++
    if (history === undefined) return
    history.refusals++
    history.lastError = why
  }
}
