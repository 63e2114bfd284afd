// Clusters of real server processes for tests, with a fault proxy on the way from each server to each other one.
//
//   server A ──dials──> proxy A>B ──> server B         server B ──dials──> proxy B>A ──> server A
//
// A server believes that it dials the other's own address (see cluster-preload.ts), so what servers tell each other of
// addresses does not lead around a proxy. Clients of the test reach the servers directly. All of it ends with the test
// file, each process by its own id: scenarios that mostly wait run side by side, and vitest's hooks do not know whose
// they are then.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, inject } from 'vitest'
import { OrmucoCacheClient } from '../../client/client.ts'
import type { ServerOptions } from '../../server/options.ts'
import type { PeerStatus } from '../../server/peer-status.ts'
import type { ServerStats } from '../../server/statistics.ts'
import { FaultProxy, type Lane } from './fault-proxy.ts'
import { Program } from './program.ts'
import { until } from './waiting.ts'

const endings: (() => unknown)[] = []

// Whoever imports this file starts servers.
afterAll(() => Promise.all(endings.map((end) => end())))

/** Keys per request when everything is read. */
const PAGE = 1000
/** Below the ports that systems give out by themselves, and apart for test files that run at the same time. */
const PORTS_FROM = 15_000
const PORTS_PER_WORKER = 400
const WORKERS = 40
let portsTaken = Math.floor(Math.random() * PORTS_PER_WORKER)

