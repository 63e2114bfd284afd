// The end of an anti-entropy round that answers: digests, lists, and the records it is asked for. See rounds.ts.
//
// It keeps nothing of its lists: an entry names a sequence number, and a record that has another one by the time it is
// wanted was rewritten, which is somebody else's news.

import { PeerOpcode } from '../../protocol/messages.ts'
import { emptyHead, NO_SLOT, type RecordHead, type Slot } from '../store/store.ts'
import type { LinkState } from './link-state.ts'
import { RoundDigest } from './round-digest.ts'
import {
  LIST_ENTRIES_MAX,
  type ListEntry,
  type RoundOpen,
  Verdict,
  writeAnswer,
  writeList,
  writeSign,
} from './round-messages.ts'
import type { RoundTools } from './round-tools.ts'
import { RoundWalk } from './round-walk.ts'

export class RoundResponder {
  readonly link: LinkState
  readonly id: number
  readonly full: boolean
  progressMs: number
  isDone = false
  readonly #tools: RoundTools
  readonly #open: RoundOpen
  readonly #digest: RoundDigest
  readonly #startSeq: number
  readonly #gap: number
  readonly #counts: Int32Array
  readonly #head: RecordHead = emptyHead()
  #phase: 'digesting' | 'idle' | 'listing' = 'digesting'
  #walk: RoundWalk
  #group = new Set<number>()
  #entries: ListEntry[] = []
  /** Entries listed of the present group. */
  #listed = 0
  #wanted: number[] = []
  /** The initiator waits for its turn: answered when nothing wanted is left. */
  #turnIsDue = false

  constructor(tools: RoundTools, link: LinkState, open: RoundOpen) {
    const { replica } = tools
    this.#tools = tools
    this.link = link
    this.id = open.id
    this.full = open.full
    this.#open = open
    this.progressMs = replica.monoMs
    this.#digest = new RoundDigest(replica, open.nonce, open.leafBits)
    this.#counts = new Int32Array(1 << open.leafBits)
    this.#walk = new RoundWalk(replica, tools.knowledge, this.#digest, open.full)
    this.#startSeq = replica.store.tailSeq
    this.#gap = open.full ? link.member.gap : 0
    link.member.gapSinceRound = 0
  }

  /** What this server's horizon rises to. */
  get horizon(): number {
    return this.full ? this.#open.gap : 0
  }

  work(budget: number): boolean {
    if (this.#phase === 'digesting') {
      const ended = this.#walk.step(budget, (_, isIncluded) => {
        if (!isIncluded) return true
        this.#digest.add()
        this.#counts[this.#digest.leaf] = (this.#counts[this.#digest.leaf] as number) + 1
        return true
      })
      if (ended) this.#answer()
      return !ended
    }
    if (this.#tools.isBehind(this.link)) return this.#phase === 'listing' || this.#wanted.length > 0
    if (this.#phase === 'listing') return this.#list(budget)
    return this.#sendWanted(budget)
  }

  #answer(): void {
    const { replica } = this.#tools
    this.#phase = 'idle'
    const leaves = this.#digest.differing(this.#open.digests)
    writeAnswer(this.#tools.writer(), {
      id: this.id,
      verdict: Verdict.Differs,
      gap: this.#gap,
      hlc: replica.clock.last,
      watermark: replica.watermark,
      leaves: leaves.map((leaf) => ({ leaf, count: this.#counts[leaf] as number })),
    })
    this.#tools.send(this.link)
  }

  onAsk(leaves: readonly number[]): void {
    if (this.#phase !== 'idle') return
    const { replica, knowledge } = this.#tools
    this.#phase = 'listing'
    this.#listed = 0
    this.#group = new Set(leaves)
    this.#walk = new RoundWalk(replica, knowledge, this.#digest, this.full)
  }

  #list(budget: number): boolean {
    const { origins } = this.#tools.replica
    const ended = this.#walk.step(budget, (_, isIncluded) => {
      if (!isIncluded || !this.#group.has(this.#digest.leaf)) return true
      const { hlc, origin, kind, seq } = this.#digest.head
      this.#entries.push({ hash: this.#digest.hash, hlc, origin: origins.idOf(origin), kind, seq })
      return this.#entries.length < LIST_ENTRIES_MAX
    })
    if (ended || this.#entries.length === LIST_ENTRIES_MAX) {
      writeList(this.#tools.writer(), this.id, ended, this.#entries)
      this.#tools.send(this.link)
      this.#listed += this.#entries.length
      this.#entries = []
    }
    if (ended) this.#phase = 'idle'
    return !ended
  }

  onWant(seqs: readonly number[]): void {
    // Nobody wants more than was listed.
    const room = Math.max(0, this.#listed - this.#wanted.length)
    for (const seq of seqs.slice(0, room)) this.#wanted.push(seq)
  }

  /** The initiator does not hold these, and forgot markers up to its gap: they may have been deleted. */
  onPurge(seqs: readonly number[]): void {
    if (!this.full) return
    for (const seq of seqs) {
      const slot = this.#at(seq)
      if (slot !== NO_SLOT && this.#head.hlc <= this.#open.gap) this.#tools.forgetting.purge(slot)
    }
  }

  onTurn(): void {
    this.#turnIsDue = true
    this.#endTurn()
  }

  onClose(): void {
    this.isDone = true
    this.#tools.raiseHorizon(this.horizon)
    this.#tools.complete(this.link, this.#startSeq, this.full)
    writeSign(this.#tools.writer(), PeerOpcode.RoundClose, this.id)
    this.#tools.send(this.link)
  }

  #sendWanted(budget: number): boolean {
    const { records } = this.#tools
    let sent = 0
    for (const seq of this.#wanted) {
      if (sent === budget || records.isFull) break
      sent++
      const slot = this.#at(seq)
      if (slot !== NO_SLOT) records.add(slot)
    }
    this.#wanted.splice(0, sent)
    this.#tools.sendRecords(this.link, this.id)
    this.#endTurn()
    return this.#wanted.length > 0
  }

  #endTurn(): void {
    if (!this.#turnIsDue || this.#wanted.length > 0) return
    this.#turnIsDue = false
    writeSign(this.#tools.writer(), PeerOpcode.RoundTurn, this.id)
    this.#tools.send(this.link)
  }

  /** The record that still has this sequence number; its head is read. */
  #at(seq: number): Slot {
    const { store } = this.#tools.replica
    const slot = store.next(seq - 1)
    if (slot === NO_SLOT) return NO_SLOT
    store.head(slot, this.#head)
    return this.#head.seq === seq ? slot : NO_SLOT
  }
}
