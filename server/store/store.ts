// What a record store is, to handlers above it and to the two implementations below it.
//
// A store keeps records by key, in exact LRU order, within a limit of entries and of bytes; it forgets what has
// expired before it evicts anything live; it is also its own replication log: each record stands once in a change
// log, at its latest local sequence number. It knows no network, no protocol, no timers and no wall clock: the time
// of day comes with every call that needs it (`nowMs`, milliseconds since 1970).
//
// A slot names a record. It is valid until the next call that may change the store (put, strip, forget, sweep, …).

/** A view of `length` bytes from `at`; reused by its owner, never kept across calls. */
export interface Span {
  bytes: Uint8Array
  /** The same bytes, where whoever lends them has such a view: it reads whole words. */
  view?: DataView | undefined
  at: number
  length: number
}

/** Names a record; an unsigned 32-bit integer. */
export type Slot = number
/** No record. */
export const NO_SLOT = 0
/** Lower numbers are never slots: the expiry wheel uses them for its own buckets. */
export const FIRST_SLOT = 2048

export const RecordKind = {
  /** Has a value. */
  Value: 0,
  /** The version of a value whose bytes were evicted or expired here, while other servers may still hold an older one. */
  Ghost: 1,
  /** The version of a delete. */
  Tombstone: 2,
} as const
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind]

/** Everything about a record but its key and value bytes. Filled by `head`, read by `put`. */
export interface RecordHead {
  kind: RecordKind
  /** ValueFlags of the protocol; opaque here. 0 to 255. */
  flags: number
  /** Hybrid logical clock of the version, a safe integer. */
  hlc: number
  /** Index of the version's origin in the table of origins, 0 to 65535; 0 is this server. */
  origin: number
  /** Local sequence number: given by `put`, ignored in its argument. */
  seq: number
  /** When it expires, in ms since 1970; 0 = never. An integer below 2^48. */
  expiresAtMs: number
  /** The time to live it was written with, in ms, for renewal; 0 = none. An integer below 2^48. */
  lifetimeMs: number
  keyBytes: number
  /** Value size in bytes; 0 for ghosts and tombstones. */
  valueBytes: number
}

export function emptyHead(): RecordHead {
  return {
    kind: RecordKind.Value,
    flags: 0,
    hlc: 0,
    origin: 0,
    seq: 0,
    expiresAtMs: 0,
    lifetimeMs: 0,
    keyBytes: 0,
    valueBytes: 0,
  }
}

/** Why a record left the store. */
export type Removal = 'evicted' | 'expired' | 'deleted' | 'flushed'

/** Replication's say in forgetting. Asked with a slot before a value is evicted or expires, or a delete leaves no trace. */
export interface Retention {
  /** false: keep its version (as a ghost or tombstone), since some server may not know it yet. */
  mayForget(slot: Slot): boolean
  /** Flags of a ghost that is made now, where replication notes its age; left out: 0. */
  readonly markerFlags?: number
}

/** Alone, nobody else can bring an old value back: everything may be forgotten. */
export const forgetFreely: Retention = { mayForget: () => true }

export interface StoreOptions {
  /** Most live values; at least 1; Infinity = bounded by bytes alone. */
  entriesMax: number
  /** Most bytes, every overhead charged as charge.ts says; Infinity = bounded by entries alone (heap store only). */
  bytesMax: number
  /** At least 8 secret random bytes that key the hash of the table, so that nobody can choose colliding keys. */
  hashKey: Uint8Array
}

export interface StoreStats {
  /** Live or not yet noticed expired values; and flushed ones, if the flush left something, until they are purged. */
  entries: number
  ghosts: number
  tombstones: number
  /** Key and value bytes of values. */
  dataBytes: number
  /** What is charged beyond dataBytes. */
  overheadBytes: number
  /** dataBytes + overheadBytes; never above bytesMax. */
  usedBytes: number
  evictions: number
  expirations: number
}

export interface Store {
  retention: Retention

  /** Keyed hash of a key: a signed 32-bit integer (so that V8 never boxes it). */
  hash(key: Span): number

  /** A hint: the first `count` of these hashes are about to be looked up. Changes nothing. */
  warm(hashes: Int32Array, count: number): void

  /** The record of this key, of any kind, expired or not; NO_SLOT if there is none. Changes nothing. */
  find(hash: number, key: Span): Slot
  /** The record of this key if it is a value that can be served; one that has expired is removed and counted. */
  findLive(hash: number, key: Span, nowMs: number): Slot
  /** Makes it the most recently used. Only for values. */
  touch(slot: Slot): void

