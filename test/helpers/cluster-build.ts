// What the processes of a cluster run: the sources, compiled once per test file into a folder of its own. A dozen
// servers that each compile them while they start would keep a small machine busy for longer than the tests take.
//
//   FOLDER/package.json, node_modules      as in the project, so that the package finds its version and dependencies
//   FOLDER/dist/…                          protocol, server, client, bin and the programs of test/helpers

import { execFile } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { copyFile, mkdtemp, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PROJECT_DIR = fileURLToPath(new URL('../..', import.meta.url))
const COMPILER = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')

const PROGRAMS = ['test/helpers/cluster-preload.ts', 'test/helpers/cluster-server.ts']

let distDir = ''
let folder = ''

/** The folder with what was built for this test file. */
export function builtDir(): string {
  return distDir
}

/** To be called in a `beforeAll`. Types are not checked: `npm test` does that. */
export async function buildCluster(): Promise<void> {
  folder = await mkdtemp(join(tmpdir(), 'ormuco-cache-cluster-'))
  await copyFile(join(PROJECT_DIR, 'package.json'), join(folder, 'package.json'))
  await symlink(join(PROJECT_DIR, 'node_modules'), join(folder, 'node_modules'))
  distDir = join(folder, 'dist')
  const config = join(folder, 'tsconfig.json')
  await writeFile(
    config,
    JSON.stringify({
      extends: join(PROJECT_DIR, 'tsconfig.build.json'),
      compilerOptions: { outDir: distDir, rootDir: PROJECT_DIR, declaration: false, noCheck: true },
      include: ['protocol', 'server', 'client', 'bin', ...PROGRAMS].map((path) => join(PROJECT_DIR, path)),
    }),
  )
  const said = await new Promise<string>((resolve) => {
    execFile(process.execPath, [COMPILER, '-p', config], (error, stdout) => resolve(error ? stdout : ''))
  })
  if (said !== '' || !existsSync(join(distDir, 'test/helpers/cluster-server.js')))
    throw new Error(`the build failed:\n${said}`)
}

/** To be called in an `afterAll`. */
export function removeBuild(): void {
  if (folder !== '') rmSync(folder, { recursive: true, force: true })
}
