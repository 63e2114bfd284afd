// The three forms of each outcome, colours, widths, and that nothing a stranger wrote is obeyed by a terminal.

import { stripVTControlCharacters } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Outcome } from '../../bin/shell-outcome.ts'
import { ShellExit } from '../../bin/shell-outcome.ts'
import { render, type Style, shownKey } from '../../bin/shell-render.ts'

const TERMINAL: Style = { form: 'terminal', color: false, columns: 40 }
const PLAIN: Style = { form: 'plain', color: false, columns: 80 }
const JSON_FORM: Style = { form: 'json', color: false, columns: 80 }

async function text(outcome: Outcome, style: Style): Promise<string> {
  let text = ''
  for await (const piece of render(outcome, style)) text += piece
  return text
}

async function* pages(...all: string[][]): AsyncGenerator<string[]> {
  yield* all
}

const rows: [name: string, outcome: () => Outcome, terminal: string, plain: string, json: string][] = [
  ['ok', () => ({ kind: 'ok' }), 'OK\n', 'OK\n', 'true\n'],
  ['miss', () => ({ kind: 'miss' }), '(miss)\n', '(miss)\n', 'null\n'],
  [
    'not stored',
    () => ({ kind: 'not-done', label: 'not stored', text: 'why' }),
    '(not stored) why\n',
    '(not stored) why\n',
    'false\n',
  ],
  ['a string', () => ({ kind: 'value', value: 'a "b"' }), '"a \\"b\\""\n', 'a "b"\n', '"a \\"b\\""\n'],
  [
    'JSON',
    () => ({ kind: 'value', value: [1, { a: null }] }),
    '[1,{"a":null}]\n',
    '[1,{"a":null}]\n',
    '[1,{"a":null}]\n',
  ],
  [
    'no JSON',
    () => ({ kind: 'value', value: new Set([1n]) }),
    'Set(1) { 1n }\n',
    '{"$set":[{"$bigint":"1"}]}\n',
    '{"$set":[{"$bigint":"1"}]}\n',
  ],
  ['a shown value', () => ({ kind: 'value', value: null, shown: '(none)' }), '(none)\n', 'null\n', 'null\n'],
  [
    'several values',
    () => ({ kind: 'values', keys: ['a', 'b c'], found: [{ value: 'x' }, undefined] }),
    'a: "x"\n"b c": (miss)\n',
    'x\n(miss)\n',
    '["x",null]\n',
  ],
  [
    'facts',
    () => ({ kind: 'facts', facts: { one: 1, longer: null, section: { a: 'x', list: [] } } }),
    'one     1\nlonger  -\nsection\n  a  x\n  list\n    -\n',
    '{"one":1,"longer":null,"section":{"a":"x","list":[]}}\n',
    '{"one":1,"longer":null,"section":{"a":"x","list":[]}}\n',
  ],
  [
    'keys',
    () => ({ kind: 'keys', pages: pages(['a', 'b c'], [], ['d']) }),
    'a\n"b c"\nd\n',
    'a\nb c\nd\n',
    '["a","b c","d"]\n',
  ],
  ['no keys', () => ({ kind: 'keys', pages: pages([]) }), '(no keys)\n', '', '[]\n'],
  ['text', () => ({ kind: 'text', text: 'a\nb' }), 'a\nb\n', 'a\nb\n', '"a\\nb"\n'],
  [
    'frames',
    () => ({ kind: 'frames', frames: [{ bytes: Buffer.from([1, 2]), meaning: 'PING' }], closed: true }),
    'PING\n   01 02\n(the server closed the connection)\n',
    'PING\n   01 02\n(the server closed the connection)\n',
    '[{"hex":"0102","meaning":"PING"}]\n',
  ],
  [
    'an error',
    () => ({ kind: 'error', code: 'CACHE_TIMEOUT', text: 'too late', exit: ShellExit.Unreachable }),
    '(error) CACHE_TIMEOUT too late\n',
    '(error) CACHE_TIMEOUT too late\n',
    '{"error":{"code":"CACHE_TIMEOUT","message":"too late"}}\n',
  ],
  ['leaving', () => ({ kind: 'quit' }), '', '', ''],
]

