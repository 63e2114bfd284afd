// Requests of our protocol as templates for load-batches.ts, and the counting of their replies.
// The counting walks frames without decoding more than their status: misses and errors have other sizes than hits,
// and a load must not take one for the other. It allocates nothing per chunk, and looks at seven bytes of a frame.

import { FRAME_HEADER_BYTES, PUSH_REQUEST_ID } from '../protocol/limits.ts'
import { FIRST_ERROR, Opcode, Status, ValueFlags } from '../protocol/messages.ts'
import { readUint32 } from '../protocol/reader.ts'
import { Writer } from '../protocol/writer.ts'
import type { Batch, ReplyMeter } from './load.ts'
import { type RequestTemplate, templateOf } from './load-batches.ts'

/** All requests carry the same id: replies come in order, and the server lets ids repeat. */
const REQUEST_ID = 1

/** Room for a frame's head and small integers; `reserve` sees to the rest. */
const INITIAL_CAPACITY_BYTES = 256
const STRING_HEAD_BYTES = 64

/** Bytes of a reply that are looked at: the length, the array's head, the status, and the first of the request id. */
const HEAD_BYTES = FRAME_HEADER_BYTES + 3
const FIXED_ARRAY_MIN = 0x92
const FIXED_ARRAY_MAX = 0x9f
const FIXED_INTEGER_MAX = 0x7f
/** Longer replies than this are not replies: the largest value a server can be configured for, and some. */
const REPLY_BYTES_MAX = 0x2100_0000

/** What a load can be made of. */
export const LOAD_KINDS = ['ping', 'set', 'get', 'incr', 'del'] as const
export type LoadKind = (typeof LOAD_KINDS)[number]

/** One request of a kind; the key ends with `digits` zeros, to be overwritten. `value` is what SET sends. */
export function frameTemplate(
  kind: LoadKind,
  prefix: string,
  digits: number,
  value: Uint8Array,
): RequestTemplate {
  const key = prefix + '0'.repeat(digits)
  switch (kind) {
    case 'ping':
      return { bytes: encodeFrame(Opcode.Ping, []), digitsAt: 0, digits: 0 }
    case 'set':
      return templateOf(encodeFrame(Opcode.Set, [key, ValueFlags.Raw, value]), key, digits)
    case 'get':
      return templateOf(encodeFrame(Opcode.Get, [key]), key, digits)
    case 'incr': {
      const counter = `counter:${key}`
      return templateOf(encodeFrame(Opcode.Increment, [counter]), counter, digits)
    }
    case 'del':
      return templateOf(encodeFrame(Opcode.Delete, [key]), key, digits)
  }
}

/** How replies came out, over all connections that share it. */
export class ReplyTally {
  ok = 0
  misses = 0
  /** Replies by error status. */
  readonly errors = new Map<number, number>()

  count(status: number): void {
    if (status === Status.Ok) this.ok++
    else if (status < FIRST_ERROR) this.misses++
    else this.errors.set(status, (this.errors.get(status) ?? 0) + 1)
  }
}

/** Counts the reply frames of one connection into a shared tally, however chunks cut them. */
export class FrameMeter implements ReplyMeter {
  readonly #tally: ReplyTally
  readonly #head = new Uint8Array(HEAD_BYTES)
  #headFilled = 0
  #skip = 0
  #awaited = 0

  constructor(tally: ReplyTally) {
    this.#tally = tally
  }

  expect(batch: Batch): void {
    this.#awaited += batch.requests
  }

  take(bytes: Uint8Array, length: number): boolean {
    let at = 0
    while (at < length) {
      if (this.#headFilled < HEAD_BYTES) {
        this.#head[this.#headFilled++] = bytes[at++] ?? 0
        if (this.#headFilled === HEAD_BYTES) this.#readHead()
      } else {
        const step = Math.min(this.#skip, length - at)
        this.#skip -= step
        at += step
      }
      if (this.#headFilled === HEAD_BYTES && this.#skip === 0) this.#headFilled = 0
    }
    return this.#awaited === 0 && this.#headFilled === 0
  }

  #readHead(): void {
    const head = this.#head
    const frameBytes = readUint32(head, 0)
    const array = head[FRAME_HEADER_BYTES] ?? 0
    const status = head[FRAME_HEADER_BYTES + 1] ?? 0
    const firstOfId = head[FRAME_HEADER_BYTES + 2] ?? 0
    const isReply =
      frameBytes >= HEAD_BYTES - FRAME_HEADER_BYTES &&
      frameBytes <= REPLY_BYTES_MAX &&
      array >= FIXED_ARRAY_MIN &&
      array <= FIXED_ARRAY_MAX &&
      status <= FIXED_INTEGER_MAX
    if (!isReply) throw new Error('this is no reply of an ormuco-cache server; is the port right?')
    this.#skip = frameBytes - (HEAD_BYTES - FRAME_HEADER_BYTES)
    if (firstOfId === PUSH_REQUEST_ID) return
    if (this.#awaited === 0) throw new Error('a reply that nothing asked for')
    this.#awaited--
    this.#tally.count(status)
  }
}

/** A whole request frame in bytes of its own, as a client would write it. */
export function encodeFrame(opcode: number, operands: readonly (number | string | Uint8Array)[]): Buffer {
  const writer = new Writer(INITIAL_CAPACITY_BYTES)
  const start = writer.beginFrame(2 + operands.length)
  writer.int(opcode)
  writer.int(REQUEST_ID)
  for (const operand of operands) {
    if (typeof operand === 'number') writer.int(operand)
    else {
      writer.reserve(STRING_HEAD_BYTES + operand.length * (typeof operand === 'string' ? 3 : 1))
      if (typeof operand === 'string') writer.string(operand)
      else writer.binary(operand, 0, operand.length)
    }
  }
  writer.endFrame(start)
  return writer.bytes.subarray(0, writer.at)
}
