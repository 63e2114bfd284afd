// This server's own records by key: for those who waited for a write that was overwritten in the meantime.

import { emptyHead, NO_SLOT, type Slot, type Store } from '../store/store.ts'
import type { Replica } from './replica.ts'

/** A copy of a record's key. */
export function keyAt(store: Store, slot: Slot): Uint8Array {
  if (slot === NO_SLOT) return new Uint8Array(0)
  const key = new Uint8Array(store.keyBytes(slot))
  store.copyKey(slot, key, 0)
  return key
}

/**
 * The stamp of the oldest record after a sequence number that this server wrote; 0 if there is none, undefined if more
 * than `most` records would have to be looked at to find it.
 */
export function firstOwnHlc({ store, origins }: Replica, afterSeq: number, most: number): number | undefined {
  const head = emptyHead()
  let seq = afterSeq
  for (let left = most; left >= 0; left--) {
    const slot = store.next(seq)
    if (slot === NO_SLOT) return 0
    store.head(slot, head)
    if (head.origin === origins.self) return head.hlc
    seq = head.seq
  }
  return undefined
}

/** The sequence number of the record of a key, if this server wrote it; else 0. */
export function ownSeqOf({ store, origins }: Replica, key: Uint8Array): number {
  const span = { bytes: key, at: 0, length: key.length }
  const slot = store.find(store.hash(span), span)
  if (slot === NO_SLOT) return 0
  const head = emptyHead()
  store.head(slot, head)
  return head.origin === origins.self ? head.seq : 0
}
