// Section 3: memory. What an item costs in resident memory, whether a server stays within what it was given, and how
// long the garbage collector stops it. Each figure from a server of its own, because memory does not come back.

import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Outcome } from './generator.ts'
import { KEY_BYTES } from './keys.ts'
import { fill, measure } from './load-process.ts'
import { disturbanceMark, residentBytes } from './machine.ts'
import { type Contestant, findPeers, ourServer } from './peers.ts'
import { table } from './report.ts'
import type { Section } from './section.ts'
import { AMPLE_MEMORY_MB, type BenchSetup } from './setup.ts'
import { mebibytes } from './statistics.ts'

const CONNECTIONS = 50
const MIB = 1024 ** 2

const ITEM_VALUE_BYTES = 100
const BYTES_PER_ITEM_MAX = 190
/** Written over and over before the first look, so that a server's own buffers do not count as items. */
const WARM_UP_KEYS = 1000
/** For work that servers do after a load, such as growing a table. */
const SETTLE_MS = 1500

const BOUND_VALUE_BYTES = [10, 100, 1000, 10_000, 100_000, 1_000_000]
const BOUND = { factor: 1.15, fixedBytes: 80 * MIB, perConnectionBytes: 16 * 1024 }
const V8_HEAP_MB = 256
const TIMES_WHAT_FITS = 10
/** At the least what a record costs beyond its value: with it, what fits is guessed too high rather than too low. */
const RECORD_BYTES_MIN = KEY_BYTES + 40

const PAUSE_MS_MAX = 10
/** Enough for the items of the pause test and then some. */
const PAUSE_BYTES_PER_ITEM = 260

export async function benchMemory(setup: BenchSetup): Promise<Section> {
  const parts = [await perItem(setup), await bound(setup), await pauses(setup)]
  return {
    id: '3',
    title: 'Memory',
    markdown: parts.map((part) => part.markdown).join('\n\n'),
    rows: parts.flatMap((part) => part.rows),
    targets: parts.flatMap((part) => part.targets),
  }
}

type Part = Pick<Section, 'markdown' | 'rows' | 'targets'>

async function perItem(setup: BenchSetup): Promise<Part> {
  const items = setup.pace === 'quick' ? 100_000 : 1_000_000
  const measured = []
  const cells: string[][] = []
  for (const store of setup.stores)
    measured.push(await growth(setup, ourServer(setup.distDir, { store }), items))
  for (const peer of findPeers()) {
    if (peer.found) measured.push(await growth(setup, peer.contestant, items))
    else cells.push([peer.id, peer.reason])
  }
  const ours = measured[0]?.bytesPerItem ?? Number.NaN
  const data = KEY_BYTES + ITEM_VALUE_BYTES
  return {
    markdown: [
      `### Resident memory per item: ${items} items, keys of ${KEY_BYTES} bytes, values of ${ITEM_VALUE_BYTES}`,
      table(
        ['', 'growth per item in bytes', 'of it beyond key and value', 'resident in the end, MiB'],
        [
          ...measured.map(({ name, bytesPerItem, residentBytes }) => [
            name,
            bytesPerItem.toFixed(0),
            (bytesPerItem - data).toFixed(0),
            mebibytes(residentBytes),
          ]),
          ...cells,
        ],
      ),
    ].join('\n\n'),
    rows: measured,
    targets: [
      {
        name: `resident memory per item, ${items} items`,
        target: `≤ ${BYTES_PER_ITEM_MAX} B`,
        measured: `${ours.toFixed(0)} B`,
        met: ours <= BYTES_PER_ITEM_MAX,
      },
    ],
  }
}

async function growth(setup: BenchSetup, { name, dialect, start }: Contestant, items: number) {
  const server = await start(AMPLE_MEMORY_MB)
  try {
    const target = { port: server.port, serverPid: server.pid, dialect, valueBytes: ITEM_VALUE_BYTES }
    const random = { ...target, connections: CONNECTIONS, depth: 16, warmUpMs: 100, windowMs: 1000 }
    await measure(setup, { ...random, operation: 'set', firstKey: 0, keys: WARM_UP_KEYS })
    const before = residentBytes(server.pid).now
    await fill(setup, { ...target, firstKey: WARM_UP_KEYS, keys: items })
    await delay(SETTLE_MS)
    const after = residentBytes(server.pid).now
    // Replies are counted by their bytes, so a single miss would make this fail: everything is still there.
    await measure(setup, { ...random, operation: 'get', firstKey: WARM_UP_KEYS, keys: items })
    const bytesPerItem = (after - before) / items
    setup.progress(`${name}: ${bytesPerItem.toFixed(1)} bytes per item`)
    return { name, bytesPerItem, residentBytes: after }
  } finally {
    await server.stop()
  }
}

