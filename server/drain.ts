// How the connections of a server end when it stops gracefully: clients that said HELLO are told, one that has fallen
// silent is ended, and what is still busy when the time is over is cut.
//
// Between the server, which takes in nobody any more, and its sessions. Other servers' connections are not ended here:
// they get the last writes, and so they are left last.

import type { Roster } from './roster.ts'
import type { Session } from './session.ts'

/** A connection without a request for this long is done. */
const QUIET_MS = 100

export class Drain {
  readonly #sessions: Roster<Session>
  readonly #sinceMs = Date.now()
  #onEmpty: () => void = () => {}

  /** `sessions`: those that are open, at any time. */
  constructor(sessions: Roster<Session>) {
    this.#sessions = sessions
  }

  /** Resolves when the last session has closed. */
  async run(drainMs: number): Promise<void> {
    for (const session of this.#sessions) session.announceDrain()
    if (this.#sessions.size === 0) return
    const cut = setTimeout(() => {
      for (const session of this.#sessions) session.destroy('the drain timeout is over')
    }, drainMs)
    // Judged after the poll phase: what arrived while this process was busy is read first.
    const judge = () => this.#endQuietOnes()
    const endQuietOnes = setInterval(() => setImmediate(judge), QUIET_MS / 2)
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve
    })
    clearTimeout(cut)
    clearInterval(endQuietOnes)
  }

  /** One of the sessions has closed. */
  sessionClosed(): void {
    if (this.#sessions.size === 0) this.#onEmpty()
  }

  /** Those too that were silent before get the time to say what was on its way. */
  #endQuietOnes(): void {
    const quietUntilMs = Date.now() - QUIET_MS
    if (quietUntilMs < this.#sinceMs) return
    for (const session of this.#sessions)
      if (
        !session.isPeer &&
        session.lastChunkMs <= quietUntilMs &&
        session.transport.unsentBytes === 0 &&
        session.deferred === 0
      )
        session.end('the server is shutting down')
  }
}
