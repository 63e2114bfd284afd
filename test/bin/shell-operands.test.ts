// Operands that several commands share: times to live, integers, key patterns, raw bytes.

import { describe, expect, test } from 'vitest'
import { LineInput } from '../../bin/shell-input.ts'
import { keyPattern, readInteger, readRawBytes, readTtlInMs, readTtlMs } from '../../bin/shell-operands.ts'

test.each<[text: string, ms: number]>([
  ['60', 60_000],
  ['0.5', 500],
  ['1500ms', 1500],
  ['5m', 300_000],
  ['1h', 3_600_000],
  ['never', 0],
  ['INF', 0],
])('a time to live of %s', (text, ms) => {
  expect(readTtlMs(new LineInput(text), 'EX')).toBe(ms)
})

test.each(['0', '-1', 'soon', 'NaN', '1e3', '0.0001', '99999999999'])(
  'a time to live of %s is refused',
  (text) => {
    expect(() => readTtlMs(new LineInput(text), 'EX')).toThrow(/^EX ".*" is not possible; allowed: seconds/)
  },
)

test('milliseconds are whole and have no unit', () => {
  expect(readTtlInMs(new LineInput('1500'), 'PX')).toBe(1500)
  for (const text of ['1.5', '5s', '0', 'never', '-5'])
    expect(() => readTtlInMs(new LineInput(text), 'PX')).toThrow(/^PX ".*" is not possible/)
})

test('integers are exact', () => {
  expect(readInteger(new LineInput('-5'), 'N')).toBe(-5)
  expect(readInteger(new LineInput('+5'), 'N')).toBe(5)
  for (const text of ['1.5', 'five', '9007199254740993', '0x10', '1e3'])
    expect(() => readInteger(new LineInput(text), 'N')).toThrow(/^N ".*" is not possible/)
})

describe('a key pattern', () => {
  test.each<[pattern: string, prefix: string, matching: readonly string[], others: readonly string[]]>([
    ['user:', 'user:', ['user:1', 'user:'], []],
    ['', '', ['anything'], []],
    ['*', '', ['', 'a', 'a*b'], []],
    ['user:*', 'user:', ['user:', 'user:1'], []],
    ['user:?', 'user:', ['user:1', 'user:é', 'user:😀'], ['user:', 'user:12']],
    ['*:name', '', [':name', 'a:name', 'a:name:name'], ['a:names', 'name']],
    ['a*b*c', 'a', ['abc', 'a--b--c', 'abbcbc'], ['ac', 'abcd', 'acb']],
    ['\\*a', '*a', ['*a', '*ab'], []],
    ['a\\*b*', 'a*b', ['a*b', 'a*bc'], []],
    ['*\\?', '', ['a?', '?'], ['ab']],
    ['a[1]', 'a[1]', ['a[1]'], []],
    ['a\\', 'a\\', ['a\\b'], []],
  ])('%s', (text, prefix, matching, others) => {
    const pattern = keyPattern(text)
    expect(pattern.prefix).toBe(prefix)
    for (const key of matching) expect(pattern.matches(key), key).toBe(true)
    for (const key of others) expect(pattern.matches(key), key).toBe(false)
  })

  test('takes no exponential time', () => {
    expect(keyPattern(`${'*a'.repeat(400)}b`).matches('a'.repeat(1024))).toBe(false)
  })
})

describe('raw bytes', () => {
  test.each<[line: string, bytes: string, frames: number]>([
    ['920207', '00000003920207', 1],
    ['92 02 07', '00000003920207', 1],
    ['0x920207', '00000003920207', 1],
    ['DC00020207', '00000005dc00020207', 1],
    ['00000003920207', '00000003920207', 1],
    ['00000003920207 00000003920208', '0000000392020700000003920208', 2],
    ['000000ff92', '000000ff92', 0],
    ['474554', '474554', 0],
  ])('%s', (line, bytes, frames) => {
    const raw = readRawBytes(new LineInput(line))
    expect(raw.bytes.toString('hex')).toBe(bytes)
    expect(raw.frames).toHaveLength(frames)
  })

  test.each(['9', '92020', 'xy', 'PING'])('%s are refused', (line) => {
    expect(() => readRawBytes(new LineInput(line))).toThrow('HEX is pairs of hexadecimal digits')
  })
})
