// OrmucoCacheServer: puts store, keyspace, handlers and sessions together and gives them a port, a clock and timers.
//
// Between whoever starts a server and its parts; the only file here that listens. Life:
//
//   idle ──start()──> starting ──> listening ──close()──> draining ──> closed
//                        └──(port in use …)──> idle            destroy() from any state ──> closed
//
// close(): no new connections; clients that said HELLO are told; a connection that has fallen silent is ended, and what
// is still busy when `drainMs` is over is cut. Other servers get the last writes, and so they are left last.

import { randomBytes } from 'node:crypto'
import { createServer, isIP, type Server as NetServer, type Socket } from 'node:net'
import { CacheError } from '../protocol/errors.ts'
import { BOOT_ID_BYTES } from '../protocol/limits.ts'
import { ReadBuffer } from '../protocol/read-buffer.ts'
import { acceptedTransport } from '../protocol/socket-transport.ts'
import type { Transport } from '../protocol/transport.ts'
import { PACKAGE_VERSION } from '../protocol/version.ts'
import { HybridClock } from './clock.ts'
import { Discovery } from './discovery.ts'
import { type Environment, fromEnvironment } from './environment.ts'
import type { Handler } from './handler.ts'
import { makeHandlers } from './handlers.ts'
import { Keyspace } from './keyspace.ts'
import { isWildcard } from './loopback.ts'
import { Mesh } from './mesh.ts'
import { multicastGroup } from './multicast.ts'
import { type ResolvedServerOptions, resolveOptions, type ServerOptions } from './options.ts'
import { Output } from './output.ts'
import type { PeerConnection } from './peer-connection.ts'
import { type PeerStatus, replicationStats } from './peer-status.ts'
import { replicationDefaults } from './replication/defaults.ts'
import { Replicator } from './replication/replicator.ts'
import { Session, type SessionHost } from './session.ts'
import { type Identity, type ServerStats, Statistics } from './statistics.ts'
import { ArenaStore } from './store/arena-store.ts'
import { HeapStore } from './store/heap-store.ts'
import type { Store } from './store/store.ts'

