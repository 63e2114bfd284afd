// Replicators of a test's own, joined by a wire that is a list of frames; and strangers, who say what a test has them
// say. No sockets and no clock but the one that the test moves.
//
// A frame that is sent lies in its sender's outbox until `settle` carries it over, so that a test may look at it, keep
// it back or lose it.

import { Condition, PeerOpcode } from '../../protocol/messages.ts'
import { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import { HybridClock, hlcOfWall } from '../../server/clock.ts'
import { Keyspace, TTL_NONE, type WriteOutcome } from '../../server/keyspace.ts'
import { replicationDefaults } from '../../server/replication/defaults.ts'
import type { LinkState } from '../../server/replication/link-state.ts'
import { Channel, type PeerHello, readHello, writeHello } from '../../server/replication/peer-messages.ts'
import type { ReplicationOptions } from '../../server/replication/replica.ts'
import { type ReplicationEvent, Replicator } from '../../server/replication/replicator.ts'
import { ArenaStore } from '../../server/store/arena-store.ts'
import { HeapStore } from '../../server/store/heap-store.ts'
import { emptyHead, NO_SLOT, RecordKind, type Span, type Store } from '../../server/store/store.ts'
import { type Random, randomFrom } from '../server/store/random.ts'
import { decoded, frame } from './frames.ts'

export const STORES = ['heap', 'arena'] as const
export const WALL_MS = Date.UTC(2030, 0, 1)
const MARKERS_PER_TICK = 1000
const RECORDS_PER_SLICE = 1000
const TICK_MS = 50
/** More frames than two servers ever have to say to each other at once. */
const FRAMES_MAX = 10_000

export interface ReplicaOptions {
  boot?: string
  store?: (typeof STORES)[number]
  entriesMax?: number
  bytesMax?: number
  cluster?: string
  region?: string
  renewOnHit?: boolean
  valueBytesMax?: number
  options?: Partial<ReplicationOptions>
}

interface Sent {
  to: string
  channel: Channel
  bytes: Buffer
}

/** What a test sees of a record. */
export interface Seen {
  kind: RecordKind
  hlc: number
  boot: string
  value: string
  expiresAtMs: number
  flags: number
  seq: number
}

/** The time, the same for all servers of a test; a server's own wall clock may be off. */
export class World {
  wallMs = WALL_MS
  monoMs = 10_000_000
  readonly nodes: Node[] = []

  add(label: string, options: ReplicaOptions = {}): Node {
    const node = new Node(this, label, options)
    this.nodes.push(node)
    return node
  }

  /** Both HELLOs, through the real codec; then both streams and, unless told otherwise, the bulk connection. */
  link(one: Node, other: Node, bulk = true): void {
    for (const node of this.nodes) node.at()
    const [ours, theirs] = [helloOf(one), helloOf(other)]
    one.peers.set(other.label, other)
    other.peers.set(one.label, one)
    other.replicator.linkUp(ours)
    one.replicator.linkUp(theirs)
    if (bulk)
      for (const [node, peer] of [
        [one, other],
        [other, one],
      ] as const)
        node.replicator.bulkUp(node.linkTo(peer.label))
  }

  /** The connections are gone, with what was on its way. */
  cut(one: Node, other: Node): void {
    for (const [node, peer] of [
      [one, other],
      [other, one],
    ] as const) {
      const link = node.replicator.link(peer.label)
      if (link !== undefined) node.replicator.linkDown(link)
      node.peers.delete(peer.label)
      node.outbox = node.outbox.filter(({ to }) => to !== peer.label)
    }
  }

  /** Sends what was written and carries frames over until all are silent. */
  settle(): void {
    for (let left = FRAMES_MAX; left > 0; left--) {
      let isBusy = false
      for (const node of this.nodes) {
        node.at()
        isBusy = node.replicator.pump() || isBusy
        isBusy = node.replicator.work(RECORDS_PER_SLICE) || isBusy
        isBusy = node.deliver() || isBusy
      }
      if (!isBusy) return
    }
    throw new Error('they do not come to an end')
  }

  /** Time goes by, with upkeep every 50 ms. */
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= TICK_MS) {
      const step = Math.min(TICK_MS, left)
      this.wallMs += step
      this.monoMs += step
      for (const node of this.nodes) node.tick()
      this.settle()
    }
  }
}

export class Node {
  readonly label: string
  readonly store: Store
  readonly clock = new HybridClock()
  readonly replicator: Replicator
  readonly keyspace: Keyspace
  readonly peers = new Map<string, Node | Stranger>()
  readonly events: [ReplicationEvent, Record<string, unknown>][] = []
  outbox: Sent[] = []
  /** What the bulk connections seem not to have sent yet, in bytes. */
  unsentBytes = 0
  /** Its wall clock is ahead of the true time, in ms. */
  wallOffsetMs = 0
  readonly #world: World
  readonly #random: Random

