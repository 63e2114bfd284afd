// Who else holds the data: the members of this cluster as this server knows them.
//
// Between messages that name servers and the rules that ask "does every member know this record?". A member is known
// by its label (node id), which survives restarts; its boot id tells one life of it from the next. A listed address
// that was never reached is a member without a boot: it may hold old data, so nothing counts as known to it.

import { MEMBERS_MAX } from '../../protocol/limits.ts'
import type { BootId } from '../origins.ts'

/** What a member's PING says of another: the highest own hlc up to which that one acknowledged everything. */
export interface Acknowledged {
  boot: BootId
  hlc: number
}

/** By label. Never changed once it is received: a newer one takes its place. */
export type Vector = ReadonlyMap<string, Acknowledged>
export const NO_VECTOR: Vector = new Map()

/** What is known of what a member knows; a copy of it is a point in time (see knowledge.ts). */
export interface MemberKnowledge {
  readonly label: string
  /** Its present boot; undefined before it was reached. */
  boot: BootId | undefined
  /** It has everything that this boot stamped, up to this local sequence number. */
  acked: number
  /** It has everything up to this local sequence number, as the last completed round showed. */
  agreed: number
  vector: Vector
}

export class Member implements MemberKnowledge {
  readonly label: string
  /** Where it listens, `host:port`; undefined if only it dials. */
  address: string | undefined
  region = ''
  boot: BootId | undefined
  /** Before it was reached: the boot that others last saw it in. */
  heardBoot: BootId | undefined
  acked = 0
  /** Highest own hlc up to which it acknowledged everything. */
  ackedHlc = 0
  agreed = 0
  /** Whether a round with this boot of it was ever completed. */
  met = false
  vector: Vector = NO_VECTOR
  /** What it stamped in its present boot has been applied here up to this sequence number of its. */
  receivedSeq = 0
  /** Up to this hlc, markers were dropped that it may not know; 0 = none. */
  gap = 0
  /** The part of the gap that arose since the present round began. */
  gapSinceRound = 0
  /** Monotonic time when it was last heard of, directly or through another, in ms. */
  seenMs: number

  constructor(label: string, seenMs: number) {
    this.label = label
    this.seenMs = seenMs
  }

  /** Another life of it begins here: it knows nothing that is not shown anew. `horizon`: this server's. */
  begin(boot: BootId, horizon: number): void {
    this.boot = boot
    this.acked = 0
    this.ackedHlc = 0
    this.agreed = 0
    this.met = false
    this.vector = NO_VECTOR
    this.receivedSeq = 0
    this.gap = horizon
    this.gapSinceRound = horizon
  }

  /**
   * This server has a new boot: what was acknowledged to the former does not count any more. A gap above `now` would have
   * the member drop, and refuse, whatever is written until then.
   */
  beginAnew(now: number): void {
    this.acked = 0
    this.ackedHlc = 0
    this.gap = Math.min(this.gap, now)
    this.gapSinceRound = Math.min(this.gapSinceRound, now)
  }

  /** A marker is dropped that it may not know. */
  missed(hlc: number): void {
    if (hlc > this.gap) this.gap = hlc
    if (hlc > this.gapSinceRound) this.gapSinceRound = hlc
  }
}

/** Labels and addresses that are remembered although they are not, or no longer, members. */
const REMEMBERED_MAX = MEMBERS_MAX

/** A server as members name it to each other. */
export interface MemberNews {
  label: string
  address: string | undefined
  boot: BootId | undefined
  /** How long ago the sender last heard of it, in ms. */
  unseenMs: number
}

/** A server that was removed, with `peers forget` or because it was unseen for too long. */
export interface Removed {
  label: string
  /** The life that was removed: the label may come back as another one, empty. */
  boot: BootId
}

export class Members {
  /** What this server is called: nobody else may be. */
  ownLabel: string
  readonly #byLabel = new Map<string, Member>()
  readonly #byBoot = new Map<BootId, Member>()
  /** Label by boot; the first are the oldest. */
  readonly #removed = new Map<BootId, string>()
  /** Addresses that turned out to be members with labels of their own. The first are the oldest. */
  readonly #resolved = new Set<string>()
  readonly #forgetMs: number

  /** `forgetMs`: a member unseen for so long is none any more. */
  constructor(ownLabel: string, forgetMs: number) {
    this.ownLabel = ownLabel
    this.#forgetMs = forgetMs
  }

  get size(): number {
    return this.#byLabel.size
  }

  [Symbol.iterator](): IterableIterator<Member> {
    return this.#byLabel.values()
  }

