// Calls over many keys: cut into requests that fit into a frame, and put together again. A part that the server cannot
// serve costs its own keys only; keys that a full reply skipped are asked for again.

import { CacheError, errorFacts, ProtocolError } from '../protocol/errors.ts'
import { FRAME_OVERHEAD_BYTES_MAX } from '../protocol/limits.ts'
import { type Condition, Opcode, Status } from '../protocol/messages.ts'
import { type ByteRange, emptyRange, type Reader } from '../protocol/reader.ts'
import { decodeValue, encodeValue, ValueError } from '../protocol/value.ts'
import type { Writer } from '../protocol/writer.ts'
import { type Behaviour, Call, type CallEnd } from './call.ts'
import { mayHaveActed } from './call-errors.ts'
import type { CallOptions, Stored } from './calls.ts'
import type { ClientCounters, Ends } from './ends.ts'
import { checkKey, readVersion, scanPrefix, writeKey } from './keys.ts'
import { Listing } from './listing.ts'
import type { Requests } from './requests.ts'

/** Keys in one request. */
const PART_KEYS_MAX = 512
/** Bytes of keys and values in one request, but for a single larger value. */
const PART_BYTES_MAX = FRAME_OVERHEAD_BYTES_MAX - 8 * 1024
const SCAN_COUNT = 1000

/** An entry as it is sent. */
interface Encoded {
  readonly key: string
  /** Its place among the outcomes. */
  readonly index: number
  readonly flags: number
  readonly bytes: Buffer
}

export class ManyKeys {
  readonly #requests: Requests
  readonly #ends: Ends
  readonly #counters: ClientCounters
  readonly #keyPrefix: string

  constructor(requests: Requests, ends: Ends, counters: ClientCounters, keyPrefix: string) {
    this.#requests = requests
    this.#ends = ends
    this.#counters = counters
    this.#keyPrefix = keyPrefix
  }

