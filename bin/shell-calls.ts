// What the shell asks of a server, one function per request: operands in, what was answered out. Between the commands
// and the connection; knows neither what was typed nor what is shown. Made for one command: all its requests share one
// deadline.

import { writeAcks } from '../client/acks.ts'
import type { Version } from '../client/calls.ts'
import { readVersion, scanPrefix, writeKey } from '../client/keys.ts'
import { Listing } from '../client/listing.ts'
import type { Credentials } from '../protocol/authentication.ts'
import { CacheError, ProtocolError } from '../protocol/errors.ts'
import { BOOT_ID_BYTES, KEYS_PER_REQUEST_MAX } from '../protocol/limits.ts'
import { type Condition, Opcode, Status, ValueFlags } from '../protocol/messages.ts'
import { type ByteRange, emptyRange, type Reader } from '../protocol/reader.ts'
import { decodeValue, encodeValue, ValueError } from '../protocol/value.ts'
import type { Writer } from '../protocol/writer.ts'
import type { Deadline, RawReplies, ShellConnection } from './shell-connection.ts'
import { UsageError } from './shell-input.ts'

export interface Inspection {
  encoding: string
  valueBytes: number
  version: Version
  /** null: no end. */
  ttlSeconds: number | null
  lifetimeSeconds: number | null
}

export interface ScanPage {
  /** 0: that was the last page. */
  cursor: number
  keys: string[]
  /** Which start of which server gave this cursor: it means nothing to any other. */
  bootId: string | undefined
}

const SCAN_COUNT = 1000
const ENCODINGS: ReadonlyMap<number, string> = new Map<number, string>(
  Object.entries(ValueFlags).map(([name, flags]) => [flags, name]),
)

export class ServerCalls {
  readonly #connection: ShellConnection
  readonly #deadline: Deadline

  constructor(connection: ShellConnection, deadline: Deadline) {
    this.#connection = connection
    this.#deadline = deadline
  }

  get server(): string {
    return this.#connection.server
  }

