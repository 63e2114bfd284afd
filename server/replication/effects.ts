// What the replication core asks of whoever drives it: the mesh with its sockets, or a simulation with its network.

import type { BootId } from '../origins.ts'
import type { LinkState } from './link-state.ts'
import type { Member } from './members.ts'
import type { Channel } from './peer-messages.ts'

/** What the core asks of its driver. */
export interface ReplicationEffects {
  /** Sends a frame; the bytes are lent until it returns. */
  send(link: LinkState, channel: Channel, bytes: Uint8Array): void
  /** What the bulk connection has not sent yet, in bytes. */
  unsentBytes(link: LinkState): number
  /** Uniform in [0, 1). */
  random(): number
  /** 8 random bytes as 16 hexadecimal digits. */
  newBoot(): BootId
  /** This server has another boot: all links must be made anew. */
  onBoot(boot: BootId): void
  /** Members that were not known before: somebody should dial them. */
  onMembers(members: readonly Member[]): void
  /** For the log. */
  event(name: ReplicationEvent, facts: Record<string, unknown>): void
}

export type ReplicationEvent =
  | 'clock skew'
  | 'clocks apart'
  | 'clock set back'
  | 'member forgotten'
  | 'member removed'
  | 'refused by peer'
  | 'round started'
