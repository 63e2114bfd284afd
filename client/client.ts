// OrmucoCacheClient: what an application holds. Each method checks its arguments, writes one request and says how it
// ends; ids, queues, deadlines and connections are the business of requests.ts.
//
// Nothing here blocks and nothing hangs: every call settles within its deadline. Reads and `store` fail open; `delete`,
// `clear`, `touch` and `increment` reject, since an invalidation that silently did nothing is stale data.

import { EventEmitter } from 'node:events'
import type { CacheError } from '../protocol/errors.ts'
import { TTL_MS_MAX } from '../protocol/limits.ts'
import { Opcode, Want } from '../protocol/messages.ts'
import { encodeValue } from '../protocol/value.ts'
import { acksOf, writeAcks } from './acks.ts'
import { type Behaviour, Call, type CallEnd, capture, captured } from './call.ts'
import {
  type CallOptions,
  callOptionNames,
  checkCallOptions,
  checkSignal,
  type DeleteOptions,
  deleteOptionNames,
  type Entry,
  type IncrementOptions,
  incrementOptionNames,
  type Lookup,
  type ReadOptions,
  readOptionNames,
  type ServerStats,
  type Stored,
  type StoreOptions,
  storeManyOptionNames,
  storeOptionNames,
  ttlMsOf,
} from './calls.ts'
import { conditionOf } from './conditions.ts'
import { dialTcp, nameOf, type ServerAddress } from './dial.ts'
import { type ClientCounters, type Ends, makeEnds, newCounters, pingEnd, statsEnd } from './ends.ts'
import { writeKey } from './keys.ts'
import { ManyKeys } from './many.ts'
import { type ClientOptions, type ResolvedClientOptions, resolveClientOptions } from './options.ts'
import { Requests } from './requests.ts'
import { fitting } from './schema.ts'
import { Standalone } from './standalone.ts'
import { isTraced, traceCommand } from './tracing.ts'

export interface ClientEvents {
  /** An outage begins: once, not per call. */
  unavailable: [{ server: string; error: CacheError }]
  /** It is over. `failedCalls`: those that were lost with the connection, and all that failed from then on. */
  available: [{ server: string; outageMs: number; failedCalls: number }]
  /** Emitted only if somebody listens. */
  error: [Error]
}

const CLOSE_TIMEOUT_MS = 2000

const READ = { throws: false, failsFast: true }
const STORE = { throws: false, failsFast: false }
const CHANGE = { throws: true, failsFast: false }

export class OrmucoCacheClient extends EventEmitter<ClientEvents> implements AsyncDisposable {
  readonly mode: 'remote' | 'standalone'
  readonly #options: ResolvedClientOptions
  readonly #requests: Requests
  readonly #counters: ClientCounters
  readonly #ends: Ends
  readonly #many: ManyKeys
  readonly #standalone: Standalone | undefined
  readonly #reading: Behaviour
  readonly #storing: Behaviour
  #server: string
  #unavailableBefore = 0

