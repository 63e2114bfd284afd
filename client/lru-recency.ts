// Which slots of an in-process cache are in use, and in which order they were last used. Knows no keys, values or time.
//
// A circular doubly linked list by index in one typed array, so that a use is five small writes and no allocation:
//
//   links[2 * slot]      the slot used next after this one       slot 0 belongs to no entry: it closes the circle,
//   links[2 * slot + 1]  the slot used last before this one      links[0] is the oldest slot, links[1] the newest
//
// Freed slots are chained through their second link and taken again first. Every index that is read here was written
// here, so the `?? NO_SLOT` below never happens; the compiler removes it.

/** No entry. */
export const NO_SLOT = 0

const SLOTS_AT_FIRST = 64

export class RecencyOrder {
  #links = new Int32Array(2 * SLOTS_AT_FIRST)
  #free = NO_SLOT
  /** Slots 1 to this have been in use. */
  #highest = 0

  /** The slot whose last use is the longest ago; NO_SLOT if there is none. */
  get oldest(): number {
    return this.#links[0] ?? NO_SLOT
  }

  /** The most recently used slot; NO_SLOT if there is none. */
  get newest(): number {
    return this.#links[1] ?? NO_SLOT
  }

  /** The slot used last before `slot`; NO_SLOT after the oldest. */
  older(slot: number): number {
    return this.#links[2 * slot + 1] ?? NO_SLOT
  }

  /** A slot that was not in use, now the newest: one that was freed, or else the next number, so that arrays by slot
   * have no holes. */
  add(): number {
    let slot = this.#free
    if (slot === NO_SLOT) {
      slot = ++this.#highest
      if (2 * slot === this.#links.length) this.#grow()
    } else {
      this.#free = this.older(slot)
    }
    this.#linkNewest(slot)
    return slot
  }

  /** Makes a slot in use the newest. */
  touch(slot: number): void {
    // #unlink and #linkNewest in one, since every hit comes by here.
    const links = this.#links
    const at = slot << 1
    const newest = links[1] ?? NO_SLOT
    if (newest === slot) return
    const newer = links[at] ?? NO_SLOT
    const older = links[at + 1] ?? NO_SLOT
    links[(newer << 1) + 1] = older
    links[older << 1] = newer
    links[at] = NO_SLOT
    links[at + 1] = newest
    links[newest << 1] = slot
    links[1] = slot
  }

  /** The slot is no longer in use. */
  remove(slot: number): void {
    this.#unlink(slot)
    this.#links[2 * slot + 1] = this.#free
    this.#free = slot
  }

  #unlink(slot: number): void {
    const links = this.#links
    const newer = links[2 * slot] ?? NO_SLOT
    const older = links[2 * slot + 1] ?? NO_SLOT
    links[2 * newer + 1] = older
    links[2 * older] = newer
  }

  #linkNewest(slot: number): void {
    const links = this.#links
    const newest = links[1] ?? NO_SLOT
    links[2 * slot] = NO_SLOT
    links[2 * slot + 1] = newest
    links[2 * newest] = slot
    links[1] = slot
  }

  #grow(): void {
    const wider = new Int32Array(2 * this.#links.length)
    wider.set(this.#links)
    this.#links = wider
  }
}
