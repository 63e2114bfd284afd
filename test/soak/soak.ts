// A soak: a server, ordinary clients that work through all of it, and the phases of a plan, one after the other.
//
// Between run.ts (or the test), which decides how much, and the processes. It measures and judges nothing. Whatever
// happens, what was started is stopped.

import { setTimeout as delay } from 'node:timers/promises'
import type { Job } from './load.ts'
import { LoadProcess } from './loads.ts'
import type { PhaseOutcome, SoakOutcome } from './outcome.ts'
import { type Line, watchPhase } from './phase-watch.ts'
import { connectionsIn, type Phase, type Plan, sizeIn } from './plan.ts'
import { Processors } from './processors.ts'
import {
  LARGE_VALUE_BYTES,
  LARGE_VALUES,
  largeKey,
  VALUE_BYTES_MAX,
  VALUE_BYTES_MIN,
  valueFor,
} from './values.ts'
import { type TlsPaths, WatchedServer } from './watched-server.ts'

export interface SoakSetup {
  distDir: string
  plan: Plan
  seed: number
  tls: TlsPaths | undefined
  /** Of the server, and of all others; undefined: not pinned. */
  cores: { server: number; load: number } | undefined
  /** What is going on, for people. */
  onLine(line: Line): void
}

const WITNESSES = 500
/** What runs longer than planned by this much has got stuck. */
const OVERTIME_MS = 120_000

export async function soak(setup: SoakSetup): Promise<SoakOutcome> {
  const { plan, distDir, tls, cores } = setup
  const server = await WatchedServer.start({
    distDir,
    maxConnections: connectionsIn(plan.sizes),
    tls,
    core: cores?.server,
  })
  const run = new Run(setup, server)
  try {
    return await run.whole()
  } finally {
    await run.stopLoads()
    await server.stop()
  }
}

class Run {
  readonly #setup: SoakSetup
  readonly #server: WatchedServer
  readonly #loads = new Set<LoadProcess>()
  readonly #processors: Processors
  readonly #failures: string[] = []
  /** Connections that are there when nobody attacks. */
  #expected = 0

  constructor(setup: SoakSetup, server: WatchedServer) {
    this.#setup = setup
    this.#server = server
    this.#processors = new Processors(server.pid, () => [...this.#loads].map(({ pid }) => pid))
  }

  async whole(): Promise<SoakOutcome> {
    const { plan, seed, tls } = this.#setup
    const server = this.#server
    await this.#writeWitnesses()
    const ordinary = await this.#start('ordinary', plan.ordinaryPerSecond)
    await delay(plan.warmUpMs)
    ordinary.takeLatencies()
    this.#expected = (await server.connections())?.clients ?? 0
    const keptAtFirst = await server.probe()
    const phases: PhaseOutcome[] = []
    for (const phase of plan.phases) if (server.isAlive) phases.push(await this.#phase(phase, ordinary))
    const harmed = server.isAlive ? await this.#harmedWitnesses() : WITNESSES
    await this.stopLoads()
    await server.stop()
    const { counts, complaints } = ordinary.latest
    const { calls = 0, failed = 0, wrong = 0 } = counts
    return {
      seed,
      sizes: plan.sizes,
      tls: tls !== undefined,
      phases,
      keptAtFirst,
      ordinary: { calls, failed, wrong, complaints },
      witnesses: { count: WITNESSES, harmed },
      troubles: server.troubles,
      warnings: server.warnings,
      loadFailures: this.#failures,
    }
  }

  async stopLoads(): Promise<void> {
    const loads = [...this.#loads]
    this.#loads.clear()
    await Promise.all(loads.map((load) => load.stop()))
  }

  async #phase(phase: Phase, ordinary: LoadProcess): Promise<PhaseOutcome> {
    const { plan, onLine } = this.#setup
    const server = this.#server
    const processors = this.#processors
    const before = await server.sample()
    ordinary.takeLatencies()
    processors.take()
    const attackers = await Promise.all(
      phase.attacks.map((name) => this.#start(name, sizeIn(phase, name, plan.sizes))),
    )
    const seen = await watchPhase(phase, { server, ordinary, attackers, processors, plan, onLine })
    const last = await server.sample()
    this.#noteFailures([ordinary, ...attackers])
    const keptWithConnections = phase.attacks.includes('idle') ? await server.probe() : undefined
    await Promise.all(attackers.map((attacker) => this.#stop(attacker)))
    const settled = attackers.length === 0 ? undefined : await server.settle(this.#expected, plan)
    const kept = await server.probe()
    const grown = (counter: 'accepted' | 'refused' | 'closedSlow') =>
      (last.connections?.[counter] ?? Number.NaN) - (before.connections?.[counter] ?? Number.NaN)
    const open = (last.connections?.clients ?? 0) - this.#expected
    return {
      name: phase.name,
      attacks: phase.attacks,
      latenciesMs: seen.latenciesMs,
      residentBeforeBytes: before.residentBytes,
      residentPeakBytes: Math.max(seen.residentPeakBytes, last.residentBytes),
      residentEndBytes: last.residentBytes,
      keptWithConnections,
      settled,
      kept,
      longestTurnMs: Math.max(keptWithConnections?.longestTurnMs ?? 0, kept?.longestTurnMs ?? 0),
      openPeak: Math.max(seen.openPeak - this.#expected, open),
      openEnd: open,
      accepted: grown('accepted'),
      refused: grown('refused'),
      closedSlow: grown('closedSlow'),
      cpuPercent: seen.cpuPercent,
      foreignPercent: seen.foreignPercent,
      counts: Object.fromEntries(attackers.map(({ name, latest }) => [name, latest.counts])),
    }
  }

  #noteFailures(loads: readonly LoadProcess[]): void {
    for (const { failure } of loads)
      if (failure !== undefined && !this.#failures.includes(failure)) this.#failures.push(failure)
  }

  async #start(load: Job['load'], amount: number): Promise<LoadProcess> {
    const { distDir, plan, seed, tls, cores } = this.#setup
    const plannedMs = plan.phases.reduce((sum, { ms }) => sum + ms + plan.settleMsMax, plan.warmUpMs)
    const job: Job = {
      load,
      amount,
      port: this.#server.port,
      tlsCa: tls?.ca,
      seed,
      endAfterMs: plannedMs + OVERTIME_MS,
    }
    const process = await LoadProcess.start(distDir, job, cores?.load)
    this.#loads.add(process)
    return process
  }

  async #stop(load: LoadProcess): Promise<void> {
    this.#loads.delete(load)
    await load.stop()
  }

  async #writeWitnesses(): Promise<void> {
    const { control } = this.#server
    await control.storeMany(witnesses())
    for (let number = 0; number < LARGE_VALUES; number++)
      await control.store(largeKey(number), valueFor(largeKey(number), LARGE_VALUE_BYTES))
  }

  async #harmedWitnesses(): Promise<number> {
    const written = witnesses()
    const found = await this.#server.control.retrieveMany(written.map(([key]) => key))
    return written.filter(([, value], index) => {
      const it = found[index]
      return !Buffer.isBuffer(it) || !it.equals(value)
    }).length
  }
}

function witnesses(): [key: string, value: Buffer][] {
  return Array.from({ length: WITNESSES }, (_, number) => {
    const key = `witness:${number}`
    const share = number / (WITNESSES - 1)
    return [key, valueFor(key, Math.round(VALUE_BYTES_MIN + share * (VALUE_BYTES_MAX - VALUE_BYTES_MIN)))]
  })
}
