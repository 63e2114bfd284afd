// Dialing a name: all its addresses are tried, and an error says what became of each.

import dns from 'node:dns'
import { expect, onTestFinished, test, vi } from 'vitest'
import { clientOf } from '../helpers/client.ts'
import { answerAll, startFakeServer, unusedPort } from '../helpers/fake-server.ts'

/** Names resolve to these addresses, until the test ends. */
function resolveTo(...addresses: readonly { address: string; family: number }[]): void {
  resolveBy((onResolved) => onResolved(null, addresses))
}

function resolveBy(resolve: (onResolved: (error: Error | null, addresses?: unknown) => void) => void): void {
  const lookup = vi.spyOn(dns, 'lookup')
  lookup.mockImplementation(((_name: string, _options: object, onResolved: () => void) => {
    process.nextTick(() => resolve(onResolved))
  }) as never)
  onTestFinished(() => lookup.mockRestore())
}

const V4 = { address: '127.0.0.1', family: 4 }
const OTHER_V4 = { address: '127.0.0.2', family: 4 }

test('several addresses, none of which is served: the error names each', async () => {
  const port = await unusedPort()
  resolveTo(V4, OTHER_V4)
  const client = clientOf(`cache.example:${port}`)
  const found = await client.lookup('k')
  if (found.outcome !== 'unavailable') throw new Error(found.outcome)
  expect(found.error.message).toBe(
    `cache.example:${port}: connect ECONNREFUSED 127.0.0.1:${port}; connect ECONNREFUSED 127.0.0.2:${port}`,
  )
  expect(found.error.server).toBe(`cache.example:${port}`)
})

test('several addresses, one of which is served: that one', async () => {
  const server = await startFakeServer({ onRequest: answerAll })
  resolveTo(OTHER_V4, V4)
  expect(await clientOf(`cache.example:${server.port}`).lookup('k')).toEqual({ outcome: 'miss' })
})

test('a name that does not resolve: unavailable, and asked for again at each attempt', async () => {
  const server = await startFakeServer({ onRequest: answerAll })
  let asked = 0
  resolveBy((onResolved) => {
    if (++asked < 4)
      onResolved(Object.assign(new Error('getaddrinfo ENOTFOUND cache.example'), { code: 'ENOTFOUND' }))
    else onResolved(null, [V4])
  })
  const client = clientOf(`cache.example:${server.port}`, { reconnect: { minMs: 1, maxMs: 5 } })
  expect(await client.lookup('k')).toMatchObject({
    outcome: 'unavailable',
    error: { message: expect.stringMatching(/ENOTFOUND cache\.example$/) },
  })
  expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
  expect(asked).toBe(4)
})
