// SCRAM-SHA-256 (RFC 5802, RFC 7677), both ends: each proves to the other that it knows a password, or what was derived
// from it, and neither learns it. Between whoever sends the four messages and their grammar and arithmetic; knows no
// frame, no role and no file.
//
//   ScramClient                          ScramServer
//   first()  ── name, nonce ──────────>  first(…)
//   final(…) <── nonce, salt, count ───
//            ─── nonce, proof ────────>  final(…)      the client knew the password
//   verify(…) <── signature ───────────                the server knew its keys
//
// One object serves one attempt. Everything that goes wrong with what the other end said is a ScramError.

import { randomBytes, timingSafeEqual } from 'node:crypto'
import {
  hash,
  hmac,
  prepare,
  rememberedClientKeys,
  SCRAM_ITERATIONS_MAX,
  SCRAM_ITERATIONS_MIN,
  SCRAM_KEY_BYTES,
  type ScramKeys,
  xor,
} from './scram-keys.ts'
import {
  readClientFinal,
  readClientFirst,
  readServerFinal,
  readServerFirst,
  ScramError,
  writeClientFinal,
  writeClientFinalHead,
  writeClientFirst,
  writeServerFinal,
  writeServerFirst,
} from './scram-messages.ts'

export {
  deriveScramKeys,
  SCRAM_ITERATIONS_DEFAULT,
  SCRAM_ITERATIONS_MAX,
  SCRAM_ITERATIONS_MIN,
  SCRAM_KEY_BYTES,
  type ScramKeys,
} from './scram-keys.ts'
export { SCRAM_MESSAGE_BYTES_MAX, ScramError } from './scram-messages.ts'

export const SCRAM_MECHANISM = 'SCRAM-SHA-256'

/** 144 bits, which are base64 without padding. */
const NONCE_BYTES = 18

type ClientState =
  | { name: 'new' }
  | { name: 'asked'; bare: string }
  | { name: 'proving' }
  | { name: 'proved'; signature: Buffer }
  | { name: 'over' }

/** The end that has a password. */
export class ScramClient {
  readonly #username: string
  readonly #password: string
  readonly #nonce: string
  readonly #iterationsMin: number
  #state: ClientState = { name: 'new' }

  /** `nonce`: one that was never used; left out, random. `iterationsMin` is for test vectors. */
  constructor(
    username: string,
    password: string,
    nonce: string = newNonce(),
    iterationsMin: number = SCRAM_ITERATIONS_MIN,
  ) {
    this.#username = prepare(username)
    this.#password = password
    this.#nonce = nonce
    this.#iterationsMin = iterationsMin
  }

  /** The message that begins. */
  first(): Buffer {
    this.#expect('new')
    const { bytes, bare } = writeClientFirst(this.#username, this.#nonce)
    this.#state = { name: 'asked', bare }
    return bytes
  }

  /** The proof for what the server asked. Rejects with a ScramError, before any work, if that cannot be right. */
  async final(serverFirst: Uint8Array): Promise<Buffer> {
    const { bare } = this.#expect('asked')
    this.#state = { name: 'proving' }
    const { nonce, salt, iterations, text } = readServerFirst(serverFirst)
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce)
      throw new ScramError('the server did not extend the nonce')
    if (iterations < this.#iterationsMin || iterations > SCRAM_ITERATIONS_MAX)
      throw new ScramError(
        `the server asks for ${iterations} iterations; allowed: ${this.#iterationsMin} to ${SCRAM_ITERATIONS_MAX}`,
      )
    const { clientKey, serverKey } = await rememberedClientKeys(this.#password, salt, iterations)
    const withoutProof = writeClientFinalHead(nonce)
    const messages = `${bare},${text},${withoutProof}`
    this.#state = { name: 'proved', signature: hmac(serverKey, messages) }
    return writeClientFinal(withoutProof, xor(clientKey, hmac(hash(clientKey), messages)))
  }

  /** Throws a ScramError unless the server's last message proves that it has the keys of this password. */
  verify(serverFinal: Uint8Array): void {
    const { signature } = this.#expect('proved')
    this.#state = { name: 'over' }
    if (!isSame(readServerFinal(serverFinal), signature))
      throw new ScramError('the server did not prove that it knows the password')
  }

  #expect<Name extends ClientState['name']>(name: Name): Extract<ClientState, { name: Name }> {
    return inState(this.#state, name)
  }
}

type ServerState =
  | { name: 'new' }
  | { name: 'challenged'; username: string; keys: ScramKeys; nonce: string; messages: string }
  | { name: 'over' }

/** The end that has the keys of everybody's password. */
export class ScramServer {
  readonly #keysOf: (username: string, clientNonce: string) => ScramKeys
  readonly #nonce: string
  #state: ServerState = { name: 'new' }

  /**
   * `keysOf` never says that a name is unknown, but gives keys that nobody has the password of. `nonce`: this end's
   * part, for test vectors; left out, random.
   */
  constructor(keysOf: (username: string, clientNonce: string) => ScramKeys, nonce: string = newNonce()) {
    this.#keysOf = keysOf
    this.#nonce = nonce
  }

  /** The challenge for whoever says that name. Throws a ScramError for what is no first message. */
  first(clientFirst: Uint8Array): Buffer {
    inState(this.#state, 'new')
    this.#state = { name: 'over' }
    const { username, nonce: clientNonce, bare } = readClientFirst(clientFirst)
    const keys = this.#keysOf(username, clientNonce)
    const nonce = clientNonce + this.#nonce
    const text = writeServerFirst(nonce, keys.salt, keys.iterations)
    this.#state = { name: 'challenged', username, keys, nonce, messages: `${bare},${text}` }
    return Buffer.from(text)
  }

  /** Who proved to be whom, and what proves this end to them. Throws a ScramError for everybody else. */
  final(clientFinal: Uint8Array): { username: string; serverFinal: Buffer } {
    const { username, keys, nonce, messages: before } = inState(this.#state, 'challenged')
    this.#state = { name: 'over' }
    const { nonce: clientNonce, proof, withoutProof } = readClientFinal(clientFinal)
    if (!isSame(Buffer.from(clientNonce), Buffer.from(nonce)))
      throw new ScramError('the nonce is not the one of this exchange')
    if (proof.length !== SCRAM_KEY_BYTES) throw new ScramError(`a proof has ${SCRAM_KEY_BYTES} bytes`)
    const messages = `${before},${withoutProof}`
    const clientKey = xor(proof, hmac(keys.storedKey, messages))
    if (!isSame(hash(clientKey), keys.storedKey)) throw new ScramError('the proof is wrong')
    return { username, serverFinal: writeServerFinal(hmac(keys.serverKey, messages)) }
  }
}

function inState<State extends { name: string }, Name extends State['name']>(
  state: State,
  name: Name,
): Extract<State, { name: Name }> {
  if (isState(state, name)) return state
  throw new ScramError(`a message out of turn: ${state.name} is not ${name}`)
}

function isState<State extends { name: string }, Name extends State['name']>(
  state: State,
  name: Name,
): state is Extract<State, { name: Name }> {
  return state.name === name
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

/** Random, and long enough to come once. */
export function newNonce(): string {
  return randomBytes(NONCE_BYTES).toString('base64')
}
