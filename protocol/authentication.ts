// How a client proves who it is, and has the server prove that it knows the keys of the password. One object for one
// link, one attempt for each of its connections.
//
// Between the link, which sends its requests and hands their replies over, and scram.ts. Knows no transport and no
// timer: the link bounds an attempt, and ends it with the connection. Whatever the server answers, it learns no
// password, and no proof before it asked for one as SCRAM does. Texts here never hold a password.
//
//   idle ──(begin)──> asking ──(credentials)──> greeting ──(challenge)──> deriving ──(proof)──> proving ──> idle
//     └──────────────────────────────── cancel() from any state ────────────────────────────────────┘
//
// What is still under way for a former attempt is not listened to.

import { errorText } from './error-reply.ts'
import { type CacheErrorCode, errorFacts, ProtocolError } from './errors.ts'
import { FIRST_ERROR, Opcode, Status } from './messages.ts'
import { type ByteRange, emptyRange, type Reader } from './reader.ts'
import type { ScramClient } from './scram.ts'

export interface Credentials {
  username: string
  password: string
}

/** Asked for each connection anew, so that a password can be changed while a process runs. */
export type CredentialsSource = () => Promise<Credentials>

/** The server said no, or did not prove itself; or there was nothing to prove oneself with. */
export class AuthenticationError extends Error {
  override readonly name = 'AuthenticationError'
  readonly code: CacheErrorCode
  /** It may do the next time, with nothing changed here. */
  readonly retriable: boolean

  constructor(
    message: string,
    { code, retriable, cause }: { code?: CacheErrorCode; retriable?: boolean; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code ?? 'CACHE_UNAUTHENTICATED'
    this.retriable = retriable ?? false
  }
}

export interface AuthenticationEvents {
  /** A request to send, with the link's own id. */
  onRequest(opcode: Opcode, operands: readonly (string | Uint8Array)[]): void
  /** Both ends have proved themselves. */
  onDone(): void
  /** It ended, and not by a reply. */
  onFailure(error: AuthenticationError): void
}

type State =
  | { name: 'idle' }
  | { name: 'asking' }
  | { name: 'greeting'; scram: ScramClient }
  | { name: 'deriving' }
  | { name: 'proving'; scram: ScramClient }

const MISSING: Readonly<Record<State['name'], string>> = {
  idle: 'no connection',
  asking: 'no credentials from credentials()',
  greeting: 'no answer to AUTH',
  deriving: 'no proof computed',
  proving: 'no answer to AUTH PROOF',
}

export class Authentication {
  readonly #source: CredentialsSource
  readonly #events: AuthenticationEvents
  readonly #nonce: (() => string) | undefined
  #state: State = { name: 'idle' }
  #isDemanded = false
  #attempt = 0
  #derivation: Promise<unknown> = Promise.resolve()

  /** `nonce`: gives each attempt one that was never used; left out, random. */
  constructor(source: CredentialsSource, events: AuthenticationEvents, nonce?: () => string) {
    this.#source = source
    this.#events = events
    this.#nonce = nonce
  }

  /** Begins an attempt: asks for credentials, then sends AUTH. `reason`: whether the server wants that at all. */
  begin(reason: 'demanded' | 'offered'): void {
    this.#isDemanded = reason === 'demanded'
    this.#state = { name: 'asking' }
    void this.#ask(++this.#attempt)
  }

  /** Ends the attempt: nothing is sent for it, nor told of it, any more. */
  cancel(): void {
    this.#attempt++
    this.#state = { name: 'idle' }
  }

  /** Why the attempt is not done, once its time is over. */
  lateError(withinMs: number): AuthenticationError {
    const { name } = this.#state
    const code = name === 'asking' ? 'CACHE_UNAUTHENTICATED' : 'CACHE_UNAVAILABLE'
    return new AuthenticationError(`${MISSING[name]} within ${withinMs} ms`, { code, retriable: true })
  }

