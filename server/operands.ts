// Operands that several commands share: read and checked here, once. Throws ProtocolError for what it cannot take.
// What it hands out are views of the frame, reused by the next request.

import { ProtocolError } from '../protocol/errors.ts'
import {
  ACKS_ALL,
  ACKS_TIMEOUT_MS_DEFAULT,
  ACKS_TIMEOUT_MS_MAX,
  KEY_BYTES_MAX,
  MEMBERS_MAX,
  TTL_MS_MAX,
  VERSION_BYTES,
} from '../protocol/limits.ts'
import { Condition, Status } from '../protocol/messages.ts'
import { emptyRange, type Reader } from '../protocol/reader.ts'
import { isTtl, TTL_DEFAULT } from './keyspace.ts'
import type { Span } from './store/store.ts'

export class Operands {
  readonly key: Span = emptyRange()
  readonly value: Span = emptyRange()
  readonly version: Span = emptyRange()
  /** After `readAcks`: 0 to MEMBERS_MAX, or ACKS_ALL; and ms. */
  acks = 0
  acksTimeoutMs = 0
  readonly #valueBytesMax: number

  constructor(valueBytesMax: number) {
    this.#valueBytesMax = valueBytesMax
  }

  readKey(request: Reader): Span {
    request.required('key')
    return this.takeKey(request)
  }

  /** A key where it stands, in a list too. */
  takeKey(request: Reader): Span {
    request.range(this.key)
    if (this.key.length === 0) throw new ProtocolError(Status.BadOperand, 'a key has at least 1 byte, got 0')
    if (this.key.length > KEY_BYTES_MAX)
      throw new ProtocolError(
        Status.KeyTooLarge,
        `a key has at most ${KEY_BYTES_MAX} bytes, got ${this.key.length}`,
      )
    return this.key
  }

  takeFlags(request: Reader): number {
    const flags = request.uint()
    if (flags > 255) throw new ProtocolError(Status.BadOperand, `flags are one byte, got ${flags}`)
    return flags
  }

  takeValue(request: Reader): Span {
    request.range(this.value)
    if (this.value.length > this.#valueBytesMax)
      throw new ProtocolError(
        Status.ValueTooLarge,
        `a value has at most ${this.#valueBytesMax} bytes here, got ${this.value.length}`,
      )
    return this.value
  }

  readTtlMs(request: Reader): number {
    if (!request.optional()) return TTL_DEFAULT
    const ttlMs = request.uint()
    if (!isTtl(ttlMs))
      throw new ProtocolError(
        Status.BadOperand,
        `a time to live is 0 (none) to ${TTL_MS_MAX} ms, got ${ttlMs}`,
      )
    return ttlMs
  }

  readCondition(request: Reader): Condition {
    if (!request.optional()) return Condition.None
    const condition = request.uint()
    for (const known of Object.values(Condition)) if (condition === known) return known
    throw new ProtocolError(Status.BadOperand, `a condition is 0 to 3, got ${condition}`)
  }

  readVersion(request: Reader, condition: Condition): Span {
    if (request.optional()) request.range(this.version)
    else this.version.length = 0
    if (condition === Condition.Version && this.version.length !== VERSION_BYTES)
      throw new ProtocolError(
        Status.BadOperand,
        `a version has ${VERSION_BYTES} bytes, got ${this.version.length}`,
      )
    return this.version
  }

  /** Write concern: how many other servers should have the write before it is answered, and for how long to wait. */
  readAcks(request: Reader): void {
    this.acks = request.optional() ? request.uint() : 0
    if (this.acks > MEMBERS_MAX && this.acks !== ACKS_ALL)
      throw new ProtocolError(
        Status.BadOperand,
        `acks are 0 to ${MEMBERS_MAX}, or ${ACKS_ALL} for all, got ${this.acks}`,
      )
    this.acksTimeoutMs = request.optional() ? request.uint() : ACKS_TIMEOUT_MS_DEFAULT
    if (this.acksTimeoutMs > ACKS_TIMEOUT_MS_MAX)
      throw new ProtocolError(
        Status.BadOperand,
        `acks are waited for at most ${ACKS_TIMEOUT_MS_MAX} ms, got ${this.acksTimeoutMs}`,
      )
  }
}
