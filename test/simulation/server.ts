// One life of a server in a simulation: the real replicator, keyspace and store, driven on the virtual network, with a
// clock that may be wrong. Everything that is put, read and dropped is shown to the oracle.

import { Condition } from '../../protocol/messages.ts'
import { emptyRange } from '../../protocol/reader.ts'
import { HybridClock } from '../../server/clock.ts'
import { Keyspace, WriteOutcome } from '../../server/keyspace.ts'
import { Replicator } from '../../server/replication/replicator.ts'
import { ArenaStore } from '../../server/store/arena-store.ts'
import { HeapStore } from '../../server/store/heap-store.ts'
import {
  emptyHead,
  NO_SLOT,
  type RecordHead,
  RecordKind,
  type Slot,
  type Span,
  type Store,
} from '../../server/store/store.ts'
import type { Chance } from './chance.ts'
import { Driver } from './driver.ts'
import type { Connection, Host, Network } from './network.ts'
import { type Life, type Oracle, type Version, Violation } from './oracle.ts'
import { KEYS, type Plan } from './plan.ts'
import type { EventQueue } from './queue.ts'

/** 2026-01-01: what a right clock shows at virtual time 0. */
export const EPOCH_MS = 1_767_225_600_000
const MARKERS_PER_TICK = 1000

/** A machine's clock, which outlives its servers. */
export interface MachineClock {
  /** Ahead of the true time, in ms. */
  offsetMs: number
  /** Where it has stopped, if it has. */
  frozenMs: number | undefined
}

export interface ServerSetup {
  plan: Plan
  machine: number
  clock: MachineClock
  queue: EventQueue
  network: Network
  chance: Chance
  oracle: Oracle
  log: (text: string, key?: number) => void
  machineOf(address: string): number | undefined
  /** A server has not seen another one for too long. */
  onGivenUp(label: string): void
  /** What runs on a machine now. */
  serverAt(machine: number): Server | undefined
}

export class Server implements Host, Life {
  readonly machine: number
  readonly label: string
  readonly name: string
  readonly store: Store
  readonly keyspace: Keyspace
  readonly replicator: Replicator
  readonly driver: Driver
  isAlive = true
  /** Whether it has ever been linked: before, it may be a server that nobody knows of. */
  wasLinked = false
  readonly #setup: ServerSetup
  readonly #monoMs: number
  readonly #head = emptyHead()
  #isLocal = false
  #isWorking = false
  #purged = 0

  constructor(setup: ServerSetup) {
    const { plan, machine, chance, queue, network } = setup
    const mine = plan.machines[machine]
    if (mine === undefined) throw new Error(`there is no machine ${machine}`)
    this.#setup = setup
    this.machine = machine
    this.label = mine.label
    const boot = chance.hex16()
    this.name = `${mine.label}#${boot.slice(0, 4)}`
    this.#monoMs = chance.below(1_000_000) - queue.nowMs
    const limits = { entriesMax: plan.entriesMax, bytesMax: plan.bytesMax, hashKey: chance.bytes(16) }
    this.store = plan.store === 'arena' ? new ArenaStore(limits) : new HeapStore(limits)
    const clock = new HybridClock()
    this.replicator = new Replicator({
      store: this.store,
      clock,
      boot,
      label: mine.label,
      cluster: 'simulated',
      region: 'here',
      options: {
        skewMsMax: plan.skewMsMax,
        skewMsWarn: 500,
        graceMs: plan.graceMs,
        markerRetentionMs: plan.markerRetentionMs,
        markerBytesMax: plan.markerBytesMax,
        windowBytes: plan.windowBytes,
        pingMs: plan.pingMs,
        roundMs: plan.roundMs,
        memberForgetMs: plan.memberForgetMs,
        refusedRetryMs: plan.refusedRetryMs,
      },
      effects: {
        send: (link, channel, bytes) => this.driver.send(link, channel, bytes),
        unsentBytes: (link) => this.driver.unsentBytes(link),
        random: () => chance.fraction(),
        newBoot: () => chance.hex16(),
        onBoot: (newBoot) => {
          // Its clock was wrong: it has given up what it held.
          setup.oracle.end(this)
          setup.oracle.begin(this)
          setup.log(`${this.name} is now ${newBoot.slice(0, 4)}`)
          this.driver.restart()
        },
        onMembers: (members) => this.driver.onMembers(members),
        event: (event, facts) => {
          setup.log(`${this.name}: ${event} ${JSON.stringify(facts)}`)
          if (event === 'member forgotten') setup.onGivenUp(String(facts['member']))
        },
      },
    })
    const { origins } = this.replicator.replica
    this.keyspace = new Keyspace(this.store, clock, origins, this.replicator, {
      defaultTtlMs: plan.defaultTtlMs,
      renewOnHit: plan.renewOnHit,
    })
    this.#watch()
    this.driver = new Driver({
      replicator: this.replicator,
      host: this,
      network,
      queue,
      chance,
      silenceMs: plan.silenceMs,
      isFuture: mine.isFuture,
      duplicates: plan.duplicates,
      machineOf: setup.machineOf,
      at: () => this.at(),
      onReceived: () => this.#workSoon(),
    })
    this.replicator.address = mine.address
    setup.oracle.begin(this)
    network.listen(this)
    this.at()
    for (const address of mine.peers) {
      if (address !== mine.address) this.replicator.expect(address)
      this.driver.find(address)
    }
    queue.in(chance.below(plan.tickMs), () => this.#tick())
  }

  get boot(): string {
    return this.replicator.replica.boot
  }

  /** By this machine's clock. */
  get wallMs(): number {
    const { clock, queue } = this.#setup
    return clock.frozenMs ?? EPOCH_MS + queue.nowMs + clock.offsetMs
  }

  get #isRight(): boolean {
    const { clock, plan } = this.#setup
    return clock.frozenMs === undefined && Math.abs(clock.offsetMs) < plan.skewMsMax
  }

