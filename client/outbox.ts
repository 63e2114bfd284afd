// What leaves with the next write: the requests of one tick, in one buffer. Where a tick has many, the first ones leave
// while the others are made: the server works meanwhile.
//
// Between the calls, which write operands, and the link, which sends bytes. A frame counts from its `commit` on; one whose
// operands could not be written is simply written over. When the socket keeps the buffer, there is a new one.

import type { Link } from '../protocol/link.ts'
import type { Opcode } from '../protocol/messages.ts'
import { Writer } from '../protocol/writer.ts'
import type { Call } from './call.ts'
import { idDistance, type Ring } from './ring.ts'

/** Requests of one tick are written when there are so many with so many bytes: below, a write costs more than it gains. */
const EARLY_REQUESTS = 16
const EARLY_BYTES = 4096
/** So few are enough while nothing is in flight: the server would only wait. */
const FIRST_REQUESTS = 8
/** They are written at the latest when they fill this. */
const BUFFER_BYTES = 64 * 1024
const FRAME_HEADER_BYTES = 4

/** Where requests go. */
type Way = Pick<Link, 'write' | 'unsentBytes'>

export class Outbox {
  readonly #link: Way
  readonly #ring: Ring
  readonly #beforeFlush: (fromId: number) => void
  readonly #writer = new Writer(BUFFER_BYTES)
  #standardBuffer = this.#writer.bytes
  /** Bytes of whole frames in the writer, and the first id among them. */
  #committed = 0
  #committedFromId = 1
  #frameStart = 0
  #flushScheduled = false
  #backlogBytes = 0

  /** `beforeFlush` hears the first id of what is about to leave. */
  constructor(link: Way, ring: Ring, beforeFlush: (fromId: number) => void) {
    this.#link = link
    this.#ring = ring
    this.#beforeFlush = beforeFlush
  }

  get isEmpty(): boolean {
    return this.#committed === 0
  }

  /** Bytes that wait: for the end of the tick, or for the other side to read. */
  get waitingBytes(): number {
    if (this.#backlogBytes > 0) this.#backlogBytes = this.#link.unsentBytes
    return this.#committed + this.#backlogBytes
  }

  get #isEnough(): boolean {
    if (this.#committed >= BUFFER_BYTES) return true
    const requests = idDistance(this.#committedFromId, this.#ring.nextId)
    if (requests >= EARLY_REQUESTS) return this.#committed >= EARLY_BYTES
    return requests === FIRST_REQUESTS && this.#ring.size === requests
  }

  /** Begins a frame under the next id; operands follow. */
  begin(opcode: Opcode, operands: number): Writer {
    if (!this.#ring.isNextFree) this.#passOver()
    const writer = this.#writer
    writer.at = this.#committed
    writer.reserve(64)
    this.#frameStart = writer.beginFrame(2 + operands)
    writer.int(opcode)
    writer.int(this.#ring.nextId)
    return writer
  }

  /** The frame's operands are written. Returns its size in bytes, without the length before it. */
  endFrame(): number {
    this.#writer.endFrame(this.#frameStart)
    return this.#writer.at - this.#frameStart - FRAME_HEADER_BYTES
  }

  /** A copy of the frame that was ended last, instead of committing it. */
  copyFrame(): Buffer {
    return Buffer.from(this.#writer.bytes.subarray(this.#frameStart, this.#writer.at))
  }

  /** The frame that was ended last leaves at the end of this tick or earlier, as this call's request. */
  commit(call: Call): void {
    this.#ring.place(call)
    this.#committed = this.#writer.at
    if (this.#isEnough) this.flush()
    else if (!this.#flushScheduled) {
      this.#flushScheduled = true
      // From within a promise's continuation this runs when all of them have: their calls leave together.
      process.nextTick(this.#flushTick)
    }
  }

  /** Commits a frame that was copied before, under the next id. */
  commitCopy(frame: Buffer, call: Call): void {
    // Its id was free when it was copied; many others may have come and gone since.
    if (!this.#ring.isNextFree) this.#passOver()
    const writer = this.#writer
    writer.at = this.#committed
    writer.reserve(frame.length + 8)
    this.#frameStart = writer.at
    writer.at += FRAME_HEADER_BYTES
    // Array head and opcode are one byte each: there are few operands and opcodes.
    writer.raw(frame, FRAME_HEADER_BYTES, 2)
    writer.int(this.#ring.nextId)
    const rest = FRAME_HEADER_BYTES + 2 + encodedIntBytes(frame[FRAME_HEADER_BYTES + 2] as number)
    writer.raw(frame, rest, frame.length - rest)
    writer.endFrame(this.#frameStart)
    this.commit(call)
  }

  flush(): void {
    const length = this.#committed
    if (length === 0) return
    this.#beforeFlush(this.#committedFromId)
    const writer = this.#writer
    this.drop()
    writer.at = 0
    this.#backlogBytes = this.#link.unsentBytes
    if (this.#backlogBytes > 0) this.#link.write(Buffer.from(writer.bytes.subarray(0, length)))
    else if (!this.#link.write(writer.bytes.subarray(0, length))) {
      if (writer.bytes === this.#standardBuffer) this.#standardBuffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
    }
    if (writer.bytes !== this.#standardBuffer) writer.use(this.#standardBuffer)
    this.#backlogBytes = this.#link.unsentBytes
  }

  /** What is committed will not leave: the connection is gone. */
  drop(): void {
    this.#committed = 0
    this.#committedFromId = this.#ring.nextId
  }

  /** The connection is gone, and what it had not taken with it. */
  forgetBacklog(): void {
    this.#backlogBytes = 0
  }

  /** Whether the bytes of a call in the ring were handed to the link. */
  hasLeft(call: Call): boolean {
    if (this.#committed === 0) return true
    const from = this.#committedFromId
    return idDistance(from, call.id) >= idDistance(from, this.#ring.nextId)
  }

  readonly #flushTick = (): void => {
    this.#flushScheduled = false
    this.flush()
  }

  #passOver(): void {
    // So that the ids of what is committed are without a gap.
    this.flush()
    this.#ring.passOver()
    this.#committedFromId = this.#ring.nextId
  }
}

function encodedIntBytes(first: number): number {
  if (first < 0x80) return 1
  if (first === 0xcc) return 2
  return first === 0xcd ? 3 : 5
}
