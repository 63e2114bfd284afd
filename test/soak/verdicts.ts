// What must hold in a soak, and whether it did. Pure: from what was measured.

import { mebibytes, percentile } from '../bench/statistics.ts'
import type { PhaseOutcome, SoakOutcome } from './outcome.ts'
import { type AttackName, LASTING, type Sizes } from './plan.ts'
import type { Probed } from './probe.ts'

export interface Verdict {
  /** What kind it is; a run on a machine that measures nothing leaves 'latency' out. */
  kind: 'state' | 'memory' | 'latency'
  name: string
  allowed: string
  measured: string
  met: boolean
}

export interface Tolerances {
  /** 99th percentile under attack to that without. */
  p99Factor: number
  /** Memory after an attack to that before it. */
  memoryFactor: number
  /** What the server keeps of large buffers that were used, to use them again. */
  spareBytes: number
  /** A connection may cost so much while it is open. */
  connectionBytes: number
  /** What a server has for incomplete frames and for unsent replies of all connections. */
  partialBytes: number
  unsentBytes: number
  /** Of what attackers were to do, they must have done so much: else nothing was shown. */
  attackShare: number
}

const MIB = 1024 ** 2

export const TOLERANCES: Tolerances = {
  p99Factor: 3,
  memoryFactor: 1.1,
  spareBytes: 12 * MIB,
  connectionBytes: 16 * 1024,
  partialBytes: 64 * MIB,
  unsentBytes: 64 * MIB,
  attackShare: 0.5,
}

export function verdictsOf(outcome: SoakOutcome, tolerances: Tolerances = TOLERANCES): Verdict[] {
  const { phases, ordinary, witnesses, troubles } = outcome
  const attacks = phases.filter((phase) => phase.attacks.length > 0)
  return [
    state('the server neither crashed nor complained', troubles.length, troubles[0]),
    state('calls of ordinary clients that failed', ordinary.failed, ordinary.complaints[0]),
    state('values that ordinary clients got and nobody wrote', ordinary.wrong, ordinary.complaints[0]),
    state(`witnesses harmed, of ${witnesses.count}`, witnesses.harmed),
    state('attackers that came to grief themselves', outcome.loadFailures.length, outcome.loadFailures[0]),
    ...attacks.map((phase) => attacked(phase, outcome.sizes, tolerances)),
    ...attacks.map(({ name, settled }) =>
      state(`${name}: connections left over`, settled?.leftOver ?? Number.NaN),
    ),
    ...attacks.flatMap((phase) => memoryVerdicts(phase, outcome.keptAtFirst, tolerances)),
    ...latencyVerdicts(phases, tolerances),
  ]
}

/** How many times the 99th percentile of quiet is that of a phase. */
export function p99Ratio(phase: PhaseOutcome, quiet: PhaseOutcome | undefined): number {
  return percentile(phase.latenciesMs, 99) / percentile(quiet?.latenciesMs ?? new Float64Array(), 99)
}

function state(name: string, count: number, example?: string): Verdict {
  const measured = example === undefined || count === 0 ? `${count}` : `${count}: ${example.slice(0, 200)}`
  return { kind: 'state', name, allowed: '0', measured, met: count === 0 }
}

function attacked({ name, attacks, counts }: PhaseOutcome, sizes: Sizes, { attackShare }: Tolerances) {
  const shares = attacks.map((attack) => [attack, shareDone(attack, sizes, counts[attack])] as const)
  const shown = shares.map(([attack, share]) => `${attack} ${(share * 100).toFixed(0)} %`)
  return {
    kind: 'state' as const,
    name: `${name}: attackers that got through`,
    allowed: `>= ${attackShare * 100} %`,
    measured: shown.join(', '),
    met: shares.every(([, share]) => share >= attackShare),
  }
}

/** Of connections that stay, how many there were; of those that come and go, how many of those that tried got in. */
function shareDone(
  attack: AttackName,
  sizes: Sizes,
  { opened = 0, connected = 0, failed = 0, skipped = 0 }: Record<string, number> = {},
): number {
  if (!LASTING.has(attack)) return connected / Math.max(1, connected + failed + skipped)
  return Math.min(1, opened / sizes[attack])
}

function memoryVerdicts(
  { name, residentBeforeBytes, residentPeakBytes, openPeak, kept }: PhaseOutcome,
  atFirst: Probed | undefined,
  { memoryFactor, spareBytes, connectionBytes, partialBytes, unsentBytes }: Tolerances,
): Verdict[] {
  const base = (bytes = Number.NaN) => memoryFactor * bytes + spareBytes
  const highest = base(atFirst?.residentBytes) + partialBytes + unsentBytes + connectionBytes * openPeak
  const used = ({ heapBytes, externalBytes }: Probed) => heapBytes + externalBytes
  return [
    bounded(`${name}: resident at its highest`, residentPeakBytes, highest),
    bounded(
      `${name}: JS heap and buffers afterwards, without garbage`,
      kept && used(kept),
      base(atFirst && used(atFirst)),
    ),
    bounded(`${name}: resident afterwards, without garbage`, kept?.residentBytes, base(residentBeforeBytes)),
  ]
}

function bounded(name: string, bytes = Number.NaN, max = Number.NaN): Verdict {
  return {
    kind: 'memory',
    name,
    allowed: `<= ${mebibytes(max)} MiB`,
    measured: `${mebibytes(bytes)} MiB`,
    met: bytes <= max,
  }
}

function latencyVerdicts([quiet, ...others]: readonly PhaseOutcome[], { p99Factor }: Tolerances): Verdict[] {
  return others.map((phase) => {
    const ratio = p99Ratio(phase, quiet)
    return {
      kind: 'latency',
      name: `${phase.name}: p99 of ordinary clients, times that of quiet`,
      allowed: `<= ${p99Factor}`,
      measured: ratio.toFixed(1),
      met: ratio <= p99Factor,
    }
  })
}
