// Who knows what: whether a member has a record (or a newer one), and whether every member has had it for long enough.
//
// Between the members' acknowledgements and those who want to forget a record. "Since when has it been stable" is not
// kept per record: what is known is copied once in a while, and a record has been stable for the time of grace if it
// was stable by a copy that old. A member or a boot that is not in that copy knows nothing yet. Rule 4 and 5 of
// docs/replication.md.

import { emptyHead, type RecordHead, type Slot } from '../store/store.ts'
import { type MemberKnowledge, NO_VECTOR } from './members.ts'
import type { Replica } from './replica.ts'

/** Copies of what is known per time of grace: grace is exceeded by at most one part in so many. */
const COPIES_PER_GRACE = 8

interface Copy {
  monoMs: number
  boot: string
  /** What came later was not here to be known. */
  tailSeq: number
  members: ReadonlyMap<string, MemberKnowledge>
}

export class Knowledge {
  readonly #replica: Replica
  /** From old to new; the first is the youngest that is old enough. */
  #copies: Copy[] = []
  readonly #head: RecordHead = emptyHead()

  constructor(replica: Replica) {
    this.#replica = replica
  }

  /** Copies what is known now, if the last copy is old enough. To be called more often than grace / 8. */
  keep(): void {
    const { monoMs, boot, members, options, store } = this.#replica
    const last = this.#copies.at(-1)
    if (last !== undefined && monoMs - last.monoMs < options.graceMs / COPIES_PER_GRACE) return
    const copy = new Map<string, MemberKnowledge>()
    for (const { label, boot: theirs, acked, agreed, vector } of members)
      copy.set(label, { label, boot: theirs, acked, agreed, vector })
    this.#copies.push({ monoMs, boot, tailSeq: store.tailSeq, members: copy })
    while ((this.#copies[1]?.monoMs ?? monoMs) <= monoMs - options.graceMs) this.#copies.shift()
  }

  /** Whether a member has this record, or a newer one of its key. */
  isKnown(head: RecordHead, member: MemberKnowledge): boolean {
    const { members } = this.#replica
    return this.#isKnown(head, member, (label) => members.get(label))
  }

  isStable(head: RecordHead): boolean {
    for (const member of this.#replica.members) if (!this.isKnown(head, member)) return false
    return true
  }

  isStableAt(slot: Slot): boolean {
    if (this.#replica.members.size === 0) return true
    this.#replica.store.head(slot, this.#head)
    return this.isStable(this.#head)
  }

  /** Whether it has been stable for the time of grace: nobody can bring back what it overwrote. */
  mayForget(slot: Slot): boolean {
    const { members, store, boot, options, monoMs } = this.#replica
    if (members.size === 0) return true
    const copy = this.#copies[0]
    if (copy === undefined || copy.boot !== boot || monoMs - copy.monoMs < options.graceMs) return false
    const head = this.#head
    store.head(slot, head)
    // Its origin has always known it, and no grace would pass.
    if (head.seq > copy.tailSeq) return false
    const inCopy = (label: string) => copy.members.get(label)
    for (const member of members) {
      const then = copy.members.get(member.label)
      if (then === undefined || then.boot !== member.boot || !this.#isKnown(head, then, inCopy)) return false
    }
    return true
  }

  #isKnown(
    head: RecordHead,
    member: MemberKnowledge,
    memberOf: (label: string) => MemberKnowledge | undefined,
  ): boolean {
    if (member.boot === undefined) return false
    if (head.seq <= member.agreed) return true
    const { origins, members } = this.#replica
    if (head.origin === origins.self) return head.seq <= member.acked
    const origin = origins.idOf(head.origin)
    if (origin === member.boot) return true
    // A dead boot announces nothing: only the present one of a member has a vector.
    const label = members.ofBoot(origin)?.label
    const teller = label === undefined ? undefined : memberOf(label)
    if (teller?.boot !== origin) return false
    const said = (teller.vector ?? NO_VECTOR).get(member.label)
    return said !== undefined && said.boot === member.boot && said.hlc >= head.hlc
  }
}
