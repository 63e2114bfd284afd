// npm run fuzz -- --inputs N --seed S [--workers W] [--states client,peer] [--world I]: many inputs, shared out among the
// states, in several processes.
//
// Prints inputs per second and memory as it goes, and at the end a line per state with what came of its inputs. At the
// first violation of a state: its seed, and as few and as short inputs as still show it, in hex. Ends with 1 if there was
// one, if memory has grown, if an input takes too long each time, or if a process dies or hangs.

import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from '../helpers/build.ts'
import { addOutcomes, noOutcomes, type Outcomes, playState, type State } from './engine.ts'
import { fillSpares, heldBytes, heldBytesNow, memoryGrowth, mib } from './memory.ts'
import { missingOutcomes, toldFailure, toldOutcomes } from './report.ts'
import { inputsOf, STATES } from './states.ts'

const PROGRESS_MS = 5000
/** Of each state, before memory is measured for the first time: at least so many worlds … */
const WARM_UP_WORLDS = 5
/** … and this share of all: V8 compiles ever more of the code, for hundreds of thousands of inputs. */
const WARM_UP_SHARE = 0.1
/** A process that has nothing to tell for so long hangs: a world takes a second, and many on a machine that is busy. */
const SILENCE_MS_MAX = 600_000
/** An input that takes longer at its best is a violation. */
const SLOW_MS = 100

interface Job {
  /** Inputs of each state in this process; undefined: those of one world. */
  states: { name: string; inputs: number | undefined }[]
  seed: number
  firstWorld: number
  step: number
}

type Report =
  | { kind: 'world'; state: string; world: number }
  | { kind: 'progress'; inputs: number; heldBytes: number }
  | { kind: 'outcomes'; state: string; outcomes: Outcomes }
  | { kind: 'failure'; fault: string; told: string }
  | { kind: 'memory'; beforeBytes: number; afterBytes: number }

if (process.send === undefined) await main()
else process.on('message', (job: Job) => void work(job))

