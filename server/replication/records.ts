// A record on its way between servers: written from the store, read back as views of the frame.
//
//   [kind, key, hlc, flags, expiresAtMs, lifetimeMs, value, origin?]      origin left out: the sender's present boot
//
// The value is read at send time and copied once, from the store to the frame. Whoever receives one gets views that
// are valid until the next record is read. Numbers are checked here: nothing from a peer is believed unseen.

import { ProtocolError } from '../../protocol/errors.ts'
import { BOOT_ID_BYTES, KEY_BYTES_MAX, VALUE_BYTES_MAX_CEILING } from '../../protocol/limits.ts'
import { Status } from '../../protocol/messages.ts'
import { emptyRange, isUtf8Text, type Reader } from '../../protocol/reader.ts'
import type { Writer } from '../../protocol/writer.ts'
import type { BootId } from '../origins.ts'
import { bootIdOf, type Origins } from '../origins.ts'
import { type RecordHead, RecordKind, type Slot, type Span, type Store } from '../store/store.ts'

/** The operands of a record but its key and value, in bytes at the most. */
const RECORD_HEAD_BYTES = 64
const RECORD_FIELDS = 7
/** Expiry and lifetime have 48 bits in the store. */
const TIME_MS_MAX = 2 ** 48 - 1

export interface RemoteRecord {
  kind: RecordKind
  flags: number
  hlc: number
  origin: BootId
  expiresAtMs: number
  lifetimeMs: number
  readonly key: Span
  readonly value: Span
}

export function emptyRemoteRecord(): RemoteRecord {
  return {
    kind: RecordKind.Value,
    flags: 0,
    hlc: 0,
    origin: '',
    expiresAtMs: 0,
    lifetimeMs: 0,
    key: emptyRange(),
    value: emptyRange(),
  }
}

export class RecordWriter {
  readonly #store: Store
  readonly #origins: Origins

  constructor(store: Store, origins: Origins) {
    this.#store = store
    this.#origins = origins
  }

  /** Appends the record at `slot`, whose head this is. `withOrigin`: it may be anybody's; else it is this server's own. */
  write(writer: Writer, slot: Slot, head: RecordHead, withOrigin: boolean): void {
    const store = this.#store
    writer.reserve(RECORD_HEAD_BYTES + head.keyBytes + head.valueBytes)
    writer.array(withOrigin ? RECORD_FIELDS + 1 : RECORD_FIELDS)
    writer.int(head.kind)
    writer.stringHead(head.keyBytes)
    store.copyKey(slot, writer.bytes, writer.at)
    writer.at += head.keyBytes
    writer.int(head.hlc)
    // A marker's flags are its age here, and nobody else's business.
    writer.int(head.kind === RecordKind.Value ? head.flags : 0)
    writer.int(head.expiresAtMs)
    writer.int(head.lifetimeMs)
    writer.binaryHead(head.valueBytes)
    store.copyValue(slot, writer.bytes, writer.at, writer.view)
    writer.at += head.valueBytes
    if (withOrigin) writeBoot(writer, this.#origins, head.origin)
  }
}

/** A boot id as a binary of 8 bytes, from its index. */
export function writeBoot(writer: Writer, origins: Origins, index: number): void {
  writer.binaryHead(BOOT_ID_BYTES)
  writer.view.setInt32(writer.at, origins.highWord(index))
  writer.view.setInt32(writer.at + 4, origins.lowWord(index))
  writer.at += BOOT_ID_BYTES
}

export function readBoot(reader: Reader): BootId {
  reader.range(bootRange)
  if (bootRange.length !== BOOT_ID_BYTES)
    throw refused(`a boot id has ${BOOT_ID_BYTES} bytes, got ${bootRange.length}`)
  return bootIdOf(bootRange.bytes, bootRange.at)
}

/** Reads one record. `sender`: the origin of a record that names none. */
export function readRecord(reader: Reader, sender: BootId, into: RemoteRecord): void {
  let fields = reader.array()
  if (fields < RECORD_FIELDS) throw refused(`a record has ${RECORD_FIELDS} fields, got ${fields}`)
  fields -= RECORD_FIELDS
  into.kind = kindOf(reader.uint())
  reader.range(into.key)
  if (into.key.length === 0 || into.key.length > KEY_BYTES_MAX)
    throw refused(`a record's key has 1 to ${KEY_BYTES_MAX} bytes, got ${into.key.length}`)
  // Nobody could write it here: what clients list must be text.
  if (!isUtf8Text(into.key)) throw refused("a record's key is UTF-8 text")
  into.hlc = reader.uint()
  into.flags = reader.uint()
  if (into.flags > 255) throw refused(`a record's flags are one byte, got ${into.flags}`)
  into.expiresAtMs = timeOf(reader.uint())
  into.lifetimeMs = timeOf(reader.uint())
  reader.range(into.value)
  if (into.value.length > VALUE_BYTES_MAX_CEILING)
    throw refused(`a record's value has at most ${VALUE_BYTES_MAX_CEILING} bytes, got ${into.value.length}`)
  if (into.kind !== RecordKind.Value && into.value.length > 0)
    throw refused(`a marker has no value, got ${into.value.length} bytes`)
  into.origin = sender
  if (fields === 0) return
  into.origin = readBoot(reader)
  // What a later version appends.
  while (--fields > 0) reader.skip(0)
}

function kindOf(kind: number): RecordKind {
  for (const known of Object.values(RecordKind)) if (kind === known) return known
  throw refused(`a record's kind is 0 to 2, got ${kind}`)
}

/** Of a time in ms that goes into the store. */
export function timeOf(ms: number): number {
  if (ms > TIME_MS_MAX) throw refused(`a record's times are below 2^48 ms, got ${ms}`)
  return ms
}

function refused(message: string): ProtocolError {
  return new ProtocolError(Status.BadOperand, message)
}

const bootRange = emptyRange()
