// Handlers of the commands over many keys: GET_MANY, SET_MANY, DELETE_MANY, SCAN. Each key has a status of its own; a
// reply that is full skips the rest, which the client asks for again. Everything is read and checked before anything
// is changed.

import { ProtocolError } from '../protocol/errors.ts'
import {
  FRAME_OVERHEAD_BYTES_MAX,
  KEY_BYTES_MAX,
  KEYS_PER_REQUEST_MAX,
  SCAN_COUNT_DEFAULT,
  SCAN_COUNT_MAX,
} from '../protocol/limits.ts'
import { Condition, Opcode, Status } from '../protocol/messages.ts'
import { emptyRange, type Reader } from '../protocol/reader.ts'
import { Writer } from '../protocol/writer.ts'
import type { Handler } from './handler.ts'
import { type Keyspace, WriteOutcome } from './keyspace.ts'
import type { Operands } from './operands.ts'
import { beginReply, REPLY_HEAD_BYTES, refusal, writeVersion } from './replies.ts'
import { NO_SLOT, type Slot, type Span } from './store/store.ts'

/** An entry of a reply beside its value or version: array head, status, flags, binary head, or a version. */
const ENTRY_HEAD_BYTES = 24
/** An entry that is a status alone: array head, status. */
const BARE_ENTRY_BYTES = 2
/** A page of SCAN ends when its keys fill this. */
const SCAN_PAGE_BYTES = 32 * 1024
/** Keys asked of the store at a time: bounds what a page can exceed its size by. */
const SCAN_STEP_COUNT = 16
/** Records that one SCAN looks at, where few match its prefix, per key it was asked for; and at the most: some ms. */
const SCAN_LOOKED_AT_PER_COUNT = 16
const SCAN_LOOKED_AT_MAX = 8192

