// Keeps trying to reach one address until its owner says that it need not: a dial, then a pause, then a dial.
//
// Between the mesh, which knows which addresses are wanted, and sockets. Backoff is exponential with full jitter and
// begins anew with the first message that came back, not with the connection: a server that accepts and hangs up is
// not hammered. Names are resolved at each dial.

import { backoffMs } from '../protocol/backoff.ts'
import type { ReadBuffer } from '../protocol/read-buffer.ts'
import { dialSocket, type SocketTransport } from '../protocol/socket-transport.ts'

const RECONNECT = { minMs: 100, maxMs: 5000 }
const CONNECT_TIMEOUT_MS = 5000
const ADDRESS_ATTEMPT_TIMEOUT_MS = 250

export interface DialerEvents {
  /** Whether a connection is wanted now; asked before each dial. */
  isWanted(): boolean
  onTransport(transport: SocketTransport): void
  onFailure(error: Error): void
  random(): number
}

export class PeerDialer {
  readonly host: string
  readonly port: number
  readonly #buffer: ReadBuffer
  readonly #events: DialerEvents
  #attempt = 0
  #timer: NodeJS.Timeout | undefined
  /** Gives up the dial under way. */
  #cancel: (() => void) | undefined
  /** From a dial on until its connection is reported gone. */
  #isBusy = false
  #isClosed = false

  constructor(host: string, port: number, buffer: ReadBuffer, events: DialerEvents) {
    this.host = host
    this.port = port
    this.#buffer = buffer
    this.#events = events
  }

  /** Dials at once, if that is wanted and not under way. */
  start(): void {
    if (!this.#isBusy && this.#timer === undefined) this.#dial()
  }

  /** The other end answered: the next pause is a short one. */
  answered(): void {
    this.#attempt = 0
  }

  /** The connection that this dialer made is gone, or was refused: dials again after a pause of at least `minMs`. */
  again(minMs = 0): void {
    this.#isBusy = false
    if (this.#isClosed || this.#timer !== undefined) return
    const waitMs = Math.max(minMs, backoffMs(this.#attempt++, this.#events.random(), RECONNECT))
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#dial()
    }, waitMs)
    this.#timer.unref()
  }

  /** Dials no more; a connection that was made is its owner's. */
  close(): void {
    this.#isClosed = true
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#timer = undefined
    this.#cancel?.()
    this.#cancel = undefined
  }

  #dial(): void {
    if (this.#isClosed) return
    if (!this.#events.isWanted()) {
      this.again()
      return
    }
    const { socket, transport } = dialSocket(
      {
        host: this.host,
        port: this.port,
        noDelay: true,
        autoSelectFamily: true,
        autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_TIMEOUT_MS,
      },
      this.#buffer,
    )
    const timer = setTimeout(
      () => fail(new Error(`no connection within ${CONNECT_TIMEOUT_MS} ms`)),
      CONNECT_TIMEOUT_MS,
    )
    timer.unref()
    // A socket that is destroyed while it connects may still report an error.
    const giveUp = () => {
      clearTimeout(timer)
      this.#cancel = undefined
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.destroy()
    }
    const fail = (error: Error) => {
      giveUp()
      this.#events.onFailure(error)
      this.again()
    }
    this.#isBusy = true
    this.#cancel = giveUp
    socket.once('error', fail)
    socket.once('connect', () => {
      clearTimeout(timer)
      this.#cancel = undefined
      socket.off('error', fail)
      this.#events.onTransport(transport())
    })
  }
}