  at(): void {
    const wallMs = this.wallMs
    this.replicator.at(wallMs, this.#monoMs + this.#setup.queue.nowMs)
    this.keyspace.nowMs = wallMs
  }

  stop(how: 'reset' | 'silent'): void {
    this.isAlive = false
    this.driver.isStopped = true
    this.#setup.network.kill(this, how)
    this.#setup.oracle.end(this)
  }

  onAccept(connection: Connection): void {
    this.driver.accept(connection)
  }

  onBytes(connection: Connection, bytes: Uint8Array): void {
    this.driver.onBytes(connection, bytes)
  }

  onClosed(connection: Connection): void {
    this.driver.onClosed(connection)
  }

  #tick(): void {
    if (!this.isAlive) return
    const { plan, queue, chance } = this.#setup
    this.at()
    this.store.sweep(this.keyspace.nowMs, 100)
    this.replicator.tick(MARKERS_PER_TICK)
    this.replicator.pump()
    this.driver.tick()
    for (const link of this.replicator.links) this.wasLinked ||= link.isStarted
    this.#checkMemory()
    this.#workSoon()
    queue.in(plan.tickMs - 20 + chance.below(40), () => this.#tick())
  }

  #workSoon(): void {
    if (this.#isWorking) return
    this.#isWorking = true
    this.#setup.queue.in(this.#setup.chance.below(3), () => this.#work())
  }

  #work(): void {
    this.#isWorking = false
    if (!this.isAlive) return
    this.at()
    if (this.replicator.work(this.#setup.plan.workBudget)) this.#workSoon()
  }

  // Requests of clients.

  set(key: number, x: number, y: number, acks: number): void {
    const { plan, chance, log } = this.#setup
    const ttlMs = x < 0.4 ? 0 : x < 0.55 ? -1 : 2000 + Math.floor(x * x * 90_000)
    const length = 1 + Math.floor(y * y * 150)
    const value = spanOf(chance.bytes(4), length)
    const condition = y < 0.9 ? Condition.None : y < 0.95 ? Condition.Absent : Condition.Present
    this.#local(() => {
      const outcome = this.keyspace.set(KEY_SPANS[key] as Span, 0, value, ttlMs, condition, NO_SPAN)
      if (outcome === WriteOutcome.Conflict && condition !== Condition.None) return
      if (outcome !== WriteOutcome.Stored)
        throw new Violation('I9 local requests work', key, `${this.name}: SET comes to ${outcome}`)
      if (acks > 0) this.#awaitAcks(key, acks, 1000 + Math.floor(x * plan.pingMs * 10))
    })
    log(`${this.name} set k${key}`, key)
  }

