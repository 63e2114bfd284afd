// That a soak can fail: each verdict is met by a run in which nothing happened, and not by one in which that went wrong.

import { describe, expect, test } from 'vitest'
import type { PhaseOutcome, SoakOutcome } from './outcome.ts'
import type { Probed } from './probe.ts'
import { verdictsOf } from './verdicts.ts'

const MIB = 1024 ** 2
const KEPT: Probed = {
  residentBytes: 80 * MIB,
  heapBytes: 8 * MIB,
  externalBytes: 40 * MIB,
  longestTurnMs: 1,
}

const QUIET: PhaseOutcome = {
  name: 'quiet',
  attacks: [],
  latenciesMs: latencies(1),
  residentBeforeBytes: 80 * MIB,
  residentPeakBytes: 80 * MIB,
  residentEndBytes: 80 * MIB,
  keptWithConnections: undefined,
  settled: undefined,
  kept: KEPT,
  longestTurnMs: 1,
  openPeak: 0,
  openEnd: 0,
  accepted: 0,
  refused: 0,
  closedSlow: 0,
  cpuPercent: 5,
  foreignPercent: 0,
  counts: {},
}

const ATTACK: PhaseOutcome = {
  ...QUIET,
  name: 'together',
  attacks: ['idle', 'churn'],
  settled: { ms: 1000, leftOver: 0, residentBytes: 81 * MIB },
  openPeak: 1000,
  openEnd: 1000,
  counts: { idle: { opened: 1000 }, churn: { connected: 900, failed: 50, skipped: 50 } },
}

const OUTCOME: SoakOutcome = {
  seed: 1,
  sizes: { idle: 1000, churn: 2000, slow: 0, deaf: 0, malformed: 0 },
  tls: false,
  phases: [QUIET, ATTACK],
  keptAtFirst: KEPT,
  ordinary: { calls: 1000, failed: 0, wrong: 0, complaints: [] },
  witnesses: { count: 10, harmed: 0 },
  troubles: [],
  warnings: new Map([['connection refused', 3]]),
  loadFailures: [],
}

function latencies(factor: number): Float64Array {
  return Float64Array.from({ length: 1000 }, (_, number) => (factor * number) / 1000)
}

function unmet(change: Partial<SoakOutcome>, attack: Partial<PhaseOutcome> = {}): string[] {
  const phases = [QUIET, { ...ATTACK, ...attack }]
  const verdicts = verdictsOf({ ...OUTCOME, phases, ...change })
  return verdicts.filter(({ met }) => !met).map(({ name, measured }) => `${name}: ${measured}`)
}

test('a run in which nothing happened is fine', () => {
  expect(unmet({})).toEqual([])
})

describe('a run fails', () => {
  test('when the server crashed, and says how', () => {
    expect(unmet({ troubles: ['it ended: SIGSEGV'] }).join()).toMatch(/crashed.*1: it ended: SIGSEGV/)
  })

  test('when calls of ordinary clients did', () => {
    const ordinary = { calls: 10, failed: 1, wrong: 0, complaints: ['the connection was lost'] }
    expect(unmet({ ordinary }).join()).toMatch(/failed: 1: the connection was lost/)
    expect(unmet({ ordinary: { ...ordinary, failed: 0, wrong: 2 } }).join()).toMatch(/nobody wrote: 2/)
  })

  test('when a value was harmed', () => {
    expect(unmet({ witnesses: { count: 10, harmed: 1 } }).join()).toMatch(/witnesses harmed, of 10: 1/)
  })

  test('when there was no attack', () => {
    expect(unmet({ loadFailures: ['idle ended with 1'] }).join()).toMatch(/came to grief/)
    expect(unmet({}, { counts: {} }).join()).toMatch(/got through: idle 0 %, churn 0 %/)
    const skipped = { idle: { opened: 1000 }, churn: { connected: 10, failed: 0, skipped: 90 } }
    expect(unmet({}, { counts: skipped }).join()).toMatch(/got through: idle 100 %, churn 10 %/)
  })

  test('when connections are left over', () => {
    const settled = { ms: 20_000, leftOver: 3, residentBytes: 80 * MIB }
    expect(unmet({}, { settled }).join()).toMatch(/left over: 3/)
    expect(unmet({}, { settled: undefined }).join()).toMatch(/left over: NaN/)
  })

  test('when memory went too high: more than budgets and connections are worth', () => {
    expect(unmet({}, { residentPeakBytes: 250 * MIB }).join()).toMatch(/highest: 250 MiB/)
    // 16 KiB each
    expect(unmet({}, { residentPeakBytes: 250 * MIB, openPeak: 2000 })).toEqual([])
  })

  test('when memory was kept', () => {
    const kept = { ...KEPT, heapBytes: 30 * MIB }
    expect(unmet({}, { kept }).join()).toMatch(/without garbage: 70 MiB/)
    // A tenth of 80 MiB, and 12 of spare buffers.
    expect(unmet({}, { kept: { ...KEPT, residentBytes: 99 * MIB } })).toEqual([])
    expect(unmet({}, { kept: { ...KEPT, residentBytes: 101 * MIB } }).join()).toMatch(/resident afterwards/)
    expect(unmet({}, { kept: undefined })).toHaveLength(2)
  })

  test('when ordinary clients waited', () => {
    expect(unmet({}, { latenciesMs: latencies(2.9) })).toEqual([])
    expect(unmet({}, { latenciesMs: latencies(3.1) }).join()).toMatch(/p99.*: 3\.1/)
    expect(unmet({}, { latenciesMs: new Float64Array() }).join()).toMatch(/p99.*: NaN/)
  })
})
