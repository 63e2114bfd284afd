// Rows of facts as a table.

import { expect, test } from 'vitest'
import { tableLines } from '../../bin/shell-table.ts'

const COLUMNS = [
  { name: 'node', title: 'node' },
  { name: 'lag', title: 'lag ms' },
  { name: 'error', title: 'last error' },
]
const ROWS = [
  { node: 'a', lag: 5, error: null },
  { node: 'longer', lag: null, error: 'connect ECONNREFUSED' },
  { node: 'b', lag: 12345678, unknown: 1 },
]
const textOf = (fact: unknown) => (fact === null || fact === undefined ? '-' : String(fact))

test('columns stand in line, numbers to the right', () => {
  expect(tableLines(COLUMNS, ROWS, textOf, 80)).toEqual([
    'node      lag ms  last error',
    'a              5  -',
    'longer         -  connect ECONNREFUSED',
    'b       12345678  -',
  ])
})

test('what is too long for the terminal is cut', () => {
  const lines = tableLines(COLUMNS, ROWS, textOf, 25)
  expect(lines[2]).toBe('longer         -  connec…')
  expect(Math.max(...lines.map((line) => line.length))).toBe(25)
  for (const width of [0, 1, 2]) expect(tableLines(COLUMNS, ROWS, textOf, width)[0]).toMatch(/^n…$/)
})

test('without rows there are the titles', () => {
  expect(tableLines(COLUMNS, [], textOf, 80)).toEqual(['node  lag ms  last error'])
})
