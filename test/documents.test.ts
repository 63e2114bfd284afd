// What the documents say in tables and links, held to the code: flags, variables and defaults, commands, methods, scripts,
// files. What README.md shows of programs that run is for test/e2e/readme.test.ts.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { ormucoCacheCommand } from '../bin/ormuco-cache.ts'
import { commandVariables, type Flag, LOG_DEFAULTS, serverFlags } from '../bin/server-flags.ts'
import { OrmucoCacheClient } from '../client/index.ts'
import { resolveOptions } from '../server/options.ts'
import { anchors, codeWords, linkTargets, tableRows } from './helpers/markdown.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const readme = read('README.md')
const manifest: { scripts: Record<string, string> } = JSON.parse(read('package.json'))

describe('the flags of start-server', () => {
  const rows = tableRows(readme, 'flag')
  const defaults = { ...resolveOptions({}), ...LOG_DEFAULTS }
  /** How the table says what --print-config says in another word. */
  const AS_SHOWN: Readonly<Record<string, string>> = {
    'bounded by memory alone': 'none',
    alone: 'none',
    'host and port': 'host:port',
    none: '0',
    off: 'false',
  }

  test('the table of flags is there', () => {
    expect(rows.length).toBeGreaterThan(8)
  })

  test.each(rows)('%s', (flagCell, variableCell = '', defaultCell = '') => {
    const written = codeWords(flagCell)
    const stated = written.length === 1 ? [defaultCell] : defaultCell.split(', ')
    for (const [index, usage] of written.entries()) {
      const flag = flagOf(usage)
      const [word = ''] = (stated[index] ?? '').split(/[:;,]/)
      expect([word, AS_SHOWN[word]], usage).toContain(flag.show(defaults))
      const example = / (\S+)$/.exec(usage)?.[1] ?? ''
      // N and S stand for numbers; words with bars between them are what can be chosen.
      for (const choice of /^[a-z0-9|]+$/.test(example) ? example.split('|') : [])
        expect(() => flag.read(usage, choice)).not.toThrow()
    }

    const variables = codeWords(variableCell).filter((name) => /^[A-Z_]+$/.test(name))
    expect(commandVariables.map(({ name }) => name)).toEqual(expect.arrayContaining(variables))
    const likewise = variableCell.includes('`CACHE_…` likewise')
    for (const usage of written) {
      const { variable } = flagOf(usage)
      expect(likewise ? [variableLike(usage)] : variables).toContain(variable)
    }
  })
})

test('the commands behind npx ormuco-cache are those that there are', async () => {
  const named = [...readme.matchAll(/npx ormuco-cache ([a-z-]+)/g)].map(([, name]) => name)
  const { commands } = await ormucoCacheCommand([])
  expect([...new Set(named)].sort()).toEqual(commands.map((command) => command.name()).sort())
})

test('the methods in the table of the client are those that it has', () => {
  const named = tableRows(readme, 'method').flatMap(([calls = '']) =>
    codeWords(calls).map((call) => call.replace(/\(.*/, '')),
  )
  const methods = Object.getOwnPropertyNames(OrmucoCacheClient.prototype).filter(
    (name) => name !== 'constructor',
  )
  expect(named.sort()).toEqual(methods.sort())
})

test('every script of npm that a document names is there', () => {
  const named = ['README.md', 'CONTRIBUTING.md'].flatMap((document) => [
    ...read(document).matchAll(/\bnpm (?:run (?:-s )?([\w-]+)|(start|test)\b)/g),
  ])
  expect(named.length).toBeGreaterThan(8)
  for (const [command, run, short] of named)
    expect(manifest.scripts, command).toHaveProperty([run ?? short ?? ''])
})

describe('what a document points at is there', () => {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
    'protocol/PROTOCOL.md',
    ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => join('docs', name)),
  ]

  test.each(documents)('%s', (document) => {
    const text = read(document)
    const missing = linkTargets(text)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [file = '', anchor] = target.split('#')
        const linked = file === '' ? document : join(dirname(document), file)
        return (
          !existsSync(join(root, linked)) || (anchor !== undefined && !anchors(read(linked)).includes(anchor))
        )
      })
    expect(missing).toEqual([])
    const files = codeWords(text).filter((code) => /^(protocol|server|client|bin|test|docs)\/\S*$/.test(code))
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([])
  })
})

/** The flag that is written as `-p, --port` or `--store arena|heap`. */
function flagOf(usage: string): Flag {
  const names = usage.replace(/ [^-]*$/, '').split(', ')
  const flag = serverFlags.find((flag) => {
    const known = flag.usage.split(/,? /)
    return names.every((name) => known.includes(name))
  })
  if (flag === undefined) throw new Error(`no flag ${usage}`)
  return flag
}

function variableLike(usage: string): string {
  return `CACHE_${usage.replace(/^--/, '').replaceAll('-', '_').toUpperCase()}`
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}
