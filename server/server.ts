// OrmucoCacheServer: puts store, keyspace, handlers and sessions together and gives them a port, a clock and timers.
//
// Between whoever starts a server and its parts. Life:
//
//   idle ──start()──> starting ──> listening ──close()──> draining ──> closed
//                        └──(port in use …)──> idle            destroy() from any state ──> closed
//
// close(): no new connections; those that are open end as drain.ts says.

import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import { CacheError } from '../protocol/errors.ts'
import { BOOT_ID_BYTES } from '../protocol/limits.ts'
import { wholeMs } from '../protocol/notation.ts'
import { ReadBuffer } from '../protocol/read-buffer.ts'
import type { Transport } from '../protocol/transport.ts'
import { PACKAGE_VERSION } from '../protocol/version.ts'
import { Access } from './access.ts'
import { type Arrival, Arrivals } from './arrivals.ts'
import { candidateHost } from './candidates.ts'
import { HybridClock } from './clock.ts'
import { Discovery } from './discovery.ts'
import { Drain } from './drain.ts'
import { type Environment, fromEnvironment } from './environment.ts'
import type { Handler } from './handler.ts'
import { makeHandlers } from './handlers.ts'
import { Keyspace } from './keyspace.ts'
import { type Arrived, Listener } from './listener.ts'
import { isWildcard } from './loopback.ts'
import { Mesh } from './mesh.ts'
import { multicastGroup } from './multicast.ts'
import { type ResolvedServerOptions, resolveOptions, type ServerOptions } from './options.ts'
import { Output } from './output.ts'
import type { PeerConnection } from './peer-connection.ts'
import { type PeerStatus, replicationStats } from './peer-status.ts'
import { addressIn } from './repeats.ts'
import { replicationDefaults } from './replication/defaults.ts'
import { Replicator } from './replication/replicator.ts'
import { Roster } from './roster.ts'
import { Session, type SessionHost } from './session.ts'
import { type Identity, type ServerStats, Statistics } from './statistics.ts'
import { ArenaStore } from './store/arena-store.ts'
import { HeapStore } from './store/heap-store.ts'
import type { Store } from './store/store.ts'
import { certificateShown, dialerOf, ServerTls } from './tls.ts'
import { Turns } from './turns.ts'

/** How often the store's upkeep runs, in ms, and how much of it at a time: about 1 ms of work. */
const SWEEP_EVERY_MS = 50
const SWEEP_BUDGET = 1000
/** How often connections are looked at, in ms. */
const CHECK_EVERY_MS = 1000
const HASH_KEY_BYTES = 16

/** Where a server listens. */
export interface Address {
  host: string
  port: number
}

export class OrmucoCacheServer implements AsyncDisposable {
  readonly #options: ResolvedServerOptions
  readonly #identity: Identity
  readonly #keyspace: Keyspace
  readonly #mesh: Mesh
  readonly #host: SessionHost
  readonly #statistics = new Statistics(Date.now())
  readonly #sessions = new Roster<Session>()
  readonly #portIsDefault: boolean
  readonly #access: Access
  readonly #tls: ServerTls | undefined
  readonly #listener: Listener
  #discovery: Discovery | undefined
  #state: 'idle' | 'starting' | 'listening' | 'draining' | 'closed' = 'idle'
  #address: Address | undefined
  #timers: NodeJS.Timeout[] = []
  #sweepAgain: NodeJS.Immediate | undefined
  #closing: Promise<void> | undefined
  #drain: Drain | undefined

