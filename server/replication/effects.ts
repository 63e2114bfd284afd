// What the replication core is given by whoever drives it, and asks of it: the mesh with its sockets, or a simulation with
// its network.

import type { HybridClock } from '../clock.ts'
import type { BootId } from '../origins.ts'
import type { Store } from '../store/store.ts'
import type { LinkState } from './link-state.ts'
import type { Member } from './members.ts'
import type { Channel } from './peer-messages.ts'
import type { ReplicationOptions } from './replica.ts'

/** What a replicator is made of. */
export interface ReplicatorSetup {
  store: Store
  clock: HybridClock
  boot: BootId
  label: string
  cluster: string
  region: string
  options: ReplicationOptions
  effects: ReplicationEffects
  /** Of values that this server's clients may read and write. Default: no limit. */
  valueBytesMax?: number | undefined
}

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
  | 'round ended'
  | 'round started'
