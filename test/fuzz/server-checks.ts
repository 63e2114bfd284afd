// What must be true of a server whatever it was told: the store is whole and within its limits, no clock and no watermark
// runs ahead, nothing that a peer names grows without bound.

import { isUtf8 } from 'node:buffer'
import { MEMBERS_MAX } from '../../protocol/limits.ts'
import { hlcOfWall } from '../../server/clock.ts'
import type { Replicator } from '../../server/replication/replicator.ts'
import type { SessionHost } from '../../server/session.ts'
import { emptyHead, NO_SLOT, type Store } from '../../server/store/store.ts'
import { demand } from './violation.ts'

/** What the servers under attack are told. */
export const BYTES_MAX = 1024 * 1024
export const ENTRIES_MAX = 60
export const WINDOW_BYTES = 100_000
export const SKEW_MS_MAX = 5000
const BATCH_BYTES_MAX = 80_000
const BATCHES_IN_FLIGHT_MAX = 1000

export function checkServer(
  store: Store,
  replicator: Replicator,
  { partialBytes, unsentBytes }: SessionHost['held'],
): void {
  checkStore(store, replicator)
  checkReplicator(replicator)
  demand(partialBytes >= 0 && unsentBytes >= 0, 'less than nothing is held')
}

const head = emptyHead()
const key = Buffer.alloc(2048)

function checkStore(store: Store, { replica }: Replicator): void {
  const { entries, ghosts, tombstones, usedBytes } = store.stats()
  demand(usedBytes <= BYTES_MAX, 'the store is over its bytes', () => `${usedBytes}`)
  demand(entries <= ENTRIES_MAX, 'the store is over its entries', () => `${entries}`)
  const span = { bytes: key, at: 0, length: 0 }
  let records = 0
  let lastSeq = 0
  for (let slot = store.next(0); slot !== NO_SLOT; slot = store.next(lastSeq)) {
    store.head(slot, head)
    demand(head.seq > lastSeq, 'the change log is out of order', () => `${lastSeq}, then ${head.seq}`)
    lastSeq = head.seq
    records++
    // Its origin is in the table, and it is found under its key.
    replica.origins.idOf(head.origin)
    store.copyKey(slot, key, 0)
    span.length = head.keyBytes
    demand(isUtf8(key.subarray(0, span.length)), 'a key that is no text', () =>
      key.toString('hex', 0, span.length),
    )
    demand(
      head.hlc <= replica.watermark || store.find(store.hash(span), span) === slot,
      'a record that is not found under its key',
      () => key.toString('hex', 0, span.length),
    )
  }
  // Flushed ones are purged in slices.
  demand(records <= entries + ghosts + tombstones, 'more records than are counted', () => `${records}`)
}

function checkReplicator({ replica, links }: Replicator): void {
  const { members, wallMs } = replica
  const highest = hlcOfWall(wallMs + SKEW_MS_MAX + 1)
  for (const stamp of [replica.watermark, replica.horizon, replica.comingHorizon])
    demand(stamp < highest, 'a stamp runs ahead', () => `${stamp}, at ${hlcOfWall(wallMs)}`)
  demand(members.size <= MEMBERS_MAX, 'too many members', () => `${members.size}`)
  demand(members.removed().length <= MEMBERS_MAX, 'too many removed members')
  for (const { vector, gap } of members) {
    demand(vector.size <= MEMBERS_MAX, 'a vector is too long', () => `${vector.size}`)
    demand(gap < highest, 'a gap runs ahead', () => `${gap}`)
  }
  for (const { inFlight, inFlightBytes } of links) {
    demand(
      inFlightBytes <= WINDOW_BYTES + BATCH_BYTES_MAX,
      'the window is not kept',
      () => `${inFlightBytes}`,
    )
    demand(inFlight.length < BATCHES_IN_FLIGHT_MAX, 'too many batches on their way')
  }
}