  constructor(world: World, label: string, options: ReplicaOptions) {
    const { entriesMax = 1000, bytesMax = 1 << 20, cluster = 'default', region = '' } = options
    this.#world = world
    this.label = label
    const limits = { entriesMax, bytesMax, hashKey: Buffer.alloc(16, 1) }
    this.store = options.store === 'arena' ? new ArenaStore(limits) : new HeapStore(limits)
    this.#random = randomFrom(Buffer.from(label).reduce((sum, byte) => sum * 31 + byte, 7))
    this.replicator = new Replicator({
      store: this.store,
      clock: this.clock,
      boot: options.boot ?? bootOf(label),
      label,
      cluster,
      region,
      valueBytesMax: options.valueBytesMax,
      options: { ...replicationDefaults('lan', bytesMax), ...options.options },
      effects: {
        send: (link, channel, bytes) => this.#send(link, channel, bytes),
        unsentBytes: () => this.unsentBytes,
        random: () => this.#random.below(2 ** 30) / 2 ** 30,
        newBoot: () => bootOf(`${label}'`),
        onBoot: () => {},
        onMembers: () => {},
        event: (name, facts) => void this.events.push([name, facts]),
      },
    })
    this.at()
    const { origins } = this.replica
    this.keyspace = new Keyspace(this.store, this.clock, origins, this.replicator, {
      defaultTtlMs: 0,
      renewOnHit: options.renewOnHit ?? false,
    })
  }

  get replica() {
    return this.replicator.replica
  }

  get counters() {
    return this.replica.counters
  }

  at(): void {
    const wallMs = this.#world.wallMs + this.wallOffsetMs
    this.replicator.at(wallMs, this.#world.monoMs)
    if (this.keyspace !== undefined) this.keyspace.nowMs = wallMs
  }

  tick(): void {
    this.at()
    this.store.sweep(this.replica.wallMs, 1000)
    this.replicator.tick(MARKERS_PER_TICK)
  }

  /** Somebody whom the test plays, linked to this server. */
  meet(label: string, hello: Partial<PeerHello> = {}, bulk = true): Stranger {
    this.at()
    const stranger = new Stranger(this, label, hello.boot ?? bootOf(label))
    this.peers.set(label, stranger)
    stranger.link = this.replicator.linkUp({ ...this.helloFrom(label), ...hello })
    if (bulk) this.replicator.bulkUp(stranger.link)
    return stranger
  }

  /** What a server with this label would say if its clock were this one's. */
  helloFrom(label: string): PeerHello {
    const hello = { ...this.replicator.hello(Channel.Stream), label, boot: bootOf(label) }
    return { ...hello, hlc: hlcOfWall(this.replica.wallMs), watermark: 0, news: [], removed: [] }
  }

  linkTo(label: string): LinkState {
    const link = this.replicator.link(label)
    if (link === undefined) throw new Error(`${this.label} has no link to ${label}`)
    return link
  }

  member(label: string) {
    const member = this.replica.members.get(label)
    if (member === undefined) throw new Error(`${this.label} knows no ${label}`)
    return member
  }

  set(key: string, value: string | Buffer, ttlMs: number = TTL_NONE): WriteOutcome {
    this.at()
    return this.keyspace.set(spanOf(key), 1, spanOf(value), ttlMs, Condition.None, spanOf(''))
  }

  delete(key: string): void {
    this.at()
    this.keyspace.delete(spanOf(key))
  }

  clear(): void {
    this.at()
    this.keyspace.clear()
  }

  /** What a client reads; undefined on a miss. */
  get(key: string): string | undefined {
    this.at()
    const slot = this.keyspace.get(spanOf(key))
    return slot === NO_SLOT ? undefined : this.#valueAt(slot)
  }

  /** What stands there, of any kind. */
  see(key: string): Seen | undefined {
    const span = spanOf(key)
    const slot = this.store.find(this.store.hash(span), span)
    if (slot === NO_SLOT) return undefined
    const { kind, hlc, origin, expiresAtMs, flags, seq } = this.#headAt(slot)
    const boot = this.replica.origins.idOf(origin)
    return { kind, hlc, boot, value: this.#valueAt(slot), expiresAtMs, flags, seq }
  }

  slotOf(key: string): number {
    const span = spanOf(key)
    return this.store.find(this.store.hash(span), span)
  }

  /** A value of which everything but the version is dropped, as an eviction does where somebody may not know it. */
  evict(key: string): void {
    const slot = this.slotOf(key)
    const { retention, store } = this
    if (retention.mayForget(slot)) store.forget(slot, 'evicted')
    else store.strip(slot, RecordKind.Ghost, retention.markerFlags)
  }

  get retention() {
    return this.replicator.forgetting
  }

  /** All records as `key kind value`, in the order of the change log. */
  contents(): string[] {
    const found: string[] = []
    for (let slot = this.store.next(0); slot !== NO_SLOT; ) {
      const { kind, keyBytes, seq } = this.#headAt(slot)
      const key = Buffer.alloc(keyBytes)
      this.store.copyKey(slot, key, 0)
      found.push(`${key} ${kind} ${this.#valueAt(slot)}`)
      slot = this.store.next(seq)
    }
    return found
  }

  /** Carries over what was sent; false if that was nothing. */
  deliver(): boolean {
    const sent = this.outbox
    this.outbox = []
    for (const { to, channel, bytes } of sent) this.peers.get(to)?.hear(this.label, channel, bytes)
    return sent.length > 0
  }

  hear(from: string, _: Channel, bytes: Buffer): void {
    const link = this.replicator.link(from)
    if (link !== undefined) this.replicator.receive(link, bytes, 4, bytes.length)
  }

  #send(link: LinkState, channel: Channel, bytes: Uint8Array): void {
    this.outbox.push({ to: link.member.label, channel, bytes: Buffer.from(bytes) })
  }

  #headAt(slot: number) {
    const head = emptyHead()
    this.store.head(slot, head)
    return head
  }