async function bound(setup: BenchSetup): Promise<Part> {
  const memoryMb = setup.pace === 'quick' ? 64 : 256
  const limit = BOUND.factor * memoryMb * MIB + BOUND.fixedBytes + BOUND.perConnectionBytes * CONNECTIONS
  const rows = []
  for (const valueBytes of BOUND_VALUE_BYTES) rows.push(await peakAt(setup, valueBytes, memoryMb))
  const highest = Math.max(...rows.map((row) => row.peakBytes))
  const rule = `${BOUND.factor} × --max-memory + ${mebibytes(BOUND.fixedBytes)} MiB + 16 KiB for each of ${CONNECTIONS} connections`
  return {
    markdown: [
      `### Resident memory with --max-memory ${memoryMb}mb, --max-old-space-size=${V8_HEAP_MB} and at least ` +
        `${TIMES_WHAT_FITS} times more data than fits`,
      `Allowed: ${rule} = ${mebibytes(limit)} MiB. A fresh server for each size; the highest value it ever had.`,
      table(
        ['value size in bytes', 'items written', 'written, MiB', 'highest resident, MiB'],
        rows.map((row) => [
          `${row.valueBytes}`,
          `${row.items}`,
          mebibytes(row.items * (KEY_BYTES + row.valueBytes)),
          mebibytes(row.peakBytes) + (row.peakBytes > limit ? ' (too much)' : ''),
        ]),
      ),
    ].join('\n\n'),
    rows,
    targets: [
      {
        name: `highest resident memory, --max-memory ${memoryMb}mb, values of 10 B to 1 MB`,
        target: `≤ ${mebibytes(limit)} MiB`,
        measured: `${mebibytes(highest)} MiB`,
        met: highest <= limit,
      },
    ],
  }
}

/** Writes ten times what fits, then reads what was written last, and says how high resident memory went. */
async function peakAt(setup: BenchSetup, valueBytes: number, memoryMb: number) {
  const nodeFlags = [`--max-old-space-size=${V8_HEAP_MB}`]
  const server = await ourServer(setup.distDir, { store: 'arena', nodeFlags }).start(memoryMb)
  try {
    const fitting = Math.ceil((memoryMb * MIB) / (valueBytes + RECORD_BYTES_MIN))
    const items = TIMES_WHAT_FITS * fitting
    const target = {
      port: server.port,
      serverPid: server.pid,
      dialect: 'frames' as const,
      valueBytes,
      connections: CONNECTIONS,
    }
    await fill(setup, { ...target, firstKey: 0, keys: items })
    const recent = Math.max(1, Math.floor(fitting / 4))
    const depth = Math.max(1, Math.min(16, Math.floor(65_536 / valueBytes)))
    const reads = { operation: 'get' as const, depth, firstKey: items - recent, keys: recent }
    await measure(setup, { ...target, ...reads, warmUpMs: 0, windowMs: 1000 })
    const peakBytes = residentBytes(server.pid).peak
    setup.progress(
      `values of ${valueBytes} bytes, ${items} items: at most ${mebibytes(peakBytes)} MiB resident`,
    )
    return { valueBytes, items, peakBytes }
  } finally {
    await server.stop()
  }
}

/** A part of the pause test, and the pauses in it that were worth a line. */
interface Stage {
  name: string
  pauses: { ms: number; kind: string }[]
  othersBusy: number
}

function longestOf({ pauses }: Stage): { ms: number; kind: string } {
  return pauses.reduce((longest, pause) => (pause.ms > longest.ms ? pause : longest), { ms: 0, kind: '' })
}

async function pauses(setup: BenchSetup): Promise<Part> {
  const items = setup.pace === 'quick' ? 500_000 : 5_000_000
  const windowMs = setup.pace === 'quick' ? 1000 : 4000
  const stages: Stage[] = []
  const onErrorLine = (line: string) => {
    const [, ms, kind] = /^gc-pause ([\d.]+) (.+)$/.exec(line) ?? []
    if (ms !== undefined) stages.at(-1)?.pauses.push({ ms: Number(ms), kind: kind ?? '' })
  }
  const nodeFlags = ['--import', join(setup.distDir, 'test/bench/gc-probe.js')]
  const contestant = ourServer(setup.distDir, { store: 'arena', nodeFlags, onErrorLine })
  const memoryMb = Math.ceil((items * PAUSE_BYTES_PER_ITEM) / MIB)
  const server = await contestant.start(memoryMb)
  const stage = async (name: string, run: () => Promise<Outcome>) => {
    const entry: Stage = { name, pauses: [], othersBusy: 0 }
    stages.push(entry)
    entry.othersBusy = (await run()).shares.others
  }
  try {
    const target = { port: server.port, serverPid: server.pid, dialect: contestant.dialect }
    const everything = { ...target, firstKey: 0, keys: items, valueBytes: ITEM_VALUE_BYTES }
    const load = { ...everything, connections: CONNECTIONS, depth: 16, warmUpMs: 0, windowMs }
    await stage('filling', () => fill(setup, everything))
    await stage('GET, random keys', () => measure(setup, { ...load, operation: 'get' }))
    await stage('SET, random keys', () => measure(setup, { ...load, operation: 'set' }))
  } finally {
    await server.stop()
  }
  const longest = Math.max(...stages.map((one) => longestOf(one).ms))
  setup.progress(`longest pause of the garbage collector at ${items} items: ${longest.toFixed(1)} ms`)
  return {
    markdown: [
      `### Pauses of the garbage collector at ${items} items`,
      table(
        ['', 'pauses over 0.5 ms', 'longest in ms'],
        stages.map((one) => {
          const { ms, kind } = longestOf(one)
          return [
            one.name,
            `${one.pauses.length}`,
            `${ms.toFixed(1)} ${kind}${disturbanceMark(one.othersBusy)}`,
          ]
        }),
      ),
      '† Other processes took much of a core meanwhile: some of the pause may be theirs.',
    ].join('\n\n'),
    rows: stages,
    targets: [
      {
        name: `longest pause of the garbage collector, ${items} items`,
        target: `≤ ${PAUSE_MS_MAX} ms`,
        measured: `${longest.toFixed(1)} ms`,
        met: longest <= PAUSE_MS_MAX,
      },
    ],
  }
}
