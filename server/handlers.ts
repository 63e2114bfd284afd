// Opcode -> handler: reads the operands, asks the keyspace, writes one reply. Synchronous, no I/O.
//
// Between sessions, which bring whole frames, and the keyspace, which knows what commands mean. A handler reads and
// checks every operand before it changes anything; it throws ProtocolError for what it cannot read, and the session
// answers with that. Replies are described in protocol/messages.ts.

import { ProtocolError } from '../protocol/errors.ts'
import {
  BOOT_ID_BYTES,
  CLIENT_NAME_BYTES_MAX,
  FRAME_OVERHEAD_BYTES_MAX,
  PING_BYTES_MAX,
  PROTOCOL_VERSION_MAX,
  PROTOCOL_VERSION_MIN,
} from '../protocol/limits.ts'
import { Capability, Opcode, Status, Want } from '../protocol/messages.ts'
import type { Reader } from '../protocol/reader.ts'
import type { Access } from './access.ts'
import { DeferredReplies } from './deferred.ts'
import type { Handler } from './handler.ts'
import { authHandlers } from './handlers-auth.ts'
import { manyKeyHandlers } from './handlers-many.ts'
import { type PeerCommands, peerHandlers } from './handlers-peers.ts'
import { type Keyspace, WriteOutcome } from './keyspace.ts'
import { Operands } from './operands.ts'
import type { Output } from './output.ts'
import { beginReply, REPLY_HEAD_BYTES, refusal, replyStatus, writeTtl, writeVersion } from './replies.ts'
import type { Identity, ServerStats } from './statistics.ts'
import { emptyHead, NO_SLOT } from './store/store.ts'
import type { Writes } from './writes.ts'

export interface HandlerContext {
  keyspace: Keyspace
  identity: Identity
  valueBytesMax: number
  /** Replies of one connection that wait for other servers. */
  requestsInFlightMax: number
  /** Who may come in. */
  access: Access
  /** What other servers do for a write. */
  writes: Writes
  /** What is known of other servers. */
  peers: PeerCommands
  stats(): ServerStats
}

