// npm run sim:mutants: is the simulation any good? Plants a bug in a rule, one at a time, in a copy of the sources, and
// expects that a run, or a test of the core, finds it. A bug that survives fails, and so does one whose place is gone.
//
// Options: --seeds N (per mutant, 5000), --only NAME.

import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { MUTATIONS, type Mutation } from './mutations.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const COPIED = [
  'protocol',
  'server',
  'test',
  'client',
  'bin',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'vitest.config.ts',
]

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '5000' },
    from: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
})

const chosen = MUTATIONS.filter(({ name }) => values.only === undefined || name === values.only)
if (chosen.length === 0) throw new Error(`there is no mutation ${values.only}`)
const VITEST = [join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'), 'run', 'test/server/replication']
// A test that fails anyway finds nothing.
const sound = await output(process.execPath, VITEST, ROOT)
if (sound.code !== 0) throw new Error(`the tests fail without any mutation:\n${sound.text}`)
let failed = 0
for (const mutation of chosen) {
  const startedMs = Date.now()
  const verdict = await judge(mutation)
  if (!verdict.isKilled) failed++
  const seconds = ((Date.now() - startedMs) / 1000).toFixed(0)
  console.log(
    `${verdict.isKilled ? 'killed  ' : 'SURVIVES'} ${mutation.name} (${seconds} s): ${verdict.text}`,
  )
}
console.log(`${chosen.length - failed} of ${chosen.length} killed`)
process.exitCode = failed > 0 ? 1 : 0

async function judge(mutation: Mutation): Promise<{ isKilled: boolean; text: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-mutant-'))
  try {
    for (const name of COPIED) cpSync(join(ROOT, name), join(folder, name), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    const path = join(folder, mutation.file)
    const source = readFileSync(path, 'utf8')
    const places = source.split(mutation.from).length - 1
    if (places !== 1)
      return { isKilled: false, text: `its place is there ${places} times in ${mutation.file}` }
    writeFileSync(
      path,
      source.replace(mutation.from, () => mutation.to),
    )
    const options = ['--seeds', values.seeds, '--from', values.from, '--first-only']
    const run = await output(
      process.execPath,
      ['--import', 'tsx', 'test/simulation/run.ts', ...options],
      folder,
    )
    if (run.code !== 0) return { isKilled: true, text: firstOf(run.text, /^(seed \d+|a rule)/) }
    const tests = await output(process.execPath, VITEST, folder)
    if (tests.code !== 0) return { isKilled: true, text: firstOf(tests.text, /FAIL/) }
    return { isKilled: false, text: mutation.breaks }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function output(command: string, options: string[], cwd: string): Promise<{ code: number; text: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, options, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    child.stdout.on('data', (chunk) => {
      text += chunk
    })
    child.stderr.on('data', (chunk) => {
      text += chunk
    })
    child.on('close', (code) => resolve({ code: code ?? 1, text }))
  })
}

/** The first line that says what was found. A run that ended for any other reason has found nothing. */
function firstOf(text: string, pattern: RegExp): string {
  const line = text.split('\n').find((one) => pattern.test(one.trim()))
  if (line === undefined) throw new Error(`a run failed and found nothing:\n${text.slice(-2000)}`)
  return line.trim()
}
