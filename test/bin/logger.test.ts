// Readable log lines: what stands in them, and that nobody can write to the terminal through a field.

import { expect, test } from 'vitest'
import { prettyLine } from '../../bin/logger.ts'

const time = '2026-01-02T18:04:59.123Z'

test('time, level, phrase, then the facts', () => {
  const json = JSON.stringify({ level: 'info', time, port: 11_142, host: '127.0.0.1', msg: 'ready' })
  expect(prettyLine(json, 'plain')).toBe('18:04:59.123 INFO  ready port=11142 host=127.0.0.1\n')
})

test('text with blanks is quoted, nested facts are JSON', () => {
  const json = JSON.stringify({
    level: 'warn',
    time,
    cause: 'two words',
    none: '',
    at: { a: [1] },
    msg: 'overloaded',
  })
  expect(prettyLine(json, 'plain')).toBe(
    '18:04:59.123 WARN  overloaded cause="two words" none="" at={"a":[1]}\n',
  )
})

test('the stack of an error follows, indented', () => {
  const error = { type: 'Error', message: 'boom', stack: 'Error: boom\n    at here' }
  const json = JSON.stringify({ level: 'fatal', time, error, msg: 'uncaught' })
  expect(prettyLine(json, 'plain')).toBe('18:04:59.123 FATAL uncaught\n    Error: boom\n        at here\n')
})

test('control characters are shown, never sent', () => {
  const client = '\x1b[2Jevil\x9b31m\r\nINFO'
  const error = { stack: `Error: ${client}` }
  const line = prettyLine(JSON.stringify({ level: 'info', time, client, error, msg: client }), 'plain')
  expect(line.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
})

test('colour only where it was asked for, and only for what matters', () => {
  const json = (level: string) => JSON.stringify({ level, time, msg: 'x' })
  expect(prettyLine(json('error'), 'coloured')).toContain('\x1b[31mERROR\x1b[0m')
  expect(prettyLine(json('info'), 'coloured')).not.toContain('\x1b')
  expect(prettyLine(json('error'), 'plain')).not.toContain('\x1b')
})