export function manyKeyHandlers(
  keyspace: Keyspace,
  operands: Operands,
  valueBytesMax: number,
): (Handler | undefined)[] {
  const handlers: (Handler | undefined)[] = []
  const { store } = keyspace
  const replyBytesMax = valueBytesMax + FRAME_OVERHEAD_BYTES_MAX

  handlers[Opcode.GetMany] = (request, output) => {
    const count = readCount(request)
    const first = request.at
    for (let i = 0; i < count; i++) operands.takeKey(request)
    request.close()

    request.at = first
    output.room(REPLY_HEAD_BYTES + count * ENTRY_HEAD_BYTES)
    const start = beginReply(output, request, Status.Ok, 1)
    output.array(count)
    let skipped = false
    for (let i = 0; i < count; i++) {
      const key = operands.takeKey(request)
      const slot: Slot = skipped ? NO_SLOT : keyspace.peek(key)
      const valueBytes: number = slot === NO_SLOT ? 0 : store.valueBytes(slot)
      // What follows must still have room for bare entries; so the first one always fits, and asking again gets on.
      const entryBytes = ENTRY_HEAD_BYTES + valueBytes + (count - i - 1) * BARE_ENTRY_BYTES
      skipped ||= output.at - start + entryBytes > replyBytesMax
      if (!skipped && slot === NO_SLOT) keyspace.counters.misses++
      if (skipped || slot === NO_SLOT) {
        output.array(1)
        output.int(skipped ? Status.Skipped : Status.Miss)
        continue
      }
      keyspace.hit(slot)
      output.reserve(valueBytes + (count - i) * ENTRY_HEAD_BYTES)
      output.array(3)
      output.int(Status.Ok)
      output.int(store.flags(slot))
      output.binaryHead(valueBytes)
      store.copyValue(slot, output.bytes, output.at, output.view)
      output.at += valueBytes
    }
    output.endFrame(start)
  }

  handlers[Opcode.SetMany] = (request, output) => {
    const count = readCount(request)
    const first = request.at
    for (let i = 0; i < count; i++) takeEntry(request)
    const ttlMs = operands.readTtlMs(request)
    const condition = operands.readCondition(request)
    request.close()
    if (condition === Condition.Version)
      throw new ProtocolError(Status.BadOperand, 'SET_MANY has no condition on a version')

    request.at = first
    output.room(REPLY_HEAD_BYTES + count * ENTRY_HEAD_BYTES)
    const start = beginReply(output, request, Status.Ok, 1)
    output.array(count)
    for (let i = 0; i < count; i++) {
      const flags = takeEntry(request)
      const outcome = keyspace.set(operands.key, flags, operands.value, ttlMs, condition, operands.version)
      output.array(outcome === WriteOutcome.Stored ? 2 : 1)
      output.int(statusOf(outcome))
      if (outcome === WriteOutcome.Stored) writeVersion(output, keyspace, keyspace.written)
    }
    output.endFrame(start)
  }

  handlers[Opcode.DeleteMany] = (request, output) => {
    const count = readCount(request)
    const first = request.at
    for (let i = 0; i < count; i++) operands.takeKey(request)
    request.close()

    request.at = first
    output.room(REPLY_HEAD_BYTES + count)
    const start = beginReply(output, request, Status.Ok, 1)
    output.array(count)
    for (let i = 0; i < count; i++) {
      const outcome = keyspace.delete(operands.takeKey(request))
      if (outcome !== WriteOutcome.Stored) output.int(refusal(outcome, 0).status)
      else output.int(keyspace.existed ? Status.Ok : Status.Miss)
    }
    output.endFrame(start)
  }

  const page = new Writer(SCAN_PAGE_BYTES + 2 * SCAN_STEP_COUNT * KEY_BYTES_MAX)
  const prefix: Span = emptyRange()
  let pageKeys = 0
  const visit = (slot: Slot) => {
    const keyBytes = store.keyBytes(slot)
    page.reserve(keyBytes + 3)
    const at = page.at
    page.stringHead(keyBytes)
    store.copyKey(slot, page.bytes, page.at)
    if (startsWith(page.bytes, page.at, keyBytes, prefix)) {
      page.at += keyBytes
      pageKeys++
    } else page.at = at
  }

  handlers[Opcode.Scan] = (request, output) => {
    request.required('cursor')
    let cursor = request.uint()
    if (request.optional()) request.range(prefix)
    else prefix.length = 0
    const wanted = request.optional() ? request.uint() : SCAN_COUNT_DEFAULT
    request.close()
    if (wanted === 0 || wanted > SCAN_COUNT_MAX)
      throw new ProtocolError(Status.BadOperand, `a count is 1 to ${SCAN_COUNT_MAX}, got ${wanted}`)
    page.at = 0
    pageKeys = 0
    let left = Math.min(wanted * SCAN_LOOKED_AT_PER_COUNT, SCAN_LOOKED_AT_MAX)
    do {
      cursor = store.scan(cursor, Math.min(SCAN_STEP_COUNT, wanted - pageKeys), keyspace.nowMs, visit)
      left -= SCAN_STEP_COUNT
    } while (cursor !== 0 && pageKeys < wanted && page.at < SCAN_PAGE_BYTES && left > 0)
    output.room(REPLY_HEAD_BYTES + page.at)
    const start = beginReply(output, request, Status.Ok, 2)
    output.int(cursor)
    output.array(pageKeys)
    output.raw(page.bytes, 0, page.at)
    output.endFrame(start)
  }

  /** An entry of SET_MANY into `operands`; returns its flags. */
  function takeEntry(request: Reader): number {
    const elements = request.array()
    if (elements !== 3)
      throw new ProtocolError(Status.BadOperand, `an entry is [key, flags, value], got ${elements} elements`)
    operands.takeKey(request)
    const flags = operands.takeFlags(request)
    operands.takeValue(request)
    return flags
  }

  return handlers
}

function readCount(request: Reader): number {
  request.required('list')
  const count = request.array()
  if (count > KEYS_PER_REQUEST_MAX)
    throw new ProtocolError(
      Status.BadOperand,
      `at most ${KEYS_PER_REQUEST_MAX} keys in a request, got ${count}`,
    )
  return count
}

function statusOf(outcome: WriteOutcome): Status {
  switch (outcome) {
    case WriteOutcome.Stored:
      return Status.Ok
    case WriteOutcome.Conflict:
      return Status.Conflict
    case WriteOutcome.NotUtf8:
      return Status.BadOperand
    default:
      return Status.ValueTooLarge
  }
}

function startsWith(bytes: Uint8Array, at: number, length: number, prefix: Span): boolean {
  if (prefix.length > length) return false
  for (let i = 0; i < prefix.length; i++) if (bytes[at + i] !== prefix.bytes[prefix.at + i]) return false
  return true
}
