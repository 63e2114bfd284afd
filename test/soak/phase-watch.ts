// Looks on while a phase lasts: what ordinary clients saw, what the server used at its highest, who took processor time.
// A line now and then, for people.

import { setTimeout as delay } from 'node:timers/promises'
import { percentile } from '../bench/statistics.ts'
import type { LoadProcess } from './loads.ts'
import { type AttackName, LASTING, type Phase, type Plan } from './plan.ts'
import type { Processors } from './processors.ts'
import type { WatchedServer } from './watched-server.ts'

/** What is printed every few seconds. Times in ms. */
export interface Line {
  phase: string
  p50Ms: number
  p99Ms: number
  residentBytes: number
  cpuPercent: number
  foreignPercent: number
  /** Undefined: the server did not say. */
  connections: { clients: number; refused: number; closedSlow: number } | undefined
  /** Connections that attackers have, by attack. */
  attackers: readonly (readonly [name: string, open: number])[]
}

export interface Watched {
  server: WatchedServer
  ordinary: LoadProcess
  attackers: readonly LoadProcess[]
  processors: Processors
  plan: Plan
  onLine(line: Line): void
}

export interface Seen {
  latenciesMs: Float64Array
  residentPeakBytes: number
  openPeak: number
  /** In percent of one core. */
  cpuPercent: number
  foreignPercent: number
}

const TICK_MS = 200

/**
 * Until the phase is over and each attacker has had all connections that it wants to keep; but for the latter, not for
 * longer than the server may take to settle.
 */
export async function watchPhase({ name, ms }: Phase, watched: Watched): Promise<Seen> {
  const { server, ordinary, processors, plan, attackers, onLine } = watched
  const latenciesMs: number[] = []
  let residentPeakBytes = 0
  let openPeak = 0
  let cpu = 0
  let foreign = 0
  const fromMs = performance.now()
  let saidMs = fromMs
  for (let isOver = false; !isOver && server.isAlive; ) {
    await delay(TICK_MS)
    residentPeakBytes = Math.max(residentPeakBytes, server.residentBytes() || 0)
    const nowMs = performance.now()
    const leftMs = fromMs + ms - nowMs
    isOver = leftMs <= 0 && (leftMs <= -plan.settleMsMax || attackers.every((load) => isThere(load, plan)))
    if (!isOver && nowMs - saidMs < plan.lineMs) continue
    const { residentBytes, connections } = await server.sample()
    const shares = processors.take()
    const recent = Float64Array.from(ordinary.takeLatencies())
    for (const latency of recent) latenciesMs.push(latency)
    openPeak = Math.max(openPeak, connections?.clients ?? 0)
    const heardMs = performance.now()
    cpu += shares.server * (heardMs - saidMs)
    foreign += shares.foreign * (heardMs - saidMs)
    saidMs = heardMs
    onLine({
      phase: name,
      ...{ residentBytes, connections, cpuPercent: shares.server, foreignPercent: shares.foreign },
      p50Ms: percentile(recent, 50),
      p99Ms: percentile(recent, 99),
      attackers: attackers.map((load) => [load.name, load.latest.open]),
    })
  }
  return {
    latenciesMs: Float64Array.from(latenciesMs),
    ...{ residentPeakBytes, openPeak },
    cpuPercent: cpu / (saidMs - fromMs),
    foreignPercent: foreign / (saidMs - fromMs),
  }
}

function isThere({ name, latest, failure }: LoadProcess, { sizes }: Plan): boolean {
  if (name === 'ordinary' || failure !== undefined || !isLasting(name)) return true
  return (latest.counts['opened'] ?? 0) >= sizes[name]
}

function isLasting(name: AttackName): boolean {
  return LASTING.has(name)
}
