// What the server holds for one connection, and for all of them together: bytes of frames that are not whole, and of
// replies that nobody takes. Between a session, which knows the bytes, and the budgets of the whole server.

export interface Budgets {
  readonly partialBytesMax: number
  readonly unsentBytesMax: number
}

/** Over all connections. */
export interface Held {
  partialBytes: number
  unsentBytes: number
}

export class Holdings {
  readonly #held: Held
  readonly #budgets: Budgets
  #partialBytes = 0
  #unsentBytes = 0

  constructor(held: Held, budgets: Budgets) {
    this.#held = held
    this.#budgets = budgets
  }

  get partialBytes(): number {
    return this.#partialBytes
  }

  get unsentBytes(): number {
    return this.#unsentBytes
  }

  /** It holds so much now. Returns the budget that this has exceeded: of what has grown. */
  update(partialBytes: number, unsentBytes: number): 'partial' | 'unsent' | undefined {
    const partialGrew = partialBytes > this.#partialBytes
    const unsentGrew = unsentBytes > this.#unsentBytes
    this.#held.partialBytes += partialBytes - this.#partialBytes
    this.#held.unsentBytes += unsentBytes - this.#unsentBytes
    this.#partialBytes = partialBytes
    this.#unsentBytes = unsentBytes
    if (partialGrew && this.#held.partialBytes > this.#budgets.partialBytesMax) return 'partial'
    if (unsentGrew && this.#held.unsentBytes > this.#budgets.unsentBytesMax) return 'unsent'
    return undefined
  }

  release(): void {
    this.update(0, 0)
  }
}
