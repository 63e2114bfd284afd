// HELLO, PING and the other small messages between servers: their bytes, and nothing of what they mean.
//
// Between the replicator and frames. New operands go to the end; what is not known is passed over. Lists are bounded:
// a message names at most MEMBERS_MAX members, whatever it claims.

import { ProtocolError } from '../../protocol/errors.ts'
import {
  MEMBERS_MAX,
  PROTOCOL_VERSION_MAX,
  PROTOCOL_VERSION_MIN,
  PUSH_REQUEST_ID,
} from '../../protocol/limits.ts'
import { Capability, PeerOpcode, Status } from '../../protocol/messages.ts'
import { type ByteRange, emptyRange, type Reader } from '../../protocol/reader.ts'
import type { Writer } from '../../protocol/writer.ts'
import type { BootId } from '../origins.ts'
import type { Acknowledged, MemberNews, Removed, Vector } from './members.ts'
import { readBoot } from './records.ts'

/** Labels, addresses, regions, clusters, reasons. UTF-8 bytes. */
export const TEXT_BYTES_MAX = 256
/** Of a member in a list, or of a HELLO or PING without its lists, in bytes at the most. */
const ENTRY_BYTES_MAX = 3 * TEXT_BYTES_MAX

/** The two connections of a link: one ordered stream, and one for anti-entropy, which must not hold the stream up. */
export const Channel = { Stream: 0, Bulk: 1 } as const
export type Channel = (typeof Channel)[keyof typeof Channel]

export interface PeerHello {
  versionMin: number
  versionMax: number
  capabilities: number
  cluster: string
  label: string
  region: string
  boot: BootId
  channel: Channel
  wallMs: number
  hlc: number
  watermark: number
  /** Where the sender listens. */
  address: string | undefined
  /** Bytes charged in the sender's store: whoever holds nothing is joining. */
  usedBytes: number
  news: MemberNews[]
  removed: Removed[]
}

export interface PeerPing {
  wallMs: number
  hlc: number
  watermark: number
  boot: BootId
  tailSeq: number
  /** Of the sender's monotonic clock; comes back in the PONG. */
  stamp: number
  vector: Vector
  news: MemberNews[]
  removed: Removed[]
}

export function writeHello(writer: Writer, hello: PeerHello): void {
  writer.reserve(8 * ENTRY_BYTES_MAX)
  const start = writer.beginFrame(17)
  writer.int(PeerOpcode.Hello)
  writer.int(PUSH_REQUEST_ID)
  writer.int(PROTOCOL_VERSION_MIN)
  writer.int(PROTOCOL_VERSION_MAX)
  writer.int(Capability.None)
  writer.string(hello.cluster)
  writer.string(hello.label)
  writer.string(hello.region)
  writeBootId(writer, hello.boot)
  writer.int(hello.channel)
  writer.int(hello.wallMs)
  writer.int(hello.hlc)
  writer.int(hello.watermark)
  writeText(writer, hello.address)
  writer.int(hello.usedBytes)
  writeNews(writer, hello.news)
  writeRemoved(writer, hello.removed)
  writer.endFrame(start)
}

export function readHello(reader: Reader): PeerHello {
  const versionMin = required(reader, 'lowest version').uint()
  const versionMax = required(reader, 'highest version').uint()
  const capabilities = required(reader, 'capabilities').uint()
  const cluster = readText(required(reader, 'cluster'))
  const label = readText(required(reader, 'node id'))
  const region = readText(required(reader, 'region'))
  const boot = readBoot(required(reader, 'boot id'))
  const channel = required(reader, 'channel').uint()
  if (channel !== Channel.Stream && channel !== Channel.Bulk) throw bad(`a channel is 0 or 1, got ${channel}`)
  const wallMs = required(reader, 'wall clock').uint()
  const hlc = required(reader, 'hybrid clock').uint()
  const watermark = required(reader, 'flush watermark').uint()
  const address = reader.optional() ? readText(reader) : undefined
  const usedBytes = reader.optional() ? reader.uint() : 0
  const news = reader.optional() ? readNews(reader) : []
  const removed = reader.optional() ? readRemoved(reader) : []
  reader.close()
  if (label === '') throw bad('a node id is not empty')
  return {
    versionMin,
    versionMax,
    capabilities,
    cluster,
    label,
    region,
    boot,
    channel,
    wallMs,
    hlc,
    watermark,
    address,
    usedBytes,
    news,
    removed,
  }
}

export function writePing(writer: Writer, ping: PeerPing): void {
  writer.reserve(2 * ENTRY_BYTES_MAX)
  const start = writer.beginFrame(11)
  writer.int(PeerOpcode.Ping)
  writer.int(PUSH_REQUEST_ID)
  writer.int(ping.wallMs)
  writer.int(ping.hlc)
  writer.int(ping.watermark)
  writeBootId(writer, ping.boot)
  writer.int(ping.tailSeq)
  writer.int(ping.stamp)
  writer.array(ping.vector.size)
  for (const [label, { boot, hlc }] of ping.vector) {
    writer.reserve(ENTRY_BYTES_MAX)
    writer.array(3)
    writer.string(label)
    writeBootId(writer, boot)
    writer.int(hlc)
  }
  writeNews(writer, ping.news)
  writeRemoved(writer, ping.removed)
  writer.endFrame(start)
}

