// How the calls of single keys end: reply or failure -> what the caller gets. One object per kind of call, made once;
// everything a call needs of its own is in the Call.

import type { CacheError } from '../protocol/errors.ts'
import { Status } from '../protocol/messages.ts'
import { type ByteRange, emptyRange, type Reader } from '../protocol/reader.ts'
import { decodeValue, ValueError } from '../protocol/value.ts'
import type { Call, CallEnd } from './call.ts'
import type { Entry, Lookup, Stored } from './calls.ts'
import { readVersion } from './keys.ts'

/** What this client has seen since it was made. */
export interface ClientCounters {
  hits: number
  misses: number
  stored: number
  conflicts: number
  /** Calls that the cache could not serve, timeouts included. */
  unavailable: number
  timeouts: number
  /** Values that were there and could not be decoded: they count as unavailable too. */
  undecodable: number
  /** Values that were there and did not fit the caller's schema: they were misses to the caller. */
  schemaMismatches: number
  outages: number
  inFlight: number
  pending: number
}

export function newCounters(): ClientCounters {
  return {
    hits: 0,
    misses: 0,
    stored: 0,
    conflicts: 0,
    unavailable: 0,
    timeouts: 0,
    undecodable: 0,
    schemaMismatches: 0,
    outages: 0,
    inFlight: 0,
    pending: 0,
  }
}

const value: ByteRange = emptyRange()

function takeValue(reply: Reader): unknown {
  reply.required('flags')
  const flags = reply.uint()
  reply.required('value')
  reply.range(value)
  return decodeValue(value.bytes, value.at, value.length, flags)
}

export type Ends = ReturnType<typeof makeEnds>

/** `region`: of the server that the client is connected to. */
export function makeEnds(counters: ClientCounters, region: () => string) {
  const count = (error: CacheError) => {
    counters.unavailable++
    if (error.code === 'CACHE_TIMEOUT') counters.timeouts++
    if (error.cause instanceof ValueError) counters.undecodable++
  }

  const fail = (call: Call, error: CacheError, instead: unknown) => {
    count(error)
    if (call.throws) call.reject(error)
    else call.resolve(instead as never)
  }

  const retrieve: CallEnd = {
    onReply(call, reply) {
      if (reply.head === Status.Miss) {
        counters.misses++
        call.resolve(undefined as never)
        return
      }
      const found = takeValue(reply)
      counters.hits++
      call.resolve(found as never)
    },
    onFailure(call, error) {
      fail(call, error, undefined)
    },
  }

  const lookup: CallEnd = {
    onReply(call, reply) {
      if (reply.head === Status.Miss) {
        counters.misses++
        call.resolve({ outcome: 'miss' } satisfies Lookup<unknown> as never)
        return
      }
      const found = takeValue(reply)
      const version = readVersion(reply)
      const ttlSeconds = readSeconds(reply)
      counters.hits++
      const hit: Lookup<unknown> = {
        outcome: 'hit',
        value: found,
        version,
        ttlSeconds,
        from: 'server',
        region: region(),
      }
      call.resolve(hit as never)
    },
    onFailure(call, error) {
      fail(call, error, { outcome: 'unavailable', error } satisfies Lookup<unknown>)
    },
  }

  const store: CallEnd = {
    onReply(call, reply) {
      let stored: Stored
      if (reply.head === Status.Conflict) {
        counters.conflicts++
        stored = { outcome: 'conflict', version: reply.optional() ? rereadVersion(reply) : undefined }
      } else {
        const version = readVersion(reply)
        counters.stored++
        const acks = reply.optional() ? reply.uint() : 0
        stored = { outcome: 'stored', version, acks, acksAwaited: reply.optional() ? reply.uint() : 0 }
      }
      call.resolve(stored as never)
    },
    onFailure(call, error, maybeStored) {
      fail(call, error, { outcome: 'unavailable', maybeStored, error } satisfies Stored)
    },
  }

  const inspect: CallEnd = {
    onReply(call, reply) {
      if (reply.head === Status.Miss) {
        call.resolve(undefined as never)
        return
      }
      reply.required('flags')
      reply.uint()
      reply.required('size')
      const valueBytes = reply.uint()
      const version = readVersion(reply)
      const entry: Entry = {
        version,
        valueBytes,
        ttlSeconds: readSeconds(reply),
        lifetimeSeconds: readSeconds(reply),
      }
      call.resolve(entry as never)
    },
    onFailure(call, error) {
      fail(call, error, undefined)
    },
  }

  /** Whether there was such a key: DELETE, TOUCH, and INSPECT for `has`. */
  const found: CallEnd = {
    onReply(call, reply) {
      call.resolve((reply.head === Status.Ok) as never)
    },
    onFailure(call, error) {
      fail(call, error, false)
    },
  }

  const number: CallEnd = {
    onReply(call, reply) {
      reply.required('number')
      call.resolve(reply.int() as never)
    },
    onFailure(call, error) {
      fail(call, error, Number.NaN)
    },
  }

  return { retrieve, lookup, store, inspect, found, number, fail, count }
}

/** PING and STATS: they reject whatever happens. */
export const pingEnd: CallEnd = {
  onReply: (call) => call.resolve(undefined as never),
  onFailure: (call, error) => call.reject(error),
}

export const statsEnd: CallEnd = {
  onReply(call, reply) {
    reply.required('statistics')
    call.resolve(reply.any() as never)
  },
  onFailure: (call, error) => call.reject(error),
}

/** `optional` has counted the operand already. */
function rereadVersion(reply: Reader) {
  reply.operands++
  return readVersion(reply)
}

/** Milliseconds on the wire; nil is no end. */
function readSeconds(reply: Reader): number {
  return reply.optional() ? reply.uint() / 1000 : Number.POSITIVE_INFINITY
}
