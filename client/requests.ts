// Requests of one client over one link: ids, the ring of calls in flight, the queue of calls that wait for a
// connection, deadlines, and one write per tick.
//
// Between the client's methods, which write operands and read replies, and the link, which knows neither. Every call
// that begins here ends here: with its reply, at its deadline, by its signal, or with the connection. A call whose
// bytes were never handed to a transport certainly did nothing; of any other nobody can know.
//
//   begin ──> write operands ──> end ──(link ready)──> buffer ──(end of the tick)──> in flight ──> settled
//                                 └──(not yet)──> pending ──(ready)──^

import { performance } from 'node:perf_hooks'
import { CacheError, errorFacts, ProtocolError } from '../protocol/errors.ts'
import { errorText, Link, type LinkOptions, type ServerHello } from '../protocol/link.ts'
import { FIRST_ERROR, type Opcode, Status } from '../protocol/messages.ts'
import type { Reader } from '../protocol/reader.ts'
import { Writer } from '../protocol/writer.ts'
import { Signals } from './signals.ts'

/** What happens to a call at its end. Exactly one of the two is called, once. */
export interface CallEnd {
  /** A reply that is no error: `reply.head` is its status. May throw ProtocolError or a value's decoding error. */
  onReply(call: Call, reply: Reader): void
  /** `maybeDone`: the request had left, so that it may have been carried out. */
  onFailure(call: Call, error: CacheError, maybeDone: boolean): void
}

/** Who waits for what. Allocated per call: kept small. */
export class Call {
  id = 0
  readonly end: CallEnd
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
  /** On the clock of `performance.now`. */
  deadlineMs = 0
  /** For errors. */
  key: string | undefined
  /** Fails with an error rather than with a miss. */
  throws: boolean
  /** Fails at once while there is an outage. */
  failsFast: boolean
  /** While it waits for a connection: its frame. */
  frame: Buffer | undefined
  stopListening: (() => void) | undefined

  constructor(
    end: CallEnd,
    resolve: (value: never) => void,
    reject: (error: unknown) => void,
    key: string | undefined,
    behaviour: { throws: boolean; failsFast: boolean },
  ) {
    this.end = end
    this.resolve = resolve
    this.reject = reject
    this.key = key
    this.throws = behaviour.throws
    this.failsFast = behaviour.failsFast
  }
}

export interface RequestsEvents {
  /** First trouble after the last `onAvailable`, or ever. */
  onUnavailable(error: CacheError): void
  /** Connected; `outageMs` is 0 if there was no outage. */
  onAvailable(hello: ServerHello, outageMs: number): void
}

export interface RequestsOptions extends Omit<LinkOptions, 'random'> {
  timeoutMs: number
  queueBytesMax: number
}

const RING_SLOTS_MIN = 256
/** Calls in flight at the most; one more is refused as CACHE_QUEUE_FULL. */
const IN_FLIGHT_MAX = 1 << 20
/** Request ids stay small integers to V8. */
const ID_MAX = 0x3fff_ffff
/** Requests of one tick are written at the latest when they fill this. */
const BUFFER_BYTES = 64 * 1024
/** How often deadlines are looked at, in ms: a call ends at most this late. */
const SWEEP_EVERY_MS = 10
/** A sweep this late means that the process itself stood still. */
const STALL_MS = 50
/** What calls get back of such a time, at the most, and how often: a process that is always late has deadlines too. */
const GRACE_MS_MAX = 250
const GRACE_EVERY_MS = 1000

export class Requests {
  readonly #options: RequestsOptions
  readonly #events: RequestsEvents
  readonly #link: Link
  readonly #writer = new Writer(BUFFER_BYTES)
  #standardBuffer = this.#writer.bytes
  /** Bytes of whole frames in the writer, and the first id among them. */
  #committed = 0
  #committedFromId = 1
  #frameStart = 0
  #flushScheduled = false
  #backlogBytes = 0

