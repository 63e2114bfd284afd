// `npm run bench`: the comparison with other caches. Builds what ships, runs the sections, prints their tables and
// writes RESULTS.md. Knows the sections by name only; what is fair in each stands in its own file.
//
//   npm run bench -- --sections 1,2 --rounds 3 --quick --heap --out FILE --json FILE

import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Build, build, PROJECT_DIR } from '../helpers/build.ts'
import { CORES, describeMachine } from './machine.ts'
import { findPeers } from './peers.ts'
import { endChildrenWithThisProcess } from './processes.ts'
import { type RunFacts, renderResults, targetsTable } from './report.ts'
import type { Section } from './section.ts'
import type { BenchSetup } from './setup.ts'

const ROUNDS_DEFAULT = 3
const ROUNDS_MAX = 99
/** Packages that take part, and how their users call them. */
const PACKAGES = {
  ioredis: 'ioredis',
  redis: 'node-redis',
  memjs: 'memjs',
  'lru-cache': 'lru-cache',
} as const

/** A section's code is loaded when it runs. */
const SECTIONS: Record<string, (setup: BenchSetup) => Promise<Section>> = {
  '1': async (setup) => (await import('./capacity.ts')).benchCapacity(setup),
  '2': async (setup) => (await import('./application.ts')).benchApplication(setup),
  '3': async (setup) => (await import('./memory.ts')).benchMemory(setup),
  '4': async ({ rounds, distDir }) => (await import('./lru.ts')).benchLru({ rounds, distDir }),
  '5': async (setup) => (await import('./replication.ts')).benchReplication(setup),
  '6': async (setup) => (await import('./tls.ts')).benchTls(setup),
}

interface Arguments {
  sections: readonly string[]
  rounds: number
  pace: BenchSetup['pace']
  stores: BenchSetup['stores']
  /** Where the results go; undefined: they are only printed. */
  outFile: string | undefined
  /** Where the measurements behind the tables go, as JSON. */
  jsonFile: string | undefined
}

async function main(): Promise<void> {
  const args = readArguments()
  endChildrenWithThisProcess()
  const startedAt = performance.now()
  const progress = (line: string) => {
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0).padStart(4)
    process.stderr.write(`${seconds} s  ${line}\n`)
  }
  progress('building')
  const built = await build({ programs: ['test/bench'] })
  if (built.complaints !== '') progress(`the build complained, its output is used:\n${built.complaints}`)
  const sections: Section[] = []
  for (const id of args.sections) {
    progress(`section ${id}`)
    const section = await runSection(id, { ...args, distDir: built.distDir, progress })
    if (section === undefined) continue
    sections.push(section)
    process.stdout.write(`\n## ${section.id}. ${section.title}\n\n${section.markdown}\n\n`)
  }
  process.stdout.write(`## Targets\n\n${targetsTable(sections)}\n`)
  if (args.jsonFile !== undefined) await writeFile(args.jsonFile, JSON.stringify(sections, undefined, 2))
  if (args.outFile === undefined || sections.length < args.sections.length) return
  await writeFile(args.outFile, renderResults(facts(args, built), sections))
  progress(`written to ${args.outFile}`)
}

/** A section that fails leaves the others their turn; undefined then, and the exit code says so. */
async function runSection(id: string, setup: BenchSetup): Promise<Section | undefined> {
  try {
    return await SECTIONS[id]?.(setup)
  } catch (error) {
    setup.progress(`section ${id} failed: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
    return undefined
  }
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      sections: { type: 'string', default: Object.keys(SECTIONS).join(',') },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      heap: { type: 'boolean', default: false },
      out: { type: 'string' },
      json: { type: 'string' },
    },
  })
  const sections = values.sections.split(',').map((id) => id.trim())
  const unknown = sections.find((id) => !Object.hasOwn(SECTIONS, id))
  if (unknown !== undefined) {
    throw new RangeError(
      `--sections: there is no section "${unknown}", only ${Object.keys(SECTIONS).join(', ')}`,
    )
  }
  const rounds = Number(values.rounds ?? (values.quick ? 1 : ROUNDS_DEFAULT))
  if (!(Number.isInteger(rounds) && rounds >= 1 && rounds <= ROUNDS_MAX)) {
    throw new RangeError(`--rounds takes a whole number from 1 to ${ROUNDS_MAX}, got ${values.rounds}`)
  }
  // Part of the sections, or figures in a hurry, must not replace the results that are published.
  const isWhole = !values.quick && sections.length === Object.keys(SECTIONS).length
  return {
    sections,
    rounds,
    pace: values.quick ? 'quick' : 'full',
    stores: values.heap ? ['arena', 'heap'] : ['arena'],
    outFile: values.out ?? (isWhole ? join(PROJECT_DIR, 'test/bench/RESULTS.md') : undefined),
    jsonFile: values.json,
  }
}

function facts(args: Arguments, built: Build): RunFacts {
  const require = createRequire(import.meta.url)
  const packageVersion = (name: string): string => require(join(PROJECT_DIR, name)).version
  return {
    date: new Date(),
    command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(
      ' ',
    ),
    machine: describeMachine(),
    versions: [
      ['ormuco-cache', packageVersion('package.json')],
      ['Node.js', process.version],
      ...findPeers().map((peer) => [`${peer.id} server`, peer.found ? peer.version : peer.reason] as const),
      ...Object.entries(PACKAGES).map(
        ([name, title]) => [title, packageVersion(`node_modules/${name}/package.json`)] as const,
      ),
    ],
    notes: [
      `Rounds: ${args.rounds}, contestants in turn within each; figures are medians.`,
      CORES === undefined
        ? 'Processes were not pinned to cores: there is one core only, or no taskset.'
        : `Servers were pinned to core ${CORES.server}, load and clients to core ${CORES.load}.`,
      ...(args.pace === 'quick' ? ['A quick run: shorter and with less data, not fit for comparison.'] : []),
      ...(built.complaints === '' ? [] : ['The build reported type errors.']),
    ],
  }
}

try {
  await main()
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