test.each(rows)('%s', async (_, outcome, terminal, plain, json) => {
  expect(await text(outcome(), TERMINAL)).toBe(terminal)
  expect(await text(outcome(), PLAIN)).toBe(plain)
  expect(await text(outcome(), JSON_FORM)).toBe(json)
})

test('a listing that fails in the middle is still JSON', async () => {
  const failing: Outcome = {
    kind: 'keys',
    pages: (async function* () {
      yield ['a']
      throw new Error('lost')
    })(),
  }
  let shown = ''
  await expect(async () => {
    for await (const piece of render(failing, JSON_FORM)) shown += piece
  }).rejects.toThrow('lost')
  expect(shown).toBe('["a"]\n')
})

describe('on a terminal', () => {
  test('long JSON is laid out for its width', async () => {
    const value = { name: 'x'.repeat(20), list: Array.from({ length: 20 }, (_, i) => i), in: [{ a: 1 }] }
    expect(await text({ kind: 'value', value }, TERMINAL)).toBe(
      [
        '{',
        '  "name": "xxxxxxxxxxxxxxxxxxxx",',
        '  "list": [',
        '    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,',
        '    11, 12, 13, 14, 15, 16, 17, 18, 19',
        '  ],',
        '  "in": [{"a":1}]',
        '}',
        '',
      ].join('\n'),
    )
  })

  test('a long value is cut, and says by how much; elsewhere it is not', async () => {
    const outcome: Outcome = { kind: 'value', value: 'x'.repeat(30_000) }
    const shown = await text(outcome, TERMINAL)
    expect(shown.length).toBeLessThan(20_100)
    expect(shown).toMatch(/x\n\(10002 more characters; a pipe or a file gets them all\)\n$/)
    expect(await text(outcome, PLAIN)).toHaveLength(30_001)
  })

  test('colours are there only if wanted', async () => {
    const style: Style = { ...TERMINAL, color: true }
    expect(await text({ kind: 'ok' }, style)).toBe('\x1b[32mOK\x1b[0m\n')
    expect(await text({ kind: 'miss' }, style)).toBe('\x1b[33m(miss)\x1b[0m\n')
    const json = await text({ kind: 'value', value: { a: ['x', 1, true] } }, style)
    expect(json).toContain('\x1b[36m"a"\x1b[0m:')
    expect(stripVTControlCharacters(json)).toBe('{"a":["x",1,true]}\n')
    for (const [, outcome] of rows)
      expect(await text(outcome(), { ...PLAIN, color: true })).not.toContain('\x1b')
  })

  const hostile = '\x1b[31m\u0007\u009b\u202e\u2028\x7f'
  test.each<[name: string, outcome: () => Outcome]>([
    ['a string', () => ({ kind: 'value', value: hostile })],
    ['JSON', () => ({ kind: 'value', value: { [hostile]: [hostile] } })],
    ['a Map', () => ({ kind: 'value', value: new Map([[hostile, { [hostile]: hostile }]]) })],
    ['keys', () => ({ kind: 'keys', pages: pages([hostile]) })],
    [
      'several values',
      () => ({ kind: 'values', keys: [hostile, 'b'], found: [{ value: hostile }, undefined] }),
    ],
    ['facts', () => ({ kind: 'facts', facts: { [hostile]: hostile } })],
    ['an error', () => ({ kind: 'error', code: 'X', text: hostile, exit: 4 })],
    ['text', () => ({ kind: 'text', text: hostile })],
    [
      'frames',
      () => ({ kind: 'frames', frames: [{ bytes: Buffer.alloc(1), meaning: hostile }], closed: false }),
    ],
  ])('control characters in %s are shown, not obeyed', async (_, outcome) => {
    const shown = await text(outcome(), TERMINAL)
    expect(shown).not.toMatch(/[^\n\P{Cc}]|[\u2028\u202e]/u)
  })
})

test('keys are shown as they can be typed', () => {
  expect(['a:1', 'é世', 'a b', '', '"a', '-y', "it's", '\u0007', 'a\u00a0b'].map(shownKey)).toEqual([
    'a:1',
    'é世',
    '"a b"',
    '""',
    '"\\"a"',
    '"-y"',
    "it's",
    '"\\u0007"',
    '"a\u00a0b"',
  ])
})
