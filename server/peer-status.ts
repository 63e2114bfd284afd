// What STATS, PEERS and LAG tell of each other server: put together on request, from members, links and history.

import { wallOfHlc } from './clock.ts'
import type { PeerHistory } from './peer-log.ts'
import { Knowledge } from './replication/knowledge.ts'
import type { LinkState } from './replication/link-state.ts'
import type { Member } from './replication/members.ts'
import { firstOwnHlc } from './replication/own-records.ts'
import type { Replica } from './replication/replica.ts'
import type { Replicator } from './replication/replicator.ts'
import { emptyHead, NO_SLOT } from './store/store.ts'

/** Records looked at to count what is unstable: some 10 ms. */
const UNSTABLE_LOOKED_AT_MAX = 100_000
/** And, for each peer, to find the oldest write that it has not acknowledged: some 2 ms. */
const LAG_LOOKED_AT_MAX = 20_000

export interface PeerStatus {
  /** Where it listens; null if it never said so. */
  address: string | null
  region: string | null
  nodeId: string
  /** connected · refused: linked, but one of the two does not take the other's messages · lost: it was linked · never */
  state: 'connected' | 'refused' | 'lost' | 'never'
  /** Age of the oldest write of this server that it has not acknowledged; 0 when there is none, null when unknown. */
  lagMs: number | null
  /** Sequence numbers of this server that it has not acknowledged: an upper bound of the records. */
  lagRecords: number
  ackedSeq: number
  tailSeq: number
  /** Its wall clock minus this one's; null while it is away. */
  skewMs: number | null
  roundTripMs: number | null
  receivedBytes: number
  sentBytes: number
  reconnects: number
  refusals: number
  lastError: string | null
}

/** What STATS tells of replication as a whole. */
export interface ReplicationStats {
  bootId: string
  members: number
  links: number
  /** Wall-clock time of the horizon and the flush watermark, in ms since 1970; null when there is none. */
  horizonMs: number | null
  watermarkMs: number | null
  /** Members towards which this server has forgotten markers that they may not know. */
  gaps: number
  ghosts: number
  tombstones: number
  markerBytes: number
  markerBytesMax: number
  applied: number
  purged: number
  droppedUnstable: number
  /** Records not known to be at every member; null when too many would have to be looked at. Counted when it is read. */
  readonly unstable: number | null
  declined: number
  smallRounds: number
  fullRounds: number
  rewinds: number
  refusedForSkew: number
  /** Times another server was not let in, or did not let this one in, or one of the two did not take the other's messages. */
  refusals: number
  awaitingAcks: number
}

export function peerStatuses(
  replicator: Replicator,
  historyOf: (label: string) => PeerHistory,
): PeerStatus[] {
  return [...replicator.replica.members].map((member) =>
    statusOf(replicator, member, replicator.link(member.label), historyOf(member.label)),
  )
}

/** Members that were linked with this server or with another one, and are not with this one now. */
export function unlinked(replicator: Replicator): string[] {
  const labels: string[] = []
  for (const { label, boot, heardBoot } of replicator.replica.members)
    if ((boot ?? heardBoot) !== undefined && replicator.link(label) === undefined) labels.push(label)
  return labels
}

function statusOf(
  replicator: Replicator,
  member: Member,
  link: LinkState | undefined,
  history: PeerHistory,
): PeerStatus {
  const { tailSeq } = replicator.replica.store
  const isCaughtUp = link?.isCaughtUp(tailSeq) ?? false
  return {
    address: member.address ?? null,
    region: member.region === '' ? null : member.region,
    nodeId: member.label,
    state: stateOf(member, link),
    lagMs: isCaughtUp ? 0 : lagOf(replicator.replica, member, link),
    lagRecords: isCaughtUp ? 0 : Math.max(0, tailSeq - member.acked),
    ackedSeq: isCaughtUp ? tailSeq : member.acked,
    tailSeq,
    skewMs: link === undefined ? null : Math.round(link.skewMs),
    roundTripMs: link === undefined ? null : Math.round(link.roundTripMs * 100) / 100,
    receivedBytes: link?.receivedBytes ?? 0,
    sentBytes: link?.sentBytes ?? 0,
    reconnects: Math.max(0, history.reconnects),
    refusals: history.refusals,
    lastError: history.lastError ?? null,
  }
}

/** Unknown while it has not said, or shown, what it has; and where too much was written by others since. */
function lagOf(replica: Replica, member: Member, link: LinkState | undefined): number | null {
  const isKnown = link === undefined ? member.boot !== undefined : link.isStarted || member.acked > 0
  if (!isKnown) return null
  const hlc = firstOwnHlc(replica, link?.ackedUpTo ?? member.acked, LAG_LOOKED_AT_MAX)
  if (hlc === undefined) return null
  return hlc === 0 ? 0 : Math.max(0, Math.round(replica.wallMs - wallOfHlc(hlc)))
}

function stateOf(member: Member, link: LinkState | undefined): PeerStatus['state'] {
  if (link !== undefined) return link.refusedUntilMs === 0 && !link.isRefusing ? 'connected' : 'refused'
  return member.boot === undefined ? 'never' : 'lost'
}

export function replicationStats(replicator: Replicator, links: number, refusals: number): ReplicationStats {
  const { store, members, counters, options, horizon, watermark, boot } = replicator.replica
  const { ghosts, tombstones } = store.stats()
  return {
    bootId: boot,
    members: members.size,
    links,
    horizonMs: horizon === 0 ? null : wallOfHlc(horizon),
    watermarkMs: watermark === 0 ? null : wallOfHlc(watermark),
    gaps: [...members].filter(({ gap }) => gap > 0).length,
    ghosts,
    tombstones,
    markerBytes: store.markerBytes,
    markerBytesMax: options.markerBytesMax,
    applied: counters.applied,
    purged: counters.purged,
    droppedUnstable: counters.droppedUnstable,
    get unstable() {
      return unstableRecords(replicator.replica, UNSTABLE_LOOKED_AT_MAX)
    },
    declined: counters.declinedBelowHorizon + counters.declinedForRoom,
    smallRounds: counters.smallRounds,
    fullRounds: counters.fullRounds,
    rewinds: counters.rewinds,
    refusedForSkew: counters.refusedForSkew,
    refusals,
    awaitingAcks: replicator.acks.count,
  }
}

/** Null if more than `most` records would have to be looked at. What all agreed on is not looked at. */
export function unstableRecords(replica: Replica, most: number): number | null {
  const { store, members } = replica
  if (members.size === 0) return 0
  const knowledge = new Knowledge(replica)
  const head = emptyHead()
  let unstable = 0
  let seq = Math.min(...[...members].map(({ agreed, boot }) => (boot === undefined ? 0 : agreed)))
  for (let left = most; left >= 0; left--) {
    const slot = store.next(seq)
    if (slot === NO_SLOT) return unstable
    store.head(slot, head)
    seq = head.seq
    if (!knowledge.isStable(head)) unstable++
  }
  return null
}
