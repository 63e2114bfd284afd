import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

/** `SIM_FROM` chooses other seeds. */
const FROM = Number(process.env['SIM_FROM'] ?? 1)
const SEEDS = Number(process.env['SIM_SEEDS'] ?? 1000)

test(`replication holds its promises for ${SEEDS} seeds from ${FROM} on`, { timeout: 300_000 }, async () => {
  const run = fileURLToPath(new URL('run.ts', import.meta.url))
  const options = ['--import', import.meta.resolve('tsx'), run, '--seeds', `${SEEDS}`, '--from', `${FROM}`]
  const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
    execFile(process.execPath, options, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : 1, output: stdout + stderr })
    })
  })
  expect(code, output).toBe(0)
})
