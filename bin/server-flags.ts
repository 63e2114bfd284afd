// The flags of start-server as a table: one setting each, with its variable, how its text is read and how it is shown.
// The variables themselves are in server/environment.ts; only the two of logging, which a server knows nothing of,
// are added here. Flags and variables share their readers, so that a value is written alike in both.

import { duration, size, toggle, wholeMs } from '../protocol/notation.ts'
import {
  choose,
  type Reader,
  serverReaders,
  serverVariables,
  take,
  type Variable,
} from '../server/environment.ts'
import type { ResolvedServerOptions, ServerOptions } from '../server/options.ts'
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from './logger.ts'

/** What the command alone decides: how it logs. */
export interface LogSettings {
  logLevel: LogLevel
  logFormat: LogFormat
}
export type Settings = ServerOptions & Partial<LogSettings>
export type CompleteSettings = ResolvedServerOptions & LogSettings

export const LOG_DEFAULTS: LogSettings = { logLevel: 'info', logFormat: 'auto' }

const readLogLevel: Reader<Settings> = (name, text) => ({ logLevel: choose(name, text, LOG_LEVELS) })
const readLogFormat: Reader<Settings> = (name, text) => ({ logFormat: choose(name, text, LOG_FORMATS) })

export const commandVariables: readonly Variable<Settings>[] = [
  ...serverVariables,
  { name: 'LOG_LEVEL', read: readLogLevel },
  { name: 'CACHE_LOG_FORMAT', read: readLogFormat },
]

/** A flag of start-server: one setting, how it is read, and how it is shown. */
export interface Flag {
  /** In commander's notation. */
  readonly usage: string
  readonly help: string
  readonly variable?: string
  readonly setting: keyof CompleteSettings
  readonly read: Reader<Settings>
  readonly show: (settings: CompleteSettings) => string
}

