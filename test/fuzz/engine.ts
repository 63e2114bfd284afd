// The fuzzer's loop: makes a world, gives it inputs, counts what came of each, and keeps them, so that the first
// violation can be made small.
//
// Between the command and the tests, which say how much, and the states, which know what to say and what must hold. The
// same seed gives the same inputs, whoever plays which of the worlds.

import { type Random, randomFrom } from '../server/store/random.ts'
import { errorIn, shrunk } from './shrink.ts'
import { faultOf, Violation } from './violation.ts'

/** What comes from outside at one time. */
export interface Input {
  /** Bytes, as they arrive. */
  chunks: Buffer[]
  /** Decides everything else: on which connection, how much of the answer is read, what time passes. */
  luck: number
}

export interface World {
  /** The next input, made for what this world is like now. */
  next(random: Random): Input
  /** What came of it, in a word or two. Throws a Violation; whatever else is thrown counts as one. */
  play(input: Input): string | Promise<string>
  /** Everything is closed, and what must be left is left. Throws a Violation. */
  end(): void
}

/** Something that takes bytes of strangers. */
export interface State {
  readonly name: string
  /** Inputs that meet the same world. */
  readonly inputsPerWorld: number
  /** What must come of inputs now and then: else they are refused at the door, and reach nothing. */
  readonly outcomes: readonly string[]
  /** What takes time, and is done once in a process. */
  prepare?(): Promise<void>
  makeWorld(seed: number): World
}

export interface Failure {
  state: string
  seed: number
  /** Which of the worlds of the seed. */
  world: number
  fault: string
  message: string
  /** As few and as short as could be found. */
  inputs: Input[]
}

type Fault = Pick<Failure, 'fault' | 'message' | 'inputs'>

export interface Outcomes {
  inputs: number
  counts: Record<string, number>
  /** The most of the processor that one input took, in ms; 0 where nobody looked. */
  slowestMs: number
}

export interface PlayOptions {
  /** An input that takes more of the processor, each time it is played, is a violation, in ms. Default: none is. */
  slowMs?: number
  /** Hears of each world before it is played. */
  onWorld?: (index: number) => void
}

export function noOutcomes(): Outcomes {
  return { inputs: 0, counts: {}, slowestMs: 0 }
}

export function addOutcomes(total: Outcomes, more: Outcomes): void {
  total.inputs += more.inputs
  total.slowestMs = Math.max(total.slowestMs, more.slowestMs)
  for (const [outcome, count] of Object.entries(more.counts))
    total.counts[outcome] = (total.counts[outcome] ?? 0) + count
}

/** Seeds of worlds, each unlike its neighbours. */
export function worldSeed(state: string, seed: number, index: number): number {
  let mixed = Math.imul(seed, 0x9e37_79b1) ^ Math.imul(index + 1, 0x85eb_ca6b)
  for (const letter of state) mixed = Math.imul(mixed ^ letter.charCodeAt(0), 0x0100_0193)
  return (mixed ^ (mixed >>> 15)) >>> 0
}

/**
 * Plays `inputs` inputs of a state into `into`: its worlds `first`, `first + step`, … Ends at the first violation, which
 * it returns made small.
 */
export async function playState(
  state: State,
  seed: number,
  inputs: number,
  into: Outcomes,
  options: PlayOptions = {},
  first = 0,
  step = 1,
): Promise<Failure | undefined> {
  await state.prepare?.()
  for (let index = first, left = inputs; left > 0; index += step, left -= state.inputsPerWorld) {
    options.onWorld?.(index)
    const count = Math.min(left, state.inputsPerWorld)
    const fault = await playWorld(state, worldSeed(state.name, seed, index), count, into, options)
    if (fault !== undefined) return { state: state.name, seed, world: index, ...fault }
  }
  return undefined
}

async function playWorld(
  state: State,
  seed: number,
  inputs: number,
  into: Outcomes,
  { slowMs }: PlayOptions,
): Promise<Fault | undefined> {
  const random = randomFrom(seed)
  const played: Input[] = []
  /** How many inputs were played when one of them took long. */
  const suspects: number[] = []
  const { stackTraceLimit } = Error
  // Every other input ends in an error, and where it was made is most of what that costs.
  Error.stackTraceLimit = 0
  try {
    const world = state.makeWorld(seed)
    for (let left = inputs; left > 0; left--) {
      const input = world.next(random)
      played.push(input)
      const startMs = slowMs === undefined ? 0 : spentMs()
      const outcome = world.play(input)
      const word = typeof outcome === 'string' ? outcome : await outcome
      into.inputs++
      into.counts[word] = (into.counts[word] ?? 0) + 1
      if (slowMs === undefined) continue
      const tookMs = spentMs() - startMs
      if (tookMs > slowMs) suspects.push(played.length)
      else into.slowestMs = Math.max(into.slowestMs, tookMs)
    }
    world.end()
    // Code that is compiled, or memory that is collected, in the meantime must not count as slow.
    for (const count of suspects.slice(0, SUSPECTS_MAX)) {
      const tookMs = await quickest(state, seed, played.slice(0, count))
      into.slowestMs = Math.max(into.slowestMs, tookMs)
      if (slowMs !== undefined && tookMs > slowMs)
        return faultOfWorld(played.slice(0, count), new Violation(SLOW, `${Math.round(tookMs)} ms`))
    }
    return undefined
  } catch (error) {
    Error.stackTraceLimit = stackTraceLimit
    const again = await errorIn(state, seed, played)
    if (again === undefined)
      return faultOfWorld(played.slice(-1), new Violation('it does not happen again', String(error)))
    return faultOfWorld(await shrunk(state, seed, played, faultOf(again)), again)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

function faultOfWorld(inputs: Input[], error: unknown): Fault {
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { fault: faultOf(error), message, inputs }
}

const SLOW = 'an input takes too long'
/** Inputs of a world that are played again because they took long. */
const SUSPECTS_MAX = 3
const REPEATS = 3

/** How long the last of these inputs takes at its best. */
async function quickest(state: State, seed: number, inputs: readonly Input[]): Promise<number> {
  let bestMs = Number.POSITIVE_INFINITY
  for (let left = REPEATS; left > 0; left--) {
    const world = state.makeWorld(seed)
    for (const { luck, chunks } of inputs.slice(0, -1)) await world.play({ luck, chunks })
    const last = inputs.at(-1)
    const startMs = spentMs()
    if (last !== undefined) await world.play({ luck: last.luck, chunks: last.chunks })
    bestMs = Math.min(bestMs, spentMs() - startMs)
  }
  return bestMs
}

/** Time that this process has had, in ms: what else this machine does is no matter. */
function spentMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
