// A hostile peer: messages that are nearly right, spoilt ones and blind bytes, into a replicator and into a connection.
// Whatever comes, it is taken or it is a ProtocolError; nothing grows without bound, the store stays whole, no clock or
// watermark runs ahead, and an honest server that comes afterwards is served as if nothing had been.

import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../protocol/errors.ts'
import { MEMBERS_MAX } from '../../protocol/limits.ts'
import { PeerOpcode } from '../../protocol/messages.ts'
import type { Transport, TransportEvents } from '../../protocol/transport.ts'
import { hlcOfWall } from '../../server/clock.ts'
import { PeerConnection } from '../../server/peer-connection.ts'
import { PeerRefusal } from '../../server/replication/replicator.ts'
import { emptyHead, NO_SLOT, RecordKind, type Slot } from '../../server/store/store.ts'
import { frame } from '../helpers/frames.ts'
import { bootOf, bytesOf, type Node, STORES, type Stranger, World } from '../helpers/replicas.ts'
import { same } from '../server/store/alike.ts'
import { forEachSeed, type Random, seedRange } from '../server/store/random.ts'
import { chunked, mutated, randomBytes } from './mutations.ts'

const SEEDS = 8
const INPUTS_PER_SEED = 500
const SKEW_MS = 5000
const WINDOW_BYTES = 100_000
const BATCH_BYTES_MAX = 80_000
const BYTES_MAX = 4 << 20
/** The attackers: one that waits for rounds, one that begins them. */
const LABELS = ['a', 'z'] as const
const OPCODES = Object.values(PeerOpcode).filter((opcode) => opcode !== PeerOpcode.Hello)

function victim(world: World, store: (typeof STORES)[number]): Node {
  const options = {
    markerBytesMax: 2000,
    markerRetentionMs: 20_000,
    graceMs: 1000,
    windowBytes: WINDOW_BYTES,
    roundMs: 2000,
  }
  return world.add('m', { store, entriesMax: 60, bytesMax: BYTES_MAX, renewOnHit: true, options })
}

describe.each(STORES)('%s store', (store) => {
  test(`${INPUTS_PER_SEED} messages of a hostile peer a seed: ${seedRange(SEEDS)}`, () => {
    forEachSeed(SEEDS, (random) => {
      const world = new World()
      const node = victim(world, store)
      for (const label of LABELS) node.meet(label)
      for (let left = INPUTS_PER_SEED; left > 0; left--) {
        const stranger = linked(node, random.pick(LABELS))
        const message = plausible(stranger, random)
        offer(stranger, spoilt(message.subarray(4), random))
        live(world, node, random)
        check(node)
      }
      // The attack came far enough to be one.
      expect(node.counters.applied).toBeGreaterThan(50)
      serveHonestly(world, node)
    })
  }, 60_000)

  test(`streams of a hostile peer, HELLO and all, cut anywhere: ${seedRange(SEEDS)}`, () => {
    forEachSeed(SEEDS, (random) => {
      const world = new World()
      const node = victim(world, store)
      const told = new Set<string>()
      for (let left = INPUTS_PER_SEED / 5; left > 0; left--) {
        const scribe = linked(node, random.pick(LABELS))
        const messages = Array.from({ length: 1 + random.below(6) }, () => plausible(scribe, random))
        if (!random.oneIn(10)) messages.unshift(hello(scribe, random))
        const stream = Buffer.concat(messages)
        told.add(
          serve(node, scribe.label, chunked(random.oneIn(3) ? stream : mutated(stream, random), random)),
        )
        live(world, node, random)
        check(node)
      }
      // Both ends of what may happen were met: the test reaches behind HELLO.
      expect(told.has('open')).toBe(true)
      expect(told.size).toBeGreaterThan(1)
      serveHonestly(world, node)
    })
  }, 60_000)
})

