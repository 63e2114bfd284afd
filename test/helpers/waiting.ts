// For scenarios that take seconds: asking until something is so, and what was measured on the way, for people.

import { setTimeout as wait } from 'node:timers/promises'

/** More than the slowest scenario needs on a machine that is busy with other things. */
const PATIENCE_MS = 45_000
const POLL_MS = 25

/** Asks until the answer fits; fails with the last answer. An error counts as an answer that does not fit. */
export async function until<T>(
  what: string,
  ask: () => T | Promise<T>,
  fits: (answer: T) => boolean,
  patienceMs: number = PATIENCE_MS,
): Promise<T> {
  const fromMs = performance.now()
  for (;;) {
    let last: unknown
    try {
      const answer = await ask()
      if (fits(answer)) return answer
      last = answer
    } catch (error) {
      last = error instanceof Error ? error.message : error
    }
    if (performance.now() - fromMs > patienceMs)
      throw new Error(`not within ${patienceMs} ms: ${what}; last: ${JSON.stringify(last)}`)
    await wait(POLL_MS)
  }
}

/** One line of what a scenario measured. */
export function tell(scenario: string, facts: Record<string, string | number>): void {
  const told = Object.entries(facts).map(([name, fact]) => `${name} ${fact}`)
  console.log(`${scenario}: ${told.join(', ')}`)
}

/** Milliseconds since it was made. */
export function stopwatch(): () => number {
  const fromMs = performance.now()
  return () => Math.round(performance.now() - fromMs)
}
