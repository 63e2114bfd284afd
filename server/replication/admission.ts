// Who is let in: whether the sender of a HELLO may have a link to this server. Changes nothing.
//
// Between a driver, which has just read a HELLO, and the replicator. Whoever is refused is told why.

import { PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN } from '../../protocol/limits.ts'
import type { LinkState } from './link-state.ts'
import type { PeerHello } from './peer-messages.ts'
import type { Replica } from './replica.ts'

/** Why a server is not let in. */
export type RefusalCode =
  | 'version'
  | 'cluster'
  | 'self'
  | 'label'
  | 'removed'
  | 'members'
  | 'certificate'
  | 'role'
  | 'secret'

export class PeerRefusal extends Error {
  override readonly name = 'PeerRefusal'
  readonly code: RefusalCode

  constructor(code: RefusalCode, message: string) {
    super(message)
    this.code = code
  }
}

/** Throws PeerRefusal if the sender of this HELLO is not to be let in. `live`: the link there is under its label. */
export function checkHello(
  hello: PeerHello,
  replica: Replica,
  cluster: string,
  live: LinkState | undefined,
): void {
  const { label, members } = replica
  if (hello.versionMin > PROTOCOL_VERSION_MAX || hello.versionMax < PROTOCOL_VERSION_MIN)
    throw new PeerRefusal(
      'version',
      `${label} speaks protocol versions ${PROTOCOL_VERSION_MIN} to ${PROTOCOL_VERSION_MAX}, ${hello.label} ${hello.versionMin} to ${hello.versionMax}`,
    )
  if (hello.cluster !== cluster)
    throw new PeerRefusal('cluster', `${label} is of cluster ${cluster}, ${hello.label} of ${hello.cluster}`)
  if (hello.boot === replica.boot) throw new PeerRefusal('self', `${label} has reached itself`)
  if (members.isRemoved(hello.boot))
    throw new PeerRefusal('removed', `${hello.label} was removed from the cluster: it must restart, empty`)
  if (hello.label === label || (live !== undefined && live.boot !== hello.boot))
    throw new PeerRefusal(
      'label',
      `there is a live server with the node id ${hello.label}: each needs its own`,
    )
  if (members.get(hello.label) === undefined && members.isFull)
    throw new PeerRefusal('members', `${label} has ${members.size} members, which is the most there may be`)
}
