// Section 4: the in-process cache beside lru-cache. Each contestant in a fresh process each round, in turn.
// Alone: node --import tsx test/bench/lru.ts [ROUNDS]

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from '../helpers/build.ts'
import type { LruContestant, LruJob, LruOutcome } from './lru-worker.ts'
import { CORES } from './machine.ts'
import { endChildrenWithThisProcess, runToEnd } from './processes.ts'
import { table, targetsTable } from './report.ts'
import type { Section, Target } from './section.ts'
import { median, ratio } from './statistics.ts'

const WORKER_TIMEOUT_MS = 120_000
const ROUNDS_ALONE = 5

const COMMON = {
  keys: 200_000,
  room: 100_000,
  operations: 1 << 20,
  skew: 0.99,
  seed: 11142,
  warmUpPasses: 2,
  passes: 5,
} as const

interface Row {
  name: string
  job: Pick<LruJob, 'workload' | 'ttlSeconds'>
  /** What ours must reach: a multiple of the other's rate, or millions per second. */
  target?: { multiple: number } | { millionsPerSecond: number }
}

const ROWS: readonly Row[] = [
  { name: 'no ttl', job: { workload: 'read-through' }, target: { multiple: 1 } },
  { name: 'ttl of 60 s', job: { workload: 'read-through', ttlSeconds: 60 }, target: { multiple: 1.5 } },
  { name: 'ttl of 100 ms: entries expire', job: { workload: 'read-through', ttlSeconds: 0.1 } },
  { name: 'hits only, no ttl', job: { workload: 'hits' } },
  {
    name: 'hits only, ttl of 60 s (a near cache)',
    job: { workload: 'hits', ttlSeconds: 60 },
    target: { millionsPerSecond: 3 },
  },
]
const CONTESTANTS: readonly LruContestant[] = ['ormuco', 'lru-cache']

/** Outcomes of one row, by round. */
type Measured = Row & { outcomes: Record<LruContestant, LruOutcome[]> }

export interface LruBenchOptions {
  rounds: number
  /** Folder of the compiled code; left out: it is built. */
  distDir?: string
  progress?(line: string): void
}

export async function benchLru({ rounds, distDir, progress = () => {} }: LruBenchOptions): Promise<Section> {
  const folder = distDir ?? (await build({ programs: ['test/bench'] })).distDir
  const measured = ROWS.map((row): Measured => ({ ...row, outcomes: { ormuco: [], 'lru-cache': [] } }))
  for (let round = 1; round <= rounds; round++) {
    for (const row of measured) {
      for (const contestant of CONTESTANTS) {
        const outcome = await runWorker(folder, { ...COMMON, ...row.job, contestant })
        row.outcomes[contestant].push(outcome)
        progress(`round ${round}, ${row.name}, ${contestant}: ${millions(outcome.perSecond)} M/s`)
      }
    }
  }
  return report(measured)
}

async function runWorker(distDir: string, job: LruJob): Promise<LruOutcome> {
  const args = [join(distDir, 'test/bench/lru-worker.js'), JSON.stringify(job)]
  const output = await runToEnd({ command: process.execPath, args, core: CORES?.load }, WORKER_TIMEOUT_MS)
  const outcome: LruOutcome = JSON.parse(output)
  return outcome
}

function report(rows: readonly Measured[]): Section {
  const cells = (row: Measured, name: 'perSecond' | 'perProcessorSecond') =>
    CONTESTANTS.map((contestant) => millions(figure(row, contestant, name)))
  return {
    id: '4',
    title: 'In-process LRU',
    markdown: [
      `Million operations per second; an operation is a get, and a set if it was a miss. ${COMMON.keys} keys of 23 bytes, ` +
        `drawn by Zipf's law (exponent ${COMMON.skew}, seed ${COMMON.seed}; hits only: from those that fit), room for ` +
        `${COMMON.room}. Each figure is the median of the rounds, each with ${COMMON.passes} passes of ` +
        `${COMMON.operations} operations in a fresh process. The ratio is the median of the ratios of each round, by ` +
        'processor time, which other processes disturb less.',
      table(
        ['', 'ormuco-cache', 'lru-cache', 'per second of processor time', 'lru-cache', 'ratio', 'hits'],
        rows.map((row) => [
          row.name,
          ...cells(row, 'perSecond'),
          ...cells(row, 'perProcessorSecond'),
          ratio(multipleOf(row), 1),
          `${(figure(row, 'ormuco', 'hitRatio') * 100).toFixed(1)} %`,
        ]),
      ),
    ].join('\n\n'),
    rows: [...rows],
    targets: rows.flatMap((row) => targetOf(row)),
  }
}

function targetOf(row: Measured): Target[] {
  const { name, target } = row
  if (target === undefined) return []
  if ('multiple' in target) {
    const multiple = multipleOf(row)
    return [
      {
        name: `in-process LRU, ${name}, over lru-cache`,
        target: `≥ ${target.multiple} ×`,
        measured: `${multiple.toFixed(2)} ×`,
        met: multiple >= target.multiple,
      },
    ]
  }
  const rate = figure(row, 'ormuco', 'perSecond')
  return [
    {
      name: `in-process LRU, ${name}`,
      target: `≥ ${target.millionsPerSecond} M/s`,
      measured: `${millions(rate)} M/s`,
      met: rate >= target.millionsPerSecond * 1e6,
    },
  ]
}

function figure({ outcomes }: Measured, contestant: LruContestant, name: keyof LruOutcome): number {
  return median(outcomes[contestant].map((outcome) => outcome[name]))
}

/** Ours over the other's, round by round: what slows a round down slows both. */
function multipleOf({ outcomes }: Measured): number {
  const others = outcomes['lru-cache']
  return median(
    outcomes.ormuco.map(
      ({ perProcessorSecond }, round) =>
        perProcessorSecond / (others[round]?.perProcessorSecond ?? Number.NaN),
    ),
  )
}

function millions(perSecond: number): string {
  return (perSecond / 1e6).toFixed(2)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  endChildrenWithThisProcess()
  const section = await benchLru({
    rounds: Number(process.argv[2] ?? ROUNDS_ALONE),
    progress: (line) => void process.stderr.write(`${line}\n`),
  })
  process.stdout.write(`${section.markdown}\n\n${targetsTable([section])}\n`)
}
