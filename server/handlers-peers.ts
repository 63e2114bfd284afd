// Handlers of the commands about other servers: PEERS, LAG, FORGET_PEER.
//
// Between sessions and the mesh, of which it knows three functions. What a peer's facts mean is told in peer-status.ts.

import { ProtocolError } from '../protocol/errors.ts'
import { Opcode, Status } from '../protocol/messages.ts'
import type { Handler } from './handler.ts'
import type { PeerStatus } from './peer-status.ts'
import { TEXT_BYTES_MAX } from './replication/peer-messages.ts'
import { beginReply, REPLY_HEAD_BYTES, replyStatus } from './replies.ts'

/** What the commands ask of the mesh. */
export interface PeerCommands {
  peers(): readonly PeerStatus[]
  /** False if there is no member with this node id. */
  forget(nodeId: string): boolean
}

export function peerHandlers(commands: PeerCommands): (Handler | undefined)[] {
  const handlers: (Handler | undefined)[] = []

  handlers[Opcode.Peers] = (request, output) => {
    request.close()
    output.room(REPLY_HEAD_BYTES)
    const start = beginReply(output, request, Status.Ok, 1)
    output.any(commands.peers())
    output.endFrame(start)
  }

  handlers[Opcode.Lag] = (request, output) => {
    request.close()
    output.room(REPLY_HEAD_BYTES)
    const start = beginReply(output, request, Status.Ok, 1)
    output.any(
      commands.peers().map(({ nodeId, state, lagMs, lagRecords, ackedSeq, tailSeq }) => ({
        nodeId,
        state,
        lagMs,
        lagRecords,
        ackedSeq,
        tailSeq,
      })),
    )
    output.endFrame(start)
  }

  handlers[Opcode.ForgetPeer] = (request, output) => {
    request.required('node id')
    const nodeId = request.string()
    request.close()
    const bytes = Buffer.byteLength(nodeId)
    if (bytes === 0 || bytes > TEXT_BYTES_MAX)
      throw new ProtocolError(Status.BadOperand, `a node id has 1 to ${TEXT_BYTES_MAX} bytes, got ${bytes}`)
    replyStatus(output, request, commands.forget(nodeId) ? Status.Ok : Status.Miss)
  }

  return handlers
}
