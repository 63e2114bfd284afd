// Who is there, in no order of note: an array in which each member knows its place. For connections, which come and go by
// the thousand.
//
// Not a Set: V8 replaces the table of one now and then, and every former table refers to the next and to the members of
// its time. Once one of them has become old, all that follow, and whoever was in them, stay until a full collection.

export interface Member {
  /** Where it is; kept by the roster. -1: nowhere. */
  rosterIndex: number
}

export class Roster<T extends Member> implements Iterable<T> {
  readonly #members: T[] = []

  get size(): number {
    return this.#members.length
  }

  /** A member can be in one roster at a time. */
  add(member: T): void {
    member.rosterIndex = this.#members.length
    this.#members.push(member)
  }

  /** Only the first call counts. */
  remove(member: T): void {
    const index = member.rosterIndex
    if (index < 0) return
    member.rosterIndex = -1
    const last = this.#members.pop()
    if (last === undefined || last === member) return
    this.#members[index] = last
    last.rosterIndex = index
  }

  /**
   * From the last to the first. Meanwhile members may leave and come: who leaves is not visited any more, who comes is not
   * visited yet, and who takes the place of one that left may be visited twice.
   */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (let index = this.#members.length - 1; index >= 0; index--) {
      const member = this.#members[index]
      if (member !== undefined) yield member
    }
  }
}
