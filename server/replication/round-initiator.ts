// The end of an anti-entropy round that begins it and does the comparing. See rounds.ts for the whole.
//
//   digesting ──OPEN──> opened ──ANSWER──> asking ──LISTs──> comparing ──TURN──> turning ──TURN──> closing ──CLOSE──> done
//                                            ↑_____________________________________|  next group
//
// Everything long is done in slices, and nothing is sent while the bulk connection is behind.

import { ProtocolError } from '../../protocol/errors.ts'
import { PeerOpcode, Status } from '../../protocol/messages.ts'
import type { Slot } from '../store/store.ts'
import type { LinkState } from './link-state.ts'
import { isNewer } from './order.ts'
import { RoundDigest } from './round-digest.ts'
import {
  type ListEntry,
  type RoundAnswer,
  SEQS_MAX,
  Verdict,
  writeNumbers,
  writeOpen,
  writeSign,
} from './round-messages.ts'
import type { RoundTools } from './round-tools.ts'
import { RoundWalk } from './round-walk.ts'

/** Entries of the answerer that are held here at a time. */
const GROUP_ENTRIES_MAX = 65_536
const GROUP_LEAVES_MAX = SEQS_MAX
/** A single leaf may have more, and more than was announced: what is written meanwhile. But not any number. */
const ENTRIES_HELD_MAX = 4 * GROUP_ENTRIES_MAX

export class RoundInitiator {
  readonly link: LinkState
  readonly id: number
  readonly full: boolean
  /** Monotonic time of the last progress, in ms. */
  progressMs: number
  isDone = false
  readonly #tools: RoundTools
  readonly #digest: RoundDigest
  readonly #nonce: Uint8Array
  readonly #startSeq: number
  readonly #gap: number
  #theirGap = 0
  #phase: 'digesting' | 'opened' | 'asking' | 'comparing' | 'turning' | 'closing' = 'digesting'
  #walk: RoundWalk
  #groups: number[][] = []
  #group = new Set<number>()
  /** The answerer's entries of the present group by hash; taken out when met here. */
  #theirs = new Map<number, ListEntry>()
  #wants: number[] = []
  #purges: number[] = []

  constructor(tools: RoundTools, link: LinkState, id: number, full: boolean, leafBits: number) {
    const { replica } = tools
    this.#tools = tools
    this.link = link
    this.id = id
    this.full = full
    this.progressMs = replica.monoMs
    this.#nonce = tools.nonce()
    this.#digest = new RoundDigest(replica, this.#nonce, leafBits)
    this.#walk = new RoundWalk(replica, tools.knowledge, this.#digest, full)
    this.#startSeq = replica.store.tailSeq
    this.#gap = full ? link.member.gap : 0
    link.member.gapSinceRound = 0
  }

  /** What this server's horizon rises to. */
  get horizon(): number {
    return this.full ? this.#theirGap : 0
  }

