#!/usr/bin/env node
// cache-bench: how many requests a running server answers, with the flags that users of redis-benchmark know.
// Stands between the command line and the load generator: it prepares loads, runs them one after the other, prints.
// One process generates all load; when that process and not the server may have been the limit, the output says so.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { Access } from '../client/access.ts'
import { DEFAULT_PORT, VALUE_BYTES_MAX_CEILING } from '../protocol/limits.ts'
import { Status } from '../protocol/messages.ts'
import { type AccessFlags, accessBy, accessOptions } from './access-flags.ts'
import { LoadError, startLoad } from './load.ts'
import { allowance, type KeyNumbers, renumberingSource } from './load-batches.ts'
import { FrameMeter, frameTemplate, LOAD_KINDS, type LoadKind, ReplyTally } from './load-frames.ts'
import { Login } from './load-login.ts'
import { CommandFailure, ExitCode, runAsProgram } from './program.ts'

const KEY_PREFIX = 'key:'
const KEY_DIGITS = 12
const CONNECT_TIMEOUT_MS = 5_000
const STALL_MS = 10_000
/** Each connection keeps the bytes of one batch; all of them together stay below this. */
const PREPARED_BYTES_MAX = 1024 ** 3
/** From here on the generator itself is a likely limit. */
const BUSY_PERCENT_MAX = 90

/** The exit code of cache-shell for a server that cannot be reached, or that stops answering. */
const EXIT_UNREACHABLE = 3

export interface BenchOptions extends Partial<Access> {
  host: string
  port: number
  connections: number
  /** Requests of each test. */
  requests: number
  /** Value size in bytes. */
  valueSize: number
  /** Requests in flight per connection. */
  pipeline: number
  /** Keys are drawn at random out of so many; 0 = always the same key. */
  keyspace: number
  tests: readonly LoadKind[]
  format: 'full' | 'quiet' | 'csv'
}

/** What one test measured; latencies in nanoseconds. */
interface TestResult {
  kind: LoadKind
  seconds: number
  busyPercent: number
  tally: ReplyTally
  latencies: RecordableHistogram
}

/** Takes one line of output, without its line end. */
export type PrintLine = (line: string) => void

/**
 * Runs the tests one after the other and prints their results. Throws CommandFailure when the server cannot be reached
 * or stops answering; and at the end when there were error replies, since then the figures are not what they seem.
 */
export async function runBench(options: BenchOptions, print: PrintLine): Promise<void> {
  if (options.format === 'csv') print(CSV_HEADING)
  const failures: string[] = []
  for (const kind of options.tests) {
    const tally = new ReplyTally()
    const result = await runTest(kind, options, tally).catch((error: unknown) => {
      if (!(error instanceof LoadError)) throw error
      // A server says why before it closes a connection.
      const why = tally.errors.size > 0 ? `, after error replies: ${errorNames(tally)}` : ''
      throw new CommandFailure(EXIT_UNREACHABLE, `${kind}: ${error.message}${why}`)
    })
    for (const line of FORMATS[options.format](result, options)) print(line)
    if (tally.errors.size > 0) failures.push(`${kind} got error replies: ${errorNames(tally)}`)
  }
  if (failures.length > 0) throw new CommandFailure(ExitCode.Failed, failures.join('; '))
}

async function runTest(kind: LoadKind, options: BenchOptions, tally: ReplyTally): Promise<TestResult> {
  const template = frameTemplate(kind, KEY_PREFIX, KEY_DIGITS, new Uint8Array(options.valueSize).fill(0x78))
  const depth = Math.min(options.pipeline, options.requests)
  const preparedBytes = template.bytes.length * depth * options.connections
  if (preparedBytes > PREPARED_BYTES_MAX) {
    throw new CommandFailure(
      ExitCode.Usage,
      `${options.connections} connections with ${depth} requests of ${template.bytes.length} bytes each ` +
        `need ${preparedBytes} bytes; at most ${PREPARED_BYTES_MAX} are allowed`,
    )
  }
  const numbers: KeyNumbers =
    options.keyspace > 0 ? () => Math.floor(Math.random() * options.keyspace) : () => 0
  const take = allowance(options.requests)
  const latencies = createHistogram()
  const { credentials } = options
  const load = await startLoad({
    host: options.host,
    port: options.port,
    tls: options.tls,
    newGreeter: credentials === undefined ? undefined : () => new Login(credentials),
    connections: options.connections,
    newSource: () => renumberingSource(template, depth, numbers, take),
    newMeter: () => new FrameMeter(tally),
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    stallMs: STALL_MS,
    latencies,
  })
  const startedAt = performance.now()
  const cpuBefore = process.cpuUsage()
  await load.done
  const cpu = process.cpuUsage(cpuBefore)
  const seconds = (performance.now() - startedAt) / 1000
  return { kind, seconds, busyPercent: (cpu.user + cpu.system) / 1e4 / seconds, tally, latencies }
}

const CSV_HEADING =
  '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"'

