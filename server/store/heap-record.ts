// What the heap store keeps for a record, and how it finds one: by slot or by key.
//
// Knows neither order, limits nor time. A key keeps its slot from the day it comes to the day its record is removed.

import { chargeOf, type TimedBytes } from './charge.ts'
import { FIRST_SLOT, RecordKind, type Slot } from './store.ts'

export interface HeapRecord {
  readonly slot: Slot
  /** The key's bytes, one per character. */
  readonly key: string
  kind: RecordKind
  flags: number
  hlc: number
  origin: number
  seq: number
  expiresAtMs: number
  lifetimeMs: number
  /** What it is charged for times: as it was written, whatever becomes of its expiry. */
  timedBytes: TimedBytes
  value: Uint8Array
  newer: HeapRecord | undefined
  older: HeapRecord | undefined
  wheelNext: number
  wheelPrev: number
}

/** The value of everything that has none. */
export const noBytes = new Uint8Array(0)

/** Bytes charged for a record as it is. */
export function chargeOfRecord(record: HeapRecord): number {
  return chargeOf(record.key.length, record.value.length, record.timedBytes)
}

/** Bytes that would be charged for it as a ghost or tombstone. */
export function chargeOfMarker(record: HeapRecord): number {
  return chargeOf(record.key.length, 0, record.timedBytes)
}

/** All records, by slot and by key. Slots are given out from FIRST_SLOT on; those of removed records first. */
export class HeapRecords {
  readonly #bySlot: (HeapRecord | undefined)[] = []
  readonly #byKey = new Map<string, HeapRecord>()
  readonly #freeSlots: Slot[] = []

  /** Above every slot ever given out. */
  get endSlot(): Slot {
    return FIRST_SLOT + this.#bySlot.length
  }

  /** The record of a slot. Throws when there is none: somebody kept a slot for too long. */
  at(slot: Slot): HeapRecord {
    const record = this.peek(slot)
    if (record === undefined) throw new Error(`slot ${slot} names no record`)
    return record
  }

  peek(slot: Slot): HeapRecord | undefined {
    return this.#bySlot[slot - FIRST_SLOT]
  }

  byKey(key: string): HeapRecord | undefined {
    return this.#byKey.get(key)
  }

  /** An empty record under a key that has none yet. */
  create(key: string): HeapRecord {
    const slot = this.#freeSlots.pop() ?? this.endSlot
    const record: HeapRecord = {
      slot,
      key,
      kind: RecordKind.Value,
      flags: 0,
      hlc: 0,
      origin: 0,
      seq: 0,
      expiresAtMs: 0,
      lifetimeMs: 0,
      timedBytes: 0,
      value: noBytes,
      newer: undefined,
      older: undefined,
      wheelNext: 0,
      wheelPrev: 0,
    }
    this.#bySlot[slot - FIRST_SLOT] = record
    this.#byKey.set(key, record)
    return record
  }

  remove(record: HeapRecord): void {
    this.#bySlot[record.slot - FIRST_SLOT] = undefined
    this.#byKey.delete(record.key)
    this.#freeSlots.push(record.slot)
  }
}
