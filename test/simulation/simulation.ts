// One run: a plan carried out on virtual machines, with all checks. Deterministic: the same plan gives the same events.

import { ReplicationCounters } from '../../server/replication/replica.ts'
import { Chance } from './chance.ts'
import { Network } from './network.ts'
import { isBelow, Oracle, textOf, type Version, Violation } from './oracle.ts'
import { type Action, KEYS, type Plan } from './plan.ts'
import { EventQueue } from './queue.ts'
import { checksum, type MachineClock, Server } from './server.ts'

export interface RunOptions {
  /** Hash of all bytes that arrive. */
  isHashed?: boolean
  /** Lines of what happens; with a key, only what concerns it. */
  onLine?: (atMs: number, text: string, key: number | undefined) => void
}

export interface RunResult {
  violation: Violation | undefined
  hash: number
  counters: Record<string, number>
}

/** When links must be there after silence would have been noticed: the longest backoff, refusals, and a dial. */
const LINK_MS = 12_000
/** How often somebody looks whether a server must be restarted. */
const OPERATOR_MS = 1000
/** The last part of a run, in which nothing must happen any more but empty rounds. */
const CALM_MS = 60_000

export function simulate(plan: Plan, options: RunOptions = {}): RunResult {
  const simulation = new Simulation(plan, options)
  const violation = simulation.run()
  return { violation, hash: simulation.hash, counters: simulation.counters }
}

class Simulation {
  hash = 0
  readonly counters: Record<string, number> = {}
  readonly #plan: Plan
  readonly #queue = new EventQueue()
  readonly #chance: Chance
  readonly #network: Network
  readonly #oracle = new Oracle()
  readonly #servers: (Server | undefined)[] = []
  readonly #clocks: MachineClock[]
  readonly #log: (text: string, key?: number) => void
  /** Machines whose server left. */
  readonly #left = new Set<number>()
  /** Machines whose server somebody has not seen for too long. */
  readonly #givenUp = new Set<number>()
  /** Machines whose server was removed: others know nothing of the next one before they meet it. */
  readonly #removed = new Set<number>()

