// Section 6: what TLS costs. Requests per second and new connections per second, ours beside redis with TLS, the same
// elliptic certificate for both. A client of TLS works as hard as its server: where the load is the slower of the two, the
// figure to compare is what the server could have done with all of its core, and both are in the tables.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Authority } from '../certificates/authority.ts'
import type { Operation, Outcome } from './generator.ts'
import { fill, measure } from './load-process.ts'
import { CORES, DISTURBED_LEGEND, disturbanceMark, undisturbed } from './machine.ts'
import { type Contestant, ourServer, redisWithTls } from './peers.ts'
import { type RunningServer, runToEnd } from './processes.ts'
import { table } from './report.ts'
import type { Section } from './section.ts'
import { AMPLE_MEMORY_MB, type BenchSetup } from './setup.ts'
import { median, ratio, thousands } from './statistics.ts'
import type { HandshakeJob, HandshakeOutcome } from './tls-worker.ts'

const CONNECTIONS = 50
const DEPTHS = [1, 16, 128] as const
const OPERATIONS: readonly Operation[] = ['get', 'set']
const KEYS = 100_000
const VALUE_BYTES = 100
const TIMEOUT_MS = 60_000

interface Entrant {
  name: string
  measure(operation: Operation, depth: number): Promise<Outcome>
  shake(): Promise<HandshakeOutcome>
  requests: Map<string, Outcome[]>
  handshakes: HandshakeOutcome[]
}

export async function benchTls(setup: BenchSetup): Promise<Section> {
  const folder = mkdtempSync(join(tmpdir(), 'cache-bench-tls-'))
  const running: RunningServer[] = []
  try {
    const files = await certificates(folder)
    const serverFlags = ['--tls-cert', files.cert, '--tls-key', files.key]
    const ours = ourServer(setup.distDir, { serverFlags })
    const redis = redisWithTls(files.cert, files.key)
    const entrants: Entrant[] = []
    for (const contestant of redis === undefined ? [ours] : [ours, redis])
      entrants.push(await enter(setup, contestant, files.ca, running))
    for (let round = 1; round <= setup.rounds; round++) {
      for (const depth of DEPTHS)
        for (const operation of OPERATIONS)
          for (const entrant of entrants) await runCell(entrant, operation, depth)
      for (const entrant of entrants) entrant.handshakes.push(await entrant.shake())
      setup.progress(`round ${round} of ${setup.rounds} with TLS`)
    }
    return report(entrants, redis === undefined)
  } finally {
    await Promise.all(running.map((server) => server.stop()))
    rmSync(folder, { recursive: true })
  }
}

async function certificates(folder: string): Promise<{ ca: string; cert: string; key: string }> {
  const authority = await Authority.create()
  const server = await authority.issue({ commonName: 'localhost', names: ['localhost', '127.0.0.1'] })
  const write = (name: string, text: string) => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  return {
    ca: write('authority.pem', authority.cert),
    cert: write('server.pem', server.cert),
    key: write('server.key.pem', server.key),
  }
}

async function enter(
  setup: BenchSetup,
  { name, dialect, start }: Contestant,
  tlsCaFile: string,
  running: RunningServer[],
): Promise<Entrant> {
  setup.progress(`starting ${name}`)
  const server = await start(AMPLE_MEMORY_MB)
  running.push(server)
  const { port, pid: serverPid } = server
  const target = { port, serverPid, dialect, tlsCaFile, firstKey: 0, keys: KEYS, valueBytes: VALUE_BYTES }
  await fill(setup, target)
  const isQuick = setup.pace === 'quick'
  const window = isQuick ? { warmUpMs: 200, windowMs: 400 } : { warmUpMs: 500, windowMs: 1500 }
  return {
    name,
    measure: (operation, depth) =>
      measure(setup, { ...target, ...window, operation, depth, connections: CONNECTIONS }),
    shake: async () => {
      const job: HandshakeJob = { port, serverPid, tlsCaFile, ms: isQuick ? 500 : 2000 }
      const args = [join(setup.distDir, 'test/bench/tls-worker.js'), JSON.stringify(job)]
      const command = { command: process.execPath, args, core: CORES?.load }
      const outcome: HandshakeOutcome = JSON.parse(await runToEnd(command, TIMEOUT_MS))
      return outcome
    },
    requests: new Map(),
    handshakes: [],
  }
}

async function runCell(entrant: Entrant, operation: Operation, depth: number): Promise<void> {
  const cell = cellOf(operation, depth)
  const outcomes = entrant.requests.get(cell) ?? []
  entrant.requests.set(cell, outcomes)
  outcomes.push(await entrant.measure(operation, depth))
}

function cellOf(operation: Operation, depth: number): string {
  return `${operation} ${depth}`
}

/** Medians: per second, and per second of the server's processor time. */
function figures(outcomes: readonly (Outcome | HandshakeOutcome)[] = []) {
  const quiet = undisturbed(outcomes)
  return {
    perSecond: median(quiet.map(({ perSecond }) => perSecond)),
    perServerSecond: median(quiet.map(({ perSecond, shares }) => (perSecond / shares.server) * 100)),
    mark: disturbanceMark(median(quiet.map(({ shares }) => shares.others))),
  }
}

function report(entrants: readonly Entrant[], isAlone: boolean): Section {
  const cells = OPERATIONS.flatMap((operation) => DEPTHS.map((depth) => ({ operation, depth })))
  const both = ({ perSecond, perServerSecond, mark }: ReturnType<typeof figures>) =>
    `${thousands(perSecond)} · ${thousands(perServerSecond)}${mark}`
  const [ours, theirs] = entrants
  const compared = (one: ReturnType<typeof figures>, other: ReturnType<typeof figures>) =>
    ratio(one.perServerSecond, other.perServerSecond)
  const rows = cells.map(({ operation, depth }) => {
    const of = (entrant: Entrant) => figures(entrant.requests.get(cellOf(operation, depth)))
    return [
      `${operation.toUpperCase()}, depth ${depth}`,
      ...entrants.map((entrant) => both(of(entrant))),
      ours === undefined || theirs === undefined ? '–' : compared(of(ours), of(theirs)),
    ]
  })
  const shakes = (entrant: Entrant) => figures(entrant.handshakes)
  rows.push([
    'connections made, full handshakes',
    ...entrants.map((entrant) => both(shakes(entrant))),
    ours === undefined || theirs === undefined ? '–' : compared(shakes(ours), shakes(theirs)),
  ])
  return {
    id: '6',
    title: 'TLS',
    markdown: [
      `Thousands per second · thousands per second of the server's processor time; TLS 1.3, a P-256 certificate, ${CONNECTIONS} ` +
        `connections, ${KEYS} keys, values of ${VALUE_BYTES} bytes. Where the two figures differ, the load was the slower end. The ` +
        'last column compares the second ones.',
      table(['', ...entrants.map(({ name }) => name), 'ours over redis'], rows),
      ...(isAlone ? ['redis was not measured: no redis-server on PATH, and REDIS_SERVER is not set.'] : []),
      DISTURBED_LEGEND,
    ].join('\n\n'),
    rows: entrants.map(({ name, requests, handshakes }) => ({
      name,
      requests: [...requests],
      handshakes,
    })),
    targets: [],
  }
}
