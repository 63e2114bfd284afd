// Section 5: replication between two servers. How soon a write is seen at the other one, what an outage costs on the
// wire and locally, and what replication costs the server that is written to. On two cores both servers and the load
// share them: nothing is pinned where latency is measured, and the cost of a write is one of processor time, with both
// servers on one core and the load on the other.

import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { OrmucoCacheClient } from '../../client/index.ts'
import type { ServerStats } from '../../server/statistics.ts'
import { KEY_BYTES } from './keys.ts'
import { fill, measure } from './load-process.ts'
import { ourServer } from './peers.ts'
import { type RunningServer, runToEnd } from './processes.ts'
import type { ReplicationJob, ReplicationOutcome } from './replication-worker.ts'
import { table } from './report.ts'
import type { Section } from './section.ts'
import type { BenchSetup } from './setup.ts'
import { median, thousands } from './statistics.ts'

const MEMORY_MB = 512
const KEYS = 100_000
const VALUE_BYTES = 100
const WRITES_PER_SECOND = 50_000
const VISIBLE_MS_MAX = 5
const CATCH_UP_FACTOR_MAX = 1.3
const LOCAL_P99_FACTOR_MAX = 1.2
const THROUGHPUT_SHARE_MIN = 0.6
const TIMEOUT_MS = 60_000
/** A slow server: it gets to run for the first part of each period. */
const SLOW_PERIOD_MS = 100
const SLOW_RUNS_MS = 10

interface Pair {
  near: RunningServer
  far: RunningServer
}

export async function benchReplication(setup: BenchSetup): Promise<Section> {
  const alone = await throughputs(setup, [await start(setup, [])])
  const visibles: ReplicationOutcome[] = []
  const outages: Outage[] = []
  const replicated: number[] = []
  for (let round = 1; round <= setup.rounds; round++) {
    await withPair(setup, true, async (pair) => {
      visibles.push(await visible(setup, pair))
      outages.push(await outage(setup, pair))
    })
    await withPair(setup, false, async ({ near }) => {
      replicated.push(await throughput(setup, near))
    })
    setup.progress(
      `round ${round}: seen after ${ms(visibles.at(-1)?.p99)} (p99), ` +
        `caught up with ${outages.at(-1)?.factor.toFixed(2)} × the bytes, SET ${thousands(replicated.at(-1) ?? 0)} k/s`,
    )
  }
  return report(alone, visibles, outages, replicated)
}

async function start(setup: BenchSetup, peers: readonly number[], roams = false): Promise<RunningServer> {
  const serverFlags =
    peers.length === 0 ? [] : ['--peers', peers.map((port) => `127.0.0.1:${port}`).join(',')]
  return ourServer(setup.distDir, { serverFlags, roams }).start(MEMORY_MB)
}

async function withPair(
  setup: BenchSetup,
  roams: boolean,
  run: (pair: Pair) => Promise<void>,
): Promise<void> {
  const near = await start(setup, [], roams)
  const far = await start(setup, [near.port], roams)
  try {
    await untilStats(near.port, ({ replication }) => replication.links === 1 && replication.fullRounds > 0)
    await run({ near, far })
  } finally {
    await Promise.all([near.stop(), far.stop()])
  }
}

async function visible(setup: BenchSetup, { near, far }: Pair): Promise<ReplicationOutcome> {
  const seconds = setup.pace === 'quick' ? 2 : 8
  return work(setup, {
    kind: 'visible',
    port: near.port,
    otherPort: far.port,
    perSecond: WRITES_PER_SECOND,
    keys: KEYS,
    valueBytes: VALUE_BYTES,
    seconds,
  })
}

/** What local callers feel, by how the other server is. */
const MOODS = ['well', 'slow', 'silent', 'dead', 'catching up'] as const

interface Outage {
  /** Bytes sent when it was over, over those of the keys and values that had changed. */
  factor: number
  local: Record<(typeof MOODS)[number], ReplicationOutcome>
}

/** The far server gets slow, is stopped, counts as dead, records change, and it goes on. */
async function outage(setup: BenchSetup, { near, far }: Pair): Promise<Outage> {
  const callLocally = () =>
    work(setup, {
      kind: 'local',
      port: near.port,
      otherPort: 0,
      perSecond: 0,
      keys: KEYS,
      valueBytes: VALUE_BYTES,
      seconds: setup.pace === 'quick' ? 1 : 3,
    })
  const well = await callLocally()
  const slow = await whileSlow(far, callLocally)
  process.kill(far.pid, 'SIGSTOP')
  let silent: ReplicationOutcome
  let dead: ReplicationOutcome
  try {
    silent = await callLocally()
    await untilStats(near.port, ({ replication }) => replication.links === 0)
    dead = await callLocally()
    const target = { port: near.port, serverPid: near.pid, dialect: 'frames' as const }
    await fill(setup, { ...target, firstKey: 0, keys: KEYS, valueBytes: VALUE_BYTES })
  } finally {
    process.kill(far.pid, 'SIGCONT')
  }
  const during = callLocally()
  const factor = (await caughtUp(near)) / (KEYS * (KEY_BYTES + VALUE_BYTES))
  return { factor, local: { well, slow, silent, dead, 'catching up': await during } }
}

async function whileSlow<T>({ pid }: RunningServer, run: () => Promise<T>): Promise<T> {
  let stop: NodeJS.Timeout | undefined
  const period = setInterval(() => {
    process.kill(pid, 'SIGCONT')
    stop = setTimeout(() => process.kill(pid, 'SIGSTOP'), SLOW_RUNS_MS)
  }, SLOW_PERIOD_MS)
  try {
    return await run()
  } finally {
    clearInterval(period)
    clearTimeout(stop)
    process.kill(pid, 'SIGCONT')
  }
}

