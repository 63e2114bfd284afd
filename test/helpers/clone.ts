// A folder in which a reader of the documents stands: it looks like a clone after npm ci, but for a .env of whoever works
// in the real one. And what npm runs for a command of the documents: npm itself is left out, since one that is killed
// leaves its child behind. Folders are gone when their test ends.

import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const manifest: { scripts: Record<string, string> } = JSON.parse(readProjectFile('package.json'))

/** With the Node that runs the tests before any other. */
export const PATH = `${dirname(process.execPath)}${delimiter}${process.env['PATH']}`

/** To be called in a test. */
export function makeClone(): string {
  const clone = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(clone, { recursive: true }))
  for (const name of ['protocol', 'server', 'client', 'bin', 'test', 'node_modules', 'package.json'])
    symlinkSync(join(root, name), join(clone, name))
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      // As the package's exports say, for a package that is not built.
      paths: {
        'ormuco-cache': [join(root, 'client', 'index.ts')],
        'ormuco-cache/server': [join(root, 'server', 'index.ts')],
      },
    },
    include: ['*.ts', join(root, 'protocol', 'ambient.d.ts')],
  }
  writeFileSync(join(clone, 'tsconfig.json'), JSON.stringify(config))
  return clone
}

/** The command behind `npm start` or `npm run -s NAME`; any other command as it is. */
export function withoutNpm(command: string): string {
  return command.replace(
    /^npm (?:run -s )?(\w+)(?: --)?/,
    (_, name: string) => manifest.scripts[name] ?? 'false',
  )
}

export function readProjectFile(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}
