// The calls in flight, by request id: a ring of slots, so that a reply finds its call by a mask.
//
// Invariant: a call stands in the slot of its id; ids go up and wrap, and one whose slot is taken is passed over.

import type { Call } from './call.ts'

const SLOTS_MIN = 256
/** Request ids stay small integers to V8. */
const ID_MAX = 0x3fff_ffff

export class Ring {
  #slots: (Call | undefined)[] = new Array(SLOTS_MIN).fill(undefined)
  /** The id that the next call gets. */
  nextId = 1
  /** Number of calls in flight. */
  size = 0

  get isNextFree(): boolean {
    return this.#slots[this.nextId & (this.#slots.length - 1)] === undefined
  }

  /** Puts a call under the next id, whose slot is free. */
  place(call: Call): void {
    const id = this.nextId
    call.id = id
    this.#slots[id & (this.#slots.length - 1)] = call
    this.size++
    this.nextId = idAfter(id)
  }

  /** Takes the call with this id out; undefined if it has ended. */
  take(id: number): Call | undefined {
    const index = id & (this.#slots.length - 1)
    const call = this.#slots[index]
    if (call === undefined || call.id !== id) return undefined
    this.#slots[index] = undefined
    this.size--
    return call
  }

  /** The call with this id, if it is still in flight. */
  get(id: number): Call | undefined {
    const call = this.#slots[id & (this.#slots.length - 1)]
    return call?.id === id ? call : undefined
  }

  /** Takes a call out; false if it is not in. */
  remove(call: Call): boolean {
    return this.get(call.id) === call && this.take(call.id) !== undefined
  }

  /**
   * Makes the next id one whose slot is free. A call that waits long for its answer is passed over: were the ring to
   * grow until nobody is in its way, it would grow with the number of calls that come and go meanwhile.
   */
  passOver(): void {
    if (this.size * 2 >= this.#slots.length) this.#grow()
    while (!this.isNextFree) this.nextId = idAfter(this.nextId)
  }

  /** All slots, most of them undefined; calls may be taken out meanwhile. */
  calls(): readonly (Call | undefined)[] {
    return this.#slots
  }

  #grow(): void {
    const former = this.#slots
    this.#slots = new Array(former.length * 2).fill(undefined)
    for (const call of former) if (call !== undefined) this.#slots[call.id & (this.#slots.length - 1)] = call
  }
}

export function idAfter(id: number): number {
  return id === ID_MAX ? 1 : id + 1
}

/** How many ids on from one to another. */
export function idDistance(from: number, to: number): number {
  return to >= from ? to - from : to - from + ID_MAX
}