  #ring: (Call | undefined)[] = new Array(RING_SLOTS_MIN).fill(undefined)
  #nextId = 1
  #inFlight = 0
  readonly #pending = new Set<Call>()
  readonly #signals = new Signals<Call>((call, reason) => {
    if (!this.#forget(call)) return
    this.#finish(call)
    call.reject(reason)
  })
  #pendingBytes = 0

  /** A clock read per batch of calls, not per call. */
  #nowMs = 0
  #sweepTimer: NodeJS.Timeout | undefined
  #sweptMs = 0
  /** No call is declared late before. */
  #graceUntilMs = 0
  #graceAgainMs = 0
  #hello: ServerHello | undefined
  #outageSinceMs: number | undefined
  #lastError: CacheError | undefined
  /** The server goes away: nothing more is sent to it. */
  #draining = false
  #state: 'open' | 'closing' | 'closed' = 'open'
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
  }

  /** What the server of the present, or of the last, connection said of itself. */
  get hello(): ServerHello | undefined {
    return this.#hello
  }

  get inFlight(): number {
    return this.#inFlight
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
   * writing the operands throws, nothing has happened. Then `end`.
   */
  begin(call: Call, opcode: Opcode, operands: number): Writer | undefined {
    const refusal = this.#refusal(call)
    if (refusal !== undefined) {
      call.end.onFailure(call, refusal, false)
      return undefined
    }
    if (this.#ring[this.#nextId & (this.#ring.length - 1)] !== undefined) this.#passOver()
    const writer = this.#writer
    writer.at = this.#committed
    writer.reserve(64)
    this.#frameStart = writer.beginFrame(2 + operands)
    writer.int(opcode)
    writer.int(this.#nextId)
    return writer
  }

  /** The operands are written: the request goes out with the others of this tick. */
  end(call: Call, timeoutMs: number | undefined): void {
    const writer = this.#writer
    writer.endFrame(this.#frameStart)
    if (this.#committed === 0 || this.#nowMs === 0) this.#nowMs = performance.now()
    // A whole number: V8 keeps it without a box.
    call.deadlineMs = Math.ceil(this.#nowMs + (timeoutMs ?? this.#options.timeoutMs))
    if (this.#sweepTimer === undefined) this.#startSweep()
    if (this.#link.state !== 'ready' || this.#draining) {
      this.#wait(call)
      return
    }
    const tooLarge = this.#tooLarge(writer.at - this.#frameStart - 4)
    if (tooLarge !== undefined) {
      this.#finish(call)
      call.end.onFailure(call, tooLarge, false)
      return
    }
    this.#place(call)
    this.#committed = writer.at
    if (this.#committed >= BUFFER_BYTES) this.#flush()
    else if (!this.#flushScheduled) {
      this.#flushScheduled = true
      // From within a promise's continuation this runs when all of them have: their calls leave together.
      process.nextTick(this.#flushTick)
    }
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

  async #close(timeoutMs: number): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closing'
    if (this.#inFlight + this.#pending.size > 0) {
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
    this.#stopSweep()
  }

  destroy(reason: Error | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#link.destroy(reason)
    this.#failAll(closedError(reason))
    this.#onIdle?.()
    this.#stopSweep()
  }

  #refusal(call: Call): CacheError | undefined {
    if (this.#state !== 'open') return closedError()
    const state = this.#link.state
    if (state === 'idle') this.#link.open()
    else if (call.failsFast && state !== 'ready' && this.#link.failures > 0) return this.#unavailable()
    if (this.#backlogBytes > 0) this.#backlogBytes = this.#link.unsentBytes
    const queuedBytes = this.#committed + this.#pendingBytes + this.#backlogBytes
    if (queuedBytes < this.#options.queueBytesMax && this.#inFlight < IN_FLIGHT_MAX) return undefined
    return new CacheError(
      'CACHE_QUEUE_FULL',
      `${queuedBytes} bytes wait for ${this.#options.server()}, ${this.#inFlight} calls for a reply: the limit is reached`,
      { retriable: true, server: this.#options.server() },
    )
  }

  #unavailable(): CacheError {
    const server = this.#options.server()
    return (
      this.#lastError ??
      new CacheError('CACHE_UNAVAILABLE', `${server}: not connected`, { retriable: true, server })
    )
  }

  #tooLarge(frameBytes: number): CacheError | undefined {
    const hello = this.#hello
    if (hello === undefined || frameBytes <= hello.frameBytesMax) return undefined
    return new CacheError(
      'CACHE_TOO_LARGE',
      `a request of ${frameBytes} bytes is over the server's limit of ${hello.frameBytesMax} (values: ${hello.valueBytesMax})`,
      { server: this.#options.server() },
    )
  }

  /** Keeps a call's frame until there is a connection. */
  #wait(call: Call): void {
    call.frame = Buffer.from(this.#writer.bytes.subarray(this.#frameStart, this.#writer.at))
    this.#pendingBytes += call.frame.length
    this.#pending.add(call)
  }

  /** Under the next id, whose slot is free. */
  #place(call: Call): void {
    call.id = this.#nextId
    this.#ring[call.id & (this.#ring.length - 1)] = call
    this.#inFlight++
    this.#nextId = idAfter(call.id)
  }

  /**
   * Makes the next id one whose slot is free. A call that waits long for its answer is passed over: were the ring to
   * grow until nobody is in its way, it would grow with the number of calls that come and go meanwhile.
   */
  #passOver(): void {
    // So that the ids of what is committed are without a gap.
    this.#flush()
    if (this.#inFlight * 2 >= this.#ring.length) this.#growRing()
    while (this.#ring[this.#nextId & (this.#ring.length - 1)] !== undefined)
      this.#nextId = idAfter(this.#nextId)
    this.#committedFromId = this.#nextId
  }

  #growRing(): void {
    const former = this.#ring
    this.#ring = new Array(former.length * 2).fill(undefined)
    for (const call of former) if (call !== undefined) this.#ring[call.id & (this.#ring.length - 1)] = call
  }

  readonly #flushTick = (): void => {
    this.#flushScheduled = false
    this.#flush()
  }

  #flush(): void {
    const length = this.#committed
    if (length === 0) return
    this.#forgiveStandstill()
    const writer = this.#writer
    this.#committed = 0
    this.#committedFromId = this.#nextId
    writer.at = 0
    this.#backlogBytes = this.#link.unsentBytes
    if (this.#backlogBytes > 0) this.#link.write(Buffer.from(writer.bytes.subarray(0, length)))
    else if (!this.#link.write(writer.bytes.subarray(0, length))) {
      if (writer.bytes === this.#standardBuffer) this.#standardBuffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
    }
    if (writer.bytes !== this.#standardBuffer) writer.use(this.#standardBuffer)
    this.#backlogBytes = this.#link.unsentBytes
  }

  /** If this process stood still since the first call of this tick, their time begins now that they leave. */
  #forgiveStandstill(): void {
    const lateMs = performance.now() - this.#nowMs
    if (lateMs < STALL_MS) return
    for (let id = this.#committedFromId; id !== this.#nextId; id = idAfter(id)) {
      const call = this.#ring[id & (this.#ring.length - 1)]
      if (call !== undefined && call.id === id) call.deadlineMs += lateMs
    }
  }

  #onReady(hello: ServerHello): void {
    this.#hello = hello
    this.#nowMs = performance.now()
    const outageMs = this.#outageSinceMs === undefined ? 0 : this.#nowMs - this.#outageSinceMs
    this.#outageSinceMs = undefined
    this.#lastError = undefined
    for (const call of this.#pending) this.#sendPending(call)
    this.#flush()
    this.#events.onAvailable(hello, outageMs)
  }

  #sendPending(call: Call): void {
    const frame = this.#takePending(call)
    if (frame === undefined) return
    const tooLarge = this.#tooLarge(frame.length - 4)
    if (tooLarge !== undefined) {
      this.#finish(call)
      call.end.onFailure(call, tooLarge, false)
      return
    }
    const writer = this.#writer
    // Its id was free when it was queued; many others may have come and gone since.
    if (this.#ring[this.#nextId & (this.#ring.length - 1)] !== undefined) this.#passOver()
    const idBytes = this.#rewriteId(frame)
    writer.at = this.#committed
    writer.reserve(frame.length + 8)
    writer.raw(idBytes, 0, idBytes.length)
    this.#committed = writer.at
    this.#place(call)
    if (this.#committed >= BUFFER_BYTES) this.#flush()
  }

  /** The frame of a pending call under the next id. */
  #rewriteId(frame: Buffer): Buffer {
    const target = new Writer(frame.length + 8)
    const start = target.at
    target.at = 4
    // Array head and opcode are one byte each: there are few operands and opcodes.
    target.raw(frame, 4, 2)
    target.int(this.#nextId)
    const rest = 6 + encodedIntBytes(frame[6] as number)
    target.raw(frame, rest, frame.length - rest)
    target.endFrame(start)
    return target.bytes.subarray(0, target.at)
  }

  #onReply(reply: Reader): void {
    const index = reply.id & (this.#ring.length - 1)
    const call = this.#ring[index]
    // Late: its deadline is over.
    if (call === undefined || call.id !== reply.id) return
    this.#ring[index] = undefined
    this.#inFlight--
    if (call.stopListening !== undefined) this.#finish(call)
    try {
      if (reply.head < FIRST_ERROR) call.end.onReply(call, reply)
      else call.end.onFailure(call, this.#errorOf(reply, call), mayHaveActed(reply.head))
    } catch (error) {
      const server = this.#options.server()
      const message = error instanceof Error ? error.message : String(error)
      call.end.onFailure(
        call,
        new CacheError('CACHE_PROTOCOL', `${server}: ${message}`, { server, cause: error }),
        true,
      )
      // A value that cannot be decoded is that value's trouble; a reply that cannot be read is the connection's.
      if (error instanceof ProtocolError) throw error
    }
  }

  #onChunkEnd(): void {
    if (this.#onIdle !== undefined && this.#inFlight + this.#pending.size === 0) this.#onIdle()
    if (this.#draining && this.#inFlight === 0) this.#onServerDraining()
  }

  /** Moves on to another connection once what is in flight is answered. */
  #onServerDraining(): void {
    this.#draining = true
    if (this.#inFlight > 0) return
    this.#draining = false
    this.#link.redial()
  }

  #onLost(error: CacheError): void {
    this.#draining = false
    this.#lastError = error
    this.#backlogBytes = 0
    for (const call of this.#ring) {
      if (call === undefined) continue
      const hasLeft = this.#hasLeft(call)
      this.#forget(call)
      this.#finish(call)
      call.end.onFailure(call, error, hasLeft)
    }
    this.#dropCommitted()
    for (const call of this.#pending) if (call.failsFast) this.#failPending(call, error)
    if (this.#outageSinceMs === undefined) {
      this.#outageSinceMs = performance.now()
      this.#events.onUnavailable(error)
    }
    this.#onIdleNow()
  }

  #failPending(call: Call, error: CacheError): void {
    this.#takePending(call)
    this.#finish(call)
    call.end.onFailure(call, error, false)
  }

  #takePending(call: Call): Buffer | undefined {
    const frame = call.frame
    if (frame === undefined || !this.#pending.delete(call)) return undefined
    this.#pendingBytes -= frame.length
    call.frame = undefined
    return frame
  }

  #errorOf(reply: Reader, call: Call): CacheError {
    const facts = errorFacts(reply.head)
    const text = errorText(reply)
    const retryAfterMs = reply.optional() ? reply.uint() : undefined
    const server = this.#options.server()
    return new CacheError(facts.code, `${server}: ${text}`, {
      retriable: facts.retriable,
      retryAfterMs,
      server,
      key: call.key,
    })
  }

  /** Takes a call out of the ring or the queue; false if it is in neither. */
  #forget(call: Call): boolean {
    if (this.#takePending(call) !== undefined) return true
    const index = call.id & (this.#ring.length - 1)
    if (this.#ring[index] !== call) return false
    this.#ring[index] = undefined
    this.#inFlight--
    return true
  }

  #finish(call: Call): void {
    call.stopListening?.()
    call.stopListening = undefined
  }

  #failAll(error: CacheError): void {
    for (const call of [...this.#pending, ...this.#ring]) {
      if (call === undefined) continue
      const hasLeft = this.#hasLeft(call)
      if (!this.#forget(call)) continue
      this.#finish(call)
      call.end.onFailure(call, error, hasLeft)
    }
    this.#dropCommitted()
  }

  /** Whether a call's bytes were handed to the link: not while they wait for a connection or for the end of the tick. */
  #hasLeft(call: Call): boolean {
    if (call.frame !== undefined) return false
    if (this.#committed === 0) return true
    const from = this.#committedFromId
    return idDistance(from, call.id) >= idDistance(from, this.#nextId)
  }

  #dropCommitted(): void {
    this.#committed = 0
    this.#committedFromId = this.#nextId
  }

  #startSweep(): void {
    this.#sweptMs = performance.now()
    this.#sweepTimer = setTimeout(this.#sweep, SWEEP_EVERY_MS)
  }

  #stopSweep(): void {
    if (this.#sweepTimer !== undefined) clearTimeout(this.#sweepTimer)
    this.#sweepTimer = undefined
  }

  /**
   * Judges deadlines only after the poll phase has read what arrived while this process was busy; after a standstill
   * not before there was time for what is still on its way, such as the greeting of a first connection.
   */
  readonly #sweep = (): void => {
    const nowMs = performance.now()
    const lateMs = nowMs - this.#sweptMs - SWEEP_EVERY_MS
    if (lateMs > STALL_MS && nowMs >= this.#graceAgainMs) {
      this.#graceUntilMs = nowMs + Math.min(lateMs, GRACE_MS_MAX)
      this.#graceAgainMs = nowMs + GRACE_EVERY_MS
    }
    setImmediate(lateMs > STALL_MS ? () => setImmediate(this.#judge) : this.#judge)
  }

  readonly #judge = (): void => {
    if (this.#sweepTimer === undefined) return
    const nowMs = performance.now()
    this.#nowMs = nowMs
    if (nowMs >= this.#graceUntilMs) {
      this.#judgePending(nowMs)
      if (this.#inFlight > 0) this.#judgeInFlight(nowMs)
    }
    this.#onIdleNow()
    if (this.#draining && this.#inFlight === 0) this.#onServerDraining()
    if (this.#inFlight + this.#pending.size === 0) this.#sweepTimer = undefined
    else this.#startSweep()
  }

  #judgePending(nowMs: number): void {
    for (const call of this.#pending)
      if (call.deadlineMs <= nowMs)
        this.#failPending(call, this.#timeoutError(call, 'no connection', this.#lastError))
  }

  #judgeInFlight(nowMs: number): void {
    for (const call of this.#ring) {
      if (call === undefined || call.deadlineMs > nowMs) continue
      this.#forget(call)
      this.#finish(call)
      call.end.onFailure(call, this.#timeoutError(call, 'no answer'), true)
    }
  }

  #timeoutError(call: Call, what: string, cause?: CacheError): CacheError {
    const server = this.#options.server()
    const why = cause === undefined ? '' : ` (${cause.message})`
    return new CacheError('CACHE_TIMEOUT', `${server}: ${what} within the call's deadline${why}`, {
      retriable: true,
      server,
      key: call.key,
      cause,
    })
  }

  #onIdleNow(): void {
    if (this.#inFlight + this.#pending.size === 0) this.#onIdle?.()
  }
}

function idAfter(id: number): number {
  return id === ID_MAX ? 1 : id + 1
}

function idDistance(from: number, to: number): number {
  return to >= from ? to - from : to - from + ID_MAX
}

function closedError(reason?: Error): CacheError {
  return new CacheError('CACHE_CLOSED', reason?.message ?? 'the client is closed', { cause: reason })
}

/** All errors but one are given before anything was changed; of those from a newer server nobody knows. */
export function mayHaveActed(status: number): boolean {
  return status >= Status.Internal
}

function encodedIntBytes(first: number): number {
  if (first < 0x80) return 1
  if (first === 0xcc) return 2
  return first === 0xcd ? 3 : 5
}
