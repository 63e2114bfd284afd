// The options of single calls, and what calls answer: types, and the checks that keep a slip of the pen from becoming
// a key that never expires.

import type { CacheError } from '../protocol/errors.ts'
import { TTL_MS_MAX } from '../protocol/limits.ts'
import { wholeMs } from '../protocol/notation.ts'
import type { AcksWanted } from './acks.ts'
import { checkOnUnavailable, type OnUnavailable, positiveNumber } from './options.ts'

declare const version: unique symbol
/** Names one write of one key; opaque. Equal strings mean the same write. */
export type Version = string & { readonly [version]: never }

export interface CallOptions {
  /** Total time of this call in ms; default: the client's. */
  timeoutMs?: number
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
  onUnavailable?: OnUnavailable
}

/** The part of Standard Schema (https://standardschema.dev, version 1) that is used. */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}
type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly unknown[] }

export interface ReadOptions<T = unknown> extends CallOptions {
  /** What the value must look like; one that does not is a miss, and counted. */
  schema?: StandardSchemaV1<unknown, T>
}

export interface StoreOptions extends CallOptions {
  /** Left out: the server's default. Infinity: never. Fractions are allowed. */
  ttlSeconds?: number
  /** Store only if the key is absent, is present, or still has this version. */
  if?: 'absent' | 'present' | { version: Version }
  /**
   * How many other servers should have the write before it counts as done, 0 to 64, or 'all' that the server knows;
   * default 0. The result says how many had it when the time was nearly over: if fewer, it is stored all the same, and
   * nothing is rolled back. Its own time: `timeoutMs`, which must be long enough for the way to those servers.
   */
  acks?: AcksWanted
}

export interface DeleteOptions extends CallOptions {
  /** As for `store`; but how many there were is not told. */
  acks?: AcksWanted
}

export interface IncrementOptions extends CallOptions {
  /** What an absent key counts as before adding. Default 0. */
  initial?: number
  /** For a key that was absent; one that is there keeps its time to live. */
  ttlSeconds?: number
}

export type Lookup<T> =
  | {
      outcome: 'hit' | 'stale'
      value: T
      version: Version
      /** Left to live; Infinity = no end. */
      ttlSeconds: number
      from: 'near' | 'server'
      region: string
    }
  | { outcome: 'miss' }
  | { outcome: 'unavailable'; error: CacheError }

export type Stored =
  /**
   * `acks`: how many other servers are known to have it, of `acksAwaited` that were waited for: as many as were asked
   * for, or as there are. Fewer means that the time was over. Both are 0 if none was asked for, or there is none.
   */
  | { outcome: 'stored'; version: Version; acks: number; acksAwaited: number }
  /** A condition was not met; `version` is what is there, undefined if nothing is. `storeMany` is not told: undefined. */
  | { outcome: 'conflict'; version: Version | undefined }
  /** `maybeStored` = false: it never left this process. */
  | { outcome: 'unavailable'; maybeStored: boolean; error: CacheError }

/** What `inspect` tells of an entry. */
export interface Entry {
  version: Version
  /** Size of the value's bytes on the server. */
  valueBytes: number
  /** Left to live; Infinity = no end. */
  ttlSeconds: number
  /** What it was stored with; Infinity = no end. */
  lifetimeSeconds: number
}

/** What STATS answers; server, memory, cache, commands, connections, network, replication, peers, eventLoop. */
export type ServerStats = Record<string, Record<string, unknown> | unknown[]>

const CALL_OPTIONS = ['timeoutMs', 'signal', 'onUnavailable']
export const callOptionNames: ReadonlySet<string> = new Set(CALL_OPTIONS)
export const readOptionNames: ReadonlySet<string> = new Set([...CALL_OPTIONS, 'schema'])
export const storeOptionNames: ReadonlySet<string> = new Set([...CALL_OPTIONS, 'ttlSeconds', 'if', 'acks'])
export const storeManyOptionNames: ReadonlySet<string> = new Set([...CALL_OPTIONS, 'ttlSeconds', 'if'])
export const deleteOptionNames: ReadonlySet<string> = new Set([...CALL_OPTIONS, 'acks'])
export const incrementOptionNames: ReadonlySet<string> = new Set([...CALL_OPTIONS, 'initial', 'ttlSeconds'])

/** How other caches call a time to live, in their units. */
const FOREIGN_TTLS: Readonly<Record<string, number>> = {
  ttl: 1,
  EX: 1,
  ex: 1,
  expire: 1,
  expires: 1,
  PX: 1e-3,
  px: 1e-3,
  ttlMs: 1e-3,
}

/** Throws for options that do not exist, with the translation where it is a time to live under another name. */
export function checkCallOptions(options: unknown, known: ReadonlySet<string>): void {
  if (typeof options !== 'object' || options === null) {
    const hint =
      typeof options === 'number' && known.has('ttlSeconds') ? `: use { ttlSeconds: ${options} }` : ''
    throw new TypeError(`options are an object, got ${String(options)}${hint}`)
  }
  for (const name of Object.keys(options)) {
    if (known.has(name)) continue
    const factor = FOREIGN_TTLS[name]
    const value: unknown = Object.entries(options).find(([key]) => key === name)?.[1]
    if (factor !== undefined && known.has('ttlSeconds'))
      throw new TypeError(
        `unknown option ${name}: use { ttlSeconds: ${typeof value === 'number' ? value * factor : 'seconds'} }`,
      )
    throw new TypeError(`unknown option ${name}; there are ${[...known].join(', ')}`)
  }
  const { timeoutMs, signal, onUnavailable } = options as CallOptions
  checkOnUnavailable(onUnavailable)
  checkSignal(signal)
  if (timeoutMs !== undefined) positiveNumber('timeoutMs', timeoutMs)
}

/** Throws TypeError for what cannot be listened to. Not by `instanceof`: a signal may come from another realm. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal !== undefined && typeof signal?.addEventListener !== 'function')
    throw new TypeError(`signal: ${String(signal)} is not possible; allowed: an AbortSignal`)
}

/** The TTL operand in ms: 0 for none, undefined to leave it to the server. Throws RangeError. */
export function ttlMsOf(ttlSeconds: number | undefined): number | undefined {
  if (ttlSeconds === undefined) return undefined
  if (ttlSeconds === Number.POSITIVE_INFINITY) return 0
  // Rounded up: half a millisecond is short, but it is not "never".
  if (typeof ttlSeconds === 'number' && ttlSeconds > 0 && ttlSeconds * 1000 <= TTL_MS_MAX)
    return wholeMs(ttlSeconds)
  throw new RangeError(
    `ttlSeconds: ${String(ttlSeconds)} is not possible; allowed: above 0, at most ${TTL_MS_MAX / 1000} (100 years), or Infinity`,
  )
}
