// Forgetting: which ghosts and tombstones may go, which must, and what going costs. Rules 5 and 6.
//
// Between the store's list of markers, by age, and the knowledge of who knows what. A marker that every member has
// known for the time of grace goes without a trace. One that is too old, or over the budget, goes all the same, and
// raises this server's horizon and the gap towards each member that may not know it: those will pay, in misses.
//
// A marker's flags are the tick it was made at, modulo 256, with 64 ticks to the retention: nothing else in a record
// has room for its age, and the list is looked through several times per tick.

import { emptyHead, NO_SLOT, type RecordHead, RecordKind, type Retention, type Slot } from '../store/store.ts'
import type { Knowledge } from './knowledge.ts'
import type { Replica } from './replica.ts'

const TICKS_PER_RETENTION = 64
const TICKS_MASK = 0xff
/** Near the budget it is worth to ask members what they know, rather than to wait for their next PING. */
const NEAR_BUDGET = 0.75

export class Forgetting implements Retention {
  readonly #replica: Replica
  readonly #knowledge: Knowledge
  readonly #head: RecordHead = emptyHead()
  /** Where the walk over the markers goes on: the sequence number of the next one; 0 = at the oldest. */
  #cursorSeq = 0

  constructor(replica: Replica, knowledge: Knowledge) {
    this.#replica = replica
    this.#knowledge = knowledge
  }

  mayForget(slot: Slot): boolean {
    return this.#knowledge.mayForget(slot)
  }

  get markerFlags(): number {
    const { monoMs, options } = this.#replica
    return Math.floor((monoMs * TICKS_PER_RETENTION) / options.markerRetentionMs) & TICKS_MASK
  }

  /** Whether a delete must leave a tombstone: somebody else may hold the value, or an older one. */
  get mustMark(): boolean {
    return this.#replica.members.size > 0
  }

  get isNearBudget(): boolean {
    const { store, options } = this.#replica
    return store.markerBytes > options.markerBytesMax * NEAR_BUDGET
  }

  /** Looks at up to `budget` markers and lets those go that may or must. Returns how many it looked at. */
  upkeep(budget: number): number {
    this.enforceBudget()
    const { store } = this.#replica
    let looked = 0
    let slot = this.#resume()
    while (slot !== NO_SLOT && looked < budget) {
      looked++
      const next = store.newerMarker(slot)
      if (this.#knowledge.mayForget(slot)) this.#forgetStable(slot)
      else if (this.#isTooOld(slot)) this.drop(slot)
      slot = next
    }
    this.#cursorSeq = slot === NO_SLOT ? 0 : this.#seqOf(slot)
    return looked
  }

  /** Drops the oldest markers until the rest is within the budget. */
  enforceBudget(): void {
    const { store, options } = this.#replica
    if (store.markerBytes <= options.markerBytesMax) return
    // Those that everybody knows cost nothing: first, as far as they are found without looking at all.
    let slot = store.oldestMarker()
    let looked = 0
    while (slot !== NO_SLOT && store.markerBytes > options.markerBytesMax && looked++ < LOOKS_FOR_STABLE) {
      const next = store.newerMarker(slot)
      if (this.#knowledge.mayForget(slot)) this.#forgetStable(slot)
      slot = next
    }
    while (store.markerBytes > options.markerBytesMax) this.drop(store.oldestMarker())
    this.#cursorSeq = 0
  }

  /**
   * Another member does not hold this record, and may have forgotten that it was deleted: it is not served any more. Its
   * version stays until every member knows it, so that nobody else has to pay for this. Markers need no purging.
   */
  purge(slot: Slot): void {
    const { store, counters } = this.#replica
    if (store.kind(slot) !== RecordKind.Value) return
    counters.purged++
    if (this.#knowledge.isStableAt(slot)) this.#forgetStable(slot)
    else store.strip(slot, RecordKind.Ghost, this.markerFlags)
  }

  /** Forced forgetting of any record. If somebody may not know it, that one will pay. */
  drop(slot: Slot): void {
    const replica = this.#replica
    const head = this.#head
    replica.store.head(slot, head)
    let stable = true
    for (const member of replica.members)
      if (!this.#knowledge.isKnown(head, member)) {
        stable = false
        member.missed(head.hlc)
      }
    if (stable) replica.counters.forgottenStable++
    else replica.counters.droppedUnstable++
    // Known to all, but not for long: what it overwrote may still be on its way from one that knows better by now.
    const isOld = stable && this.#knowledge.mayForget(slot)
    if (!isOld && head.hlc > replica.horizon) replica.horizon = head.hlc
    replica.store.forget(slot, 'deleted')
  }

  #forgetStable(slot: Slot): void {
    this.#replica.counters.forgottenStable++
    this.#replica.store.forget(slot, 'deleted')
  }

  #isTooOld(slot: Slot): boolean {
    const age = (this.markerFlags - this.#replica.store.flags(slot)) & TICKS_MASK
    return age > TICKS_PER_RETENTION
  }

  /** The marker the cursor stands at; it may have gone, or become a value again: then from the oldest on. */
  #resume(): Slot {
    const { store } = this.#replica
    if (this.#cursorSeq !== 0) {
      const slot = store.next(this.#cursorSeq - 1)
      if (slot !== NO_SLOT && this.#seqOf(slot) === this.#cursorSeq && store.kind(slot) !== RecordKind.Value)
        return slot
    }
    return store.oldestMarker()
  }

  #seqOf(slot: Slot): number {
    this.#replica.store.head(slot, this.#head)
    return this.#head.seq
  }
}

const LOOKS_FOR_STABLE = 256
