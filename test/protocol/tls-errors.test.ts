// Errors of TLS as people read them.

import { createSecureContext } from 'node:tls'
import { expect, test } from 'vitest'
import { explainedTls } from '../../protocol/tls-errors.ts'

test("OpenSSL's message becomes its reason", () => {
  let thrown: unknown
  try {
    createSecureContext({ cert: 'nonsense' })
  } catch (error) {
    thrown = error
  }
  if (!(thrown instanceof Error)) throw new Error('accepted')
  expect(explainedTls(thrown).message).toMatch(/^TLS: [a-z ]+$/)
  expect(explainedTls(thrown).cause).toBe(thrown)
})

test('a handshake that the other end closed asks whether it speaks TLS', () => {
  const reset = new Error('Client network socket disconnected before secure TLS connection was established')
  expect(explainedTls(reset).message).toContain('is TLS spoken there?')
})

test.each([
  new Error('connect ECONNREFUSED 127.0.0.1:1'),
  Object.assign(
    new Error("Hostname/IP does not match certificate's altnames: IP: 127.0.0.1 is not in the list"),
    {
      reason: 'IP: 127.0.0.1 is not in the list',
    },
  ),
])('%s stays as it is', (error) => {
  expect(explainedTls(error)).toBe(error)
})