  #awaitAcks(key: number, acks: number, timeoutMs: number): void {
    const { hlc } = this.keyspace.written
    const version: Version = { hlc, boot: this.boot, kind: RecordKind.Value }
    const { oracle } = this.#setup
    let isDone = false
    const most = this.replicator.awaitAcks(acks, timeoutMs, (count) => {
      if (isDone) throw new Violation('I5 acknowledged writes', key, `${this.name} is told twice`)
      isDone = true
      const holders = oracle.holders(key, version, this.label)
      if (count > most || holders < count)
        throw new Violation(
          'I5 acknowledged writes',
          key,
          `${this.name}: ${count} of ${most} are said to have ${hlc}, ${holders} have had it`,
        )
    })
  }

  delete(key: number): void {
    this.#local(() => {
      const outcome = this.keyspace.delete(KEY_SPANS[key] as Span)
      if (outcome !== WriteOutcome.Stored)
        throw new Violation('I9 local requests work', key, `${this.name}: DELETE comes to ${outcome}`)
    })
    this.#setup.log(`${this.name} delete k${key}`, key)
  }

  increment(key: number): void {
    this.#local(() => {
      const outcome = this.keyspace.increment(KEY_SPANS[key] as Span, 1, 0, 0)
      if (outcome !== WriteOutcome.Stored && outcome !== WriteOutcome.NotInteger)
        throw new Violation('I9 local requests work', key, `${this.name}: INCR comes to ${outcome}`)
    })
  }

  touch(key: number, x: number): void {
    this.#local(() => this.keyspace.touch(KEY_SPANS[key] as Span, 3000 + Math.floor(x * 60_000)))
  }

  clear(): void {
    this.#local(() => this.keyspace.clear())
    const { oracle, log } = this.#setup
    // What a wrong clock flushed comes back with the clock.
    const { watermark } = this.replicator.replica
    oracle.anyWatermark = Math.max(oracle.anyWatermark, watermark)
    if (this.#isRight) oracle.watermark = Math.max(oracle.watermark, watermark)
    log(`${this.name} clears up to ${this.replicator.replica.watermark}`)
  }

  get(key: number): void {
    this.#local(() => {
      const span = KEY_SPANS[key] as Span
      const slot = this.keyspace.get(span)
      if (slot !== NO_SLOT) this.#show(key, slot, true)
    })
  }

  /** What a client would read, without any effect. */
  peek(key: number): Version | undefined {
    this.at()
    const slot = this.keyspace.peek(KEY_SPANS[key] as Span)
    return slot === NO_SLOT ? undefined : this.#show(key, slot, false)
  }

  #show(key: number, slot: Slot, renews: boolean): Version {
    const { oracle, plan, queue } = this.#setup
    const { origins, watermark } = this.replicator.replica
    const head = this.#head
    this.store.head(slot, head)
    const version = { hlc: head.hlc, boot: origins.idOf(head.origin), kind: head.kind }
    if (renews && plan.renewOnHit && head.lifetimeMs > 0)
      oracle.renewed(key, version, this.keyspace.nowMs + head.lifetimeMs)
    const trueMs = this.#isRight ? EPOCH_MS + queue.nowMs : 0
    const content = this.#contentOf(slot)
    oracle.read(this, key, version, head.expiresAtMs, content, trueMs, plan.skewMsMax)
    if (head.hlc <= watermark)
      throw new Violation('I3 nothing comes back', key, `${this.name} serves ${head.hlc}, which was flushed`)
    return version
  }

  #local(request: () => void): void {
    this.at()
    this.#isLocal = true
    request()
    this.#isLocal = false
    if (this.#setup.chance.oneIn(10)) return
    this.replicator.pump()
    this.#checkMemory()
  }

  #contentOf(slot: Slot): number {
    const length = this.store.valueBytes(slot)
    this.store.copyValue(slot, content, 0)
    return checksum(content, 0, length)
  }

  #checkMemory(): void {
    const { plan } = this.#setup
    const { usedBytes, entries } = this.store.stats()
    if (usedBytes > plan.bytesMax || entries > plan.entriesMax)
      throw new Violation(
        'I8 bounded memory',
        undefined,
        `${this.name}: ${entries} entries, ${usedBytes} bytes; at most ${plan.entriesMax} and ${plan.bytesMax}`,
      )
    if (this.store.markerBytes > plan.markerBytesMax)
      throw new Violation(
        'I8 bounded memory',
        undefined,
        `${this.name}: ${this.store.markerBytes} bytes of markers, at most ${plan.markerBytesMax}`,
      )
  }

  /** A value goes because of what others forgot. */
  #checkLoss(key: number, { hlc, origin, expiresAtMs }: RecordHead): void {
    const { oracle, plan } = this.#setup
    const isExpired = expiresAtMs !== 0 && expiresAtMs <= this.keyspace.nowMs
    const before = oracle.lost
    oracle.dropped(key, hlc, this.replicator.replica.origins.idOf(origin), isExpired)
    if (oracle.lost === before || plan.away === undefined || plan.away === this.machine) return
    // Whoever was away may impose what it forgot by force meanwhile; that is its right by rule 8. Nobody else may.
    const away = this.#setup.serverAt(plan.away)
    if (away !== undefined && hlc <= (away.replicator.replica.members.get(this.label)?.gap ?? 0)) return
    throw new Violation(
      'I10 connected servers lose nothing',
      key,
      `${this.name} drops ${hlc}, which is the newest`,
    )
  }

  /** Shows everything that is put or dropped to the oracle. */
  #watch(): void {
    const { store } = this
    const { oracle, log } = this.#setup
    const { origins } = this.replicator.replica
    const put = store.put.bind(store)
    const forget = store.forget.bind(store)
    const strip = store.strip.bind(store)
    const scratch = new Uint8Array(64)
    const keyAt = (slot: Slot): number => {
      store.copyKey(slot, scratch, 0)
      return (scratch[1] as number) - DIGIT_0
    }
    store.put = (hash, slot, key, value, head, nowMs) => {
      const made = put(hash, slot, key, value, head, nowMs)
      if (made === NO_SLOT) return made
      const index = (key.bytes[key.at + 1] as number) - DIGIT_0
      const boot = origins.idOf(head.origin)
      const { hlc, kind, expiresAtMs } = head
      if (this.#isLocal) {
        const sum = checksum(value.bytes, value.at, value.length)
        oracle.wrote(index, { hlc, boot, kind }, expiresAtMs, sum, this.#isRight)
      }
      log(`${this.name} puts ${KINDS[kind]} ${hlc}/${boot.slice(0, 4)} exp ${expiresAtMs}`, index)
      oracle.put(this, index, hlc, boot, kind)
      return made
    }
    store.strip = (slot, kind, flags) => {
      store.head(slot, this.#head)
      log(`${this.name} strips ${this.#head.hlc} to ${KINDS[kind]}`, keyAt(slot))
      const purged = this.replicator.replica.counters.purged
      if (purged > this.#purged) this.#checkLoss(keyAt(slot), this.#head)
      this.#purged = purged
      strip(slot, kind, flags)
    }
    store.forget = (slot, why) => {
      const head = this.#head
      store.head(slot, head)
      const key = keyAt(slot)
      log(`${this.name} forgets ${KINDS[head.kind]} ${head.hlc}: ${why}`, key)
      if (why === 'deleted' && head.kind === RecordKind.Value && !this.#isLocal) this.#checkLoss(key, head)
      this.#purged = this.replicator.replica.counters.purged
      forget(slot, why)
    }
  }
}

const DIGIT_0 = 48
const KINDS = ['value', 'ghost', 'tombstone'] as const
const content = new Uint8Array(1024)
const NO_SPAN: Span = emptyRange()

export const KEY_SPANS: readonly Span[] = Array.from({ length: KEYS }, (_, index) => {
  const bytes = Buffer.from(`k${index}`)
  return { bytes, at: 0, length: bytes.length }
})

/** `length` bytes that repeat the given ones. */
function spanOf(seed: Uint8Array, length: number): Span {
  return { bytes: Uint8Array.from({ length }, (_, i) => seed[i & 3] as number), at: 0, length }
}

export function checksum(bytes: Uint8Array, at: number, length: number, start = 0x811c_9dc5): number {
  let sum = start
  for (let i = at; i < at + length; i++) sum = Math.imul(sum ^ (bytes[i] as number), 0x0100_0193)
  return sum
}
