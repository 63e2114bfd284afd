// The secret that the servers of a cluster share: read from its file, and what is made of it.
//
// Between that file and those who prove to know it: to another server by SCRAM, under a user name of its own, and on
// the LAN by the proof of an announcement. It is text, so that it is the same to every editor and every language; its
// final newline does not count. It stands in no log and no error, whatever is printed.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { deriveScramKeys, SCRAM_ITERATIONS_MIN, type ScramKeys } from '../protocol/scram.ts'
import { OptionError } from './options.ts'

/** Who servers are to each other. No name of the auth file holds a colon. */
export const CLUSTER_USER = ':cluster'

/** A random secret has as many at the least; what is shorter can be guessed. */
const BYTES_MIN = 16
/** More is some other file. */
const BYTES_MAX = 1024
const SALT_BYTES = 16
const ALLOWED = `the path of a file with ${BYTES_MIN} to ${BYTES_MAX} bytes of text, such as \`openssl rand -base64 32\` writes`

export class ClusterSecret {
  readonly #text: string

  /** Throws a RangeError that does not tell it. */
  constructor(text: string) {
    if (Buffer.byteLength(text) < BYTES_MIN)
      throw new RangeError(`a cluster secret has at least ${BYTES_MIN} bytes`)
    this.#text = text
  }

  /** Throws an OptionError that names the file. `warn` hears of a file that others can read. */
  static read(path: string, warn: (fields: object, phrase: string) => void): ClusterSecret {
    let bytes: Buffer
    try {
      bytes = readAtMost(path, BYTES_MAX + 3, (mode) =>
        warn({ path, mode, wanted: '600' }, 'others may read or change the cluster secret'),
      )
    } catch (error) {
      const reason = error instanceof Error && 'code' in error ? error.code : String(error)
      throw refused(path, `it cannot be read (${reason})`)
    }
    let text: string
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes).replace(/\r?\n$/, '')
    } catch {
      throw refused(path, 'it is not UTF-8')
    }
    const length = Buffer.byteLength(text)
    if (length < BYTES_MIN || length > BYTES_MAX)
      throw refused(
        path,
        length > BYTES_MAX ? `it has more than ${BYTES_MAX} bytes` : `it has ${length} bytes`,
      )
    return new ClusterSecret(text)
  }

  /** As a password; for nobody but SCRAM's client. */
  get password(): string {
    return this.#text
  }

  /** As a key of HMAC. */
  get key(): Buffer {
    return Buffer.from(this.#text)
  }

  /** What this server checks other servers against. A random secret needs no more iterations than clients insist on. */
  deriveKeys(): Promise<ScramKeys> {
    return deriveScramKeys(this.#text, randomBytes(SALT_BYTES), SCRAM_ITERATIONS_MIN)
  }

  isSame(other: ClusterSecret | undefined): boolean {
    return other !== undefined && timingSafeEqual(this.#digest(), other.#digest())
  }

  #digest(): Buffer {
    return createHash('sha256').update(this.#text).digest()
  }

  toJSON(): string {
    return '***'
  }
}

function readAtMost(path: string, bytesMax: number, onOpen: (mode: string) => void): Buffer {
  const file = openSync(path, 'r')
  try {
    const { mode } = fstatSync(file)
    // Windows has no such bits; Node makes them up there.
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) onOpen((mode & 0o777).toString(8))
    const bytes = Buffer.alloc(bytesMax)
    // A pipe gives what it has at a time.
    let length = 0
    for (let read = 1; read > 0 && length < bytesMax; length += read)
      read = readSync(file, bytes, length, bytesMax - length, null)
    return bytes.subarray(0, length)
  } finally {
    closeSync(file)
  }
}

function refused(path: string, problem: string): OptionError {
  return new OptionError('clusterSecretFile', path, `${ALLOWED}; ${problem}`)
}
