// The servers that are measured: ours, those of others that are installed, and the bare floor; how each is started,
// with the settings its documentation gives for a pure cache, over TCP on loopback, nothing written to disk.
// Another's server is looked for in a variable, then on PATH; one that is missing is named, with what would add it.

import { execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { encodeFrame } from '../../bin/load-frames.ts'
import { VERSION_BYTES } from '../../protocol/limits.ts'
import { Status, ValueFlags } from '../../protocol/messages.ts'
import { DIALECTS, type DialectName } from './dialects.ts'
import type { Operation } from './generator.ts'
import { keyOf } from './keys.ts'
import { CORES } from './machine.ts'
import { type RunningServer, startAnnounced, startOnPort } from './processes.ts'

export type PeerId = 'redis' | 'valkey' | 'memcached' | 'pogocache'

/** A server that can be started; `memoryMb` is its limit for data. */
export interface Contestant {
  id: string
  name: string
  dialect: DialectName
  start(memoryMb: number): Promise<RunningServer>
}

/** A server of somebody else that was found, or why it was not. */
export type Peer =
  | { id: PeerId; found: true; version: string; contestant: Contestant }
  | { id: PeerId; found: false; reason: string }

/** How a peer is found and started. */
interface Recipe {
  id: PeerId
  command: string
  variable: string
  dialect: DialectName
  versionFlag: string
  args(port: number, memoryMb: number): string[]
}

// Snapshots and the append-only file are off; eviction as a cache has it. Latency tracking costs time on each command.
const redisLike = (port: number, memoryMb: number) => [
  ...['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--daemonize', 'no'],
  ...['--maxmemory', `${memoryMb}mb`, '--maxmemory-policy', 'allkeys-lru', '--latency-tracking', 'no'],
]

const RECIPES: readonly Recipe[] = [
  {
    id: 'redis',
    command: 'redis-server',
    variable: 'REDIS_SERVER',
    dialect: 'resp',
    versionFlag: '--version',
    args: redisLike,
  },
  {
    id: 'valkey',
    command: 'valkey-server',
    variable: 'VALKEY_SERVER',
    dialect: 'resp',
    versionFlag: '--version',
    args: redisLike,
  },
  {
    id: 'memcached',
    command: 'memcached',
    variable: 'MEMCACHED',
    dialect: 'meta',
    versionFlag: '-V',
    // -R: requests of one connection before it turns to the next; the default of 20 would cut deep pipelines apart.
    args: (port, memoryMb) => [
      ...['-l', '127.0.0.1', '-p', `${port}`, '-U', '0', '-t', '1', '-m', `${memoryMb}`, '-R', '200'],
      ...(userInfo().uid === 0 ? ['-u', 'root'] : []),
    ],
  },
  {
    id: 'pogocache',
    command: 'pogocache',
    variable: 'POGOCACHE',
    dialect: 'resp',
    versionFlag: '--version',
    args: (port, memoryMb) => [
      ...['-h', '127.0.0.1', '-p', `${port}`, '--threads=1', `--maxmemory=${memoryMb}mb`],
    ],
  },
]

/** Looks for the servers of others. */
export function findPeers(): Peer[] {
  return RECIPES.map((recipe): Peer => {
    const { id, command, variable, dialect } = recipe
    const path = process.env[variable] || onPath(command)
    const reason = `not measured: no ${command} on PATH, and ${variable} is not set`
    if (path === undefined) return { id, found: false, reason }
    const version = versionOf(path, recipe.versionFlag)
    if (version === undefined) return { id, found: false, reason: `not measured: ${path} does not run` }
    const start = (memoryMb: number) =>
      startOnPort(id, (port) => ({ command: path, args: recipe.args(port, memoryMb), core: CORES?.server }))
    return { id, found: true, version, contestant: { id, name: `${id} ${version}`, dialect, start } }
  })
}

/** redis, where it is installed and was built with TLS, on a port of its own for it. */
export function redisWithTls(certFile: string, keyFile: string): Contestant | undefined {
  const redis = findPeers().find((peer) => peer.id === 'redis')
  const path = process.env['REDIS_SERVER'] || onPath('redis-server')
  if (redis?.found !== true || path === undefined) return undefined
  const args = (port: number, memoryMb: number) => [
    ...redisLike(0, memoryMb),
    ...['--tls-port', `${port}`, '--tls-cert-file', certFile, '--tls-key-file', keyFile],
    ...['--tls-ca-cert-file', certFile, '--tls-auth-clients', 'no'],
  ]
  const { id, name, dialect } = redis.contestant
  const start = (memoryMb: number) =>
    startOnPort(id, (port) => ({ command: path, args: args(port, memoryMb), core: CORES?.server }))
  return { id, name: `${name}, TLS`, dialect, start }
}

/** How our server is started, beyond the memory limit. */
export interface OurOptions {
  /** Default: arena. */
  store?: 'arena' | 'heap'
  /** Flags for Node. */
  nodeFlags?: readonly string[]
  /** Flags for the server, beyond port, memory and store. */
  serverFlags?: readonly string[]
  /** Not pinned to the servers' core. */
  roams?: boolean
  onErrorLine?: (line: string) => void
}

/** Our server, as built in `distDir`. */
export function ourServer(distDir: string, options: OurOptions): Contestant {
  const { store = 'arena', nodeFlags = [], serverFlags = [], roams = false, onErrorLine } = options
  const name = `ormuco-cache, ${store} store`
  return {
    id: store === 'arena' ? 'ormuco' : 'ormuco-heap',
    name,
    dialect: 'frames',
    start: (memoryMb) => {
      const flags = ['--port', '0', '--max-memory', `${memoryMb}mb`, '--store', store, '--log-level', 'error']
      const args = [...nodeFlags, join(distDir, 'bin/start-server.js'), ...flags, ...serverFlags]
      const command = { command: process.execPath, args, core: roams ? undefined : CORES?.server }
      return startAnnounced(name, command, /^Server listens on port (\d+)$/m, onErrorLine)
    },
  }
}

/** The bare server has a port for each operation, since it does not look at what it is asked. */
export interface BareServer extends RunningServer {
  operations: Record<Operation, { port: number; replyBytes: number }>
}

/** Starts the bare Node server, told the sizes of our requests and replies. */
export async function startBareServer(distDir: string, valueBytes: number): Promise<BareServer> {
  const value = Buffer.alloc(valueBytes)
  const getReply = encodeFrame(Status.Ok, [ValueFlags.Raw, value]).length
  const setReply = encodeFrame(Status.Ok, [Buffer.alloc(VERSION_BYTES), 0]).length
  const getRequest = DIALECTS.frames.get(keyOf(0)).length
  const setRequest = DIALECTS.frames.set(keyOf(0), value).length
  const sizes = [getRequest, getReply, setRequest, setReply]
  const args = [join(distDir, 'test/bench/bare-server.js'), ...sizes.map(String)]
  const command = { command: process.execPath, args, core: CORES?.server }
  const server = await startAnnounced('bare server', command, /^GET on port (\d+), SET on port (\d+)$/m)
  const operations = {
    get: { port: server.port, replyBytes: getReply },
    set: { port: Number(server.announced[2]), replyBytes: setReply },
  }
  return { ...server, operations }
}

function onPath(command: string): string | undefined {
  const { PATH = '' } = process.env
  return PATH.split(delimiter)
    .map((folder) => join(folder, command))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

function versionOf(path: string, flag: string): string | undefined {
  try {
    const text = execFileSync(path, [flag], { encoding: 'utf8', timeout: 5_000 })
    return /\d+\.\d+[\w.-]*/.exec(text)?.[0] ?? 'of unknown version'
  } catch {
    return undefined
  }
}
