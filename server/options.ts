// What a server can be told, between whoever constructs one and its parts. Every option is optional; the defaults
// stand below, each with its reason. resolveOptions is the only validation: what it returns is complete, within its
// range and consistent, and the parts rely on that without asking again.
// Reads no environment: flags, variables and .env become a ServerOptions elsewhere.

import { isIP } from 'node:net'
import { inspect } from 'node:util'
import {
  DEFAULT_PORT,
  FRAME_OVERHEAD_BYTES_MAX,
  MEMBERS_MAX,
  TTL_MS_MAX,
  VALUE_BYTES_MAX_CEILING,
  VALUE_BYTES_MAX_DEFAULT,
} from '../protocol/limits.ts'
import { duration, hostPort, size } from '../protocol/notation.ts'
import { isLoopback } from './loopback.ts'
import { multicastGroup } from './multicast.ts'
import { NETWORK_PRESETS, type NetworkPreset, replicationDefaults } from './replication/defaults.ts'
import type { ReplicationOptions } from './replication/replica.ts'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB

/** Where a server reports what happens to it: constant phrases, facts in fields. A pino logger is one. */
export interface Logger {
  debug(fields: object, phrase: string): void
  info(fields: object, phrase: string): void
  warn(fields: object, phrase: string): void
  error(fields: object, phrase: string): void
}

export const STORE_KINDS = ['arena', 'heap'] as const
export type StoreKind = (typeof STORE_KINDS)[number]

export interface ServerOptions {
  /** TCP port, 0 to 65535; 0 = any free one, which `start()` tells. */
  port?: number
  /** Address or name to listen on. Beyond loopback only with authentication and TLS, or `insecure`. */
  host?: string
  /** Names this server to people, in logs and statistics. Default: the address it listens on, as host:port. */
  nodeId?: string
  /** Where this server stands, for clients that look for the closest. */
  region?: string
  /** Servers and clients of different clusters are not meant for each other. */
  cluster?: string
  /** Other servers of the cluster, each as host:port. One that names the others is enough; one's own is skipped. */
  peers?: readonly string[]
  /** UDP group and port, as group:port, on which servers of one LAN find each other without a list; '' = off. */
  multicast?: string
  /** How far apart the servers are: 'local' and 'lan' keep less on its way than 'wan'. */
  network?: NetworkPreset
  /** Durations and budgets of replication, for who knows why; see server/replication/defaults.ts. */
  replication?: Partial<ReplicationOptions>

  /** Most bytes of the store, every overhead charged. More holds more; the process needs some 60 MB on top. */
  maxMemoryBytes?: number
  /** Most entries; Infinity = bounded by memory alone. */
  maxEntries?: number
  /** Time to live of a write that names none, in seconds, fractions allowed; 0 = no expiry. */
  defaultTtlSeconds?: number
  /** Whether a hit starts an entry's time to live anew. */
  renewOnHit?: boolean
  /** 'arena': off-heap, compact, no garbage collection pauses. 'heap': JavaScript objects, simple, needs more memory. */
  store?: StoreKind
  /** Largest value in bytes. More lets one request hold more memory and delay its neighbours longer. */
  maxValueBytes?: number

  /** Who may come in: path of a file that `ormuco-cache users` writes. '' = whoever reaches the port. */
  authFile?: string
  /** Path of a file with the secret that all servers of the cluster share, at least 16 bytes of text. '' = none. */
  clusterSecretFile?: string

  /** Path of the server's certificate in PEM format, with those between it and the authority; '' = no TLS. */
  tlsCert?: string
  /** Path of its private key in PEM format, without a passphrase. Together with `tlsCert`. */
  tlsKey?: string
  /** Path of the authorities, in PEM format, that sign clients and other servers. '' = clients without certificates. */
  tlsCa?: string
  /** Nobody connects without a certificate that `tlsCa` has signed. Else such a certificate is as good as none. */
  tlsRequireClientCert?: boolean
  /** A TLS handshake must be done within this time, else its connection closes. */
  tlsHandshakeTimeoutMs?: number