export const serverFlags: readonly Flag[] = [
  {
    usage: '-p, --port <port>',
    help: 'TCP port to listen on; 0 picks a free one',
    variable: 'LISTEN_ON',
    setting: 'port',
    read: serverReaders.port,
    show: ({ port }) => String(port),
  },
  {
    usage: '--host <address>',
    help: 'address to listen on',
    variable: 'LISTEN_HOST',
    setting: 'host',
    read: serverReaders.host,
    show: ({ host }) => host,
  },
  {
    usage: '--node-id <name>',
    help: 'name of this server in logs and statistics',
    variable: 'CACHE_NODE_ID',
    setting: 'nodeId',
    read: serverReaders.nodeId,
    show: ({ nodeId }) => nodeId ?? 'host:port',
  },
  {
    usage: '--region <name>',
    help: 'where this server stands',
    variable: 'CACHE_REGION',
    setting: 'region',
    read: serverReaders.region,
    show: ({ region }) => region,
  },
  {
    usage: '--cluster <name>',
    help: 'the cluster this server belongs to',
    variable: 'CACHE_CLUSTER',
    setting: 'cluster',
    read: serverReaders.cluster,
    show: ({ cluster }) => cluster,
  },
  {
    usage: '--peers <addresses>',
    help: 'other servers, as host:port, separated by commas',
    variable: 'PEERS',
    setting: 'peers',
    read: serverReaders.peers,
    show: ({ peers }) => (peers.length === 0 ? 'none' : peers.join(',')),
  },
  {
    usage: '--multicast <group:port>',
    help: 'find servers on this LAN by UDP multicast, such as 239.1.1.1:11143',
    variable: 'CACHE_MULTICAST',
    setting: 'multicast',
    read: serverReaders.multicast,
    show: ({ multicast }) => (multicast === '' ? 'off' : multicast),
  },
  {
    usage: '--network <preset>',
    help: 'how far apart the servers are: local, lan or wan',
    variable: 'CACHE_NETWORK',
    setting: 'network',
    read: serverReaders.network,
    show: ({ network }) => network,
  },
  {
    usage: '-m, --max-memory <size>',
    help: 'limit of the store in bytes, overheads included',
    variable: 'CACHE_MAX_MEMORY',
    setting: 'maxMemoryBytes',
    read: serverReaders.maxMemory,
    show: ({ maxMemoryBytes }) => size.format(maxMemoryBytes),
  },
  {
    usage: '--max-entries <count>',
    help: 'limit of the store in entries',
    variable: 'CACHE_MAX_SIZE',
    setting: 'maxEntries',
    read: serverReaders.maxEntries,
    show: ({ maxEntries }) => (maxEntries === Number.POSITIVE_INFINITY ? 'none' : String(maxEntries)),
  },
  {
    usage: '--expiration, --default-ttl <duration>',
    help: 'time to live of a write that names none; 0 = no expiry',
    variable: 'CACHE_EXPIRATION',
    setting: 'defaultTtlSeconds',
    read: serverReaders.defaultTtl,
    show: ({ defaultTtlSeconds }) => duration.format(wholeMs(defaultTtlSeconds)),
  },
  {
    usage: '--renew-on-hit [boolean]',
    help: "a hit starts an entry's time to live anew",
    variable: 'CACHE_RENEW_ON_HIT',
    setting: 'renewOnHit',
    read: serverReaders.renewOnHit,
    show: ({ renewOnHit }) => toggle.format(renewOnHit),
  },
  {
    usage: '--store <kind>',
    help: 'arena (off-heap) or heap (JavaScript objects)',
    variable: 'CACHE_STORE',
    setting: 'store',
    read: serverReaders.store,
    show: ({ store }) => store,
  },
  {
    usage: '--auth-file <path>',
    help: 'who may come in, and as what: see ormuco-cache users',
    variable: 'CACHE_AUTH_FILE',
    setting: 'authFile',
    read: serverReaders.authFile,
    show: ({ authFile }) => (authFile === '' ? 'none' : authFile),
  },
  {
    usage: '--cluster-secret-file <path>',
    help: 'file with the secret that all servers of the cluster share',
    variable: 'CACHE_CLUSTER_SECRET_FILE',
    setting: 'clusterSecretFile',
    read: serverReaders.clusterSecretFile,
    show: ({ clusterSecretFile }) => (clusterSecretFile === '' ? 'none' : clusterSecretFile),
  },
  {
    usage: '--tls-cert <path>',
    help: 'certificate of this server (PEM): connections with TLS only',
    variable: 'CACHE_TLS_CERT',
    setting: 'tlsCert',
    read: serverReaders.tlsCert,
    show: ({ tlsCert }) => (tlsCert === '' ? 'none' : tlsCert),
  },
  {
    usage: '--tls-key <path>',
    help: 'its private key (PEM)',
    variable: 'CACHE_TLS_KEY',
    setting: 'tlsKey',
    read: serverReaders.tlsKey,
    show: ({ tlsKey }) => (tlsKey === '' ? 'none' : tlsKey),
  },
  {
    usage: '--tls-ca <path>',
    help: 'authorities of clients and other servers (PEM)',
    variable: 'CACHE_TLS_CA',
    setting: 'tlsCa',
    read: serverReaders.tlsCa,
    show: ({ tlsCa }) => (tlsCa === '' ? 'none' : tlsCa),
  },
  {
    usage: '--tls-require-client-cert [boolean]',
    help: 'nobody connects without a certificate that --tls-ca has signed',
    variable: 'CACHE_TLS_REQUIRE_CLIENT_CERT',
    setting: 'tlsRequireClientCert',
    read: serverReaders.tlsRequireClientCert,
    show: ({ tlsRequireClientCert }) => toggle.format(tlsRequireClientCert),
  },
  {
    usage: '--tls-handshake-timeout <duration>',
    help: 'how long a TLS handshake may take',
    variable: 'CACHE_TLS_HANDSHAKE_TIMEOUT',
    setting: 'tlsHandshakeTimeoutMs',
    read: serverReaders.tlsHandshakeTimeout,
    show: ({ tlsHandshakeTimeoutMs }) => duration.format(tlsHandshakeTimeoutMs),
  },
  {
    usage: '--max-connections <count>',
    help: 'open connections; one more is refused, unless it comes from another server',
    variable: 'CACHE_MAX_CONNECTIONS',
    setting: 'maxConnections',
    read: serverReaders.maxConnections,
    show: ({ maxConnections }) => String(maxConnections),
  },
  {
    usage: '--descriptors-reserved <count>',
    help: 'open files kept back from clients, for other servers',
    variable: 'CACHE_DESCRIPTORS_RESERVED',
    setting: 'descriptorsReserved',
    read: serverReaders.descriptorsReserved,
    show: ({ descriptorsReserved }) => String(descriptorsReserved),
  },
  {
    usage: '--max-value-size <size>',
    help: 'largest value',
    variable: 'CACHE_MAX_VALUE_SIZE',
    setting: 'maxValueBytes',
    read: serverReaders.maxValueSize,
    show: ({ maxValueBytes }) => size.format(maxValueBytes),
  },
  {
    usage: '--drain-timeout <duration>',
    help: 'how long a stopping server finishes what is under way',
    variable: 'CACHE_DRAIN_TIMEOUT',
    setting: 'drainMs',
    read: serverReaders.drainTimeout,
    show: ({ drainMs }) => duration.format(drainMs),
  },
  {
    usage: '--insecure',
    help: 'allow an address beyond loopback without authentication and TLS',
    setting: 'insecure',
    read: (name, text) => ({ insecure: take(name, text, toggle) }),
    show: ({ insecure }) => toggle.format(insecure),
  },
  {
    usage: '--log-level <level>',
    help: `one of ${LOG_LEVELS.join(', ')}`,
    variable: 'LOG_LEVEL',
    setting: 'logLevel',
    read: readLogLevel,
    show: ({ logLevel }) => logLevel,
  },
  {
    usage: '--log-format <format>',
    help: 'json, pretty, or auto: pretty on a terminal',
    variable: 'CACHE_LOG_FORMAT',
    setting: 'logFormat',
    read: readLogFormat,
    show: ({ logFormat }) => logFormat,
  },
]
