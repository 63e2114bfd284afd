// What SCRAM computes (RFC 5802, section 3; RFC 7677): keys out of a password, a proof out of keys, and back. Between
// scram.ts and node:crypto; knows no message.
//
//   salted = PBKDF2(password, salt, iterations)      stored key = H(client key)
//   client key = HMAC(salted, 'Client Key')          client's proof = client key XOR HMAC(stored key, messages)
//   server key = HMAC(salted, 'Server Key')          server's signature = HMAC(server key, messages)
//
// A server keeps the stored key and the server key: who reads them can play that server, but not that client.

import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'

/** Below, a password is found too quickly by who got hold of a proof: a client refuses to make one (RFC 7677). */
export const SCRAM_ITERATIONS_MIN = 15_000
/** Some 40 ms of one core. */
export const SCRAM_ITERATIONS_DEFAULT = 100_000
/** Some seconds of one core: a client refuses to be made to compute more. */
export const SCRAM_ITERATIONS_MAX = 10_000_000
/** Bytes of every key, proof and signature. */
export const SCRAM_KEY_BYTES = 32

/** What a server keeps of a password. */
export interface ScramKeys {
  salt: Buffer
  iterations: number
  storedKey: Buffer
  serverKey: Buffer
}

/** What a client computes of it. */
export interface ClientKeys {
  clientKey: Buffer
  serverKey: Buffer
}

/** Computes on the thread pool. `password` counts as `prepare` leaves it; throws RangeError if that is empty. */
export async function deriveScramKeys(
  password: string,
  salt: Buffer,
  iterations: number,
): Promise<ScramKeys> {
  const { clientKey, serverKey } = await deriveClientKeys(prepare(password), salt, iterations)
  return { salt, iterations, storedKey: hash(clientKey), serverKey }
}

const pbkdf2Async = promisify(pbkdf2)

async function deriveClientKeys(prepared: string, salt: Buffer, iterations: number): Promise<ClientKeys> {
  if (prepared === '') throw new RangeError('a password must not be empty')
  const salted = await pbkdf2Async(prepared, salt, iterations, SCRAM_KEY_BYTES, 'sha256')
  return { clientKey: hmac(salted, 'Client Key'), serverKey: hmac(salted, 'Server Key') }
}

/** Passwords, salts and servers that one process has to do with at a time. */
const REMEMBERED_MAX = 64
const remembered = new Map<string, Promise<ClientKeys>>()
/** So that what is remembered is no quick way to test passwords. */
const rememberedUnder = randomBytes(32)

/**
 * The same, remembered: dialing again costs no second derivation, nor do connections that are dialed at once. Holds
 * the 64 used last.
 */
export function rememberedClientKeys(
  password: string,
  salt: Buffer,
  iterations: number,
): Promise<ClientKeys> {
  const prepared = prepare(password)
  const id = hmac(rememberedUnder, `${iterations},${salt.toString('base64')},${prepared}`).toString('base64')
  const keys = remembered.get(id) ?? deriveClientKeys(prepared, salt, iterations)
  remembered.delete(id)
  remembered.set(id, keys)
  keys.catch(() => remembered.delete(id))
  for (const oldest of remembered.keys()) {
    if (remembered.size <= REMEMBERED_MAX) break
    remembered.delete(oldest)
  }
  return keys
}

/**
 * SASLprep (RFC 4013) as far as NFKC: one password, however a keyboard composed it. What RFC 4013 prohibits stays:
 * a secret out of a file may contain a tab.
 */
export function prepare(text: string): string {
  return text.replace(SPACES, ' ').replace(MAPPED_TO_NOTHING, '').normalize('NFKC')
}

/** RFC 3454, table C.1.2. */
const SPACES = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g
/** RFC 3454, table B.1. */
const MAPPED_TO_NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/g

export function hash(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}

export function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

/** Of two byte strings of one length: makes a proof of a key, and a key of a proof. */
export function xor(a: Uint8Array, b: Uint8Array): Buffer {
  return Buffer.from(a.map((byte, index) => byte ^ (b[index] as number)))
}
