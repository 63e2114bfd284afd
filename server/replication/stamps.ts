// Stamps that come in: none may be further ahead of the wall clock than the largest skew. Rule 9 and the skew check.
//
// Between messages and everything they would do. A message with one stamp too far ahead is refused as a whole: nothing
// of it moves the clock, the watermark, a cursor, `agreed` or an acknowledgement. What passes has been seen by both.

import { PeerOpcode } from '../../protocol/messages.ts'
import type { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import { HLC_TICKS_PER_MS, hlcOfWall } from '../clock.ts'
import type { LinkState } from './link-state.ts'
import { Channel, writeReason } from './peer-messages.ts'
import { emptyRemoteRecord, readRecord } from './records.ts'
import type { Replica } from './replica.ts'
import type { Send } from './stream.ts'

/** Hears that a message was refused, and why. */
export type OnSkew = (link: LinkState, aheadMs: number, reason: string) => void

export class Stamps {
  readonly #replica: Replica
  readonly #send: Send
  readonly #onSkew: OnSkew
  readonly #record = emptyRemoteRecord()
  readonly #writer = new Writer(1024)

  constructor(replica: Replica, send: Send, onSkew: OnSkew) {
    this.#replica = replica
    this.#send = send
    this.#onSkew = onSkew
  }

  /** Whether a message with these stamps may take effect; if so, the clock and the watermark have seen them. */
  mayTake(link: LinkState, hlc: number, watermark: number): boolean {
    const highest = Math.max(hlc, watermark)
    if (this.#isTooFar(highest)) {
      this.#refuse(link, highest)
      return false
    }
    link.isRefusing = false
    this.#replica.clock.receive(hlc)
    this.raiseWatermark(watermark)
    return true
  }

  /** Looks through the records of a message, which the reader stands at, before any of them takes effect. */
  mayTakeRecords(link: LinkState, reader: Reader, count: number): boolean {
    for (let left = count; left > 0; left--) {
      readRecord(reader, link.boot, this.#record)
      if (this.#isTooFar(this.#record.hlc)) {
        this.#refuse(link, this.#record.hlc)
        return false
      }
    }
    return true
  }

  raiseWatermark(watermark: number): void {
    const replica = this.#replica
    if (watermark <= replica.watermark) return
    replica.watermark = watermark
    replica.store.flush(watermark)
    // A stamp is always above the watermark, or the next write would be born flushed.
    replica.clock.receive(watermark)
  }

  /** This server's own clock runs further ahead of its wall clock than others would take. */
  get isOwnTooFar(): boolean {
    return this.#isTooFar(this.#replica.clock.last)
  }

  #isTooFar(hlc: number): boolean {
    const { wallMs, options } = this.#replica
    return hlc > hlcOfWall(wallMs + options.skewMsMax + 1) - 1
  }

  #refuse(link: LinkState, hlc: number): void {
    const { wallMs, label, options, counters } = this.#replica
    const aheadMs = Math.round((hlc - hlcOfWall(wallMs)) / HLC_TICKS_PER_MS)
    counters.refusedForSkew++
    link.isRefusing = true
    const reason = `${link.member.label} is ${aheadMs} ms ahead of the clock of ${label}, which takes at most ${options.skewMsMax}`
    this.#onSkew(link, aheadMs, reason)
    this.#writer.at = 0
    writeReason(this.#writer, PeerOpcode.Refused, 'skew', reason)
    this.#send(link, Channel.Stream, this.#writer.bytes.subarray(0, this.#writer.at))
  }
}
