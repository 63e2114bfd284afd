// The processes that load and attack, seen from whoever started them: each is told to stop and ends by itself; one that
// does not is ended by its id.

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { end, start } from '../bench/processes.ts'
import type { Job, Report } from './load.ts'

/** What a load is told to stop with: see load.ts, whose import would start one. */
const STOP: typeof import('./load.ts').STOP = 'stop'
const START_TIMEOUT_MS = 30_000
const STOP_GRACE_MS = 10_000

export class LoadProcess {
  readonly name: Job['load']
  readonly #child: ChildProcess
  readonly #errorText: () => string
  #latest: Report = { open: 0, counts: {}, latenciesMs: [], complaints: [] }
  #latenciesMs: number[] = []
  #isStopping = false

  private constructor(name: Job['load'], child: ChildProcess, errorText: () => string) {
    this.name = name
    this.#child = child
    this.#errorText = errorText
    child.stdout?.resume()
    child.on('message', (report: Report) => {
      this.#latest = report
      for (const ms of report.latenciesMs) this.#latenciesMs.push(ms)
    })
  }

  /** Ready when it has said something for the first time. Rejects when it ends before. */
  static async start(distDir: string, job: Job, core: number | undefined): Promise<LoadProcess> {
    const args = [join(distDir, 'test/soak/load.js'), JSON.stringify(job)]
    const { child, errorText } = start({ command: process.execPath, args, core, hasChannel: true })
    const load = new LoadProcess(job.load, child, errorText)
    const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS)
    const first = await Promise.race([once(child, 'message'), once(child, 'close').then(() => undefined)])
    clearTimeout(timer)
    if (first === undefined) throw new Error(`${job.load} did not start: ${errorText()}`)
    return load
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get latest(): Report {
    return this.#latest
  }

  /** Times of calls since this was asked before, in ms. */
  takeLatencies(): number[] {
    const taken = this.#latenciesMs
    this.#latenciesMs = []
    return taken
  }

  /** Why it is not there any more; undefined while it is, and once it was stopped. */
  get failure(): string | undefined {
    if (this.#isStopping || this.#child.exitCode === null) return undefined
    return `${this.name} ended with ${this.#child.exitCode}: ${this.#errorText()}`
  }

  /** Resolves when it is gone; its last report is there then. */
  async stop(): Promise<void> {
    this.#isStopping = true
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    const timer = setTimeout(() => void end(this.#child), STOP_GRACE_MS)
    this.#child.send(STOP, () => {})
    await exited
    clearTimeout(timer)
  }
}
