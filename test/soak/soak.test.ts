// A soak of a few seconds: a real server, attacked by real processes. How fast anything was is not asserted; what state
// it leaves is. `npm run soak` is the long one.

import { rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { descriptorLimit } from '../../server/descriptors.ts'
import { build } from '../helpers/build.ts'
import { fitSizes, phasesOf } from './plan.ts'
import { attackLines, phasesTable } from './report.ts'
import { soak } from './soak.ts'
import { TOLERANCES, verdictsOf } from './verdicts.ts'

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const SIZES = { idle: 200, churn: 400, slow: 40, deaf: 20, malformed: 200 }
/** A machine that does ten other things lets few of the attackers in, and takes its time to give memory back. */
const GENEROUS = { ...TOLERANCES, memoryFactor: 1.5, attackShare: 0.01 }
const TIMEOUT_MS = 120_000

test(
  'a server under attack serves, stays within its memory, and is as before when it is over',
  async () => {
    const { distDir } = await build({ programs: ['test/soak'], noCheck: true })
    // A worker of vitest may end without having said so.
    onTestFinished(() => rmSync(dirname(distDir), { recursive: true, force: true }))
    const outcome = await soak({
      distDir,
      plan: {
        sizes: fitSizes(SIZES, descriptorLimit()).sizes,
        ordinaryPerSecond: 200,
        phases: phasesOf({ quietMs: 200, attackMs: 400, togetherMs: 800 }),
        warmUpMs: 200,
        settleMsMax: 15_000,
        stillMs: 100,
        lineMs: 1000,
      },
      seed: SEED,
      tls: undefined,
      cores: undefined,
      onLine: () => {},
    })
    const verdicts = verdictsOf(outcome, GENEROUS)
    const failed = verdicts.filter(({ kind, met }) => kind !== 'latency' && !met)
    expect(failed, [`seed ${SEED}`, phasesTable(outcome), ...attackLines(outcome)].join('\n')).toEqual([])
    expect(outcome.phases).toHaveLength(8)
    expect(outcome.ordinary.calls).toBeGreaterThan(0)
  },
  TIMEOUT_MS,
)