  get(label: string): Member | undefined {
    return this.#byLabel.get(label)
  }

  /** The member whose present boot this is. */
  ofBoot(boot: BootId): Member | undefined {
    return this.#byBoot.get(boot)
  }

  /** Whether one more would be too many. */
  get isFull(): boolean {
    return this.#byLabel.size >= MEMBERS_MAX
  }

  /** A member by its label, new if need be; undefined when there are too many. */
  admit(label: string, nowMs: number): Member | undefined {
    const known = this.#byLabel.get(label)
    if (known !== undefined) return known
    if (this.isFull || label === this.ownLabel) return undefined
    const member = new Member(label, nowMs)
    this.#byLabel.set(label, member)
    return member
  }

  /** A member's boot, as it said itself. A new one ends the former at once. */
  begin(member: Member, boot: BootId, horizon: number): void {
    if (member.boot === boot) return
    if (member.boot !== undefined) this.#byBoot.delete(member.boot)
    member.begin(boot, horizon)
    this.#byBoot.set(boot, member)
  }

  /** An address that stood for an unknown server turned out to be a member with a label, or this server itself. */
  resolve(address: string): void {
    this.#resolved.add(address)
    dropOldest(this.#resolved)
    if (this.#byLabel.get(address)?.boot === undefined) this.drop(address)
  }

  /** Drops one, without a word to others. */
  drop(label: string): void {
    const member = this.#byLabel.get(label)
    if (member?.boot !== undefined) this.#byBoot.delete(member.boot)
    this.#byLabel.delete(label)
  }

  /**
   * Removes members unseen for too long. What was deleted in the meantime may be forgotten from now on: should such a
   * life of a server come back, with what it holds, it must not be let in.
   */
  expire(nowMs: number): Member[] {
    const gone = [...this].filter((member) => nowMs - member.seenMs > this.#forgetMs)
    for (const { label, boot, heardBoot } of gone) {
      const known = boot ?? heardBoot
      if (known === undefined) this.drop(label)
      else this.remove({ label, boot: known })
    }
    return gone
  }

  /** It is no member any more, and this boot of it never again. False if that is known. */
  remove({ label, boot }: Removed): boolean {
    if (this.#removed.has(boot)) return false
    this.#removed.set(boot, label)
    dropOldest(this.#removed)
    const member = this.#byLabel.get(label)
    // Known from hearsay alone, it was this life of it that was heard of.
    if (member !== undefined && (member.boot ?? boot) === boot) this.drop(label)
    return true
  }

  isRemoved(boot: BootId): boolean {
    return this.#removed.has(boot)
  }

  /** All that were removed lately, to be passed on. */
  removed(): Removed[] {
    return [...this.#removed].map(([boot, label]) => ({ label, boot }))
  }

  /** What to tell others. */
  news(nowMs: number): MemberNews[] {
    return [...this].map(({ label, address, boot, seenMs }) => ({
      label,
      address,
      boot,
      unseenMs: Math.max(0, nowMs - seenMs),
    }))
  }

  /**
   * Hears of servers from another one. Returns those that are new here. What it says of their boots is hearsay and not
   * used: only a HELLO begins a boot.
   */
  hear(news: readonly MemberNews[], nowMs: number, ownAddress: string | undefined): Member[] {
    const found: Member[] = []
    for (const { label, address, boot, unseenMs } of news) {
      if (label === '' || label === this.ownLabel || unseenMs > this.#forgetMs) continue
      if (boot === undefined ? this.#isNoNews(label, ownAddress) : this.isRemoved(boot)) continue
      if (address !== undefined && address !== label) this.resolve(address)
      const known = this.#byLabel.has(label)
      const member = this.admit(label, nowMs - unseenMs)
      if (member === undefined) continue
      if (!known) found.push(member)
      member.address ??= address
      member.heardBoot = boot ?? member.heardBoot
      member.seenMs = Math.max(member.seenMs, nowMs - unseenMs)
    }
    return found
  }

  /** Whether a server of which only a name is known is one that is known better here. */
  #isNoNews(name: string, ownAddress: string | undefined): boolean {
    if (name === ownAddress || this.#resolved.has(name)) return true
    for (const { label, address } of this) if (address === name && label !== name) return true
    for (const label of this.#removed.values()) if (label === name) return true
    return false
  }
}

function dropOldest<Key>(from: Map<Key, unknown> | Set<Key>): void {
  for (const oldest of from.keys()) {
    if (from.size <= REMEMBERED_MAX) return
    from.delete(oldest)
  }
}
