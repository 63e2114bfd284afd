// Write concern: who waits for how many members to have a write, and when that is so. Rule 12.
//
// Between handlers that hold a reply back and the stream, which hears acknowledgements. A write counts at a member when
// a batch that it was in was acknowledged, and it was not declined. If this server overwrote it before it was sent, the
// newer one counts in its place. If another server did, nobody here knows who has that one, and it does not count.
// Nothing is rolled back: time over means unknown, and the answer says how many were counted.

import type { OnAcks } from '../writes.ts'

interface Waiter {
  /** Of the write, or of the newer one in its place. */
  seq: number
  readonly key: Uint8Array
  readonly wanted: number
  readonly untilMs: number
  readonly done: OnAcks
  readonly members: Set<string>
}

/** Own records that a member has applied: all of this server's between two sequence numbers, by their own. */
export interface AppliedBatch {
  fromSeq: number
  toSeq: number
  seqs: readonly number[]
  declined: ReadonlySet<number>
}

/** The sequence number of this server's own record of a key; 0 if there is none, or it is not this server's. */
export type OwnSeqOf = (key: Uint8Array) => number

export class Acks {
  readonly #ownSeqOf: OwnSeqOf
  #waiters: Waiter[] = []

  constructor(ownSeqOf: OwnSeqOf) {
    this.#ownSeqOf = ownSeqOf
  }

  get isWaiting(): boolean {
    return this.#waiters.length > 0
  }

  /** Writes whose answer is held back. */
  get count(): number {
    return this.#waiters.length
  }

  /** Waits until `wanted` members have the write of `key` at `seq`, or until the monotonic clock says `untilMs`. */
  wait(seq: number, key: Uint8Array, wanted: number, untilMs: number, done: OnAcks): void {
    this.#waiters.push({ seq, key, wanted, untilMs, done, members: new Set() })
  }

  /** A member has applied a batch. */
  onApplied(label: string, batch: AppliedBatch): void {
    const ready: Waiter[] = []
    for (const waiter of this.#waiters) {
      if (!this.#isIn(batch, waiter) || batch.declined.has(waiter.seq)) continue
      waiter.members.add(label)
      if (waiter.members.size >= waiter.wanted) ready.push(waiter)
    }
    this.#finish(ready)
  }

  #isIn({ fromSeq, toSeq, seqs }: AppliedBatch, waiter: Waiter): boolean {
    if (waiter.seq <= fromSeq || waiter.seq > toSeq) return false
    if (seqs.includes(waiter.seq)) return true
    const seq = this.#ownSeqOf(waiter.key)
    if (seq <= waiter.seq) return false
    waiter.seq = seq
    return seqs.includes(seq)
  }

  /** Lets those go whose time is over. */
  tick(monoMs: number): void {
    if (this.#waiters.length === 0) return
    this.#finish(this.#waiters.filter((waiter) => waiter.untilMs <= monoMs))
  }

  /** Everybody goes: the server closes, or has a new boot. */
  end(): void {
    this.#finish(this.#waiters)
  }

  #finish(ready: readonly Waiter[]): void {
    if (ready.length === 0) return
    const gone = new Set(ready)
    this.#waiters = this.#waiters.filter((waiter) => !gone.has(waiter))
    for (const waiter of ready) waiter.done(waiter.members.size)
  }
}
