// What the server holds for one connection, and for all of them together: bytes of frames that are not whole, and of
// replies that nobody takes. Between a session, which knows the bytes, and the budgets of the whole server.
//
// Whoever begins a frame that is too much pays for it alone. Of unsent replies those go first that have waited for the
// longest: else a few who never read would keep everybody else from getting any that the kernel does not take at once.

export interface Budgets {
  readonly partialBytesMax: number
  readonly unsentBytesMax: number
}

/** Over all connections. */
export interface Held {
  partialBytes: number
  unsentBytes: number
  /** With unsent replies; whoever has taken none of them for longest is first. */
  readonly unsent: Set<Holdings>
}

export class Holdings {
  readonly #held: Held
  readonly #budgets: Budgets
  readonly #onOverdrawn: () => void
  #partialBytes = 0
  #unsentBytes = 0

  /** `onOverdrawn`: it must release its unsent replies, now. */
  constructor(held: Held, budgets: Budgets, onOverdrawn: () => void) {
    this.#held = held
    this.#budgets = budgets
    this.#onOverdrawn = onOverdrawn
  }

  get partialBytes(): number {
    return this.#partialBytes
  }

  get unsentBytes(): number {
    return this.#unsentBytes
  }

  /** Whether so many unsent bytes here are too much for all connections together. */
  isOverdrawn(unsentBytes: number): boolean {
    return (
      unsentBytes > 0 &&
      this.#held.unsentBytes - this.#unsentBytes + unsentBytes > this.#budgets.unsentBytesMax
    )
  }

  /** It holds so much now. Returns whether its partial frames are what is too much for the server. */
  update(partialBytes: number, unsentBytes: number): boolean {
    const { unsent } = this.#held
    const partialGrew = partialBytes > this.#partialBytes
    const unsentGrew = unsentBytes > this.#unsentBytes
    this.#held.partialBytes += partialBytes - this.#partialBytes
    this.#held.unsentBytes += unsentBytes - this.#unsentBytes
    this.#partialBytes = partialBytes
    this.#unsentBytes = unsentBytes
    if (unsentBytes === 0) unsent.delete(this)
    else unsent.add(this)
    if (unsentGrew) this.#relieve()
    return partialGrew && this.#held.partialBytes > this.#budgets.partialBytesMax
  }

  /** Some of its unsent replies were taken. */
  progressed(): void {
    const { unsent } = this.#held
    if (unsent.delete(this)) unsent.add(this)
  }

  release(): void {
    this.update(0, 0)
  }

  #relieve(): void {
    for (const longest of this.#held.unsent) {
      if (this.#held.unsentBytes <= this.#budgets.unsentBytesMax) return
      longest.#onOverdrawn()
    }
  }
}