/** All handlers by opcode; where there is none, the opcode is unknown. */
export function makeHandlers(context: HandlerContext): readonly (Handler | undefined)[] {
  const handlers: (Handler | undefined)[] = []
  const { keyspace } = context
  const { store } = keyspace
  const operands = new Operands(context.valueBytesMax)
  const head = emptyHead()
  const deferred = new DeferredReplies(keyspace, context.writes, context.requestsInFlightMax)

  handlers[Opcode.Hello] = (request, output, requester) => {
    const lowest = request.optional() ? request.uint() : PROTOCOL_VERSION_MIN
    const highest = request.optional() ? request.uint() : lowest
    if (request.optional()) request.uint()
    const name = request.optional() ? request.string() : ''
    request.close()
    if (Buffer.byteLength(name) > CLIENT_NAME_BYTES_MAX)
      throw new ProtocolError(Status.BadOperand, `a client name has at most ${CLIENT_NAME_BYTES_MAX} bytes`)
    if (lowest > PROTOCOL_VERSION_MAX || highest < PROTOCOL_VERSION_MIN)
      throw new ProtocolError(
        Status.UnsupportedVersion,
        `this server speaks versions ${PROTOCOL_VERSION_MIN} to ${PROTOCOL_VERSION_MAX}, the client ${lowest} to ${highest}`,
      )
    requester.clientName = name
    const { identity } = context
    output.room(REPLY_HEAD_BYTES + 4 * 256)
    const start = beginReply(output, request, Status.Ok, 9)
    output.int(Math.min(highest, PROTOCOL_VERSION_MAX))
    output.int(requester.mustAuthenticate ? Capability.Authentication : Capability.None)
    output.string(identity.version)
    output.string(identity.nodeId())
    output.binary(identity.bootId(), 0, BOOT_ID_BYTES)
    output.string(identity.region)
    output.string(identity.cluster)
    output.int(context.valueBytesMax)
    output.int(context.valueBytesMax + FRAME_OVERHEAD_BYTES_MAX)
    output.endFrame(start)
  }

  handlers[Opcode.Ping] = (request, output) => {
    const payload = operands.value
    if (request.optional()) request.range(payload)
    else payload.length = 0
    request.close()
    if (payload.length > PING_BYTES_MAX)
      throw new ProtocolError(
        Status.BadOperand,
        `a PING echoes at most ${PING_BYTES_MAX} bytes, got ${payload.length}`,
      )
    output.room(REPLY_HEAD_BYTES + payload.length)
    const start = beginReply(output, request, Status.Ok, 1)
    output.binary(payload.bytes, payload.at, payload.length)
    output.endFrame(start)
  }

  handlers[Opcode.Get] = (request, output) => {
    const key = operands.readKey(request)
    const wantsMeta = request.optional() && (request.uint() & Want.Meta) !== 0
    request.close()
    const slot = keyspace.get(key)
    if (slot === NO_SLOT) {
      replyStatus(output, request, Status.Miss)
      return
    }
    const valueBytes = store.valueBytes(slot)
    output.room(REPLY_HEAD_BYTES + valueBytes)
    const start = beginReply(output, request, Status.Ok, wantsMeta ? 4 : 2)
    output.int(store.flags(slot))
    output.binaryHead(valueBytes)
    store.copyValue(slot, output.bytes, output.at, output.view)
    output.at += valueBytes
    if (wantsMeta) {
      store.head(slot, head)
      writeVersion(output, keyspace, head)
      writeTtl(output, keyspace.ttlMs(slot))
    }
    output.endFrame(start)
  }

  handlers[Opcode.Set] = (request, output, requester) => {
    const key = operands.readKey(request)
    request.required('flags')
    const flags = operands.takeFlags(request)
    request.required('value')
    const value = operands.takeValue(request)
    const ttlMs = operands.readTtlMs(request)
    const condition = operands.readCondition(request)
    const version = operands.readVersion(request, condition)
    operands.readAcks(request)
    request.close()
    if (operands.acks > 0) deferred.mustHaveRoom(requester)
    const outcome = keyspace.set(key, flags, value, ttlMs, condition, version)
    if (outcome === WriteOutcome.Stored) {
      if (operands.acks > 0 && deferred.stored(request, operands, requester)) return
      output.room(REPLY_HEAD_BYTES)
      const start = beginReply(output, request, Status.Ok, 2)
      writeVersion(output, keyspace, keyspace.written)
      output.int(0)
      output.endFrame(start)
    } else if (outcome === WriteOutcome.Conflict) {
      output.room(REPLY_HEAD_BYTES)
      const start = beginReply(output, request, Status.Conflict, 1)
      if (keyspace.conflictSlot === NO_SLOT) output.nil()
      else {
        store.head(keyspace.conflictSlot, head)
        writeVersion(output, keyspace, head)
      }
      output.endFrame(start)
    } else throw refusal(outcome, key.length + value.length)
  }

  handlers[Opcode.Delete] = (request, output, requester) => {
    const key = operands.readKey(request)
    operands.readAcks(request)
    request.close()
    if (operands.acks > 0) deferred.mustHaveRoom(requester)
    const outcome = keyspace.delete(key)
    if (outcome !== WriteOutcome.Stored) throw refusal(outcome, key.length)
    const status = keyspace.existed ? Status.Ok : Status.Miss
    if (operands.acks > 0 && deferred.deleted(request, operands, requester, status)) return
    replyStatus(output, request, status)
  }

  handlers[Opcode.Touch] = (request, output) => {
    const key = operands.readKey(request)
    const ttlMs = operands.readTtlMs(request)
    request.close()
    if (!keyspace.touch(key, ttlMs)) {
      replyStatus(output, request, Status.Miss)
      return
    }
    output.room(REPLY_HEAD_BYTES)
    const start = beginReply(output, request, Status.Ok, 1)
    writeVersion(output, keyspace, keyspace.written)
    output.endFrame(start)
  }

  handlers[Opcode.Inspect] = (request, output) => {
    const key = operands.readKey(request)
    request.close()
    const slot = keyspace.peek(key)
    if (slot === NO_SLOT) {
      replyStatus(output, request, Status.Miss)
      return
    }
    store.head(slot, head)
    output.room(REPLY_HEAD_BYTES)
    const start = beginReply(output, request, Status.Ok, 5)
    output.int(head.flags)
    output.int(head.valueBytes)
    writeVersion(output, keyspace, head)
    writeTtl(output, keyspace.ttlMs(slot))
    writeTtl(output, head.lifetimeMs === 0 ? Number.POSITIVE_INFINITY : head.lifetimeMs)
    output.endFrame(start)
  }

  const increment = (request: Reader, output: Output, sign: 1 | -1) => {
    const key = operands.readKey(request)
    const by = request.optional() ? request.int() : 1
    const start = request.optional() ? request.int() : 0
    const ttlMs = operands.readTtlMs(request)
    request.close()
    const outcome = keyspace.increment(key, sign * by, start, ttlMs)
    if (outcome !== WriteOutcome.Stored) throw refusal(outcome, key.length)
    output.room(REPLY_HEAD_BYTES)
    const frame = beginReply(output, request, Status.Ok, 2)
    output.int(keyspace.number)
    writeVersion(output, keyspace, keyspace.written)
    output.endFrame(frame)
  }
  handlers[Opcode.Increment] = (request, output) => increment(request, output, 1)
  handlers[Opcode.Decrement] = (request, output) => increment(request, output, -1)

  handlers[Opcode.Clear] = (request, output) => {
    request.close()
    keyspace.clear()
    replyStatus(output, request, Status.Ok)
  }

  handlers[Opcode.Stats] = (request, output) => {
    const section = request.optional() ? request.string() : ''
    request.close()
    const stats: object = context.stats()
    const known = new Map(Object.entries(stats))
    if (section !== '' && !known.has(section))
      throw new ProtocolError(
        Status.BadOperand,
        `no section ${JSON.stringify(section.slice(0, 40))}; there are ${[...known.keys()].join(', ')}`,
      )
    output.room(REPLY_HEAD_BYTES)
    const start = beginReply(output, request, Status.Ok, 1)
    output.any(section === '' ? stats : { [section]: known.get(section) })
    output.endFrame(start)
  }

  handlers[Opcode.Quit] = (request, output, requester) => {
    request.close()
    replyStatus(output, request, Status.Ok)
    requester.quit()
  }

  return Object.assign(
    handlers,
    manyKeyHandlers(keyspace, operands, context.valueBytesMax),
    peerHandlers(context.peers),
    authHandlers(context.access),
  )
}