  /**
   * Most open connections, fewer where the system's limit of open files is lower. One more is refused, unless it comes
   * from another server: see `descriptorsReserved`. An idle one costs about 16 KB, with TLS 50 KB.
   */
  maxConnections?: number
  /** Open files kept back from clients: half for dials and files, half for connections from other servers. */
  descriptorsReserved?: number
  /** Most connections that have not authenticated yet, those in a TLS handshake included. */
  unauthenticatedMax?: number
  /**
   * The same, from one address, or in IPv6 its first 64 bits. Fewer than a host may open at once, and some are told to
   * come again.
   */
  unauthenticatedPerAddressMax?: number
  /** A connection that must authenticate and has not done so within this time is closed. */
  authTimeoutMs?: number
  /** Longest frame, and most unsent reply bytes, of a connection that has not authenticated. */
  unauthenticatedFrameBytesMax?: number
  unauthenticatedOutputBytesMax?: number
  /** Replies of one connection that wait for other servers; a request beyond is told to come again. */
  requestsInFlightMax?: number
  /** Unsent reply bytes of one connection at which its requests are no longer dispatched, until they drain. */
  outputBytesMax?: number
  /** A connection with unsent replies that takes none of them for this long is closed. */
  outputStallMs?: number
  /** A frame that has begun must be complete within this time, else its connection closes. */
  frameTimeoutMs?: number
  /** Bytes of incomplete frames, all connections together. At least one largest frame. */
  partialBytesMax?: number
  /** Bytes of unsent replies, all connections together. At least one largest frame. */
  unsentBytesMax?: number

  /** How long `close()` waits for requests under way and unsent replies; 0 = not at all. */
  drainMs?: number
  /** Consents to listen beyond loopback without authentication, or without TLS: whoever is there reads and changes all. */
  insecure?: boolean
  /** Default: silence. */
  logger?: Logger
}

/** Complete and valid. `nodeId` stays undefined until the port is known, if it was not given. */
export type ResolvedServerOptions = Readonly<
  Required<Omit<ServerOptions, 'nodeId'>> & { nodeId: string | undefined }
>

export const SERVER_DEFAULTS = {
  port: DEFAULT_PORT,
  // Nobody but this machine, until someone decides otherwise.
  host: '127.0.0.1',
  region: 'default',
  cluster: 'default',
  // Alone, until somebody names others, or is named by them.
  peers: [] as readonly string[],
  // Nothing is said on the LAN that nobody asked for.
  multicast: '',
  // The safe choice: on a near network it costs nothing but memory that is not used.
  network: 'wan',
  replication: {},
  // Fits a small container, and is plenty to try things out.
  maxMemoryBytes: 256 * MIB,
  // Memory is what runs out; a count is for those who think in entries.
  maxEntries: Number.POSITIVE_INFINITY,
  // Expiry by surprise is worse than none: eviction bounds the memory anyway.
  defaultTtlSeconds: 0,
  // A hot key that is never written again would otherwise be stale for ever.
  renewOnHit: false,
  store: 'arena',
  maxValueBytes: VALUE_BYTES_MAX_DEFAULT,
  authFile: '',
  clusterSecretFile: '',
  tlsCert: '',
  tlsKey: '',
  tlsCa: '',
  tlsRequireClientCert: false,
  // Round trips of an ocean, on a machine that has thousands of handshakes to do.
  tlsHandshakeTimeoutMs: 10_000,
  // About 160 MB when all of them idle; more than most services open, fewer than the usual descriptor limits.
  maxConnections: 10_000,
  // Two connections for each other server, dialed or accepted: enough for 60 of them.
  descriptorsReserved: 128,
  // To authenticate takes some round trips: more at a time than thousands of clients that all come back at once.
  unauthenticatedMax: 512,
  // So that it takes more than some addresses to keep everybody else out.
  unauthenticatedPerAddressMax: 64,
  // Round trips of an ocean, and a password derived on a slow machine; little for somebody who only holds a place.
  authTimeoutMs: 5000,
  // Several times what HELLO and the messages of SCRAM are.
  unauthenticatedFrameBytesMax: 4 * KIB,
  unauthenticatedOutputBytesMax: 4 * KIB,
  // More than a client sends in the time that a write waits; about 300 bytes each.
  requestsInFlightMax: 1000,
  // Several of the largest values: a reader that is merely slow is not cut into single steps.
  outputBytesMax: 8 * MIB,
  // Longer than a failover of the network in between, shorter than the patience of an operator.
  outputStallMs: 30_000,
  // A largest value needs 280 kbit/s for it; slower is a stuck or a hostile sender.
  frameTimeoutMs: 30_000,
  // What many slow senders or readers together can cost beyond the store; holds 60 frames of the default size.
  partialBytesMax: 64 * MIB,
  unsentBytesMax: 64 * MIB,
  // Less than the 30 s and more that orchestrators grant between the polite and the deadly signal.
  drainMs: 10_000,
  insecure: false,
} as const

