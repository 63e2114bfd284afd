// The stream: this server's own writes, in the order of its change log, to each linked member; and theirs to it.
// Rules 2, 3 and 12 of docs/replication.md.
//
//   BATCH   [.., 0, boot, fromSeq, toSeq, hlc, F, [record…]]     applied only if fromSeq is my cursor, else REWIND
//   ACK     [.., 0, boot, seq, hlc, F, [index declined…]]   cumulative, after applying; indexes into the last batch
//   REWIND  [.., 0, boot, seq]
//
// Between the change log and frames. There is no queue: a batch is what the log holds between the cursor and the tail
// at the moment of sending. Ordered, so that an acknowledgement means everything before it.

import { ProtocolError } from '../../protocol/errors.ts'
import { PUSH_REQUEST_ID } from '../../protocol/limits.ts'
import { PeerOpcode, Status } from '../../protocol/messages.ts'
import type { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import { emptyHead, NO_SLOT, type RecordHead } from '../store/store.ts'
import type { Acks } from './acks.ts'
import type { LinkState } from './link-state.ts'
import { Merged, type Merger, Source } from './merge.ts'
import { Channel, required, writeBootId } from './peer-messages.ts'
import { emptyRemoteRecord, RecordWriter, type RemoteRecord, readBoot, readRecord } from './records.ts'
import type { Replica } from './replica.ts'

/** A batch ends with the record that reaches this; large values make larger ones. */
const BATCH_BYTES = 64 * 1024
/** A record has more than a byte. */
const BATCH_RECORDS_MAX = BATCH_BYTES
/** Records of others that a pump passes over before it lets other work through. */
const SCAN_STEPS_MAX = 20_000
const BATCH_HEAD_BYTES = 128

/** Takes a frame for the other end; the bytes are lent until it returns. */
export type Send = (link: LinkState, channel: Channel, bytes: Uint8Array) => void

export class Stream {
  readonly #replica: Replica
  readonly #merger: Merger
  readonly #acks: Acks
  readonly #send: Send
  readonly #records: RecordWriter
  readonly #writer = new Writer(BATCH_BYTES * 2)
  readonly #head: RecordHead = emptyHead()
  readonly #record: RemoteRecord = emptyRemoteRecord()

  constructor(replica: Replica, merger: Merger, acks: Acks, send: Send) {
    this.#replica = replica
    this.#merger = merger
    this.#acks = acks
    this.#send = send
    this.#records = new RecordWriter(replica.store, replica.origins)
  }

  /** Says from where on the other end is to send: the first thing on a link. */
  begin(link: LinkState): void {
    this.#sendRewind(link)
  }

  /** Sends what is new, as far as the window goes. True if there is more to look through. */
  pump(link: LinkState): boolean {
    const { store, options } = this.#replica
    if (!link.isStarted || link.refusedUntilMs !== 0) return false
    let steps = SCAN_STEPS_MAX
    while (link.scannedSeq < store.tailSeq) {
      if (link.inFlightBytes >= options.windowBytes) return false
      if (steps <= 0) return true
      steps -= this.#sendBatch(link, steps)
    }
    return false
  }

  /** One batch from the cursor on; returns how many records it looked at. */
  #sendBatch(link: LinkState, stepsMax: number): number {
    const { store, origins, clock, watermark, monoMs } = this.#replica
    const writer = this.#writer
    const head = this.#head
    const recordsAt = BATCH_HEAD_BYTES
    writer.at = recordsAt
    // Which write was declined matters only to those who wait for acknowledgements.
    const seqs: number[] | undefined = this.#acks.isWaiting ? [] : undefined
    let count = 0
    let steps = 0
    let hlc = 0
    let seq = link.scannedSeq
    while (writer.at - recordsAt < BATCH_BYTES && steps < stepsMax) {
      const slot = store.next(seq)
      if (slot === NO_SLOT) {
        seq = store.tailSeq
        hlc = clock.last
        break
      }
      steps++
      store.head(slot, head)
      seq = head.seq
      if (head.origin !== origins.self) continue
      this.#records.write(writer, slot, head, false)
      hlc = head.hlc
      seqs?.push(seq)
      count++
    }
    link.scannedSeq = seq
    if (count === 0) return Math.max(1, steps)
    const fromSeq = link.sentSeq
    const toSeq = seq
    const bytes = this.#frame(link, toSeq, hlc, watermark, count, recordsAt)
    link.inFlight.push({ fromSeq, toSeq, hlc, bytes: bytes.length, sentMs: monoMs, seqs })
    link.inFlightBytes += bytes.length
    link.sentSeq = toSeq
    link.sentWatermark = watermark
    this.#send(link, Channel.Stream, bytes)
    return steps
  }

  /** Puts the head in front of the records, which are written already. */
  #frame(
    link: LinkState,
    toSeq: number,
    hlc: number,
    watermark: number,
    count: number,
    recordsAt: number,
  ): Uint8Array {
    const writer = this.#writer
    const recordsEnd = writer.at
    headWriter.at = 0
    const start = headWriter.beginFrame(8)
    headWriter.int(PeerOpcode.Batch)
    headWriter.int(PUSH_REQUEST_ID)
    writeBootId(headWriter, this.#replica.boot)
    headWriter.int(link.sentSeq)
    headWriter.int(toSeq)
    headWriter.int(hlc)
    headWriter.int(watermark)
    headWriter.array(count)
    const from = recordsAt - headWriter.at
    headWriter.bytes.copy(writer.bytes, from, 0, headWriter.at)
    writer.at = recordsEnd
    writer.view.setInt32(from + start, recordsEnd - from - 4)
    return writer.bytes.subarray(from, recordsEnd)
  }

  /** Reads a batch and applies it; the caller has checked the boot, the stamps of its head and of its records. */
  receive(link: LinkState, batch: BatchHead, reader: Reader): void {
    const { member } = link
    if (batch.fromSeq !== member.receivedSeq) {
      if (!link.rewinding) this.#rewind(link)
      return
    }
    link.rewinding = false
    const declined: number[] = []
    for (let i = 0; i < batch.count; i++) {
      readRecord(reader, link.boot, this.#record)
      const merged = this.#merger.merge(this.#record, Source.Stream)
      if (merged !== Merged.Applied && merged !== Merged.Known) declined.push(i)
    }
    member.receivedSeq = Math.max(member.receivedSeq, batch.toSeq)
    this.#acknowledge(link, declined)
  }

  /** Everything that came is applied: says so. */
  #acknowledge(link: LinkState, declined: readonly number[]): void {
    const { clock, watermark } = this.#replica
    const writer = headWriter
    writer.at = 0
    writer.reserve(BATCH_HEAD_BYTES + declined.length * 5)
    const start = writer.beginFrame(7)
    writer.int(PeerOpcode.Ack)
    writer.int(PUSH_REQUEST_ID)
    writeBootId(writer, link.boot)
    writer.int(link.member.receivedSeq)
    writer.int(clock.last)
    writer.int(watermark)
    writer.array(declined.length)
    for (const index of declined) writer.int(index)
    writer.endFrame(start)
    this.#send(link, Channel.Stream, writer.bytes.subarray(0, writer.at))
  }

  #rewind(link: LinkState): void {
    link.rewinding = true
    this.#replica.counters.rewinds++
    this.#sendRewind(link)
  }

  #sendRewind(link: LinkState): void {
    link.hasAsked = true
    const writer = headWriter
    writer.at = 0
    const start = writer.beginFrame(4)
    writer.int(PeerOpcode.Rewind)
    writer.int(PUSH_REQUEST_ID)
    writeBootId(writer, link.boot)
    writer.int(link.member.receivedSeq)
    writer.endFrame(start)
    this.#send(link, Channel.Stream, writer.bytes.subarray(0, writer.at))
  }

  /** The other end applied everything up to `seq`. */
  acknowledged(link: LinkState, seq: number, declined: readonly number[]): void {
    const { member } = link
    const known = Math.min(seq, link.sentSeq)
    if (known > member.acked) member.acked = known
    while ((link.inFlight[0]?.toSeq ?? Number.POSITIVE_INFINITY) <= seq) {
      const batch = link.inFlight.shift()
      if (batch === undefined) break
      link.inFlightBytes -= batch.bytes
      if (batch.hlc > member.ackedHlc) member.ackedHlc = batch.hlc
      const { fromSeq, toSeq, seqs } = batch
      if (seqs === undefined) continue
      // One acknowledgement per batch: what it declined is of the batch it ends with.
      const names = toSeq === seq ? declined.map((index) => seqs[index] ?? Number.NaN) : []
      this.#acks.onApplied(member.label, { fromSeq, toSeq, seqs, declined: new Set(names) })
    }
  }

  /** The other end has everything up to `seq` and nothing behind it. The first time this begins the stream. */
  rewound(link: LinkState, seq: number): void {
    const { member } = link
    if (seq > this.#replica.store.tailSeq) return
    link.isStarted = true
    if (seq > member.acked) member.acked = seq
    link.rewind(seq)
  }
}

