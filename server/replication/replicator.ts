// The replication core, put together: links and messages come in, frames and facts go out. Rules in docs/replication.md.
//
// Between a driver (server/mesh.ts, or the simulation), which has sockets, timers and clocks, and the store. No I/O, no
// timers, no clock and no randomness of its own: `at` hands in both clocks before each call, effects carry out the rest.
//
//   driver: linkUp, receive, linkDown, pump (after writes), tick (every 50 ms or so), work (when there is time)

import { ProtocolError } from '../../protocol/errors.ts'
import { FRAME_HEADER_BYTES, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN } from '../../protocol/limits.ts'
import { PeerOpcode, Status } from '../../protocol/messages.ts'
import { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import type { BootId } from '../origins.ts'
import { Origins } from '../origins.ts'
import type { Slot } from '../store/store.ts'
import type { OnAcks, Writes } from '../writes.ts'
import { Acks } from './acks.ts'
import { checkHello, PeerRefusal } from './admission.ts'
import type { ReplicationEffects, ReplicatorSetup } from './effects.ts'
import { Extensions } from './extensions.ts'
import { Forgetting } from './forgetting.ts'
import { Knowledge } from './knowledge.ts'
import { LinkState } from './link-state.ts'
import { Members } from './members.ts'
import { Merger } from './merge.ts'
import { beginBoot } from './new-boot.ts'
import { keyAt, ownSeqOf } from './own-records.ts'
import {
  Channel,
  type PeerHello,
  type PeerPing,
  readPing,
  readPong,
  readReason,
  writeReason,
} from './peer-messages.ts'
import { Pings } from './pings.ts'
import { type Replica, ReplicationCounters } from './replica.ts'
import { isRoundOpcode, Rounds } from './rounds.ts'
import { Stamps } from './stamps.ts'
import { readAck, readBatchHead, readRewind, Stream } from './stream.ts'

export { PeerRefusal, type RefusalCode } from './admission.ts'
export type { ReplicationEffects, ReplicationEvent, ReplicatorSetup } from './effects.ts'

export class Replicator implements Writes {
  readonly replica: Replica
  readonly acks: Acks
  readonly forgetting: Forgetting
  readonly #setup: ReplicatorSetup
  readonly #effects: ReplicationEffects
  readonly #knowledge: Knowledge
  readonly #merger: Merger
  readonly #stream: Stream
  readonly #rounds: Rounds
  readonly #extensions: Extensions
  readonly #links = new Map<string, LinkState>()
  readonly #reader = new Reader()
  readonly #checker = new Reader()
  readonly #stamps: Stamps
  readonly #pings: Pings
  readonly #writer = new Writer(4096)
  /** Own listening address, once it is known. */
  address: string | undefined

  constructor(setup: ReplicatorSetup) {
    const { store, clock, boot, label, options, effects, valueBytesMax = Number.POSITIVE_INFINITY } = setup
    this.#setup = setup
    this.#effects = effects
    const replica: Replica = {
      store,
      clock,
      origins: new Origins(boot),
      members: new Members(label, options.memberForgetMs),
      options,
      counters: new ReplicationCounters(),
      valueBytesMax,
      boot,
      label,
      horizon: 0,
      declinedHlc: 0,
      comingHorizon: 0,
      watermark: 0,
      wallMs: 0,
      monoMs: 0,
    }
    this.replica = replica
    this.acks = new Acks((key) => ownSeqOf(replica, key))
    this.#knowledge = new Knowledge(replica)
    this.forgetting = new Forgetting(replica, this.#knowledge)
    this.#merger = new Merger(replica, this.forgetting)
    const send = (link: LinkState, channel: Channel, bytes: Uint8Array) => this.#send(link, channel, bytes)
    this.#pings = new Pings(replica, send, (label) => this.#links.get(label))
    this.#stamps = new Stamps(replica, send, (link, aheadMs, reason) => {
      this.#rounds.abort(link)
      effects.event('clock skew', { peer: link.member.label, aheadMs, reason })
    })
    this.#stream = new Stream(replica, this.#merger, this.acks, send)
    this.#extensions = new Extensions(replica, this.#merger, send)
    this.#rounds = new Rounds(replica, this.#knowledge, this.forgetting, this.#merger, {
      send,
      unsentBytes: (link) => effects.unsentBytes(link),
      random: () => effects.random(),
      onRound: (link, full) => effects.event('round started', { peer: link.member.label, full }),
      onRoundEnd: (link, full) => effects.event('round ended', { peer: link.member.label, full }),
    })
    store.retention = this.forgetting
  }

  /** The time of day and monotonic time of everything until it is called again, in ms. */
  at(wallMs: number, monoMs: number): void {
    this.replica.wallMs = wallMs
    this.replica.monoMs = monoMs
  }

  /** What this server is called; before the first link, since a default depends on the port. */
  rename(label: string): void {
    this.replica.label = label
    this.replica.members.ownLabel = label
  }

  get links(): Iterable<LinkState> {
    return this.#links.values()
  }

  link(label: string): LinkState | undefined {
    return this.#links.get(label)
  }

  // Links.

  /** What to say first on a connection. */
  hello(channel: Channel): PeerHello {
    const { replica } = this
    const { cluster, region } = this.#setup
    const { label } = replica
    return {
      versionMin: PROTOCOL_VERSION_MIN,
      versionMax: PROTOCOL_VERSION_MAX,
      capabilities: 0,
      cluster,
      label,
      region,
      boot: replica.boot,
      channel,
      wallMs: replica.wallMs,
      hlc: replica.clock.last,
      watermark: replica.watermark,
      address: this.address,
      usedBytes: replica.store.stats().usedBytes,
      news: replica.members.news(replica.monoMs),
      removed: replica.members.removed(),
    }
  }

  /** Throws PeerRefusal if the sender of this HELLO is not to be let in. Changes nothing. */
  check(hello: PeerHello): void {
    checkHello(hello, this.replica, this.#setup.cluster, this.#links.get(hello.label))
  }

  /**
   * The stream connection to the sender of this HELLO is up. `dialed`: the listed address it was reached at. `onMade` hears
   * of the link before anything is sent on it. Throws PeerRefusal. A former link to it is over.
   */
  linkUp(hello: PeerHello, dialed?: string, onMade: (link: LinkState) => void = () => {}): LinkState {
    this.check(hello)
    const { replica } = this
    const { members, monoMs } = replica
    for (const address of [dialed, hello.address])
      if (address !== undefined) this.reached(address, hello.label)
    this.#hearRemoved(hello.removed)
    const member = members.admit(hello.label, monoMs)
    if (member === undefined) throw new PeerRefusal('members', `${hello.label} is one member too many`)
    const former = this.#links.get(hello.label)
    if (former !== undefined) this.linkDown(former)
    member.seenMs = monoMs
    member.region = hello.region
    member.address = hello.address ?? dialed ?? member.address
    members.begin(member, hello.boot, replica.horizon)
    const link = new LinkState(member, hello.boot, member.acked)
    link.pingDueMs = monoMs
    link.skewMs = hello.wallMs - replica.wallMs
    this.#links.set(member.label, link)
    // Before anything is sent on it.
    onMade(link)
    this.#hear(hello.news)
    if (this.#stamps.mayTake(link, hello.hlc, hello.watermark)) this.#stream.begin(link)
    return link
  }

  /** A listed address turned out to be the member with this label, or this server itself. */
  reached(address: string, label: string): void {
    if (address !== label) this.replica.members.resolve(address)
  }

  /** A listed address that was not reached yet counts as a member that knows nothing. */
  expect(address: string): void {
    const { members, monoMs } = this.replica
    for (const member of members) if (member.address === address || member.label === address) return
    const member = members.admit(address, monoMs)
    if (member !== undefined) member.address = address
  }

  /** The bulk connection of a link is up. */
  bulkUp(link: LinkState): void {
    link.bulk = true
    this.#rounds.open(link)
  }

  bulkDown(link: LinkState): void {
    link.bulk = false
    this.#rounds.close(link)
  }

  linkDown(link: LinkState): void {
    this.bulkDown(link)
    if (this.#links.get(link.member.label) === link) this.#links.delete(link.member.label)
  }

  // Messages.

  /** A frame's payload from the other end of a link; lent. Throws ProtocolError if it cannot be read. */
  receive(link: LinkState, bytes: Uint8Array, at: number, end: number): void {
    const { replica } = this
    const reader = this.#reader
    reader.open(bytes, at, end)
    link.receivedBytes += FRAME_HEADER_BYTES + end - at
    link.member.seenMs = replica.monoMs
    const opcode = reader.head
    if (opcode === PeerOpcode.Batch) this.#onBatch(link, reader, bytes, at, end)
    else if (opcode === PeerOpcode.Ack) {
      const ack = readAck(reader)
      if (ack.boot === replica.boot && this.#stamps.mayTake(link, ack.hlc, ack.watermark)) {
        this.#stream.acknowledged(link, ack.seq, ack.declined)
        this.#stream.pump(link)
      }
    } else if (opcode === PeerOpcode.Rewind) {
      const { boot, seq } = readRewind(reader)
      if (boot === replica.boot) this.#stream.rewound(link, seq)
      this.#stream.pump(link)
    } else if (opcode === PeerOpcode.Ping) this.#onPing(link, readPing(reader))
    else if (opcode === PeerOpcode.Pong) {
      const { stamp, wallMs } = readPong(reader)
      link.roundTripMs = Math.max(0, replica.monoMs - stamp)
      link.skewMs = wallMs + link.roundTripMs / 2 - replica.wallMs
      if (Math.abs(link.skewMs) > replica.options.skewMsWarn)
        this.#effects.event('clocks apart', { peer: link.member.label, skewMs: Math.round(link.skewMs) })
    } else if (opcode === PeerOpcode.Refused) this.#onRefused(link, reader)
    else if (opcode === PeerOpcode.Extend) {
      if (link.refusedUntilMs === 0) this.#extensions.receive(reader)
    } else if (isRoundOpcode(opcode)) this.#onRound(link, opcode, reader, bytes, at, end)
    else throw new ProtocolError(Status.UnknownOpcode, `there is no message ${opcode} between servers`)
  }

  #onBatch(link: LinkState, reader: Reader, bytes: Uint8Array, at: number, end: number): void {
    const batch = readBatchHead(reader)
    if (batch.boot !== link.boot) return
    // Looked through before any of it takes effect.
    const checker = this.#checker
    checker.open(bytes, at, end)
    const head = readBatchHead(checker)
    if (!this.#stamps.mayTakeRecords(link, checker, head.count)) return
    if (!this.#stamps.mayTake(link, batch.hlc, batch.watermark)) return
    this.#stream.receive(link, batch, reader)
  }

  #onRound(
    link: LinkState,
    opcode: number,
    reader: Reader,
    bytes: Uint8Array,
    at: number,
    end: number,
  ): void {
    const checker = this.#checker
    checker.open(bytes, at, end)
    if (opcode === PeerOpcode.RoundOpen || opcode === PeerOpcode.RoundAnswer) {
      // id, full or verdict
      for (let skipped = 0; skipped < 2; skipped++) checker.skip(0)
      // A gap is a stamp too: a horizon rises to it.
      const gap = checker.uint()
      if (!this.#stamps.mayTake(link, Math.max(gap, checker.uint()), checker.uint())) return
    } else if (opcode === PeerOpcode.RoundRecords) {
      checker.skip(0)
      const hlc = checker.uint()
      const watermark = checker.uint()
      if (!this.#stamps.mayTakeRecords(link, checker, checker.array())) return
      if (!this.#stamps.mayTake(link, hlc, watermark)) return
    }
    this.#rounds.receive(link, opcode, reader)
  }

  /** Nothing of what was sent was applied: PING alone, until it is time to try again. */
  #onRefused(link: LinkState, reader: Reader): void {
    const { code, text } = readReason(reader)
    const { monoMs, options } = this.replica
    if (link.refusedUntilMs === 0)
      this.#effects.event('refused by peer', { peer: link.member.label, code, reason: text })
    link.refusedUntilMs = monoMs + options.refusedRetryMs
    link.refusedReason = text
    link.rewind(link.member.acked)
    this.#rounds.abort(link)
  }

  /** What the other end refused may have been an acknowledgement too: it hears anew how far this server has come. */
  #retry(link: LinkState): void {
    link.refusedUntilMs = 0
    this.#stream.begin(link)
  }

  #onPing(link: LinkState, ping: PeerPing): void {
    this.#pings.pong(link, ping)
    if (ping.boot !== link.boot) return
    link.skewMs = ping.wallMs + link.roundTripMs / 2 - this.replica.wallMs
    this.#hearRemoved(ping.removed)
    this.#hear(ping.news)
    if (!this.#stamps.mayTake(link, ping.hlc, ping.watermark)) return
    // Its HELLO was refused, for a clock that has been set right since.
    if (!link.hasAsked) this.#stream.begin(link)
    link.member.vector = ping.vector
  }

  // What this server does by itself.

  get mustMark(): boolean {
    return this.forgetting.mustMark
  }

  get markerFlags(): number {
    return this.forgetting.markerFlags
  }

  /** Everything stamped until now is gone, here and, as they hear of it, everywhere. */
  flush(nowMs: number): void {
    this.#stamps.raiseWatermark(this.replica.clock.tick(nowMs))
  }

  awaitAcks(wanted: number, timeoutMs: number, done: OnAcks): number {
    const { members, store, monoMs } = this.replica
    // More than there are would only wait for the time to be over.
    const awaited = Math.min(wanted, members.size)
    if (awaited > 0) {
      const key = keyAt(store, store.next(store.tailSeq - 1))
      this.acks.wait(store.tailSeq, key, awaited, monoMs + timeoutMs, done)
    }
    return awaited
  }

  /** A value was renewed because it was read. */
  extended(slot: Slot, formerExpiresAtMs: number): void {
    if (this.#links.size > 0) this.#extensions.add(slot, formerExpiresAtMs)
  }

  /** Sends what was written since. True if there is more to look through than fits into one call. */
  pump(): boolean {
    const { store, options, watermark } = this.replica
    let more = false
    // Between two ticks evictions may make ghosts faster than the budget allows.
    if (store.markerBytes > options.markerBytesMax) this.forgetting.enforceBudget()
    this.#extensions.flush(this.#links.values())
    for (const link of this.#links.values()) {
      more = this.#stream.pump(link) || more
      if (watermark > link.sentWatermark && link.refusedUntilMs === 0) this.#pings.ping(link)
    }
    return more
  }

  /** Upkeep; to be called every 50 ms or so. `budget`: markers looked at. */
  tick(budget: number): void {
    const { replica } = this
    const { monoMs, members } = replica
    if (this.#stamps.isOwnTooFar) this.#beginBoot()
    this.#knowledge.keep()
    this.acks.tick(monoMs)
    for (const { label } of members.expire(monoMs)) this.#effects.event('member forgotten', { member: label })
    this.forgetting.upkeep(budget)
    // Reads renew, and nobody pumps where nobody writes.
    this.#extensions.flush(this.#links.values())
    const hurry = this.forgetting.isNearBudget
    for (const link of this.#links.values()) {
      if (link.refusedUntilMs !== 0 && monoMs >= link.refusedUntilMs) this.#retry(link)
      // What was refused, or is far behind records of others, was written long ago: nobody pumps for it.
      this.#stream.pump(link)
      if (this.#pings.isDue(link, hurry)) this.#pings.ping(link)
    }
    this.#rounds.tick()
  }

  /** A slice of the rounds under way; true if there is more to do at once. */
  work(budget: number): boolean {
    return this.#rounds.work(budget)
  }

  /** `peers forget`: false if there is no such member. */
  remove(label: string): boolean {
    const { members } = this.replica
    const member = members.get(label)
    if (member === undefined) return false
    const boot = member.boot ?? member.heardBoot
    // What others still say of it must not bring it back.
    if (boot === undefined) members.resolve(label)
    else this.#remove(label, boot)
    return true
  }

  #remove(label: string, boot: BootId): void {
    const link = this.#links.get(label)
    if (!this.replica.members.remove({ label, boot })) return
    this.#effects.event('member removed', { member: label, boot })
    if (link?.boot === boot) {
      this.#writer.at = 0
      writeReason(this.#writer, PeerOpcode.Bye, 'removed', `${label} was removed from the cluster`)
      this.#send(link, Channel.Stream, this.#writer.bytes.subarray(0, this.#writer.at))
      this.linkDown(link)
    }
  }

  #hearRemoved(removed: PeerHello['removed']): void {
    for (const { label, boot } of removed) if (boot !== this.replica.boot) this.#remove(label, boot)
  }

  #hear(news: PeerHello['news']): void {
    const found = this.replica.members.hear(news, this.replica.monoMs, this.address)
    if (found.length > 0) this.#effects.onMembers(found)
  }

  #beginBoot(): void {
    const { replica } = this
    const aheadMs = beginBoot(replica, this.#effects.newBoot())
    this.acks.end()
    for (const link of [...this.#links.values()]) this.linkDown(link)
    this.#effects.event('clock set back', { aheadMs, boot: replica.boot })
    this.#effects.onBoot(replica.boot)
  }

  #send(link: LinkState, channel: Channel, bytes: Uint8Array): void {
    link.sentBytes += bytes.length
    this.#effects.send(link, channel, bytes)
  }
}