/** An option that cannot be: says which, what it was, and what it may be. */
export class OptionError extends Error {
  override readonly name = 'OptionError'
  /** The option, flag or variable as its user knows it. */
  readonly option: string
  readonly value: unknown
  /** Completes "allowed: …". */
  readonly allowed: string

  constructor(option: string, value: unknown, allowed: string) {
    const shown = inspect(value, { depth: 0, breakLength: Number.POSITIVE_INFINITY, maxStringLength: 80 })
    super(`${option}: ${shown} is not possible; allowed: ${allowed}`)
    this.option = option
    this.value = value
    this.allowed = allowed
  }
}

/**
 * Fills in the defaults and checks everything once.
 * Throws an OptionError for the first value that is out of range or of the wrong type, and for an unknown option.
 */
export function resolveOptions(options: ServerOptions = {}): ResolvedServerOptions {
  const resolved: ResolvedServerOptions = {
    port: whole(options, 'port', 0, 65_535),
    host: hostName(options),
    nodeId: options.nodeId === undefined ? undefined : label('nodeId', options.nodeId),
    region: label('region', given(options, 'region')),
    cluster: label('cluster', given(options, 'cluster')),
    peers: addresses(options),
    multicast: group(options),
    network: preset(options),
    replication: durations(options),
    maxMemoryBytes: bytes(options, 'maxMemoryBytes', MIB, 1024 * GIB),
    maxEntries: entries(options),
    defaultTtlSeconds: ttlSeconds(options),
    renewOnHit: trueOrFalse(options, 'renewOnHit'),
    store: storeKind(options),
    maxValueBytes: bytes(options, 'maxValueBytes', 1, VALUE_BYTES_MAX_CEILING),
    authFile: path(options, 'authFile'),
    clusterSecretFile: path(options, 'clusterSecretFile'),
    tlsCert: path(options, 'tlsCert'),
    tlsKey: path(options, 'tlsKey'),
    tlsCa: path(options, 'tlsCa'),
    tlsRequireClientCert: trueOrFalse(options, 'tlsRequireClientCert'),
    tlsHandshakeTimeoutMs: milliseconds(options, 'tlsHandshakeTimeoutMs', 100),
    maxConnections: whole(options, 'maxConnections', 1, 1_000_000),
    descriptorsReserved: whole(options, 'descriptorsReserved', 0, 100_000),
    unauthenticatedMax: whole(options, 'unauthenticatedMax', 1, 1_000_000),
    unauthenticatedPerAddressMax: whole(options, 'unauthenticatedPerAddressMax', 1, 1_000_000),
    authTimeoutMs: milliseconds(options, 'authTimeoutMs', 100),
    unauthenticatedFrameBytesMax: bytes(options, 'unauthenticatedFrameBytesMax', KIB, 64 * KIB),
    unauthenticatedOutputBytesMax: bytes(options, 'unauthenticatedOutputBytesMax', KIB, 64 * KIB),
    requestsInFlightMax: whole(options, 'requestsInFlightMax', 1, 65_536),
    outputBytesMax: bytes(options, 'outputBytesMax', 4 * KIB, GIB),
    outputStallMs: milliseconds(options, 'outputStallMs', 100),
    frameTimeoutMs: milliseconds(options, 'frameTimeoutMs', 100),
    partialBytesMax: sharedBudget(options, 'partialBytesMax'),
    unsentBytesMax: sharedBudget(options, 'unsentBytesMax'),
    drainMs: milliseconds(options, 'drainMs', 0),
    insecure: trueOrFalse(options, 'insecure'),
    logger: loggerWithFourLevels(options.logger ?? silence),
  }
  refuseUnknown(options, resolved)
  refuseHalfTls(resolved)
  refuseExposure(resolved)
  return resolved
}