  constructor(plan: Plan, { isHashed, onLine }: RunOptions) {
    this.#plan = plan
    this.#chance = new Chance(plan.seed ^ 0x2545_f491)
    this.#log = onLine === undefined ? () => {} : (text, key) => onLine(this.#queue.nowMs, text, key)
    this.#network = new Network(this.#queue, this.#chance.fork(), (_, bytes) => {
      if (isHashed) this.hash = checksum(bytes, 0, bytes.length, this.hash ^ this.#queue.nowMs)
    })
    this.#clocks = plan.machines.map(({ skewMs }) => ({ offsetMs: skewMs, frozenMs: undefined }))
  }

  run(): Violation | undefined {
    const { topology, machines, actions, healMs, endMs } = this.#plan
    const queue = this.#queue
    if (topology === 'bridge') this.#network.separate(0, 2)
    for (const [machine, { startsMs }] of machines.entries()) queue.at(startsMs, () => this.#start(machine))
    for (const action of actions) queue.at(action.atMs, () => this.#act(action))
    for (let atMs = 0; atMs < endMs - 2 * CALM_MS; atMs += OPERATOR_MS) queue.at(atMs, () => this.#operate())
    try {
      queue.runUntil(healMs)
      this.#heal()
      queue.runUntil(healMs + this.#plan.silenceMs + LINK_MS)
      this.#checkLinks()
      queue.runUntil(endMs - CALM_MS)
      const before = this.#alive().map(({ replicator }) => ({ ...replicator.replica.counters }))
      queue.runUntil(endMs)
      this.#checkEnd()
      this.#checkCalm(before)
    } catch (error) {
      for (const server of this.#alive()) this.#count(server)
      if (error instanceof Violation) return error
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      return new Violation('no errors', undefined, text)
    }
    for (const server of this.#alive()) this.#count(server)
    return undefined
  }

  #alive(): Server[] {
    return this.#servers.filter((server) => server?.isAlive) as Server[]
  }

  #server(machine: number): Server | undefined {
    const server = this.#servers[machine]
    return server?.isAlive ? server : undefined
  }

  /** The server of a machine, if clients use it. */
  #clientsOf(machine: number): Server | undefined {
    const server = this.#server(machine)
    // Nobody writes where the faults are, or others pay for what happens there.
    if (machine === this.#plan.away) return undefined
    // What knows of nobody deletes without a trace.
    const isMember = server?.wasLinked === true && server.replicator.mustMark
    return isMember || (this.#plan.writesAlone && !this.#removed.has(machine)) ? server : undefined
  }

  #start(machine: number): void {
    if (this.#server(machine) !== undefined) return
    const clock = this.#clocks[machine]
    if (clock === undefined) return
    const server: Server = new Server({
      plan: this.#plan,
      machine,
      clock,
      queue: this.#queue,
      network: this.#network,
      chance: this.#chance.fork(),
      oracle: this.#oracle,
      log: this.#log,
      onGivenUp: () => {
        // Whoever was away pays. That the others do not restart instead is for those to see who look after them.
        if (this.#plan.away !== undefined) this.#givenUp.add(this.#plan.away)
      },
      serverAt: (other) => this.#server(other),
      machineOf: (address) => {
        const found = this.#plan.machines.findIndex((known) => known.address === address)
        return found < 0 ? undefined : found
      },
    })
    this.#servers[machine] = server
    this.#left.delete(machine)
    this.#tally('starts')
    this.#log(`${server.name} starts`)
  }

  #stop(machine: number, how: 'reset' | 'silent'): void {
    const server = this.#server(machine)
    if (server === undefined) return
    this.#count(server)
    server.stop(how)
    this.#log(`${server.name} dies`)
  }

  #count({ replicator }: Server): void {
    for (const [name, count] of Object.entries(replicator.replica.counters))
      this.counters[name] = (this.counters[name] ?? 0) + count
  }

  #tally(name: string): void {
    this.counters[name] = (this.counters[name] ?? 0) + 1
  }

  #act(action: Action): void {
    const { kind, node, other, key, x, y } = action
    const network = this.#network
    const server = this.#clientsOf(node)
    const fault = () => this.#log(`${kind} ${node} ${other}`)
    switch (kind) {
      case 'set':
        server?.set(key, x, y, y * 10 < 1 ? 255 : y * 10 < 2 ? 1 : 0)
        break
      case 'delete':
        server?.delete(key)
        break
      case 'get':
        server?.get(key)
        break
      case 'increment':
        server?.increment(key)
        break
      case 'touch':
        server?.touch(key, x)
        break
      case 'clear':
        server?.clear()
        break
      case 'flood':
        if (this.#plan.away === undefined) for (let index = 0; index < KEYS; index++) server?.delete(index)
        break
      case 'cut':
        fault()
        network.block(node, other)
        network.block(other, node)
        break
      case 'cut one way':
        fault()
        network.block(node, other)
        break
      case 'cut group':
        fault()
        this.#cutGroup(node, x)
        break
      case 'heal':
        fault()
        network.open(node, other)
        network.open(other, node)
        break
      case 'heal all':
        fault()
        network.openAll()
        break
      case 'clog':
        fault()
        network.clog(node, other, 5000 * x)
        break
      case 'lose':
        if (network.lose(node, other)) fault()
        break
      case 'former':
        network.deliverFormer()
        break
      case 'crash':
        this.#stop(node, x < 0.5 ? 'reset' : 'silent')
        if (y < 0.7) this.#queue.in(y * 20_000, () => this.#start(node))
        break
      case 'crash loop':
        for (let times = 0; times < 5; times++) {
          this.#queue.in(times * 2000, () => this.#start(node))
          this.#queue.in(times * 2000 + 1500, () => {
            if (this.#queue.nowMs < this.#plan.healMs) this.#stop(node, 'reset')
          })
        }
        break
      case 'start':
        if (!this.#left.has(node)) this.#start(node)
        break
      case 'leave':
        // Where lists do not name everybody, those who are left may not find each other.
        if (this.#plan.topology !== 'mesh') break
        this.#stop(node, 'reset')
        this.#left.add(node)
        break
      case 'forget':
        this.#forget(other, 'last life')
        break
      default:
        fault()
        this.#setClock(node, kind, x, y)
    }
  }

  /** Each machine comes to one side or the other. */
  #cutGroup(node: number, x: number): void {
    const { machines, away } = this.#plan
    const side = (machine: number) =>
      away === undefined ? (Math.floor(x * 64) >> machine) & 1 : Number(machine === node)
    for (let one = 0; one < machines.length; one++)
      for (let other = 0; other < machines.length; other++)
        if (side(one) !== side(other)) this.#network.block(one, other)
  }

  /** `peers forget` is for servers that are gone. */
  #forget(machine: number, which: 'last life' | 'any life'): void {
    const plan = this.#plan.machines[machine]
    if (plan === undefined || this.#server(machine) !== undefined) return
    const { label, address } = plan
    for (const server of this.#alive()) {
      server.at()
      const { members } = server.replicator.replica
      const member = members.get(label)
      // Where it never answered, the address is all that is known.
      if (members.get(address) !== undefined && address !== label) {
        server.replicator.remove(address)
        this.#removed.add(machine)
      }
      if (member === undefined) continue
      const isLast = member.boot === undefined || member.boot === this.#servers[machine]?.boot
      if (which === 'last life' && !isLast) continue
      this.#log(`${server.name} forgets member ${label}`)
      server.replicator.remove(label)
      this.#removed.add(machine)
      this.#tally('removals')
    }
  }

  /** A server that others have removed, because they did not see it for too long, must restart, empty. */
  #operate(): void {
    const alive = this.#alive()
    for (const { machine, boot } of alive)
      if (alive.some(({ replicator }) => replicator.replica.members.isRemoved(boot)))
        this.#givenUp.add(machine)
    for (const machine of this.#givenUp) {
      this.#removed.add(machine)
      if (this.#server(machine) === undefined) continue
      this.#stop(machine, 'reset')
      this.#queue.in(100, () => this.#start(machine))
      this.#tally('removed and restarted')
    }
    this.#givenUp.clear()
  }

  #setClock(machine: number, kind: Action['kind'], x: number, y: number): void {
    const clock = this.#clocks[machine]
    const skewMs = this.#plan.machines[machine]?.skewMs
    if (clock === undefined || skewMs === undefined) return
    const year = 365 * 24 * 3600_000
    if (kind === 'clock jump') clock.offsetMs = (x < 0.5 ? 1 : -1) * (y < 0.7 ? 288_000 : year)
    else if (kind === 'clock freeze') clock.frozenMs = this.#server(machine)?.wallMs
    else {
      clock.offsetMs = skewMs
      clock.frozenMs = undefined
    }
  }

  #heal(): void {
    this.#log('everything is healed')
    this.#network.openAll()
    for (const [machine, { skewMs }] of this.#plan.machines.entries()) {
      const clock = this.#clocks[machine]
      if (clock !== undefined) {
        clock.offsetMs = skewMs
        clock.frozenMs = undefined
      }
      if (!this.#left.has(machine)) this.#start(machine)
    }
    // At once, and again when everybody has heard from everybody.
    for (const delayMs of [0, LINK_MS, 3 * LINK_MS])
      this.#queue.in(delayMs, () => {
        for (const machine of this.#left) this.#forget(machine, 'any life')
      })
  }

  // Checks.

  #pairs(): [Server, Server][] {
    const alive = this.#alive()
    return alive.flatMap((one) =>
      alive
        .filter((other) => one !== other && !this.#network.isBlocked(one.machine, other.machine))
        .map((other): [Server, Server] => [one, other]),
    )
  }

  #checkLinks(): void {
    for (const [one, other] of this.#pairs()) {
      const link = one.replicator.link(other.label)
      const isUp = link?.boot === other.boot && link.isStarted && link.refusedUntilMs === 0
      if (!isUp)
        throw new Violation(
          'L1 links within 15 s',
          undefined,
          `${one.name} to ${other.name}: ${link === undefined ? 'no link' : `boot ${link.boot}, started ${link.isStarted}, refused ${link.refusedReason}`}`,
        )
    }
  }

  #checkEnd(): void {
    const alive = this.#alive()
    const oracle = this.#oracle
    // A flush that nobody alive knows of has not been.
    oracle.watermark = Math.max(...alive.map(({ replicator }) => replicator.replica.watermark))
    for (let key = 0; key < KEYS; key++) {
      const survivor = oracle.survivor(key)
      const held: [Server, Version][] = []
      for (const server of alive) {
        const version = server.peek(key)
        if (version !== undefined) held.push([server, version])
      }
      for (const [server, version] of held) {
        if (version.hlc <= oracle.watermark)
          throw new Violation('I3 nothing comes back', key, `${server.name} serves ${version.hlc}, flushed`)
        if (survivor !== undefined && isBelow(version, survivor) && !oracle.isOdd(version))
          throw new Violation(
            'I2 newest survivor or miss',
            key,
            `${server.name} serves ${textOf(version)}, ${textOf(survivor)} has survived`,
          )
        const [first] = held
        if (first !== undefined && (first[1].hlc !== version.hlc || first[1].boot !== version.boot))
          throw new Violation(
            'I1 same version',
            key,
            `${first[0].name} has ${textOf(first[1])}, ${server.name} ${textOf(version)}`,
          )
      }
    }
    if (this.#plan.topology === 'bridge') return
    for (const [one, other] of this.#pairs()) {
      const link = one.replicator.link(other.label)
      const { tailSeq } = one.store
      const isDry = link?.boot === other.boot && link.inFlight.length === 0 && link.scannedSeq === tailSeq
      if (!isDry)
        throw new Violation(
          'L2 streams run dry',
          undefined,
          `${one.name} to ${other.name}: ${link?.scannedSeq} of ${tailSeq}, ${link?.inFlight.length} batches unacknowledged, ${link?.isStarted ? 'started' : 'not started'}; the other end has ${other.replicator.link(one.label)?.member.receivedSeq}, ${other.replicator.link(one.label)?.rewinding ? 'and waits for a rewind' : ''}`,
        )
    }
  }

  #checkCalm(before: ReplicationCounters[]): void {
    // Where two never meet, neither ever hears what the other knows: markers stay, and go to and fro.
    if (this.#plan.topology === 'bridge') return
    for (const [index, server] of this.#alive().entries()) {
      const { counters, members } = server.replicator.replica
      const then = before[index] ?? new ReplicationCounters()
      const small = counters.smallRounds - then.smallRounds
      const equal = counters.roundsEqual - then.roundsEqual
      const full = counters.fullRounds - then.fullRounds
      // The last ones may be under way.
      if (full > 0 || equal < small - this.#plan.machines.length)
        throw new Violation(
          'L3 rounds come to equal digests',
          undefined,
          `${server.name}: ${full} full rounds, ${small} small ones, ${equal} of them equal`,
        )
      const { ghosts, tombstones } = server.store.stats()
      for (const member of members)
        if (!this.#alive().some(({ label }) => label === member.label))
          throw new Violation('L5 members are the servers', undefined, `${server.name} knows ${member.label}`)
      if (ghosts + tombstones > 0)
        throw new Violation(
          'L4 markers go',
          undefined,
          `${server.name} keeps ${ghosts} ghosts and ${tombstones} tombstones`,
        )
    }
  }
}
