// Who a client says it is, and whether it speaks TLS: the options for that, and the variables that stand for them.
//
// Between options.ts, which knows where the servers were named, and the link and the dialer, which use it. No error here
// shows a password. A password in a file is read for each connection anew, so that it can be changed in there.

import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { ConnectionOptions } from 'node:tls'
import type { CredentialsSource } from '../protocol/authentication.ts'
import { toggle } from '../protocol/notation.ts'

export interface AccessOptions {
  /** With `password`: whom the servers' auth file knows. */
  username?: string
  password?: string
  /** Instead of these two: asked for each connection anew. One that rejects is asked again at the next attempt. */
  credentials?: CredentialsSource
  /** Default false. `true`: the server's certificate is checked against the authorities that Node trusts. */
  tls?: boolean | ConnectionOptions
}

/** What the options, or the variables, come to. */
export interface Access {
  credentials: CredentialsSource | undefined
  tls: ConnectionOptions | undefined
}

export const accessOptionNames = ['username', 'password', 'credentials', 'tls'] as const

type Environment = Readonly<Record<string, string | undefined>>

/** Who and how, by options. Throws TypeError. */
export function accessOf(options: AccessOptions): Access {
  return { credentials: credentialsOf(options), tls: tlsOf(options.tls) }
}

function credentialsOf({ username, password, credentials }: AccessOptions): CredentialsSource | undefined {
  if (credentials !== undefined) {
    if (typeof credentials !== 'function')
      throw new TypeError('credentials: a function is needed, such as async () => ({ username, password })')
    if (username !== undefined || password !== undefined)
      throw new TypeError('credentials gives what username and password say: give one or the other')
    return credentials
  }
  if (username === undefined && password === undefined) return undefined
  if (password === undefined) throw new TypeError('username is given and password is not: it takes both')
  if (username === undefined) throw new TypeError('password is given and username is not: it takes both')
  return fixed(checked('username', username), checked('password', password))
}

function fixed(username: string, password: string): CredentialsSource {
  return async () => ({ username, password })
}

function checked(name: string, text: unknown): string {
  if (typeof text === 'string' && text !== '') return text
  throw new TypeError(`${name}: text that is not empty is needed`)
}

/** Where `tls` must not say what `servers` says, or what the dialer has to. */
const NOT_IN_TLS = ['host', 'port', 'path', 'socket', 'onread'] as const

function tlsOf(tls: boolean | ConnectionOptions | undefined): ConnectionOptions | undefined {
  if (tls === undefined || tls === false) return undefined
  if (tls === true) return {}
  if (typeof tls !== 'object' || tls === null || Array.isArray(tls))
    throw new TypeError(`tls: ${String(tls)} is not possible; allowed: true, false, options of tls.connect`)
  const foreign = NOT_IN_TLS.find((name) => name in tls)
  if (foreign !== undefined)
    throw new TypeError(`tls.${foreign} is not possible: where to connect to is said by servers`)
  return { ...tls }
}

/**
 * Who, by CACHE_USERNAME with CACHE_PASSWORD or CACHE_PASSWORD_FILE; the environment before .env. Throws TypeError that
 * names the variable.
 */
export function credentialsFrom(
  environment: Environment,
  dotEnv: Environment,
): CredentialsSource | undefined {
  const username = textOf(environment, 'CACHE_USERNAME') ?? textOf(dotEnv, 'CACHE_USERNAME')
  const source = passwordFrom(environment) ?? passwordFrom(dotEnv)
  if (username === undefined && source === undefined) return undefined
  if (source === undefined)
    throw new TypeError('CACHE_USERNAME is set, and neither CACHE_PASSWORD nor CACHE_PASSWORD_FILE is')
  if (username === undefined) throw new TypeError(`${source.name} is set, and CACHE_USERNAME is not`)
  if (source.name === 'CACHE_PASSWORD') return fixed(username, source.text)
  passwordIn(source.text, readOrRefuse(source.name, source.text))
  return async () => ({ username, password: passwordIn(source.text, await readFile(source.text, 'utf8')) })
}

/** The variable that a password comes from, and its text: the password as it stands there, or a path. */
function passwordFrom(place: Environment): { name: string; text: string } | undefined {
  const password = place['CACHE_PASSWORD'] ?? ''
  const path = textOf(place, 'CACHE_PASSWORD_FILE')
  if (password !== '' && path !== undefined)
    throw new TypeError('CACHE_PASSWORD and CACHE_PASSWORD_FILE are both set: set one')
  if (path !== undefined) return { name: 'CACHE_PASSWORD_FILE', text: path }
  return password === '' ? undefined : { name: 'CACHE_PASSWORD', text: password }
}

/** Without the line end that editors put there. */
function passwordIn(path: string, text: string): string {
  const password = text.replace(/\r?\n$/, '')
  if (password !== '') return password
  throw new TypeError(`CACHE_PASSWORD_FILE: there is no password in ${path}`)
}

/** How, by CACHE_TLS and CACHE_TLS_CA, which alone means TLS as well. Throws TypeError that names the variable. */
export function tlsFrom(environment: Environment, dotEnv: Environment): ConnectionOptions | undefined {
  const [isOn, path] = ['CACHE_TLS', 'CACHE_TLS_CA'].map(
    (name) => textOf(environment, name) ?? textOf(dotEnv, name),
  )
  const isWanted = isOn === undefined ? path !== undefined : toggle.parse(isOn)
  if (isWanted === undefined)
    throw new TypeError(`CACHE_TLS: ${JSON.stringify(isOn)} is not possible; allowed: ${toggle.allowed}`)
  if (!isWanted) return undefined
  return path === undefined ? {} : { ca: readOrRefuse('CACHE_TLS_CA', path) }
}

function readOrRefuse(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TypeError(`${name}: ${path} cannot be read (${reason})`, { cause: error })
  }
}

/** An empty variable is not set. */
function textOf(place: Environment, name: string): string | undefined {
  const text = place[name]?.trim() ?? ''
  return text === '' ? undefined : text
}
