// The code about itself: which file may import which, where the outside world is touched, and the few rules that no
// compiler checks. docs/architecture.md says why.

import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { PACKAGE_VERSION } from '../protocol/version.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const SOURCE_FOLDERS = ['protocol', 'server', 'client', 'bin'] as const
const LINES_MAX = 450

interface Import {
  /** A path from the root, or the name of a package. */
  what: string
  kind: 'value' | 'type' | 'dynamic'
}

interface Source {
  path: string
  text: string
  /** Without comments and without the contents of strings. */
  code: string
  imports: Import[]
}

// One pass, so that what looks like a comment in a string is none, and the other way round. What stands within `${}`
// of a template goes with the template.
const COMMENT_OR_STRING =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g

const sources = new Map(SOURCE_FOLDERS.flatMap(filesIn).map((path) => [path, readSource(path)]))
const tests = filesIn('test').map(readSource)
const all = [...sources.values()]

describe('imports run one way', () => {
  const ALLOWED: Readonly<Record<string, readonly string[]>> = {
    protocol: ['protocol'],
    server: ['server', 'protocol'],
    client: ['client', 'protocol'],
    bin: ['bin', 'server', 'client', 'protocol'],
  }

  test('between folders', () => {
    const wrong = eachImport((from, { what, kind }) => {
      const allowed = ALLOWED[folderOf(from.path)] ?? []
      if (isPackage(what) || allowed.includes(folderOf(what))) return false
      // A client without a server of its own never loads one.
      return !(folderOf(from.path) === 'client' && folderOf(what) === 'server' && kind === 'dynamic')
    })
    expect(wrong).toEqual([])
  })

  test('server code is imported by one file of the client', () => {
    const importers = all.filter(
      ({ path, imports }) =>
        path.startsWith('client/') && imports.some(({ what }) => folderOf(what) === 'server'),
    )
    expect(importers.map(({ path }) => path)).toEqual(['client/standalone.ts'])
  })

  // Each line: a file or folder, and what it must not know.
  const IGNORANT: readonly (readonly [string, readonly string[]])[] = [
    ['protocol/limits.ts', ['protocol/']],
    ['protocol/messages.ts', ['protocol/']],
    ['protocol/backoff.ts', ['protocol/']],
    [
      'protocol/errors.ts',
      [
        'protocol/reader.ts',
        'protocol/writer.ts',
        'protocol/frame.ts',
        'protocol/transport.ts',
        'protocol/link.ts',
      ],
    ],
    [
      'protocol/reader.ts',
      ['protocol/frame.ts', 'protocol/transport.ts', 'protocol/link.ts', 'protocol/value'],
    ],
    ['protocol/frame.ts', ['protocol/transport.ts', 'protocol/link.ts', 'protocol/value']],
    [
      'protocol/transport.ts',
      ['protocol/frame.ts', 'protocol/reader.ts', 'protocol/writer.ts', 'protocol/link.ts', 'protocol/value'],
    ],
    ['protocol/link.ts', ['protocol/value']],
    [
      'protocol/authentication.ts',
      ['protocol/link.ts', 'protocol/transport.ts', 'protocol/writer.ts', 'protocol/value', 'node:'],
    ],
    [
      'protocol/scram',
      ['protocol/reader.ts', 'protocol/writer.ts', 'protocol/messages.ts', 'protocol/errors.ts', 'node:net'],
    ],
    ['server/users.ts', ['server/']],
    ['server/', ['protocol/value', 'protocol/link.ts']],
    [
      'server/replication/',
      [
        'server/mesh.ts',
        'server/peer-',
        'server/session.ts',
        'server/server.ts',
        'server/handler',
        'server/keyspace.ts',
        'protocol/frame.ts',
        'protocol/transport.ts',
        'protocol/socket-transport.ts',
        'protocol/backoff.ts',
      ],
    ],
    ['server/origins.ts', ['server/']],
    ['server/clock.ts', ['server/', 'protocol/', 'node:']],
    [
      'server/store/',
      [
        'server/',
        'protocol/reader.ts',
        'protocol/writer.ts',
        'protocol/frame.ts',
        'protocol/transport.ts',
        'node:net',
      ],
    ],
    [
      'server/keyspace.ts',
      [
        'server/session.ts',
        'server/server.ts',
        'server/handler',
        'protocol/frame.ts',
        'protocol/transport.ts',
      ],
    ],
    [
      'server/handler',
      ['server/session.ts', 'server/server.ts', 'protocol/frame.ts', 'protocol/transport.ts', 'node:net'],
    ],
    ['server/session.ts', ['server/server.ts', 'server/store/', 'server/handlers', 'node:net']],
    ['client/requests.ts', ['client/client.ts', 'protocol/value', 'node:net']],
    ['client/outbox.ts', ['client/client.ts', 'client/requests.ts', 'protocol/value', 'node:net']],
    ['client/ring.ts', ['client/', 'protocol/']],
    ['client/deadlines.ts', ['client/', 'protocol/']],
    ['client/signals.ts', ['client/', 'protocol/']],
    ['client/call.ts', ['client/']],
    ['client/lru-', ['protocol/', 'client/client.ts', 'client/requests.ts', 'node:net']],
  ]

  test.each(IGNORANT)('%s does not know %j', (knower, unknown) => {
    const wrong = eachImport((from, { what, kind }) => {
      if (!from.path.startsWith(knower) || kind === 'type') return false
      // A folder may know itself.
      return (
        unknown.some((forbidden) => what.startsWith(forbidden)) &&
        !(knower.endsWith('/') && what.startsWith(knower))
      )
    })
    expect(wrong).toEqual([])
    expect(all.some(({ path }) => path.startsWith(knower))).toBe(true)
  })

  test('nothing imports tests', () => {
    expect(eachImport((_, { what }) => folderOf(what) === 'test')).toEqual([])
  })

  test('what is imported exists', () => {
    const missing = eachImport((_, { what }) => !isPackage(what) && !sources.has(what))
    expect(missing).toEqual([])
  })

  test('there is no cycle, of types neither', () => {
    expect(cycles()).toEqual([])
  })
})

