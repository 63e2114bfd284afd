// What the parts of the replication core share: the store and its clock, who we are, who the others are, and the
// numbers that the rules raise. Holds no rule itself.
//
// Time is handed in before each call into the core: the wall clock, which expiry and skew are about and which may
// jump; and a monotonic clock, which durations are about.

import type { HybridClock } from '../clock.ts'
import type { BootId, Origins } from '../origins.ts'
import type { Store } from '../store/store.ts'
import type { Members } from './members.ts'

/** Every duration and budget of the rules; all in ms, bytes or numbers. */
export interface ReplicationOptions {
  /** A remote stamp further ahead of the wall clock than this is refused. */
  skewMsMax: number
  /** From here on skew is worth a warning. */
  skewMsWarn: number
  /** How long a record must have been known to all before it may leave without a trace; longer than a frame can be late. */
  graceMs: number
  /** The longest an unstable ghost or tombstone is kept. */
  markerRetentionMs: number
  /** The most that ghosts and tombstones may take. */
  markerBytesMax: number
  /** Unacknowledged stream bytes per link. */
  windowBytes: number
  pingMs: number
  roundMs: number
  /** A member unseen for so long is none any more. */
  memberForgetMs: number
  /** A link whose messages were refused tries again after this. */
  refusedRetryMs: number
}

/** How often each rule fired: for STATS, and for the proof that every rule is exercised. */
export class ReplicationCounters {
  applied = 0
  older = 0
  flushedOnArrival = 0
  ghostsNotImported = 0
  declinedBelowHorizon = 0
  declinedForRoom = 0
  forgottenStable = 0
  /** Ghosts and tombstones that went before every member knew them. */
  droppedUnstable = 0
  /** Values that went because a member that had forgotten more than this server could know did not hold them. */
  purged = 0
  smallRounds = 0
  fullRounds = 0
  roundsEqual = 0
  rewinds = 0
  refusedForSkew = 0
  extended = 0
  bootsChanged = 0
}

export interface Replica {
  readonly store: Store
  readonly clock: HybridClock
  readonly origins: Origins
  readonly members: Members
  readonly options: ReplicationOptions
  readonly counters: ReplicationCounters
  /** A longer value is not taken from others either: clients were told that there is none. */
  readonly valueBytesMax: number
  /** This server's life; a new one when its clock was set back. */
  boot: BootId
  /** What this server is called. */
  label: string
  /** H: below it this server may have forgotten markers; what it does not hold from down there it does not take back. */
  horizon: number
  /**
   * Up to this hlc there were versions of which nothing could be kept here, not even a marker: others count on it that
   * nothing older is taken in their place. 0 = none.
   */
  declinedHlc: number
  /** What H rises to when the full round under way ends; until then what others bring is measured by it already. */
  comingHorizon: number
  /** F: everything stamped at or below was flushed. */
  watermark: number
  /** Time of day in ms since 1970, and monotonic time in ms; as of the present call. */
  wallMs: number
  monoMs: number
}
