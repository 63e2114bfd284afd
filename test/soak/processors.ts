// Who takes processor time: the server, those that belong to the soak, and everybody else, who disturbs it.

import { processMs, watchProcessors } from '../bench/machine.ts'

export interface Shares {
  /** In percent of one core. */
  server: number
  /** Of processes that are none of ours. */
  foreign: number
}

export class Processors {
  readonly #serverPid: number
  readonly #loadPids: () => readonly number[]
  #since: ReturnType<typeof watchProcessors>
  #fromMs = performance.now()
  #loadMs = new Map<number, number>()

  /** `loadPids`: of the processes that are ours beside this one and the server, now. */
  constructor(serverPid: number, loadPids: () => readonly number[]) {
    this.#serverPid = serverPid
    this.#loadPids = loadPids
    this.#since = watchProcessors(serverPid)
  }

  /** Since this was asked before. */
  take(): Shares {
    const { server, others } = this.#since()
    const nowMs = performance.now()
    const before = this.#loadMs
    this.#loadMs = new Map(this.#loadPids().map((pid) => [pid, processMs(pid)]))
    let oursMs = 0
    for (const [pid, ms] of this.#loadMs) oursMs += ms - (before.get(pid) ?? 0)
    const foreign = Math.max(0, others - (oursMs / (nowMs - this.#fromMs)) * 100)
    this.#fromMs = nowMs
    this.#since = watchProcessors(this.#serverPid)
    return { server, foreign }
  }
}
