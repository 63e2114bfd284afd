// The fuzzer as a test: the same inputs each time, unless FUZZ_SEED names another seed; `npm run fuzz` plays more of them.
// Whatever comes in, in every state: nothing is thrown, nobody else is touched, and memory is back where it was.

import { describe, expect, test } from 'vitest'
import { announcementState } from './announcement-state.ts'
import { clientState } from './client-state.ts'
import { credentialsState } from './credentials-state.ts'
import { dialedState } from './dialed-state.ts'
import { addOutcomes, noOutcomes, type Outcomes, playState, type State } from './engine.ts'
import { greetingState } from './greeting-state.ts'
import { fillSpares, heldBytes, memoryGrowth } from './memory.ts'
import { peerState } from './peer-state.ts'
import { replyState } from './reply-state.ts'
import { missingOutcomes, toldFailure } from './report.ts'
import { STATES } from './states.ts'
import { valueState } from './value-state.ts'

const SEED = Number(process.env['FUZZ_SEED'] ?? 1)
/** Worlds whose first inputs make what is made once and kept: code, tables, spare buffers. */
const WARM_UP = 0.25

/** As many as a quarter of a minute is enough for on a quiet machine, most of them where there is most to be broken. */
const INPUTS: readonly (readonly [State, number])[] = [
  [greetingState, 50_000],
  [clientState, 60_000],
  [peerState, 20_000],
  [dialedState, 500],
  [replyState, 1_000],
  [valueState, 42_000],
  [announcementState, 14_000],
  [credentialsState, 12_500],
]

describe(`seed ${SEED}`, () => {
  const totals = new Map<State, Outcomes>()
  let beforeBytes = 0

  /** The worlds from `from` to `to`, as parts of all inputs. */
  async function play(state: State, inputs: number, from: number, to: number): Promise<void> {
    const worlds = Math.ceil(inputs / state.inputsPerWorld)
    const [first, end] = [Math.round(worlds * from), Math.round(worlds * to)]
    const outcomes = noOutcomes()
    const failure = await playState(state, SEED, (end - first) * state.inputsPerWorld, outcomes, {}, first)
    const total = totals.get(state) ?? noOutcomes()
    addOutcomes(total, outcomes)
    totals.set(state, total)
    if (failure !== undefined) expect.fail(toldFailure(failure))
  }

  test('some of each, before memory is measured', async () => {
    for (const [state, inputs] of INPUTS) await play(state, inputs, 0, WARM_UP)
    fillSpares()
    beforeBytes = await heldBytes()
  }, 600_000)

  test.each(INPUTS.map(([state, inputs]) => [state.name, inputs, state] as const))(
    '%s: %i inputs',
    async (_, inputs, state) => {
      await play(state, inputs, WARM_UP, 1)
      expect(missingOutcomes(state.outcomes, totals.get(state) ?? noOutcomes())).toEqual([])
    },
    600_000,
  )

  test('memory is back where it was', async () => {
    expect(memoryGrowth(beforeBytes, await heldBytes())).toBeUndefined()
  }, 60_000)

  test('every state has its share', () => {
    expect(INPUTS.map(([state]) => state.name).sort()).toEqual(STATES.map(({ name }) => name).sort())
    expect([...totals.values()].reduce((sum, { inputs }) => sum + inputs, 0)).toBeGreaterThanOrEqual(200_000)
  })
})
