// `npm run soak`: load under attack. Builds what ships, starts it, attacks it, prints how it is doing, and says in the
// end what held and what did not; ends with 1 then.
//
//   npm run soak -- --minutes 10 --connections 10000 [--tls] [--seed 7]

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { descriptorLimit } from '../../server/descriptors.ts'
import { CORES } from '../bench/machine.ts'
import { endChildrenWithThisProcess } from '../bench/processes.ts'
import { Authority } from '../certificates/authority.ts'
import { build } from '../helpers/build.ts'
import { fitSizes, planSoak } from './plan.ts'
import { attackLines, LEGEND, lineText, phasesTable, verdictsTable } from './report.ts'
import { soak } from './soak.ts'
import { verdictsOf } from './verdicts.ts'
import type { TlsPaths } from './watched-server.ts'

const MINUTES_DEFAULT = 10
const CONNECTIONS_DEFAULT = 10_000
const OWNER_ONLY = 0o600

async function main(): Promise<void> {
  const { minutes, connections, seed, isTls } = readArguments()
  endChildrenWithThisProcess()
  const say = (text: string) => process.stdout.write(`${text}\n`)
  const planned = planSoak(minutes, connections, isTls)
  const { sizes, lowered } = fitSizes(planned.sizes, descriptorLimit())
  if (lowered !== undefined) say(`fewer connections: ${lowered}`)
  say(`seed ${seed}, ${minutes} minutes${isTls ? ', TLS' : ''}: ${JSON.stringify(sizes)}; building`)
  const { distDir, complaints } = await build({ programs: ['test/soak'] })
  if (complaints !== '') say(`the build complained, its output is used:\n${complaints}`)
  const tls = isTls ? await serverCertificate() : undefined
  const startedMs = performance.now()
  const outcome = await soak({
    distDir,
    plan: { ...planned, sizes },
    seed,
    tls,
    cores: CORES,
    onLine: (line) => say(lineText((performance.now() - startedMs) / 1000, line)),
  })
  const verdicts = verdictsOf(outcome)
  say(`\n${phasesTable(outcome)}\n${LEGEND}\n`)
  for (const line of attackLines(outcome)) say(line)
  for (const [phrase, times] of outcome.warnings) say(`the server warned, ${times} times: ${phrase}`)
  for (const trouble of outcome.troubles) say(`trouble: ${trouble}`)
  say(`\n${verdictsTable(verdicts)}`)
  process.exitCode = verdicts.every(({ met }) => met) ? 0 : 1
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: `${MINUTES_DEFAULT}` },
      connections: { type: 'string', default: `${CONNECTIONS_DEFAULT}` },
      seed: { type: 'string' },
      tls: { type: 'boolean', default: false },
    },
  })
  const minutes = Number(values.minutes)
  if (!(minutes >= 0.5 && minutes <= 24 * 60))
    throw new RangeError(`--minutes takes a number from 0.5 to ${24 * 60}, got ${values.minutes}`)
  const connections = Number(values.connections)
  if (!(Number.isInteger(connections) && connections >= 50 && connections <= 100_000))
    throw new RangeError(`--connections takes a whole number from 50 to 100000, got ${values.connections}`)
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))
  if (!Number.isSafeInteger(seed)) throw new RangeError(`--seed takes a whole number, got ${values.seed}`)
  return { minutes, connections, seed, isTls: values.tls }
}

async function serverCertificate(): Promise<TlsPaths> {
  const folder = mkdtempSync(join(tmpdir(), 'cache-soak-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const authority = await Authority.create()
  const { cert, key } = await authority.issue({ commonName: 'soak', names: ['127.0.0.1'] })
  const [certPath, keyPath] = [join(folder, 'server.pem'), join(folder, 'server.key.pem')]
  writeFileSync(certPath, cert)
  writeFileSync(keyPath, key, { mode: OWNER_ONLY })
  return { certPath, keyPath, ca: authority.cert }
}

try {
  await main()
} catch (error) {
  process.stderr.write(`soak: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
}
