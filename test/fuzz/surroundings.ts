// Time and network of this process, in the hands of the fuzzer: both clocks, all timers, and the dialing of sockets. With
// them a run depends on its seed alone, hours go by in a moment, and no address that an attacker names is ever dialed.
//
// They are taken away only while a world plays (`within`), and given back before anybody else notices. What is due in
// the meantime happens in `pass`, in the order of its time.

import { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { type Dialed, socketOver } from './dialed-socket.ts'
import { demand } from './violation.ts'
import type { Wire } from './wire.ts'

type Task = (...args: unknown[]) => void

/** More of them at one moment mean that they never end. */
const TASKS_MAX = 100_000
/** More than any chain of promises has links. */
const SETTLE_ROUNDS = 12

class Timer {
  dueMs: number
  /** undefined: once. */
  readonly everyMs: number | undefined
  readonly #task: Task
  readonly #args: readonly unknown[]
  isCleared = false

  constructor(dueMs: number, everyMs: number | undefined, task: Task, args: readonly unknown[]) {
    this.dueMs = dueMs
    this.everyMs = everyMs
    this.#task = task
    this.#args = args
  }

  run(): void {
    this.#task(...this.#args)
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return false
  }
}

export class Surroundings {
  /** Time of day in ms since 1970, and monotonic ms. */
  wallMs: number
  monoMs = 10_000_000
  /** Hears of each dial; the wire leads nowhere before it is accepted. */
  onDial: (dialed: Dialed, wire: Wire) => void = () => {}
  /** The next one last; those that were cleared too, until their time comes. */
  readonly #timers: Timer[] = []
  #immediates: Timer[] = []
  #ticks: Timer[] = []
  readonly #ours: object
  #giveBack: (() => void) | undefined

  constructor(wallMs: number) {
    this.wallMs = wallMs
    const clear = (timer: Timer | undefined) => {
      if (timer !== undefined) timer.isCleared = true
    }
    this.#ours = {
      setTimeout: (task: Task, ms = 0, ...args: unknown[]) => this.#set(task, ms, undefined, args),
      setInterval: (task: Task, ms = 0, ...args: unknown[]) => this.#set(task, ms, ms, args),
      setImmediate: (task: Task, ...args: unknown[]) => {
        const immediate = new Timer(0, undefined, task, args)
        this.#immediates.push(immediate)
        return immediate
      },
      clearTimeout: clear,
      clearInterval: clear,
      clearImmediate: clear,
    }
  }

  /** Runs with all of it taken over. May await microtasks, and nothing else. */
  within<T>(run: () => T): T {
    this.#giveBack = this.#takeOver()
    const restore = () => this.#giveBack?.()
    let result: T
    try {
      result = run()
    } catch (error) {
      restore()
      throw error
    }
    if (result instanceof Promise) result.then(restore, restore)
    else restore()
    return result
  }

  /** Gives everything back for a true moment, within an asynchronous `within`: for what comes from elsewhere. */
  async outside(): Promise<void> {
    this.#giveBack?.()
    await new Promise((resolve) => setTimeout(resolve, 1))
    this.#giveBack = this.#takeOver()
  }

  /** Time goes by, with all that is due until then. */
  pass(ms: number): void {
    this.turn()
    const untilMs = this.monoMs + ms
    for (let left = TASKS_MAX; ; left--) {
      demand(left > 0, 'timers that never end')
      const next = this.#timers.at(-1)
      if (next === undefined || next.dueMs > untilMs) break
      this.#timers.pop()
      if (next.isCleared) continue
      if (next.dueMs > this.monoMs) {
        this.wallMs += next.dueMs - this.monoMs
        this.monoMs = next.dueMs
      }
      if (next.everyMs !== undefined) {
        next.dueMs = this.monoMs + Math.max(1, next.everyMs)
        this.#insert(next)
      }
      next.run()
      this.turn()
    }
    this.wallMs += untilMs - this.monoMs
    this.monoMs = untilMs
  }

  /** The turn of the event loop is over: what was put off until then. */
  turn(): void {
    for (let left = TASKS_MAX; ; left--) {
      demand(left > 0, 'a turn of the event loop that never ends')
      const next = this.#ticks.shift() ?? this.#immediates.shift()
      if (next === undefined) return
      if (!next.isCleared) next.run()
    }
  }

  /** What was put off, and what promises lead to, until there is nothing left of either. */
  async settle(): Promise<void> {
    for (let left = SETTLE_ROUNDS; left > 0; left--) {
      this.turn()
      await null
    }
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.filter(({ isCleared }) => !isCleared).length
  }

  #set(task: Task, ms: number, everyMs: number | undefined, args: readonly unknown[]): Timer {
    const timer = new Timer(this.monoMs + Math.max(1, ms), everyMs, task, args)
    this.#insert(timer)
    return timer
  }

  /** Before all that are due at the same time: those are older, and come first. */
  #insert(timer: Timer): void {
    let low = 0
    let high = this.#timers.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#timers[middle]?.dueMs ?? 0) > timer.dueMs) low = middle + 1
      else high = middle
    }
    this.#timers.splice(low, 0, timer)
  }

  #takeOver(): () => void {
    const originals = {
      setTimeout: globalThis.setTimeout,
      setInterval: globalThis.setInterval,
      setImmediate: globalThis.setImmediate,
      clearTimeout: globalThis.clearTimeout,
      clearInterval: globalThis.clearInterval,
      clearImmediate: globalThis.clearImmediate,
    }
    const wallNow = Date.now
    const { nextTick } = process
    const dial = Socket.prototype.connect
    const onDial = (socket: Socket, args: readonly unknown[]) => {
      const [dialed, wire] = socketOver(socket, args)
      this.onDial(dialed, wire)
    }
    Object.assign(globalThis, this.#ours)
    process.nextTick = (task: Task, ...args: unknown[]) => {
      this.#ticks.push(new Timer(0, undefined, task, args))
    }
    Date.now = () => this.wallMs
    performance.now = () => this.monoMs
    Object.assign(Socket.prototype, {
      connect(this: Socket, ...args: unknown[]): Socket {
        onDial(this, args)
        return this
      },
    })
    return () => {
      Object.assign(globalThis, originals)
      Date.now = wallNow
      process.nextTick = nextTick
      Reflect.deleteProperty(performance, 'now')
      Object.assign(Socket.prototype, { connect: dial })
    }
  }
}
