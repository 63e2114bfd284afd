// What was measured in a soak, phase by phase. Between soak.ts, which measures, and verdicts.ts and report.ts.

import type { AttackName, Sizes } from './plan.ts'
import type { Probed } from './probe.ts'
import type { Settled } from './watched-server.ts'

export interface PhaseOutcome {
  name: string
  attacks: readonly AttackName[]
  /** Of ordinary clients, in ms, in no order. */
  latenciesMs: Float64Array
  /** Of the server: before, at its highest, and in the end, when the attack was still there. */
  residentBeforeBytes: number
  residentPeakBytes: number
  residentEndBytes: number
  /** Without garbage, in the end, with the attack still there. Only where there are idle connections. */
  keptWithConnections: Probed | undefined
  /** When the attack was over. Undefined for a quiet phase. */
  settled: Settled | undefined
  /** After that, without garbage. */
  kept: Probed | undefined
  /** Longest turn of the server's event loop, in ms of processor time. */
  longestTurnMs: number
  /** Open connections at the most, and in the end. */
  openPeak: number
  openEnd: number
  /** Counted by the server during this phase. */
  accepted: number
  refused: number
  closedSlow: number
  /** In percent of one core: of the server, and of processes that are none of ours. */
  cpuPercent: number
  foreignPercent: number
  /** Attackers' own figures, by attack. */
  counts: Partial<Record<AttackName, Record<string, number>>>
}

export interface SoakOutcome {
  seed: number
  sizes: Sizes
  tls: boolean
  phases: readonly PhaseOutcome[]
  /** Of the server before the first phase, without garbage. */
  keptAtFirst: Probed | undefined
  ordinary: { calls: number; failed: number; wrong: number; complaints: readonly string[] }
  /** Values that were written first of all, and how many of them were not as they were written. */
  witnesses: { count: number; harmed: number }
  /** Standard error of the server, and how it ended. */
  troubles: readonly string[]
  warnings: ReadonlyMap<string, number>
  /** Of attackers that came to grief themselves: then there was less of an attack. */
  loadFailures: readonly string[]
}
