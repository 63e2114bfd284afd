// What vitest does before the first test file: builds what processes of tests run. Test files learn where by `inject`.

import type { TestProject } from 'vitest/node'
import { build } from './build.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** With protocol, server, client, bin and the programs of test/helpers. */
    builtDir: string
  }
}

const PROGRAMS = ['caller', 'cluster-preload', 'cluster-server'].map((name) => `test/helpers/${name}.ts`)

/** Types are not checked: `npm test` does that. */
export async function setup(project: TestProject): Promise<void> {
  const { distDir, complaints } = await build({ programs: PROGRAMS, noCheck: true })
  if (complaints !== '') throw new Error(`the build complained:\n${complaints}`)
  project.provide('builtDir', distDir)
}