  /** Takes a reply to one of the requests. Throws AuthenticationError, or ProtocolError for what can be none. */
  onReply(reply: Reader): void {
    const state = this.#state
    if (state.name !== 'greeting' && state.name !== 'proving')
      throw new ProtocolError(Status.Malformed, 'an answer to AUTH that was not asked for')
    if (reply.head !== Status.Ok) throw refusal(reply, this.#isDemanded ? '' : NOT_DEMANDED)
    const message = takeMessage(reply)
    if (state.name === 'greeting') {
      this.#state = { name: 'deriving' }
      void this.#prove(this.#attempt, state.scram, message)
      return
    }
    this.#state = { name: 'idle' }
    try {
      state.scram.verify(message)
    } catch (error) {
      throw asFailure(error)
    }
    this.#events.onDone()
  }

  async #ask(attempt: number): Promise<void> {
    try {
      const { username, password } = await credentialsOf(this.#source)
      // Loaded, and node:crypto with it, only by who has to prove something.
      const { SCRAM_MECHANISM, ScramClient } = await import('./scram.ts')
      if (attempt !== this.#attempt) return
      const scram = new ScramClient(username, password, this.#nonce?.())
      this.#state = { name: 'greeting', scram }
      this.#events.onRequest(Opcode.Auth, [SCRAM_MECHANISM, scram.first()])
    } catch (error) {
      this.#fail(attempt, error)
    }
  }

  async #prove(attempt: number, scram: ScramClient, challenge: Buffer): Promise<void> {
    try {
      // One at a time: a server that asks for much work, and hangs up, and does so again, gets one thread.
      await this.#derivation
      if (attempt !== this.#attempt) return
      const derivation = scram.final(challenge)
      this.#derivation = derivation.catch(() => {})
      const proof = await derivation
      if (attempt !== this.#attempt) return
      this.#state = { name: 'proving', scram }
      this.#events.onRequest(Opcode.AuthProof, [proof])
    } catch (error) {
      this.#fail(attempt, error)
    }
  }

  #fail(attempt: number, error: unknown): void {
    if (attempt !== this.#attempt) return
    this.cancel()
    this.#events.onFailure(asFailure(error))
  }
}

/** Servers tell nobody what was wrong; this may be it. */
const NOT_DEMANDED = ' (it demands no authentication: perhaps it has no users)'

/** What an error reply means where it decides who one is. Throws ProtocolError for a status that is no error. */
export function refusal(reply: Reader, hint = ''): AuthenticationError {
  if (reply.head < FIRST_ERROR)
    throw new ProtocolError(Status.Malformed, `status ${reply.head} is no answer to AUTH`)
  if (reply.head === Status.UnknownOpcode)
    return new AuthenticationError('the server knows no authentication, and credentials were given')
  return new AuthenticationError(`${errorText(reply)}${hint}`, errorFacts(reply.head))
}

/** Of somebody else's function: it may give anything. */
async function credentialsOf(source: () => unknown): Promise<Credentials> {
  let given: unknown
  try {
    given = await source()
  } catch (cause) {
    // It may be a service that comes back.
    throw new AuthenticationError(`credentials() failed: ${messageOf(cause)}`, { retriable: true, cause })
  }
  if (isCredentials(given)) return given
  throw new AuthenticationError('credentials() gave no { username, password }, both of them text')
}

function isCredentials(given: unknown): given is Credentials {
  if (typeof given !== 'object' || given === null || !('username' in given) || !('password' in given))
    return false
  return [given.username, given.password].every((text) => typeof text === 'string' && text !== '')
}

function asFailure(cause: unknown): AuthenticationError {
  if (cause instanceof AuthenticationError) return cause
  return new AuthenticationError(`authentication failed: ${messageOf(cause)}`, { cause })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

const range: ByteRange = emptyRange()

/** The message of SCRAM in a reply, copied. */
function takeMessage(reply: Reader): Buffer {
  reply.required('message')
  reply.range(range)
  return Buffer.from(range.bytes.subarray(range.at, range.at + range.length))
}
