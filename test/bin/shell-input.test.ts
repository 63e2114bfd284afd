// Words, values, keywords and flags, out of a line and out of arguments.

import { describe, expect, test } from 'vitest'
import { ArgumentInput, type CommandInput, LineInput, UsageError } from '../../bin/shell-input.ts'

/** All words of a line, and its flags. */
function words(input: CommandInput): string[] {
  return [...input.words('WORD'), ...[...input.flags].map((flag) => `flag ${flag}`)]
}

function readValue(line: string): unknown {
  const input = new LineInput(line)
  input.word('KEY')
  return input.value()
}

describe('a line', () => {
  test.each<[line: string, words: readonly string[]]>([
    ['get a', ['get', 'a']],
    ['  get\t a  b ', ['get', 'a', 'b']],
    [`get "two words" 'two words' ""`, ['get', 'two words', 'two words', '']],
    [`get "tab\\t\\u00e9\\"" 'back\\slash'`, ['get', 'tab\té"', 'back\\slash']],
    [`get it's 5"`, ['get', "it's", '5"']],
    ['get c:\\temp \\n', ['get', 'c:\\temp', '\\n']],
    ['get 世界 😀', ['get', '世界', '😀']],
    ['get a --json', ['get', 'a', 'flag --json']],
    ['--trace get a -y', ['get', 'a', 'flag --trace', 'flag -y']],
    ['get "--json"', ['get', '--json']],
    ['get -- --json -y', ['get', '--json', '-y']],
    ['incr a -5', ['incr', 'a', '-5']],
    ['get - -12 -ab', ['get', '-', '-12', '-ab']],
  ])('%s', (line, expected) => {
    expect(words(new LineInput(line))).toEqual(expected)
  })

  test.each<[line: string, message: string | RegExp]>([
    ['get "a', 'a quote is not closed: "a'],
    ["get 'a", "a quote is not closed: 'a"],
    ['get "a"b', 'a blank is needed behind the quoted word "a"'],
    ['get "a\\q"', 'not a string as JSON writes it: "a\\q"'],
    ['get a --jsn', /"--jsn" is no flag of a command/],
    ['get a -x', /"-x" is no flag of a command/],
  ])('%s is refused', (line, message) => {
    expect(() => words(new LineInput(line))).toThrow(UsageError)
    expect(() => words(new LineInput(line))).toThrow(message)
  })

  test('keywords are words in any case, but not quoted ones', () => {
    const input = new LineInput('ex NX "EX"')
    expect(input.keyword('EX', 'PX')).toBe('EX')
    expect(input.keyword('EX', 'PX')).toBeUndefined()
    expect(input.keyword('NX')).toBe('NX')
    expect(input.keyword('EX')).toBeUndefined()
    expect(() => input.close('; a hint')).toThrow('"EX" is one word too many; a hint')
  })

  test('what is missing is named', () => {
    expect(() => new LineInput('').word('KEY')).toThrow('KEY is missing')
    expect(() => new LineInput(' ').value()).toThrow('VALUE is missing')
  })
})

describe('a value', () => {
  test.each<[line: string, value: unknown]>([
    ['k [1, 2,\t3] EX 60', [1, 2, 3]],
    ['k {"a": "x } y", "b": [{}]}', { a: 'x } y', b: [{}] }],
    ['k "two \\"words\\""', 'two "words"'],
    ["k 'two words'", 'two words'],
    ['k word', 'word'],
    ['k 12', 12],
    ['k -1.5e3', -1500],
    ['k true', true],
    ['k null', null],
    ['k NaN', 'NaN'],
    ['k 12abc', '12abc'],
    ['k 012', '012'],
    ['k [1,2]x', '[1,2]x'],
    ['k [1,2', '[1,2'],
    ['k {a:1}', '{a:1}'],
    ['k --json', '--json'],
    ['k -x', '-x'],
    ['k "1"', '1'],
    ['k 9007199254740991', 9007199254740991],
    ['k "12345678901234567890"', '12345678901234567890'],
    ['k {"__proto__":1}', JSON.parse('{"__proto__":1}')],
  ])('%s', (line, value) => {
    expect(readValue(line)).toStrictEqual(value)
  })

  test.each(['k 12345678901234567890', 'k [1, -9007199254740993]', 'k {"a": 1e999}'])(
    '%s is refused: a number cannot hold it',
    (line) => {
      expect(() => readValue(line)).toThrow('is no number here; in quotes it is stored as text')
    },
  )

  test('is read in time that grows with its length', () => {
    const long = JSON.stringify(Array.from({ length: 100_000 }, (_, i) => `a ${i} "`))
    expect(readValue(`k ${long} EX 5`)).toHaveLength(100_000)
    expect(readValue(`k ${'['.repeat(200_000)}`)).toHaveLength(200_000)
    expect(readValue(`k "${'\\\\'.repeat(500_000)}"`)).toHaveLength(500_000)
  })
})

describe('arguments', () => {
  test('are words, whatever is in them', () => {
    expect(words(new ArgumentInput(['get', 'two words', '"quoted"', '', '--json']))).toEqual([
      'get',
      'two words',
      '"quoted"',
      '',
      'flag --json',
    ])
    expect(words(new ArgumentInput(['get', '--', '--json']))).toEqual(['get', '--json'])
  })

  test.each<[args: readonly string[], value: unknown, left: number]>([
    [['[1,2,3]', 'EX', '60'], [1, 2, 3], 2],
    [['[1,', '2]', 'EX', '60'], [1, 2], 2],
    [['{"a": "b c"}'], { a: 'b c' }, 0],
    [['two words', 'NX'], 'two words', 1],
    [['12 13'], '12 13', 0],
    [['"a', 'b"'], 'a b', 0],
    [['"a" b'], '"a" b', 0],
    [['"a"'], 'a', 0],
    [[''], '', 0],
  ])('%j as a value', (args, value, left) => {
    const input = new ArgumentInput(args)
    expect(input.value()).toStrictEqual(value)
    if (left === 0) expect(input.isDone).toBe(true)
    else expect(input.words('WORD')).toHaveLength(left)
  })
})
