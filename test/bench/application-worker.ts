// One client of section 2 in a process of its own: `node application-worker.js JOB`, job and result as JSON.
// Fills the server through the client, checks what comes back, then lets callers loop, each awaiting its result
// before the next call, as request handlers of an application do.

import { deepStrictEqual } from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { APPLICATION_CLIENTS, type ApplicationClientId } from './application-clients.ts'
import { keyOf } from './keys.ts'
import { type Shares, watchProcessors } from './machine.ts'
import { percentile } from './statistics.ts'

/** What callers do in a phase. */
export const PHASES = {
  set: { call: 'set', callers: 256 },
  get: { call: 'get', callers: 256 },
  get16: { call: 'get', callers: 16 },
  get1: { call: 'get', callers: 1 },
  object: { call: 'getObject', callers: 256 },
} as const
export type PhaseName = keyof typeof PHASES

export interface ApplicationJob {
  client: ApplicationClientId
  port: number
  serverPid: number
  keys: number
  valueBytes: number
  warmUpMs: number
  windowMs: number
}

export interface PhaseOutcome {
  perSecond: number
  p50Ms: number
  p99Ms: number
  shares: Shares
}
export type ApplicationOutcome = Record<PhaseName, PhaseOutcome>

/** Callers that fill the server; as many as call later. */
const FILLERS = 256
/** Only one call in so many is timed: the clock would cost a fast client more than a slow one. */
const TIMED_EVERY = 8
const TIMES_MAX = 1_000_000
/** The largest prime step keeps callers away from each other's keys without a random number per call. */
const KEY_STEP = 7919

/** About 200 bytes as JSON. */
const OBJECT = {
  id: 184_467,
  name: 'Ada Lovelace',
  email: 'ada.lovelace@example.org',
  roles: ['editor', 'reviewer'],
  active: true,
  score: 0.75,
  address: { city: 'Montréal', country: 'CA', postcode: 'H2Y 1C6' },
  updatedAt: '2024-05-17T09:30:00.000Z',
}

async function run(job: ApplicationJob): Promise<ApplicationOutcome> {
  const client = await APPLICATION_CLIENTS[job.client](job.port)
  const value = 'v'.repeat(job.valueBytes)
  const keys = Array.from({ length: job.keys }, (_, number) => keyOf(number))
  const objectKeys = keys.map((key) => `object:${key}`)

  await fillWith(keys, (key) => client.set(key, value))
  await fillWith(objectKeys, (key) => client.setObject(key, OBJECT))
  for (const key of keys.slice(0, 100)) deepStrictEqual(await client.get(key), value)
  for (const key of objectKeys.slice(0, 100)) deepStrictEqual(await client.getObject(key), OBJECT)

  const calls = {
    set: (number: number) => client.set(keys[number] ?? '', value),
    get: (number: number) => client.get(keys[number] ?? ''),
    getObject: (number: number) => client.getObject(objectKeys[number] ?? ''),
  }
  const phase = (name: PhaseName) => runPhase(job, PHASES[name].callers, calls[PHASES[name].call])
  const outcome = {
    set: await phase('set'),
    get: await phase('get'),
    get16: await phase('get16'),
    get1: await phase('get1'),
    object: await phase('object'),
  }
  await client.close()
  return outcome
}

async function fillWith(keys: readonly string[], store: (key: string) => Promise<unknown>): Promise<void> {
  let next = 0
  const filler = async () => {
    for (let key = keys[next++]; key !== undefined; key = keys[next++]) await store(key)
  }
  await Promise.all(Array.from({ length: FILLERS }, filler))
}

async function runPhase(
  job: ApplicationJob,
  callers: number,
  call: (number: number) => Promise<unknown>,
): Promise<PhaseOutcome> {
  const times = new Float64Array(TIMES_MAX)
  let timed = 0
  let done = 0
  let state: 'warming' | 'measuring' | 'over' = 'warming'
  // With one caller each call is timed: there the time is the figure.
  const timedEvery = callers === 1 ? 1 : TIMED_EVERY
  const caller = async (_: unknown, index: number) => {
    let number = (index * KEY_STEP) % job.keys
    for (let count = index; state !== 'over'; count++) {
      number = (number + KEY_STEP) % job.keys
      if (count % timedEvery === 0) {
        const from = performance.now()
        await call(number)
        if (state === 'measuring' && timed < TIMES_MAX) times[timed++] = performance.now() - from
      } else await call(number)
      done++
    }
  }
  const all = Promise.all(Array.from({ length: callers }, caller))
  await Promise.race([delay(job.warmUpMs), all])
  const doneBefore = done
  const startedAt = performance.now()
  const sharesSince = watchProcessors(job.serverPid)
  state = 'measuring'
  await Promise.race([delay(job.windowMs), all])
  const ms = performance.now() - startedAt
  const count = done - doneBefore
  const shares = sharesSince()
  state = 'over'
  await all
  const measured = times.subarray(0, timed)
  return {
    perSecond: (count / ms) * 1000,
    p50Ms: percentile(measured, 50),
    p99Ms: percentile(measured, 99),
    shares,
  }
}

const job: ApplicationJob = JSON.parse(process.argv[2] ?? '{}')
console.log(JSON.stringify(await run(job)))