/** What stands before the records of a batch. */
export interface BatchHead {
  boot: string
  fromSeq: number
  toSeq: number
  hlc: number
  watermark: number
  count: number
}

/** Leaves the reader at the first record. */
export function readBatchHead(reader: Reader): BatchHead {
  const boot = readBoot(required(reader, 'boot id'))
  const fromSeq = required(reader, 'first sequence number').uint()
  const toSeq = required(reader, 'last sequence number').uint()
  const hlc = required(reader, 'hybrid clock').uint()
  const watermark = required(reader, 'flush watermark').uint()
  const count = recordsOf(required(reader, 'records'))
  return { boot, fromSeq, toSeq, hlc, watermark, count }
}

export interface AckMessage {
  boot: string
  seq: number
  hlc: number
  watermark: number
  declined: number[]
}

export function readAck(reader: Reader): AckMessage {
  const boot = readBoot(required(reader, 'boot id'))
  const seq = required(reader, 'sequence number').uint()
  const hlc = required(reader, 'hybrid clock').uint()
  const watermark = required(reader, 'flush watermark').uint()
  const declined: number[] = []
  if (reader.optional()) for (let left = recordsOf(reader); left > 0; left--) declined.push(reader.uint())
  reader.close()
  return { boot, seq, hlc, watermark, declined }
}

/** Of the records of a batch, or of those that were declined. */
function recordsOf(reader: Reader): number {
  const count = reader.array()
  if (count > BATCH_RECORDS_MAX)
    throw new ProtocolError(
      Status.BadOperand,
      `at most ${BATCH_RECORDS_MAX} records in a batch, got ${count}`,
    )
  return count
}

export function readRewind(reader: Reader): { boot: string; seq: number } {
  const boot = readBoot(required(reader, 'boot id'))
  const seq = required(reader, 'sequence number').uint()
  reader.close()
  return { boot, seq }
}

const headWriter = new Writer(64 * 1024)
