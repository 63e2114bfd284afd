// A whole server but for its port, in memory, on a clock that stands until it is moved: store, replicator, mesh, handlers,
// sessions, put together as server/server.ts does, with a look inside.
//
// Between the states of the fuzzer, which say what comes in, and the product. What must be true of a server whatever came
// is checked here.

import { Condition } from '../../protocol/messages.ts'
import { ReadBuffer } from '../../protocol/read-buffer.ts'
import { Access, type Certificate } from '../../server/access.ts'
import { Arrivals } from '../../server/arrivals.ts'
import { HybridClock } from '../../server/clock.ts'
import { makeHandlers } from '../../server/handlers.ts'
import { Keyspace, TTL_NONE } from '../../server/keyspace.ts'
import { Mesh } from '../../server/mesh.ts'
import { type ResolvedServerOptions, resolveOptions, type StoreKind } from '../../server/options.ts'
import { Output } from '../../server/output.ts'
import { replicationStats } from '../../server/peer-status.ts'
import { replicationDefaults } from '../../server/replication/defaults.ts'
import { Replicator } from '../../server/replication/replicator.ts'
import { Session, type SessionHost } from '../../server/session.ts'
import { type ServerStats, Statistics } from '../../server/statistics.ts'
import { ArenaStore } from '../../server/store/arena-store.ts'
import { HeapStore } from '../../server/store/heap-store.ts'
import type { Store } from '../../server/store/store.ts'
import { dialerOf } from '../../server/tls.ts'
import { Turns } from '../../server/turns.ts'
import { spanOf } from '../helpers/replicas.ts'
import { randomFrom } from '../server/store/random.ts'
import { BYTES_MAX, checkServer, ENTRIES_MAX, SKEW_MS_MAX, WINDOW_BYTES } from './server-checks.ts'
import { Surroundings } from './surroundings.ts'
import { demand } from './violation.ts'
import { Wire } from './wire.ts'

const START_MS = Date.UTC(2030, 0, 1)
const LABEL = 'm'
const BOOT = '6d6d6d6d6d6d6d6d'
const SWEEP_MS = 50
const SWEEP_BUDGET = 1000
const CHECK_MS = 1000
export const VALUE_BYTES_MAX = 4096
/** Few, so that they are reached. */
const UNAUTHENTICATED_MAX = 6
const REQUESTS_IN_FLIGHT_MAX = 4
/** As long as any write waits for acknowledgements, and longer. */
const ACKS_MS_MAX = 61_000
/** Statistics are put together anew each so many times. */
const STATS_EVERY = 20
/** One for all worlds: nothing is left in it. */
const INPUT = new ReadBuffer()
/** More than there are requests in what one connection says. */
const TURNS_MAX = 10_000

/** Who is let in, where not everybody is. */
export interface Doors {
  readonly options: Pick<ResolvedServerOptions, 'authFile' | 'clusterSecretFile'>
  readonly access: Access
}

export class FuzzedServer {
  readonly surroundings = new Surroundings(START_MS)
  readonly store: Store
  readonly replicator: Replicator
  readonly mesh: Mesh
  readonly keyspace: Keyspace
  readonly host: SessionHost
  readonly options: ResolvedServerOptions
  readonly sessions = new Set<Session>()
  /** To wait takes long, even where time is free. */
  readonly #waitsLong: boolean

  readonly #arrivals: Arrivals

