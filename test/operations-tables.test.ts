// What docs/operations.md says in its tables, held to the code: every limit with its flag, variable and default, the
// statistics and log lines to watch, and the texts of errors. What it shows of servers that run is for
// test/e2e/operations.test.ts.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { LOG_DEFAULTS, serverFlags } from '../bin/server-flags.ts'
import { duration, size } from '../protocol/notation.ts'
import { resolveOptions, SERVER_DEFAULTS } from '../server/options.ts'
import { OrmucoCacheServer } from '../server/server.ts'
import { codeWords, tableRows, tablesOf } from './helpers/markdown.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const guide = readFileSync(join(root, 'docs', 'operations.md'), 'utf8')
const sources = ['protocol', 'server', 'client', 'bin'].flatMap(readSources).join('\n')

/** What Node and OpenSSL say, in no file of ours. */
const NOT_OURS = [
  'self-signed certificate in certificate chain',
  'unable to verify the first certificate',
  'certificate has expired',
  "Hostname/IP does not match certificate's altnames",
  'unsuitable certificate purpose',
  'tlsv13 alert certificate required',
]

describe('the table of limits', () => {
  const rows = tableRows(guide, 'option').map((cells) => cells.map((cell) => cell.replaceAll('`', '')))
  const defaults: Readonly<Record<string, unknown>> = SERVER_DEFAULTS

  test('has every option that is a number, but the port', () => {
    const numbers = Object.keys(defaults).filter((option) => typeof defaults[option] === 'number')
    expect(rows.map(([option]) => option).sort()).toEqual(
      numbers.filter((option) => option !== 'port').sort(),
    )
  })

  test.each(rows)('%s', (option, flag = '', variable = '', shown = '') => {
    const known = serverFlags.find(({ setting }) => setting === option)
    const longest = known?.usage.split(/,? /).filter((word) => word.startsWith('--'))
    if (known === undefined) expect([flag, variable]).toEqual(['–', '–'])
    else expect([longest?.includes(flag), variable]).toEqual([true, known.variable])
    const value = Number(defaults[option ?? ''])
    const written = known?.show({ ...resolveOptions({}), ...LOG_DEFAULTS })
    expect([written, size.format(value), duration.format(value), String(value)]).toContain(shown)
  })
})

test('the statistics that are to be watched are there', () => {
  const server = new OrmucoCacheServer()
  onTestFinished(() => server.destroy())
  const stats: Readonly<Record<string, unknown>> = { ...server.stats() }
  const rows = [
    ...tableRows(guide, 'option').map((cells) => cells[5] ?? ''),
    ...tableRows(guide, 'statistic').map(([names = '']) => names),
  ]
  const paths = rows.flatMap(codeWords).filter((path) => path.includes('.'))
  expect(paths.length).toBeGreaterThan(30)
  for (const path of paths) {
    const [section = '', name = ''] = path.split('.')
    expect(stats[section], path).toHaveProperty([name])
  }
})

test('the lines of the log are written somewhere', () => {
  const phrases = tableRows(guide, '`msg`').flatMap(([cell = '']) => codeWords(cell))
  expect(phrases.length).toBeGreaterThan(15)
  expect(phrases.filter((phrase) => !isInSources(phrase))).toEqual([])
})

test('the texts of errors are written somewhere, or are those of Node', () => {
  const tables = tablesOf(guide).filter(([[heading = ''] = []]) => /^(text|code and text)$/.test(heading))
  const texts = tables.flatMap((rows) => rows.slice(1).flatMap(([cell = '']) => codeWords(cell)))
  expect(texts.length).toBeGreaterThan(25)
  expect(texts.filter((text) => !NOT_OURS.includes(text) && !isInSources(text))).toEqual([])
})

/** `…` stands for anything. */
function isInSources(text: string): boolean {
  return text.split('…').every((part) => sources.includes(part.trim()))
}

function readSources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(root, folder, name), 'utf8'))
}