describe('the outside world', () => {
  test('one file imports msgpackr, without its code generator', () => {
    const importers = all.flatMap(({ path, imports }) =>
      imports.filter(({ what }) => what.startsWith('msgpackr')).map(({ what }) => `${path}: ${what}`),
    )
    expect(importers).toEqual(['protocol/value.ts: msgpackr/index-no-eval'])
  })

  test('bin/ and two files of options read the environment, nothing else does', () => {
    const readers = all.filter(
      ({ path, code }) => !path.startsWith('bin/') && /\bprocess\s*\.\s*env\b|\bparseEnv\b/.test(code),
    )
    expect(readers.map(({ path }) => path).sort()).toEqual(['client/options.ts', 'server/environment.ts'])
  })

  test('one file writes to sockets', () => {
    const writers = all.filter(
      ({ path, code }) => !path.startsWith('bin/') && /\bsocket\s*\.\s*(write|end)\(/.test(code),
    )
    expect(writers.map(({ path }) => path)).toEqual(['protocol/socket-transport.ts'])
  })

  test('stores, replication and the clock are handed time, chance and input: they fetch nothing themselves', () => {
    const outside =
      /\b(Date\.now|new Date|performance|Math\.random|process|setTimeout|setInterval|setImmediate|queueMicrotask|console|require|fetch)\b/
    const pure = all.filter(({ path }) => /^server\/(store\/|replication\/|clock\.ts|origins\.ts)/.test(path))
    expect(pure.length).toBeGreaterThan(5)
    for (const { path, code, imports } of pure) {
      expect(outside.exec(code)?.[0], path).toBeUndefined()
      const nodes = imports.filter(({ what }) => what.startsWith('node:'))
      expect(nodes, path).toEqual([])
    }
  })

  test('protocol/ and client/ know no logger and no command line', () => {
    const wrong = eachImport(
      (from, { what }) =>
        /^(protocol|client)\//.test(from.path) && /^(pino|commander|node:https?)\b/.test(what),
    )
    expect(wrong).toEqual([])
  })

  test('importing the client loads no server, logger, command line, HTTP or TLS', () => {
    const loaded = [...closureOf('client/index.ts')]
    expect(loaded).toContain('protocol/value.ts')
    expect(
      loaded.filter((what) => /^(server\/|bin\/|pino|commander|node:(https?|tls|cluster)$)/.test(what)),
    ).toEqual([])
  })

  test('importing the client starts nothing: a process that does nothing else ends', async () => {
    const url = new URL('../client/index.ts', import.meta.url).href
    // What is there before is the loader's.
    const script = `const before = new Set([...process.getActiveResourcesInfo(), 'PipeWrap', 'ConnectWrap'])
      const { OrmucoCacheClient } = await import(${JSON.stringify(url)})
      new OrmucoCacheClient({ servers: 'localhost:1' })
      console.log(JSON.stringify(process.getActiveResourcesInfo().filter((name) => !before.has(name))))`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', import.meta.resolve('tsx'), '--input-type=module', '--eval', script],
      { timeout: 15_000 },
    )
    expect(JSON.parse(stdout)).toEqual([])
  })
})