/** Waits until the other server has everything; returns what was sent to it on its present link. */
async function caughtUp(server: RunningServer): Promise<number> {
  const stats = await untilStats(
    server.port,
    ({ peers }) => peers[0]?.state === 'connected' && peers[0].lagRecords === 0,
  )
  return stats.peers[0]?.sentBytes ?? Number.NaN
}

async function untilStats(port: number, isIt: (stats: ServerStats) => boolean): Promise<ServerStats> {
  await using client = new OrmucoCacheClient({ servers: `127.0.0.1:${port}`, timeoutMs: 5000 })
  const until = performance.now() + TIMEOUT_MS
  for (;;) {
    // Of the same version on both sides: the client's type is for any.
    const stats: ServerStats = JSON.parse(JSON.stringify(await client.stats()))
    if (isIt(stats)) return stats
    if (performance.now() > until)
      throw new Error(`no such state within ${TIMEOUT_MS} ms: ${JSON.stringify(stats)}`)
    await delay(20)
  }
}

async function throughput(setup: BenchSetup, server: RunningServer): Promise<number> {
  const outcome = await measure(setup, {
    port: server.port,
    serverPid: server.pid,
    dialect: 'frames',
    operation: 'set',
    connections: 50,
    depth: 16,
    firstKey: 0,
    keys: KEYS,
    valueBytes: VALUE_BYTES,
    warmUpMs: 500,
    windowMs: setup.pace === 'quick' ? 1000 : 3000,
  })
  // Of the server's processor time: the other server takes part of the core that the load runs on.
  return (outcome.perSecond / outcome.shares.server) * 100
}

async function throughputs(setup: BenchSetup, servers: readonly RunningServer[]): Promise<number[]> {
  const figures: number[] = []
  for (const server of servers) {
    for (let round = 0; round < setup.rounds; round++) figures.push(await throughput(setup, server))
    await server.stop()
  }
  return figures
}

async function work(setup: BenchSetup, job: ReplicationJob): Promise<ReplicationOutcome> {
  const args = [join(setup.distDir, 'test/bench/replication-worker.js'), JSON.stringify(job)]
  const outcome: ReplicationOutcome = JSON.parse(
    await runToEnd({ command: process.execPath, args }, TIMEOUT_MS),
  )
  return outcome
}

function report(
  alone: readonly number[],
  visibles: readonly ReplicationOutcome[],
  outages: readonly Outage[],
  replicated: readonly number[],
): Section {
  const p99 = median(visibles.map((one) => one.p99))
  const rate = median(visibles.map((one) => one.writesPerSecond))
  const factor = median(outages.map((one) => one.factor))
  const localP99 = (mood: (typeof MOODS)[number]) => median(outages.map(({ local }) => local[mood].p99))
  const share = median(replicated) / median(alone)
  const markdown = [
    `Two servers on loopback, ${KEYS} keys of ${KEY_BYTES} bytes, values of ${VALUE_BYTES}. Medians of ${visibles.length} rounds. ` +
      `Slow: it runs for ${SLOW_RUNS_MS} of every ${SLOW_PERIOD_MS} ms; silent: it is stopped and still linked; dead: its link has been given up.`,
    table(
      ['', ''],
      [
        [
          `a write is seen at the other server, at ${thousands(rate)} k writes/s: p50`,
          ms(median(visibles.map((one) => one.p50))),
        ],
        ['p99', ms(p99)],
        ['highest', ms(median(visibles.map((one) => one.highest)))],
        [
          `bytes sent after ${KEYS} records changed while it was dead, over their keys and values`,
          `${factor.toFixed(2)} ×`,
        ],
        ...MOODS.map((mood) => [
          `p99 of a local caller while the other server is ${mood}`,
          ms(localP99(mood)),
        ]),
        ['SET per second of processor time, alone', `${thousands(median(alone))} k`],
        ['SET per second of processor time, replicated', `${thousands(median(replicated))} k`],
      ],
    ),
  ].join('\n\n')
  const target = (name: string, limit: string, measured: string, met: boolean) => ({
    name,
    target: limit,
    measured,
    met,
  })
  return {
    id: '5',
    title: 'Replication',
    markdown,
    rows: [{ alone, visibles, outages, replicated }],
    targets: [
      target(
        'a write is seen at the other server, p99 at 50 k writes/s',
        `≤ ${VISIBLE_MS_MAX} ms`,
        ms(p99),
        p99 <= VISIBLE_MS_MAX,
      ),
      target(
        'bytes to catch up, over those of the changed records',
        `≤ ${CATCH_UP_FACTOR_MAX} ×`,
        `${factor.toFixed(2)} ×`,
        factor <= CATCH_UP_FACTOR_MAX,
      ),
      ...MOODS.slice(1).map((mood) => {
        const times = localP99(mood) / localP99('well')
        return target(
          `local p99 while the other server is ${mood}, over well`,
          `≤ ${LOCAL_P99_FACTOR_MAX} ×`,
          `${times.toFixed(2)} ×`,
          times <= LOCAL_P99_FACTOR_MAX,
        )
      }),
      target(
        'throughput of replicated writes, over alone',
        `≥ ${THROUGHPUT_SHARE_MIN} ×`,
        `${share.toFixed(2)} ×`,
        share >= THROUGHPUT_SHARE_MIN,
      ),
    ],
  }
}

function ms(value: number | undefined): string {
  return value === undefined ? '–' : `${value.toFixed(2)} ms`
}
