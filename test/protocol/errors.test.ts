// Errors: every error status has its facts, they agree with PROTOCOL.md, and a CacheError leaks no key.

import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { CacheError, errorFacts, ProtocolError } from '../../protocol/errors.ts'
import { FIRST_ERROR, Status } from '../../protocol/messages.ts'

const page = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')

describe('facts', () => {
  test.each([
    ['Malformed', 'CACHE_PROTOCOL', 'closes', 'final'],
    ['FrameTooLarge', 'CACHE_TOO_LARGE', 'closes', 'final'],
    ['UnknownOpcode', 'CACHE_PROTOCOL', 'goes on', 'final'],
    ['BadOperand', 'CACHE_PROTOCOL', 'goes on', 'final'],
    ['KeyTooLarge', 'CACHE_TOO_LARGE', 'goes on', 'final'],
    ['ValueTooLarge', 'CACHE_TOO_LARGE', 'goes on', 'final'],
    ['NotInteger', 'CACHE_NOT_INTEGER', 'goes on', 'final'],
    ['Overloaded', 'CACHE_OVERLOADED', 'goes on', 'retriable'],
    ['Unauthenticated', 'CACHE_UNAUTHENTICATED', 'goes on', 'final'],
    ['Forbidden', 'CACHE_FORBIDDEN', 'goes on', 'final'],
    ['UnsupportedVersion', 'CACHE_PROTOCOL', 'closes', 'final'],
    ['ShuttingDown', 'CACHE_UNAVAILABLE', 'goes on', 'retriable'],
    ['Internal', 'CACHE_UNAVAILABLE', 'goes on', 'retriable'],
  ] as const)('%s is %s, the connection %s, it is %s', (name, code, then, again) => {
    const facts = errorFacts(Status[name])
    expect(facts).toEqual({ code, closes: then === 'closes', retriable: again === 'retriable' })
  })

  test('no error status is without', () => {
    const unknown = errorFacts(1000)
    expect(unknown).toEqual({ code: 'CACHE_PROTOCOL', closes: false, retriable: false })
    for (const status of Object.values(Status))
      if (status >= FIRST_ERROR) expect(errorFacts(status), `status ${status}`).not.toBe(unknown)
      else expect(errorFacts(status), `status ${status}`).toBe(unknown)
  })

  test('PROTOCOL.md says the same about the connection', () => {
    const rows = [...page.matchAll(/^\| (\d+) +\| (\w+) +\| .* \| (.*?) +\|$/gm)]
    const errors = rows.filter(
      ([, status, name]) => name !== undefined && name in Status && Number(status) >= FIRST_ERROR,
    )
    expect(errors).toHaveLength(Object.values(Status).filter((status) => status >= FIRST_ERROR).length)
    for (const [, status, name, then] of errors)
      expect(then === 'the server closes', name).toBe(errorFacts(Number(status)).closes)
  })
})

describe('CacheError', () => {
  test('carries what a caller decides by', () => {
    const cause = new Error('ECONNRESET')
    const error = new CacheError('CACHE_OVERLOADED', 'h:1 is overloaded', {
      retriable: true,
      retryAfterMs: 50,
      server: 'h:1',
      cause,
    })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      name: 'CacheError',
      code: 'CACHE_OVERLOADED',
      retriable: true,
      retryAfterMs: 50,
      server: 'h:1',
      cause,
    })
  })

  test('has no properties that it was not given', () => {
    const error = new CacheError('CACHE_TIMEOUT', 'too late')
    expect(error.retriable).toBe(false)
    expect('cause' in error).toBe(false)
    expect(Object.keys(error).sort()).toEqual(['code', 'name', 'retriable'])
  })

  test('knows its key and shows it to no logger', () => {
    const error = new CacheError('CACHE_TIMEOUT', 'too late', { key: 'user:secret' })
    expect(error.key).toBe('user:secret')
    expect(JSON.stringify(error)).not.toContain('secret')
    expect(inspect(error)).not.toContain('secret')
    expect({ ...error }).not.toHaveProperty('key')
  })
})

test('a ProtocolError carries the status to answer with', () => {
  const error = new ProtocolError(Status.BadOperand, 'a key has at least 1 byte')
  expect(error).toMatchObject({ name: 'ProtocolError', status: 19, message: 'a key has at least 1 byte' })
})