/** As it is, spoilt in some places, or nothing that it ever was. */
function spoilt(payload: Buffer, random: Random): Buffer {
  if (!random.oneIn(6)) return payload
  return random.oneIn(12) ? randomBytes(random.below(60), random) : mutated(payload, random)
}

function linked(node: Node, label: string): Stranger {
  const known = node.peers.get(label)
  if (known !== undefined && 'heard' in known && known.link === node.replicator.link(label) && known.link)
    return known
  // It was removed, or did not get in: it restarts.
  const hello = node.helloFrom(label)
  for (let life = 0; ; life++) {
    const boot = life === 0 ? hello.boot : bootOf(`${label}${life}`)
    if (node.replica.members.isRemoved(boot)) continue
    const live = node.replicator.link(label)
    if (live !== undefined) node.replicator.linkDown(live)
    if (node.replica.members.isFull) forgetAll(node)
    return node.meet(label, { boot })
  }
}

/** One payload, as the driver would hand it over; a broken one ends the link. */
function offer({ node, link }: Stranger, payload: Buffer): void {
  if (link === undefined) throw new Error('there is no link')
  try {
    node.replicator.receive(link, payload, 0, payload.length)
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    if (node.replicator.link(link.member.label) === link) node.replicator.linkDown(link)
  }
}

/** A connection of its own from HELLO on; returns how it ended. Whatever is thrown at the transport is a failure. */
function serve(node: Node, label: string, chunks: readonly Buffer[]): string {
  const live = node.replicator.link(label)
  if (live !== undefined) node.replicator.linkDown(live)
  let events: TransportEvents | undefined
  const transport: Transport = {
    remote: 'hostile',
    unsentBytes: 0,
    open: (given) => {
      events = given
    },
    write: () => true,
    pause() {},
    resume() {},
    end() {},
    destroy() {},
  }
  let isRefused = false
  const connection = new PeerConnection(transport, undefined, undefined, {
    onReady: () => {},
    onHello: (self, said) => {
      try {
        self.link = node.replicator.linkUp(said)
        node.replicator.bulkUp(self.link)
      } catch (error) {
        if (!(error instanceof PeerRefusal)) throw error
        isRefused = true
        self.bye(error.code, error.message)
      }
    },
    onMessage: ({ link }, bytes, at, end) => {
      if (link !== undefined) node.replicator.receive(link, bytes, at, end)
    },
    onClosed: ({ link }) => {
      if (link !== undefined) node.replicator.linkDown(link)
    },
    now: () => 0,
  })
  connection.open()
  for (const chunk of chunks) events?.onChunk(chunk)
  return isRefused ? 'refused' : connection.isClosed ? 'closed' : 'open'
}

/** What else goes on in a server meanwhile. */
function live(world: World, node: Node, random: Random): void {
  node.at()
  if (random.oneIn(3)) node.set(key(random), 'x'.repeat(random.below(300)), random.pick([0, 500, 60_000]))
  if (random.oneIn(8)) node.delete(key(random))
  if (random.oneIn(3)) node.get(key(random))
  if (random.oneIn(200)) node.clear()
  world.wallMs += random.pick([0, 1, 50, 200])
  world.monoMs += random.pick([0, 1, 50, 200])
  if (random.oneIn(2)) node.tick()
  node.replicator.pump()
  node.replicator.work(1 + random.below(100))
}

