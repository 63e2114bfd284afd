// A failure made small: which of the actions of a plan are needed for it, and the lines that tell what then happens.

import type { Action, Plan } from './plan.ts'
import { simulate } from './simulation.ts'

const RUNS_MAX = 300
const LINES_MAX = 60

/** The plan with as few actions as can be found that still break the same invariant. */
export function shrink(plan: Plan): Plan {
  const invariant = simulate(plan).violation?.invariant
  let { actions } = plan
  let runs = 0
  const fails = (fewer: Action[]) =>
    runs++ < RUNS_MAX && simulate({ ...plan, actions: fewer }).violation?.invariant === invariant
  for (let size = Math.ceil(actions.length / 2); size >= 1 && runs < RUNS_MAX; size = Math.floor(size / 2))
    for (let at = 0; at < actions.length; ) {
      const fewer = [...actions.slice(0, at), ...actions.slice(at + size)]
      if (fails(fewer)) actions = fewer
      else at += size
    }
  return { ...plan, actions }
}

/** The last lines of what concerns the failure of a plan. */
export function trace(plan: Plan): string[] {
  const key = simulate(plan).violation?.key
  const lines: string[] = []
  simulate(plan, {
    onLine: (atMs, text, about) => {
      if (about === undefined || key === undefined || about === key)
        lines.push(`${atMs.toFixed(0).padStart(8)} ${text}`)
    },
  })
  return lines.slice(-LINES_MAX)
}