/** How often the store's upkeep runs, in ms, and how much of it at a time: about 1 ms of work. */
const SWEEP_EVERY_MS = 50
const SWEEP_BUDGET = 1000
/** How often connections are looked at, in ms. */
const CHECK_EVERY_MS = 1000
/** While draining: a connection without a request for this long is done. */
const QUIET_MS = 100
/** Connections the kernel may hold until they are accepted. */
const BACKLOG = 1024
const HASH_KEY_BYTES = 16
/** A socket says when it has drained only after it held this much: no more than the lowest `outputBytesMax`. */
const SOCKET_MARK_BYTES = 4 * 1024

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
  readonly #sessions = new Set<Session>()
  readonly #portIsDefault: boolean
  #discovery: Discovery | undefined
  #net: NetServer | undefined
  #state: 'idle' | 'starting' | 'listening' | 'draining' | 'closed' = 'idle'
  #address: Address | undefined
  #timers: NodeJS.Timeout[] = []
  #sweepAgain: NodeJS.Immediate | undefined
  #closing: Promise<void> | undefined
  #onQuiet: (() => void) | undefined

  /** Reads no environment. Throws OptionError for what cannot be. */
  constructor(options: ServerOptions = {}) {
    this.#options = resolveOptions(options)
    this.#portIsDefault = options.port === undefined
    const buffer = new ReadBuffer()
    const store = makeStore(this.#options)
    const clock = new HybridClock()
    this.#mesh = new Mesh({
      logger: this.#options.logger,
      buffer,
      random: Math.random,
      makeReplicator: (effects) =>
        new Replicator({
          store,
          clock,
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
      defaultTtlMs: Math.ceil(this.#options.defaultTtlSeconds * 1000),
      renewOnHit: this.#options.renewOnHit,
    })
    this.#host = {
      options: this.#options,
      handlers: this.#makeHandlers(),
      keyspace: this.#keyspace,
      output: new Output(),
      input: buffer,
      counters: this.#statistics.counters,
      held: { partialBytes: 0, unsentBytes: 0 },
      now: Date.now,
      onPeer: (session, bytes, at, end) => this.#onPeer(session, bytes, at, end),
      onChunkEnd: () => this.#mesh.wake(),
      onClosed: (session, why) => this.#onSessionClosed(session, why),
    }
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
    const net = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => this.#onConnection(socket))
    const { host, port, multicast, logger } = this.#options
    try {
      await listen(net, host, port).catch((error: NodeJS.ErrnoException) => {
        // Servers that find each other need not know each other's ports: several on one machine just start.
        if (error.code !== 'EADDRINUSE' || multicast === '' || !this.#portIsDefault) throw error
        logger.warn({ port }, 'default port is taken, another one will do')
        return listen(net, host, 0)
      })
    } catch (error) {
      if (this.#state === 'starting') this.#state = 'idle'
      throw error
    }
    const bound = net.address()
    const address = { host, port: typeof bound === 'object' && bound !== null ? bound.port : port }
    if (this.#state !== 'starting') {
      net.close()
      throw new CacheError('CACHE_CLOSED', 'the server was closed while it started')
    }
    net.removeAllListeners('error')
    net.on('error', (error) => this.#options.logger.error({ error: error.message }, 'accept failed'))
    this.#net = net
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
      onFound: (address) => this.#mesh.find(address),
      logger: this.#options.logger,
      random: Math.random,
      now: Date.now,
    })
    await this.#discovery.start()
  }

  /** Serves a connection that did not come through the port: one end of `memoryTransports()`. */
  serve(transport: Transport): void {
    if (this.#state === 'draining' || this.#state === 'closed') {
      transport.destroy()
      return
    }
    const { counters } = this.#host
    counters.accepted++
    counters.clients++
    this.#sessions.add(new Session(transport, this.#host))
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
    const { promise: netClosed, resolve: onNetClosed } = deferred()
    if (this.#net === undefined) onNetClosed()
    else this.#net.close(onNetClosed)
    for (const session of this.#sessions) session.announceDrain()
    const { promise: quiet, resolve: onQuiet } = deferred()
    this.#onQuiet = onQuiet
    const timer = setTimeout(() => {
      for (const session of this.#sessions) session.destroy('the drain timeout is over')
    }, drainMs)
    const drainingSinceMs = Date.now()
    const endQuietOnes = setInterval(() => this.#endQuietSessions(drainingSinceMs), QUIET_MS / 2)
    this.#leaveWhenServed()
    if (this.#sessions.size === 0) onQuiet()
    await quiet
    clearTimeout(timer)
    clearInterval(endQuietOnes)
    await netClosed
    this.#stop()
    logger.info({}, 'stopped')
  }

  /** Those too that were silent before get the time to say what was on its way. */
  #endQuietSessions(drainingSinceMs: number): void {
    const quietUntilMs = Date.now() - QUIET_MS
    if (quietUntilMs < drainingSinceMs) return
    for (const session of this.#sessions)
      if (
        !session.isPeer &&
        session.lastChunkMs <= quietUntilMs &&
        session.transport.unsentBytes === 0 &&
        !session.isAwaited
      )
        session.end('the server is shutting down')
  }

  /** The last client is gone: nothing will be written here any more. */
  #leaveWhenServed(): void {
    if (this.#state === 'draining' && this.#host.counters.clients === 0) this.#mesh.close()
  }

  #stop(): void {
    this.#state = 'closed'
    this.#address = undefined
    this.#net?.close()
    void this.#discovery?.stop()
    this.#mesh.close()
    for (const timer of this.#timers) clearInterval(timer)
    if (this.#sweepAgain !== undefined) clearImmediate(this.#sweepAgain)
    this.#statistics.stop()
  }

  #onConnection(socket: Socket): void {
    const { counters } = this.#host
    if (this.#sessions.size >= this.#options.maxConnections) {
      counters.refused++
      this.#options.logger.warn({ maxConnections: this.#options.maxConnections }, 'overloaded')
      socket.destroy()
      return
    }
    this.serve(acceptedTransport(socket, this.#host.input, SOCKET_MARK_BYTES))
  }

  /** Another server has dialed in: the session goes on reading frames, for the mesh. */
  #onPeer(session: Session, bytes: Uint8Array, at: number, end: number): PeerConnection | undefined {
    if (this.#state !== 'listening') return undefined
    const { counters } = this.#host
    counters.clients--
    counters.peers++
    const connection = this.#mesh.accept(session.transport)
    connection.take(bytes, at, end)
    return connection
  }

  #onSessionClosed(session: Session, why: string): void {
    this.#sessions.delete(session)
    if (session.isPeer) this.#host.counters.peers--
    else this.#host.counters.clients--
    this.#options.logger.debug(
      { remote: session.transport.remote, client: session.clientName, why },
      'connection closed',
    )
    this.#leaveWhenServed()
    if (this.#sessions.size === 0) this.#onQuiet?.()
  }

  #sweep(): void {
    this.#sweepAgain = undefined
    const done = this.#keyspace.store.sweep(Date.now(), SWEEP_BUDGET)
    // More to do: go on, but let requests through in between.
    if (done >= SWEEP_BUDGET && this.#state !== 'closed') this.#sweepAgain = setImmediate(() => this.#sweep())
  }

  #check(): void {
    const nowMs = Date.now()
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

function listen(net: NetServer, host: string, port: number): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    net.once('error', reject)
    net.listen({ host, port, backlog: BACKLOG }, () => {
      net.off('error', reject)
      resolve()
    })
  })
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

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