  #valueAt(slot: number): string {
    const value = Buffer.alloc(this.store.valueBytes(slot))
    this.store.copyValue(slot, value, 0)
    return value.toString()
  }
}

/** kind, key, hlc, value, and what may differ. */
export type StrangeRecord = readonly [
  kind: RecordKind,
  key: string,
  hlc: number,
  value: string,
  times?: readonly [expiresAtMs: number, lifetimeMs: number],
  origin?: string,
]

/** A server that the test plays: its messages are written and read by msgpackr. */
export class Stranger {
  readonly node: Node
  readonly label: string
  readonly boot: string
  link: LinkState | undefined
  /** What was said to it, decoded: opcode, 0, operands. */
  readonly heard: unknown[][] = []

  constructor(node: Node, label: string, boot: string) {
    this.node = node
    this.label = label
    this.boot = boot
  }

  hear(_: string, __: Channel, bytes: Buffer): void {
    this.heard.push(decoded(bytes.subarray(4)))
  }

  /** A stamp so many ms from the server's wall clock. */
  hlc(afterMs = 0): number {
    return hlcOfWall(this.node.replica.wallMs + afterMs)
  }

  say(opcode: number, ...operands: readonly unknown[]): void {
    if (this.link === undefined) throw new Error(`${this.label} is not linked`)
    const bytes = frame(opcode, 0, ...operands)
    this.node.at()
    this.node.replicator.receive(this.link, bytes, 4, bytes.length)
    this.node.deliver()
  }

  batch(fromSeq: number, toSeq: number, records: readonly StrangeRecord[], watermark = 0): void {
    const hlc = Math.max(...records.map(([, , stamp]) => stamp), this.hlc(-1))
    const wired = records.map(wiredRecord)
    this.say(PeerOpcode.Batch, bytesOf(this.boot), fromSeq, toSeq, hlc, watermark, wired)
  }

  ack(seq: number, declined: readonly number[] = []): void {
    const own = bytesOf(this.node.replica.boot)
    this.say(PeerOpcode.Ack, own, seq, this.hlc(-1), 0, declined)
  }

  /** Asks for the stream from there on. */
  rewind(seq: number, boot: string = this.node.replica.boot): void {
    this.say(PeerOpcode.Rewind, bytesOf(boot), seq)
  }

  ping(
    vector: readonly (readonly [label: string, boot: string, hlc: number])[] = [],
    hlc = this.hlc(),
  ): void {
    const wired = vector.map(([label, boot, stamp]) => [label, bytesOf(boot), stamp])
    this.say(PeerOpcode.Ping, this.node.replica.wallMs, hlc, 0, bytesOf(this.boot), 0, 1, wired, [], [])
  }

  /** The messages with this opcode, without opcode and id; and they are forgotten. */
  take(opcode: number): unknown[][] {
    this.node.deliver()
    const found = this.heard.filter(([code]) => code === opcode).map((message) => message.slice(2))
    const others = this.heard.filter(([code]) => code !== opcode)
    this.heard.splice(0, this.heard.length, ...others)
    return found
  }
}

export function wiredRecord([kind, key, hlc, value, times = [0, 0], origin]: StrangeRecord): unknown[] {
  const flags = kind === RecordKind.Value ? 1 : 0
  const fields = [kind, key, hlc, flags, ...times, Buffer.from(value)]
  return origin === undefined ? fields : [...fields, bytesOf(origin)]
}

/** A boot id that a label stands for. */
export function bootOf(label: string): string {
  return Buffer.from(label.padEnd(8, '.')).subarray(0, 8).toString('hex')
}

export function bytesOf(boot: string): Buffer {
  return Buffer.from(boot, 'hex')
}

export function spanOf(content: string | Buffer): Span {
  const bytes = Buffer.from(content)
  return { bytes, at: 0, length: bytes.length }
}

function helloOf(node: Node): PeerHello {
  const writer = new Writer(1024)
  writeHello(writer, node.replicator.hello(Channel.Stream))
  const reader = new Reader()
  reader.open(writer.bytes, 4, writer.at)
  return readHello(reader)
}
