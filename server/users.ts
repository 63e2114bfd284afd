// The auth file: who may come in, as what, and the keys that their passwords are checked against. Between that file and
// whoever authenticates; knows no connection. One user a line, lines that begin with # are comments:
//
//   NAME:ROLE:SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY          salt and keys in base64
//   # strangers: SECRET       the one comment that means something: 32 bytes in base64, for names that are not there
//
// Who reads the file learns no password, but can try many, and can play the server: it is for its owner's eyes. Errors
// name file and line and quote no key. A Users is what stood there once; a file that changed is read into another one.

import { createHash, createHmac, randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import {
  SCRAM_ITERATIONS_DEFAULT,
  SCRAM_ITERATIONS_MAX,
  SCRAM_ITERATIONS_MIN,
  SCRAM_KEY_BYTES,
  SCRAM_MECHANISM,
  type ScramKeys,
} from '../protocol/scram.ts'

/** Each client may what those before it may; a peer is a server of the cluster, and nothing else. */
export const ROLES = ['reader', 'writer', 'admin', 'peer'] as const
export type Role = (typeof ROLES)[number]

/** What `users add` makes; half of it and four times as much are read as well. */
export const SALT_BYTES = 16
const SALT_BYTES_MIN = 8
const SALT_BYTES_MAX = 64

/** Of what the salts of unknown names come from. */
const SECRET_BYTES = 32

/** 100 000 users and more; a file that is larger is another one. */
const FILE_BYTES_MAX = 16 * 1024 * 1024

export const USER_NAME_ALLOWED =
  "1 to 128 printable ASCII characters without blanks, ':', ',' and '=', the first of them no '#'"

/** Whether a name can stand in the file, and in a message of SCRAM as it is. */
export function isUserName(name: string): boolean {
  return /^(?!#)[\x21-\x2b\x2d-\x39\x3b\x3c\x3e-\x7e]{1,128}$/.test(name)
}

export function isRole(text: string): text is Role {
  return ROLES.some((role) => role === text)
}

export interface User {
  name: string
  role: Role
  keys: ScramKeys
}

/** An auth file that cannot be read, or a line of it: says which, and what it may be. */
export class AuthFileError extends Error {
  override readonly name = 'AuthFileError'
  readonly path: string
  /** From 1; undefined: it is about the whole file. */
  readonly line: number | undefined
  /** Completes "allowed: …". */
  readonly allowed: string

  constructor(path: string, line: number | undefined, problem: string, allowed: string, cause?: unknown) {
    const place = line === undefined ? path : `${path} line ${line}`
    super(`${place}: ${problem}; allowed: ${allowed}`, cause === undefined ? undefined : { cause })
    this.path = path
    this.line = line
    this.allowed = allowed
  }
}

export class Users {
  readonly #byName: ReadonlyMap<string, User>
  readonly #strangers: Strangers

  /** `secret`: what the file says of strangers; undefined: nothing. */
  constructor(users: Iterable<User>, secret?: Buffer) {
    this.#byName = new Map(Array.from(users, (user) => [user.name, user]))
    this.#strangers = new Strangers([...this.#byName.values()], secret)
  }

  /** Throws an AuthFileError. `warn` hears of a file that others can read. */
  static read(path: string, warn: (fields: object, phrase: string) => void = () => {}): Users {
    const { text, mode } = readAuthFile(path)
    // Windows has no such bits; Node makes them up there.
    if (process.platform !== 'win32' && (mode & 0o077) !== 0)
      warn(
        { path, mode: (mode & 0o777).toString(8), wanted: '600' },
        'others may read or change the auth file',
      )
    return new Users(parseUsers(text, path).values(), parseStrangers(text, path))
  }

  find(name: string): User | undefined {
    return this.#byName.get(name)
  }

  /** Keys to challenge that name with; for one that is unknown, keys that no password fits, the same each time. */
  keysOf(name: string): ScramKeys {
    // Always computed: how long it takes does not tell who is known.
    const keys = this.#strangers.keysOf(name)
    return this.#byName.get(name)?.keys ?? keys
  }

  /** In the order of the file. */
  [Symbol.iterator](): IterableIterator<User> {
    return this.#byName.values()
  }
}

/**
 * Keys for names that are not in the file. They come from what is, so that every server that has this file, and each
 * of their processes, gives a name the same salt: where two differed, the name would be known to be unknown. So it
 * would be where salts differed before and after a change of the file: they come from the secret in it, which stays.
 * A file without one still answers alike until it is changed.
 */
class Strangers {
  readonly #secret: Buffer
  readonly #iterations: number

  constructor(users: readonly User[], secret: Buffer | undefined) {
    this.#secret = secret ?? digestOf(users)
    // Where users differ in this, those of the fewer are known anyway; a number that stays would be all strangers'
    // alone when every user has got another.
    this.#iterations = mostFrequent(users.map(({ keys }) => keys.iterations)) ?? SCRAM_ITERATIONS_DEFAULT
  }

  keysOf(name: string): ScramKeys {
    return {
      salt: this.#bytes('salt', name).subarray(0, SALT_BYTES),
      iterations: this.#iterations,
      storedKey: this.#bytes('stored key', name),
      serverKey: this.#bytes('server key', name),
    }
  }

  #bytes(what: string, name: string): Buffer {
    return createHmac('sha256', this.#secret).update(`${what} of ${name}`).digest()
  }
}

function digestOf(users: readonly User[]): Buffer {
  const digest = createHash('sha256')
  for (const { keys } of users) digest.update(keys.storedKey).update(keys.serverKey)
  return digest.digest()
}

function mostFrequent(numbers: readonly number[]): number | undefined {
  const counts = new Map<number, number>()
  for (const number of numbers) counts.set(number, (counts.get(number) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0]
}

/** Text of the file and its mode bits. Throws an AuthFileError. */
export function readAuthFile(path: string): { text: string; mode: number } {
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    const { mode, size } = fstatSync(file)
    if (size > FILE_BYTES_MAX)
      throw new AuthFileError(path, undefined, `it has ${size} bytes`, `at most ${FILE_BYTES_MAX}`)
    return { text: readFileSync(file, 'utf8'), mode }
  } catch (error) {
    if (error instanceof AuthFileError) throw error
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw new AuthFileError(
      path,
      undefined,
      `it cannot be read (${reason})`,
      'a file that this user may read, as `ormuco-cache users add` makes it',
      error,
    )
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** The users by the number of their line, from 1. Throws an AuthFileError that names `path`. */
export function parseUsers(text: string, path: string): Map<number, User> {
  const users = new Map<number, User>()
  const lineOf = new Map<string, number>()
  for (const [index, raw] of text.split('\n').entries()) {
    const content = raw.trim()
    if (content === '' || content.startsWith('#')) continue
    const line = index + 1
    const user = parseUser(content, (problem, allowed) => new AuthFileError(path, line, problem, allowed))
    const earlier = lineOf.get(user.name)
    if (earlier !== undefined)
      throw new AuthFileError(path, line, `${user.name} stands in line ${earlier} already`, 'each name once')
    lineOf.set(user.name, line)
    users.set(line, user)
  }
  return users
}

/**
 * The secret that salts of unknown names come from; undefined: the file has none, since it was made by hand or by an
 * older version. Throws an AuthFileError that names `path`.
 */
export function parseStrangers(text: string, path: string): Buffer | undefined {
  let found: { line: number; secret: Buffer } | undefined
  for (const [index, raw] of text.split('\n').entries()) {
    const written = /^#\s*strangers:(.*)$/.exec(raw.trim())?.[1]?.trim()
    if (written === undefined) continue
    const line = index + 1
    const secret = decode(written, SECRET_BYTES, SECRET_BYTES)
    if (secret === undefined)
      throw new AuthFileError(
        path,
        line,
        'the secret for strangers is not possible',
        `${SECRET_BYTES} bytes in base64, or no such line: \`ormuco-cache users\` writes one`,
      )
    if (found !== undefined)
      throw new AuthFileError(path, line, `strangers stand in line ${found.line} already`, 'one such line')
    found = { line, secret }
  }
  return found?.secret
}

/** A new secret for strangers, as a line. */
export function newStrangers(): string {
  return `# strangers: ${randomBytes(SECRET_BYTES).toString('base64')}`
}

export function formatUser({ name, role, keys }: User): string {
  const { salt, iterations, storedKey, serverKey } = keys
  const [salted, stored, server] = [salt, storedKey, serverKey].map((bytes) => bytes.toString('base64'))
  return `${name}:${role}:${SCRAM_MECHANISM}$${iterations}:${salted}$${stored}:${server}`
}

type Refusal = (problem: string, allowed: string) => AuthFileError

function parseUser(content: string, refusal: Refusal): User {
  const [, name, role, mechanism, count, salt, storedKey, serverKey] =
    /^([^:]*):([^:]*):([^:$]*)\$([^:$]*):([^:$]*)\$([^:$]*):([^:$]*)$/.exec(content) ?? []
  if (name === undefined || role === undefined)
    throw refusal(
      'not a user',
      `NAME:ROLE:${SCRAM_MECHANISM}$ITERATIONS:SALT$STOREDKEY:SERVERKEY, or # and a comment`,
    )
  if (!isUserName(name)) throw refusal('the name is not possible', USER_NAME_ALLOWED)
  if (!isRole(role)) throw refusal(`the role of ${name} is not possible`, ROLES.join(', '))
  if (mechanism !== SCRAM_MECHANISM)
    throw refusal(`the mechanism of ${name} is not possible`, SCRAM_MECHANISM)
  const iterations = /^[1-9][0-9]{0,9}$/.test(count ?? '') ? Number(count) : 0
  if (iterations < SCRAM_ITERATIONS_MIN || iterations > SCRAM_ITERATIONS_MAX)
    throw refusal(
      `the iterations of ${name} are not possible`,
      `${SCRAM_ITERATIONS_MIN} to ${SCRAM_ITERATIONS_MAX}`,
    )
  const bytes = (what: string, text: string | undefined, min: number, max: number): Buffer => {
    const decoded = decode(text ?? '', min, max)
    if (decoded !== undefined) return decoded
    throw refusal(
      `the ${what} of ${name} is not possible`,
      `${min === max ? min : `${min} to ${max}`} bytes in base64`,
    )
  }
  return {
    name,
    role,
    keys: {
      salt: bytes('salt', salt, SALT_BYTES_MIN, SALT_BYTES_MAX),
      iterations,
      storedKey: bytes('stored key', storedKey, SCRAM_KEY_BYTES, SCRAM_KEY_BYTES),
      serverKey: bytes('server key', serverKey, SCRAM_KEY_BYTES, SCRAM_KEY_BYTES),
    },
  }
}

/** What stands there in base64, written as this program writes it; undefined: it is not, or has not so many bytes. */
function decode(text: string, bytesMin: number, bytesMax: number): Buffer | undefined {
  const decoded = Buffer.from(text, 'base64')
  const { length } = decoded
  return decoded.toString('base64') === text && length >= bytesMin && length <= bytesMax ? decoded : undefined
}
