// What sessions of a server share, without the server: no port, no timers, a clock that the test sets. The same
// requests get the same bytes.

import { ReadBuffer } from '../../protocol/read-buffer.ts'
import { Access } from '../../server/access.ts'
import { HybridClock } from '../../server/clock.ts'
import { makeHandlers } from '../../server/handlers.ts'
import { Keyspace } from '../../server/keyspace.ts'
import { resolveOptions, type ServerOptions } from '../../server/options.ts'
import { bootIdOf, Origins } from '../../server/origins.ts'
import { Output } from '../../server/output.ts'
import type { Session, SessionHost } from '../../server/session.ts'
import { type ServerStats, Statistics } from '../../server/statistics.ts'
import { ArenaStore } from '../../server/store/arena-store.ts'
import { HeapStore } from '../../server/store/heap-store.ts'
import { Turns } from '../../server/turns.ts'
import { aloneWrites } from '../../server/writes.ts'

const START_MS = Date.UTC(2030, 0, 1)
/** One for all hosts: sessions leave nothing in it. */
const INPUT = new ReadBuffer()

export interface TestHost extends SessionHost {
  /** What the sessions take for the time of day, in ms since 1970. */
  nowMs: number
  /** Why sessions ended, in that order. */
  readonly endings: string[]
}

/** `nonce`: the server's part of each, where what it answers must be the same each time. */
export function sessionHost(options: ServerOptions = {}, nonce?: () => string): TestHost {
  const resolved = resolveOptions({ nodeId: 'test', ...options })
  const storeOptions = {
    entriesMax: resolved.maxEntries,
    bytesMax: resolved.maxMemoryBytes,
    hashKey: Buffer.alloc(16, 1),
  }
  const store = resolved.store === 'heap' ? new HeapStore(storeOptions) : new ArenaStore(storeOptions)
  const identity = {
    version: '1.2.3',
    nodeId: () => 'test',
    bootId: () => Buffer.from('boot-id.'),
    region: 'here',
    cluster: 'test',
  }
  const clock = new HybridClock()
  const writes = aloneWrites(store, clock)
  const keyspace = new Keyspace(store, clock, new Origins(bootIdOf(identity.bootId())), writes, {
    defaultTtlMs: 0,
    renewOnHit: false,
  })
  const access = new Access({
    options: resolved,
    onPeerRefused: () => {},
    onChange: () => {},
    ...(nonce === undefined ? {} : { nonce }),
  })
  const statistics = new Statistics(START_MS)
  statistics.stop()
  // As it is at the start: later each run would have figures of its own.
  const stats: ServerStats = {
    ...statistics.report({
      nowMs: START_MS,
      options: resolved,
      identity,
      keyspace,
      sentBytes: 0,
      draining: false,
      replication: NO_REPLICATION,
      peers: [],
    }),
    memory: FIXED_MEMORY,
  }
  const host: TestHost = {
    options: resolved,
    keyspace,
    access,
    handlers: makeHandlers({
      keyspace,
      access,
      requestsInFlightMax: resolved.requestsInFlightMax,
      identity,
      valueBytesMax: resolved.maxValueBytes,
      writes,
      peers: { peers: () => [], forget: () => false },
      stats: () => stats,
    }),
    output: new Output(),
    input: INPUT,
    counters: statistics.counters,
    held: { partialBytes: 0, unsentBytes: 0, unsent: new Set() },
    turns: new Turns(),
    nowMs: START_MS,
    now: () => host.nowMs,
    onPeer: () => undefined,
    onChunkEnd: () => {},
    endings: [],
    onClosed: (_: Session, why: string) => host.endings.push(why),
  }
  return host
}

const NO_REPLICATION: ServerStats['replication'] = {
  bootId: '626f6f742d69642e',
  members: 0,
  links: 0,
  horizonMs: null,
  watermarkMs: null,
  gaps: 0,
  ghosts: 0,
  tombstones: 0,
  markerBytes: 0,
  markerBytesMax: 0,
  applied: 0,
  purged: 0,
  droppedUnstable: 0,
  unstable: 0,
  declined: 0,
  smallRounds: 0,
  fullRounds: 0,
  rewinds: 0,
  refusedForSkew: 0,
  refusals: 0,
  awaitingAcks: 0,
}

const FIXED_MEMORY: ServerStats['memory'] = {
  entries: 1,
  entriesMax: null,
  dataBytes: 2,
  overheadBytes: 3,
  usedBytes: 5,
  limitBytes: 1024,
  residentBytes: 70_000_000,
  tombstones: 0,
  ghosts: 0,
  oldestEntryAgeSeconds: 1.5,
}
