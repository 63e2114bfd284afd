// Section 1: how many requests a server answers on one core. Server on one core, generator on another, all
// contestants up for the whole section and measured in turn, cell by cell, so that a slow minute hits all of them.

import type { Operation, Outcome } from './generator.ts'
import { fill, measure } from './load-process.ts'
import { DISTURBED_LEGEND, disturbanceMark, type Shares, undisturbed } from './machine.ts'
import { type Contestant, findPeers, ourServer, startBareServer } from './peers.ts'
import type { RunningServer } from './processes.ts'
import { table } from './report.ts'
import type { Section } from './section.ts'
import { AMPLE_MEMORY_MB, type BenchSetup } from './setup.ts'
import { median, ratio, thousands } from './statistics.ts'

const CONNECTIONS = 50
const DEPTHS = [1, 16, 128] as const
const OPERATIONS: readonly Operation[] = ['get', 'set']
const KEYS = 100_000
const VALUE_BYTES = 100
/** A generator busier than this may be the limit, so its row says so. */
const BUSY_PERCENT_MAX = 90
const BARE = 'bare'
const RIVALS = ['redis', 'valkey', 'memcached']
const TARGETS = { bareAtDepth1: 0.97, rivals: 1, pogocache: 0.85 }

type Depth = (typeof DEPTHS)[number]

/** One row of the tables. */
interface Entrant {
  id: string
  name: string
  /** Why there are no figures, if so. */
  missing?: string
  measure?: (operation: Operation, depth: Depth) => Promise<Outcome>
  outcomes: Map<string, Outcome[]>
}

/** Medians of one cell over the rounds; NaN where nothing was measured. */
interface Cell {
  perSecond: number
  shares: Shares
}

export async function benchCapacity(setup: BenchSetup): Promise<Section> {
  const running: RunningServer[] = []
  try {
    const entrants = await startAll(setup, running)
    for (let round = 1; round <= setup.rounds; round++) {
      for (const depth of DEPTHS) {
        for (const operation of OPERATIONS) {
          for (const entrant of entrants) await runCell(setup, entrant, operation, depth, round)
        }
      }
    }
    return report(entrants)
  } finally {
    await Promise.all(running.map((server) => server.stop()))
  }
}

async function startAll(setup: BenchSetup, running: RunningServer[]): Promise<Entrant[]> {
  const window = setup.pace === 'quick' ? { warmUpMs: 200, windowMs: 400 } : { warmUpMs: 500, windowMs: 1500 }
  const load = { connections: CONNECTIONS, firstKey: 0, keys: KEYS, valueBytes: VALUE_BYTES, ...window }
  const enter = async ({ id, name, dialect, start }: Contestant): Promise<Entrant> => {
    setup.progress(`starting ${name}`)
    const { port, pid } = await started(start(AMPLE_MEMORY_MB), running)
    const server = { port, serverPid: pid, dialect }
    await fill(setup, { ...server, firstKey: 0, keys: KEYS, valueBytes: VALUE_BYTES })
    const run = (operation: Operation, depth: Depth) =>
      measure(setup, { ...server, ...load, operation, depth })
    return { id, name, measure: run, outcomes: new Map() }
  }

  const entrants: Entrant[] = []
  for (const store of setup.stores) entrants.push(await enter(ourServer(setup.distDir, { store })))
  for (const peer of findPeers()) {
    if (peer.found) entrants.push(await enter(peer.contestant))
    else entrants.push({ id: peer.id, name: peer.id, missing: peer.reason, outcomes: new Map() })
  }
  const bare = await startBareServer(setup.distDir, VALUE_BYTES)
  running.push(bare)
  entrants.push({
    id: BARE,
    name: 'bare Node server (the floor)',
    measure: (operation, depth) => {
      const { port, replyBytes } = bare.operations[operation]
      const server = { port, serverPid: bare.pid, dialect: 'frames' as const, replyBytes }
      return measure(setup, { ...server, ...load, operation, depth })
    },
    outcomes: new Map(),
  })
  return entrants
}

async function started<T extends RunningServer>(starting: Promise<T>, running: RunningServer[]): Promise<T> {
  const server = await starting
  running.push(server)
  return server
}

async function runCell(
  setup: BenchSetup,
  entrant: Entrant,
  operation: Operation,
  depth: Depth,
  round: number,
): Promise<void> {
  if (entrant.measure === undefined) return
  const outcome = await entrant.measure(operation, depth)
  const cell = cellName(operation, depth)
  entrant.outcomes.set(cell, [...(entrant.outcomes.get(cell) ?? []), outcome])
  const percent = (share: number) => `${share.toFixed(0)} %`
  const { self, server, others } = outcome.shares
  setup.progress(
    `round ${round}, ${cell}, ${entrant.name}: ${thousands(outcome.perSecond)} k/s ` +
      `(generator ${percent(self)} busy, server ${percent(server)}, others ${percent(others)})`,
  )
}

