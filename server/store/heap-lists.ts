// The heap store's records in order, and what they count and cost: values by recency of use, markers by age, and what
// was flushed.
//
// Between the store's policy and the links in the records. A flush takes what it covers out of the other two lists and
// out of what counts, at once; the purge then takes its time.
//
// Invariant: a record is in exactly one list; it is in the tally of the flushed if it is in their list, else in that of
// the visible.

import { chargeOfRecord, type HeapRecord } from './heap-record.ts'
import { RecordKind } from './store.ts'

export class HeapLists {
  readonly values = new RecordList()
  readonly markers = new RecordList()
  readonly flushed = new RecordList()
  /** Of values and markers that nobody flushed. */
  readonly visible = new Tally()
  readonly flushedTally = new Tally()
  /** What is stamped at or below it was flushed. It is lowered only while nothing flushed is left. */
  watermark = -1
  /** The highest hlc ever entered: a watermark at or above it leaves nothing. */
  #hlcMax = -1

  /** What all records cost, in bytes. */
  get chargedBytes(): number {
    return this.visible.chargedBytes + this.flushedTally.chargedBytes
  }

  isFlushed(record: HeapRecord): boolean {
    return record.hlc <= this.watermark
  }

  /** As the most recently used value, or the youngest marker. */
  enter(record: HeapRecord): void {
    this.#listOf(record).addNewest(record)
    this.#tallyOf(record).add(record)
    if (record.hlc > this.#hlcMax) this.#hlcMax = record.hlc
  }

  leave(record: HeapRecord): void {
    this.#listOf(record).remove(record)
    this.#tallyOf(record).subtract(record)
  }

  /** Raises the watermark. */
  flush(watermark: number): void {
    // The usual flush is stamped now and leaves nothing: only one that is late has to look at what it leaves.
    if (watermark >= this.#hlcMax) {
      this.flushed.takeAll(this.values)
      this.flushed.takeAll(this.markers)
      this.flushedTally.takeAll(this.visible)
    } else {
      this.#setAside(this.values, watermark)
      this.#setAside(this.markers, watermark)
    }
    this.watermark = watermark
  }

  #setAside(list: RecordList, watermark: number): void {
    for (let record = list.oldest; record !== undefined; ) {
      const { newer } = record
      if (record.hlc <= watermark) {
        list.remove(record)
        this.visible.subtract(record)
        this.flushed.addNewest(record)
        this.flushedTally.add(record)
      }
      record = newer
    }
  }

  #listOf(record: HeapRecord): RecordList {
    if (this.isFlushed(record)) return this.flushed
    return record.kind === RecordKind.Value ? this.values : this.markers
  }

  #tallyOf(record: HeapRecord): Tally {
    return this.isFlushed(record) ? this.flushedTally : this.visible
  }
}

/** Records from oldest to newest. */
export class RecordList {
  oldest: HeapRecord | undefined
  newest: HeapRecord | undefined

  addNewest(record: HeapRecord): void {
    record.older = this.newest
    record.newer = undefined
    if (this.newest === undefined) this.oldest = record
    else this.newest.newer = record
    this.newest = record
  }

  remove(record: HeapRecord): void {
    if (record.older === undefined) this.oldest = record.newer
    else record.older.newer = record.newer
    if (record.newer === undefined) this.newest = record.older
    else record.newer.older = record.older
    record.older = undefined
    record.newer = undefined
  }

  /** Takes over all records of another list, as newer than its own. */
  takeAll(from: RecordList): void {
    if (from.oldest === undefined) return
    from.oldest.older = this.newest
    if (this.newest === undefined) this.oldest = from.oldest
    else this.newest.newer = from.oldest
    this.newest = from.newest
    from.oldest = undefined
    from.newest = undefined
  }
}

/** How many records there are of each kind, and what they cost. */
export class Tally {
  values = 0
  ghosts = 0
  tombstones = 0
  /** Key and value bytes of values. */
  dataBytes = 0
  chargedBytes = 0
  /** The part of chargedBytes that ghosts and tombstones cost. */
  markerBytes = 0

  add(record: HeapRecord): void {
    this.#count(record, 1)
  }

  subtract(record: HeapRecord): void {
    this.#count(record, -1)
  }

  /** Takes over all that another tally counts. */
  takeAll(from: Tally): void {
    this.values += from.values
    this.ghosts += from.ghosts
    this.tombstones += from.tombstones
    this.dataBytes += from.dataBytes
    this.chargedBytes += from.chargedBytes
    this.markerBytes += from.markerBytes
    Object.assign(from, new Tally())
  }

  #count(record: HeapRecord, by: 1 | -1): void {
    if (record.kind === RecordKind.Value) {
      this.values += by
      this.dataBytes += by * (record.key.length + record.value.length)
    } else if (record.kind === RecordKind.Ghost) {
      this.ghosts += by
    } else {
      this.tombstones += by
    }
    const charge = chargeOfRecord(record)
    this.chargedBytes += by * charge
    if (record.kind !== RecordKind.Value) this.markerBytes += by * charge
  }
}
