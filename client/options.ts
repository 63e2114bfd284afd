// What a client can be told, with defaults and their reasons, and the one validation. Reads variables (from the
// environment, then from .env) only where the constructor names no servers: SERVERS, SERVER_HOST and SERVER_PORT, and
// where these name some, those of access.ts, for what the constructor leaves open.

import { readFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { parseEnv } from 'node:util'
import { CLIENT_NAME_BYTES_MAX, DEFAULT_PORT, KEY_BYTES_MAX, TTL_MS_MAX } from '../protocol/limits.ts'
import { hostPort } from '../protocol/notation.ts'
import {
  type Access,
  type AccessOptions,
  accessOf,
  accessOptionNames,
  credentialsFrom,
  tlsFrom,
} from './access.ts'
import type { ServerAddress } from './dial.ts'

/** What a call does when the cache cannot serve it: 'ignore' = a miss, or outcome 'unavailable'; 'throw' = reject. */
export type OnUnavailable = 'ignore' | 'throw'

/** The cache that a client without servers keeps in its own process. */
export interface StandaloneOptions {
  /** Most entries; default CACHE_MAX_SIZE, or no limit but memory. */
  maxEntries?: number
  /** Most bytes, overheads included; default CACHE_MAX_MEMORY, or 256 MiB. */
  maxBytes?: number
  /** Time to live of a `store` that names none, in seconds; Infinity = none. Default CACHE_EXPIRATION, or none. */
  ttlSeconds?: number
  /** Whether a hit starts the time to live anew; default CACHE_RENEW_ON_HIT, or false. */
  renewOnHit?: boolean
}

export interface ClientOptions extends AccessOptions {
  /** `host:port`, several with commas or as a list, tried in turn. Left out and not in the environment: stand-alone. */
  servers?: string | readonly string[]
  /** A call's total time, waiting for a connection included, in ms. Default 250: past that a user notices. */
  timeoutMs?: number
  /** One attempt to connect, in ms, in the background. Default 2000. */
  connectTimeoutMs?: number
  /** Silence after which the server is asked for a sign of life, in ms; three misses end the connection. Default 500. */
  heartbeatMs?: number
  /** Requests that wait to be sent, in bytes; beyond it calls fail at once. Default 8 MiB. */
  queueBytesMax?: number
  /** Waits between attempts to connect, in ms: doubling from min to max, with full jitter. Default 50 and 2000. */
  reconnect?: { minMs: number; maxMs: number }
  /** Default: reads and `store` ignore, `delete`, `clear`, `increment` and `touch` throw. */
  onUnavailable?: OnUnavailable
  /** Put before every key. */
  keyPrefix?: string
  /** Who this is, for the server's logs. At most 128 bytes. Default `ormuco-cache`. */
  name?: string
  /** For the one warning line of a client without servers. Default `console`. */
  logger?: Pick<Console, 'debug' | 'info' | 'warn' | 'error'>
  standalone?: StandaloneOptions
}

export interface ResolvedClientOptions extends Access {
  /** Empty: stand-alone. */
  servers: readonly ServerAddress[]
  timeoutMs: number
  connectTimeoutMs: number
  heartbeatMs: number
  queueBytesMax: number
  reconnect: { minMs: number; maxMs: number }
  onUnavailable: OnUnavailable | undefined
  keyPrefix: string
  name: string
  logger: Pick<Console, 'debug' | 'info' | 'warn' | 'error'>
  standalone: StandaloneOptions
}

type Environment = Readonly<Record<string, string | undefined>>

const DEFAULTS = {
  timeoutMs: 250,
  connectTimeoutMs: 2000,
  heartbeatMs: 500,
  queueBytesMax: 8 * 1024 * 1024,
  reconnect: { minMs: 50, maxMs: 2000 },
}

const OPTIONS = new Set<string>([
  'servers',
  'timeoutMs',
  'connectTimeoutMs',
  'heartbeatMs',
  'queueBytesMax',
  'reconnect',
  'onUnavailable',
  'keyPrefix',
  'name',
  'logger',
  'standalone',
  ...accessOptionNames,
])
const RECONNECT_OPTIONS = new Set<string>(['minMs', 'maxMs'])
const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
const STANDALONE_BYTES_MIN = 1024 * 1024
const STANDALONE_OPTIONS = new Set<string>(['maxEntries', 'maxBytes', 'ttlSeconds', 'renewOnHit'])

/** Fills in the defaults. Throws TypeError or RangeError that name the option, its value and what is allowed. */
export function resolveClientOptions(
  options: ClientOptions,
  environment: Environment = process.env,
): ResolvedClientOptions {
  if (typeof options !== 'object' || options === null)
    throw new TypeError(
      `options are an object, such as { servers: 'localhost:${DEFAULT_PORT}' }, got ${options}`,
    )
  refuseUnknown('option', options, OPTIONS)
  const { onUnavailable, keyPrefix = '', name = 'ormuco-cache' } = options
  checkOnUnavailable(onUnavailable)
  const isText = typeof keyPrefix === 'string' && keyPrefix.isWellFormed()
  if (!isText || Buffer.byteLength(keyPrefix) >= KEY_BYTES_MAX)
    throw new TypeError(`keyPrefix: text of less than ${KEY_BYTES_MAX} bytes is needed`)
  if (typeof name !== 'string' || Buffer.byteLength(name) > CLIENT_NAME_BYTES_MAX)
    throw new TypeError(`name: a string of at most ${CLIENT_NAME_BYTES_MAX} bytes is needed`)
  const logger = options.logger ?? console
  if (LOG_LEVELS.some((level) => typeof logger[level] !== 'function'))
    throw new TypeError(`logger: an object with the functions ${LOG_LEVELS.join(', ')} is needed`)
  const dotEnv = 'servers' in options ? {} : readDotEnv()
  const servers = serversOf(options, environment, dotEnv, logger)
  return {
    servers,
    ...resolvedAccess(options, servers, environment, dotEnv),
    timeoutMs: positiveNumber('timeoutMs', options.timeoutMs ?? DEFAULTS.timeoutMs),
    connectTimeoutMs: positiveNumber(
      'connectTimeoutMs',
      options.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs,
    ),
    heartbeatMs: positiveNumber('heartbeatMs', options.heartbeatMs ?? DEFAULTS.heartbeatMs),
    queueBytesMax: positiveNumber('queueBytesMax', options.queueBytesMax ?? DEFAULTS.queueBytesMax),
    reconnect: reconnectOf(options.reconnect ?? DEFAULTS.reconnect),
    onUnavailable,
    keyPrefix,
    name,
    logger,
    standalone: standaloneOf(options.standalone === undefined ? {} : options.standalone),
  }
}

function reconnectOf(options: { minMs: number; maxMs: number }): { minMs: number; maxMs: number } {
  refuseUnknown('reconnect option', options, RECONNECT_OPTIONS)
  const minMs = positiveNumber('reconnect.minMs', options.minMs)
  const maxMs = positiveNumber('reconnect.maxMs', options.maxMs)
  if (minMs > maxMs)
    throw new RangeError(`reconnect.minMs: ${minMs} is not possible; allowed: up to maxMs, here ${maxMs}`)
  return { minMs, maxMs }
}

/** Throws TypeError for a word that is neither of the two. */
export function checkOnUnavailable(value: unknown): void {
  if (value !== undefined && value !== 'ignore' && value !== 'throw')
    throw new TypeError(`onUnavailable: ${String(value)} is not possible; allowed: 'ignore', 'throw'`)
}

/** What is given and wrong is said here; the rest, and what stands in the environment, when the cache is made. */
function standaloneOf(options: StandaloneOptions): StandaloneOptions {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new TypeError(
      `standalone: ${String(options)} is not possible; allowed: an object with ${[...STANDALONE_OPTIONS].join(', ')}`,
    )
  refuseUnknown('standalone option', options, STANDALONE_OPTIONS)
  const { maxEntries, maxBytes, ttlSeconds, renewOnHit } = options
  if (maxEntries !== undefined && !(Number.isInteger(maxEntries) && maxEntries > 0))
    throw new RangeError(
      `standalone.maxEntries: ${String(maxEntries)} is not possible; allowed: a whole number from 1`,
    )
  if (maxBytes !== undefined && !(Number.isInteger(maxBytes) && maxBytes >= STANDALONE_BYTES_MIN))
    throw new RangeError(
      `standalone.maxBytes: ${String(maxBytes)} is not possible; allowed: a whole number from ${STANDALONE_BYTES_MIN}`,
    )
  if (ttlSeconds !== undefined && !isDefaultTtl(ttlSeconds))
    throw new RangeError(
      `standalone.ttlSeconds: ${String(ttlSeconds)} is not possible; allowed: 0.001 to ${TTL_MS_MAX / 1000}, or Infinity for no expiry`,
    )
  if (renewOnHit !== undefined && typeof renewOnHit !== 'boolean')
    throw new TypeError(`standalone.renewOnHit: ${String(renewOnHit)} is not possible; allowed: true, false`)
  return options
}

function isDefaultTtl(seconds: number): boolean {
  if (typeof seconds !== 'number') return false
  return seconds === Number.POSITIVE_INFINITY || (seconds >= 0.001 && seconds <= TTL_MS_MAX / 1000)
}

type Warn = Pick<Console, 'warn'>

function serversOf(
  options: ClientOptions,
  environment: Environment,
  dotEnv: Environment,
  logger: Warn,
): ServerAddress[] {
  if ('servers' in options) {
    const servers: unknown = options.servers
    const list = typeof servers === 'string' ? servers.split(',') : (servers ?? [])
    if (!Array.isArray(list))
      throw new TypeError(
        `servers: ${String(servers)} is not possible; allowed: host:port, or a list of them`,
      )
    // A variable that was misspelt must not give every process a cache of its own.
    if (list.length === 0 || servers === '')
      throw new TypeError(
        `servers is given but ${servers === undefined ? 'undefined' : 'empty'}: name at least one host:port, or leave it out for a stand-alone cache`,
      )
    return list.map((text) => parseServer('servers', text))
  }
  return (
    serversFrom('environment', environment, dotEnv, logger) ??
    serversFrom('.env', dotEnv, environment, logger) ??
    []
  )
}

/** Variables speak for servers that variables name, and only where the constructor says nothing. */
function resolvedAccess(
  options: ClientOptions,
  servers: readonly ServerAddress[],
  environment: Environment,
  dotEnv: Environment,
): Access {
  const given = accessOf(options)
  if (servers.length === 0) {
    const name = accessOptionNames.find((name) => options[name] !== undefined && options[name] !== false)
    if (name !== undefined)
      throw new TypeError(
        `${name} is given and there are no servers: a stand-alone cache has nobody to prove it to`,
      )
    return given
  }
  if ('servers' in options) return given
  return {
    credentials: given.credentials ?? credentialsFrom(environment, dotEnv),
    tls: options.tls === undefined ? tlsFrom(environment, dotEnv) : given.tls,
  }
}

/** What `place` names; the port to its SERVER_HOST may stand in the other place. */
function serversFrom(
  where: string,
  place: Environment,
  otherPlace: Environment,
  logger: Warn,
): ServerAddress[] | undefined {
  const servers = variable(place, 'SERVERS', logger)
  if (servers !== undefined) return servers.split(',').map((text) => parseServer(`SERVERS (${where})`, text))
  const host = variable(place, 'SERVER_HOST', logger)
  if (host === undefined) return undefined
  const first = where === '.env' ? otherPlace : place
  const second = where === '.env' ? place : otherPlace
  const port = variable(first, 'SERVER_PORT', logger) ?? variable(second, 'SERVER_PORT', logger)
  if (port === undefined) return [parseServer(`SERVER_HOST (${where})`, host)]
  return [parseServer('SERVER_HOST and SERVER_PORT', `${bracketed(host)}:${port}`)]
}

/** A variable that is set, not empty, and meant for us. */
function variable(place: Environment, name: string, logger: Warn): string | undefined {
  const text = place[name]?.trim()
  if (text === undefined || text === '') return undefined
  if (!/^(tcp|udp|sctp):\/\//i.test(text)) return text
  logger.warn(
    `ormuco-cache: ${name}=${text} is ignored: Kubernetes sets such variables for a Service of that name; enableServiceLinks: false stops it`,
  )
  return undefined
}

function parseServer(option: string, text: unknown): ServerAddress {
  const trimmed = typeof text === 'string' ? text.trim() : ''
  const parsed = hostPort.parse(trimmed) ?? hostPort.parse(`${bracketed(trimmed)}:${DEFAULT_PORT}`)
  if (parsed?.host === undefined || parsed.port === 0)
    throw new TypeError(
      `${option}: ${JSON.stringify(text)} is not host:port, such as localhost:${DEFAULT_PORT}`,
    )
  return { host: parsed.host, port: parsed.port }
}

/** Colons that are no address of IPv6 are left as they are: a port that is none must not become part of a name. */
function bracketed(host: string): string {
  return isIPv6(host) ? `[${host}]` : host
}

function readDotEnv(): Environment {
  try {
    return parseEnv(readFileSync('.env', 'utf8').replace(/^\uFEFF/, ''))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw error
  }
}

/** Throws RangeError for what is no number, not above 0, or too large for a timer. */
export function positiveNumber(option: string, value: number): number {
  if (typeof value === 'number' && value > 0 && value < 2 ** 31) return value
  throw new RangeError(`${option}: ${String(value)} is not possible; allowed: above 0 and below 2^31`)
}

/** Throws TypeError for a name that is not one of `known`. */
export function refuseUnknown(what: string, options: object, known: ReadonlySet<string>): void {
  for (const name of Object.keys(options))
    if (!known.has(name)) throw new TypeError(`unknown ${what} ${name}; there are ${[...known].join(', ')}`)
}
