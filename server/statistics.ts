// What STATS tells, as interface.md of the design lays it out: nested, camelCase, units last. Put together on request
// from counters that cost nothing in between.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { PROTOCOL_VERSION_MAX } from '../protocol/limits.ts'
import { Opcode } from '../protocol/messages.ts'
import { wallOfHlc } from './clock.ts'
import type { Keyspace } from './keyspace.ts'
import type { ResolvedServerOptions } from './options.ts'
import type { PeerStatus, ReplicationStats } from './peer-status.ts'
import { emptyHead, NO_SLOT } from './store/store.ts'

/** Who this server is; the node id may depend on the port. */
export interface Identity {
  version: string
  nodeId(): string
  /** 8 random bytes, new with each start. */
  bootId(): Uint8Array
  region: string
  cluster: string
}

export interface ServerStats {
  server: {
    version: string
    protocol: number
    nodeId: string
    bootId: string
    region: string
    cluster: string
    pid: number
    nodeVersion: string
    store: string
    uptimeSeconds: number
    draining: boolean
  }
  memory: {
    entries: number
    /** null: no limit. */
    entriesMax: number | null
    dataBytes: number
    overheadBytes: number
    usedBytes: number
    limitBytes: number
    residentBytes: number
    tombstones: number
    ghosts: number
    /** Since the least recently used value was written; null when empty. */
    oldestEntryAgeSeconds: number | null
  }
  cache: {
    hits: number
    misses: number
    /** null before the first read. */
    hitRatio: number | null
    sets: number
    deletes: number
    evictions: number
    expirations: number
    conflicts: number
  }
  commands: Record<string, number>
  connections: {
    clients: number
    peers: number
    accepted: number
    refused: number
    closedSlow: number
    /** Messages between servers that came from somebody who had not said HELLO as one. */
    peerMessagesRefused: number
    /** Now: in a TLS handshake, or not authenticated yet. */
    unauthenticated: number
    /** Attempts to authenticate that failed, and connections whose time for it was over. */
    authFailures: number
    authTimeouts: number
    /** Requests that the role of who asked does not allow. */
    forbidden: number
    /** Requests, and connections that had begun, for which there was no room. */
    overloaded: number
  }
  network: { receivedBytes: number; sentBytes: number }
  replication: ReplicationStats
  peers: readonly PeerStatus[]
  eventLoop: { lagP99Ms: number }
}

/** Counters of everything outside the keyspace; the sessions count, this file reports. */
export class Counters {
  /** Requests by opcode. */
  readonly requests = new Float64Array(256)
  clients = 0
  accepted = 0
  refused = 0
  closedSlow = 0
  receivedBytes = 0
  /** Connections from other servers. */
  peers = 0
  /** What only servers may say, said by somebody who did not introduce itself as one. */
  peerMessagesRefused = 0
  /** See ServerStats. */
  unauthenticated = 0
  authFailures = 0
  authTimeouts = 0
  forbidden = 0
  overloaded = 0
}

const COMMAND_NAMES = Object.entries(Opcode).map(([name, opcode]) => ({
  name: name.charAt(0).toLowerCase() + name.slice(1),
  opcode,
}))

export class Statistics {
  readonly counters = new Counters()
  readonly #startedMs: number
  readonly #delay = monitorEventLoopDelay({ resolution: 20 })

  constructor(nowMs: number) {
    this.#startedMs = nowMs
    this.#delay.enable()
  }

  stop(): void {
    this.#delay.disable()
  }

  report(from: {
    nowMs: number
    options: ResolvedServerOptions
    identity: Identity
    keyspace: Keyspace
    sentBytes: number
    draining: boolean
    replication: ReplicationStats
    peers: readonly PeerStatus[]
  }): ServerStats {
    const { options, identity, keyspace, nowMs } = from
    const store = keyspace.store.stats()
    const { hits, misses, sets, deletes, conflicts } = keyspace.counters
    const { counters } = this
    const { clients, peers, accepted, refused, closedSlow, receivedBytes, requests } = counters
    const { peerMessagesRefused, unauthenticated, authFailures, authTimeouts, forbidden, overloaded } =
      counters
    return {
      server: {
        version: identity.version,
        protocol: PROTOCOL_VERSION_MAX,
        nodeId: identity.nodeId(),
        bootId: Buffer.from(identity.bootId()).toString('hex'),
        region: identity.region,
        cluster: identity.cluster,
        pid: process.pid,
        nodeVersion: process.version,
        store: options.store,
        uptimeSeconds: round3((nowMs - this.#startedMs) / 1000),
        draining: from.draining,
      },
      memory: {
        entries: store.entries,
        entriesMax: Number.isFinite(options.maxEntries) ? options.maxEntries : null,
        dataBytes: store.dataBytes,
        overheadBytes: store.overheadBytes,
        usedBytes: store.usedBytes,
        limitBytes: options.maxMemoryBytes,
        residentBytes: process.memoryUsage.rss(),
        tombstones: store.tombstones,
        ghosts: store.ghosts,
        oldestEntryAgeSeconds: oldestAgeSeconds(keyspace, nowMs),
      },
      cache: {
        hits,
        misses,
        hitRatio: hits + misses === 0 ? null : Math.round((hits / (hits + misses)) * 1e4) / 1e4,
        sets,
        deletes,
        evictions: store.evictions,
        expirations: store.expirations,
        conflicts,
      },
      commands: Object.fromEntries(COMMAND_NAMES.map(({ name, opcode }) => [name, requests[opcode] ?? 0])),
      connections: {
        ...{ clients, peers, accepted, refused, closedSlow, peerMessagesRefused },
        ...{ unauthenticated, authFailures, authTimeouts, forbidden, overloaded },
      },
      network: { receivedBytes, sentBytes: from.sentBytes },
      replication: from.replication,
      peers: from.peers,
      eventLoop: { lagP99Ms: round3(Math.max(0, this.#delay.percentile(99) / 1e6 - 20)) },
    }
  }
}

/** Flushed values passed on the way to the oldest one, after a CLEAR: some 50 µs. */
const FLUSHED_PASSED_MAX = 1000

/** Null if there is none, or none is known before the purge has gone on. */
function oldestAgeSeconds(keyspace: Keyspace, nowMs: number): number | null {
  const slot = keyspace.store.oldest(FLUSHED_PASSED_MAX)
  if (slot === NO_SLOT) return null
  const head = emptyHead()
  keyspace.store.head(slot, head)
  return round3(Math.max(0, nowMs - wallOfHlc(head.hlc)) / 1000)
}

function round3(value: number): number {
  return Math.round(value * 1000) / 1000
}
