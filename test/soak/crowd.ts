// Connections that stay: keeps a number of them open, each from when it opens until it closes in the hands of `manners`.
// Whoever is cut, or not let in, comes again, at a bounded rate: as an attacker would.

import type { Socket } from 'node:net'
import type { Dialer } from './dialer.ts'

export interface Manners {
  /** It is open. */
  greet?(socket: Socket): void
  /** Called for one open connection after the other, each about once in `roundMs`. */
  again?(socket: Socket): void
  roundMs?: number
  /** It must not read by itself. */
  isDeaf?: boolean
}

const TICK_MS = 10
/** At a time; below what a server lets in unauthenticated. */
const CONNECTING_MAX = 200

export class Crowd {
  /** Ever opened; closed by the other end after that; not let in at all. */
  opened = 0
  cut = 0
  failed = 0
  readonly #size: number
  readonly #openPerTick: number
  readonly #dialer: Dialer
  readonly #manners: Manners
  readonly #open: Socket[] = []
  readonly #connecting = new Set<Socket>()
  readonly #timer: NodeJS.Timeout
  /** Where the round is, and what of it is left over from former ticks. */
  #round = 0
  #due = 0
  #allowed = 0

  constructor(size: number, openPerSecond: number, dialer: Dialer, manners: Manners) {
    this.#size = size
    this.#openPerTick = (openPerSecond * TICK_MS) / 1000
    this.#dialer = dialer
    this.#manners = manners
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
  }

  get open(): number {
    return this.#open.length
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const socket of [...this.#open, ...this.#connecting]) socket.destroy()
  }

  #tick(): void {
    this.#allowed = Math.min(this.#allowed + this.#openPerTick, this.#openPerTick * 2)
    while (
      this.#allowed >= 1 &&
      this.#connecting.size < CONNECTING_MAX &&
      this.#open.length + this.#connecting.size < this.#size
    ) {
      this.#allowed--
      this.#dial()
    }
    const { again, roundMs = 1000 } = this.#manners
    if (again === undefined) return
    this.#due += (this.#open.length * TICK_MS) / roundMs
    for (; this.#due >= 1; this.#due--) {
      const socket = this.#open[this.#round++ % Math.max(1, this.#open.length)]
      if (socket !== undefined) again(socket)
    }
  }

  #dial(): void {
    const { greet, isDeaf = false } = this.#manners
    const socket = this.#dialer.dial(() => {
      this.#connecting.delete(socket)
      this.#open.push(socket)
      this.opened++
      if (isDeaf) socket.pause()
      else socket.resume()
      greet?.(socket)
    })
    // Paused before it is connected it does not read at all.
    if (isDeaf) socket.pause()
    this.#connecting.add(socket)
    socket.once('close', () => {
      if (this.#connecting.delete(socket)) this.failed++
      const at = this.#open.indexOf(socket)
      if (at < 0) return
      this.cut++
      const last = this.#open.pop()
      if (last !== undefined && last !== socket) this.#open[at] = last
    })
  }
}