/** What must be true whatever came. */
function check(node: Node): void {
  const { store, replica } = node
  const sentBytes = node.outbox.reduce((sum, { bytes }) => sum + bytes.length, 0)
  // A REWIND has the window sent again, on each of the two links, and not more.
  expect(sentBytes).toBeLessThanOrEqual(8 * (WINDOW_BYTES + BATCH_BYTES_MAX))
  node.deliver()
  for (const peer of node.peers.values()) if ('heard' in peer) peer.heard.splice(0, peer.heard.length - 20)

  const { entries, ghosts, tombstones, usedBytes } = store.stats()
  expect(usedBytes).toBeLessThanOrEqual(BYTES_MAX)
  expect(entries).toBeLessThanOrEqual(60)
  const head = emptyHead()
  let records = 0
  let lastSeq = 0
  for (let slot = store.next(0); slot !== NO_SLOT; slot = store.next(lastSeq)) {
    store.head(slot, head)
    same(head.seq > lastSeq, true)
    lastSeq = head.seq
    records++
    // Its origin is in the table, and it is found under its key.
    replica.origins.idOf(head.origin)
    const bytes = Buffer.alloc(head.keyBytes)
    store.copyKey(slot, bytes, 0)
    const span = { bytes, at: 0, length: bytes.length }
    const found: Slot = store.find(store.hash(span), span)
    same(found === slot || head.hlc <= replica.watermark, true)
  }
  // Flushed ones are purged in slices.
  expect(records).toBeLessThanOrEqual(entries + ghosts + tombstones)

  const highest = hlcOfWall(replica.wallMs + SKEW_MS + 1)
  for (const stamp of [replica.watermark, replica.horizon, replica.comingHorizon])
    expect(stamp).toBeLessThan(highest)
  expect(replica.members.size).toBeLessThanOrEqual(MEMBERS_MAX)
  expect(replica.members.removed().length).toBeLessThanOrEqual(MEMBERS_MAX)
  for (const { vector, gap } of replica.members) {
    expect(vector.size).toBeLessThanOrEqual(MEMBERS_MAX)
    expect(gap).toBeLessThan(highest)
  }
  for (const { inFlightBytes, inFlight } of node.replicator.links) {
    expect(inFlightBytes).toBeLessThanOrEqual(WINDOW_BYTES + BATCH_BYTES_MAX)
    expect(inFlight.length).toBeLessThan(1000)
  }
}

function forgetAll(node: Node): void {
  for (const { label } of [...node.replica.members]) node.replicator.remove(label)
}

/** The attackers are shown the door; whoever comes then gets everything, and gives. */
function serveHonestly(world: World, node: Node): void {
  for (const link of [...node.replicator.links]) node.replicator.linkDown(link)
  forgetAll(node)
  node.outbox = []
  node.peers.clear()
  node.unsentBytes = 0
  world.wallMs += SKEW_MS
  world.monoMs += SKEW_MS
  const honest = world.add('honest', { entriesMax: 1000, bytesMax: 16 << 20 })
  world.link(node, honest)
  world.pass(1500)
  node.set('from the victim', '1')
  honest.set('from the honest', '2')
  world.pass(500)
  expect([node.get('from the honest'), honest.get('from the victim')]).toEqual(['2', '1'])
  const head = emptyHead()
  for (let slot = node.store.next(0); slot !== NO_SLOT; slot = node.store.next(head.seq)) {
    node.store.head(slot, head)
    if (head.kind !== RecordKind.Value || head.expiresAtMs !== 0 || head.hlc <= node.replica.watermark)
      continue
    const bytes = Buffer.alloc(head.keyBytes)
    node.store.copyKey(slot, bytes, 0)
    const span = { bytes, at: 0, length: bytes.length }
    expect(honest.store.find(honest.store.hash(span), span), `${bytes}`).not.toBe(NO_SLOT)
  }
}

// Messages that are nearly right.

function plausible(stranger: Stranger, random: Random): Buffer {
  const any = OPCODES[random.below(OPCODES.length)] ?? PeerOpcode.Ping
  const opcode = random.oneIn(2) ? any : (answerTo(stranger, random) ?? any)
  return frame(opcode, 0, ...operandsOf(opcode, stranger, random))
}

