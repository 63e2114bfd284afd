// Builds what ships, and programs of tests beside it, into a folder of its own: what a TypeScript loader makes of the
// sources on the fly is not what users run, and it is slower: by half a second for each process, and by a third after it.
//
//   FOLDER/package.json      a copy, so that modules are ESM and the package finds its own version
//   FOLDER/node_modules      a link to the project's
//   FOLDER/dist/…            protocol, server, client, bin, and programs of tests

import { execFileSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { copyFile, mkdtemp, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const PROJECT_DIR = fileURLToPath(new URL('../..', import.meta.url))
const BUILD_TIMEOUT_MS = 120_000

export interface Build {
  distDir: string
  /** Type errors, if there were any; what was emitted is there nevertheless. */
  complaints: string
}

export interface BuildSetup {
  /** Folders and files under test/ that are built as well. */
  programs: readonly string[]
  /** Left out: types are checked. */
  noCheck?: boolean
}

/** The folder is removed when this process ends. Throws when nothing runnable came out. */
export async function build({ programs, noCheck = false }: BuildSetup): Promise<Build> {
  const folder = await mkdtemp(join(tmpdir(), 'ormuco-cache-built-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  await copyFile(join(PROJECT_DIR, 'package.json'), join(folder, 'package.json'))
  await symlink(join(PROJECT_DIR, 'node_modules'), join(folder, 'node_modules'))
  const distDir = join(folder, 'dist')
  const config = join(folder, 'tsconfig.json')
  await writeFile(config, JSON.stringify(configuration(distDir, programs, noCheck)))
  const complaints = compile(config)
  if (!existsSync(join(distDir, 'bin/start-server.js'))) throw new Error(`the build failed:\n${complaints}`)
  return { distDir, complaints }
}

function configuration(outDir: string, programs: readonly string[], noCheck: boolean) {
  const inProject = (path: string) => join(PROJECT_DIR, path)
  return {
    extends: inProject('tsconfig.build.json'),
    compilerOptions: { outDir, rootDir: PROJECT_DIR, declaration: false, noCheck },
    include: ['protocol', 'server', 'client', 'bin', ...programs].map(inProject),
    exclude: [inProject('test/**/*.test.ts')],
  }
}

function compile(config: string): string {
  const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
  try {
    execFileSync(process.execPath, [compiler, '-p', config], { encoding: 'utf8', timeout: BUILD_TIMEOUT_MS })
    return ''
  } catch (error) {
    const output = error instanceof Error && 'stdout' in error ? String(error.stdout) : ''
    return output || String(error)
  }
}
