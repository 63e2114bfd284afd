// A closed-loop load generator: connections of which each keeps one batch of requests in flight and sends the next
// when the last reply is in. Stands between bytes that somebody prepared and a server; knows no protocol.
// It must cost less than the server it measures: per batch one write, per chunk one callback, and one read buffer
// for all connections, which is sound because a chunk is looked at before the next one is read.
// Invariant: a connection never has two batches in flight, so a source may reuse the bytes of its previous batch.

import { connect, type Socket } from 'node:net'
import type { RecordableHistogram } from 'node:perf_hooks'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

const READ_BUFFER_BYTES = 256 * 1024
const STALL_CHECK_MS = 500
/** Connections that greet at the same time: servers bound how many may, from one address. */
const GREETING_MAX = 32

/** Requests written together. `bytes` belongs to the source and must not change while the batch is in flight. */
export interface Batch {
  bytes: Uint8Array
  requests: number
}

/** Gives one connection its batches; undefined when there are no more for it. */
export type BatchSource = () => Batch | undefined

/** Tells for one connection when its batch is answered. */
export interface ReplyMeter {
  expect(batch: Batch): void
  /** Looks at the first `length` bytes; true when the whole batch is answered; throws on what cannot be a reply. */
  take(bytes: Uint8Array, length: number): boolean
}

/** What one connection says before its load, and hears. */
export interface Greeter {
  begin(events: GreeterEvents): void
  /** Looks at the first `length` bytes; throws on what cannot be a reply. */
  take(bytes: Uint8Array, length: number): void
}

/** Exactly one of the last two is called, once, unless `take` throws before. */
export interface GreeterEvents {
  onRequest(bytes: Uint8Array): void
  onDone(): void
  onFailure(error: Error): void
}

export interface LoadOptions {
  host: string
  port: number
  /** Left out: without TLS. */
  tls?: ConnectionOptions | undefined
  /** Number of connections, at least 1. */
  connections: number
  newSource: (connection: number) => BatchSource
  newMeter: (connection: number) => ReplyMeter
  /** Left out: a connection is open, and its load begins. */
  newGreeter?: (() => Greeter) | undefined
  /** Each connection must be open, and have greeted, within this time. */
  connectTimeoutMs: number
  /** The load fails when nothing at all is answered for so long. */
  stallMs: number
  /** Gets the time from a batch's write to its last reply, in nanoseconds. Left out: not measured, which is cheaper. */
  latencies?: RecordableHistogram
}

export interface Load {
  /** Requests answered so far, on all connections. */
  readonly answered: number
  /** Settles when every connection had its last batch answered, or rejects with the first failure. */
  readonly done: Promise<void>
  /** No further batches: `done` resolves when those in flight are answered. */
  stop(): void
}

/** A load that could not be brought to its end: unreachable, closed, silent, or answered with something else. */
export class LoadError extends Error {
  override readonly name = 'LoadError'
}

/** Opens all connections, then starts sending on all of them. Rejects with LoadError if one cannot be opened. */
export async function startLoad(options: LoadOptions): Promise<Load> {
  const running = new RunningLoad(options)
  await running.open()
  running.begin()
  return running
}

class RunningLoad implements Load {
  answered = 0
  readonly done: Promise<void>
  stopping = false
  readonly options: LoadOptions
  readonly server: string
  readonly #connections: Connection[] = []
  #active = 0
  #resolve: () => void = () => {}
  #reject: (error: Error) => void = () => {}
  #stallTimer: NodeJS.Timeout | undefined

  constructor(options: LoadOptions) {
    this.options = options
    this.server = `${options.host}:${options.port}`
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // A failure may come before anybody has begun to wait for `done`.
    this.done.catch(() => {})
  }