/** A port that nobody listens on; servers that are started again want the same one. */
export async function reservePort(): Promise<number> {
  const worker = Number(process.env['VITEST_POOL_ID'] ?? 0) % WORKERS
  for (;;) {
    const port = PORTS_FROM + worker * PORTS_PER_WORKER + (portsTaken++ % PORTS_PER_WORKER)
    const server = createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string; readonly level: string }

/** One server of a cluster: a place in it that outlasts its processes. */
export class Member {
  readonly label: string
  readonly port: number
  readonly address: string
  /** What the next process is started with. */
  options: ServerOptions
  readonly #network: Network
  #program: Program | undefined
  #client: OrmucoCacheClient | undefined

  constructor(label: string, port: number, options: ServerOptions, network: Network) {
    this.label = label
    this.port = port
    this.address = `127.0.0.1:${port}`
    this.options = options
    this.#network = network
  }

  /** Its client: patient, and never a miss for a server that is away. */
  get client(): OrmucoCacheClient {
    if (this.#client === undefined) {
      const client = new OrmucoCacheClient({
        servers: this.address,
        timeoutMs: 10_000,
        onUnavailable: 'throw',
        reconnect: { minMs: 10, maxMs: 100 },
        heartbeatMs: 5000,
      })
      this.#client = client
      endings.push(() => client.destroy())
    }
    return this.#client
  }

  get program(): Program {
    if (this.#program === undefined) throw new Error(`${this.label} was not started`)
    return this.#program
  }

  /** Starts a process. `flags`: of start-server instead of the options. */
  async start(flags?: readonly string[]): Promise<this> {
    const script = flags === undefined ? 'test/helpers/cluster-server.js' : 'bin/start-server.js'
    const { label: nodeId, port } = this
    const args = flags ?? [JSON.stringify({ nodeId, port, ...this.options })]
    const builtDir = inject('builtDir')
    const child = fork(join(builtDir, script), args, {
      cwd: builtDir,
      env: { CLUSTER_ROUTES: JSON.stringify(this.#network.routesOf(this)) },
      execArgv: ['--import', pathToFileURL(join(builtDir, 'test/helpers/cluster-preload.js')).href],
      silent: true,
    })
    const program = new Program(child)
    this.#program = program
    endings.push(async () => {
      child.kill('SIGKILL')
      await program.ended
    })
    await program.port()
    return this
  }

  async kill(): Promise<void> {
    this.program.process.kill('SIGKILL')
    await this.program.ended
  }

  /** As an orchestrator stops it; resolves when it is gone. */
  async stop(): Promise<void> {
    this.program.process.kill('SIGTERM')
    await this.program.ended
  }

  freeze(): void {
    this.program.process.kill('SIGSTOP')
  }

  thaw(): void {
    this.program.process.kill('SIGCONT')
  }

  /** Its wall clock is off by so much from now on. */
  async setClock(clockOffsetMs: number): Promise<void> {
    const { process: child } = this.program
    child.send({ clockOffsetMs })
    await once(child, 'message')
  }

  async stats(): Promise<ServerStats> {
    // A map on the wire; the server it comes from is of this very source.
    return (await this.client.stats()) as unknown as ServerStats
  }

  async peer(label: string): Promise<PeerStatus | undefined> {
    return (await this.stats()).peers.find(({ nodeId }) => nodeId === label)
  }

  /** Lines of the present process with this phrase and these fields. */
  logged(phrase: string, fields: Readonly<Record<string, unknown>> = {}): LogLine[] {
    const lines = this.program.stderr.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'))
    return lines
      .map((line): LogLine => JSON.parse(line))
      .filter(
        (line) =>
          line.msg === phrase && Object.entries(fields).every(([name, value]) => line[name] === value),
      )
  }

  async keys(prefix = ''): Promise<string[]> {
    const keys: string[] = []
    for await (const key of this.client.keys({ prefix })) keys.push(key)
    return keys.sort()
  }

  /** Everything it serves, by key. */
  async contents(prefix = ''): Promise<Map<string, unknown>> {
    const keys = await this.keys(prefix)
    const found = new Map<string, unknown>()
    for (let at = 0; at < keys.length; at += PAGE) {
      const page = keys.slice(at, at + PAGE)
      const values = await this.client.retrieveMany(page)
      // A key may have gone in between.
      for (const [index, key] of page.entries())
        if (values[index] !== undefined) found.set(key, values[index])
    }
    return found
  }
}

/** The proxies between members: one per ordered pair, made before any server runs. */
export class Network {
  readonly #proxies = new Map<string, FaultProxy>()
  readonly #members: Member[] = []

  /** With proxies to and from the members there are. */
  async add(member: Member): Promise<void> {
    for (const other of this.#members) {
      await this.#connect(member, other)
      await this.#connect(other, member)
    }
    this.#members.push(member)
  }

  async #connect(from: Member, to: Member): Promise<void> {
    const proxy = await FaultProxy.start(await reservePort(), to.port)
    endings.push(() => proxy.close())
    this.#proxies.set(`${from.label}>${to.label}`, proxy)
  }

  /** The proxy on the way that `from` dials `to`. */
  proxy(from: Member, to: Member): FaultProxy {
    const proxy = this.#proxies.get(`${from.label}>${to.label}`)
    if (proxy === undefined) throw new Error(`no proxy from ${from.label} to ${to.label}`)
    return proxy
  }

  /** By the port a member believes that it dials: the port of the proxy. */
  routesOf(from: Member): Record<string, number> {
    const others = this.#members.filter((member) => member !== from)
    return Object.fromEntries(others.map((to) => [to.port, this.proxy(from, to).port]))
  }

  /** Every proxy between two groups. */
  between(left: readonly Member[], right: readonly Member[]): FaultProxy[] {
    return left.flatMap((one) => right.flatMap((other) => [this.proxy(one, other), this.proxy(other, one)]))
  }

  /** What happens to bytes that go from one member to another, whoever dialed. */
  change(from: Member, to: Member, lane: Partial<Lane>): void {
    this.proxy(from, to).change('up', lane)
    this.proxy(to, from).change('down', lane)
  }

  cut(left: readonly Member[], right: readonly Member[]): void {
    for (const proxy of this.between(left, right)) proxy.cut()
  }

  blackhole(left: readonly Member[], right: readonly Member[]): void {
    for (const proxy of this.between(left, right)) proxy.blackhole()
  }

  heal(): void {
    for (const proxy of this.#proxies.values()) proxy.heal()
  }
}

export interface ClusterSetup {
  size: number
  /** Of all servers. */
  options?: ServerOptions
  /** Which others a server lists; default: all of them. */
  lists?: (index: number) => readonly number[]
  /** How many of them to start, the first ones; default: all. */
  started?: number
}

export class Cluster {
  readonly members: readonly Member[]
  readonly network: Network

  constructor(members: readonly Member[], network: Network) {
    this.members = members
    this.network = network
  }

  /** Fails for a member that there is not. */
  at(index: number): Member {
    const member = this.members[index]
    if (member === undefined) throw new Error(`there is no member ${index}`)
    return member
  }

  /** Waits until each of these is linked with all the others. */
  async meshed(members: readonly Member[] = this.members): Promise<void> {
    await Promise.all(members.map((member) => linked(member, members)))
  }

  /** Waits until all serve the same, and returns it. */
  async same(members: readonly Member[] = this.members, prefix = ''): Promise<Map<string, unknown>> {
    let found: readonly Map<string, unknown>[] = []
    await until(
      `${members.map(({ label }) => label)} serve the same`,
      async () => {
        // Cheap to ask, and usually the difference.
        const entries = await Promise.all(
          members.map(async (member) => (await member.stats()).memory.entries),
        )
        if (new Set(entries).size > 1) return { entries, differing: -1 }
        found = await Promise.all(members.map((member) => member.contents(prefix)))
        const [first] = found
        return {
          entries,
          differing: found.filter((other) => first !== undefined && !isSame(first, other)).length,
        }
      },
      ({ differing }) => differing === 0,
    )
    return found[0] ?? new Map()
  }
}

/** Waits until a member is linked with all of these but itself, and everything it wrote has been acknowledged. */
export async function linked(member: Member, others: readonly Member[]): Promise<void> {
  const wanted = others.filter((other) => other !== member).map(({ label }) => label)
  await until(
    `${member.label} is linked with ${wanted}`,
    async () => (await member.stats()).peers.map(({ nodeId, state, lagMs }) => ({ nodeId, state, lagMs })),
    (peers) =>
      wanted.every((label) =>
        peers.some(({ nodeId, state, lagMs }) => nodeId === label && state === 'connected' && lagMs !== null),
      ),
  )
}

export async function startCluster(setup: ClusterSetup): Promise<Cluster> {
  const { size, options = {}, lists, started = size } = setup
  const network = new Network()
  const ports: number[] = []
  for (let index = 0; index < size; index++) ports.push(await reservePort())
  const members: Member[] = []
  for (const [index, port] of ports.entries()) {
    const listed = lists?.(index) ?? [...ports.keys()].filter((other) => other !== index)
    const peers = listed.map((other) => `127.0.0.1:${ports[other]}`)
    const member = new Member(`node-${index}`, port, { peers, ...options }, network)
    await network.add(member)
    members.push(member)
  }
  await Promise.all(members.slice(0, started).map((member) => member.start()))
  return new Cluster(members, network)
}

function isSame(one: ReadonlyMap<string, unknown>, other: ReadonlyMap<string, unknown>): boolean {
  if (one.size !== other.size) return false
  for (const [key, value] of one) if (other.get(key) !== value) return false
  return true
}
