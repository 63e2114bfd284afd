// The load of one measurement, in a process of its own: `node generator.js JOB`, the job and the result as JSON.
// Requests are prepared before the clock starts, and of replies only bytes are counted: the reply size is learned,
// and the values are checked, on a sample before. It says how busy it was, for a generator that has no time left
// measures itself.

import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { type Batch, type Load, type ReplyMeter, startLoad } from '../../bin/load.ts'
import {
  allowance,
  type KeyNumbers,
  newBatch,
  type RequestTemplate,
  renumberingSource,
  templateOf,
} from '../../bin/load-batches.ts'
import { DIALECTS, type Dialect, type DialectName, type Reply } from './dialects.ts'
import { KEY_DIGITS, keyOf } from './keys.ts'
import { type Shares, watchProcessors } from './machine.ts'

const SAMPLE_KEYS = 16
const SAMPLE_TIMEOUT_MS = 5_000
/** Prepared requests: enough to touch most of 100 000 keys, few enough to be made in a fraction of a second. */
const PREPARED_REQUESTS = 131_072
const PREPARED_BYTES_MAX = 64 * 1024 ** 2

export type Operation = 'get' | 'set'

/** What to do; sizes in bytes, times in milliseconds. */
export interface Job {
  /** `measure`: random keys for a time. `fill`: each key from `firstKey` on once. */
  kind: 'measure' | 'fill'
  port: number
  serverPid: number
  dialect: DialectName
  /** File of the authority that signed the server's certificate; left out: no TLS. */
  tlsCaFile?: string
  operation: Operation
  /** Undefined: learn it from a sample, and check the sample's values. */
  replyBytes?: number
  connections: number
  depth: number
  firstKey: number
  keys: number
  valueBytes: number
  warmUpMs: number
  windowMs: number
}

export interface Outcome {
  requests: number
  seconds: number
  perSecond: number
  shares: Shares
}

/** Counts reply bytes, of which every request has the same number. */
class ByteMeter implements ReplyMeter {
  readonly #replyBytes: number
  #awaited = 0

  constructor(replyBytes: number) {
    this.#replyBytes = replyBytes
  }

  expect(batch: Batch): void {
    this.#awaited += batch.requests * this.#replyBytes
  }

  take(_bytes: Uint8Array, length: number): boolean {
    this.#awaited -= length
    if (this.#awaited < 0) throw new Error(`${-this.#awaited} reply bytes more than expected`)
    return this.#awaited === 0
  }
}

async function run(job: Job): Promise<Outcome> {
  const dialect = DIALECTS[job.dialect]
  const key = keyOf(0)
  const value = Buffer.alloc(job.valueBytes, 'value-')
  const request = job.operation === 'get' ? dialect.get(key) : dialect.set(key, value)
  const template = templateOf(request, key, KEY_DIGITS)
  const replyBytes = job.replyBytes ?? (await learnReplyBytes(job, dialect))
  const load = await startLoad({
    host: '127.0.0.1',
    port: job.port,
    tls: tlsOf(job),
    connections: job.connections,
    newSource: job.kind === 'fill' ? fillSource(job, template) : preparedSource(job, template),
    newMeter: () => new ByteMeter(replyBytes),
    connectTimeoutMs: 5_000,
    stallMs: 10_000,
  })
  if (job.kind === 'measure') await passed(job.warmUpMs, load)
  const answeredBefore = load.answered
  const startedAt = performance.now()
  const sharesSince = watchProcessors(job.serverPid)
  if (job.kind === 'measure') await passed(job.windowMs, load)
  else await load.done
  const seconds = (performance.now() - startedAt) / 1000
  const requests = load.answered - answeredBefore
  const shares = sharesSince()
  load.stop()
  await load.done
  return { requests, seconds, perSecond: requests / seconds, shares }
}

function tlsOf({ tlsCaFile }: Job): ConnectionOptions | undefined {
  return tlsCaFile === undefined ? undefined : { ca: readFileSync(tlsCaFile), servername: 'localhost' }
}

/** Waits, but fails at once when the load does. */
function passed(ms: number, load: Load): Promise<void> {
  return Promise.race([delay(ms), load.done])
}

function fillSource(job: Job, template: RequestTemplate) {
  let next = job.firstKey
  const numbers: KeyNumbers = () => next++
  const take = allowance(job.keys)
  return () => renumberingSource(template, job.depth, numbers, take)
}

/** Batches made beforehand with random keys, dealt out in turn to whichever connection asks. */
function preparedSource(job: Job, template: RequestTemplate) {
  const requests = Math.min(PREPARED_REQUESTS, Math.floor(PREPARED_BYTES_MAX / template.bytes.length))
  const batches: Batch[] = []
  const numbers: KeyNumbers = () => job.firstKey + Math.floor(Math.random() * job.keys)
  for (let made = 0; made < requests; made += job.depth) batches.push(newBatch(template, job.depth, numbers))
  let next = 0
  return () => () => {
    const batch = batches[next]
    next = next + 1 < batches.length ? next + 1 : 0
    return batch
  }
}

/** Sets and gets a few keys, checks every value, and returns the size that all replies to the operation had. */
async function learnReplyBytes(job: Job, dialect: Dialect): Promise<number> {
  const values = new Map<string, Buffer>()
  for (let number = 0; number < Math.min(SAMPLE_KEYS, job.keys); number++) {
    const key = keyOf(job.firstKey + number)
    values.set(key, Buffer.alloc(job.valueBytes, `sample ${number} `))
  }
  const stored = await exchange(
    job,
    dialect,
    [...values].map(([key, value]) => dialect.set(key, value)),
  )
  if (stored.some((reply) => reply.kind !== 'stored')) throw new Error('a sample value was not stored')
  const got = await exchange(
    job,
    dialect,
    [...values.keys()].map((key) => dialect.get(key)),
  )
  for (const [index, value] of [...values.values()].entries()) {
    if (got[index]?.value?.equals(value) !== true) throw new Error(`sample value ${index} came back wrong`)
  }
  const sizes = new Set((job.operation === 'get' ? got : stored).map((reply) => reply.size))
  const [size] = sizes
  if (size === undefined || sizes.size !== 1) throw new Error(`replies have ${sizes.size} sizes`)
  return size
}

/** Sends requests in one write over a connection of their own and returns their replies. */
function exchange(job: Job, dialect: Dialect, requests: readonly Buffer[]): Promise<Reply[]> {
  const tls = tlsOf(job)
  const address = { port: job.port, host: '127.0.0.1' }
  return new Promise((resolve, reject) => {
    const socket = tls === undefined ? connect(address) : connectTls({ ...tls, ...address })
    const replies: Reply[] = []
    let rest: Buffer = Buffer.alloc(0)
    socket.setTimeout(SAMPLE_TIMEOUT_MS, () => socket.destroy(new Error('no reply to the sample')))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the connection was closed during the sample')))
    socket.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk])
      for (let reply = dialect.parse(rest); reply !== undefined; reply = dialect.parse(rest)) {
        replies.push(reply)
        rest = rest.subarray(reply.size)
      }
      if (replies.length < requests.length) return
      resolve(replies)
      socket.destroy()
    })
    socket.write(Buffer.concat(requests))
  })
}

const job: Job = JSON.parse(process.argv[2] ?? '{}')
try {
  console.log(JSON.stringify(await run(job)))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}