  async open(): Promise<void> {
    const buffer = new Uint8Array(READ_BUFFER_BYTES)
    const { connections, newGreeter } = this.options
    const atATime = newGreeter === undefined ? connections : GREETING_MAX
    this.#active = connections
    try {
      while (this.#connections.length < connections) {
        const first = this.#connections.length
        for (let number = first; number < Math.min(first + atATime, connections); number++)
          this.#connections.push(new Connection(this, buffer, number))
        await Promise.all(this.#connections.slice(first).map((connection) => connection.opened))
      }
    } catch (error) {
      this.#end()
      throw error
    }
  }

  begin(): void {
    this.#watchForStalls()
    for (const connection of this.#connections) connection.sendNext()
  }

  stop(): void {
    this.stopping = true
  }

  connectionDone(): void {
    this.#active--
    if (this.#active > 0) return
    this.#end()
    this.#resolve()
  }

  fail(error: Error): void {
    this.#end()
    this.#reject(error)
  }

  #end(): void {
    clearInterval(this.#stallTimer)
    for (const connection of this.#connections) connection.close()
  }

  #watchForStalls(): void {
    let answeredBefore = 0
    let changedAt = performance.now()
    this.#stallTimer = setInterval(() => {
      const now = performance.now()
      if (this.answered !== answeredBefore) {
        answeredBefore = this.answered
        changedAt = now
      } else if (now - changedAt >= this.options.stallMs) {
        this.fail(new LoadError(`${this.server} answered nothing for ${this.options.stallMs} ms`))
      }
    }, STALL_CHECK_MS)
  }
}

class Connection {
  readonly opened: Promise<void>
  readonly #load: RunningLoad
  readonly #socket: Socket
  readonly #source: BatchSource
  readonly #meter: ReplyMeter
  readonly #greeter: Greeter | undefined
  #state: 'opening' | 'greeting' | 'idle' | 'waiting' | 'closed' = 'opening'
  #failOpening: (message: string, cause?: Error) => void = () => {}
  #requests = 0
  #sentAt = 0

  constructor(load: RunningLoad, buffer: Uint8Array, number: number) {
    const { host, port, tls, connectTimeoutMs, newSource, newMeter, newGreeter } = load.options
    this.#load = load
    this.#source = newSource(number)
    this.#meter = newMeter(number)
    this.#greeter = newGreeter?.()
    const options = {
      host,
      port,
      noDelay: true,
      onread: {
        buffer,
        callback: (length: number) => {
          this.#onReply(buffer, length)
          return true
        },
      },
    }
    this.#socket = tls === undefined ? connect(options) : connectTls({ ...tls, ...options })
    this.opened = new Promise((resolve, reject) => {
      const fail = (message: string, cause?: Error) => {
        clearTimeout(timer)
        const failure = new LoadError(`${load.server} ${message}`, { cause })
        reject(failure)
        this.#onFailure(failure)
      }
      const timer = setTimeout(
        () => fail(`accepted no connection in ${connectTimeoutMs} ms`),
        connectTimeoutMs,
      )
      this.#failOpening = fail
      this.#socket.on('error', (error) => fail(`failed: ${error.message}`, error))
      this.#socket.on('close', () => fail(`closed a connection after ${load.answered} replies`))
      const onDone = () => {
        clearTimeout(timer)
        this.#state = 'idle'
        resolve()
      }
      this.#socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
        if (this.#greeter === undefined) return onDone()
        this.#state = 'greeting'
        this.#greeter.begin({
          onRequest: (bytes) => this.#socket.write(bytes),
          onDone,
          onFailure: (error) => fail(`let nobody in: ${error.message}`, error),
        })
      })
    })
  }

  sendNext(): void {
    const batch = this.#load.stopping ? undefined : this.#source()
    if (batch === undefined) {
      this.close()
      this.#load.connectionDone()
      return
    }
    this.#state = 'waiting'
    this.#requests = batch.requests
    this.#meter.expect(batch)
    if (this.#load.options.latencies !== undefined) this.#sentAt = performance.now()
    this.#socket.write(batch.bytes)
  }

  close(): void {
    this.#state = 'closed'
    this.#socket.destroy()
  }

  #onReply(bytes: Uint8Array, length: number): void {
    if (this.#state === 'closed') return
    if (this.#state === 'greeting') {
      this.#onGreeting(bytes, length)
      return
    }
    try {
      if (!this.#meter.take(bytes, length)) return
    } catch (error) {
      this.#onFailure(new LoadError(`${this.#load.server}: ${messageOf(error)}`, { cause: error }))
      return
    }
    this.#load.answered += this.#requests
    const latencies = this.#load.options.latencies
    if (latencies !== undefined) latencies.record(nanoseconds(performance.now() - this.#sentAt))
    this.sendNext()
  }

  #onGreeting(bytes: Uint8Array, length: number): void {
    try {
      this.#greeter?.take(bytes, length)
    } catch (error) {
      this.#failOpening(`let nobody in: ${messageOf(error)}`, error instanceof Error ? error : undefined)
    }
  }

  #onFailure(error: LoadError): void {
    if (this.#state === 'closed') return
    const wasOpen = this.#state !== 'opening' && this.#state !== 'greeting'
    this.close()
    if (wasOpen) this.#load.fail(error)
  }
}

function nanoseconds(ms: number): number {
  return Math.max(1, Math.round(ms * 1e6))
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
