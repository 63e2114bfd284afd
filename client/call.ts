// A call: who waits for what, and how it ends. Made by the client's methods, carried through requests.ts.

import type { CacheError } from '../protocol/errors.ts'
import type { Reader } from '../protocol/reader.ts'

/** What happens to a call at its end. Exactly one of the two is called, once. */
export interface CallEnd {
  /** A reply that is no error: `reply.head` is its status. May throw ProtocolError or a value's decoding error. */
  onReply(call: Call, reply: Reader): void
  /** `maybeDone`: the request had left, so that it may have been carried out. */
  onFailure(call: Call, error: CacheError, maybeDone: boolean): void
}

/** How a call fails. */
export interface Behaviour {
  /** With an error rather than with a miss. */
  throws: boolean
  /** At once while there is an outage and each server has been tried; until then the next one may answer. */
  failsFast: boolean
  /** One request of a call that `close` waits for as a whole. */
  isHeld?: boolean
}

/** Who waits for what. Allocated per call: kept small. */
export class Call {
  id = 0
  readonly end: CallEnd
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
  /** On the clock of `performance.now`. */
  deadlineMs = 0
  /** For errors. */
  key: string | undefined
  /** Fails with an error rather than with a miss. */
  throws: boolean
  /** As in Behaviour. */
  failsFast: boolean
  /** While it waits for a connection: its frame. */
  frame: Buffer | undefined
  stopListening: (() => void) | undefined

  constructor(
    end: CallEnd,
    resolve: (value: never) => void,
    reject: (error: unknown) => void,
    key: string | undefined,
    behaviour: Behaviour,
  ) {
    this.end = end
    this.resolve = resolve
    this.reject = reject
    this.key = key
    this.throws = behaviour.throws
    this.failsFast = behaviour.failsFast
  }
}

/** The call has ended: its signal is of no interest any more. */
export function stopListening(call: Call): void {
  call.stopListening?.()
  call.stopListening = undefined
}

/** What the last `new Promise(capture)` was given: saves a closure per call. */
export const captured: { resolve: (value: never) => void; reject: (error: unknown) => void } = {
  resolve() {},
  reject() {},
}
export const capture = (resolve: (value: never) => void, reject: (error: unknown) => void): void => {
  captured.resolve = resolve
  captured.reject = reject
}
