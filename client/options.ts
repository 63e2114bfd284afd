// What a client can be told, with defaults and their reasons, and the one validation. Reads SERVERS, SERVER_HOST and
// SERVER_PORT (from the environment, then from .env) only where the constructor names no servers.

import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { CLIENT_NAME_BYTES_MAX, DEFAULT_PORT, KEY_BYTES_MAX } from '../protocol/limits.ts'
import { hostPort } from '../protocol/notation.ts'
import type { ServerAddress } from './dial.ts'

/** What a call does when the cache cannot serve it: 'ignore' = a miss, or outcome 'unavailable'; 'throw' = reject. */
export type OnUnavailable = 'ignore' | 'throw'

/** The cache that a client without servers keeps in its own process. */
export interface StandaloneOptions {
  /** Most entries; default CACHE_MAX_SIZE, or no limit but memory. */
  maxEntries?: number
  /** Most bytes, overheads included; default CACHE_MAX_MEMORY, or 256 MiB. */
  maxBytes?: number
  /** Time to live of a `store` that names none, in seconds; default CACHE_EXPIRATION, or none. */
  ttlSeconds?: number
  /** Whether a hit starts the time to live anew; default CACHE_RENEW_ON_HIT, or false. */
  renewOnHit?: boolean
}

export interface ClientOptions {
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

export interface ResolvedClientOptions {
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
])
const STANDALONE_OPTIONS = new Set<string>(['maxEntries', 'maxBytes', 'ttlSeconds', 'renewOnHit'])

/** Fills in the defaults. Throws TypeError or RangeError that name the option, its value and what is allowed. */
export function resolveClientOptions(
  options: ClientOptions,
  environment: Environment = process.env,
): ResolvedClientOptions {
  refuseUnknown('option', options, OPTIONS)
  if (options.standalone !== undefined)
    refuseUnknown('standalone option', options.standalone, STANDALONE_OPTIONS)
  const { onUnavailable, keyPrefix = '', name = 'ormuco-cache' } = options
  if (onUnavailable !== undefined && onUnavailable !== 'ignore' && onUnavailable !== 'throw')
    throw new TypeError(`onUnavailable: ${String(onUnavailable)} is not possible; allowed: 'ignore', 'throw'`)
  if (typeof keyPrefix !== 'string' || Buffer.byteLength(keyPrefix) >= KEY_BYTES_MAX)
    throw new TypeError(`keyPrefix: a string of less than ${KEY_BYTES_MAX} bytes is needed`)
  if (typeof name !== 'string' || Buffer.byteLength(name) > CLIENT_NAME_BYTES_MAX)
    throw new TypeError(`name: a string of at most ${CLIENT_NAME_BYTES_MAX} bytes is needed`)
  const { minMs, maxMs } = options.reconnect ?? DEFAULTS.reconnect
  return {
    servers: serversOf(options, environment),
    timeoutMs: positive('timeoutMs', options.timeoutMs ?? DEFAULTS.timeoutMs),
    connectTimeoutMs: positive('connectTimeoutMs', options.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs),
    heartbeatMs: positive('heartbeatMs', options.heartbeatMs ?? DEFAULTS.heartbeatMs),
    queueBytesMax: positive('queueBytesMax', options.queueBytesMax ?? DEFAULTS.queueBytesMax),
    reconnect: { minMs: positive('reconnect.minMs', minMs), maxMs: positive('reconnect.maxMs', maxMs) },
    onUnavailable,
    keyPrefix,
    name,
    logger: options.logger ?? console,
    standalone: options.standalone ?? {},
  }
}

function serversOf(options: ClientOptions, environment: Environment): ServerAddress[] {
  if ('servers' in options) {
    const { servers } = options
    const list = typeof servers === 'string' ? servers.split(',') : (servers ?? [])
    const addresses = list.map((text) => parseServer('servers', text))
    // A variable that was misspelt must not give every process a cache of its own.
    if (addresses.length === 0)
      throw new TypeError(
        `servers is given but ${servers === undefined ? 'undefined' : 'empty'}: name at least one host:port, or leave it out for a stand-alone cache`,
      )
    return addresses
  }
  return serversFrom(environment, 'environment') ?? serversFrom(readDotEnv(), '.env') ?? []
}

function serversFrom(environment: Environment, where: string): ServerAddress[] | undefined {
  const value = (name: string) => {
    const text = environment[name]?.trim()
    // Kubernetes sets such variables for a Service that is called "server".
    return text === undefined || text === '' || /^(tcp|udp):\/\//.test(text) ? undefined : text
  }
  const servers = value('SERVERS')
  if (servers !== undefined) return servers.split(',').map((text) => parseServer(`SERVERS (${where})`, text))
  const host = value('SERVER_HOST')
  if (host === undefined) return undefined
  const port = value('SERVER_PORT')
  return [parseServer(`SERVER_HOST (${where})`, port === undefined ? host : `${bracketed(host)}:${port}`)]
}

function parseServer(option: string, text: string): ServerAddress {
  const trimmed = typeof text === 'string' ? text.trim() : ''
  const parsed = hostPort.parse(trimmed) ?? hostPort.parse(`${bracketed(trimmed)}:${DEFAULT_PORT}`)
  if (parsed?.host === undefined || parsed.port === 0)
    throw new TypeError(
      `${option}: ${JSON.stringify(text)} is not host:port, such as localhost:${DEFAULT_PORT}`,
    )
  return { host: parsed.host, port: parsed.port }
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}

function readDotEnv(): Environment {
  try {
    return parseEnv(readFileSync('.env', 'utf8'))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw error
  }
}

function positive(option: string, value: number): number {
  if (typeof value === 'number' && value > 0 && value < 2 ** 31) return value
  throw new RangeError(`${option}: ${String(value)} is not possible; allowed: above 0 and below 2^31`)
}

/** Throws TypeError for a name that is not one of `known`. */
export function refuseUnknown(what: string, options: object, known: ReadonlySet<string>): void {
  for (const name of Object.keys(options))
    if (!known.has(name)) throw new TypeError(`unknown ${what} ${name}; there are ${[...known].join(', ')}`)
}
