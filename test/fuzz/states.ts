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
