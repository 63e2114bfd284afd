// Many seeds, one after another: what failed, and how often each rule fired.

import { planOf, type Topology } from './plan.ts'
import { simulate } from './simulation.ts'

/** Every seed that this divides runs twice, and must come to the same bytes. */
const TWICE_EVERY = 1000

export interface BatchResult {
  seeds: number
  failures: { seed: number; invariant: string; message: string }[]
  counters: Record<string, number>
}

/** Runs `count` seeds from `from` on, every `step`-th; stops after `failuresMax` failures. `onSeed` hears of each. */
export function runBatch(
  from: number,
  count: number,
  step: number,
  topology: Topology | undefined,
  failuresMax: number,
  onSeed: () => void = () => {},
): BatchResult {
  const result: BatchResult = { seeds: 0, failures: [], counters: {} }
  for (let seed = from; seed < from + count && result.failures.length < failuresMax; seed += step) {
    const isTwice = seed % TWICE_EVERY === 0
    const { violation, counters, hash } = simulate(planOf(seed, topology), { isHashed: isTwice })
    result.seeds++
    for (const [name, number] of Object.entries(counters))
      result.counters[name] = (result.counters[name] ?? 0) + number
    if (violation !== undefined)
      result.failures.push({ seed, invariant: violation.invariant, message: violation.message })
    else if (isTwice && simulate(planOf(seed, topology), { isHashed: true }).hash !== hash)
      result.failures.push({ seed, invariant: 'deterministic', message: 'the second run was another one' })
    onSeed()
  }
  return result
}

/** Adds one result to another. */
export function addResult(total: BatchResult, more: BatchResult): void {
  total.seeds += more.seeds
  total.failures.push(...more.failures)
  for (const [name, number] of Object.entries(more.counters))
    total.counters[name] = (total.counters[name] ?? 0) + number
}

/** What must have happened at least once in a thousand seeds, or its rule is not tested. */
const RULES = [
  'applied',
  'older',
  'flushedOnArrival',
  'ghostsNotImported',
  'declinedBelowHorizon',
  'declinedForRoom',
  'forgottenStable',
  'droppedUnstable',
  'purged',
  'smallRounds',
  'fullRounds',
  'roundsEqual',
  'rewinds',
  'refusedForSkew',
  'extended',
  'bootsChanged',
  'removals',
  'removed and restarted',
] as const

export function rulesThatNeverFired({ counters }: BatchResult): string[] {
  return RULES.filter((rule) => (counters[rule] ?? 0) === 0)
}
