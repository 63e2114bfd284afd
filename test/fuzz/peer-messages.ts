// Messages between servers as a hostile one might make them: nearly right, with stamps, sequence numbers and rounds that
// could be, since what is wrong everywhere is refused at once and reaches nothing.
//
// Between the peer state, which says who speaks and what it has heard, and items.ts.

import { BOOT_ID_BYTES } from '../../protocol/limits.ts'
import { PeerOpcode } from '../../protocol/messages.ts'
import { hlcOfWall } from '../../server/clock.ts'
import { Channel } from '../../server/replication/peer-messages.ts'
import type { Replicator } from '../../server/replication/replicator.ts'
import { emptyHead, NO_SLOT, RecordKind } from '../../server/store/store.ts'
import { bootOf, bytesOf } from '../helpers/replicas.ts'
import type { Random } from '../server/store/random.ts'
import type { Item } from './items.ts'
import { randomBytes } from './mutations.ts'

/** Who speaks, to whom, and what it has been told: each message decoded. */
export interface Speaker {
  readonly label: string
  readonly boot: string
  readonly victim: Replicator
  readonly heard: readonly unknown[][]
}

const OPCODES = Object.values(PeerOpcode).filter((opcode) => opcode !== PeerOpcode.Hello)
const SKEW_MS_MAX = 5000

export function hello(speaker: Speaker, channel: Channel, random: Random): Item[] {
  const { wallMs } = speaker.victim.replica
  const boot = random.oneIn(12) ? randomBytes(BOOT_ID_BYTES, random) : bytesOf(speaker.boot)
  return [
    ...[PeerOpcode.Hello, 0, 1, 1 + random.below(3), 0, random.oneIn(25) ? 'other' : 'default'],
    ...[random.oneIn(25) ? name(random) : speaker.label, 'here', boot],
    ...[random.oneIn(15) ? random.below(3) : channel, wallMs, stamp(speaker, random), 0],
    ...[random.oneIn(2) ? null : address(random), random.below(5000), ...lists(random)],
  ]
}

/** One message but HELLO: often what an honest server might say to the last thing that it heard. */
export function peerMessage(speaker: Speaker, random: Random): Item[] {
  const any = OPCODES[random.below(OPCODES.length)] ?? PeerOpcode.Ping
  // What ends the connection, seldom: behind it is silence.
  const rare = any === PeerOpcode.Bye && !random.oneIn(8) ? PeerOpcode.Batch : any
  const opcode = random.oneIn(2) ? rare : (answerTo(speaker, random) ?? rare)
  return [opcode, random.oneIn(100) ? 1 : 0, ...operandsOf(opcode, speaker, random)]
}

/** Whether a message belongs on the bulk connection. */
export function isBulk(message: readonly Item[]): boolean {
  const [opcode] = message
  return typeof opcode === 'number' && opcode >= PeerOpcode.RoundOpen
}

function operandsOf(opcode: PeerOpcode, speaker: Speaker, random: Random): Item[] {
  const { victim } = speaker
  const { replica } = victim
  const theirs = bytesOf(speaker.boot)
  const ours = bytesOf(replica.boot)
  const hlc = stamp(speaker, random)
  const watermark = random.oneIn(150) ? stamp(speaker, random) : 0
  const id = roundId(speaker, random)
  switch (opcode) {
    case PeerOpcode.Hello:
      return hello(speaker, Channel.Stream, random).slice(2)
    case PeerOpcode.Batch: {
      const received = victim.link(speaker.label)?.member.receivedSeq ?? 0
      const from = random.oneIn(4) ? seq(speaker, random) : received
      return [theirs, from, from + random.below(5), hlc, watermark, records(speaker, random)]
    }
    case PeerOpcode.Ack:
      return [ours, seq(speaker, random), hlc, watermark, list(random, 4, () => random.below(10))]
    case PeerOpcode.Rewind:
      return [ours, seq(speaker, random)]
    case PeerOpcode.Ping:
      return [
        ...[replica.wallMs, hlc, watermark, theirs, seq(speaker, random), 1],
        list(random, 4, () => [name(random), bytesOf(bootOf(name(random))), stamp(speaker, random)]),
        ...lists(random),
      ]
    case PeerOpcode.Pong:
      return [random.below(1000), replica.wallMs]
    case PeerOpcode.Refused:
    case PeerOpcode.Bye:
      return [
        random.pick(['skew', 'self', 'duplicate', 'x']),
        'no reason',
        ...(random.oneIn(2) ? [] : [name(random)]),
      ]
    case PeerOpcode.Extend:
      return [list(random, 5, () => extension(speaker, hlc, random))]
    case PeerOpcode.RoundOpen: {
      const bits = random.below(random.oneIn(9) ? 14 : 6)
      const digests = random.oneIn(2)
        ? Buffer.alloc(0)
        : randomBytes(random.oneIn(5) ? 16 : 8 << Math.min(bits, 8), random)
      const gap = random.oneIn(3) ? stamp(speaker, random) : 0
      return [id, random.oneIn(2), gap, hlc, watermark, randomBytes(16, random), bits, digests]
    }
    case PeerOpcode.RoundAnswer:
      return [
        ...[id, random.below(3), random.oneIn(3) ? stamp(speaker, random) : 0, hlc, watermark],
        list(random, 8, () => random.below(random.oneIn(4) ? 5000 : 8)),
      ]
    case PeerOpcode.RoundList:
      return [id, random.oneIn(2), entries(speaker, random)]
    case PeerOpcode.RoundRecords:
      return [id, hlc, watermark, records(speaker, random)]
    case PeerOpcode.RoundAsk:
      return [id, list(random, 8, () => random.below(10))]
    case PeerOpcode.RoundWant:
    case PeerOpcode.RoundPurge:
      return [id, list(random, 8, () => seq(speaker, random))]
    case PeerOpcode.RoundTurn:
    case PeerOpcode.RoundClose:
    case PeerOpcode.RoundBusy:
      return [id]
  }
}

