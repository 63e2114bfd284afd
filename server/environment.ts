// Environment variables and the .env file, read into ServerOptions: which variable means which option, and in what
// notation it is written. Checks only the notation; ranges and what must go together are for options.ts to judge.
// Beside bin/, the only server code that looks at process.env or at .env. A variable that is empty is not set.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { count, duration, hostPort, type Notation, size, toggle } from '../protocol/notation.ts'
import { OptionError, type ServerOptions, STORE_KINDS } from './options.ts'
import { NETWORK_PRESETS } from './replication/defaults.ts'

export type Environment = Readonly<Record<string, string | undefined>>
export type Warn = (fields: object, phrase: string) => void

/** Turns the text that stands in the flag or variable `name` into options. Throws an OptionError that names it. */
export type Reader<Options> = (name: string, text: string) => Options

/** How each setting is written, wherever it stands. */
export const serverReaders = {
  port: (name, text) => ({ port: take(name, text, portNumber) }),
  host: (_, text) => ({ host: text.replace(/^\[(.*)\]$/, '$1') }),
  portOrHostPort: (name, text) => take(name, text, hostPort),
  nodeId: (_, text) => ({ nodeId: text }),
  region: (_, text) => ({ region: text }),
  cluster: (_, text) => ({ cluster: text }),
  peers: (_, text) => ({ peers: text.split(/[\s,]+/).filter((address) => address !== '') }),
  multicast: (_, text) => ({ multicast: text }),
  network: (name, text) => ({ network: choose(name, text, NETWORK_PRESETS) }),
  maxMemory: (name, text) => ({ maxMemoryBytes: take(name, text, size) }),
  maxEntries: (name, text) => ({ maxEntries: take(name, text, entryCount) }),
  defaultTtl: (name, text) => ({ defaultTtlSeconds: take(name, text, duration) / 1000 }),
  renewOnHit: (name, text) => ({ renewOnHit: take(name, text, toggle) }),
  store: (name, text) => ({ store: choose(name, text, STORE_KINDS) }),
  authFile: (_, text) => ({ authFile: text }),
  clusterSecretFile: (_, text) => ({ clusterSecretFile: text }),
  tlsCert: (_, text) => ({ tlsCert: text }),
  tlsKey: (_, text) => ({ tlsKey: text }),
  tlsCa: (_, text) => ({ tlsCa: text }),
  tlsRequireClientCert: (name, text) => ({ tlsRequireClientCert: take(name, text, toggle) }),
  tlsHandshakeTimeout: (name, text) => ({ tlsHandshakeTimeoutMs: take(name, text, duration) }),
  descriptorsReserved: (name, text) => ({ descriptorsReserved: take(name, text, count) }),
  maxConnections: (name, text) => ({ maxConnections: take(name, text, count) }),
  maxValueSize: (name, text) => ({ maxValueBytes: take(name, text, size) }),
  drainTimeout: (name, text) => ({ drainMs: take(name, text, duration) }),
} satisfies Record<string, Reader<ServerOptions>>

export interface Variable<Options> {
  readonly name: string
  readonly read: Reader<Options>
}

export const serverVariables: readonly Variable<ServerOptions>[] = [
  { name: 'LISTEN_ON', read: serverReaders.portOrHostPort },
  { name: 'LISTEN_HOST', read: serverReaders.host },
  { name: 'CACHE_NODE_ID', read: serverReaders.nodeId },
  { name: 'CACHE_REGION', read: serverReaders.region },
  { name: 'CACHE_CLUSTER', read: serverReaders.cluster },
  { name: 'PEERS', read: serverReaders.peers },
  { name: 'CACHE_MULTICAST', read: serverReaders.multicast },
  { name: 'CACHE_NETWORK', read: serverReaders.network },
  { name: 'CACHE_MAX_MEMORY', read: serverReaders.maxMemory },
  { name: 'CACHE_MAX_SIZE', read: serverReaders.maxEntries },
  { name: 'CACHE_MAX_CAPACITY', read: serverReaders.maxEntries },
  { name: 'CACHE_EXPIRATION', read: serverReaders.defaultTtl },
  { name: 'CACHE_RENEW_ON_HIT', read: serverReaders.renewOnHit },
  { name: 'CACHE_STORE', read: serverReaders.store },
  { name: 'CACHE_AUTH_FILE', read: serverReaders.authFile },
  { name: 'CACHE_CLUSTER_SECRET_FILE', read: serverReaders.clusterSecretFile },
  { name: 'CACHE_TLS_CERT', read: serverReaders.tlsCert },
  { name: 'CACHE_TLS_KEY', read: serverReaders.tlsKey },
  { name: 'CACHE_TLS_CA', read: serverReaders.tlsCa },
  { name: 'CACHE_TLS_REQUIRE_CLIENT_CERT', read: serverReaders.tlsRequireClientCert },
  { name: 'CACHE_TLS_HANDSHAKE_TIMEOUT', read: serverReaders.tlsHandshakeTimeout },
  { name: 'CACHE_DESCRIPTORS_RESERVED', read: serverReaders.descriptorsReserved },
  { name: 'CACHE_MAX_CONNECTIONS', read: serverReaders.maxConnections },
  { name: 'CACHE_MAX_VALUE_SIZE', read: serverReaders.maxValueSize },
  { name: 'CACHE_DRAIN_TIMEOUT', read: serverReaders.drainTimeout },
]

