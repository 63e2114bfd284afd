// Handlers of AUTH and AUTH_PROOF: the two steps by which a connection proves who it is.
//
// Between sessions and access.ts. A failure is one and the same answer, whatever was wrong (the name, the password, the
// mechanism, the order), and the connection closes; what it was stands in the log. A server that asks to be let in is
// told why not: whether there is a cluster secret is no secret.

import { ProtocolError } from '../protocol/errors.ts'
import { Opcode, Status } from '../protocol/messages.ts'
import { emptyRange, type Reader } from '../protocol/reader.ts'
import { SCRAM_MECHANISM, ScramError } from '../protocol/scram.ts'
import type { Access } from './access.ts'
import { CLUSTER_USER } from './cluster-secret.ts'
import type { Handler, Requester } from './handler.ts'
import { beginReply, REPLY_HEAD_BYTES } from './replies.ts'

const NO_SECRET = 'this server has no cluster secret'

export function authHandlers(access: Access): (Handler | undefined)[] {
  const handlers: (Handler | undefined)[] = []
  const message = emptyRange()

  handlers[Opcode.Auth] = (request, output, requester) => {
    request.required('mechanism')
    const mechanism = request.string()
    request.required('first message')
    const first = takeMessage(request)
    request.close()
    if (requester.challenge !== undefined) throw failed(requester, 'AUTH was said twice')
    if (mechanism !== SCRAM_MECHANISM) throw failed(requester, 'another mechanism')
    const challenge = access.challenge()
    requester.challenge = challenge
    const answer = answered(requester, () => challenge.first(first))
    if (challenge.name === CLUSTER_USER && access.secret === undefined)
      throw failed(requester, NO_SECRET, NO_SECRET)
    output.room(REPLY_HEAD_BYTES + answer.length)
    const start = beginReply(output, request, Status.Ok, 1)
    output.binary(answer, 0, answer.length)
    output.endFrame(start)
  }

  handlers[Opcode.AuthProof] = (request, output, requester) => {
    request.required('final message')
    const final = takeMessage(request)
    request.close()
    const { challenge } = requester
    if (challenge === undefined) throw failed(requester, 'a proof without AUTH')
    const { principal, serverFinal } = answered(requester, () => challenge.final(final))
    if (principal === undefined) throw failed(requester, 'unknown, or not any more')
    requester.authenticated(principal)
    output.room(REPLY_HEAD_BYTES + serverFinal.length)
    const start = beginReply(output, request, Status.Ok, 2)
    output.binary(serverFinal, 0, serverFinal.length)
    output.string(principal.role)
    output.endFrame(start)
  }

  function takeMessage(request: Reader): Uint8Array {
    request.range(message)
    return message.bytes.subarray(message.at, message.at + message.length)
  }

  return handlers
}

function answered<Answer>(requester: Requester, answer: () => Answer): Answer {
  try {
    return answer()
  } catch (error) {
    if (!(error instanceof ScramError)) throw error
    throw failed(requester, error.message)
  }
}

/** `why` is for the log, `text` for the other end. */
function failed(requester: Requester, why: string, text = 'authentication failed'): ProtocolError {
  requester.authenticationFailed(why)
  return new ProtocolError(Status.Unauthenticated, text)
}
