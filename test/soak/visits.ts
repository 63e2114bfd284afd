// Connections that come and go: so many begin each second, and each is over when it says so, when the other end closes
// it, or after a while.

import type { Socket } from 'node:net'
import type { Dialer } from './dialer.ts'

/** What a visitor does once it is connected; it ends, destroys or resets the socket itself, or waits to be closed. */
export type Visit = (socket: Socket) => void

const TICK_MS = 10
/** Open at a time. When they do not get through, fewer begin. */
const VISITORS_MAX = 400
const VISIT_MS_MAX = 1500

export class Visits {
  /** Connected; not let in; not even tried, because too many were there already. */
  connected = 0
  failed = 0
  skipped = 0
  readonly #perTick: number
  readonly #dialer: Dialer
  readonly #newVisit: () => Visit
  readonly #visitors = new Map<Socket, number>()
  readonly #timer: NodeJS.Timeout
  #due = 0
  #tickedMs = performance.now()

  constructor(perSecond: number, dialer: Dialer, newVisit: () => Visit) {
    this.#perTick = (perSecond * TICK_MS) / 1000
    this.#dialer = dialer
    this.#newVisit = newVisit
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
  }

  get open(): number {
    return this.#visitors.size
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const socket of this.#visitors.keys()) socket.destroy()
  }

  #tick(): void {
    const nowMs = performance.now()
    // A late tick makes up for some of the ones that were missed.
    const ticks = Math.min(5, (nowMs - this.#tickedMs) / TICK_MS)
    this.#tickedMs = nowMs
    this.#due += this.#perTick * ticks
    for (const [socket, sinceMs] of this.#visitors) {
      if (nowMs - sinceMs < VISIT_MS_MAX) break
      socket.destroy()
    }
    for (; this.#due >= 1; this.#due--) {
      if (this.#visitors.size < VISITORS_MAX) this.#begin(nowMs)
      else this.skipped++
    }
  }

  #begin(nowMs: number): void {
    const visit = this.#newVisit()
    let isConnected = false
    const socket = this.#dialer.dial(() => {
      isConnected = true
      this.connected++
      visit(socket)
    })
    this.#visitors.set(socket, nowMs)
    socket.once('close', () => {
      this.#visitors.delete(socket)
      if (!isConnected) this.failed++
    })
  }
}
