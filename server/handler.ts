// What a handler is, to sessions that call it and to the files that make some.

import type { Reader } from '../protocol/reader.ts'
import type { Challenge, Principal } from './access.ts'
import type { Output } from './output.ts'

/** What a handler may ask of the connection its request came from. */
export interface Requester {
  /** HELLO's client name. */
  clientName: string
  /** Whether it must authenticate before anything else. */
  readonly mustAuthenticate: boolean
  /** An attempt to authenticate that has begun. */
  challenge: Challenge | undefined
  /** It did, and may what this principal may. */
  authenticated(principal: Principal): void
  /** It did not: what is thrown now is the last that it hears. `why` is for the log. */
  authenticationFailed(why: string): void
  /** Sends what is written and closes. */
  quit(): void
  /** Replies that are deferred now. */
  readonly deferred: number
  /** There will be a reply to a request that none was written for: `answer` comes, exactly once. */
  defer(): void
  /** A deferred reply: one whole frame, lent until it returns. */
  answer(frame: Uint8Array): void
}

/** Reads one request, changes what it asks for, writes one reply. Synchronous; throws ProtocolError before any change. */
export type Handler = (request: Reader, output: Output, requester: Requester) => void
