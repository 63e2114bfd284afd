// A process that stood still (a long computation, a pause of the machine) must not take that for a silent server: what
// arrived meanwhile is read before any call is declared late, and what could not leave gets its time.

import { setTimeout as after, setImmediate as afterIo } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { clientOf } from '../helpers/client.ts'
import { standStill } from '../helpers/fake-server.ts'
import { startProgram } from '../helpers/program.ts'

const DEADLINE_MS = 300
const STANDSTILL_MS = 700

/** A server that goes on while this process stands still. */
async function serverElsewhere(): Promise<string> {
  return `127.0.0.1:${await startProgram('start-server', ['--port', '0']).port()}`
}

test('after a call has left: its answer is there', async () => {
  const client = clientOf(await serverElsewhere(), { timeoutMs: DEADLINE_MS })
  await client.connect({ timeoutMs: 10_000 })
  for (let round = 0; round < 2; round++) {
    const calls = Array.from({ length: 50 }, (_, i) => client.store(`k${i}`, round))
    await afterIo()
    standStill(STANDSTILL_MS)
    for (const outcome of await Promise.all(calls)) expect(outcome).toMatchObject({ outcome: 'stored' })
  }
  const timedOut = client.counters().timeouts
  expect(timedOut).toBe(0)
})

test('within a timer, and again and again', async () => {
  const client = clientOf(await serverElsewhere(), { timeoutMs: DEADLINE_MS })
  await client.connect({ timeoutMs: 10_000 })
  const calls: Promise<unknown>[] = []
  for (let round = 0; round < 4; round++) {
    calls.push(client.store(`k${round}`, round))
    await after(1)
    standStill(STANDSTILL_MS / 2)
  }
  for (const outcome of await Promise.all(calls)) expect(outcome).toMatchObject({ outcome: 'stored' })
})

test('between the calls of one tick: they have not left yet, and get their time', async () => {
  const client = clientOf(await serverElsewhere(), { timeoutMs: DEADLINE_MS })
  await client.connect({ timeoutMs: 10_000 })
  for (let round = 0; round < 2; round++) {
    const before = client.store('before', round)
    standStill(STANDSTILL_MS)
    const behind = client.store('behind', round)
    expect(await before).toMatchObject({ outcome: 'stored' })
    expect(await behind).toMatchObject({ outcome: 'stored' })
  }
})

test('while it connects: the first call of a process that is still starting succeeds', async () => {
  const client = clientOf(await serverElsewhere(), { timeoutMs: DEADLINE_MS })
  const calls = [client.store('k', 1), client.lookup('k')]
  await afterIo()
  standStill(STANDSTILL_MS)
  expect(await Promise.all(calls)).toEqual([
    expect.objectContaining({ outcome: 'stored' }),
    expect.objectContaining({ outcome: 'hit', value: 1 }),
  ])
})

test('a server that really is silent is found out all the same', async () => {
  const program = startProgram('start-server', ['--port', '0'])
  const client = clientOf(`127.0.0.1:${await program.port()}`, {
    timeoutMs: DEADLINE_MS,
    heartbeatMs: 1_000_000,
  })
  await client.connect({ timeoutMs: 10_000 })
  program.process.kill('SIGSTOP')
  const call = client.store('k', 1)
  let settled = false
  void call.then(() => {
    settled = true
  })
  while (!settled) {
    await after(1)
    standStill(100)
  }
  expect(await call).toMatchObject({
    outcome: 'unavailable',
    maybeStored: true,
    error: { code: 'CACHE_TIMEOUT' },
  })
})
