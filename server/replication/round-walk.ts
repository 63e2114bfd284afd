// A walk over the records that a round is about, in the order of the change log, in slices.
//
// A full round is about all records; a small one about those that some member may not know. What every member agreed
// on lies before the lowest sequence number agreed and is not even looked at. A record that is rewritten during the
// walk moves to the tail and is met there, so that whatever is held all the time is met at least once.

import { NO_SLOT, type Slot } from '../store/store.ts'
import type { Knowledge } from './knowledge.ts'
import type { Replica } from './replica.ts'
import type { RoundDigest } from './round-digest.ts'

export class RoundWalk {
  readonly #replica: Replica
  readonly #knowledge: Knowledge
  readonly #digest: RoundDigest
  readonly #full: boolean
  #seq: number

  constructor(replica: Replica, knowledge: Knowledge, digest: RoundDigest, full: boolean) {
    this.#replica = replica
    this.#knowledge = knowledge
    this.#digest = digest
    this.#full = full
    this.#seq = full ? 0 : lowestAgreed(replica)
  }

  /**
   * Visits up to `budget` records; `visit` hears whether the round is about the record or only might be, and returns
   * false to stop behind it. True when the end is reached.
   */
  step(budget: number, visit: (slot: Slot, isIncluded: boolean) => boolean): boolean {
    const { store } = this.#replica
    for (let left = budget; left > 0; left--) {
      const slot = store.next(this.#seq)
      if (slot === NO_SLOT) return true
      this.#digest.look(slot)
      this.#seq = this.#digest.head.seq
      if (!visit(slot, this.#full || !this.#knowledge.isStable(this.#digest.head))) return false
    }
    return false
  }
}

function lowestAgreed(replica: Replica): number {
  let lowest = replica.store.tailSeq
  for (const { agreed, boot } of replica.members) lowest = Math.min(lowest, boot === undefined ? 0 : agreed)
  return lowest
}
