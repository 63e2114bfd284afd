// Keeps trying to reach one address until its owner says that it need not: a dial, then a pause, then a dial.
//
// Between the mesh, which knows which addresses are wanted, and the server's way to dial: TCP, or TLS. Backoff is exponential with full jitter and
// begins anew with the first message that came back, not with the connection: a server that accepts and hangs up is
// not hammered. Names are resolved at each dial.

import type { TcpSocketConnectOpts } from 'node:net'
import { backoffMs } from '../protocol/backoff.ts'
import type { DialEvents, SocketTransport } from '../protocol/socket-transport.ts'

const RECONNECT = { minMs: 100, maxMs: 5000 }
const CONNECT_TIMEOUT_MS = 5000
const ADDRESS_ATTEMPT_TIMEOUT_MS = 250

/** Begins to connect to `host`; as `dialSocket`. Returns how to give up. */
export type DialPeer = (options: TcpSocketConnectOpts, events: DialEvents) => () => void

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
  readonly #dialPeer: DialPeer
  readonly #events: DialerEvents
  #attempt = 0
  #timer: NodeJS.Timeout | undefined
  /** Gives up the dial under way. */
  #cancel: (() => void) | undefined
  /** From a dial on until its connection is reported gone. */
  #isBusy = false
  #isClosed = false

  constructor(host: string, port: number, dialPeer: DialPeer, events: DialerEvents) {
    this.host = host
    this.port = port
    this.#dialPeer = dialPeer
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
    const timer = setTimeout(
      () => fail(new Error(`no connection within ${CONNECT_TIMEOUT_MS} ms`)),
      CONNECT_TIMEOUT_MS,
    )
    timer.unref()
    const stop = () => {
      clearTimeout(timer)
      this.#cancel = undefined
    }
    const fail = (error: Error) => {
      this.#cancel?.()
      this.#events.onFailure(error)
      this.again()
    }
    this.#isBusy = true
    const giveUp = this.#dialPeer(
      {
        host: this.host,
        port: this.port,
        noDelay: true,
        autoSelectFamily: true,
        autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_TIMEOUT_MS,
      },
      {
        onTransport: (transport) => {
          stop()
          this.#events.onTransport(transport)
        },
        onFailure: fail,
      },
    )
    this.#cancel = () => {
      stop()
      giveUp()
    }
  }
}
