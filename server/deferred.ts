// Replies that wait: of writes that want other servers to have them first (`acks`).
//
// Between the SET and DELETE handlers and those who count acknowledgements. The write itself is done; what it is
// answered with is kept as bytes, and the number of acknowledgements written when it is known. Such replies leave when
// they are ready, not in the order of their requests.

import { ProtocolError } from '../protocol/errors.ts'
import { VERSION_BYTES } from '../protocol/limits.ts'
import { Status } from '../protocol/messages.ts'
import type { Reader } from '../protocol/reader.ts'
import { Writer } from '../protocol/writer.ts'
import type { Requester } from './handler.ts'
import type { Keyspace } from './keyspace.ts'
import type { Operands } from './operands.ts'
import type { Writes } from './writes.ts'

const REPLY_BYTES_MAX = 64
/** Replies held back at a time, of all connections; a write beyond is answered at once, with 0 acknowledgements. */
export const DEFERRED_MAX = 65_536
/** When a write that found no room should be asked for again, in ms. */
const RETRY_MS = 100

export class DeferredReplies {
  readonly #keyspace: Keyspace
  readonly #writes: Writes
  readonly #inFlightMax: number
  readonly #writer = new Writer(REPLY_BYTES_MAX)
  #held = 0

  /** `inFlightMax`: of one connection. */
  constructor(keyspace: Keyspace, writes: Writes, inFlightMax: number) {
    this.#keyspace = keyspace
    this.#writes = writes
    this.#inFlightMax = inFlightMax
  }

  /** To be asked before anything is done. Throws an Overloaded if as many replies of this connection wait as may. */
  mustHaveRoom(requester: Requester): void {
    if (requester.deferred < this.#inFlightMax) return
    const text = `${this.#inFlightMax} requests of this connection wait for other servers already`
    throw new ProtocolError(Status.Overloaded, text, RETRY_MS)
  }

  /** False if there is nobody to wait for, or too many wait already. */
  stored(request: Reader, operands: Operands, requester: Requester): boolean {
    const { id } = request
    const version = new Uint8Array(VERSION_BYTES)
    this.#keyspace.writeVersion(this.#keyspace.written, new DataView(version.buffer), 0)
    return this.#wait(operands, requester, () => {
      const writer = this.#begin(Status.Ok, id, 3)
      writer.binary(version, 0, VERSION_BYTES)
      return writer
    })
  }

  deleted(request: Reader, operands: Operands, requester: Requester, status: Status): boolean {
    const { id } = request
    return this.#wait(operands, requester, () => this.#begin(status, id, 2))
  }

  /** `begin` writes the reply up to what others had; how many there were, and were waited for, follows. */
  #wait(operands: Operands, requester: Requester, begin: () => Writer): boolean {
    if (this.#held >= DEFERRED_MAX) return false
    const awaited = this.#writes.awaitAcks(operands.acks, operands.acksTimeoutMs, (acks) => {
      this.#held--
      const writer = begin()
      writer.int(acks)
      writer.int(awaited)
      writer.endFrame(0)
      requester.answer(writer.bytes.subarray(0, writer.at))
    })
    if (awaited === 0) return false
    this.#held++
    requester.defer()
    return true
  }

  #begin(status: Status, id: number, operands: number): Writer {
    const writer = this.#writer
    writer.at = 0
    writer.beginFrame(2 + operands)
    writer.int(status)
    writer.int(id)
    return writer
  }
}