  /** Reads no environment, but the files that options name. Throws OptionError for what cannot be. */
  constructor(options: ServerOptions = {}) {
    this.#options = resolveOptions(options)
    this.#portIsDefault = options.port === undefined
    const buffer = new ReadBuffer()
    const store = makeStore(this.#options)
    const clock = new HybridClock()
    const tls = this.#options.tlsCert === '' ? undefined : new ServerTls(this.#options, this.#options.logger)
    this.#tls = tls
    this.#access = new Access({
      options: this.#options,
      onPeerRefused: (remote, code, why) => this.#mesh.log.refused(addressIn(remote), remote, code, why),
      onChange: () => this.#onAccessChange(),
    })
    this.#mesh = new Mesh({
      logger: this.#options.logger,
      dial: dialerOf(tls, buffer),
      proofs: (transport) => this.#access.proofs(certificateShown(transport)),
      random: Math.random,
      makeReplicator: (effects) =>
        new Replicator({
          store,
          clock,
          valueBytesMax: this.#options.maxValueBytes,
          boot: newBoot(),
          label: this.#nodeId(),
          cluster: this.#options.cluster,
          region: this.#options.region,
          options: {
            ...replicationDefaults(this.#options.network, this.#options.maxMemoryBytes),
            ...this.#options.replication,
          },
          effects: { ...effects, random: Math.random, newBoot },
        }),
    })
    const { replicator } = this.#mesh
    this.#identity = {
      version: PACKAGE_VERSION,
      nodeId: () => this.#nodeId(),
      bootId: () => Buffer.from(replicator.replica.boot, 'hex'),
      region: this.#options.region,
      cluster: this.#options.cluster,
    }
    this.#keyspace = new Keyspace(store, clock, replicator.replica.origins, replicator, {
      defaultTtlMs: wholeMs(this.#options.defaultTtlSeconds),
      renewOnHit: this.#options.renewOnHit,
    })
    this.#host = {
      options: this.#options,
      handlers: this.#makeHandlers(),
      access: this.#access,
      keyspace: this.#keyspace,
      output: new Output(),
      input: buffer,
      counters: this.#statistics.counters,
      held: { partialBytes: 0, unsentBytes: 0, unsent: new Set() },
      turns: new Turns(),
      now: Date.now,
      onPeer: (session, bytes, at, end) => this.#onPeer(session, bytes, at, end),
      onChunkEnd: () => this.#mesh.wake(),
      onClosed: (session, why) => this.#onSessionClosed(session, why),
    }
    this.#listener = new Listener({
      options: this.#options,
      buffer,
      arrivals: new Arrivals(this.#options, this.#statistics.counters, this.#options.logger),
      tls,
      now: Date.now,
      onArrived: (arrived) => this.#onArrived(arrived),
    })
    this.#every(SWEEP_EVERY_MS, () => this.#sweep())
    this.#every(CHECK_EVERY_MS, () => this.#check())
  }

  /** A server as variables and the .env file of the current folder say; see .env.example. Throws OptionError. */
  static fromEnvironment(environment?: Environment): OrmucoCacheServer {
    return new OrmucoCacheServer(fromEnvironment(environment))
  }

  /** Where it listens; undefined before and after. */
  get address(): Address | undefined {
    return this.#address
  }

  /** Begins to listen; rejects with the system's error (EADDRINUSE, EACCES, …) if it cannot, and may be called again. */
  async start(): Promise<Address> {
    if (this.#state !== 'idle')
      throw new CacheError('CACHE_CLOSED', `a server that is ${this.#state} cannot be started`)
    this.#state = 'starting'
    const { host, port, multicast, logger } = this.#options
    const address = { host, port }
    try {
      await this.#access.ready()
      address.port = await this.#listener.listen(host, port).catch((error: NodeJS.ErrnoException) => {
        // Servers that find each other need not know each other's ports: several on one machine just start.
        if (error.code !== 'EADDRINUSE' || multicast === '' || !this.#portIsDefault) throw error
        logger.warn({ port }, 'default port is taken, another one will do')
        return this.#listener.listen(host, 0)
      })
    } catch (error) {
      if (this.#state === 'starting') this.#state = 'idle'
      throw error
    }
    if (this.#state !== 'starting') {
      void this.#listener.close()
      throw new CacheError('CACHE_CLOSED', 'the server was closed while it started')
    }
    this.#address = address
    this.#state = 'listening'
    const { region, cluster, store, maxMemoryBytes, maxEntries, defaultTtlSeconds, renewOnHit } =
      this.#options
    this.#mesh.start(this.#nodeId(), address, this.#options.peers)
    try {
      await this.#discover(multicast, address)
    } catch (error) {
      this.destroy()
      throw error
    }
    this.#options.logger.info(
      {
        ...address,
        tls: this.#tls !== undefined,
        authentication: this.#access.authentication,
        nodeId: this.#identity.nodeId(),
        region,
        cluster,
        store,
        maxMemoryBytes,
        // JSON has no Infinity
        maxEntries: Number.isFinite(maxEntries) ? maxEntries : null,
        defaultTtlSeconds,
        renewOnHit,
      },
      'ready',
    )
    return address
  }

  /** Looks for servers on the LAN, if it is told to. */
  async #discover(multicast: string, { host, port }: Address): Promise<void> {
    const group = multicastGroup.parse(multicast)
    if (group === undefined) return
    this.#discovery = new Discovery({
      ...group,
      cluster: this.#options.cluster,
      label: this.#nodeId(),
      boot: this.#mesh.replicator.replica.boot,
      announce: () => (isWildcard(host) ? { port } : { host: isIP(host) === 0 ? undefined : host, port }),
      secret: () => this.#access.secret?.key,
      onFound: (address) => this.#mesh.find(address),
      logger: this.#options.logger,
      random: Math.random,
      now: Date.now,
    })
    await this.#discovery.start()
  }

  /** Serves a connection that did not come through the port: one end of `memoryTransports()`. */
  serve(transport: Transport): void {
    this.#serve(transport, {}, this.#host)
  }

  #serve(transport: Transport, arrival: Arrival, host: SessionHost): void {
    if (this.#state === 'draining' || this.#state === 'closed') {
      transport.destroy()
      return
    }
    const { counters } = this.#host
    counters.accepted++
    counters.clients++
    this.#sessions.add(new Session(transport, host, arrival))
  }

  #onArrived({ transport, certificate, place, visit }: Arrived): void {
    const host = visit.isCandidate ? candidateHost(this.#host, visit) : this.#host
    this.#serve(transport, { certificate, place }, host)
  }

  /**
   * Reads certificates, auth file and cluster secret anew. Connections stay, but for those of users who are gone or have
   * other keys. Throws an OptionError, and keeps everything as it was, if anything cannot be.
   */
  reload(): void {
    const replaceTls = this.#tls?.prepareReload()
    const replaceAccess = this.#access.prepareReload()
    replaceTls?.()
    replaceAccess()
    this.#listener.reload()
    this.#options.logger.info({}, 'reloaded')
  }

  stats(): ServerStats {
    return this.#statistics.report({
      nowMs: Date.now(),
      options: this.#options,
      identity: this.#identity,
      keyspace: this.#keyspace,
      sentBytes: this.#host.output.sentBytes,
      draining: this.#state === 'draining',
      replication: replicationStats(this.#mesh.replicator, this.#mesh.links, this.#mesh.log.refusals),
      peers: this.#mesh.peers(),
    })
  }

  /** The other servers of the cluster, as this one sees them. */
  peers(): PeerStatus[] {
    return this.#mesh.peers()
  }

  /**
   * Stops gracefully: what was asked is answered and sent. Resolves when every connection is closed, at the latest
   * after `drainMs` (default: the option). Idempotent.
   */
  close(options: { drainMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.drainMs ?? this.#options.drainMs)
    return this.#closing
  }

  /** Stops at once: connections are cut. */
  destroy(reason?: Error): void {
    if (this.#state === 'closed') return
    for (const session of this.#sessions) session.destroy(reason?.message ?? 'the server was destroyed')
    this.#stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(drainMs: number): Promise<void> {
    if (this.#state === 'closed') return
    const { logger } = this.#options
    this.#state = 'draining'
    logger.info({ connections: this.#sessions.size, drainMs }, 'draining')
    const listenerClosed = this.#listener.close()
    this.#drain = new Drain(this.#sessions)
    const drained = this.#drain.run(drainMs)
    this.#leaveWhenServed()
    await drained
    await listenerClosed
    this.#stop()
    logger.info({}, 'stopped')
  }

  /** The last client is gone: nothing will be written here any more. */
  #leaveWhenServed(): void {
    if (this.#state === 'draining' && this.#host.counters.clients === 0) this.#mesh.close()
  }

  #stop(): void {
    this.#state = 'closed'
    this.#address = undefined
    void this.#listener.close()
    void this.#discovery?.stop()
    this.#mesh.close()
    for (const timer of this.#timers) clearInterval(timer)
    if (this.#sweepAgain !== undefined) clearImmediate(this.#sweepAgain)
    this.#statistics.stop()
  }

  /** Another server has dialed in: the session goes on reading frames, for the mesh. */
  #onPeer(session: Session, bytes: Uint8Array, at: number, end: number): PeerConnection | undefined {
    if (this.#state !== 'listening') return undefined
    const { counters } = this.#host
    counters.clients--
    counters.peers++
    const connection = this.#mesh.accept(session.transport, session.principal ?? {})
    connection.take(bytes, at, end)
    return connection
  }

  #onSessionClosed(session: Session, why: string): void {
    this.#sessions.remove(session)
    if (session.isPeer) this.#host.counters.peers--
    else this.#host.counters.clients--
    this.#options.logger.debug(
      { remote: session.transport.remote, client: session.clientName, why },
      'connection closed',
    )
    this.#leaveWhenServed()
    this.#drain?.sessionClosed()
  }

  #onAccessChange(): void {
    for (const session of this.#sessions) session.reexamine()
    this.#mesh.dropUnproven(this.#access.secret)
  }

  #sweep(): void {
    this.#sweepAgain = undefined
    const done = this.#keyspace.store.sweep(Date.now(), SWEEP_BUDGET)
    // More to do: go on, but let requests through in between.
    if (done >= SWEEP_BUDGET && this.#state !== 'closed') this.#sweepAgain = setImmediate(() => this.#sweep())
  }

  #check(): void {
    const nowMs = Date.now()
    this.#listener.check(nowMs)
    for (const session of this.#sessions) session.check(nowMs)
  }

  /** Timers do not keep the process alive: the port does. */
  #every(ms: number, run: () => void): void {
    this.#timers.push(setInterval(run, ms).unref())
  }

  #makeHandlers(): readonly (Handler | undefined)[] {
    return makeHandlers({
      keyspace: this.#keyspace,
      identity: this.#identity,
      valueBytesMax: this.#options.maxValueBytes,
      requestsInFlightMax: this.#options.requestsInFlightMax,
      access: this.#access,
      writes: this.#mesh.replicator,
      peers: { peers: () => this.#mesh.peers(), forget: (nodeId) => this.#mesh.forget(nodeId) },
      stats: () => this.stats(),
    })
  }

  #nodeId(): string {
    if (this.#options.nodeId !== undefined) return this.#options.nodeId
    const { host, port } = this.#address ?? this.#options
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  }
}

function newBoot(): string {
  return randomBytes(BOOT_ID_BYTES).toString('hex')
}

function makeStore(options: ResolvedServerOptions): Store {
  const storeOptions = {
    entriesMax: options.maxEntries,
    bytesMax: options.maxMemoryBytes,
    hashKey: randomBytes(HASH_KEY_BYTES),
  }
  return options.store === 'heap' ? new HeapStore(storeOptions) : new ArenaStore(storeOptions)
}
