// One live link to a member, as the core sees it: where its stream stands, what is on its way, what was measured.
//
// Made when both HELLOs are known, gone with the connection; what must outlast it is in Member.

import type { BootId } from '../origins.ts'
import type { Member } from './members.ts'

/** More than this on its way, or still to be looked through, is a stream that catches up after an outage. */
const BEHIND_RECORDS = 10_000
const BEHIND_BYTES = 256 * 1024

/** A batch on its way. */
export interface InFlight {
  fromSeq: number
  toSeq: number
  /** Highest own stamp up to which everything is in this batch or an earlier one. */
  hlc: number
  bytes: number
  sentMs: number
  /** Sequence numbers of its records, if somebody waited for acknowledgements when it was made. */
  seqs: number[] | undefined
}

export class LinkState {
  readonly member: Member
  /** The other end's boot, for as long as this link lives. */
  readonly boot: BootId
  /** Everything of this server's own up to here was sent. */
  sentSeq: number
  /** Up to here the change log was looked through; what lies between was not this server's own. */
  scannedSeq: number
  readonly inFlight: InFlight[] = []
  inFlightBytes = 0
  /** The other end has said from where on it wants the stream. */
  isStarted = false
  /** This end has said from where on it wants the stream. */
  hasAsked = false
  /** Whether the anti-entropy connection is up. */
  bulk = false
  /** Until then nothing but PING is sent: the other end refused what came. Monotonic ms; 0 = not refused. */
  refusedUntilMs = 0
  refusedReason = ''
  /** This end refused what came last. */
  isRefusing = false
  /** Watermark that was last sent. */
  sentWatermark = 0
  pingDueMs = 0
  /** The other end's wall clock minus ours, in ms. */
  skewMs = 0
  roundTripMs = 0
  sentBytes = 0
  receivedBytes = 0
  /** A rewind was asked for: batches that do not fit are expected until it takes effect. */
  rewinding = false

  constructor(member: Member, boot: BootId, fromSeq: number) {
    this.member = member
    this.boot = boot
    this.sentSeq = fromSeq
    this.scannedSeq = fromSeq
  }

  /** Whether the other end has acknowledged everything up to the tail: nothing on its way, nothing to look through. */
  isCaughtUp(tailSeq: number): boolean {
    return this.isStarted && this.inFlight.length === 0 && this.scannedSeq === tailSeq
  }

  /** Nothing of this server's own, up to here, is not acknowledged: where to look for the oldest that is not. */
  get ackedUpTo(): number {
    return Math.max(this.member.acked, this.inFlight[0]?.fromSeq ?? (this.isStarted ? this.scannedSeq : 0))
  }

  /** Whether the stream is about to bring what there is: a round would only bring it a second time. */
  isBehind(tailSeq: number): boolean {
    return !this.isStarted || tailSeq - this.scannedSeq > BEHIND_RECORDS || this.inFlightBytes > BEHIND_BYTES
  }

  /** Takes the stream back to a sequence number; what is on its way does not count. */
  rewind(seq: number): void {
    this.sentSeq = seq
    this.scannedSeq = seq
    this.inFlight.length = 0
    this.inFlightBytes = 0
  }
}