function operandsOf(opcode: number, stranger: Stranger, random: Random): unknown[] {
  const { node } = stranger
  const theirs = bytesOf(stranger.boot)
  const ours = bytesOf(node.replica.boot)
  const hlc = stamp(stranger, random)
  const watermark = random.oneIn(150) ? stamp(stranger, random) : 0
  const id = roundId(stranger, random)
  switch (opcode) {
    case PeerOpcode.Batch: {
      const from = random.oneIn(4) ? seq(node, random) : (stranger.link?.member.receivedSeq ?? 0)
      return [theirs, from, from + random.below(5), hlc, watermark, records(stranger, random)]
    }
    case PeerOpcode.Ack:
      return [ours, seq(node, random), hlc, watermark, list(random, 4, () => random.below(10))]
    case PeerOpcode.Rewind:
      return [ours, seq(node, random)]
    case PeerOpcode.Ping:
      return [
        ...[node.replica.wallMs, hlc, watermark, theirs, seq(node, random), 1],
        list(random, 4, () => [name(random), bytesOf(bootOf(name(random))), stamp(stranger, random)]),
        ...lists(random),
      ]
    case PeerOpcode.Pong:
      return [random.below(1000), node.replica.wallMs]
    case PeerOpcode.Refused:
    case PeerOpcode.Bye:
      return ['skew', 'for no reason', ...(random.oneIn(2) ? [] : [name(random)])]
    case PeerOpcode.Extend:
      return [
        list(random, 5, () => {
          const known = key(random)
          const seen = node.see(known)
          const boot = bytesOf(seen?.boot ?? stranger.boot)
          return [
            known,
            seen?.hlc ?? hlc,
            boot,
            random.pick([0, node.replica.wallMs + random.below(10_000), 2 ** 50]),
          ]
        }),
      ]
    case PeerOpcode.RoundOpen: {
      const bits = random.below(random.oneIn(9) ? 14 : 6)
      const digests = random.oneIn(2)
        ? Buffer.alloc(0)
        : randomBytes(random.oneIn(5) ? 16 : 8 << Math.min(bits, 8), random)
      const gap = random.oneIn(3) ? stamp(stranger, random) : 0
      return [id, random.oneIn(2), gap, hlc, watermark, randomBytes(16, random), bits, digests]
    }
    case PeerOpcode.RoundAnswer:
      return [
        ...[id, random.below(3), random.oneIn(3) ? stamp(stranger, random) : 0, hlc, watermark],
        list(random, 8, () => random.below(random.oneIn(4) ? 5000 : 8)),
      ]
    case PeerOpcode.RoundList:
      return [id, random.oneIn(2), entries(stranger, random)]
    case PeerOpcode.RoundRecords:
      return [id, hlc, watermark, records(stranger, random)]
    case PeerOpcode.RoundAsk:
      return [id, list(random, 8, () => random.below(10))]
    case PeerOpcode.RoundWant:
    case PeerOpcode.RoundPurge:
      return [id, list(random, 8, () => seq(node, random))]
    default:
      return [id]
  }
}

function hello(stranger: Stranger, random: Random): Buffer {
  const boot = random.oneIn(8) ? randomBytes(8, random) : bytesOf(stranger.boot)
  const { wallMs } = stranger.node.replica
  return frame(
    ...[PeerOpcode.Hello, 0, 1, 1 + random.below(3), 0, random.oneIn(15) ? 'other' : 'default'],
    ...[random.oneIn(15) ? name(random) : stranger.label, 'here', boot, random.below(2), wallMs],
    ...[stamp(stranger, random), 0, random.oneIn(2) ? null : name(random), 0, ...lists(random)],
  )
}

/** Members and removed servers, as HELLO and PING name them. */
function lists(random: Random): unknown[] {
  return [
    list(random, 4, () => [name(random), random.oneIn(2) ? null : name(random), null, random.below(1000)]),
    random.oneIn(40) ? list(random, 2, () => [name(random), bytesOf(bootOf(name(random)))]) : [],
  ]
}