export function readPing(reader: Reader): PeerPing {
  const wallMs = required(reader, 'wall clock').uint()
  const hlc = required(reader, 'hybrid clock').uint()
  const watermark = required(reader, 'flush watermark').uint()
  const boot = readBoot(required(reader, 'boot id'))
  const tailSeq = required(reader, 'tail').uint()
  const stamp = required(reader, 'stamp').uint()
  const vector = new Map<string, Acknowledged>()
  if (reader.optional())
    for (let left = countOf(reader); left > 0; left--) {
      const fields = fieldsOf(reader, 3)
      vector.set(readText(reader), { boot: readBoot(reader), hlc: reader.uint() })
      skipRest(reader, fields - 3)
    }
  const news = reader.optional() ? readNews(reader) : []
  const removed = reader.optional() ? readRemoved(reader) : []
  reader.close()
  return { wallMs, hlc, watermark, boot, tailSeq, stamp, vector, news, removed }
}

export function writePong(writer: Writer, stamp: number, wallMs: number): void {
  writer.reserve(64)
  const start = writer.beginFrame(4)
  writer.int(PeerOpcode.Pong)
  writer.int(PUSH_REQUEST_ID)
  writer.int(stamp)
  writer.int(wallMs)
  writer.endFrame(start)
}

export function readPong(reader: Reader): { stamp: number; wallMs: number } {
  const stamp = required(reader, 'stamp').uint()
  const wallMs = required(reader, 'wall clock').uint()
  reader.close()
  return { stamp, wallMs }
}

/** REFUSED and BYE: a code that programs read, a text for people, and, before any HELLO, who says so. */
export function writeReason(
  writer: Writer,
  opcode: typeof PeerOpcode.Refused | typeof PeerOpcode.Bye,
  code: string,
  text: string,
  label?: string,
): void {
  writer.reserve(64 + 3 * (code.length + text.length) + ENTRY_BYTES_MAX)
  const start = writer.beginFrame(label === undefined ? 4 : 5)
  writer.int(opcode)
  writer.int(PUSH_REQUEST_ID)
  writer.string(code)
  writer.string(text)
  if (label !== undefined) writer.string(label)
  writer.endFrame(start)
}

export function readReason(reader: Reader): { code: string; text: string; label: string | undefined } {
  const code = readText(required(reader, 'code'))
  const text = reader.optional() ? readPhrase(reader) : ''
  const label = reader.optional() ? readText(reader) : undefined
  reader.close()
  return { code, text, label }
}

function writeNews(writer: Writer, news: readonly MemberNews[]): void {
  writer.array(news.length)
  for (const { label, address, boot, unseenMs } of news) {
    writer.reserve(ENTRY_BYTES_MAX)
    writer.array(4)
    writer.string(label)
    writeText(writer, address)
    writeOptionalBoot(writer, boot)
    writer.int(Math.round(unseenMs))
  }
}

function readNews(reader: Reader): MemberNews[] {
  const news: MemberNews[] = []
  for (let left = countOf(reader); left > 0; left--) {
    const fields = fieldsOf(reader, 4)
    news.push({
      label: readText(reader),
      address: isNil(reader) ? undefined : readText(reader),
      boot: isNil(reader) ? undefined : readBoot(reader),
      unseenMs: reader.uint(),
    })
    skipRest(reader, fields - 4)
  }
  return news
}

function writeRemoved(writer: Writer, removed: readonly Removed[]): void {
  writer.array(removed.length)
  for (const { label, boot } of removed) {
    writer.reserve(ENTRY_BYTES_MAX)
    writer.array(2)
    writer.string(label)
    writeBootId(writer, boot)
  }
}

function readRemoved(reader: Reader): Removed[] {
  const removed: Removed[] = []
  for (let left = countOf(reader); left > 0; left--) {
    const fields = fieldsOf(reader, 2)
    removed.push({ label: readText(reader), boot: readBoot(reader) })
    skipRest(reader, fields - 2)
  }
  return removed
}

export function writeBootId(writer: Writer, boot: BootId): void {
  writer.binaryHead(8)
  writer.view.setUint32(writer.at, Number.parseInt(boot.slice(0, 8), 16))
  writer.view.setUint32(writer.at + 4, Number.parseInt(boot.slice(8), 16))
  writer.at += 8
}

function writeOptionalBoot(writer: Writer, boot: BootId | undefined): void {
  if (boot === undefined) writer.nil()
  else writeBootId(writer, boot)
}

function writeText(writer: Writer, text: string | undefined): void {
  if (text === undefined) writer.nil()
  else writer.string(text)
}

function readText(reader: Reader): string {
  // Looked at before it is made a string: it may be as long as the frame.
  reader.range(textRange)
  if (textRange.length > TEXT_BYTES_MAX)
    throw bad(`a name has at most ${TEXT_BYTES_MAX} bytes, got ${textRange.length}`)
  return textOf(textRange)
}

/** A text for people: its beginning. */
function readPhrase(reader: Reader): string {
  reader.range(textRange)
  textRange.length = Math.min(textRange.length, 2 * TEXT_BYTES_MAX)
  return textOf(textRange)
}

function textOf({ bytes, at, length }: ByteRange): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('utf8')
}

/** Takes a nil, if that is what stands next. */
function isNil(reader: Reader): boolean {
  if (reader.at >= reader.end || reader.bytes[reader.at] !== 0xc0) return false
  reader.at++
  return true
}

function countOf(reader: Reader): number {
  const count = reader.array()
  if (count > MEMBERS_MAX) throw bad(`a list of at most ${MEMBERS_MAX} is expected, got ${count}`)
  return count
}

function fieldsOf(reader: Reader, least: number): number {
  const fields = reader.array()
  if (fields < least) throw bad(`an entry of ${least} fields is expected, got ${fields}`)
  return fields
}

function skipRest(reader: Reader, fields: number): void {
  for (let left = fields; left > 0; left--) reader.skip(0)
}

export function required(reader: Reader, name: string): Reader {
  reader.required(name)
  return reader
}

function bad(message: string): ProtocolError {
  return new ProtocolError(Status.BadOperand, message)
}

const textRange = emptyRange()