  /** Does a slice of what there is to do; true if there is more. */
  work(budget: number): boolean {
    if (this.#phase === 'digesting') {
      const ended = this.#walk.step(budget, (_, isIncluded) => {
        if (isIncluded) this.#digest.add()
        return true
      })
      if (ended) this.#open()
      return !ended
    }
    if (this.#phase === 'comparing') return this.#compare(budget)
    return false
  }

  #open(): void {
    const { replica, writer } = this.#tools
    this.#phase = 'opened'
    writeOpen(writer(), {
      id: this.id,
      full: this.full,
      gap: this.#gap,
      hlc: replica.clock.last,
      watermark: replica.watermark,
      nonce: this.#nonce,
      leafBits: this.#digest.leafBits,
      digests: this.#digest.digests,
    })
    this.#tools.send(this.link)
  }

  onAnswer(answer: RoundAnswer): void {
    if (this.#phase !== 'opened') return
    this.#theirGap = answer.gap
    if (answer.verdict === Verdict.Full) {
      this.isDone = true
      this.#tools.again(this.link)
      return
    }
    if (answer.leaves.length === 0) this.#tools.replica.counters.roundsEqual++
    let group: number[] = []
    let entries = 0
    for (const { leaf, count } of answer.leaves) {
      if (group.length > 0 && (entries + count > GROUP_ENTRIES_MAX || group.length === GROUP_LEAVES_MAX)) {
        this.#groups.push(group)
        group = []
        entries = 0
      }
      group.push(leaf)
      entries += count
    }
    if (group.length > 0) this.#groups.push(group)
    this.#nextGroup()
  }

  #nextGroup(): void {
    const group = this.#groups.shift()
    const writer = this.#tools.writer()
    if (group === undefined) {
      // The other end takes CLOSE as the word that what it may have forgotten is not taken back here.
      this.#tools.raiseHorizon(this.horizon)
      this.#phase = 'closing'
      writeSign(writer, PeerOpcode.RoundClose, this.id)
      this.#tools.send(this.link)
      return
    }
    this.#phase = 'asking'
    this.#group = new Set(group)
    this.#theirs.clear()
    writeNumbers(writer, PeerOpcode.RoundAsk, this.id, group)
    this.#tools.send(this.link)
  }

  onList(entries: readonly ListEntry[], isLast: boolean): void {
    if (this.#phase !== 'asking') return
    for (const entry of entries) this.#theirs.set(entry.hash, entry)
    if (this.#theirs.size > ENTRIES_HELD_MAX)
      throw new ProtocolError(Status.BadOperand, `more than ${ENTRIES_HELD_MAX} entries in a group of leaves`)
    if (!isLast) return
    const { replica, knowledge } = this.#tools
    this.#phase = 'comparing'
    this.#walk = new RoundWalk(replica, knowledge, this.#digest, this.full)
  }

  #compare(budget: number): boolean {
    const { records } = this.#tools
    if (this.#tools.isBehind(this.link)) return true
    const ended = this.#walk.step(budget, (slot, isIncluded) => {
      if (!this.#group.has(this.#digest.leaf)) return true
      this.#compareOne(slot, isIncluded)
      return !records.isFull
    })
    // Whatever was collected leaves with this slice: the next one may be of a round with another member.
    this.#tools.sendRecords(this.link, this.id)
    if (!ended) return true
    this.#takeUnmet()
    this.#sendNumbers(PeerOpcode.RoundPurge, this.#purges)
    this.#sendNumbers(PeerOpcode.RoundWant, this.#wants)
    this.#purges = []
    this.#wants = []
    this.#phase = 'turning'
    writeSign(this.#tools.writer(), PeerOpcode.RoundTurn, this.id)
    this.#tools.send(this.link)
    return false
  }

  #compareOne(slot: Slot, isIncluded: boolean): void {
    const { replica, forgetting, records } = this.#tools
    const { head, hash } = this.#digest
    const theirs = this.#theirs.get(hash)
    if (theirs === undefined) {
      if (!isIncluded) return
      // In a full round the other end's list is all it holds.
      if (this.full && head.hlc <= this.#theirGap) forgetting.purge(slot)
      else records.add(slot)
      return
    }
    this.#theirs.delete(hash)
    const origin = replica.origins.idOf(head.origin)
    if (isNewer(head.hlc, origin, head.kind, theirs.hlc, theirs.origin, theirs.kind)) records.add(slot)
    else if (theirs.hlc !== head.hlc || theirs.origin !== origin || theirs.kind !== head.kind)
      if (isNewer(theirs.hlc, theirs.origin, theirs.kind, head.hlc, origin, head.kind))
        this.#wants.push(theirs.seq)
  }

  /** What the other end holds and this one did not meet. */
  #takeUnmet(): void {
    for (const { hlc, seq } of this.#theirs.values())
      if (this.full && hlc <= this.#gap) this.#purges.push(seq)
      else this.#wants.push(seq)
    this.#theirs.clear()
  }

  #sendNumbers(opcode: typeof PeerOpcode.RoundPurge | typeof PeerOpcode.RoundWant, numbers: number[]): void {
    for (let at = 0; at < numbers.length; at += SEQS_MAX) {
      writeNumbers(this.#tools.writer(), opcode, this.id, numbers.slice(at, at + SEQS_MAX))
      this.#tools.send(this.link)
    }
  }

  /** The other end has sent everything that was wanted of this group. */
  onTurn(): void {
    if (this.#phase === 'turning') this.#nextGroup()
  }

  /** The other end has completed the round too: only now is it sure that it does not take back what was forgotten here. */
  onClose(): void {
    if (this.#phase !== 'closing') return
    this.isDone = true
    this.#tools.complete(this.link, this.#startSeq, this.full)
  }
}