function records(stranger: Stranger, random: Random): unknown[] {
  return list(random, 6, () => {
    const kind = random.below(random.oneIn(20) ? 5 : 3)
    const value =
      kind === RecordKind.Value ? randomBytes(random.below(random.oneIn(20) ? 20_000 : 200), random) : ''
    const expiresAtMs = random.oneIn(3) ? stranger.node.replica.wallMs + random.below(5000) - 500 : 0
    const fields = [
      kind,
      key(random),
      stamp(stranger, random),
      random.below(4),
      expiresAtMs,
      expiresAtMs && 5000,
      value,
    ]
    return random.oneIn(3)
      ? [...fields, random.oneIn(3) ? randomBytes(8, random) : bytesOf(bootOf(name(random)))]
      : fields
  })
}

function stamp(stranger: Stranger, random: Random): number {
  if (random.oneIn(150)) return random.pick([0, 1, 2 ** 53 - 1, stranger.hlc(SKEW_MS + 1), stranger.hlc(1e9)])
  return stranger.hlc(random.below(3000) - 2000) + random.below(3)
}

function seq(node: Node, random: Random): number {
  return random.pick([0, 1, node.store.tailSeq, node.store.tailSeq + 1, random.below(50), 2 ** 53 - 1])
}

/** What an honest server might say to the last thing that it heard: only so does one come far. */
function answerTo({ heard }: Stranger, random: Random): number | undefined {
  for (let at = heard.length - 1; at >= 0; at--)
    switch (heard[at]?.[0]) {
      case PeerOpcode.Rewind:
        return PeerOpcode.Batch
      case PeerOpcode.Batch:
        return PeerOpcode.Ack
      case PeerOpcode.RoundOpen:
        return PeerOpcode.RoundAnswer
      case PeerOpcode.RoundAnswer:
        return PeerOpcode.RoundAsk
      case PeerOpcode.RoundAsk:
        return PeerOpcode.RoundList
      case PeerOpcode.RoundList:
        return random.pick([
          PeerOpcode.RoundWant,
          PeerOpcode.RoundPurge,
          PeerOpcode.RoundRecords,
          PeerOpcode.RoundTurn,
        ])
      case PeerOpcode.RoundRecords:
      case PeerOpcode.RoundTurn:
        return random.pick([PeerOpcode.RoundTurn, PeerOpcode.RoundClose, PeerOpcode.RoundRecords])
      case PeerOpcode.RoundClose:
        return random.pick([PeerOpcode.RoundClose, PeerOpcode.RoundOpen])
    }
  return undefined
}

/** Entries of a list: hash, stamp, boot, kind and place. */
function entries(stranger: Stranger, random: Random): Buffer {
  const bytes = randomBytes(32 * random.below(4), random)
  for (let at = 0; at < bytes.length; at += 32) {
    bytes.writeDoubleBE(random.oneIn(9) ? Number.NaN : random.below(2 ** 32) * 2 ** 21, at)
    bytes.writeDoubleBE(random.oneIn(9) ? -1 : stamp(stranger, random), at + 8)
    bytes.writeUInt32BE(random.below(random.oneIn(9) ? 4 : 3) << 16, at + 24)
    bytes.writeUInt32BE(random.below(100), at + 28)
  }
  return bytes
}

/** Of a round that is under way, as far as one can know. */
function roundId(stranger: Stranger, random: Random): number {
  const opened = stranger.heard.findLast(
    ([opcode]) => opcode === PeerOpcode.RoundOpen || opcode === PeerOpcode.RoundAnswer,
  )?.[2]
  return typeof opened === 'number' && !random.oneIn(3) ? opened : 1 + random.below(2)
}

function key(random: Random): string {
  return `k${random.below(100)}`
}

function name(random: Random): string {
  return random.pick(['a', 'm', 'z', 'm1', 'host:1', '', `n${random.below(5)}`])
}

function list<T>(random: Random, most: number, item: () => T): T[] {
  return Array.from({ length: random.below(most + 1) }, item)
}
