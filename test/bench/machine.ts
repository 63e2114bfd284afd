// What this run is measured on, and what Linux says about a process: resident memory and processor time.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem, type } from 'node:os'

export interface Machine {
  processor: string
  cores: number
  memory: string
  kernel: string
}

/** Describes the machine. */
export function describeMachine(): Machine {
  const processors = cpus()
  return {
    processor: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memory: `${(totalmem() / 1024 ** 3).toFixed(1)} GiB`,
    kernel: `${type()} ${release()}`,
  }
}

/** Resident memory of a process now and at its highest, in bytes; throws where there is no /proc. */
export function residentBytes(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => {
    const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]
    if (kibibytes === undefined) throw new Error(`/proc/${pid}/status has no ${name}`)
    return Number(kibibytes) * 1024
  }
  return { now: field('VmRSS'), peak: field('VmHWM') }
}

/** Processor time over wall time in percent; all threads of a process together. */
export interface Shares {
  self: number
  server: number
  /** Everything else on this machine, in percent of one core. */
  others: number
}

/** From this share of a core on, others have disturbed a measurement. */
const OTHERS_PERCENT_MAX = 10

/** What stands behind a figure during which others took this share of a core. */
export function disturbanceMark(others: number): string {
  return others > OTHERS_PERCENT_MAX ? '†' : ''
}

/** The measurements that nobody disturbed, or all of them when there is none such. */
export function undisturbed<T extends { shares: Shares }>(measurements: readonly T[]): readonly T[] {
  const quiet = measurements.filter(({ shares }) => !(shares.others > OTHERS_PERCENT_MAX))
  return quiet.length > 0 ? quiet : measurements
}

/** What the marks in tables mean that have them. */
export const DISTURBED_LEGEND =
  `† Other processes took more than ${OTHERS_PERCENT_MAX} % of a core in every round: measure again. ` +
  'Where only some rounds were disturbed, they are left out.'

/** Begins to watch who takes processor time; the function it returns says who took how much since. */
export function watchProcessors(serverPid: number): () => Shares {
  const now = () => ({ at: performance.now(), server: processMs(serverPid), all: machineMs() })
  const from = now()
  const cpu = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(cpu)
    const to = now()
    const percent = (ms: number) => (ms / (to.at - from.at)) * 100
    const selfMs = (user + system) / 1000
    const serverMs = to.server - from.server
    const othersMs = Math.max(0, to.all - from.all - selfMs - serverMs)
    return { self: percent(selfMs), server: percent(serverMs), others: percent(othersMs) }
  }
}

/** Processor time of a process so far, in milliseconds; 0 where there is no /proc. */
export function processMs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the name in parentheses, which may hold spaces; the times are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS
  } catch {
    return 0
  }
}

/**
 * Processor time that all processes, and other guests of the same host, have taken so far, in milliseconds; without
 * interrupts, which the kernel charges to nobody. 0 where there is no /proc.
 */
function machineMs(): number {
  try {
    const [, user, nice, system, , , , , steal] = readFileSync('/proc/stat', 'utf8').split(/\s+/, 9)
    return (Number(user) + Number(nice) + Number(system) + Number(steal)) * CLOCK_TICK_MS
  } catch {
    return 0
  }
}

/** USER_HZ, which Linux fixes at 100 for everything it tells processes. */
const CLOCK_TICK_MS = 10

/** Core for the server and for the load; undefined when processes cannot be pinned to two different cores. */
export const CORES: { server: number; load: number } | undefined = canPin()
  ? { server: 0, load: 1 }
  : undefined

function canPin(): boolean {
  if (cpus().length < 2) return false
  try {
    execFileSync('taskset', ['-c', '0,1', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
