// The errors that calls end with, each saying who and how much. Made here so that requests.ts can be about when.

import { errorText } from '../protocol/error-reply.ts'
import { CacheError, errorFacts } from '../protocol/errors.ts'
import type { ServerHello } from '../protocol/link.ts'
import { Status } from '../protocol/messages.ts'
import type { Reader } from '../protocol/reader.ts'

export function closedError(reason?: Error): CacheError {
  return new CacheError('CACHE_CLOSED', reason?.message ?? 'the client is closed', { cause: reason })
}

export function notConnectedError(server: string): CacheError {
  return new CacheError('CACHE_UNAVAILABLE', `${server}: not connected`, { retriable: true, server })
}

export function queueFullError(server: string, queuedBytes: number, inFlight: number): CacheError {
  return new CacheError(
    'CACHE_QUEUE_FULL',
    `${queuedBytes} bytes wait for ${server}, ${inFlight} calls for a reply: the limit is reached`,
    { retriable: true, server },
  )
}

/** Undefined if a request of this size may be sent, or if nobody knows yet. */
export function tooLargeError(
  server: string,
  frameBytes: number,
  hello: ServerHello | undefined,
): CacheError | undefined {
  if (hello === undefined || frameBytes <= hello.frameBytesMax) return undefined
  return new CacheError(
    'CACHE_TOO_LARGE',
    `a request of ${frameBytes} bytes is over the server's limit of ${hello.frameBytesMax} (values: ${hello.valueBytesMax})`,
    { server },
  )
}

/** Undefined if the server takes a value of this size, or if nobody knows yet. */
export function valueTooLargeError(
  server: string,
  key: string,
  valueBytes: number,
  hello: ServerHello | undefined,
): CacheError | undefined {
  if (hello === undefined || valueBytes <= hello.valueBytesMax) return undefined
  return new CacheError(
    'CACHE_TOO_LARGE',
    `${server}: a value of ${valueBytes} bytes is over the server's limit of ${hello.valueBytesMax}`,
    { server, key },
  )
}

export function timeoutError(
  server: string,
  key: string | undefined,
  what: string,
  cause?: CacheError,
): CacheError {
  const why = cause === undefined ? '' : ` (${cause.message})`
  return new CacheError('CACHE_TIMEOUT', `${server}: ${what} within the call's deadline${why}`, {
    retriable: true,
    server,
    key,
    cause,
  })
}

/** No connection in time. A server that does not let this client in is no matter of time: then its reason is the error. */
export function lateError(
  server: string,
  key: string | undefined,
  cause: CacheError | undefined,
): CacheError {
  if (cause?.code === 'CACHE_UNAUTHENTICATED' || cause?.code === 'CACHE_FORBIDDEN') return cause
  return timeoutError(server, key, 'no connection', cause)
}

/** What an error reply says. */
export function replyError(server: string, key: string | undefined, reply: Reader): CacheError {
  const facts = errorFacts(reply.head)
  const text = errorText(reply)
  const retryAfterMs = reply.optional() ? reply.uint() : undefined
  return new CacheError(facts.code, `${server}: ${text}`, {
    retriable: facts.retriable,
    retryAfterMs,
    server,
    key,
  })
}

/** A reply, or a value in it, that could not be read. */
export function unreadableError(server: string, cause: unknown): CacheError {
  const message = cause instanceof Error ? cause.message : String(cause)
  return new CacheError('CACHE_PROTOCOL', `${server}: ${message}`, { server, cause })
}

/** All errors but one are given before anything was changed; of those from a newer server nobody knows. */
export function mayHaveActed(status: number): boolean {
  return status >= Status.Internal
}
