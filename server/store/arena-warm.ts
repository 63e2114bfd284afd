// Touches the memory of records that are about to be looked up, so that the waits for it overlap.
//
// Between a batch of hashes and arena memory; changes nothing. A processor runs on past a load that misses its caches
// only until its window is full: a look-up is longer than that window, these loops are much shorter.

import type { ArenaIndex } from './arena-index.ts'
import { type ArenaMemory, SEGMENT_MASK, SEGMENT_UNITS_LOG2 } from './arena-memory.ts'
import { HASH, LIST_AFTER, LIST_BEFORE, NEXT_IN_BUCKET } from './arena-record.ts'
import { NO_SLOT } from './store.ts'

const BATCH_MAX = 256
/** A cache line, in words. */
const LINE_WORDS = 16

export class ArenaWarmer {
  readonly #memory: ArenaMemory
  readonly #index: ArenaIndex
  readonly #slots = new Uint32Array(BATCH_MAX)

  constructor(memory: ArenaMemory, index: ArenaIndex) {
    this.#memory = memory
    this.#index = index
  }

  warm(hashes: Int32Array, count: number): void {
    const slots = this.#slots
    const segments = this.#memory.words
    for (let i = 0; i < count; i++) slots[i] = this.#index.first(hashes[i] as number)
    let sum = 0
    for (let i = 0; i < count; i++) {
      const slot = slots[i] as number
      if (slot === NO_SLOT) continue
      const words = segments[slot >>> SEGMENT_UNITS_LOG2] as Uint32Array
      const index = (slot & SEGMENT_MASK) << 1
      // Not the one: most likely it is the next in its bucket.
      if (((words[index + HASH] as number) | 0) !== hashes[i])
        slots[i] = words[index + NEXT_IN_BUCKET] as number
      // The value's line; past the end of a segment there is nothing to read.
      sum += (words[index + LINE_WORDS] ?? 0) & 1
    }
    for (let i = 0; i < count; i++) {
      const slot = slots[i] as number
      if (slot === NO_SLOT) continue
      const words = segments[slot >>> SEGMENT_UNITS_LOG2] as Uint32Array
      const index = (slot & SEGMENT_MASK) << 1
      const before = words[index + LIST_BEFORE] as number
      const after = words[index + LIST_AFTER] as number
      sum +=
        ((segments[before >>> SEGMENT_UNITS_LOG2] as Uint32Array)[(before & SEGMENT_MASK) << 1] as number) & 1
      sum +=
        ((segments[after >>> SEGMENT_UNITS_LOG2] as Uint32Array)[(after & SEGMENT_MASK) << 1] as number) & 1
      sum += (words[index + 2 * LINE_WORDS] ?? 0) & 1
    }
    // Kept, or the reads would be left out as useless.
    slots[0] = sum
  }
}
