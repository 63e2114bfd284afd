// One load, in a process of its own: `node load.js JOB`, the job as JSON. It tells over its channel how it is going, and
// ends when it is told to, when whoever started it is gone, or when its time is over.

import { constants, setPriority } from 'node:os'
import { Chance } from '../simulation/chance.ts'
import { ATTACKERS } from './attacks.ts'
import { Dialer, sourceAddresses } from './dialer.ts'
import { OrdinaryClients } from './ordinary.ts'
import { ATTACKS, type AttackName } from './plan.ts'

export interface Job {
  load: AttackName | 'ordinary'
  /** Connections, or connections or calls a second. */
  amount: number
  port: number
  /** The authority that signed the server's certificate, in PEM format; undefined: no TLS. */
  tlsCa: string | undefined
  seed: number
  endAfterMs: number
}

export interface Report {
  /** Connections now. */
  open: number
  /** What it has done so far, by name. */
  counts: Record<string, number>
  /** Since the report before, in ms. */
  latenciesMs: number[]
  /** What went wrong, in words; the first few. */
  complaints: string[]
}

/** To the load. */
export const STOP = 'stop'

const REPORT_MS = 250
const ADDRESSES = 64
/** 127.GROUP.0.x, a group for each kind of load. */
const FIRST_GROUP = 10
const CALL_TIMEOUT_MS = 10_000

interface Load {
  report(): Report
  stop(): Promise<void> | void
}

const job: Job = JSON.parse(process.argv[2] ?? '{}')
const load = job.load === 'ordinary' ? await ordinary(job) : await attack(job, job.load)
const tell = () => void process.send?.(load.report())
const timer = setInterval(tell, REPORT_MS)
const endTimer = setTimeout(() => void end(), job.endAfterMs)
process.on('message', (message) => {
  if (message === STOP) void end()
})
process.on('disconnect', () => process.exit(0))
tell()

async function end(): Promise<void> {
  clearInterval(timer)
  clearTimeout(endTimer)
  await load.stop()
  if (!process.connected) return
  process.send?.(load.report(), () => process.disconnect())
}

async function ordinary({ port, tlsCa, amount, seed }: Job): Promise<Load> {
  const clients = new OrdinaryClients(
    {
      servers: `127.0.0.1:${port}`,
      name: 'ordinary',
      timeoutMs: CALL_TIMEOUT_MS,
      // How long calls take is to be seen, not how soon somebody gives up.
      heartbeatMs: CALL_TIMEOUT_MS,
      onUnavailable: 'throw',
      ...(tlsCa === undefined ? {} : { tls: { ca: tlsCa } }),
    },
    amount,
    seed,
  )
  await clients.start()
  return {
    report: () => ({
      open: 0,
      counts: { ...clients.counts },
      latenciesMs: clients.takeLatencies(),
      complaints: clients.complaints,
    }),
    stop: () => clients.stop(),
  }
}

async function attack({ port, tlsCa, amount, seed }: Job, name: AttackName): Promise<Load> {
  // Attackers have machines of their own: on this one they must not take the time of those who measure.
  setPriority(constants.priority.PRIORITY_LOW)
  const addresses = await sourceAddresses(FIRST_GROUP + ATTACKS.indexOf(name), ADDRESSES)
  const dialer = new Dialer({ port, tls: tlsCa !== undefined, addresses })
  const attacker = ATTACKERS[name]({ amount, dialer, chance: new Chance(seed) })
  return {
    report: () => ({ open: attacker.open, counts: attacker.counts(), latenciesMs: [], complaints: [] }),
    stop: () => attacker.stop(),
  }
}