function cellName(operation: Operation, depth: Depth): string {
  return `${operation.toUpperCase()} at depth ${depth}`
}

function cellOf(entrant: Entrant | undefined, operation: Operation, depth: Depth): Cell {
  const outcomes = undisturbed(entrant?.outcomes.get(cellName(operation, depth)) ?? [])
  const middle = (of: (outcome: Outcome) => number) => median(outcomes.map(of))
  return {
    perSecond: middle((outcome) => outcome.perSecond),
    shares: {
      self: middle(({ shares }) => shares.self),
      server: middle(({ shares }) => shares.server),
      others: middle(({ shares }) => shares.others),
    },
  }
}

function report(entrants: readonly Entrant[]): Section {
  const ours = entrants[0]
  const columns = DEPTHS.map((depth) => `depth ${depth}, GET · SET`)
  const pairs = (show: (operation: Operation, depth: Depth) => string) =>
    DEPTHS.map((depth) => OPERATIONS.map((operation) => show(operation, depth)).join(' · '))
  const rows = (show: (entrant: Entrant, operation: Operation, depth: Depth) => string) =>
    entrants.map((entrant) => [
      entrant.name,
      ...(entrant.missing !== undefined ? [entrant.missing] : pairs((...cell) => show(entrant, ...cell))),
    ])

  const figures = rows((...where) => {
    const { perSecond, shares } = cellOf(...where)
    const marks = (shares.self > BUSY_PERCENT_MAX ? '\\*' : '') + disturbanceMark(shares.others)
    return thousands(perSecond) + marks
  })
  const ratios = rows((entrant, ...where) =>
    ratio(cellOf(ours, ...where).perSecond, cellOf(entrant, ...where).perSecond),
  )
  const perProcessorSecond = rows((...where) => {
    const { perSecond, shares } = cellOf(...where)
    return thousands((perSecond / shares.server) * 100)
  })
  const busy = rows((...where) => {
    const { self, server } = cellOf(...where).shares
    return Number.isNaN(server) ? '–' : `${self.toFixed(0)}/${server.toFixed(0)}`
  })
  const markdown = [
    `${CONNECTIONS} connections; depth = requests in flight on each; ${KEYS} keys of 23 bytes, values of ` +
      `${VALUE_BYTES} bytes, all hits. Server and generator on a core each. Thousand requests per second, medians.`,
    table(['', ...columns], figures),
    `\\* The generator was above ${BUSY_PERCENT_MAX} % busy: the server may be able to do more than the figure says. ` +
      DISTURBED_LEGEND,
    'Ours as a multiple of each:',
    table(['', ...columns], ratios),
    "Thousand requests per second of the server's processor time, which other processes disturb less:",
    table(['', ...columns], perProcessorSecond),
    'Processor time over wall time in percent, generator/server:',
    table(['', ...columns], busy),
  ].join('\n\n')
  return {
    id: '1',
    title: 'Server capacity on one core',
    markdown,
    rows: entrants.map(({ name, missing, outcomes }) => ({ name, missing, outcomes: [...outcomes] })),
    targets: targets(entrants),
  }
}

/** Against the best of each group of rivals, in each cell; a group of which none is there sets no target. */
function targets(entrants: readonly Entrant[]): Section['targets'] {
  const ours = entrants[0]
  const against = (rivals: readonly string[], depths: readonly Depth[], least: number) => {
    const present = entrants.filter(({ id, missing }) => rivals.includes(id) && missing === undefined)
    if (present.length === 0) return []
    return depths.flatMap((depth) =>
      OPERATIONS.map((operation) => {
        const mine = cellOf(ours, operation, depth)
        const cells = present.map((rival) => ({ rival, ...cellOf(rival, operation, depth) }))
        const best = cells.reduce((one, other) => (other.perSecond > one.perSecond ? other : one))
        const multiple = mine.perSecond / best.perSecond
        const mark = disturbanceMark(Math.max(mine.shares.others, best.shares.others))
        return {
          name: `${cellName(operation, depth)}, over ${best.rival.name}`,
          target: `≥ ${least.toFixed(2)} ×`,
          measured: `${multiple.toFixed(2)} ×${mark}`,
          met: multiple >= least,
        }
      }),
    )
  }
  return [
    ...against([BARE], [1], TARGETS.bareAtDepth1),
    ...against(RIVALS, [16, 128], TARGETS.rivals),
    ...against(['pogocache'], [16, 128], TARGETS.pogocache),
  ]
}
