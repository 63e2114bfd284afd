// The wall clock was set back: what was stamped in its future would be refused everywhere, for hours. This server gives
// it up and takes a new boot id, so that nothing it says or is told mixes with its former life.

import { HLC_TICKS_PER_MS, hlcOfWall } from '../clock.ts'
import type { BootId } from '../origins.ts'
import { emptyHead, NO_SLOT } from '../store/store.ts'
import type { Replica } from './replica.ts'

/** Begins another life of this server. Returns how far its own clock was ahead, in ms. Links are the caller's. */
export function beginBoot(replica: Replica, boot: BootId): number {
  const { store, clock, wallMs, origins, members, options } = replica
  const now = hlcOfWall(wallMs)
  const aheadMs = Math.round((clock.last - now) / HLC_TICKS_PER_MS)
  replica.boot = boot
  origins.self = origins.indexOf(boot)
  if (replica.watermark > hlcOfWall(wallMs + options.skewMsMax)) {
    replica.watermark = now
    store.resetWatermark(now)
  }
  const head = emptyHead()
  for (let slot = store.next(0); slot !== NO_SLOT; ) {
    store.head(slot, head)
    const { hlc, seq } = head
    if (hlc > now) store.forget(slot, 'deleted')
    slot = store.next(seq)
  }
  clock.reset(wallMs)
  // A watermark that others take too stays: stamps are above it.
  clock.receive(replica.watermark)
  if (replica.horizon > now) replica.horizon = now
  if (replica.declinedHlc > now) replica.declinedHlc = now
  for (const member of members) member.beginAnew(now)
  replica.counters.bootsChanged++
  return aheadMs
}
