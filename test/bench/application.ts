// Section 2: what an application sees through a client: one Node process with the client on one core, one server on
// the other. Every client in a fresh process each round, in turn.

import { join } from 'node:path'
import type { ApplicationClientId } from './application-clients.ts'
import type { ApplicationJob, ApplicationOutcome, PhaseName, PhaseOutcome } from './application-worker.ts'
import { KEY_BYTES } from './keys.ts'
import { CORES, DISTURBED_LEGEND, disturbanceMark, undisturbed } from './machine.ts'
import { type Contestant, findPeers, ourServer } from './peers.ts'
import { type RunningServer, runToEnd } from './processes.ts'
import { table } from './report.ts'
import type { Section } from './section.ts'
import { AMPLE_MEMORY_MB, type BenchSetup } from './setup.ts'
import { median, ratio, thousands } from './statistics.ts'

const KEYS = 100_000
const VALUE_BYTES = 100
const WORKER_TIMEOUT_MS = 120_000
const TARGETS = { get: 4, set: 3.5, get16: 1.3, p99: 1, p50OfOneCaller: 1.05 }

const OURS = 'ormuco'
/** Which server each client talks to. */
const CLIENTS: readonly {
  id: ApplicationClientId
  name: string
  server: 'ormuco' | 'redis' | 'memcached'
}[] = [
  { id: OURS, name: 'OrmucoCacheClient + ormuco-cache', server: 'ormuco' },
  { id: 'ioredis', name: 'ioredis, auto-pipelining + redis', server: 'redis' },
  { id: 'node-redis', name: 'node-redis + redis', server: 'redis' },
  { id: 'memjs', name: 'memjs + memcached', server: 'memcached' },
]

interface Entrant {
  id: ApplicationClientId
  name: string
  missing?: string
  port: number
  serverPid: number
  outcomes: ApplicationOutcome[]
}

/** A server that clients talk to, or why there is none. */
type Server = Pick<Entrant, 'port' | 'serverPid' | 'missing'>

export async function benchApplication(setup: BenchSetup): Promise<Section> {
  const running: RunningServer[] = []
  try {
    const entrants = await startAll(setup, running)
    for (let round = 1; round <= setup.rounds; round++) {
      for (const entrant of entrants) {
        if (entrant.missing !== undefined) continue
        const outcome = await runWorker(setup, entrant)
        entrant.outcomes.push(outcome)
        setup.progress(`round ${round}, ${entrant.name}: ${summary(outcome)}`)
      }
    }
    return report(entrants)
  } finally {
    await Promise.all(running.map((server) => server.stop()))
  }
}

async function startAll(setup: BenchSetup, running: RunningServer[]): Promise<Entrant[]> {
  const peers = findPeers()
  const servers = new Map<string, Server>()
  const launch = async (contestant: Contestant): Promise<Server> => {
    setup.progress(`starting ${contestant.name}`)
    const server = await contestant.start(AMPLE_MEMORY_MB)
    running.push(server)
    return { port: server.port, serverPid: server.pid }
  }
  servers.set(OURS, await launch(ourServer(setup.distDir, { store: 'arena' })))
  for (const peer of peers.filter(({ id }) => id === 'redis' || id === 'memcached')) {
    servers.set(peer.id, peer.found ? await launch(peer.contestant) : absent(peer.reason))
  }
  return CLIENTS.map(({ id, name, server }) => ({
    id,
    name,
    outcomes: [],
    ...(servers.get(server) ?? absent('not measured')),
  }))
}

function absent(missing: string): Server {
  return { port: 0, serverPid: 0, missing }
}

async function runWorker(setup: BenchSetup, { id, port, serverPid }: Entrant): Promise<ApplicationOutcome> {
  const window = setup.pace === 'quick' ? { warmUpMs: 100, windowMs: 400 } : { warmUpMs: 300, windowMs: 1500 }
  const job: ApplicationJob = { client: id, port, serverPid, keys: KEYS, valueBytes: VALUE_BYTES, ...window }
  const args = [join(setup.distDir, 'test/bench/application-worker.js'), JSON.stringify(job)]
  const output = await runToEnd({ command: process.execPath, args, core: CORES?.load }, WORKER_TIMEOUT_MS)
  const outcome: ApplicationOutcome = JSON.parse(output)
  return outcome
}

function summary({ set, get, get16, get1, object }: ApplicationOutcome): string {
  return (
    `set ${thousands(set.perSecond)}, get ${thousands(get.perSecond)}, 16 callers ${thousands(get16.perSecond)}, ` +
    `object ${thousands(object.perSecond)} k/s; 1 caller ${microseconds(get1.p50Ms)} µs`
  )
}

function microseconds(ms: number): string {
  return Number.isFinite(ms) ? (ms * 1000).toFixed(0) : '–'
}

/** The median over the rounds of one figure of one phase; NaN where nothing was measured. */
function figure(
  entrant: Entrant | undefined,
  phase: PhaseName,
  of: (outcome: PhaseOutcome) => number,
): number {
  return median(undisturbed((entrant?.outcomes ?? []).map((outcome) => outcome[phase])).map(of))
}

