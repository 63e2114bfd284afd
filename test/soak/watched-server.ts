// The server under attack: a process of its own, as it ships, watched from outside. What it uses is read from the system,
// what it counts is asked of it as any client may, and what it writes to standard error is read: a warning is counted,
// anything worse is trouble.

import { type ChildProcess, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { OrmucoCacheClient } from '../../client/client.ts'
import type { ServerStats } from '../../server/statistics.ts'
import { residentBytes } from '../bench/machine.ts'
import { type RunningServer, startAnnounced } from '../bench/processes.ts'
import type { Plan } from './plan.ts'
import type { Probed } from './probe.ts'

export interface TlsPaths {
  certPath: string
  keyPath: string
  /** The authority that signed it, in PEM format. */
  ca: string
}

export interface ServerSetup {
  distDir: string
  maxConnections: number
  tls: TlsPaths | undefined
  /** Of its main thread; undefined: not pinned. */
  core: number | undefined
}

export interface Sample {
  residentBytes: number
  /** Undefined: it did not answer in time. */
  connections: ServerStats['connections'] | undefined
}

export interface Settled {
  ms: number
  /** Open connections that should not be there. */
  leftOver: number
  residentBytes: number
}

const MAX_MEMORY = '128mb'
/** As docs/operations.md sets it for a service. */
const AS_A_SERVICE = { MALLOC_TRIM_THRESHOLD_: '131072' }
const STATS_TIMEOUT_MS = 5000
const PROBE_TIMEOUT_MS = 10_000
const SETTLE_POLL_MS = 100
/** Memory that differs by less than this is still. */
const STILL_SHARE = 0.005
const TROUBLES_MAX = 20
/** How lines of probe.ts begin. */
const PROBE_PREFIX = 'probe '

export class WatchedServer {
  /** What must not be: lines of its standard error, and how it ended. */
  readonly troubles: string[] = []
  /** Phrases that it warned with, and how often. */
  readonly warnings = new Map<string, number>()
  readonly port: number
  readonly #running: RunningServer
  readonly #control: OrmucoCacheClient
  readonly #child: ChildProcess
  #isStopping = false
  #saidBytes = Number.NaN
  #onProbed: (probed: Probed) => void = () => {}

  private constructor(
    running: RunningServer & { child: ChildProcess },
    control: OrmucoCacheClient,
    onLine: (hear: (line: string) => void) => void,
  ) {
    this.#running = running
    this.#child = running.child
    this.port = running.port
    this.#control = control
    onLine((line) => this.#hear(line))
    this.#child.once('exit', (code, signal) => {
      if (!this.#isStopping) this.#complain(`it ended: ${code ?? signal}`)
    })
  }

  static async start({ distDir, maxConnections, tls, core }: ServerSetup): Promise<WatchedServer> {
    const early: string[] = []
    let hear = (line: string): void => void early.push(line)
    const script = join(distDir, 'bin/start-server.js')
    const nodeFlags = ['--expose-gc', '--import', join(distDir, 'test/soak/probe.js')]
    const flags = [
      ...['--port', '0', '--max-memory', MAX_MEMORY, '--max-connections', `${maxConnections}`],
      ...['--log-level', 'warn', '--log-format', 'json'],
      ...(tls === undefined ? [] : ['--tls-cert', tls.certPath, '--tls-key', tls.keyPath]),
    ]
    const command = {
      command: process.execPath,
      args: [...nodeFlags, script, ...flags],
      core: undefined,
      env: AS_A_SERVICE,
    }
    const ready = /^Server listens on port (\d+)$/m
    const running = await startAnnounced('the server', command, ready, (line) => hear(line))
    // The main thread alone: V8's helpers would take the core from it, which they do only where there is no other.
    if (core !== undefined)
      execFileSync('taskset', ['-p', '-c', `${core}`, `${running.pid}`], { stdio: 'ignore' })
    const control = new OrmucoCacheClient({
      servers: `127.0.0.1:${running.port}`,
      name: 'soak',
      timeoutMs: STATS_TIMEOUT_MS,
      heartbeatMs: STATS_TIMEOUT_MS,
      onUnavailable: 'throw',
      ...(tls === undefined ? {} : { tls: { ca: tls.ca } }),
    })
    const server = new WatchedServer(running, control, (listener) => {
      hear = listener
    })
    for (const line of early) server.#hear(line)
    await control.connect()
    return server
  }

  /** A client of its own, to read and write with. */
  get control(): OrmucoCacheClient {
    return this.#control
  }

  get pid(): number {
    return this.#running.pid
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** As the system says; where that says nothing, as the server said last. NaN when it is gone. */
  residentBytes(): number {
    try {
      return residentBytes(this.#running.pid).now
    } catch {
      return this.isAlive ? this.#saidBytes : Number.NaN
    }
  }

  async sample(): Promise<Sample> {
    const connections = await this.connections()
    return { residentBytes: this.residentBytes(), connections }
  }

  async connections(): Promise<ServerStats['connections'] | undefined> {
    try {
      // A map on the wire; the server it comes from is of this very source.
      const { connections, memory } = (await this.#control.stats()) as unknown as ServerStats
      this.#saidBytes = memory.residentBytes
      return connections
    } catch {
      return undefined
    }
  }

  /** Waits until no more than `expected` connections are open and its memory has not moved for a while, but not for longer. */
  async settle(
    expected: number,
    { stillMs, settleMsMax }: Pick<Plan, 'stillMs' | 'settleMsMax'>,
  ): Promise<Settled> {
    const stillPolls = Math.ceil(stillMs / SETTLE_POLL_MS)
    const fromMs = performance.now()
    const figures: number[] = []
    for (;;) {
      const connections = await this.connections()
      const leftOver = (connections?.clients ?? Number.POSITIVE_INFINITY) - expected
      figures.push(this.residentBytes())
      const ms = performance.now() - fromMs
      const recent = figures.slice(-stillPolls)
      const isStill =
        recent.length === stillPolls &&
        Math.max(...recent) - Math.min(...recent) <= STILL_SHARE * Math.max(...recent)
      if (!this.isAlive || ms > settleMsMax || (leftOver <= 0 && isStill))
        return { ms, leftOver: Math.max(0, leftOver), residentBytes: this.residentBytes() }
      await delay(SETTLE_POLL_MS)
    }
  }

  /** What it keeps without garbage; undefined when it does not say. */
  async probe(): Promise<Probed | undefined> {
    if (!this.isAlive) return undefined
    const probed = new Promise<Probed>((resolve) => {
      this.#onProbed = resolve
    })
    process.kill(this.#running.pid, 'SIGUSR2')
    return Promise.race([probed, delay(PROBE_TIMEOUT_MS, undefined, { ref: false })])
  }

  /** As an orchestrator stops it. */
  async stop(): Promise<void> {
    this.#control.destroy()
    if (!this.isAlive) return
    this.#isStopping = true
    const exited = once(this.#child, 'exit')
    await this.#running.stop()
    const [code, signal] = await exited
    if (code !== 0) this.#complain(`it was asked to stop and ended with ${code ?? signal}`)
  }

  #hear(line: string): void {
    if (line.startsWith(PROBE_PREFIX)) {
      this.#onProbed(JSON.parse(line.slice(PROBE_PREFIX.length)))
      return
    }
    const record = recordIn(line)
    if (record?.level !== 'warn') this.#complain(line)
    else this.warnings.set(record.msg, (this.warnings.get(record.msg) ?? 0) + 1)
  }

  #complain(what: string): void {
    if (this.troubles.length < TROUBLES_MAX) this.troubles.push(what)
  }
}

function recordIn(line: string): { level: string; msg: string } | undefined {
  try {
    const record: { level?: unknown; msg?: unknown } = Object(JSON.parse(line))
    return { level: String(record.level), msg: String(record.msg) }
  } catch {
    return undefined
  }
}