  /** The value, or undefined on a miss. */
  get(key: string): Promise<{ value: unknown } | undefined> {
    return this.#ask(
      Opcode.Get,
      1,
      (writer) => writeTypedKey(writer, key),
      (reply) => (reply.head === Status.Miss ? undefined : { value: takeValue(reply) }),
    )
  }

  /**
   * How many other servers have it, of how many that were waited for; undefined if the condition was not met.
   * `ttlMs`: undefined for the server's default, 0 for none. `acks`: as an operand, 0 to wait for nobody.
   */
  set(
    key: string,
    value: unknown,
    ttlMs: number | undefined,
    condition: Condition,
    acks = 0,
  ): Promise<{ acks: number; awaited: number } | undefined> {
    const { bytes, at, length, flags } = asTyped(() => encodeValue(value))
    return this.#ask(
      Opcode.Set,
      acks === 0 ? 5 : 8,
      (writer) => {
        writeTypedKey(writer, key)
        writer.reserve(length + 64)
        writer.int(flags)
        writer.binary(bytes, at, length)
        if (ttlMs === undefined) writer.nil()
        else writer.int(ttlMs)
        writer.int(condition)
        if (acks === 0) return
        writer.nil()
        writeAcks(writer, acks, this.#deadline.leftMs)
      },
      (reply) => {
        if (reply.head !== Status.Ok) return undefined
        readVersion(reply)
        const acks = reply.optional() ? reply.uint() : 0
        return { acks, awaited: reply.optional() ? reply.uint() : 0 }
      },
    )
  }

  /** For each key whether there was something to delete. */
  delete(keys: readonly string[]): Promise<boolean[]> {
    if (keys.length > KEYS_PER_REQUEST_MAX)
      throw new UsageError(`at most ${KEYS_PER_REQUEST_MAX} keys at a time, got ${keys.length}`)
    return this.#ask(
      Opcode.DeleteMany,
      1,
      (writer) => {
        writer.reserve(8)
        writer.array(keys.length)
        for (const key of keys) writeTypedKey(writer, key)
      },
      (reply) => {
        reply.required('list')
        return Array.from({ length: reply.array() }, () => reply.uint() === Status.Ok)
      },
    )
  }

  /** Whether there was such a key. `ttlMs`: 0 for no end. */
  touch(key: string, ttlMs: number): Promise<boolean> {
    return this.#ask(
      Opcode.Touch,
      2,
      (writer) => {
        writeTypedKey(writer, key)
        writer.int(ttlMs)
      },
      (reply) => reply.head === Status.Ok,
    )
  }

  inspect(key: string): Promise<Inspection | undefined> {
    return this.#ask(
      Opcode.Inspect,
      1,
      (writer) => writeTypedKey(writer, key),
      (reply) => {
        if (reply.head === Status.Miss) return undefined
        reply.required('flags')
        const flags = reply.uint()
        reply.required('size')
        const valueBytes = reply.uint()
        const version = readVersion(reply)
        return {
          encoding: ENCODINGS.get(flags) ?? `unknown (${flags})`,
          valueBytes,
          version,
          ttlSeconds: readSeconds(reply),
          lifetimeSeconds: readSeconds(reply),
        }
      },
    )
  }

  /** The new number. */
  add(opcode: typeof Opcode.Increment | typeof Opcode.Decrement, key: string, by: number): Promise<number> {
    return this.#ask(
      opcode,
      2,
      (writer) => {
        writeTypedKey(writer, key)
        writer.int(by)
      },
      (reply) => {
        reply.required('number')
        return reply.int()
      },
    )
  }

  /** One page of the keys with a prefix. */
  scan(cursor: number, prefix: string, count: number): Promise<ScanPage> {
    asTyped(() => scanPrefix(prefix, ''))
    return this.#ask(
      Opcode.Scan,
      3,
      (writer) => {
        writer.reserve(32 + prefix.length * 3)
        writer.int(cursor)
        writer.string(prefix)
        writer.int(count)
      },
      (reply) => {
        reply.required('cursor')
        const next = reply.uint()
        reply.required('keys')
        const keys = Array.from({ length: reply.array() }, () => reply.string())
        return { cursor: next, keys, bootId: this.#connection.bootId }
      },
    )
  }

  /**
   * All keys with a prefix; each page has the whole time of the deadline. Where another server answers, keys may come
   * again.
   */
  async *pages(prefix: string): AsyncGenerator<string[], void, undefined> {
    const listing = new Listing(this.#deadline.timeoutMs)
    while (!listing.isOver) {
      this.#deadline.renew()
      const startMs = performance.now()
      const { bootId, cursor, keys } = await this.scan(listing.cursor, prefix, SCAN_COUNT)
      const ms = performance.now() - startMs
      const { server } = this
      const error = listing.take({ boot: bootId, server, cursor, keyCount: keys.length, ms })
      if (error !== undefined) throw error
      if (listing.isPage) yield keys
    }
  }

  clear(): Promise<void> {
    return this.#ask(Opcode.Clear, 0, NO_OPERANDS, () => {})
  }

  /** Sections by name, or the one that is named. */
  stats(section: string | undefined): Promise<Record<string, unknown>> {
    return this.#ask(
      Opcode.Stats,
      section === undefined ? 0 : 1,
      (writer) => {
        writer.reserve(16 + (section ?? '').length * 3)
        if (section !== undefined) writer.string(section)
      },
      (reply) => {
        reply.required('statistics')
        const statistics = reply.any()
        if (typeof statistics === 'object' && statistics !== null) return { ...statistics }
        throw new ProtocolError(Status.Malformed, 'statistics are a map')
      },
    )
  }

  /** The other servers of the cluster, as this one sees them; or how far each is behind. */
  others(opcode: typeof Opcode.Peers | typeof Opcode.Lag): Promise<Record<string, unknown>[]> {
    return this.#ask(opcode, 0, NO_OPERANDS, (reply) => {
      reply.required('peers')
      const peers = reply.any()
      if (!Array.isArray(peers)) throw new ProtocolError(Status.Malformed, 'peers are a list')
      return peers.map((peer: unknown) => (typeof peer === 'object' && peer !== null ? { ...peer } : {}))
    })
  }

  /** Whether there was such a member. */
  forget(nodeId: string): Promise<boolean> {
    return this.#ask(
      Opcode.ForgetPeer,
      1,
      (writer) => {
        writer.reserve(8 + nodeId.length * 3)
        writer.string(nodeId)
      },
      (reply) => reply.head === Status.Ok,
    )
  }

  /** Who the server is; asked anew. */
  hello(): Promise<Record<string, unknown>> {
    return this.#ask(Opcode.Hello, 0, NO_OPERANDS, (reply) => {
      const next = <T>(name: string, read: () => T): T => {
        reply.required(name)
        return read()
      }
      return {
        version: next('version', () => reply.uint()),
        capabilities: next('capabilities', () => reply.uint()),
        serverVersion: next('server version', () => reply.string()),
        nodeId: next('node id', () => reply.string()),
        bootId: next('boot id', () => takeBytes(reply).subarray(0, BOOT_ID_BYTES).toString('hex')),
        region: next('region', () => reply.string()),
        cluster: next('cluster', () => reply.string()),
        valueBytesMax: next('largest value', () => reply.uint()),
        frameBytesMax: next('largest frame', () => reply.uint()),
      }
    })
  }

  /** Proves to be somebody, on this connection and on those that come after it. */
  authenticate(credentials: Credentials): Promise<void> {
    return this.#connection.authenticate(this.#deadline, credentials)
  }

  ping(): Promise<void> {
    return this.#ask(Opcode.Ping, 0, NO_OPERANDS, () => {})
  }

  raw(bytes: Uint8Array, wanted: number): Promise<RawReplies> {
    return this.#connection.raw(this.#deadline, bytes, wanted)
  }

  #ask<T>(
    opcode: Opcode,
    operands: number,
    write: (writer: Writer) => void,
    read: (reply: Reader) => T,
  ): Promise<T> {
    return this.#connection.request(this.#deadline, opcode, operands, write, read)
  }
}

const NO_OPERANDS = () => {}
const range: ByteRange = emptyRange()

function writeTypedKey(writer: Writer, key: string): void {
  asTyped(() => writeKey(writer, key, ''))
}

/** What a program must not pass is, when somebody typed it, a mistake in the line. */
function asTyped<T>(use: () => T): T {
  try {
    return use()
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) throw new UsageError(error.message)
    throw error
  }
}

function takeBytes(reply: Reader): Buffer {
  reply.range(range)
  return Buffer.from(range.bytes.subarray(range.at, range.at + range.length))
}

function takeValue(reply: Reader): unknown {
  reply.required('flags')
  const flags = reply.uint()
  reply.required('value')
  reply.range(range)
  try {
    return decodeValue(range.bytes, range.at, range.length, flags)
  } catch (error) {
    if (error instanceof ValueError) throw new CacheError('CACHE_PROTOCOL', error.message)
    throw error
  }
}

/** Milliseconds on the wire; nil is no end. */
function readSeconds(reply: Reader): number | null {
  return reply.optional() ? reply.uint() / 1000 : null
}
