// A record from another server meets this store. Rules 1, 2, 7, 9 and the expiry part of 11.
//
// Between messages, which bring records, and the store. It decides what a record is to this server: newer and applied,
// already known, flushed, or declined; and sees to it that whatever cannot be stored does not leave an older version
// behind. The caller has checked that no stamp is too far ahead.

import { NO_ORIGIN } from '../origins.ts'
import {
  emptyHead,
  NO_SLOT,
  type RecordHead,
  RecordKind,
  type Slot,
  type Span,
  type Store,
} from '../store/store.ts'
import type { Forgetting } from './forgetting.ts'
import { isNewer } from './order.ts'
import type { RemoteRecord } from './records.ts'
import type { Replica } from './replica.ts'

export const Merged = {
  Applied: 0,
  /** This server has it, or something newer, or it was flushed. */
  Known: 1,
  /** From below the horizon, and nothing is held for its key: it may have been deleted since. */
  Declined: 2,
  /** There is no room, or it is larger than this server's limits. */
  NoRoom: 3,
  /** A version without its bytes, of a key of which nothing is held: nobody here needs it. */
  NotImported: 4,
} as const
export type Merged = (typeof Merged)[keyof typeof Merged]

/** Which way a record came. */
export const Source = {
  /** A write as it happens: it may push others out. */
  Stream: 0,
  /** A round: what it brings must not push anything out. */
  SmallRound: 1,
  /** The same; and what the other end of a full round holds is taken from below the horizon that it imposes. */
  FullRound: 2,
} as const
export type Source = (typeof Source)[keyof typeof Source]

/** A small server's markers must not be driven out by the ghosts of large ones. */
const MARKERS_OF_OTHERS_SHARE = 0.5

const NO_VALUE: Span = { bytes: new Uint8Array(0), at: 0, length: 0 }

export class Merger {
  readonly #replica: Replica
  readonly #store: Store
  readonly #forgetting: Forgetting
  readonly #head: RecordHead = emptyHead()
  readonly #held: RecordHead = emptyHead()

  constructor(replica: Replica, forgetting: Forgetting) {
    this.#replica = replica
    this.#store = replica.store
    this.#forgetting = forgetting
  }

  merge(record: RemoteRecord, source: Source): Merged {
    const replica = this.#replica
    const { counters, clock } = replica
    clock.receive(record.hlc)
    if (record.hlc <= replica.watermark) {
      counters.flushedOnArrival++
      return Merged.Known
    }
    // First, for a full table of origins makes room by dropping records.
    const origin = this.#originOf(record.origin)
    const hash = this.#store.hash(record.key)
    const slot = this.#store.find(hash, record.key)
    const horizon = Math.max(replica.horizon, source === Source.FullRound ? 0 : replica.comingHorizon)
    if (slot !== NO_SLOT) return this.#mergeInto(slot, hash, record, origin, horizon)
    if (record.hlc <= Math.max(horizon, replica.declinedHlc)) {
      counters.declinedBelowHorizon++
      return Merged.Declined
    }
    if (record.kind === RecordKind.Ghost) {
      this.#keepVersion(hash, record, origin)
      return Merged.NotImported
    }
    if (source !== Source.Stream && record.kind === RecordKind.Value && !this.#fits(record)) {
      counters.declinedForRoom++
      this.#keepVersion(hash, record, origin)
      return Merged.NoRoom
    }
    return this.#put(hash, NO_SLOT, record, origin)
  }

  /** The later of two expiries of one version. False if this server does not hold a value of just that version. */
  extend(key: Span, hlc: number, origin: string, expiresAtMs: number): boolean {
    const slot = this.#store.find(this.#store.hash(key), key)
    if (slot === NO_SLOT) return false
    const held = this.#held
    this.#store.head(slot, held)
    if (held.kind !== RecordKind.Value || held.hlc !== hlc) return false
    if (this.#replica.origins.idOf(held.origin) !== origin) return false
    this.#extend(slot, held, expiresAtMs)
    return true
  }

  #mergeInto(slot: Slot, hash: number, record: RemoteRecord, origin: number, horizon: number): Merged {
    const { origins, counters } = this.#replica
    const held = this.#held
    this.#store.head(slot, held)
    const heldOrigin = origins.idOf(held.origin)
    if (isNewer(record.hlc, record.origin, record.kind, held.hlc, heldOrigin, held.kind)) {
      const isDeclined = record.hlc <= horizon && record.kind === RecordKind.Value
      if (!isDeclined || held.kind === RecordKind.Value) return this.#put(hash, slot, record, origin)
      // A marker is left of something older: what overwrote both may be among what was forgotten.
      counters.declinedBelowHorizon++
      if (!this.#putGhost(hash, slot, record, origin)) this.#forgetting.drop(slot)
      return Merged.Declined
    }
    counters.older++
    const isSame = record.hlc === held.hlc && record.origin === heldOrigin
    if (isSame && record.kind === RecordKind.Value && held.kind === RecordKind.Value)
      this.#extend(slot, held, record.expiresAtMs)
    return Merged.Known
  }

  #extend(slot: Slot, held: RecordHead, expiresAtMs: number): void {
    // Without a lifetime it was written without an expiry, or its end was fixed: nothing renews it.
    if (held.expiresAtMs === 0 || held.lifetimeMs === 0) return
    if (expiresAtMs !== 0 && expiresAtMs <= held.expiresAtMs) return
    this.#store.setExpiry(slot, expiresAtMs)
    this.#replica.counters.extended++
  }

