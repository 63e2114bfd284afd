// Since when the other end of a connection has taken none of the replies it was given. Between a session, which knows
// what it gave and what is unsent, and nobody; looked at from time to time.

export class Stall {
  sinceMs: number
  /** Given so far, and how many of them were taken when somebody last looked. */
  #handedBytes = 0
  #takenBytes = 0

  constructor(nowMs: number) {
    this.sinceMs = nowMs
  }

  handed(bytes: number): void {
    this.#handedBytes += bytes
  }

  /** Whether there is nothing to take, or some was taken since this was asked before: then it begins anew. */
  isOver(nowMs: number, unsentBytes: number): boolean {
    const takenBytes = this.#handedBytes - unsentBytes
    const isOver = unsentBytes === 0 || takenBytes > this.#takenBytes
    this.#takenBytes = takenBytes
    if (isOver) this.sinceMs = nowMs
    return isOver
  }
}