  /** Without doors everybody is let in. */
  constructor(seed: number, store: StoreKind, doors?: Doors) {
    const random = randomFrom(seed)
    this.#waitsLong = random.oneIn(10)
    this.options = resolveOptions({
      nodeId: LABEL,
      store,
      maxMemoryBytes: BYTES_MAX,
      maxValueBytes: VALUE_BYTES_MAX,
      outputBytesMax: 4096 << random.below(4),
      partialBytesMax: 200_000,
      unsentBytesMax: 200_000,
      renewOnHit: random.oneIn(2),
      unauthenticatedMax: UNAUTHENTICATED_MAX,
      requestsInFlightMax: REQUESTS_IN_FLIGHT_MAX,
      ...doors?.options,
    })
    const access = doors?.access ?? openAccess(this.options)
    const limits = { entriesMax: ENTRIES_MAX, bytesMax: BYTES_MAX, hashKey: Buffer.alloc(16, seed) }
    this.store = store === 'arena' ? new ArenaStore(limits) : new HeapStore(limits)
    const clock = new HybridClock()
    let boots = 0
    this.mesh = new Mesh({
      logger: this.options.logger,
      proofs: () => access.proofs(undefined),
      dial: dialerOf(undefined, INPUT),
      random: () => random.below(2 ** 30) / 2 ** 30,
      makeReplicator: (effects) =>
        new Replicator({
          store: this.store,
          clock,
          boot: BOOT,
          label: LABEL,
          cluster: this.options.cluster,
          region: this.options.region,
          options: {
            ...replicationDefaults('lan', BYTES_MAX),
            markerBytesMax: 2000,
            markerRetentionMs: 20_000,
            graceMs: 1000,
            windowBytes: WINDOW_BYTES,
            roundMs: 2000,
            skewMsMax: SKEW_MS_MAX,
          },
          effects: {
            ...effects,
            random: () => random.below(2 ** 30) / 2 ** 30,
            newBoot: () => (++boots).toString(16).padStart(16, '0'),
          },
        }),
    })
    this.replicator = this.mesh.replicator
    const { replica } = this.replicator
    this.keyspace = new Keyspace(this.store, clock, replica.origins, this.replicator, {
      defaultTtlMs: 0,
      renewOnHit: this.options.renewOnHit,
    })
    this.host = this.#makeHost(access)
    this.#arrivals = new Arrivals(this.options, this.host.counters, this.options.logger)
    this.surroundings.within(() => {
      this.mesh.start(LABEL, { host: '10.0.0.1', port: 11_142 }, [])
      setInterval(() => this.store.sweep(Date.now(), SWEEP_BUDGET), SWEEP_MS)
      setInterval(() => this.#checkSessions(), CHECK_MS)
    })
  }

  /** Somebody has connected; whoever is one too many is told so. `certificate`: of the other end, signed by whom it must. */
  connect(remote: string, wire = new Wire(remote, INPUT), certificate?: Certificate): Wire {
    const place = this.#arrivals.enter(remote)
    if (place === undefined) this.#arrivals.turnAway(wire, 'too many unauthenticated connections')
    else this.sessions.add(new Session(wire, this.host, { certificate, place }))
    return wire
  }

  /** As a client of its own would. */
  write(key: string, value: string, ttlMs: number = TTL_NONE): void {
    this.keyspace.nowMs = this.surroundings.wallMs
    this.keyspace.set(spanOf(key), 1, spanOf(value), ttlMs, Condition.None, spanOf(''))
  }

  /** What must be true whatever came. */
  check(): void {
    checkServer(this.store, this.replicator, this.host.held)
  }

  /** The other end of a connection reads until nothing more comes, in this turn of the event loop or in later ones. */
  readAll(wire: Wire): void {
    if (wire.state === 'closed') return
    wire.isReading = true
    for (let left = TURNS_MAX; ; left--) {
      wire.drain()
      if (wire.isSettled && !wire.isPaused) return
      this.surroundings.turn()
      demand(left > 0, 'replies that never end')
    }
  }

  /** Whoever waits for acknowledgements has waited long enough, or the server ends. */
  endWaiting(): void {
    if (this.#waitsLong) this.surroundings.pass(ACKS_MS_MAX)
    else this.mesh.close()
    demand(this.replicator.acks.count === 0, 'a write that waits for ever')
    this.mesh.close()
  }

  /** Nobody is connected any more: nothing may be held for anybody. */
  checkNothingHeld(): void {
    this.surroundings.turn()
    const { held, counters } = this.host
    demand(this.sessions.size === 0, 'a session that does not end', () => `${this.sessions.size}`)
    demand(
      held.partialBytes === 0 && held.unsentBytes === 0,
      'bytes held for nobody',
      () => `${held.partialBytes} of partial frames, ${held.unsentBytes} unsent`,
    )
    demand(counters.unauthenticated === 0, 'places for nobody', () => `${counters.unauthenticated}`)
    demand([...this.replicator.links].length === 0, 'a link without a connection')
  }

  #checkSessions(): void {
    for (const session of this.sessions) session.check(Date.now())
  }

  #makeHost(access: Access): SessionHost {
    const statistics = new Statistics(START_MS)
    statistics.stop()
    const { replicator, mesh, options, keyspace } = this
    const identity = {
      version: '0.0.0',
      nodeId: () => LABEL,
      bootId: () => Buffer.from(replicator.replica.boot, 'hex'),
      region: options.region,
      cluster: options.cluster,
    }
    let told: ServerStats | undefined
    let asked = 0
    const stats = () => {
      // To ask the system for this process's memory costs more than all the rest.
      if (told === undefined || ++asked % STATS_EVERY === 0)
        told = statistics.report({
          nowMs: Date.now(),
          options,
          identity,
          keyspace,
          sentBytes: host.output.sentBytes,
          draining: false,
          replication: replicationStats(replicator, mesh.links, mesh.log.refusals),
          peers: mesh.peers(),
        })
      return told
    }
    const host: SessionHost = {
      options,
      keyspace,
      access,
      handlers: makeHandlers({
        keyspace,
        access,
        identity,
        requestsInFlightMax: options.requestsInFlightMax,
        valueBytesMax: options.maxValueBytes,
        writes: replicator,
        peers: { peers: () => mesh.peers(), forget: (nodeId) => mesh.forget(nodeId) },
        stats,
      }),
      output: new Output(),
      input: INPUT,
      counters: statistics.counters,
      held: { partialBytes: 0, unsentBytes: 0, unsent: new Set() },
      turns: new Turns(),
      now: () => this.surroundings.wallMs,
      onPeer: (session, bytes, at, end) => {
        const connection = mesh.accept(session.transport, session.principal ?? {})
        connection.take(bytes, at, end)
        return connection
      },
      onChunkEnd: () => mesh.wake(),
      onClosed: (session) => void this.sessions.delete(session),
    }
    return host
  }
}

function openAccess(options: ResolvedServerOptions): Access {
  return new Access({ options, onPeerRefused: () => {}, onChange: () => {} })
}
