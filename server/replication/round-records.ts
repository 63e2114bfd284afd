// RECORDS messages of a round in the making: records of any origin, collected until there are enough for a frame.
//
//   RECORDS [.., 0, id, hlc, F, [record…]]
//
// The head is written last, in front of the records: how many there are is known only then.

import { PUSH_REQUEST_ID } from '../../protocol/limits.ts'
import { PeerOpcode } from '../../protocol/messages.ts'
import { Writer } from '../../protocol/writer.ts'
import { emptyHead, type RecordHead, type Slot } from '../store/store.ts'
import type { RecordWriter } from './records.ts'
import type { Replica } from './replica.ts'

const FRAME_BYTES = 64 * 1024
const HEAD_BYTES = 64

export class RoundRecords {
  readonly #replica: Replica
  readonly #records: RecordWriter
  readonly #writer = new Writer(FRAME_BYTES * 2)
  readonly #head: RecordHead = emptyHead()
  readonly #frameHead = new Writer(HEAD_BYTES)
  #count = 0

  constructor(replica: Replica, records: RecordWriter) {
    this.#replica = replica
    this.#records = records
    this.#writer.at = HEAD_BYTES
  }

  get isFull(): boolean {
    return this.#writer.at >= FRAME_BYTES
  }

  add(slot: Slot): void {
    this.#replica.store.head(slot, this.#head)
    this.#records.write(this.#writer, slot, this.#head, true)
    this.#count++
  }

  /** The frame of what was added, lent until the next `add`; undefined if there is nothing. */
  take(id: number): Uint8Array | undefined {
    const writer = this.#writer
    const count = this.#count
    const end = writer.at
    this.#count = 0
    writer.at = HEAD_BYTES
    if (count === 0) return undefined
    const head = this.#frameHead
    head.at = 0
    head.beginFrame(6)
    head.int(PeerOpcode.RoundRecords)
    head.int(PUSH_REQUEST_ID)
    head.int(id)
    head.int(this.#replica.clock.last)
    head.int(this.#replica.watermark)
    head.array(count)
    const from = HEAD_BYTES - head.at
    head.bytes.copy(writer.bytes, from, 0, head.at)
    writer.view.setInt32(from, end - from - 4)
    return writer.bytes.subarray(from, end)
  }
}
