// What both ends of an anti-entropy round are handed by whoever schedules rounds: the store and its rules, the means to
// send, and whom to tell when it is over.

import type { Writer } from '../../protocol/writer.ts'
import type { Forgetting } from './forgetting.ts'
import type { Knowledge } from './knowledge.ts'
import type { LinkState } from './link-state.ts'
import type { Replica } from './replica.ts'
import type { RoundRecords } from './round-records.ts'

/** What both ends of a round work with. */
export interface RoundTools {
  readonly replica: Replica
  readonly knowledge: Knowledge
  readonly forgetting: Forgetting
  readonly records: RoundRecords
  nonce(): Uint8Array
  /** The writer, emptied. */
  writer(): Writer
  /** Sends what was written on the bulk connection. */
  send(link: LinkState): void
  sendRecords(link: LinkState, id: number): void
  isBehind(link: LinkState): boolean
  /** Nothing from below it is taken back from now on. */
  raiseHorizon(horizon: number): void
  /** A round came to its end without a refusal. */
  complete(link: LinkState, agreedSeq: number, full: boolean): void
  /** Another round with this member, soon, and a full one. */
  again(link: LinkState): void
}
