// PING and PONG: every second each end of a link says what time it is, what was flushed, how far each member has
// acknowledged, and whom it knows. Silence is what tells the driver that a link is dead.

import { Writer } from '../../protocol/writer.ts'
import type { LinkState } from './link-state.ts'
import type { Vector } from './members.ts'
import { Channel, type PeerPing, writePing, writePong } from './peer-messages.ts'
import type { Replica } from './replica.ts'
import type { Send } from './stream.ts'

/** Near the marker budget a PING is sent when this part of the interval is still to go. */
const HURRY = 0.9

export class Pings {
  readonly #replica: Replica
  readonly #send: Send
  readonly #linkOf: (label: string) => LinkState | undefined
  readonly #writer = new Writer(4096)

  constructor(replica: Replica, send: Send, linkOf: (label: string) => LinkState | undefined) {
    this.#replica = replica
    this.#send = send
    this.#linkOf = linkOf
  }

  /** Whether it is time. `hurry`: what members know is needed soon. */
  isDue(link: LinkState, hurry: boolean): boolean {
    const { monoMs, options } = this.#replica
    return monoMs >= link.pingDueMs - (hurry ? options.pingMs * HURRY : 0)
  }

  ping(link: LinkState): void {
    const { members, store, clock, monoMs, wallMs, watermark, boot, options } = this.#replica
    this.#writer.at = 0
    writePing(this.#writer, {
      wallMs,
      hlc: clock.last,
      watermark,
      boot,
      tailSeq: store.tailSeq,
      stamp: Math.round(monoMs),
      vector: this.#vector(),
      news: members.news(monoMs),
      removed: members.removed(),
    })
    link.pingDueMs = monoMs + options.pingMs
    link.sentWatermark = watermark
    this.#sendWritten(link)
  }

  /** Answers a PING. */
  pong(link: LinkState, ping: PeerPing): void {
    this.#writer.at = 0
    writePong(this.#writer, ping.stamp, this.#replica.wallMs)
    this.#sendWritten(link)
  }

  /** For each member: up to which of our own stamps it acknowledged everything. */
  #vector(): Vector {
    const { members, store, clock } = this.#replica
    const vector = new Map<string, { boot: string; hlc: number }>()
    for (const { label, boot, ackedHlc } of members) {
      if (boot === undefined) continue
      const link = this.#linkOf(label)
      // Nothing on its way and nothing to look through: whatever will be stamped is above the clock.
      const all = link?.isStarted && link.inFlight.length === 0 && link.scannedSeq === store.tailSeq
      vector.set(label, { boot, hlc: all ? clock.last : ackedHlc })
    }
    return vector
  }

  #sendWritten(link: LinkState): void {
    this.#send(link, Channel.Stream, this.#writer.bytes.subarray(0, this.#writer.at))
  }
}