  #isWithinLimit({ value }: RemoteRecord): boolean {
    return value.length <= this.#replica.valueBytesMax
  }

  #fits(record: RemoteRecord): boolean {
    if (!this.#isWithinLimit(record)) return false
    const timed = record.expiresAtMs !== 0 || record.lifetimeMs !== 0
    return this.#store.fits(record.key.length, record.value.length, timed)
  }

  #put(hash: number, slot: Slot, record: RemoteRecord, origin: number): Merged {
    const replica = this.#replica
    const head = this.#head
    head.kind = record.kind
    head.flags = record.kind === RecordKind.Value ? record.flags : this.#forgetting.markerFlags
    head.hlc = record.hlc
    head.origin = origin
    head.expiresAtMs = record.kind === RecordKind.Value ? record.expiresAtMs : 0
    head.lifetimeMs = record.kind === RecordKind.Value ? record.lifetimeMs : 0
    const isPut =
      this.#isWithinLimit(record) &&
      this.#store.put(hash, slot, record.key, record.value, head, replica.wallMs) !== NO_SLOT
    if (isPut) {
      replica.counters.applied++
      return Merged.Applied
    }
    replica.counters.declinedForRoom++
    if (slot === NO_SLOT) {
      this.#keepVersion(hash, record, origin)
      return Merged.NoRoom
    }
    // What it overwrites must not be served any more: its version stays, as a ghost, or the older value goes too.
    const held = this.#store.find(hash, record.key)
    if (this.#putGhost(hash, held, record, origin)) return Merged.NoRoom
    this.#forgetting.drop(held)
    if (record.hlc > replica.horizon) replica.horizon = record.hlc
    return Merged.NoRoom
  }

  /**
   * Of a version that is not taken, and of whose key nothing is held. Whoever sent it will count it as known here, and
   * may forget it: so nothing older must be taken afterwards, from somebody who has not heard of it yet.
   */
  #keepVersion(hash: number, record: RemoteRecord, origin: number): void {
    const replica = this.#replica
    const hasRoom = this.#store.markerBytes < replica.options.markerBytesMax * MARKERS_OF_OTHERS_SHARE
    if (hasRoom && this.#putGhost(hash, NO_SLOT, record, origin)) return
    replica.counters.ghostsNotImported++
    if (record.hlc > replica.declinedHlc) replica.declinedHlc = record.hlc
  }

  #putGhost(hash: number, slot: Slot, record: RemoteRecord, origin: number): boolean {
    const replica = this.#replica
    const head = this.#head
    head.kind = RecordKind.Ghost
    head.flags = this.#forgetting.markerFlags
    head.hlc = record.hlc
    head.origin = origin
    head.expiresAtMs = 0
    head.lifetimeMs = 0
    return this.#store.put(hash, slot, record.key, NO_VALUE, head, replica.wallMs) !== NO_SLOT
  }

  #originOf(boot: string): number {
    const { origins, store } = this.#replica
    const index = origins.indexOf(boot)
    if (index !== NO_ORIGIN) return index
    const borne = new Set<number>()
    for (const origin of this.#origins()) borne.add(origin)
    const oldest = origins.reclaim((origin) => borne.has(origin))
    const freed = origins.indexOf(boot)
    if (freed !== NO_ORIGIN) return freed
    // All of them are in use: the oldest boot's records make room.
    for (let slot = store.next(0); slot !== NO_SLOT; ) {
      store.head(slot, this.#held)
      const { seq, origin } = this.#held
      if (origin === oldest) this.#forgetting.drop(slot)
      slot = store.next(seq)
    }
    origins.reclaim((origin) => origin !== oldest)
    return origins.indexOf(boot)
  }

  *#origins(): Iterable<number> {
    const { store } = this.#replica
    for (let slot = store.next(0); slot !== NO_SLOT; slot = store.next(this.#held.seq)) {
      store.head(slot, this.#held)
      yield this.#held.origin
    }
  }
}