/** Those that say what a cache holds and for how long: all that concerns a cache without a port. */
const cacheVariables = serverVariables.filter(({ name }) =>
  /^CACHE_(MAX_MEMORY|MAX_SIZE|MAX_CAPACITY|EXPIRATION|RENEW_ON_HIT|STORE|MAX_VALUE_SIZE)$/.test(name),
)

/** Variables of the product that this version does not act on; whoever sets one must hear of it. */
const WITHOUT_EFFECT = ['CACHE_HTTP_LISTEN_ON']

/** A setting that was found: where, what stood there, and what it means. */
export interface Found<Options> {
  readonly name: string
  readonly text: string
  readonly options: Options
}

/**
 * Reads the variables that are set, in their order; `file` is where they stand, if not in the process. Throws an OptionError for one that cannot be read, and when two
 * of them disagree about one option (LISTEN_HOST and LISTEN_ON, or the two names of the entry limit).
 */
export function readVariables<Options extends object>(
  environment: Environment,
  variables: readonly Variable<Options>[],
  warn: Warn,
  file?: string,
): Found<Options>[] {
  const found: Found<Options>[] = []
  for (const { name: variable, read } of variables) {
    const text = environment[variable]?.trim() ?? ''
    if (text === '') continue
    if (/^(tcp|udp|sctp):\/\//i.test(text)) {
      const cause =
        'Kubernetes sets such variables for a Service of that name; enableServiceLinks: false stops it'
      warn({ variable, value: text, cause }, 'variable ignored')
      continue
    }
    const name = file === undefined ? variable : `${variable} in ${file}`
    const setting = { name, text, options: read(name, text) }
    for (const earlier of found) refuseContradiction(earlier, setting)
    found.push(setting)
  }
  return found
}

/** Tells of variables that are set and have no effect in this version. */
export function warnWithoutEffect(environment: Environment, warn: Warn): void {
  for (const variable of WITHOUT_EFFECT) {
    if ((environment[variable]?.trim() ?? '') !== '')
      warn({ variable }, 'variable has no effect in this version')
  }
}

/**
 * The options that the environment asks for. Given an environment, that one alone; else process.env over the .env
 * of the current folder. Throws an OptionError that names the variable. Warnings become process warnings unless
 * `warn` is given.
 */
export function fromEnvironment(environment?: Environment, warn: Warn = emitWarning): ServerOptions {
  const dotEnv = environment === undefined ? readDotEnv(process.cwd()) : {}
  const own = environment ?? process.env
  warnWithoutEffect({ ...dotEnv, ...own }, warn)
  return optionsFrom(own, dotEnv, serverVariables, warn)
}

/** The same for a cache inside a client's process: ports, names and peers in its environment are somebody else's. */
export function cacheFromEnvironment(warn: Warn = emitWarning): ServerOptions {
  return optionsFrom(process.env, readDotEnv(process.cwd()), cacheVariables, warn)
}

function optionsFrom(
  environment: Environment,
  dotEnv: Environment,
  variables: readonly Variable<ServerOptions>[],
  warn: Warn,
): ServerOptions {
  const found = [
    ...readVariables(dotEnv, variables, warn, '.env'),
    ...readVariables(environment, variables, warn),
  ]
  return Object.assign({}, ...found.map(({ options }) => options))
}

/**
 * The variables that the .env file of a folder names; none if there is no such file.
 * Throws an OptionError if it cannot be read or has a line that is not NAME=value.
 */
export function readDotEnv(folder: string): Environment {
  const path = join(folder, '.env')
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error) {
      if (error.code === 'ENOENT') return {}
      throw new OptionError('.env', path, `a readable file, or none (${error.code})`)
    }
    throw error
  }
  const lines = text.replace(/^\uFEFF/, '')
  refuseOddLines(lines)
  return parseEnv(lines)
}

/** parseEnv drops a line without `=`, or joins it with the next one, by the version of Node: settings lost without a word. */
function refuseOddLines(text: string): void {
  // Quoted values may be of several lines.
  for (const line of text.replace(/=\s*(["'`])[\s\S]*?\1/g, '=').split('\n'))
    if (!/^\s*(#.*|(export\s+)?[\w.-]+\s*=.*)?$/.test(line.trimEnd()))
      throw new OptionError('.env', line.trim(), 'lines of the form NAME=value, and # comments')
}

/** Reads one of a few words, in any case. */
export function choose<T extends string>(name: string, text: string, choices: readonly T[]): T {
  const choice = choices.find((candidate) => candidate === text.toLowerCase())
  if (choice === undefined) throw new OptionError(name, text, choices.join(', '))
  return choice
}

/** Reads text in a notation. */
export function take<T>(name: string, text: string, notation: Notation<T>): T {
  const value = notation.parse(text)
  if (value === undefined) throw new OptionError(name, text, notation.allowed)
  return value
}

const portNumber: Notation<number> = { ...count, allowed: 'a whole number from 0 to 65535' }

const entryCount: Notation<number> = {
  ...count,
  allowed: 'a number of entries, such as 128 (the limit in bytes is --max-memory, CACHE_MAX_MEMORY)',
}

function refuseContradiction(earlier: Found<object>, later: Found<object>): void {
  const before = new Map<string, unknown>(Object.entries(earlier.options))
  for (const [option, value] of Object.entries(later.options)) {
    if (!before.has(option) || before.get(option) === value) continue
    throw new OptionError(
      later.name,
      later.text,
      `what ${earlier.name}=${earlier.text} says, or only one of the two set`,
    )
  }
}

function emitWarning(fields: object, phrase: string): void {
  process.emitWarning(`ormuco-cache: ${phrase}: ${JSON.stringify(fields)}`)
}