type Format = (result: TestResult, options: BenchOptions) => string[]

const FORMATS: Record<BenchOptions['format'], Format> = {
  full: (result, options) => {
    const { kind, seconds, tally, busyPercent } = result
    const times = latencyColumns(result.latencies)
    const lines = [
      `====== ${kind.toUpperCase()} ======`,
      `  ${options.requests} requests in ${seconds.toFixed(2)} s: ${options.connections} connections, ` +
        `${options.pipeline} in flight on each, values of ${options.valueSize} bytes`,
      `  ${perSecond(result, options)} requests per second`,
      `  latency in ms: ${times.map(([name, ms]) => `${name} ${ms}`).join('  ')}`,
      `  replies: ${tally.ok} ok, ${tally.misses} misses, ${errorCount(result)} errors`,
    ]
    if (busyPercent > BUSY_PERCENT_MAX) {
      lines.push(
        `  cache-bench was ${busyPercent.toFixed(0)} % busy: it may be the limit, and not the server`,
      )
    }
    return [...lines, '']
  },
  quiet: (result, options) => {
    const p50 = (result.latencies.percentile(50) / 1e6).toFixed(3)
    return [
      `${result.kind.toUpperCase()}: ${perSecond(result, options)} requests per second, p50=${p50} msec`,
    ]
  },
  csv: (result, options) => {
    const columns = latencyColumns(result.latencies).map(([, ms]) => ms)
    const cells = [result.kind.toUpperCase(), perSecond(result, options), ...columns]
    return [cells.map((cell) => `"${cell}"`).join(',')]
  },
}

function perSecond(result: TestResult, options: BenchOptions): string {
  return (options.requests / result.seconds).toFixed(2)
}

function latencyColumns(latencies: RecordableHistogram): [name: string, ms: string][] {
  const columns: [string, number][] = [
    ['avg', latencies.mean],
    ['min', latencies.min],
    ['p50', latencies.percentile(50)],
    ['p95', latencies.percentile(95)],
    ['p99', latencies.percentile(99)],
    ['max', latencies.max],
  ]
  return columns.map(([name, nanoseconds]) => [name, (nanoseconds / 1e6).toFixed(3)])
}

function errorCount({ tally }: TestResult): number {
  return [...tally.errors.values()].reduce((sum, count) => sum + count, 0)
}

function errorNames(tally: ReplyTally): string {
  const names = new Map<number, string>(Object.entries(Status).map(([name, status]) => [status, name]))
  return [...tally.errors].map(([status, count]) => `${names.get(status) ?? status} × ${count}`).join(', ')
}

/** The command, to be mounted or run by itself. Its short flags are redis-benchmark's: `-h` is the host. */
export function benchCommand(): Command {
  const command = new Command('cache-bench')
    .description('measure how many requests a running server answers')
    .helpOption('--help', 'show this help')
    .option('-h, --host <host>', 'server host', '127.0.0.1')
    .option('-p, --port <port>', 'server port', integer(1, 65_535), DEFAULT_PORT)
    .option('-c, --connections <count>', 'parallel connections', integer(1, 10_000), 50)
    .option('-n, --requests <count>', 'requests of each test', integer(1, 1e12), 100_000)
    .option('-d, --value-size <bytes>', 'size of the values', integer(0, VALUE_BYTES_MAX_CEILING), 3)
    .option('-P, --pipeline <count>', 'requests in flight per connection', integer(1, 100_000), 1)
    .option('-r, --keyspace <count>', 'random keys out of so many; 0 = one key', integer(0, 1e12), 0)
    .addOption(
      new Option('-t, --tests <list>', `comma-separated, of: ${LOAD_KINDS.join(',')}`)
        .argParser(testList)
        .default([...LOAD_KINDS], 'all of them'),
    )
    .option('-q, --quiet', 'one line for each test')
    .option('--csv', 'comma-separated values, with a heading')
    .action(async (flags: Flags) => {
      const format = flags.csv ? 'csv' : flags.quiet ? 'quiet' : 'full'
      const access = await accessBy(flags, process.env)
      await runBench({ ...flags, ...access, format }, (line) => process.stdout.write(`${line}\n`))
    })
  for (const option of accessOptions()) command.addOption(option)
  return command
}

interface Flags extends Omit<BenchOptions, 'format' | keyof Access>, AccessFlags {
  quiet?: true
  csv?: true
}

function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(number >= min && number <= max)) {
      throw new InvalidArgumentError(`It takes a whole number from ${min} to ${max}.`)
    }
    return number
  }
}

function testList(text: string): LoadKind[] {
  return text.split(',').map((name) => {
    const kind = LOAD_KINDS.find((known) => known === name.trim().toLowerCase())
    if (kind === undefined) {
      throw new InvalidArgumentError(`"${name}" is no test; there are: ${LOAD_KINDS.join(', ')}.`)
    }
    return kind
  })
}

await runAsProgram(import.meta.url, benchCommand)
