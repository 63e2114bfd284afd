// Errors: one table of statuses that are errors, with the stable code that users see, whether asking again may help,
// and whether the connection lives on. Nobody recognises an error by its English text.

import { Status } from './messages.ts'

export type CacheErrorCode =
  | 'CACHE_TIMEOUT'
  | 'CACHE_UNAVAILABLE'
  | 'CACHE_QUEUE_FULL'
  | 'CACHE_OVERLOADED'
  | 'CACHE_UNAUTHENTICATED'
  | 'CACHE_FORBIDDEN'
  | 'CACHE_TOO_LARGE'
  | 'CACHE_NOT_INTEGER'
  | 'CACHE_PROTOCOL'
  | 'CACHE_CLOSED'

interface ErrorFacts {
  code: CacheErrorCode
  /** The same request may succeed later, or on another server. */
  retriable: boolean
  /** The server closes the connection after saying so. */
  closes: boolean
}

const FACTS: ReadonlyMap<number, ErrorFacts> = new Map([
  [Status.Malformed, { code: 'CACHE_PROTOCOL', retriable: false, closes: true }],
  [Status.FrameTooLarge, { code: 'CACHE_TOO_LARGE', retriable: false, closes: true }],
  [Status.UnknownOpcode, { code: 'CACHE_PROTOCOL', retriable: false, closes: false }],
  [Status.BadOperand, { code: 'CACHE_PROTOCOL', retriable: false, closes: false }],
  [Status.KeyTooLarge, { code: 'CACHE_TOO_LARGE', retriable: false, closes: false }],
  [Status.ValueTooLarge, { code: 'CACHE_TOO_LARGE', retriable: false, closes: false }],
  [Status.NotInteger, { code: 'CACHE_NOT_INTEGER', retriable: false, closes: false }],
  [Status.Overloaded, { code: 'CACHE_OVERLOADED', retriable: true, closes: false }],
  [Status.Unauthenticated, { code: 'CACHE_UNAUTHENTICATED', retriable: false, closes: false }],
  [Status.Forbidden, { code: 'CACHE_FORBIDDEN', retriable: false, closes: false }],
  [Status.UnsupportedVersion, { code: 'CACHE_PROTOCOL', retriable: false, closes: true }],
  [Status.ShuttingDown, { code: 'CACHE_UNAVAILABLE', retriable: true, closes: false }],
  [Status.Internal, { code: 'CACHE_UNAVAILABLE', retriable: true, closes: false }],
])

const UNKNOWN_ERROR: ErrorFacts = { code: 'CACHE_PROTOCOL', retriable: false, closes: false }

/** What is known of an error status; a status from a newer server counts as a protocol error. */
export function errorFacts(status: number): ErrorFacts {
  return FACTS.get(status) ?? UNKNOWN_ERROR
}

export interface CacheErrorDetails {
  retriable?: boolean
  /** When asking again makes sense, in ms. */
  retryAfterMs?: number | undefined
  /** host:port of the server concerned. */
  server?: string | undefined
  /** The key concerned; kept non-enumerable, so that loggers do not leak it. */
  key?: string | undefined
  cause?: unknown
}

/** Every failure of the cache that is not a mistake in the program (those are TypeError and RangeError). */
export class CacheError extends Error {
  override readonly name = 'CacheError'
  readonly code: CacheErrorCode
  readonly retriable: boolean
  declare readonly retryAfterMs?: number
  declare readonly server?: string
  declare readonly key?: string

  constructor(code: CacheErrorCode, message: string, details: CacheErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.retriable = details.retriable ?? false
    if (details.retryAfterMs !== undefined) this.retryAfterMs = details.retryAfterMs
    if (details.server !== undefined) this.server = details.server
    if (details.key !== undefined) Object.defineProperty(this, 'key', { value: details.key })
  }
}

/** Bytes from the other end that break the contract, or cannot be served now: carries the status to answer with. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  readonly status: Status
  /** When asking again makes sense, in ms. */
  readonly retryAfterMs: number | undefined

  constructor(status: Status, message: string, retryAfterMs?: number) {
    super(message)
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}