const silence: Logger = { debug() {}, info() {}, warn() {}, error() {} }

type DefaultedOption = keyof typeof SERVER_DEFAULTS

/** Of unknown type: callers without a type checker get their refusal here, not a strange failure later. */
function given(options: ServerOptions, option: DefaultedOption): unknown {
  return options[option] === undefined ? SERVER_DEFAULTS[option] : options[option]
}

function whole(options: ServerOptions, option: DefaultedOption, min: number, max: number): number {
  return inRange(option, given(options, option), min, max, `a whole number from ${min} to ${max}`)
}

function bytes(options: ServerOptions, option: DefaultedOption, min: number, max: number): number {
  return inRange(option, given(options, option), min, max, `${size.format(min)} to ${size.format(max)}`)
}

function milliseconds(options: ServerOptions, option: DefaultedOption, min: number): number {
  const max = 3_600_000
  return inRange(
    option,
    given(options, option),
    min,
    max,
    `${duration.format(min)} to ${duration.format(max)}`,
  )
}

function inRange(option: string, value: unknown, min: number, max: number, allowed: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw new OptionError(option, value, allowed)
}

function entries(options: ServerOptions): number {
  const value = given(options, 'maxEntries')
  if (value === Number.POSITIVE_INFINITY) return value
  return inRange(
    'maxEntries',
    value,
    1,
    2 ** 31,
    `a whole number from 1 to ${2 ** 31}, or Infinity (left out)`,
  )
}

function ttlSeconds(options: ServerOptions): number {
  const value = given(options, 'defaultTtlSeconds')
  const secondsMax = TTL_MS_MAX / 1000
  if (value === 0 || (typeof value === 'number' && value >= 0.001 && value <= secondsMax)) return value
  throw new OptionError('defaultTtlSeconds', value, `0 (no expiry), or 0.001 to ${secondsMax} seconds`)
}

/** A budget that one largest frame exceeds would make that value impossible to send; so the default grows with it. */
function sharedBudget(options: ServerOptions, option: 'partialBytesMax' | 'unsentBytesMax'): number {
  const frameBytesMax = (options.maxValueBytes ?? SERVER_DEFAULTS.maxValueBytes) + FRAME_OVERHEAD_BYTES_MAX
  if (options[option] === undefined) return Math.max(SERVER_DEFAULTS[option], 2 * frameBytesMax)
  return bytes(options, option, frameBytesMax, 1024 * GIB)
}

function trueOrFalse(options: ServerOptions, option: DefaultedOption): boolean {
  const value = given(options, option)
  if (typeof value === 'boolean') return value
  throw new OptionError(option, value, 'true or false')
}

function path(options: ServerOptions, option: DefaultedOption): string {
  const value = given(options, option)
  if (typeof value === 'string' && !value.includes('\0')) return value
  throw new OptionError(option, value, "the path of a file, or '' for none")
}

function addresses(options: ServerOptions): readonly string[] {
  const value = given(options, 'peers')
  const allowed = `a list of at most ${MEMBERS_MAX} addresses, each host:port, such as 10.0.0.2:11142 or [::1]:11142`
  if (!Array.isArray(value) || value.length > MEMBERS_MAX) throw new OptionError('peers', value, allowed)
  for (const address of value) {
    const parsed = typeof address === 'string' ? hostPort.parse(address) : undefined
    if (parsed?.host === undefined || parsed.port === 0) throw new OptionError('peers', value, allowed)
  }
  return value
}

function group(options: ServerOptions): string {
  const value = given(options, 'multicast')
  if (value === '' || (typeof value === 'string' && multicastGroup.parse(value) !== undefined)) return value
  throw new OptionError('multicast', value, multicastGroup.allowed)
}