const rate = ({ perSecond }: PhaseOutcome) => perSecond
const p50 = ({ p50Ms }: PhaseOutcome) => p50Ms
const othersBusy = ({ shares }: PhaseOutcome) => shares.others
const p99 = ({ p99Ms }: PhaseOutcome) => p99Ms

/** A column of the tables: the phase, and the figure that counts in it. */
interface Column {
  phase: PhaseName
  title: string
  unit: string
  of: (outcome: PhaseOutcome) => number
  show: (value: number) => string
}
const COLUMNS: readonly Column[] = [
  { phase: 'set', title: 'set', unit: '', of: rate, show: thousands },
  { phase: 'get', title: 'get', unit: '', of: rate, show: thousands },
  { phase: 'get16', title: 'get, 16 callers', unit: '', of: rate, show: thousands },
  { phase: 'object', title: 'get of a 200-byte object', unit: '', of: rate, show: thousands },
  { phase: 'get1', title: 'get, 1 caller', unit: ': p50 in µs', of: p50, show: microseconds },
]

function report(entrants: readonly Entrant[]): Section {
  const ours = entrants.find(({ id }) => id === OURS)
  const titles = ['', ...COLUMNS.map(({ title }) => title)]
  const titlesWithUnits = ['', ...COLUMNS.map(({ title, unit }) => title + unit)]
  const rows = (show: (entrant: Entrant, column: Column) => string) =>
    entrants.map((entrant) => [
      entrant.name,
      ...(entrant.missing !== undefined ? [entrant.missing] : COLUMNS.map((column) => show(entrant, column))),
    ])
  const figures = rows((entrant, { phase, of, show }) => {
    return show(figure(entrant, phase, of)) + disturbanceMark(figure(entrant, phase, othersBusy))
  })
  const multiples = rows((entrant, { phase, of }) =>
    ratio(figure(ours, phase, of), figure(entrant, phase, of)),
  )
  const tails = rows((entrant, { phase }) => microseconds(figure(entrant, phase, p99)))
  const busy = rows((entrant, { phase }) => {
    const share = (name: 'self' | 'server') => figure(entrant, phase, ({ shares }) => shares[name]).toFixed(0)
    return `${share('self')}/${share('server')}`
  })
  return {
    id: '2',
    title: 'What an application sees',
    markdown: [
      `Thousand operations per second of one client process; 256 callers unless said otherwise, each awaiting its ` +
        `result before the next call; ${KEYS} keys of ${KEY_BYTES} bytes, strings of ${VALUE_BYTES} bytes. Medians.`,
      table(titlesWithUnits, figures),
      DISTURBED_LEGEND,
      'Ours as a multiple of each (in the last column less is better):',
      table(titlesWithUnits, multiples),
      '99th percentile in µs:',
      table(titles, tails),
      'Processor time over wall time in percent, client/server:',
      table(titles, busy),
    ].join('\n\n'),
    rows: [...entrants],
    targets: ours === undefined ? [] : targets(ours, entrants),
  }
}

/** Each against the best of the others that were measured. */
function targets(ours: Entrant, entrants: readonly Entrant[]): Section['targets'] {
  const others = entrants.filter((entrant) => entrant.id !== OURS && entrant.outcomes.length > 0)
  if (others.length === 0) return []
  const mark = (phase: PhaseName) =>
    disturbanceMark(Math.max(...[ours, ...others].map((one) => figure(one, phase, othersBusy))))
  const atLeast = (name: string, phase: PhaseName, least: number) => {
    const best = Math.max(...others.map((other) => figure(other, phase, rate)))
    const multiple = figure(ours, phase, rate) / best
    return {
      name: `${name}, over the best other client`,
      target: `≥ ${least} ×`,
      measured: `${multiple.toFixed(2)} ×${mark(phase)}`,
      met: multiple >= least,
    }
  }
  const atMost = (name: string, phase: PhaseName, of: (outcome: PhaseOutcome) => number, most: number) => {
    const best = Math.min(...others.map((other) => figure(other, phase, of)))
    const mine = figure(ours, phase, of)
    return {
      name: `${name}, over the best other client`,
      target: `≤ ${most} ×`,
      measured: `${ratio(mine, best)} ×${mark(phase)} (${microseconds(mine)} µs against ${microseconds(best)} µs)`,
      met: mine <= best * most,
    }
  }
  return [
    atLeast('get, 256 callers', 'get', TARGETS.get),
    atLeast('set, 256 callers', 'set', TARGETS.set),
    atLeast('get, 16 callers', 'get16', TARGETS.get16),
    atMost('p99 of get, 256 callers', 'get', p99, TARGETS.p99),
    atMost('p99 of set, 256 callers', 'set', p99, TARGETS.p99),
    atMost('p50 of get, 1 caller', 'get1', p50, TARGETS.p50OfOneCaller),
  ]
}
