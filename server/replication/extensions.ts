// EXTEND: a value that was renewed by a read here must not die where it is not read. Rule 11.
//
//   EXTEND [.., 0, [[key, hlc, origin, expiresAtMs]…]]
//
// Between reads, which renew, and the links. Coalesced per tick and key; told only when the end of a value's life has
// moved over a tenth of its lifetime, so that a hot key costs ten small messages per lifetime and not one per read.
// Nothing is acknowledged: a lost one is made up for by the next, or by anti-entropy.

import { PUSH_REQUEST_ID } from '../../protocol/limits.ts'
import { PeerOpcode } from '../../protocol/messages.ts'
import { emptyRange, type Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import { emptyHead, NO_SLOT, type RecordHead, type Slot } from '../store/store.ts'
import type { LinkState } from './link-state.ts'
import type { Merger } from './merge.ts'
import { Channel } from './peer-messages.ts'
import { readBoot, timeOf, writeBoot } from './records.ts'
import type { Replica } from './replica.ts'
import type { Send } from './stream.ts'

/** Told per tenth of a lifetime. */
const STEPS_PER_LIFETIME = 10
/** Renewals remembered until the next flush: bounds a burst. */
const PENDING_MAX = 4096
const FIELDS = 4
const ENTRY_HEAD_BYTES = 48

export class Extensions {
  readonly #replica: Replica
  readonly #merger: Merger
  readonly #send: Send
  readonly #writer = new Writer(16 * 1024)
  readonly #head: RecordHead = emptyHead()
  readonly #key = emptyRange()
  /** Sequence numbers: a record that has another one by then was written anew. */
  readonly #pending = new Set<number>()

  constructor(replica: Replica, merger: Merger, send: Send) {
    this.#replica = replica
    this.#merger = merger
    this.#send = send
  }

  /** The record at `slot` lives longer than it did. */
  add(slot: Slot, formerExpiresAtMs: number): void {
    const head = this.#head
    this.#replica.store.head(slot, head)
    const stepMs = Math.max(1, head.lifetimeMs / STEPS_PER_LIFETIME)
    if (Math.floor(head.expiresAtMs / stepMs) === Math.floor(formerExpiresAtMs / stepMs)) return
    if (this.#pending.size < PENDING_MAX) this.#pending.add(head.seq)
  }

  flush(links: Iterable<LinkState>): void {
    if (this.#pending.size === 0) return
    const { store, origins } = this.#replica
    const entries: Slot[] = []
    for (const seq of this.#pending) {
      const slot = store.next(seq - 1)
      if (slot === NO_SLOT) continue
      store.head(slot, this.#head)
      if (this.#head.seq === seq && this.#head.expiresAtMs !== 0) entries.push(slot)
    }
    this.#pending.clear()
    if (entries.length === 0) return
    const writer = this.#writer
    writer.at = 0
    writer.reserve(64)
    const start = writer.beginFrame(3)
    writer.int(PeerOpcode.Extend)
    writer.int(PUSH_REQUEST_ID)
    writer.array(entries.length)
    for (const slot of entries) {
      const head = this.#head
      store.head(slot, head)
      writer.reserve(ENTRY_HEAD_BYTES + head.keyBytes)
      writer.array(FIELDS)
      writer.stringHead(head.keyBytes)
      store.copyKey(slot, writer.bytes, writer.at)
      writer.at += head.keyBytes
      writer.int(head.hlc)
      writeBoot(writer, origins, head.origin)
      writer.int(head.expiresAtMs)
    }
    writer.endFrame(start)
    for (const link of links)
      if (link.refusedUntilMs === 0) this.#send(link, Channel.Stream, writer.bytes.subarray(0, writer.at))
  }

  receive(reader: Reader): void {
    reader.required('entries')
    for (let left = reader.array(); left > 0; left--) {
      let fields = reader.array() - FIELDS
      reader.range(this.#key)
      const hlc = reader.uint()
      const origin = readBoot(reader)
      const expiresAtMs = timeOf(reader.uint())
      while (fields-- > 0) reader.skip(0)
      this.#merger.extend(this.#key, hlc, origin, expiresAtMs)
    }
    reader.close()
  }
}
