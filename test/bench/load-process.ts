// Runs the generator as a process of its own, on the load's core, and brings back what it measured.

import { join } from 'node:path'
import type { Job, Outcome } from './generator.ts'
import { CORES } from './machine.ts'
import { runToEnd } from './processes.ts'
import type { BenchSetup } from './setup.ts'

const START_MS_MAX = 20_000
/** Filling is bounded by the slowest server worth measuring, in requests and in bytes per millisecond. */
const FILL_REQUESTS_PER_MS_MIN = 20
const FILL_BYTES_PER_MS_MIN = 20_000
/** Written at once per connection while filling, in bytes. */
const FILL_BATCH_BYTES = 64 * 1024

/** Measures random keys for a time. */
export function measure(setup: BenchSetup, job: Omit<Job, 'kind'>): Promise<Outcome> {
  return generate(setup, { kind: 'measure', ...job }, START_MS_MAX + job.warmUpMs + job.windowMs)
}

/** Where a fill goes to and what it writes. */
export type Fill = Pick<
  Job,
  'port' | 'serverPid' | 'dialect' | 'tlsCaFile' | 'firstKey' | 'keys' | 'valueBytes'
> & {
  /** Left out: a few. */
  connections?: number
}

/** Sets every key once, in order. */
export function fill(setup: BenchSetup, { connections = 8, ...job }: Fill): Promise<Outcome> {
  const depth = Math.max(1, Math.min(128, Math.floor(FILL_BATCH_BYTES / job.valueBytes)))
  const ms = job.keys / FILL_REQUESTS_PER_MS_MIN + (job.keys * job.valueBytes) / FILL_BYTES_PER_MS_MIN
  const whole: Job = { kind: 'fill', operation: 'set', connections, depth, warmUpMs: 0, windowMs: 0, ...job }
  return generate(setup, whole, START_MS_MAX + ms)
}

async function generate(setup: BenchSetup, job: Job, timeoutMs: number): Promise<Outcome> {
  const args = [join(setup.distDir, 'test/bench/generator.js'), JSON.stringify(job)]
  const output = await runToEnd({ command: process.execPath, args, core: CORES?.load }, timeoutMs)
  const outcome: Outcome = JSON.parse(output)
  return outcome
}
