// Anti-entropy between this server and each linked member: whatever the streams did not bring, brings this.
//
// Of a pair the server with the lower label begins: on link-up and every 10 s (jittered). A small round is about the
// records that some member may not know; a full one, at first contact of two boots or when a gap is open, about all.
//
//   initiator                       answerer
//   OPEN: digests per leaf   ───>
//                            <───   ANSWER: the leaves that differ, and how many records are in them
//   ASK: a group of leaves   ───>
//                            <───   LIST: key hash, version and sequence number of each record
//   RECORDS it lacks, PURGE
//   what I lost, WANT, TURN  ───>
//                            <───   RECORDS that were wanted, TURN           … next group
//   CLOSE                    ───>
//                            <───   CLOSE
//
// Completed, each end knows that the other has everything up to the sequence number at which it began: `agreed`.
// Rule 8 is in the comparison: what one end does not hold and may have forgotten the tombstone of, the other purges.

import { PeerOpcode as Peer, type PeerOpcode } from '../../protocol/messages.ts'
import type { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import type { Forgetting } from './forgetting.ts'
import type { Knowledge } from './knowledge.ts'
import type { LinkState } from './link-state.ts'
import { type Merger, Source } from './merge.ts'
import { Channel } from './peer-messages.ts'
import { emptyRemoteRecord, RecordWriter, readRecord } from './records.ts'
import type { Replica } from './replica.ts'
import { RoundInitiator } from './round-initiator.ts'
import {
  readAnswer,
  readList,
  readNumbers,
  readOpen,
  readSign,
  Verdict,
  writeAnswer,
  writeSign,
} from './round-messages.ts'
import { RoundRecords } from './round-records.ts'
import { RoundResponder } from './round-responder.ts'
import type { RoundTools } from './round-tools.ts'

/** A round without progress for so long is given up, in ping intervals. */
const STUCK_PINGS = 30
/** Whoever was told BUSY asks again after so many ping intervals. */
const BUSY_PINGS = 1
/** How many intervals a round waits for a stream that catches up. */
const PATIENCE_ROUNDS = 3
const SMALL_LEAF_BITS = 8
/** Records per leaf to aim at in a full round. */
const RECORDS_PER_LEAF_LOG2 = 4
const FULL_LEAF_BITS_MAX = 12
/** Unsent bytes of a bulk connection above which a round waits. */
const BEHIND_BYTES = 1024 * 1024

export interface RoundEffects {
  send(link: LinkState, channel: Channel, bytes: Uint8Array): void
  unsentBytes(link: LinkState): number
  /** Uniform in [0, 1). */
  random(): number
  onRound(link: LinkState, full: boolean): void
  /** It has come to its end: both ends hold the same, but for what was written meanwhile. */
  onRoundEnd(link: LinkState, full: boolean): void
}

/** Where a link's rounds stand. */
interface Schedule {
  dueMs: number
  needsFull: boolean
  /** Since when rounds are put off because the stream catches up. */
  busySinceMs: number | undefined
  initiator: RoundInitiator | undefined
  responder: RoundResponder | undefined
}

export class Rounds {
  readonly #replica: Replica
  readonly #merger: Merger
  readonly #effects: RoundEffects
  readonly #tools: RoundTools
  readonly #writer = new Writer(64 * 1024)
  readonly #record = emptyRemoteRecord()
  readonly #schedules = new Map<LinkState, Schedule>()
  #nextId = 1

  constructor(
    replica: Replica,
    knowledge: Knowledge,
    forgetting: Forgetting,
    merger: Merger,
    effects: RoundEffects,
  ) {
    this.#replica = replica
    this.#merger = merger
    this.#effects = effects
    const records = new RoundRecords(replica, new RecordWriter(replica.store, replica.origins))
    this.#tools = {
      replica,
      knowledge,
      forgetting,
      records,
      nonce: () => Uint8Array.from({ length: 16 }, () => Math.floor(effects.random() * 256)),
      writer: () => {
        this.#writer.at = 0
        return this.#writer
      },
      send: (link) => this.#send(link, this.#writer.bytes.subarray(0, this.#writer.at)),
      sendRecords: (link, id) => {
        const frame = records.take(id)
        if (frame !== undefined) this.#send(link, frame)
      },
      isBehind: (link) => effects.unsentBytes(link) > BEHIND_BYTES,
      raiseHorizon: (horizon) => {
        replica.horizon = Math.max(replica.horizon, horizon)
      },
      complete: (link, agreedSeq, full) => this.#complete(link, agreedSeq, full),
      again: (link) => {
        const schedule = this.#schedules.get(link)
        if (schedule === undefined) return
        schedule.needsFull = true
        schedule.dueMs = replica.monoMs
      },
    }
  }

  /** Rounds under way. */
  get active(): number {
    let active = 0
    for (const { initiator, responder } of this.#schedules.values())
      active += (initiator === undefined ? 0 : 1) + (responder === undefined ? 0 : 1)
    return active
  }

  /** The bulk connection is there: a round may begin. */
  open(link: LinkState): void {
    this.#schedules.set(link, {
      dueMs: this.#replica.monoMs,
      needsFull: false,
      busySinceMs: undefined,
      initiator: undefined,
      responder: undefined,
    })
  }

  /** It is gone, and every round with it. */
  close(link: LinkState): void {
    this.#schedules.delete(link)
    this.#lookAhead()
  }

  /** What was begun is given up, after a refusal: it must not count as completed. */
  abort(link: LinkState): void {
    const schedule = this.#schedules.get(link)
    if (schedule === undefined) return
    schedule.initiator = undefined
    schedule.responder = undefined
    this.#lookAhead()
  }

  /** Begins what is due and gives up what is stuck. */
  tick(): void {
    const { monoMs, options, label } = this.#replica
    const stuckMs = monoMs - options.pingMs * STUCK_PINGS
    for (const [link, schedule] of this.#schedules) {
      if ((schedule.initiator?.progressMs ?? monoMs) < stuckMs) schedule.initiator = undefined
      if ((schedule.responder?.progressMs ?? monoMs) < stuckMs) schedule.responder = undefined
      const isFree = schedule.initiator === undefined && schedule.responder === undefined
      if (!isFree || link.refusedUntilMs !== 0) continue
      if (label < link.member.label && monoMs >= schedule.dueMs && this.#isTime(link, schedule))
        this.#begin(link, schedule)
    }
    this.#lookAhead()
  }

  /** Does a slice of every round; true if there is more to do at once. */
  work(budget: number): boolean {
    let more = false
    for (const [link, schedule] of this.#schedules) {
      const { initiator, responder } = schedule
      if (initiator?.work(budget)) more = more || !this.#tools.isBehind(link)
      if (responder?.work(budget)) more = more || !this.#tools.isBehind(link)
      this.#tidy(schedule)
    }
    return more
  }

  #begin(link: LinkState, schedule: Schedule): void {
    const { member } = link
    const full = schedule.needsFull || !member.met || member.gap > 0
    // One full round at a time: a joiner takes the bulk from one member, and finds little missing with the others.
    if (full && this.#hasFull()) return
    const { counters, store, monoMs, options } = this.#replica
    if (full) counters.fullRounds++
    else counters.smallRounds++
    schedule.needsFull = false
    schedule.dueMs = monoMs + options.roundMs * (0.75 + this.#effects.random() / 2)
    const { entries, ghosts, tombstones } = store.stats()
    const bits = Math.ceil(Math.log2(entries + ghosts + tombstones + 1)) - RECORDS_PER_LEAF_LOG2
    const leafBits = full ? Math.max(0, Math.min(bits, FULL_LEAF_BITS_MAX)) : SMALL_LEAF_BITS
    schedule.initiator = new RoundInitiator(this.#tools, link, this.#nextId++, full, leafBits)
    this.#effects.onRound(link, full)
  }

  /** Not while the stream catches up: the round would bring everything a second time. But not never. */
  #isTime(link: LinkState, schedule: Schedule): boolean {
    const { store, monoMs, options } = this.#replica
    return !link.isBehind(store.tailSeq) || monoMs >= schedule.dueMs + options.roundMs * PATIENCE_ROUNDS
  }

  #hasFull(): boolean {
    for (const { initiator, responder } of this.#schedules.values())
      if (initiator?.full || responder?.full) return true
    return false
  }

  /** A round message; `hlc` and `F` in it were checked by the caller. Throws ProtocolError for what cannot be read. */
  receive(link: LinkState, opcode: number, reader: Reader): void {
    const schedule = this.#schedules.get(link)
    if (schedule === undefined) return
    if (opcode === Peer.RoundOpen) this.#onOpen(link, schedule, reader)
    else if (opcode === Peer.RoundRecords) this.#onRecords(link, schedule, reader)
    else this.#onStep(schedule, opcode, reader)
    this.#tidy(schedule)
    this.#lookAhead()
  }

  #onOpen(link: LinkState, schedule: Schedule, reader: Reader): void {
    const open = readOpen(reader)
    const { member } = link
    const writer = this.#tools.writer()
    // Whatever was answered before, the other end has given up.
    schedule.responder = undefined
    if ((open.full && this.#hasFull()) || !this.#mayAnswer(link, schedule)) {
      writeSign(writer, Peer.RoundBusy, open.id)
      this.#tools.send(link)
    } else if (!open.full && (!member.met || member.gap > 0)) {
      const { clock, watermark } = this.#replica
      const verdict = Verdict.Full
      writeAnswer(writer, { id: open.id, verdict, gap: 0, hlc: clock.last, watermark, leaves: [] })
      this.#tools.send(link)
    } else {
      if (open.full) this.#replica.counters.fullRounds++
      schedule.responder = new RoundResponder(this.#tools, link, open)
    }
  }

  /** A streaming end asks for a little patience, and not for more. */
  #mayAnswer(link: LinkState, schedule: Schedule): boolean {
    const { store, monoMs, options } = this.#replica
    if (!link.isBehind(store.tailSeq)) {
      schedule.busySinceMs = undefined
      return true
    }
    schedule.busySinceMs ??= monoMs
    return monoMs >= schedule.busySinceMs + options.roundMs * PATIENCE_ROUNDS
  }

  #onStep(schedule: Schedule, opcode: number, reader: Reader): void {
    const { initiator, responder } = schedule
    const { monoMs } = this.#replica
    const moved = <T extends { id: number; progressMs: number }>(round: T | undefined, id: number) => {
      if (round?.id !== id) return undefined
      round.progressMs = monoMs
      return round
    }
    const initiatorOf = (id: number) => moved(initiator, id)
    const responderOf = (id: number) => moved(responder, id)
    if (opcode === Peer.RoundAnswer) {
      const answer = readAnswer(reader)
      initiatorOf(answer.id)?.onAnswer(answer)
    } else if (opcode === Peer.RoundList) {
      const { id, entries, isLast } = readList(reader)
      initiatorOf(id)?.onList(entries, isLast)
    } else if (opcode === Peer.RoundTurn) {
      const id = readSign(reader)
      initiatorOf(id)?.onTurn()
      responderOf(id)?.onTurn()
    } else if (opcode === Peer.RoundClose) {
      const id = readSign(reader)
      initiatorOf(id)?.onClose()
      responderOf(id)?.onClose()
    } else if (opcode === Peer.RoundBusy) {
      const busy = initiatorOf(readSign(reader))
      if (busy === undefined) return
      schedule.needsFull ||= busy.full
      schedule.initiator = undefined
      schedule.dueMs = monoMs + this.#replica.options.pingMs * BUSY_PINGS
    } else {
      const { id, numbers } = readNumbers(reader)
      const answering = responderOf(id)
      if (opcode === Peer.RoundAsk) answering?.onAsk(numbers)
      else if (opcode === Peer.RoundWant) answering?.onWant(numbers)
      else answering?.onPurge(numbers)
    }
  }

  #onRecords(link: LinkState, schedule: Schedule, reader: Reader): void {
    reader.required('round')
    const id = reader.uint()
    reader.required('hybrid clock')
    reader.uint()
    reader.required('flush watermark')
    reader.uint()
    reader.required('records')
    const round = schedule.initiator?.id === id ? schedule.initiator : schedule.responder
    if (round?.id !== id) return
    round.progressMs = this.#replica.monoMs
    for (let left = reader.array(); left > 0; left--) {
      readRecord(reader, link.boot, this.#record)
      this.#merger.merge(this.#record, round.full ? Source.FullRound : Source.SmallRound)
    }
  }

  #complete(link: LinkState, agreedSeq: number, full: boolean): void {
    const { member } = link
    member.met = true
    if (agreedSeq > member.agreed) member.agreed = agreedSeq
    if (full) member.gap = member.gapSinceRound
    member.gapSinceRound = 0
    this.#effects.onRoundEnd(link, full)
  }

  /** What the rounds under way will raise the horizon to. */
  #lookAhead(): void {
    let horizon = 0
    for (const { initiator, responder } of this.#schedules.values())
      horizon = Math.max(horizon, initiator?.horizon ?? 0, responder?.horizon ?? 0)
    this.#replica.comingHorizon = horizon
  }

  #tidy(schedule: Schedule): void {
    if (schedule.initiator?.isDone) schedule.initiator = undefined
    if (schedule.responder?.isDone) schedule.responder = undefined
  }

  #send(link: LinkState, bytes: Uint8Array): void {
    this.#effects.send(link, Channel.Bulk, bytes)
  }
}

/** Whether an opcode is one of a round. */
export function isRoundOpcode(opcode: number): opcode is PeerOpcode {
  return opcode >= Peer.RoundOpen && opcode <= Peer.RoundBusy
}