async function work(job: Job): Promise<void> {
  const tell = (report: Report) => process.send?.(report)
  const states = job.states.map(({ name }) => stateOf(name))
  // What is made once and kept is made now: code, tables, spare buffers.
  for (const [index, state] of states.entries()) {
    const inputs = WARM_UP_SHARE * (job.states[index]?.inputs ?? 0)
    await playState(
      state,
      job.seed,
      Math.max(WARM_UP_WORLDS * state.inputsPerWorld, Math.ceil(inputs)),
      noOutcomes(),
      { onWorld: (world) => tell({ kind: 'world', state: state.name, world }) },
    )
  }
  fillSpares()
  const beforeBytes = await heldBytes()
  let inputs = 0
  let toldMs = Date.now()
  for (const [index, state] of states.entries()) {
    const outcomes = noOutcomes()
    const onWorld = (world: number) => {
      tell({ kind: 'world', state: state.name, world })
      if (Date.now() - toldMs < PROGRESS_MS) return
      toldMs = Date.now()
      tell({ kind: 'progress', inputs: inputs + outcomes.inputs, heldBytes: heldBytesNow() })
    }
    const options = { slowMs: SLOW_MS, onWorld }
    const failure = await playState(
      state,
      job.seed,
      job.states[index]?.inputs ?? state.inputsPerWorld,
      outcomes,
      options,
      job.firstWorld,
      job.step,
    )
    inputs += outcomes.inputs
    tell({ kind: 'outcomes', state: state.name, outcomes })
    if (failure !== undefined) tell({ kind: 'failure', fault: failure.fault, told: toldFailure(failure) })
  }
  tell({ kind: 'memory', beforeBytes, afterBytes: await heldBytes() })
  process.disconnect()
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      inputs: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
      workers: { type: 'string', default: '2' },
      states: { type: 'string', default: STATES.map(({ name }) => name).join(',') },
      /** Plays this world alone. */
      world: { type: 'string' },
    },
  })
  const states = values.states.split(',').map(stateOf)
  const inputs = inputsOf(Number(values.inputs), states)
  const allInputs = [...inputs.values()].reduce((sum, more) => sum + more, 0)
  const seed = Number(values.seed)
  const workers = values.world === undefined ? Math.max(1, Number(values.workers)) : 1
  const { distDir } = await build({ programs: ['test/fuzz'], noCheck: true })
  const startedMs = Date.now()
  const totals = new Map(states.map(({ name }) => [name, noOutcomes()]))
  const done = new Array<number>(workers).fill(0)
  const held = new Array<number>(workers).fill(0)
  const faults: string[] = []
  const onReport = (worker: number, report: Report) => {
    if (report.kind === 'progress') {
      done[worker] = report.inputs
      held[worker] = report.heldBytes
      const sum = done.reduce((all, more) => all + more, 0)
      const perSecond = Math.round((sum * 1000) / (Date.now() - startedMs))
      const memory = held.map(mib).join(', ')
      console.log(`${sum} of ${allInputs} inputs, ${perSecond} per second, memory ${memory}`)
    } else if (report.kind === 'outcomes')
      addOutcomes(totals.get(report.state) ?? noOutcomes(), report.outcomes)
    else if (report.kind === 'failure') {
      faults.push(report.fault)
      console.log(`\n${report.told}\n`)
    } else if (report.kind === 'memory') {
      const growth = memoryGrowth(report.beforeBytes, report.afterBytes)
      console.log(
        growth ?? `memory after a collection: ${mib(report.afterBytes)}, before ${mib(report.beforeBytes)}`,
      )
      if (growth !== undefined) faults.push(growth)
    }
  }
  await Promise.all(
    Array.from({ length: workers }, (_, worker) => {
      const job: Job = {
        states: [...inputs].map(([{ name }, count]) => ({
          name,
          inputs: values.world === undefined ? shareOf(count, workers, worker) : undefined,
        })),
        seed,
        firstWorld: values.world === undefined ? worker : Number(values.world),
        step: workers,
      }
      return played(distDir, job, (report) => onReport(worker, report)).catch((error: unknown) => {
        faults.push(String(error))
        console.log(String(error))
      })
    }),
  )
  const seconds = (Date.now() - startedMs) / 1000
  console.log(`seed ${seed}, ${allInputs} inputs in ${seconds.toFixed(0)} s`)
  for (const { name, outcomes } of states) {
    const total = totals.get(name) ?? noOutcomes()
    console.log(toldOutcomes(name, total))
    for (const missing of missingOutcomes(outcomes, total)) {
      console.log(`${name}: hardly anything was ${missing}`)
      faults.push(missing)
    }
  }
  process.exitCode = faults.length > 0 ? 1 : 0
}

/** Rejects if the process dies, or hangs. */
function played(distDir: string, job: Job, onReport: (report: Report) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = fork(join(distDir, 'test/fuzz/run.js'))
    let at = 'at its beginning'
    const watchdog = setTimeout(() => {
      reject(new Error(`a process hangs, ${at}`))
      child.kill('SIGKILL')
    }, SILENCE_MS_MAX)
    child.on('message', (report: Report) => {
      watchdog.refresh()
      if (report.kind === 'world') at = `in world ${report.world} of ${report.state}, seed ${job.seed}`
      else onReport(report)
    })
    child.on('exit', (code, signal) => {
      clearTimeout(watchdog)
      if (code === 0) resolve()
      else reject(new Error(`a process ended with ${signal ?? code}, ${at}`))
    })
    child.send(job)
  })
}

function stateOf(name: string): State {
  const state = STATES.find((known) => known.name === name)
  if (state !== undefined) return state
  throw new Error(`a state is one of ${STATES.map((known) => known.name).join(', ')}, got ${name}`)
}

function shareOf(inputs: number, workers: number, worker: number): number {
  return Math.floor(inputs / workers) + (worker < inputs % workers ? 1 : 0)
}
