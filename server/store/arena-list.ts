// A doubly linked list of records through two words of their heads: newest first, oldest last.
//
// Which lists there are, and what is in them, is told by arena-lists.ts. A record is in at most one.

import { type ArenaMemory, SEGMENT_MASK, SEGMENT_UNITS_LOG2 } from './arena-memory.ts'
import { LIST_AFTER, LIST_BEFORE } from './arena-record.ts'
import { NO_SLOT, type Slot } from './store.ts'

export class ArenaList {
  readonly #memory: ArenaMemory
  newest: Slot = NO_SLOT
  oldest: Slot = NO_SLOT

  constructor(memory: ArenaMemory) {
    this.#memory = memory
  }

  newer(slot: Slot): Slot {
    return this.#words(slot)[((slot & SEGMENT_MASK) << 1) + LIST_BEFORE] as number
  }

  addNewest(slot: Slot): void {
    const words = this.#words(slot)
    const index = (slot & SEGMENT_MASK) << 1
    const former = this.newest
    words[index + LIST_BEFORE] = NO_SLOT
    words[index + LIST_AFTER] = former
    this.newest = slot
    if (former === NO_SLOT) this.oldest = slot
    else this.#words(former)[((former & SEGMENT_MASK) << 1) + LIST_BEFORE] = slot
  }

  remove(slot: Slot): void {
    const words = this.#words(slot)
    const index = (slot & SEGMENT_MASK) << 1
    const before = words[index + LIST_BEFORE] as number
    const after = words[index + LIST_AFTER] as number
    if (before === NO_SLOT) this.newest = after
    else this.#words(before)[((before & SEGMENT_MASK) << 1) + LIST_AFTER] = after
    if (after === NO_SLOT) this.oldest = before
    else this.#words(after)[((after & SEGMENT_MASK) << 1) + LIST_BEFORE] = before
  }

  /** Lets go of all records; their links are left as they are. */
  clear(): void {
    this.newest = NO_SLOT
    this.oldest = NO_SLOT
  }

  #words(slot: Slot): Uint32Array {
    return this.#memory.words[slot >>> SEGMENT_UNITS_LOG2] as Uint32Array
  }
}