/** What an honest server might say to the last thing that it heard: only so does one come far. */
function answerTo({ heard }: Speaker, random: Random): PeerOpcode | undefined {
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
        return random.pick<PeerOpcode>([
          PeerOpcode.RoundWant,
          PeerOpcode.RoundPurge,
          PeerOpcode.RoundRecords,
          PeerOpcode.RoundTurn,
        ])
      case PeerOpcode.RoundRecords:
      case PeerOpcode.RoundTurn:
        return random.pick<PeerOpcode>([PeerOpcode.RoundTurn, PeerOpcode.RoundClose, PeerOpcode.RoundRecords])
      case PeerOpcode.RoundClose:
        return random.pick<PeerOpcode>([PeerOpcode.RoundClose, PeerOpcode.RoundOpen])
    }
  return undefined
}

/** Members and removed servers, as HELLO and PING name them. */
function lists(random: Random): Item[] {
  return [
    list(random, 4, () => {
      const boot = random.oneIn(2) ? null : bytesOf(bootOf(name(random)))
      return [name(random), random.oneIn(2) ? null : address(random), boot, random.below(1000)]
    }),
    random.oneIn(40) ? list(random, 2, () => [name(random), bytesOf(bootOf(name(random)))]) : [],
  ]
}

function records(speaker: Speaker, random: Random): Item {
  return list(random, 6, () => {
    const kind = random.below(random.oneIn(80) ? 5 : 3)
    const value =
      kind === RecordKind.Value ? randomBytes(random.below(random.oneIn(30) ? 9000 : 60), random) : ''
    const expiresAtMs = random.oneIn(3) ? speaker.victim.replica.wallMs + random.below(5000) - 500 : 0
    const fields: Item[] = [
      ...[kind, key(random), stamp(speaker, random), random.below(4)],
      ...[expiresAtMs, expiresAtMs && 5000, value],
    ]
    if (!random.oneIn(3)) return fields
    fields.push(random.oneIn(3) ? randomBytes(BOOT_ID_BYTES, random) : bytesOf(bootOf(name(random))))
    return fields
  })
}

const head = emptyHead()

/** Of a value that is there, if there is one. */
function extension({ victim, boot }: Speaker, hlc: number, random: Random): Item {
  const { store, origins, wallMs } = victim.replica
  const bytes = Buffer.from(key(random))
  const span = { bytes, at: 0, length: bytes.length }
  const slot = store.find(store.hash(span), span)
  const until = random.pick([0, wallMs + random.below(10_000), 2 ** 50])
  if (slot === NO_SLOT) return [bytes, hlc, bytesOf(boot), until]
  store.head(slot, head)
  return [bytes, head.hlc, bytesOf(origins.idOf(head.origin)), until]
}

/** Entries of a list: hash, stamp, boot, kind and place. */
function entries(speaker: Speaker, random: Random): Buffer {
  const bytes = randomBytes(32 * random.below(4), random)
  for (let at = 0; at < bytes.length; at += 32) {
    bytes.writeDoubleBE(random.oneIn(9) ? Number.NaN : random.below(2 ** 32) * 2 ** 21, at)
    bytes.writeDoubleBE(random.oneIn(9) ? -1 : stamp(speaker, random), at + 8)
    bytes.writeUInt32BE(random.below(random.oneIn(9) ? 4 : 3) << 16, at + 24)
    bytes.writeUInt32BE(random.below(100), at + 28)
  }
  return bytes
}

/** Of a round that is under way, as far as one can know. */
function roundId({ heard }: Speaker, random: Random): number {
  const opened = heard.findLast(
    ([opcode]) => opcode === PeerOpcode.RoundOpen || opcode === PeerOpcode.RoundAnswer,
  )?.[2]
  return typeof opened === 'number' && !random.oneIn(3) ? opened : 1 + random.below(2)
}

function stamp({ victim }: Speaker, random: Random): number {
  const { wallMs } = victim.replica
  if (random.oneIn(150))
    return random.pick([0, 1, 2 ** 53 - 1, hlcOfWall(wallMs + SKEW_MS_MAX + 1), hlcOfWall(wallMs + 1e9)])
  return hlcOfWall(wallMs + random.below(3000) - 2000) + random.below(3)
}

function seq({ victim }: Speaker, random: Random): number {
  const { tailSeq } = victim.replica.store
  return random.pick([0, 1, tailSeq, tailSeq + 1, random.below(50), 2 ** 53 - 1])
}

function key(random: Random): string {
  return `k${random.below(100)}`
}

function name(random: Random): string {
  return random.pick(['a', 'm', 'z', 'm1', 'host:1', '', `n${random.below(5)}`])
}

/** Where somebody may listen, or says so. */
function address(random: Random): string {
  return random.pick([
    '10.0.0.9:11142',
    '*:11142',
    '*:99999',
    '[::1]:1',
    'x',
    '',
    ':',
    `10.0.0.${random.below(9)}:7`,
  ])
}

function list(random: Random, most: number, item: () => Item): Item[] {
  return Array.from({ length: random.below(most + 1) }, item)
}
