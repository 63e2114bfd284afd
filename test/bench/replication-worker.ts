// The load and the probes of the replication section, in a process of its own: `node replication-worker.js JOB`.
//
//   visible   writes at a steady rate to one server; meanwhile probes write a value there and read it from the other
//             one until it is seen: the time from the first server's answer to the second one's
//   local     one caller that gets and sets at one server, one call after the other: what an application feels

import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { newBatch, renumber, templateOf } from '../../bin/load-batches.ts'
import { OrmucoCacheClient } from '../../client/index.ts'
import { DIALECTS } from './dialects.ts'
import { KEY_DIGITS, keyOf } from './keys.ts'
import { percentile } from './statistics.ts'

export interface ReplicationJob {
  kind: 'visible' | 'local'
  port: number
  /** Where a probe is to become visible. */
  otherPort: number
  perSecond: number
  keys: number
  valueBytes: number
  seconds: number
}

/** Latencies in milliseconds. */
export interface ReplicationOutcome {
  samples: number
  p50: number
  p99: number
  highest: number
  writesPerSecond: number
}

const TICK_MS = 2
const PROBE_EVERY_MS = 3
/** Three processes that compile their code at first. */
const WARM_UP_MS = 3000

/** Writes `perSecond` requests a second, in a batch every two milliseconds; returns how many were answered. */
async function write(job: ReplicationJob, until: number): Promise<number> {
  const template = templateOf(
    DIALECTS.frames.set(keyOf(0), Buffer.alloc(job.valueBytes, 'v')),
    keyOf(0),
    KEY_DIGITS,
  )
  const socket = connect(job.port, '127.0.0.1')
  socket.setNoDelay(true)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.on('data', () => {})
  const startedAt = performance.now()
  let sent = 0
  while (performance.now() < until) {
    const due = Math.floor(((performance.now() - startedAt) * job.perSecond) / 1000)
    if (due > sent) {
      const batch = newBatch(template, due - sent, () => 0)
      renumber(batch, template, () => Math.floor(Math.random() * job.keys))
      await written(socket, batch.bytes)
      sent = due
    }
    await delay(TICK_MS)
  }
  socket.destroy()
  return sent / ((performance.now() - startedAt) / 1000)
}

function written(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    socket.write(bytes, () => resolve())
  })
}

async function visible(job: ReplicationJob): Promise<ReplicationOutcome> {
  const near = await new OrmucoCacheClient({ servers: `127.0.0.1:${job.port}`, timeoutMs: 5000 }).connect()
  const far = await new OrmucoCacheClient({
    servers: `127.0.0.1:${job.otherPort}`,
    timeoutMs: 5000,
  }).connect()
  const countedFrom = performance.now() + WARM_UP_MS
  const until = countedFrom + job.seconds * 1000
  const writing = write(job, until)
  const latencies: number[] = []
  for (let probe = 1; performance.now() < until; probe++) {
    const key = `probe:${probe}`
    await near.store(key, probe)
    const storedAt = performance.now()
    while ((await far.retrieve(key)) !== probe)
      if (performance.now() - storedAt > 10_000) throw new Error(`probe ${probe} was not seen within 10 s`)
    if (storedAt >= countedFrom) latencies.push(performance.now() - storedAt)
    await delay(PROBE_EVERY_MS)
  }
  const writesPerSecond = await writing
  await Promise.all([near.close(), far.close()])
  return outcome(latencies, writesPerSecond)
}

async function local(job: ReplicationJob): Promise<ReplicationOutcome> {
  const client = await new OrmucoCacheClient({ servers: `127.0.0.1:${job.port}`, timeoutMs: 5000 }).connect()
  const until = performance.now() + job.seconds * 1000
  const value = 'v'.repeat(job.valueBytes)
  const latencies: number[] = []
  for (let call = 0; performance.now() < until; call++) {
    const key = keyOf(Math.floor(Math.random() * job.keys))
    const calledAt = performance.now()
    if (call % 10 === 0) await client.store(key, value)
    else await client.retrieve(key)
    latencies.push(performance.now() - calledAt)
  }
  await client.close()
  return outcome(latencies, 0)
}

function outcome(latencies: readonly number[], writesPerSecond: number): ReplicationOutcome {
  const sorted = Float64Array.from(latencies).sort()
  return {
    samples: sorted.length,
    p50: percentile(sorted, 50),
    p99: percentile(sorted, 99),
    highest: sorted[sorted.length - 1] ?? Number.NaN,
    writesPerSecond,
  }
}

const job: ReplicationJob = JSON.parse(process.argv[2] ?? '{}')
try {
  console.log(JSON.stringify(await (job.kind === 'visible' ? visible(job) : local(job))))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}