  async retrieve<T>(
    keys: readonly string[],
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): Promise<(T | undefined)[]> {
    for (const key of keys) checkKey(key, this.#keyPrefix)
    return this.#asOne(behaviour, (held) => this.#retrieve<T>(keys, held, options))
  }

  async #retrieve<T>(
    keys: readonly string[],
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): Promise<(T | undefined)[]> {
    const values: (T | undefined)[] = new Array(keys.length).fill(undefined)
    const deadline = this.#deadline(options)
    let wanted = keys.map((key, index) => ({ key, index }))
    while (wanted.length > 0) {
      const skipped: typeof wanted = []
      const round = deadline()
      await Promise.all(
        cut(wanted, this.#keyBytes).map((part) =>
          this.#ask(
            Opcode.GetMany,
            1,
            behaviour,
            round,
            undefined,
            (writer) => this.#writeKeys(writer, part),
            (reply) =>
              eachEntry(reply, part, (entry, { key, index }) => {
                const status = takeStatus(entry)
                if (status === Status.Skipped) skipped.push({ key, index })
                else if (status === Status.Ok) values[index] = this.#takeValue(entry, behaviour) as T
                else this.#counters.misses++
              }),
          ),
        ),
      )
      // A reply has room for one value at least: each round gets on, or the server does not mean it.
      const error = skipped.length === wanted.length ? skipsAll() : overdue(deadline(), skipped.length)
      wanted = skipped
      if (error === undefined) continue
      this.#ends.count(error)
      if (behaviour.throws) throw error
      break
    }
    return values
  }

  async store(
    entries: readonly (readonly [string, unknown])[],
    ttlMs: number | undefined,
    condition: Condition,
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): Promise<Stored[]> {
    // Encoded before anything is sent: what cannot be stored is a TypeError, and then nothing has happened.
    const encoded = entries.map(([key, value], index) => {
      checkKey(key, this.#keyPrefix)
      const { bytes, at, length, flags } = encodeValue(value, key)
      return { key, index, flags, bytes: Buffer.from(bytes.subarray(at, at + length)) }
    })
    return this.#asOne(behaviour, (held) => this.#store(encoded, ttlMs, condition, held, options))
  }

  async #store(
    encoded: readonly Encoded[],
    ttlMs: number | undefined,
    condition: Condition,
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): Promise<Stored[]> {
    const outcomes: Stored[] = new Array(encoded.length)
    // Kept out of the requests: one value beyond the limit costs a whole part a second try, and that its order.
    const accepted = encoded.filter(({ key, index, bytes }) => {
      const error = this.#requests.tooLarge(key, bytes.length)
      if (error === undefined) return true
      this.#ends.count(error)
      if (behaviour.throws) throw error
      outcomes[index] = { outcome: 'unavailable', maybeStored: false, error }
      return false
    })
    const deadline = this.#deadline(options)
    const storePart = async (part: readonly Encoded[]): Promise<void> => {
      const failure = await this.#ask(
        Opcode.SetMany,
        3,
        behaviour,
        deadline(),
        (error: CacheError, maybeStored: boolean) => ({ error, maybeStored }),
        (writer) => {
          writer.reserve(8)
          writer.array(part.length)
          for (const { key, flags, bytes } of part) {
            writer.reserve(16)
            writer.array(3)
            writeKey(writer, key, this.#keyPrefix)
            writer.reserve(bytes.length + 16)
            writer.int(flags)
            writer.binary(bytes, 0, bytes.length)
          }
          writer.reserve(32)
          if (ttlMs === undefined) writer.nil()
          else writer.int(ttlMs)
          writer.int(condition)
        },
        (reply) =>
          eachEntry(reply, part, (entry, { index }) => {
            outcomes[index] = this.#stored(entry)
          }),
      )
      if (failure === undefined) return
      // One value beyond a limit that was not known, and nothing of this part was stored: it must not cost the others.
      if (failure.error.code === 'CACHE_TOO_LARGE' && part.length > 1)
        await Promise.all(part.map((entry) => storePart([entry])))
      else for (const { index } of part) outcomes[index] = { outcome: 'unavailable', ...failure }
    }
    await Promise.all(
      cut(accepted, (entry) => this.#keyBytes(entry) + entry.bytes.length + 16).map(storePart),
    )
    return outcomes
  }

  async delete(
    keys: readonly string[],
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): Promise<number> {
    for (const key of keys) checkKey(key, this.#keyPrefix)
    let deleted = 0
    const parts = cut(
      keys.map((key) => ({ key })),
      this.#keyBytes,
    )
    await Promise.all(
      parts.map((part) =>
        this.#ask(
          Opcode.DeleteMany,
          1,
          behaviour,
          options,
          undefined,
          (writer) => this.#writeKeys(writer, part),
          (reply) => {
            takeListHead(reply, part.length)
            for (let left = part.length; left > 0; left--) if (reply.uint() === Status.Ok) deleted++
          },
        ),
      ),
    )
    return deleted
  }

  /**
   * Pages of keys with a prefix; `behaviour` throws. Where another server answers, what was given before may be given
   * again.
   */
  async *pages(
    ownPrefix: string,
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): AsyncGenerator<string[]> {
    const prefix = scanPrefix(ownPrefix, this.#keyPrefix)
    const cutFrom = this.#keyPrefix.length
    const listing = new Listing(options?.timeoutMs ?? this.#requests.timeoutMs)
    while (!listing.isOver) {
      const page: string[] = []
      let cursor = 0
      let boot: string | undefined
      const startMs = performance.now()
      await this.#ask(
        Opcode.Scan,
        3,
        behaviour,
        options,
        undefined,
        (writer) => {
          writer.reserve(64 + prefix.length * 3)
          writer.int(listing.cursor)
          writer.string(prefix)
          writer.int(SCAN_COUNT)
        },
        (reply) => {
          // Who answers, not who was connected when it was asked: it may have waited for a connection.
          boot = this.#requests.hello?.bootId
          reply.required('cursor')
          cursor = reply.uint()
          reply.required('keys')
          for (let left = reply.array(); left > 0; left--) page.push(reply.string().slice(cutFrom))
        },
      )
      const ms = performance.now() - startMs
      const error = listing.take({ boot, cursor, keyCount: page.length, ms })
      if (error !== undefined) {
        this.#ends.count(error)
        throw error
      }
      if (listing.isPage && page.length > 0) yield page
    }
  }

  /** `close` waits for a call of several requests as a whole; what begins after it is refused. */
  async #asOne<T>(behaviour: Behaviour, run: (behaviour: Behaviour) => Promise<T>): Promise<T> {
    const release = this.#requests.hold()
    if (release === undefined) return run(behaviour)
    try {
      return await run({ ...behaviour, isHeld: true })
    } finally {
      release()
    }
  }

  /** One request; resolves with undefined when `read` has read the reply, or with what `onFailure` says. */
  #ask<F>(
    opcode: Opcode,
    operands: number,
    behaviour: Behaviour,
    options: CallOptions | undefined,
    onFailure: ((error: CacheError, maybeDone: boolean) => F) | undefined,
    write: (writer: Writer) => void,
    read: (reply: Reader) => void,
  ): Promise<F | undefined> {
    const end: CallEnd = {
      onReply: (call, reply) => {
        read(reply)
        call.resolve(undefined as never)
      },
      onFailure: (call, error, maybeDone) => this.#ends.fail(call, error, onFailure?.(error, maybeDone)),
    }
    return new Promise((resolve, reject) => {
      const signal = options?.signal
      if (signal?.aborted === true) {
        reject(signal.reason)
        return
      }
      const call = new Call(end, resolve, reject, undefined, behaviour)
      const writer = this.#requests.begin(call, opcode, operands, behaviour.isHeld)
      if (writer === undefined) return
      write(writer)
      if (signal !== undefined) this.#requests.listen(call, signal)
      this.#requests.end(call, options?.timeoutMs)
    })
  }

  /** The options for what is sent now, since the deadline is the whole call's: each has what the former ones left. */
  #deadline(options: CallOptions | undefined): () => CallOptions & { timeoutMs: number } {
    const timeoutMs = options?.timeoutMs ?? this.#requests.timeoutMs
    const startMs = performance.now()
    return () => ({ ...options, timeoutMs: startMs + timeoutMs - performance.now() })
  }

  /** Bytes that a key has at the most. */
  readonly #keyBytes = ({ key }: { key: string }): number => (this.#keyPrefix.length + key.length) * 3

  #writeKeys(writer: Writer, part: readonly { key: string }[]): void {
    writer.reserve(8)
    writer.array(part.length)
    for (const { key } of part) writeKey(writer, key, this.#keyPrefix)
  }

  /** A value that cannot be decoded costs its own key only. */
  #takeValue(entry: Reader, behaviour: Behaviour): unknown {
    entry.required('flags')
    const flags = entry.uint()
    entry.required('value')
    entry.range(value)
    try {
      const found = decodeValue(value.bytes, value.at, value.length, flags)
      this.#counters.hits++
      return found
    } catch (error) {
      if (behaviour.throws || !(error instanceof ValueError)) throw error
      this.#ends.count(new CacheError('CACHE_PROTOCOL', error.message, { cause: error }))
      return undefined
    }
  }

  #stored(entry: Reader): Stored {
    const status = takeStatus(entry)
    if (status === Status.Ok) {
      const version = readVersion(entry)
      this.#counters.stored++
      return { outcome: 'stored', version, acks: 0, acksAwaited: 0 }
    }
    if (status === Status.Conflict) {
      this.#counters.conflicts++
      return { outcome: 'conflict', version: undefined }
    }
    const { code, retriable } = errorFacts(status)
    const error = new CacheError(code, `the server refused this entry with status ${status}`, { retriable })
    this.#ends.count(error)
    return { outcome: 'unavailable', maybeStored: mayHaveActed(status), error }
  }
}

