// What a run of the fuzzer tells people: a violation with what it takes to see it again, and a line per state.

import type { Failure, Outcomes } from './engine.ts'

/** The smallest inputs in hex, chunk by chunk, and how to have the world again that they were found in. */
export function toldFailure({ state, seed, world, fault, message, inputs }: Failure): string {
  return [
    `${state}: ${fault}`,
    message,
    `seed ${seed}, world ${world}; again: npm run fuzz -- --states ${state} --seed ${seed} --world ${world}`,
    ...inputs.map(({ chunks, luck }, index) => {
      const bytes = chunks.map((chunk) => (chunk.length === 0 ? '-' : chunk.toString('hex'))).join(' ')
      return `input ${index + 1} of ${inputs.length}, luck ${luck}: ${bytes}`
    }),
  ].join('\n')
}

export function toldOutcomes(state: string, { inputs, counts, slowestMs }: Outcomes): string {
  const told = Object.entries(counts)
    .sort(([, one], [, other]) => other - one)
    .map(([outcome, count]) => `${outcome} ${count}`)
  return `${state}: ${inputs} inputs; ${told.join(', ')}; slowest ${slowestMs.toFixed(0)} ms`
}

/** What never came of the inputs of a state and must have; none for a run that is too short to tell. */
export function missingOutcomes(wanted: readonly string[], { inputs, counts }: Outcomes): string[] {
  if (inputs < TELLING_INPUTS) return []
  return wanted.filter((outcome) => (counts[outcome] ?? 0) < inputs / RARE)
}

const TELLING_INPUTS = 1000
/** Something that happens more seldom than in one of so many inputs is not tested. */
const RARE = 2000
