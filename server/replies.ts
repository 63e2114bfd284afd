// Replies, or the parts that several have in common. Between the handlers and the bytes of `Output`.

import { ProtocolError } from '../protocol/errors.ts'
import { PUSH_REQUEST_ID, VERSION_BYTES } from '../protocol/limits.ts'
import { Status } from '../protocol/messages.ts'
import type { Reader } from '../protocol/reader.ts'
import { Writer } from '../protocol/writer.ts'
import { type Keyspace, WriteOutcome } from './keyspace.ts'
import type { Output } from './output.ts'
import type { RecordHead } from './store/store.ts'

/** Room for any reply but its texts, keys and values. */
export const REPLY_HEAD_BYTES = 64

/**
 * Begins a reply with this many operands (at most 13); the caller made room. Returns what `endFrame` wants. Every
 * reply passes here, so it is written out: statuses are one byte, ids four.
 */
export function beginReply(output: Output, request: Reader, status: Status, operands: number): number {
  const start = output.at
  const bytes = output.bytes
  const id = request.id
  bytes[start + 4] = 0x92 + operands
  bytes[start + 5] = status
  bytes[start + 6] = 0xce
  output.view.setInt32(start + 7, id)
  output.at = start + 11
  return start
}

export function replyStatus(output: Output, request: Reader, status: Status): void {
  output.room(REPLY_HEAD_BYTES)
  output.endFrame(beginReply(output, request, status, 0))
}

/** Room for an error with this text, in bytes. */
export function errorBytes(message: string): number {
  return REPLY_HEAD_BYTES + message.length * 3
}

/** An error frame; the caller made room. */
export function writeError(
  writer: Writer,
  id: number,
  status: Status,
  text: string,
  retryAfterMs?: number,
): void {
  const start = writer.beginFrame(retryAfterMs === undefined ? 3 : 4)
  writer.int(status)
  writer.int(id)
  writer.string(text)
  if (retryAfterMs !== undefined) writer.int(retryAfterMs)
  writer.endFrame(start)
}

/** What a server says unasked: a frame of its own. */
export function pushOf(status: Status, text: string, retryAfterMs?: number): Buffer {
  const writer = new Writer(errorBytes(text))
  writeError(writer, PUSH_REQUEST_ID, status, text, retryAfterMs)
  return writer.bytes.subarray(0, writer.at)
}

export function writeVersion(output: Output, keyspace: Keyspace, head: RecordHead): void {
  output.binaryHead(VERSION_BYTES)
  keyspace.writeVersion(head, output.view, output.at)
  output.at += VERSION_BYTES
}

/** Milliseconds; nil for no end. */
export function writeTtl(output: Output, ttlMs: number): void {
  if (ttlMs === Number.POSITIVE_INFINITY) output.nil()
  else output.int(ttlMs)
}

/** What a write that could not be done is answered with. `bytes`: of key and value. */
export function refusal(outcome: WriteOutcome, bytes: number): ProtocolError {
  if (outcome === WriteOutcome.NotInteger)
    return new ProtocolError(
      Status.NotInteger,
      'the value is not an integer within ±(2^53 - 1), or the result would not be',
    )
  if (outcome === WriteOutcome.NotUtf8) return new ProtocolError(Status.BadOperand, 'a key is UTF-8 text')
  return new ProtocolError(
    Status.ValueTooLarge,
    `a record of ${bytes} bytes does not fit into this server's memory limit`,
  )
}
