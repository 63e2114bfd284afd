// The arena store's records in order, and what they count and cost: values by recency of use, markers by age.
//
// Between the store's policy and the links in the records. A flush counts as gone at once what it covers: everything,
// in a few steps, or else the markers alone, which are looked through, since they are few; then values count until the
// purge meets them. Flushed markers stand in no list any more, so that whoever walks the markers, many times while a
// purge goes on, meets none of them: the purge finds them in the change log.
//
// Invariant: every other record is in exactly one list, and counted there; all are charged until they leave.

import { ArenaList } from './arena-list.ts'
import type { ArenaMemory } from './arena-memory.ts'
import { keyBytesOf, TIMED, VALUE_BYTES } from './arena-record.ts'
import type { ArenaRecords } from './arena-records.ts'
import { chargeOf, TIMED_CHARGE_BYTES } from './charge.ts'
import { NO_SLOT, RecordKind, type Slot } from './store.ts'

export class ArenaLists {
  readonly #records: ArenaRecords
  readonly values: ArenaList
  readonly markers: ArenaList

  /** Values, but for those known to be flushed. */
  entries = 0
  #flushedEntries = 0
  ghosts = 0
  tombstones = 0
  /** Key and value bytes of all values, flushed or not. */
  dataBytes = 0
  /** What all records cost, flushed or not … */
  chargedBytes = 0
  /** … and of it markers, … */
  markerBytes = 0
  /** … and flushed markers. */
  flushedMarkerBytes = 0

  constructor(memory: ArenaMemory, records: ArenaRecords) {
    this.#records = records
    this.values = new ArenaList(memory)
    this.markers = new ArenaList(memory)
  }

  /** As the most recently used value, or the youngest marker. */
  enter(slot: Slot): void {
    const kind = this.#records.kind(slot)
    const charge = this.chargeOf(slot)
    this.chargedBytes += charge
    if (kind === RecordKind.Value) {
      this.values.addNewest(slot)
      this.entries++
      this.dataBytes += this.#payloadBytes(slot)
    } else {
      this.markers.addNewest(slot)
      this.markerBytes += charge
      this.#countMarker(kind, 1)
    }
  }

  leave(slot: Slot): void {
    const kind = this.#records.kind(slot)
    const charge = this.chargeOf(slot)
    this.chargedBytes -= charge
    if (kind === RecordKind.Value) {
      this.values.remove(slot)
      this.entries--
      this.dataBytes -= this.#payloadBytes(slot)
    } else {
      this.markers.remove(slot)
      this.markerBytes -= charge
      this.#countMarker(kind, -1)
    }
  }

  /** As `leave`, for a flushed record. */
  leaveFlushed(slot: Slot): void {
    const charge = this.chargeOf(slot)
    this.chargedBytes -= charge
    if (this.#records.kind(slot) === RecordKind.Value) {
      this.values.remove(slot)
      if (this.#flushedEntries > 0) this.#flushedEntries--
      else this.entries--
      this.dataBytes -= this.#payloadBytes(slot)
    } else {
      this.flushedMarkerBytes -= charge
    }
  }

  /** A marker that is overwritten where it is, at the same charge, becomes the youngest. */
  renewMarker(slot: Slot, kind: RecordKind): void {
    this.markers.remove(slot)
    this.markers.addNewest(slot)
    this.#countMarker(this.#records.kind(slot), -1)
    this.#countMarker(kind, 1)
  }

  /** Everything is flushed. */
  flushAll(): void {
    this.#flushedEntries += this.entries
    this.entries = 0
    this.markers.clear()
    this.flushedMarkerBytes += this.markerBytes
    this.markerBytes = 0
    this.ghosts = 0
    this.tombstones = 0
  }

  /** What is stamped at or below the watermark is flushed, and something is not. */
  flushSome(watermark: number): void {
    for (let slot = this.markers.oldest; slot !== NO_SLOT; ) {
      const newer = this.markers.newer(slot)
      if (this.#records.hlc(slot) <= watermark) {
        this.markers.remove(slot)
        const charge = this.chargeOf(slot)
        this.markerBytes -= charge
        this.flushedMarkerBytes += charge
        this.#countMarker(this.#records.kind(slot), -1)
      }
      slot = newer
    }
  }

  /** What a record costs, or would cost with a value of another size. */
  chargeOf(slot: Slot, valueBytes: number = this.#records.word(slot, VALUE_BYTES)): number {
    const word0 = this.#records.word(slot, 0)
    return chargeOf(keyBytesOf(word0), valueBytes, (word0 & TIMED) === 0 ? 0 : TIMED_CHARGE_BYTES)
  }

  #payloadBytes(slot: Slot): number {
    return keyBytesOf(this.#records.word(slot, 0)) + this.#records.word(slot, VALUE_BYTES)
  }

  #countMarker(kind: RecordKind, by: 1 | -1): void {
    if (kind === RecordKind.Ghost) this.ghosts += by
    else this.tombstones += by
  }
}
