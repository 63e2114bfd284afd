// Calls over many keys: cut into requests that fit into a frame, and put together again. A part that the server cannot
// serve costs its own keys only; keys that a full reply skipped are asked for again.

import { CacheError, errorFacts } from '../protocol/errors.ts'
import { FRAME_OVERHEAD_BYTES_MAX } from '../protocol/limits.ts'
import { type Condition, Opcode, Status } from '../protocol/messages.ts'
import { decodeValue, encodeValue } from '../protocol/value.ts'
import { type ByteRange, emptyRange, type Reader, type Writer } from '../protocol/wire.ts'
import type { CallOptions, Stored } from './calls.ts'
import type { ClientCounters, Ends } from './ends.ts'
import { readVersion, writeKey } from './keys.ts'
import { Call, type CallEnd, type Requests } from './requests.ts'

/** Keys in one request. */
const PART_KEYS_MAX = 512
/** Bytes of keys and values in one request, but for a single larger value. */
const PART_BYTES_MAX = FRAME_OVERHEAD_BYTES_MAX - 8 * 1024
const SCAN_COUNT = 1000

interface Behaviour {
  throws: boolean
  failsFast: boolean
}

export class ManyKeys {
  readonly #requests: Requests
  readonly #ends: Ends
  readonly #counters: ClientCounters

  constructor(requests: Requests, ends: Ends, counters: ClientCounters) {
    this.#requests = requests
    this.#ends = ends
    this.#counters = counters
  }

  async retrieve<T>(
    keys: readonly string[],
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): Promise<(T | undefined)[]> {
    const values: (T | undefined)[] = new Array(keys.length).fill(undefined)
    let wanted = keys.map((key, index) => ({ key, index }))
    while (wanted.length > 0) {
      const skipped: typeof wanted = []
      const parts = cut(wanted, ({ key }) => key.length * 3)
      await Promise.all(
        parts.map((part) =>
          this.#ask(
            Opcode.GetMany,
            1,
            behaviour,
            options,
            undefined,
            (writer) => writeKeys(writer, part),
            (reply) =>
              eachEntry(reply, part, (entry, { key, index }) => {
                const status = entry.uint()
                if (status === Status.Skipped) skipped.push({ key, index })
                else if (status === Status.Ok) {
                  values[index] = takeValue(entry) as T
                  this.#counters.hits++
                } else this.#counters.misses++
              }),
          ),
        ),
      )
      // A reply has room for one value at least, so this ends.
      wanted = skipped
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
      const { bytes, at, length, flags } = encodeValue(value, key)
      return { key, index, flags, bytes: Buffer.from(bytes.subarray(at, at + length)) }
    })
    const outcomes: Stored[] = new Array(entries.length)
    await Promise.all(
      cut(encoded, ({ key, bytes }) => key.length * 3 + bytes.length + 16).map(async (part) => {
        const failure = await this.#ask(
          Opcode.SetMany,
          3,
          behaviour,
          options,
          (error: CacheError, maybeStored: boolean) => ({ error, maybeStored }),
          (writer) => {
            writer.reserve(8)
            writer.array(part.length)
            for (const { key, flags, bytes } of part) {
              writer.reserve(16)
              writer.array(3)
              writeKey(writer, key)
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
        for (const { index } of part) outcomes[index] = { outcome: 'unavailable', ...failure }
      }),
    )
    return outcomes
  }

  async delete(
    keys: readonly string[],
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): Promise<number> {
    let deleted = 0
    const parts = cut(
      keys.map((key) => ({ key })),
      ({ key }) => key.length * 3,
    )
    await Promise.all(
      parts.map((part) =>
        this.#ask(
          Opcode.DeleteMany,
          1,
          behaviour,
          options,
          undefined,
          (writer) => writeKeys(writer, part),
          (reply) => {
            reply.required('list')
            for (let left = reply.array(); left > 0; left--) if (reply.uint() === Status.Ok) deleted++
          },
        ),
      ),
    )
    return deleted
  }

  /** Pages of keys with a prefix. */
  async *pages(
    prefix: string,
    behaviour: Behaviour,
    options: CallOptions | undefined,
  ): AsyncGenerator<string[]> {
    let cursor = 0
    do {
      const page: string[] = []
      await this.#ask(
        Opcode.Scan,
        3,
        behaviour,
        options,
        undefined,
        (writer) => {
          writer.reserve(64 + prefix.length * 3)
          writer.int(cursor)
          writer.string(prefix)
          writer.int(SCAN_COUNT)
        },
        (reply) => {
          reply.required('cursor')
          cursor = reply.uint()
          reply.required('keys')
          for (let left = reply.array(); left > 0; left--) page.push(reply.string())
        },
      )
      if (page.length > 0) yield page
    } while (cursor !== 0)
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
      const writer = this.#requests.begin(call, opcode, operands)
      if (writer === undefined) return
      write(writer)
      if (signal !== undefined) this.#requests.listen(call, signal)
      this.#requests.end(call, options?.timeoutMs)
    })
  }

  #stored(entry: Reader): Stored {
    const status = entry.uint()
    if (status === Status.Ok) {
      entry.operands++
      this.#counters.stored++
      return { outcome: 'stored', version: readVersion(entry), acks: 0 }
    }
    if (status === Status.Conflict) {
      this.#counters.conflicts++
      return { outcome: 'conflict', version: undefined }
    }
    this.#counters.unavailable++
    const error = new CacheError(
      errorFacts(status).code,
      `the server refused this entry with status ${status}`,
    )
    return { outcome: 'unavailable', maybeStored: false, error }
  }
}

const value: ByteRange = emptyRange()

function takeValue(entry: Reader): unknown {
  const flags = entry.uint()
  entry.range(value)
  return decodeValue(value.bytes, value.at, value.length, flags)
}

function writeKeys(writer: Writer, part: readonly { key: string }[]): void {
  writer.reserve(8)
  writer.array(part.length)
  for (const { key } of part) writeKey(writer, key)
}

/** Reads a reply's list of entries, each an array, beside what was asked. */
function eachEntry<K>(reply: Reader, asked: readonly K[], onEntry: (entry: Reader, asked: K) => void): void {
  reply.required('list')
  reply.array()
  for (const item of asked) {
    reply.array()
    onEntry(reply, item)
  }
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
