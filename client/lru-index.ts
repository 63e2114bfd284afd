// Which slot of an in-process cache holds a key, and which key a slot holds. Knows no values, order or time.
//
// To look up a key that was not used lately is to wait for memory, and a Map waits often: for entries, dead ones too, and
// for keys that are not the one asked for. So strings have a table of our own. A bucket is half a cache line, and eight
// bits of the hash tell which key is worth a look (figures: docs/performance.md):
//
//   bucket: 8 words, each 0 or hash bits 31..24 | slot (24 bits)      chosen by the lowest bits of the hash
//
// Scripts cannot ask for the hash that V8 keeps, and to hash costs 2 ns a character: the last eight must do. A string that
// finds no place in its bucket strays into a Map, where keys that are no strings are. So a lookup is bounded whoever
// chooses the keys; and where most strings end alike (`user:7:name`), the table closes and the Map has them all.

import { NO_SLOT } from './lru-recency.ts'

const WAYS_LOG2 = 3
const WAYS = 1 << WAYS_LOG2
const SLOT_MASK = 0xff_ffff
const TAG_MASK = ~SLOT_MASK
const BUCKETS_AT_FIRST = 16
/** Keys per bucket on the average. Beyond it the table doubles; at it one key in 100 strays. */
const FILL_MAX = 4
/** Keys of one bucket with the same tag: each has to be compared. */
const ALIKE_MAX = 2
/** The table closes when there are so many more strays than keys in it. */
const STRAYS_MORE_MAX = 64
const HASHED_CHARACTERS = 8

export class KeyIndex<K extends {}> {
  /** By slot; the first belongs to NO_SLOT, and keeps V8 from choosing arrays that can only hold numbers. */
  readonly #keys: (K | undefined)[] = [undefined]
  #count = 0
  readonly #map = new Map<K, number>()
  #state: 'open' | 'closed' = 'open'

  // The table; nothing of it is used once it is closed.
  #words = new Int32Array(BUCKETS_AT_FIRST * WAYS)
  #tableCount = 0
  /** By slot, of strings. */
  #hashes: Int32Array = new Int32Array(BUCKETS_AT_FIRST * FILL_MAX)
  /** By bucket. A miss need not ask the Map where this is 0. */
  #strays = new Int32Array(BUCKETS_AT_FIRST)
  #strayCount = 0

  /** Keys held. */
  get count(): number {
    return this.#count
  }

