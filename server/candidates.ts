// Sessions of connections that were let in beyond the limits: for other servers alone (see admission.ts).
//
// Between the server and such sessions. They are as all others, but that they carry nothing out: a client that says
// anything is told that there are too many, and goes. What it takes to prove that one is a server works.

import { ProtocolError } from '../protocol/errors.ts'
import { Opcode, Status } from '../protocol/messages.ts'
import type { Visit } from './admission.ts'
import { RETRY_CONNECT_MS } from './arrivals.ts'
import type { Handler } from './handler.ts'
import type { SessionHost } from './session.ts'

const SERVERS_ASK: ReadonlySet<number> = new Set([Opcode.Auth, Opcode.AuthProof, Opcode.Ping, Opcode.Quit])

/** What the session of a candidate gets in place of `host`. Confirms the visit when it says what servers say. */
export function candidateHost(host: SessionHost, visit: Visit): SessionHost {
  const refuse: Handler = (_request, _output, requester) => {
    host.counters.refused++
    requester.quit()
    throw new ProtocolError(Status.Overloaded, 'too many connections', RETRY_CONNECT_MS)
  }
  return {
    ...host,
    handlers: host.handlers.map((handler, opcode) =>
      handler === undefined || SERVERS_ASK.has(opcode) ? handler : refuse,
    ),
    onPeer: (session, bytes, at, end) => {
      visit.confirm()
      return host.onPeer(session, bytes, at, end)
    },
  }
}