const value: ByteRange = emptyRange()

function skipsAll(): CacheError {
  return new CacheError('CACHE_PROTOCOL', 'the server skips every key it is asked for')
}

function overdue({ timeoutMs }: { timeoutMs: number }, keysLeft: number): CacheError | undefined {
  if (timeoutMs > 0 || keysLeft === 0) return undefined
  return new CacheError('CACHE_TIMEOUT', `${keysLeft} keys were left at the call's deadline`, {
    retriable: true,
  })
}

/** Reads a reply's list of entries, each an array with operands of its own, beside what was asked. */
function eachEntry<K>(reply: Reader, asked: readonly K[], onEntry: (entry: Reader, asked: K) => void): void {
  takeListHead(reply, asked.length)
  const operandsAfterList = reply.operands
  for (const item of asked) {
    reply.operands = reply.array()
    onEntry(reply, item)
    // What a newer server says beyond what is known here.
    for (; reply.operands > 0; reply.operands--) reply.skip(0)
  }
  reply.operands = operandsAfterList
}

function takeListHead(reply: Reader, count: number): void {
  reply.required('list')
  const answered = reply.array()
  if (answered !== count)
    throw new ProtocolError(Status.BadOperand, `${count} answers are expected, got ${answered}`)
}

function takeStatus(entry: Reader): number {
  entry.required('status')
  return entry.uint()
}

/** Cuts a list into parts of limited count and size. */
function cut<T>(items: readonly T[], sizeOf: (item: T) => number): T[][] {
  const parts: T[][] = []
  let part: T[] = []
  let partBytes = 0
  for (const item of items) {
    const bytes = sizeOf(item)
    if (part.length > 0 && (part.length === PART_KEYS_MAX || partBytes + bytes > PART_BYTES_MAX)) {
      parts.push(part)
      part = []
      partBytes = 0
    }
    part.push(item)
    partBytes += bytes
  }
  if (part.length > 0) parts.push(part)
  return parts
}
