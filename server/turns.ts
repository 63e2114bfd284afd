// Whoever asks for much at once gets it in pieces: the rest comes in later turns of the event loop, and everybody else is
// served in between.
//
// Between sessions, which say how much they have made, and the event loop. All that wait share each later turn, in the
// order in which they came. Whoever asks for less than a piece is not touched, and costs nothing here.
//
// Work is counted as bytes of replies. Requests whose work is not in proportion to their replies, nor to their own bytes,
// of which a turn reads no more than a chunk, have a price besides.

import { Opcode } from '../protocol/messages.ts'

/** A piece, and what those who wait share in a turn: about a quarter of a millisecond, copied out of the store and by the kernel. */
const TURN_BYTES_MAX = 256 * 1024

/** By opcode, in bytes: what a request costs besides its reply. One that may look at thousands of records costs a turn. */
export const PRICES = new Int32Array(256)
for (const opcode of [Opcode.Scan, Opcode.Stats, Opcode.Peers, Opcode.Lag]) PRICES[opcode] = TURN_BYTES_MAX
for (const opcode of [Opcode.Clear, Opcode.ForgetPeer]) PRICES[opcode] = TURN_BYTES_MAX
for (const opcode of [Opcode.Auth, Opcode.AuthProof]) PRICES[opcode] = TURN_BYTES_MAX / 16
PRICES[Opcode.Hello] = TURN_BYTES_MAX / 256
/** Of a request that is answered with an error: about 15 us. */
export const ERROR_PRICE_BYTES = TURN_BYTES_MAX / 256
/** Of a request before authentication, where each reply is a write of its own. */
export const STRANGERS_PRICE_BYTES = TURN_BYTES_MAX / 64

/** Of all sessions of a server. */
export class Turns {
  #isEnding = false
  readonly #waiting = new Set<Share>()

  wait(share: Share): void {
    this.#waiting.add(share)
    if (this.#isEnding) return
    this.#isEnding = true
    setImmediate(() => this.#next())
  }

  #next(): void {
    let madeBytes = 0
    for (const share of this.#waiting) {
      if (madeBytes >= TURN_BYTES_MAX) break
      this.#waiting.delete(share)
      madeBytes += share.goOn()
    }
    this.#isEnding = this.#waiting.size > 0
    if (this.#isEnding) setImmediate(() => this.#next())
  }
}

/** Of one session. */
export class Share {
  /** The rest of its requests is for a later turn. */
  isWaiting = false
  readonly #turns: Turns
  readonly #onTurn: () => void
  #fromBytes = 0
  #madeBytes = 0
  #spentBytes = 0

  /** `onTurn`: to go on with what had to wait. */
  constructor(turns: Turns, onTurn: () => void) {
    this.#turns = turns
    this.#onTurn = onTurn
  }

  /** A dispatch begins; `madeBytes`, here and below, of all replies ever made. */
  begin(madeBytes: number): void {
    this.#fromBytes = madeBytes
    this.#madeBytes = 0
    this.#spentBytes = 0
  }

  /** Work besides the replies, as so many bytes of them. */
  spend(bytes: number): void {
    this.#spentBytes += bytes
  }

  /** Whether another request may be carried out in this turn. */
  mayGoOn(madeBytes: number): boolean {
    this.#madeBytes = madeBytes - this.#fromBytes + this.#spentBytes
    if (this.#madeBytes < TURN_BYTES_MAX) return true
    this.isWaiting = true
    this.#turns.wait(this)
    return false
  }

  /** Its turn has come; returns how much it made of it. */
  goOn(): number {
    this.isWaiting = false
    this.#madeBytes = 0
    this.#onTurn()
    return this.#madeBytes
  }
}