  /** The slot that holds the key; NO_SLOT if there is none. */
  find(key: K): number {
    if (typeof key === 'string' && this.#state === 'open') {
      const hash = hashOf(key)
      const words = this.#words
      const keys = this.#keys
      const first = firstWay(hash, words)
      for (let at = first; at < first + WAYS; at++) {
        const word = words[at] ?? 0
        // The word is compared with 0 to keep undefined from the comparison of keys, which is faster of two strings.
        if (((word ^ hash) & TAG_MASK) === 0 && word !== 0 && keys[word & SLOT_MASK] === key) {
          return word & SLOT_MASK
        }
      }
      if (this.#strays[first >> WAYS_LOG2] === 0) return NO_SLOT
    }
    return this.#map.get(key) ?? NO_SLOT
  }

  /** The key in a slot; undefined if there is none. */
  keyIn(slot: number): K | undefined {
    return this.#keys[slot]
  }

  /** Puts a key that is not there yet into a free slot: one that was in use, or the next number. */
  add(key: K, slot: number): void {
    // A Map ends there as well.
    if (slot > SLOT_MASK) throw new RangeError(`an LruCache holds at most ${SLOT_MASK} entries`)
    this.#keys[slot] = key
    this.#count++
    if (typeof key !== 'string' || this.#state === 'closed') {
      this.#map.set(key, slot)
      return
    }
    const hash = hashOf(key)
    if (slot >= this.#hashes.length) this.#hashes = widened(this.#hashes, slot)
    this.#hashes[slot] = hash
    if (this.#place(hash, slot)) {
      if (this.#tableCount > FILL_MAX * this.#strays.length) this.#double()
    } else {
      this.#map.set(key, slot)
      this.#countStray(hash, 1)
      if (this.#strayCount > this.#tableCount + STRAYS_MORE_MAX) this.#close()
    }
  }

  /** The slot no longer holds a key. */
  remove(slot: number): void {
    const key = this.#keys[slot]
    if (key === undefined) return
    this.#keys[slot] = undefined
    this.#count--
    if (typeof key === 'string' && this.#state === 'open') {
      const hash = this.#hashes[slot] ?? 0
      if (this.#displace(hash, slot)) return
      this.#countStray(hash, -1)
    }
    this.#map.delete(key)
  }

  /** @returns whether the bucket had a place; then it is taken */
  #place(hash: number, slot: number): boolean {
    const words = this.#words
    const first = firstWay(hash, words)
    let free = -1
    let alike = 0
    // Downwards, so that the lowest place is taken: `find` looks upwards.
    for (let at = first + WAYS - 1; at >= first; at--) {
      const word = words[at] ?? 0
      if (word === 0) free = at
      else if (((word ^ hash) & TAG_MASK) === 0) alike++
    }
    if (free < 0 || alike >= ALIKE_MAX) return false
    words[free] = (hash & TAG_MASK) | slot
    this.#tableCount++
    return true
  }

  /** @returns whether the slot was in the bucket; then its place is free */
  #displace(hash: number, slot: number): boolean {
    const words = this.#words
    const first = firstWay(hash, words)
    for (let at = first; at < first + WAYS; at++) {
      if (((words[at] ?? 0) & SLOT_MASK) !== slot) continue
      words[at] = 0
      this.#tableCount--
      return true
    }
    return false
  }

  #countStray(hash: number, change: 1 | -1): void {
    const bucket = firstWay(hash, this.#words) >> WAYS_LOG2
    this.#strays[bucket] = (this.#strays[bucket] ?? 0) + change
    this.#strayCount += change
  }

  /** A bucket's keys share two from now on, and its strays may find a place. */
  #double(): void {
    const words = new Int32Array(2 * this.#words.length)
    for (const word of this.#words) {
      if (word === 0) continue
      let at = firstWay(this.#hashes[word & SLOT_MASK] ?? 0, words)
      while (words[at] !== 0) at++
      words[at] = word
    }
    this.#words = words
    this.#strays = new Int32Array(2 * this.#strays.length)
    this.#strayCount = 0
    for (const [key, slot] of this.#map) {
      if (typeof key !== 'string') continue
      const hash = this.#hashes[slot] ?? 0
      if (this.#place(hash, slot)) this.#map.delete(key)
      else this.#countStray(hash, 1)
    }
  }

  #close(): void {
    for (const word of this.#words) {
      const key = this.#keys[word & SLOT_MASK]
      if (key !== undefined) this.#map.set(key, word & SLOT_MASK)
    }
    this.#state = 'closed'
    this.#words = new Int32Array(0)
    this.#hashes = new Int32Array(0)
    this.#strays = new Int32Array(0)
  }
}

/** Where the bucket for a hash begins. */
function firstWay(hash: number, words: Int32Array): number {
  return (hash << WAYS_LOG2) & (words.length - 1)
}

function hashOf(key: string): number {
  const length = key.length
  let hash = length
  for (let at = Math.max(0, length - HASHED_CHARACTERS); at < length; at++) {
    hash = Math.imul(hash ^ key.charCodeAt(at), 0x0100_0193)
  }
  hash = Math.imul(hash ^ (hash >>> 15), 0x735a_2d97)
  return hash ^ (hash >>> 15)
}

function widened(hashes: Int32Array, slot: number): Int32Array {
  const wider = new Int32Array(2 * slot)
  wider.set(hashes)
  return wider
}
