// npm run sim -- --seeds N --from S [--topology mesh|chain|star|bridge] [--workers W]: many seeds in several processes.
//
// Prints seeds per second as it goes, and for a failure its seed, the invariant, and a trace of as few actions as still
// break it. Ends with 1 if anything failed, or if in a thousand seeds or more a rule never fired.

import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from '../helpers/build.ts'
import { addResult, type BatchResult, rulesThatNeverFired, runBatch } from './batch.ts'
import { planOf, TOPOLOGIES, type Topology } from './plan.ts'
import { shrink, trace } from './shrink.ts'

/** From so many seeds on each rule must have fired. */
const RULES_SEEDS_MIN = 1000
const PROGRESS_MS = 5000
const FAILURES_MAX = 5

interface Job {
  from: number
  count: number
  step: number
  topology: Topology | undefined
  failuresMax: number
}

type Report = { kind: 'progress'; seeds: number } | { kind: 'result'; result: BatchResult }

if (process.send === undefined) await main()
else process.on('message', (job: Job) => work(job))

function work({ from, count, step, topology, failuresMax }: Job): void {
  const tell = (report: Report) => process.send?.(report)
  let seeds = 0
  let toldMs = Date.now()
  const result = runBatch(from, count, step, topology, failuresMax, () => {
    seeds++
    if (Date.now() - toldMs < PROGRESS_MS) return
    tell({ kind: 'progress', seeds })
    toldMs = Date.now()
  })
  process.send?.({ kind: 'result', result } satisfies Report, () => process.disconnect())
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string', default: '1' },
      workers: { type: 'string', default: '2' },
      topology: { type: 'string' },
      /** Ends at the first failure, without making it small. */
      'first-only': { type: 'boolean', default: false },
    },
  })
  const topology = TOPOLOGIES.find((known) => known === values.topology)
  if (values.topology !== undefined && topology === undefined)
    throw new Error(`a topology is one of ${TOPOLOGIES.join(', ')}, got ${values.topology}`)
  const count = Number(values.seeds)
  const from = Number(values.from)
  const workers = Math.max(1, Math.min(Number(values.workers), count))
  const { distDir } = await build({ programs: ['test/simulation'], noCheck: true })
  const startedMs = Date.now()
  const children = new Set<ChildProcess>()
  const done = new Array<number>(workers).fill(0)
  const total: BatchResult = { seeds: 0, failures: [], counters: {} }
  const perSecond = (seeds: number) => ((seeds * 1000) / (Date.now() - startedMs)).toFixed(1)
  const run = (worker: number) =>
    new Promise<void>((resolve, reject) => {
      const child = fork(join(distDir, 'test/simulation/run.js'))
      child.on('message', (report: Report) => {
        if (report.kind === 'result') {
          addResult(total, report.result)
          if (values['first-only'] && total.failures.length > 0) for (const other of children) other.kill()
          return
        }
        done[worker] = report.seeds
        const seeds = done.reduce((sum, more) => sum + more, 0)
        console.log(`${seeds} of ${count} seeds, ${perSecond(seeds)} per second`)
      })
      child.on('exit', (code) => {
        if (code === 0 || total.failures.length > 0) resolve()
        else reject(new Error(`a worker ended with ${code}`))
      })
      children.add(child)
      const failuresMax = values['first-only'] ? 1 : FAILURES_MAX
      const job: Job = { from: from + worker, count: count - worker, step: workers, topology, failuresMax }
      child.send(job)
    })
  await Promise.all(done.map((_, worker) => run(worker)))
  console.log(`${total.seeds} seeds from ${from} on, ${perSecond(total.seeds)} per second`)
  console.log(
    Object.entries(total.counters)
      .map(([name, number]) => `${name} ${number}`)
      .join(', '),
  )
  for (const { seed, message } of total.failures.sort((one, other) => one.seed - other.seed))
    console.log(`seed ${seed}: ${message}`)
  const [first] = total.failures
  if (first !== undefined && !values['first-only']) show(first.seed, topology)
  const silent = total.seeds >= RULES_SEEDS_MIN ? rulesThatNeverFired(total) : []
  for (const rule of silent) console.log(`a rule that never fired: ${rule}`)
  process.exitCode = total.failures.length + silent.length > 0 ? 1 : 0
}

function show(seed: number, topology: Topology | undefined): void {
  const plan = planOf(seed, topology)
  const small = shrink(plan)
  const { actions, machines, ...drawn } = small
  console.log(`\nseed ${seed}, ${actions.length} of ${plan.actions.length} actions:`)
  console.log(JSON.stringify(drawn))
  for (const machine of machines) console.log(JSON.stringify(machine))
  for (const line of trace(small)) console.log(line)
}
