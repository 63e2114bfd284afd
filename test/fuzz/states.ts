// Everything that takes bytes of strangers, as the fuzzer knows it.

import { announcementState } from './announcement-state.ts'
import { clientState } from './client-state.ts'
import { credentialsState } from './credentials-state.ts'
import { dialedState } from './dialed-state.ts'
import type { State } from './engine.ts'
import { greetingState } from './greeting-state.ts'
import { peerState } from './peer-state.ts'
import { replyState } from './reply-state.ts'
import { valueState } from './value-state.ts'

export const STATES: readonly State[] = [
  greetingState,
  clientState,
  peerState,
  dialedState,
  replyState,
  valueState,
  announcementState,
  credentialsState,
]

/** Of a hundred inputs: most where most can be broken, few where each takes milliseconds. */
const SHARES: Readonly<Record<string, number>> = {
  [greetingState.name]: 25,
  [clientState.name]: 30,
  [peerState.name]: 13,
  [dialedState.name]: 1,
  [replyState.name]: 2,
  [valueState.name]: 17,
  [announcementState.name]: 7,
  [credentialsState.name]: 5,
}

/** How many of so many inputs each state gets, if only these are played. */
export function inputsOf(inputs: number, states: readonly State[]): Map<State, number> {
  const sum = states.reduce((all, { name }) => all + (SHARES[name] ?? 0), 0)
  return new Map(states.map((state) => [state, Math.ceil((inputs * (SHARES[state.name] ?? 0)) / sum)]))
}
