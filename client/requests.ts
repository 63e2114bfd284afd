// Requests of one client over one link: from a call to its end.
//
// Between the client's methods, which write operands and read replies, and the link, which knows neither. Every call
// that begins here ends here: with its reply, at its deadline, by its signal, or with the connection. A call whose
// bytes were never handed to a transport certainly did nothing; of any other nobody can know.
//
//   begin ──> write operands ──> end ──(link ready)──> outbox ──(end of the tick)──> in flight ──> settled
//                                 └──(not yet)──> pending ──(ready)──^

import { performance } from 'node:perf_hooks'
import { type CacheError, ProtocolError } from '../protocol/errors.ts'
import { Link, type LinkOptions, type ServerHello } from '../protocol/link.ts'
import { FIRST_ERROR, type Opcode } from '../protocol/messages.ts'
import type { Reader } from '../protocol/reader.ts'
import type { Writer } from '../protocol/writer.ts'
import { type Call, stopListening } from './call.ts'
import {
  closedError,
  lateError,
  mayHaveActed,
  notConnectedError,
  queueFullError,
  replyError,
  timeoutError,
  tooLargeError,
  unreadableError,
  valueTooLargeError,
} from './call-errors.ts'
import { Deadlines, STALL_MS } from './deadlines.ts'
import { Outbox } from './outbox.ts'
import { idAfter, Ring } from './ring.ts'
import { Signals } from './signals.ts'

export interface RequestsEvents {
  /** An outage begins: before the calls fail that it takes along. */
  onOutage(): void
  /** First trouble after the last `onAvailable`, or ever: after they have. */
  onUnavailable(error: CacheError): void
  /** Connected; `outageMs` is 0 if there was no outage. */
  onAvailable(hello: ServerHello, outageMs: number): void
}

export interface RequestsOptions extends Omit<LinkOptions, 'random'> {
  /** How many servers `dial` tries in turn. */
  serverCount: number
  timeoutMs: number
  queueBytesMax: number
}

/** Calls in flight at the most; one more is refused as CACHE_QUEUE_FULL. */
const IN_FLIGHT_MAX = 1 << 20