describe('every source file', () => {
  test.each(all.map((source) => [source.path, source] as const))('%s', (_, { text, code }) => {
    expect(text.split('\n').length - 1).toBeLessThanOrEqual(LINES_MAX)
    expect(text.replace(/^#!.*\n/, '')).toMatch(/^\/\//)
    expect(code).not.toMatch(/:\s*any\b|\bas\s+any\b|<any\b|\bany\[\]|@ts-/)
    expect(code).not.toMatch(/\b(const )?enum\s+\w+\s*\{/)
    expect(text).not.toMatch(/\b(TODO|FIXME|XXX|HACK)\b/)
  })

  test('names say what a file does', () => {
    const drawers = all.filter(({ path }) => /(^|\/)(utils?|helpers?|common|misc|types)\.ts$/.test(path))
    expect(drawers.map(({ path }) => path)).toEqual([])
  })

  test('tests do not skip or single out', () => {
    const odd = tests.filter(({ code }) => /\b(test|it|describe)\s*\.\s*(only|todo)\b/.test(code))
    expect(odd.map(({ path }) => path)).toEqual([])
  })
})

describe('the package', () => {
  const manifest: {
    version: string
    exports: Record<string, { default: string } | string>
    bin: Record<string, string>
  } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

  test('has one version', () => {
    expect(PACKAGE_VERSION).toBe(manifest.version)
  })

  test('every export and command has its source', () => {
    const built = [
      ...Object.values(manifest.bin),
      ...Object.values(manifest.exports).map((entry) => (typeof entry === 'string' ? '' : entry.default)),
    ]
    const wanted = built
      .filter((path) => path !== '')
      .map((path) =>
        posix
          .normalize(path)
          .replace(/^dist\//, '')
          .replace(/\.js$/, '.ts'),
      )
    expect(wanted.filter((path) => !sources.has(path))).toEqual([])
  })
})

function filesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
    .sort()
}

function readSource(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8')
  const uncommented = text.replace(COMMENT_OR_STRING, (found) => (found.startsWith('/') ? ' ' : found))
  return {
    path,
    text,
    code: text.replace(COMMENT_OR_STRING, (found) =>
      found.startsWith('/') ? ' ' : found.slice(0, 1) + found.slice(-1),
    ),
    imports: importsIn(path, uncommented),
  }
}

function importsIn(path: string, text: string): Import[] {
  const found: Import[] = []
  const add = (specifier: string | undefined, kind: Import['kind']) => {
    if (specifier === undefined) return
    const what = specifier.startsWith('.') ? posix.join(dirname(path), specifier) : specifier
    found.push({ what, kind })
  }
  for (const [, clause = '', specifier] of text.matchAll(
    /^(?:import|export)\b([^;'"`()]*?)\bfrom\s*'([^']+)'/gm,
  )) {
    const names = /\{([^}]*)\}/
      .exec(clause)?.[1]
      ?.split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '')
    const onlyTypes =
      names !== undefined && /^\s*\{/.test(clause) && names.every((name) => name.startsWith('type '))
    add(specifier, /^\s*type\b/.test(clause) || onlyTypes ? 'type' : 'value')
  }
  for (const [, specifier] of text.matchAll(/^import\s*'([^']+)'/gm)) add(specifier, 'value')
  for (const [, specifier] of text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)) add(specifier, 'dynamic')
  return found
}

function isPackage(what: string): boolean {
  return folderOf(what) === what || what.startsWith('node:') || !what.endsWith('.ts')
}

function folderOf(path: string): string {
  return path.split('/')[0] ?? path
}

/** Lines that name the imports for which `isWrong` is true. */
function eachImport(isWrong: (from: Source, found: Import) => boolean): string[] {
  return all.flatMap((from) =>
    from.imports
      .filter((found) => isWrong(from, found))
      .map(({ what, kind }) => `${from.path} -> ${what} (${kind})`),
  )
}

/** All that is loaded with a file: by imports of values, statically. */
function closureOf(path: string, seen = new Set<string>()): Set<string> {
  for (const { what, kind } of sources.get(path)?.imports ?? []) {
    if (kind !== 'value' || seen.has(what)) continue
    seen.add(what)
    closureOf(what, seen)
  }
  return seen
}

/** The import cycles, each once. */
function cycles(): string[] {
  const found: string[] = []
  const finished = new Set<string>()
  const visit = (path: string, trail: readonly string[]) => {
    const at = trail.indexOf(path)
    if (at >= 0) {
      found.push([...trail.slice(at), path].join(' -> '))
      return
    }
    if (finished.has(path)) return
    for (const { what } of sources.get(path)?.imports ?? []) visit(what, [...trail, path])
    finished.add(path)
  }
  for (const path of sources.keys()) visit(path, [])
  return found
}