  /** The whole head into `into`, which the caller owns. */
  head(slot: Slot, into: RecordHead): void
  kind(slot: Slot): RecordKind
  flags(slot: Slot): number
  valueBytes(slot: Slot): number
  keyBytes(slot: Slot): number
  expiresAtMs(slot: Slot): number
  /** Copies the value's bytes to `target` (`view` shows the same bytes) from `at` on; the caller made sure of the room. */
  copyValue(slot: Slot, target: Uint8Array, at: number, view?: DataView): void
  copyKey(slot: Slot, target: Uint8Array, at: number): void

  /**
   * Writes a record at the tail of the change log and makes it the most recently used.
   * `slot` is what `find` said for this key: that record is replaced. Key and value are copied.
   * Makes room first: what is due to expire goes before anything live is evicted.
   * Returns the new slot, or NO_SLOT if it cannot fit: it is larger than the limit, or what retention keeps leaves no
   * room. Then nothing has changed. Throws a RangeError if its hlc is not above the watermark: nobody would see it.
   */
  put(hash: number, slot: Slot, key: Span, value: Span, head: RecordHead, nowMs: number): Slot

  /** Renewal: moves the expiry of a record that has one. No new version, no new sequence number. */
  setExpiry(slot: Slot, expiresAtMs: number): void
  /**
   * Drops the value's bytes and keeps its version as a ghost or a tombstone, the youngest marker; leaves its change log
   * position alone. A marker may be stripped too, to change its kind or flags. `flags` left out: as they are.
   */
  strip(slot: Slot, kind: typeof RecordKind.Ghost | typeof RecordKind.Tombstone, flags?: number): void
  /**
   * Whether a put of a new value of these sizes would remove nothing. `timed`: it has an expiry or a lifetime. What has
   * expired, and bytes that were flushed, are in the way until they are swept. Changes nothing.
   */
  fits(keyBytes: number, valueBytes: number, timed: boolean): boolean
  /** Removes the record without a trace. */
  forget(slot: Slot, why: Removal): void

  /**
   * Everything with hlc ≤ watermark is gone at once; `sweep` purges it in slices. A lower watermark than the present one
   * changes nothing.
   */
  flush(watermark: number): void
  /**
   * Takes back a flush that was stamped in the future, by a clock that was wrong: what it covers is purged, at once and
   * not in slices, and does not come back; then the watermark is lowered to `to`, unless it is lower. What is put from
   * now on with an hlc above `to` stays, also below the former watermark.
   */
  resetWatermark(to: number): void

  /**
   * Does up to about `budget` small pieces of upkeep (expired records, flushed records, index slices). To be called
   * regularly. Returns how many pieces it did: as many as the budget means that there is more to do.
   */
  sweep(nowMs: number, budget: number): number

  /** The record at the lowest sequence number above `afterSeq`, of any kind; NO_SLOT at the end. */
  next(afterSeq: number): Slot
  /** Sequence number of the last write; 0 before the first. */
  readonly tailSeq: number

  /**
   * Visits values in an order of its own from `cursor` on (0 = from the start), about `count` at the most (a page may
   * be empty: the work of a call is bounded), and returns the cursor to go on from, which is above `cursor` (0 = that
   * was all). Changes in between are fine: a key that is there from the first call to the last is visited at least
   * once, and a scan always ends.
   * `visit` must not change the store.
   */
  scan(cursor: number, count: number, nowMs: number, visit: (slot: Slot) => void): number

  /**
   * The least recently used value, or NO_SLOT. Until they are purged, flushed values may have to be passed: where there
   * are more than `flushedMax`, it may be NO_SLOT instead; left out, all are passed.
   */
  oldest(flushedMax?: number): Slot
  /** The next more recently used value after this one, or NO_SLOT: with `oldest`, the LRU order. */
  newer(slot: Slot): Slot

  /** The marker (ghost or tombstone) that was put or stripped first, or NO_SLOT. */
  oldestMarker(): Slot
  /** The marker that was put or stripped next after this one, or NO_SLOT: with `oldestMarker`, all of them by age. */
  newerMarker(slot: Slot): Slot
  /** What is charged for the markers that these two walk, in bytes: nothing flushed. */
  readonly markerBytes: number

  stats(): StoreStats
}