function preset(options: ServerOptions): NetworkPreset {
  const value = given(options, 'network')
  const known = NETWORK_PRESETS.find((candidate) => candidate === value)
  if (known !== undefined) return known
  throw new OptionError('network', value, NETWORK_PRESETS.join(' or '))
}

function durations(options: ServerOptions): Partial<ReplicationOptions> {
  const value: Partial<ReplicationOptions> = options.replication ?? {}
  const known = Object.keys(replicationDefaults('wan', 0))
  for (const [name, number] of Object.entries(value))
    if (!known.includes(name) || typeof number !== 'number' || !(number > 0))
      throw new OptionError(
        `replication.${name}`,
        number,
        `a number above 0, under one of the names ${known.join(', ')}`,
      )
  return value
}

function storeKind(options: ServerOptions): StoreKind {
  const value = given(options, 'store')
  const kind = STORE_KINDS.find((candidate) => candidate === value)
  if (kind !== undefined) return kind
  throw new OptionError('store', value, STORE_KINDS.join(' or '))
}

/** Names stand in logs, prompts and metric labels: one printable word each. */
function label(option: string, value: unknown): string {
  if (typeof value === 'string' && /^[\x21-\x7e]{1,128}$/.test(value)) return value
  throw new OptionError(option, value, '1 to 128 printable ASCII characters without blanks')
}

function hostName(options: ServerOptions): string {
  const value = given(options, 'host')
  const isName = (text: string) => text.length <= 253 && /^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?$/i.test(text)
  if (typeof value === 'string' && (isIP(value) !== 0 || isName(value))) return value
  throw new OptionError('host', value, 'an IP address or a host name')
}

function loggerWithFourLevels(value: Logger): Logger {
  const levels = [value.debug, value.info, value.warn, value.error]
  if (levels.every((level) => typeof level === 'function')) return value
  throw new OptionError('logger', value, 'an object with the functions debug, info, warn and error')
}

function refuseUnknown(options: ServerOptions, resolved: ResolvedServerOptions): void {
  for (const [option, value] of Object.entries(options)) {
    if (Object.hasOwn(resolved, option)) continue
    throw new OptionError(`unknown option ${option}`, value, Object.keys(resolved).sort().join(', '))
  }
}

/** What one of these says is lost without the others. */
function refuseHalfTls({ tlsCert, tlsKey, tlsCa, tlsRequireClientCert }: ResolvedServerOptions): void {
  if (tlsCert !== '' && tlsKey === '')
    throw new OptionError('tlsCert', tlsCert, 'a path together with tlsKey')
  if (tlsCert === '' && tlsKey !== '') throw new OptionError('tlsKey', tlsKey, 'a path together with tlsCert')
  if (tlsCert === '' && tlsCa !== '')
    throw new OptionError('tlsCa', tlsCa, 'a path together with tlsCert and tlsKey')
  if (tlsCa === '' && tlsRequireClientCert)
    throw new OptionError('tlsRequireClientCert', true, 'false, or true together with tlsCa')
}

type Protection = Pick<ResolvedServerOptions, 'authFile' | 'tlsCert' | 'tlsRequireClientCert'>

/** What a server that can be reached from elsewhere should have, and this one does not; '' = it has all. */
export function missingProtection({ authFile, tlsCert, tlsRequireClientCert }: Protection): string {
  const authentication = authFile === '' && !tlsRequireClientCert ? ['authentication'] : []
  return [...authentication, ...(tlsCert === '' ? ['TLS'] : [])].join(' and ')
}

function refuseExposure(resolved: ResolvedServerOptions): void {
  const { host, insecure } = resolved
  const missing = missingProtection(resolved)
  if (insecure || missing === '' || isLoopback(host)) return
  throw new OptionError(
    'host',
    host,
    'a loopback address (127.0.0.1, ::1, localhost), reached from elsewhere through a tunnel or a proxy that ' +
      'authenticates; any address with authentication (--auth-file, or --tls-ca with --tls-require-client-cert) ' +
      `and TLS (--tls-cert, --tls-key), of which ${missing} is missing here; or, on a network where everybody may ` +
      'read and change the whole cache, any address together with --insecure (option insecure: true)',
  )
}