  /**
   * Connects at the first call, or by `connect`. Without servers, here or in SERVERS or SERVER_HOST, it is a cache of
   * its own in this process. Throws TypeError or RangeError for options that cannot be.
   *
   * An open connection keeps the process alive until `close` or `destroy`, as does a call under way; a server that cannot
   * be reached, and a cache in this process, do not.
   */
  constructor(options: ClientOptions = {}) {
    super()
    this.#options = resolveClientOptions(options)
    const { servers } = this.#options
    this.mode = servers.length === 0 ? 'standalone' : 'remote'
    if (this.mode === 'standalone' && options.standalone === undefined)
      this.#options.logger.warn(
        'ormuco-cache: no servers, and no SERVERS or SERVER_HOST in the environment: this process has a cache of its own',
      )
    this.#counters = newCounters()
    this.#server = this.mode === 'standalone' ? 'standalone' : servers.map(nameOf).join(', ')
    this.#standalone = this.mode === 'standalone' ? new Standalone(this.#options.standalone) : undefined
    const onServer = (server: ServerAddress) => {
      this.#server = nameOf(server)
    }
    this.#requests = new Requests(
      {
        ...this.#options,
        dial: this.#standalone?.dial ?? dialTcp(servers, onServer, this.#options.tls),
        server: () => this.#server,
        serverCount: servers.length,
        clientName: this.#options.name,
      },
      {
        onOutage: () => {
          this.#unavailableBefore = this.#counters.unavailable
        },
        onUnavailable: (error) => this.#onUnavailable(error),
        onAvailable: (_, outageMs) => this.#onAvailable(outageMs),
      },
    )
    this.#reading = this.#behaviour(READ, undefined)
    this.#storing = this.#behaviour(STORE, undefined)
    this.#ends = makeEnds(this.#counters, () => this.#requests.hello?.region ?? '')
    this.#many = new ManyKeys(this.#requests, this.#ends, this.#counters, this.#options.keyPrefix)
  }

  /**
   * Optional check at start-up: resolves when connected, rejects with a CacheError if that fails within the deadline; at
   * once, with CACHE_UNAUTHENTICATED, if the servers do not let this client in.
   */
  async connect(options?: CallOptions): Promise<this> {
    if (options !== undefined) checkCallOptions(options, callOptionNames)
    await this.#call(pingEnd, CHANGE, options, Opcode.Ping)
    return this
  }

  /** Stores a value: anything JSON-like, Date, Map, Set, bigint, Buffer, typed arrays, cycles. TypeError for the rest. */
  store(key: string, value: unknown, options?: StoreOptions): Promise<Stored> {
    if (options !== undefined || isTraced())
      return this.#storeWith(key, value, options === undefined ? {} : options)
    // The two plain calls are written out: they allocate their promise and their call, and no closures.
    const promise = new Promise<Stored>(capture)
    const call = new Call(this.#ends.store, captured.resolve, captured.reject, key, this.#storing)
    try {
      const encoded = encodeValue(value, key)
      const writer = this.#requests.begin(call, Opcode.Set, 3)
      if (writer !== undefined) {
        writeKey(writer, key, this.#options.keyPrefix)
        writer.reserve(encoded.length + 16)
        writer.int(encoded.flags)
        writer.binary(encoded.bytes, encoded.at, encoded.length)
        this.#requests.end(call, undefined)
      }
    } catch (error) {
      call.reject(error)
    }
    return promise
  }

  /** The value, or undefined on a miss. With a schema: its output. */
  retrieve<T = unknown>(key: string, options?: ReadOptions<T>): Promise<T | undefined> {
    if (options !== undefined || isTraced())
      return this.#retrieveWith(key, options === undefined ? {} : options)
    const promise = new Promise<T | undefined>(capture)
    const call = new Call(this.#ends.retrieve, captured.resolve, captured.reject, key, this.#reading)
    try {
      const writer = this.#requests.begin(call, Opcode.Get, 1)
      if (writer !== undefined) {
        writeKey(writer, key, this.#options.keyPrefix)
        this.#requests.end(call, undefined)
      }
    } catch (error) {
      call.reject(error)
    }
    return promise
  }

  /** The value with all that is known of it, and misses told from outages. */
  async lookup<T = unknown>(key: string, options?: ReadOptions<T>): Promise<Lookup<T>> {
    if (options !== undefined) checkCallOptions(options, readOptionNames)
    const found = await traceCommand('lookup', () =>
      this.#promise<Lookup<T>>(this.#ends.lookup, READ, key, options, (call) => {
        const writer = this.#requests.begin(call, Opcode.Get, 2)
        if (writer === undefined) return false
        writeKey(writer, key, this.#options.keyPrefix)
        writer.int(Want.Meta)
        return true
      }),
    )
    if (options?.schema === undefined || (found.outcome !== 'hit' && found.outcome !== 'stale')) return found
    const value = await fitting(found.value, options.schema, this.#counters)
    return value === undefined ? { outcome: 'miss' } : { ...found, value }
  }

  /** Version, size and time to live; leaves the LRU order and the expiry alone. */
  inspect(key: string, options?: CallOptions): Promise<Entry | undefined> {
    return this.#keyCall('inspect', this.#ends.inspect, READ, key, options, Opcode.Inspect)
  }

  /** Whether there was something to delete. Rejects if the server cannot be asked. */
  async delete(key: string, options?: DeleteOptions): Promise<boolean> {
    if (options !== undefined) checkCallOptions(options, deleteOptionNames)
    const acks = acksOf(options?.acks)
    return traceCommand('delete', () =>
      this.#promise(this.#ends.found, CHANGE, key, options, (call) => {
        const writer = this.#requests.begin(call, Opcode.Delete, acks === 0 ? 1 : 3)
        if (writer === undefined) return false
        writeKey(writer, key, this.#options.keyPrefix)
        if (acks > 0) writeAcks(writer, acks, options?.timeoutMs ?? this.#options.timeoutMs)
        return true
      }),
    )
  }

  /** Whether the key has a value; leaves the LRU order alone. */
  has(key: string, options?: CallOptions): Promise<boolean> {
    return this.#keyCall('has', this.#ends.found, READ, key, options, Opcode.Inspect)
  }

  /** Gives a value a new time to live (Infinity: none). False if there is no such value. */
  async touch(key: string, ttlSeconds: number, options?: CallOptions): Promise<boolean> {
    if (options !== undefined) checkCallOptions(options, callOptionNames)
    const ttlMs = ttlMsOf(ttlSeconds)
    if (ttlMs === undefined)
      throw new RangeError(`ttlSeconds is needed: above 0, at most ${TTL_MS_MAX / 1000}, or Infinity`)
    return traceCommand('touch', () =>
      this.#promise(this.#ends.found, CHANGE, key, options, (call) => {
        const writer = this.#requests.begin(call, Opcode.Touch, 2)
        if (writer === undefined) return false
        writeKey(writer, key, this.#options.keyPrefix)
        writer.int(ttlMs)
        return true
      }),
    )
  }

  /** Adds to a number; resolves with the new one. Rejects with CACHE_NOT_INTEGER if there is something else. */
  async increment(key: string, by = 1, options?: IncrementOptions): Promise<number> {
    if (options !== undefined) checkCallOptions(options, incrementOptionNames)
    const initial = options?.initial ?? 0
    for (const [name, number] of [['by', by] as const, ['initial', initial] as const])
      if (!Number.isSafeInteger(number))
        throw new RangeError(`${name}: ${String(number)} is not an integer within ±(2^53 - 1)`)
    const ttlMs = ttlMsOf(options?.ttlSeconds)
    return traceCommand('increment', () =>
      this.#promise(this.#ends.number, CHANGE, key, options, (call) => {
        const writer = this.#requests.begin(call, Opcode.Increment, 4)
        if (writer === undefined) return false
        writeKey(writer, key, this.#options.keyPrefix)
        writer.int(by)
        writer.int(initial)
        if (ttlMs === undefined) writer.nil()
        else writer.int(ttlMs)
        return true
      }),
    )
  }

  /** Values in the order of their keys, undefined for each miss. */
  async retrieveMany<T = unknown>(
    keys: readonly string[],
    options?: ReadOptions<T>,
  ): Promise<(T | undefined)[]> {
    if (options !== undefined) checkCallOptions(options, readOptionNames)
    const values = await traceCommand('retrieveMany', () =>
      this.#many.retrieve<T>(keys, this.#behaviour(READ, options), options),
    )
    const schema = options?.schema
    if (schema === undefined) return values
    return Promise.all(values.map((value) => fitting(value, schema, this.#counters)))
  }

  /**
   * Stores many values with the same options; outcomes in their order. Of two values of a key the later one stays, but
   * for this: before the first connection a value over the server's limit costs the values sent with it their order.
   */
  async storeMany(
    entries: Iterable<readonly [string, unknown]>,
    options?: Omit<StoreOptions, 'if' | 'acks'> & { if?: 'absent' | 'present' },
  ): Promise<Stored[]> {
    if (options !== undefined) checkCallOptions(options, storeManyOptionNames)
    const condition = conditionOf(options?.if)
    if (condition.version !== undefined) throw new TypeError('storeMany: a version belongs to one key')
    const ttlMs = ttlMsOf(options?.ttlSeconds)
    return traceCommand('storeMany', () =>
      this.#many.store([...entries], ttlMs, condition.condition, this.#behaviour(STORE, options), options),
    )
  }

  /** How many of the keys there were. */
  async deleteMany(keys: readonly string[], options?: CallOptions): Promise<number> {
    if (options !== undefined) checkCallOptions(options, callOptionNames)
    return traceCommand('deleteMany', () =>
      this.#many.delete(keys, this.#behaviour(CHANGE, options), options),
    )
  }

  /**
   * All keys, page by page: one that is there throughout is given at least once, and again if the client meanwhile moved
   * to another server. Rejects if the server cannot be asked, whatever `onUnavailable` says: keys that are left out in
   * silence are taken for keys that are not there.
   */
  async *keys(
    options: { prefix?: string; signal?: AbortSignal } = {},
  ): AsyncGenerator<string, void, undefined> {
    for (const name of Object.keys(options))
      if (name !== 'prefix' && name !== 'signal')
        throw new TypeError(`unknown option ${name}; there are prefix, signal`)
    const { prefix = '', signal } = options
    checkSignal(signal)
    const callOptions = signal === undefined ? undefined : { signal }
    for await (const page of this.#many.pages(prefix, CHANGE, callOptions)) {
      for (const key of page) {
        signal?.throwIfAborted()
        yield key
      }
    }
  }

  /** Everything on the server is gone, whatever the key prefix. */
  async clear(options?: CallOptions): Promise<void> {
    if (options !== undefined) checkCallOptions(options, callOptionNames)
    await traceCommand('clear', () => this.#call(this.#ends.found, CHANGE, options, Opcode.Clear))
  }

  /** The server's statistics: server, memory, cache, commands, connections, network, replication, peers, eventLoop. */
  async stats(options?: CallOptions): Promise<ServerStats> {
    if (options !== undefined) checkCallOptions(options, callOptionNames)
    return this.#call<ServerStats>(statsEnd, CHANGE, options, Opcode.Stats)
  }

  /** What this client has seen; synchronous, a copy. */
  counters(): ClientCounters {
    return { ...this.#counters, inFlight: this.#requests.inFlight, pending: this.#requests.pending }
  }

  /** Waits for the calls under way (at most `timeoutMs`, default 2000), then disconnects. Idempotent. */
  async close(options: { timeoutMs?: number } = {}): Promise<void> {
    await this.#requests.close(options.timeoutMs ?? CLOSE_TIMEOUT_MS)
    this.#standalone?.destroy()
  }

  /** Disconnects at once; calls under way end as unavailable. */
  destroy(reason?: Error): void {
    this.#requests.destroy(reason)
    this.#standalone?.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #retrieveWith<T>(key: string, options: ReadOptions<T>): Promise<T | undefined> {
    checkCallOptions(options, readOptionNames)
    const found = traceCommand('retrieve', () =>
      this.#promise<T | undefined>(this.#ends.retrieve, READ, key, options, (call) => {
        const writer = this.#requests.begin(call, Opcode.Get, 1)
        if (writer === undefined) return false
        writeKey(writer, key, this.#options.keyPrefix)
        return true
      }),
    )
    return options.schema === undefined ? found : fitting(found, options.schema, this.#counters)
  }

  async #storeWith(key: string, value: unknown, options: StoreOptions): Promise<Stored> {
    checkCallOptions(options, storeOptionNames)
    const ttlMs = ttlMsOf(options.ttlSeconds)
    const { condition, version } = conditionOf(options.if)
    const acks = acksOf(options.acks)
    return traceCommand('store', () =>
      this.#promise(this.#ends.store, STORE, key, options, (call) => {
        const encoded = encodeValue(value, key)
        const writer = this.#requests.begin(call, Opcode.Set, acks === 0 ? 6 : 8)
        if (writer === undefined) return false
        writeKey(writer, key, this.#options.keyPrefix)
        writer.reserve(encoded.length + 64)
        writer.int(encoded.flags)
        writer.binary(encoded.bytes, encoded.at, encoded.length)
        if (ttlMs === undefined) writer.nil()
        else writer.int(ttlMs)
        writer.int(condition)
        if (version === undefined) writer.nil()
        else writer.binary(version, 0, version.length)
        if (acks > 0) writeAcks(writer, acks, options?.timeoutMs ?? this.#options.timeoutMs)
        return true
      }),
    )
  }

  async #keyCall<T>(
    name: string,
    end: CallEnd,
    behaviour: Behaviour,
    key: string,
    options: CallOptions | undefined,
    opcode: Opcode,
  ): Promise<T> {
    if (options !== undefined) checkCallOptions(options, callOptionNames)
    return traceCommand(name, () => this.#call<T>(end, behaviour, options, opcode, { key }))
  }

  /** A call with one operand, a key, or with none. */
  #call<T>(
    end: CallEnd,
    behaviour: Behaviour,
    options: CallOptions | undefined,
    opcode: Opcode,
    operand?: { key: string },
  ): Promise<T> {
    return this.#promise<T>(end, behaviour, operand?.key, options, (call) => {
      const writer = this.#requests.begin(call, opcode, operand === undefined ? 0 : 1)
      if (writer === undefined) return false
      if (operand !== undefined) writeKey(writer, operand.key, this.#options.keyPrefix)
      return true
    })
  }

  /** `write` begins the request and writes its operands; false if the call has ended already. */
  #promise<T>(
    end: CallEnd,
    behaviour: Behaviour,
    key: string | undefined,
    options: CallOptions | undefined,
    write: (call: Call) => boolean,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const call = new Call(end, resolve, reject, key, this.#behaviour(behaviour, options))
      const signal = options?.signal
      if (signal?.aborted === true) {
        reject(signal.reason)
        return
      }
      if (!write(call)) return
      if (signal !== undefined) this.#requests.listen(call, signal)
      this.#requests.end(call, options?.timeoutMs)
    })
  }

  #behaviour(behaviour: Behaviour, options: CallOptions | undefined): Behaviour {
    const onUnavailable = options?.onUnavailable ?? this.#options.onUnavailable
    if (onUnavailable === undefined) return behaviour
    return { throws: onUnavailable === 'throw', failsFast: behaviour.failsFast }
  }

  #onUnavailable(error: CacheError): void {
    this.#counters.outages++
    // A server of its own has nobody else who could say what is wrong with it.
    if (this.mode === 'standalone') this.#options.logger.error(`ormuco-cache: ${error.message}`)
    this.emit('unavailable', { server: this.#server, error })
    if (this.listenerCount('error') > 0) this.emit('error', error)
  }

  #onAvailable(outageMs: number): void {
    if (outageMs === 0) return
    const failedCalls = this.#counters.unavailable - this.#unavailableBefore
    this.emit('available', { server: this.#server, outageMs, failedCalls })
  }
}
