// Virtual time: what is to happen, in the order in which it happens. Two events of the same millisecond happen in the
// order in which they were planned, so that a run depends on its seed alone.

export interface Planned {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

export class EventQueue {
  /** The present, in ms. */
  nowMs = 0
  #heap: Planned[] = []
  #order = 0

  get length(): number {
    return this.#heap.length
  }

  at(atMs: number, run: () => void): void {
    const event = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, run }
    const heap = this.#heap
    let place = heap.length
    heap.push(event)
    while (place > 0) {
      const parent = (place - 1) >> 1
      const above = heap[parent] as Planned
      if (!isBefore(event, above)) break
      heap[place] = above
      place = parent
    }
    heap[place] = event
  }

  in(ms: number, run: () => void): void {
    this.at(this.nowMs + ms, run)
  }

  /** Lets everything happen that is planned until then. */
  runUntil(untilMs: number): void {
    for (let first = this.#heap[0]; first !== undefined && first.atMs <= untilMs; first = this.#heap[0]) {
      this.#removeFirst()
      this.nowMs = first.atMs
      first.run()
    }
    this.nowMs = untilMs
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let place = 0
    for (;;) {
      let child = place * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Planned, heap[child] as Planned)) child++
      const below = heap[child] as Planned
      if (!isBefore(below, last)) break
      heap[place] = below
      place = child
    }
    heap[place] = last
  }
}

function isBefore(one: Planned, other: Planned): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order)
}
