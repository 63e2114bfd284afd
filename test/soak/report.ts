// A soak in words: the line of every few seconds, the table of phases and the verdicts.

import { disturbanceMark } from '../bench/machine.ts'
import { table } from '../bench/report.ts'
import { mebibytes, percentile } from '../bench/statistics.ts'
import type { PhaseOutcome, SoakOutcome } from './outcome.ts'
import type { Line } from './phase-watch.ts'
import { p99Ratio, type Verdict } from './verdicts.ts'

export function lineText(seconds: number, line: Line): string {
  const { phase, p50Ms, p99Ms, residentBytes, cpuPercent, foreignPercent, connections, attackers } = line
  const { clients, refused, closedSlow } = connections ?? { clients: '?', refused: '?', closedSlow: '?' }
  const who = attackers.map(([name, open]) => `${name} ${open}`).join(' ')
  return [
    `${seconds.toFixed(0).padStart(5)} s  ${phase.padEnd(11)}`,
    `p50 ${ms(p50Ms)} p99 ${ms(p99Ms)} ms`,
    `${mebibytes(residentBytes).padStart(5)} MiB`,
    `open ${`${clients}`.padStart(5)}`,
    `refused ${refused}`,
    `slow ${closedSlow}`,
    `cpu ${cpuPercent.toFixed(0).padStart(3)} %${disturbanceMark(foreignPercent)}`,
    ...(who === '' ? [] : [`(${who})`]),
  ].join('  ')
}

const HEADING = [
  'phase',
  'calls',
  'p50, ms',
  'p99, ms',
  'x quiet',
  'MiB before',
  'highest',
  'after',
  'kept',
  'JS heap',
  'buffers',
  'settled, s',
  'most open',
  'accepted',
  'refused',
  'closed slow',
  'cpu, %',
  'longest turn, ms',
]

export function phasesTable({ phases }: SoakOutcome): string {
  const [quiet] = phases
  return table(
    HEADING,
    phases.map((phase) => {
      const { settled, kept } = phase
      return [
        phase.name,
        `${phase.latenciesMs.length}`,
        percentile(phase.latenciesMs, 50).toFixed(2),
        percentile(phase.latenciesMs, 99).toFixed(2) + disturbanceMark(phase.foreignPercent),
        p99Ratio(phase, quiet).toFixed(1),
        ...[phase.residentBeforeBytes, phase.residentPeakBytes].map(mebibytes),
        mebibytes(settled?.residentBytes ?? phase.residentEndBytes),
        ...[kept?.residentBytes, kept?.heapBytes, kept?.externalBytes].map((bytes) =>
          mebibytes(bytes ?? NaN),
        ),
        settled === undefined ? '' : (settled.ms / 1000).toFixed(1),
        ...[phase.openPeak, phase.accepted, phase.refused, phase.closedSlow].map(String),
        phase.cpuPercent.toFixed(0),
        phase.longestTurnMs.toFixed(0),
      ]
    }),
  )
}

/** What stands under the table. */
export const LEGEND =
  '† Other processes took more than a tenth of a core: times are theirs as well. ' +
  'kept: resident when all garbage is collected; JS heap and buffers of it. longest turn: of the event loop of the ' +
  'server, in processor time, which others do not disturb.'

/** What attackers say of themselves, and what an idle connection costs. */
export function attackLines({ phases, keptAtFirst }: SoakOutcome): string[] {
  const lines = phases.flatMap(({ name, counts }) =>
    Object.entries(counts).map(([attack, figures]) => {
      const shown = Object.entries(figures ?? {}).map(([what, count]) => `${what} ${count}`)
      return `${name}: ${name === attack ? '' : `${attack} `}${shown.join(', ')}`
    }),
  )
  const idle = phases.find(({ attacks }) => attacks.length === 1 && attacks[0] === 'idle')
  if (idle === undefined || idle.openEnd === 0) return lines
  return [...lines, idleLine(idle, keptAtFirst?.residentBytes ?? Number.NaN)]
}

function idleLine(idle: PhaseOutcome, keptBeforeBytes: number): string {
  const { openEnd, residentEndBytes, residentBeforeBytes, keptWithConnections } = idle
  const each = (bytes: number) => (bytes / openEnd).toFixed(0)
  const kept = keptWithConnections?.residentBytes ?? Number.NaN
  return (
    `bytes per idle connection, of ${openEnd}: ${each(residentEndBytes - residentBeforeBytes)} as it is, ` +
    `${each(kept - keptBeforeBytes)} when all garbage is collected`
  )
}

export function verdictsTable(verdicts: readonly Verdict[]): string {
  return table(
    ['', 'allowed', 'measured', ''],
    verdicts.map(({ name, allowed, measured, met }) => [
      name,
      allowed,
      measured,
      met ? 'met' : '**not met**',
    ]),
  )
}

function ms(value: number): string {
  return Number.isFinite(value) ? value.toFixed(2).padStart(6) : '     –'
}