export class Requests {
  readonly #options: RequestsOptions
  readonly #events: RequestsEvents
  readonly #link: Link
  readonly #ring = new Ring()
  readonly #outbox: Outbox
  readonly #deadlines = new Deadlines((nowMs, isGrace) => this.#judge(nowMs, isGrace))
  readonly #signals = new Signals<Call>((call, reason) => {
    if (!this.#forget(call)) return
    stopListening(call)
    call.reject(reason)
  })
  /** Calls that wait for a connection, and the bytes of their frames. */
  readonly #pending = new Set<Call>()
  #pendingBytes = 0
  /** A clock read per batch of calls, not per call. */
  #nowMs = 0
  #hello: ServerHello | undefined
  #outageSinceMs: number | undefined
  #lastError: CacheError | undefined
  /** The server goes away: nothing more is sent to it. */
  #draining = false
  #state: 'open' | 'closing' | 'closed' = 'open'
  /** Calls of several requests, each of which may have none under way at the moment. */
  #held = 0
  #onIdle: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor(options: RequestsOptions, events: RequestsEvents) {
    this.#options = options
    this.#events = events
    this.#link = new Link(
      { ...options, random: Math.random },
      {
        onReady: (hello) => this.#onReady(hello),
        onReply: (reply) => this.#onReply(reply),
        onChunkEnd: () => this.#onChunkEnd(),
        onServerDraining: () => this.#onServerDraining(),
        onLost: (error) => this.#onLost(error),
      },
    )
    this.#outbox = new Outbox(this.#link, this.#ring, (fromId) => this.#forgiveStandstill(fromId))
  }

  /** What the server of the present, or of the last, connection said of itself. */
  get hello(): ServerHello | undefined {
    return this.#hello
  }

  get inFlight(): number {
    return this.#ring.size
  }

  get pending(): number {
    return this.#pending.size
  }

  /** A call's total time unless it names one, in ms. */
  get timeoutMs(): number {
    return this.#options.timeoutMs
  }

  /**
   * Begins a request of a call: returns a writer for its operands, or undefined if the call had to fail already. If
   * writing the operands throws, nothing has happened. Then `end`. `isHeld`: of a call that `hold` was told of.
   */
  begin(call: Call, opcode: Opcode, operands: number, isHeld = false): Writer | undefined {
    const refusal = this.#refusal(call, isHeld)
    if (refusal === undefined) return this.#outbox.begin(opcode, operands)
    call.end.onFailure(call, refusal, false)
    return undefined
  }

  /** The operands are written: the request goes out with the others of this tick. */
  end(call: Call, timeoutMs: number | undefined): void {
    const frameBytes = this.#outbox.endFrame()
    if (this.#outbox.isEmpty || this.#nowMs === 0) this.#nowMs = performance.now()
    // A whole number: V8 keeps it without a box.
    call.deadlineMs = Math.ceil(this.#nowMs + (timeoutMs ?? this.#options.timeoutMs))
    this.#deadlines.start()
    if (this.#link.state !== 'ready' || this.#draining) {
      call.frame = this.#outbox.copyFrame()
      this.#pendingBytes += call.frame.length
      this.#pending.add(call)
      return
    }
    const tooLarge = tooLargeError(this.#options.server(), frameBytes, this.#hello)
    if (tooLarge === undefined) this.#outbox.commit(call)
    else this.#fail(call, tooLarge, false)
  }

  /**
   * A call of several requests begins: until what is returned is called, once, `close` waits for it and lets its requests
   * through. Undefined: too late, `close` has begun.
   */
  hold(): (() => void) | undefined {
    if (this.#state !== 'open') return undefined
    this.#held++
    return () => {
      this.#held--
      if (this.#isIdle) this.#onIdle?.()
    }
  }

  /** The error of a value that the server would refuse for its size, as far as is known. */
  tooLarge(key: string, valueBytes: number): CacheError | undefined {
    return valueTooLargeError(this.#options.server(), key, valueBytes, this.#hello)
  }

  /** Ends a call with the reason of its signal, should that be aborted first. */
  listen(call: Call, signal: AbortSignal): void {
    call.stopListening = this.#signals.listen(call, signal)
  }

  /** Waits until no call is left, at most `timeoutMs`, then closes. Idempotent. */
  close(timeoutMs: number): Promise<void> {
    this.#closing ??= this.#close(timeoutMs)
    return this.#closing
  }

  destroy(reason: Error | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#link.destroy(reason)
    this.#failAll(closedError(reason))
    this.#onIdle?.()
    this.#deadlines.stop()
  }

  async #close(timeoutMs: number): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closing'
    if (!this.#isIdle) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs)
        this.#onIdle = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#state = 'closed'
    this.#link.close()
    this.#failAll(closedError())
    this.#deadlines.stop()
  }

  get #isIdle(): boolean {
    return this.#ring.size + this.#pending.size + this.#held === 0
  }

  #refusal(call: Call, isHeld: boolean): CacheError | undefined {
    if (this.#state !== 'open' && !(isHeld && this.#state === 'closing')) return closedError()
    const state = this.#link.state
    if (state === 'idle') this.#link.open()
    else if (call.failsFast && state !== 'ready' && this.#hasTriedAll)
      return this.#lastError ?? notConnectedError(this.#options.server())
    const queuedBytes = this.#pendingBytes + this.#outbox.waitingBytes
    if (queuedBytes < this.#options.queueBytesMax && this.#ring.size < IN_FLIGHT_MAX) return undefined
    return queueFullError(this.#options.server(), queuedBytes, this.#ring.size)
  }

  /** Since it was connected last, or ever, each server has been lost or dialed in vain. A cache of its own has none. */
  get #hasTriedAll(): boolean {
    return this.#link.failures >= Math.max(1, this.#options.serverCount)
  }

  /** If this process stood still since the first call of this tick, their time begins now that they leave. */
  #forgiveStandstill(fromId: number): void {
    const lateMs = Math.ceil(performance.now() - this.#nowMs)
    if (lateMs < STALL_MS) return
    for (let id = fromId; id !== this.#ring.nextId; id = idAfter(id)) {
      const call = this.#ring.get(id)
      if (call !== undefined) call.deadlineMs += lateMs
    }
  }

  #onReady(hello: ServerHello): void {
    this.#hello = hello
    this.#nowMs = performance.now()
    const outageMs = this.#outageSinceMs === undefined ? 0 : this.#nowMs - this.#outageSinceMs
    this.#outageSinceMs = undefined
    this.#lastError = undefined
    for (const call of this.#pending) this.#sendPending(call, hello)
    this.#outbox.flush()
    this.#events.onAvailable(hello, outageMs)
  }

  #sendPending(call: Call, hello: ServerHello): void {
    const frame = this.#takePending(call)
    if (frame === undefined) return
    const tooLarge = tooLargeError(this.#options.server(), frame.length - 4, hello)
    if (tooLarge === undefined) this.#outbox.commitCopy(frame, call)
    else this.#fail(call, tooLarge, false)
  }

  #onReply(reply: Reader): void {
    const call = this.#ring.take(reply.id)
    // Late: its deadline is over.
    if (call === undefined) return
    if (call.stopListening !== undefined) stopListening(call)
    const server = this.#options.server()
    try {
      if (reply.head < FIRST_ERROR) call.end.onReply(call, reply)
      else call.end.onFailure(call, replyError(server, call.key, reply), mayHaveActed(reply.head))
    } catch (error) {
      call.end.onFailure(call, unreadableError(server, error), true)
      // A value that cannot be decoded is that value's trouble; a reply that cannot be read is the connection's.
      if (error instanceof ProtocolError) throw error
    }
  }

  #onChunkEnd(): void {
    if (this.#onIdle !== undefined && this.#isIdle) this.#onIdle()
    if (this.#draining && this.#ring.size === 0) this.#onServerDraining()
  }

  /** Moves on to another connection once what is in flight is answered. */
  #onServerDraining(): void {
    this.#draining = true
    if (this.#ring.size > 0) return
    this.#draining = false
    this.#link.redial()
  }

  #onLost(error: CacheError): void {
    this.#draining = false
    this.#lastError = error
    this.#outbox.forgetBacklog()
    const isFirst = this.#outageSinceMs === undefined
    if (isFirst) this.#events.onOutage()
    this.#failInFlight(error)
    if (this.#hasTriedAll) {
      // Not retriable: this one says that asking again is of no use.
      for (const call of this.#pending) if (!error.retriable || call.failsFast) this.#failPending(call, error)
    }
    if (isFirst) {
      this.#outageSinceMs = performance.now()
      this.#events.onUnavailable(error)
    }
    if (this.#isIdle) this.#onIdle?.()
  }

  /** Ends what is late; returns whether anything is left to wait for. */
  #judge(nowMs: number, isGrace: boolean): boolean {
    this.#nowMs = nowMs
    if (!isGrace) {
      const server = this.#options.server()
      for (const call of this.#pending)
        if (call.deadlineMs <= nowMs) this.#failPending(call, lateError(server, call.key, this.#lastError))
      for (const call of this.#ring.size === 0 ? [] : this.#ring.calls())
        if (call !== undefined && call.deadlineMs <= nowMs) {
          this.#ring.remove(call)
          this.#fail(call, timeoutError(server, call.key, 'no answer'), true)
        }
    }
    if (this.#isIdle) this.#onIdle?.()
    if (this.#draining && this.#ring.size === 0) this.#onServerDraining()
    return !this.#isIdle
  }

  #failPending(call: Call, error: CacheError): void {
    this.#takePending(call)
    this.#fail(call, error, false)
  }

  #failInFlight(error: CacheError): void {
    for (const call of this.#ring.calls()) {
      if (call === undefined) continue
      const hasLeft = this.#outbox.hasLeft(call)
      this.#ring.remove(call)
      this.#fail(call, error, hasLeft)
    }
    this.#outbox.drop()
  }

  #failAll(error: CacheError): void {
    for (const call of this.#pending) this.#failPending(call, error)
    this.#failInFlight(error)
  }

  #fail(call: Call, error: CacheError, maybeDone: boolean): void {
    stopListening(call)
    call.end.onFailure(call, error, maybeDone)
  }

  #takePending(call: Call): Buffer | undefined {
    const frame = call.frame
    if (frame === undefined || !this.#pending.delete(call)) return undefined
    this.#pendingBytes -= frame.length
    call.frame = undefined
    return frame
  }

  /** Takes a call out of the ring or the queue; false if it is in neither. */
  #forget(call: Call): boolean {
    return this.#takePending(call) !== undefined || this.#ring.remove(call)
  }
}
