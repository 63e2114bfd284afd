// The product from outside: a server as a process of its own, started as users start it, and clients in this process
// and in others.

import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { clientOf, nextEvent } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { type Program, runProgram, startProgram } from '../helpers/program.ts'

const CALLER = join(inject('builtDir'), 'test/helpers/caller.js')
const RECONNECT = { minMs: 5, maxMs: 50 }

async function startServer(
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<{ program: Program; address: string; port: number }> {
  const program = startProgram('start-server', args.includes('--port') ? args : ['--port', '0', ...args], {
    env,
  })
  const port = await program.port()
  return { program, address: `127.0.0.1:${port}`, port }
}

/** Does calls in a process of their own; what each resolved with. */
async function callElsewhere(address: string, calls: readonly (readonly unknown[])[]): Promise<unknown[]> {
  const { code, stdout, stderr } = await runProgram(CALLER, [JSON.stringify(calls)], {
    env: { SERVERS: address },
  })
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

async function keysOf(client: OrmucoCacheClient): Promise<string[]> {
  const keys: string[] = []
  for await (const key of client.keys()) keys.push(key)
  return keys.sort()
}

describe.each(['arena', 'heap'] as const)('%s store', (store) => {
  test('what one process stores, another one retrieves', async () => {
    const { address } = await startServer(['--store', store])
    const [stored] = await callElsewhere(address, [['store', 'my-key', { list: [1, 2, 3], text: 'ä' }]])
    expect(stored).toMatchObject({ outcome: 'stored' })
    expect(
      await callElsewhere(address, [
        ['retrieve', 'my-key'],
        ['retrieve', 'nothing'],
        ['delete', 'my-key'],
      ]),
    ).toEqual([{ list: [1, 2, 3], text: 'ä' }, null, true])
    expect(await clientOf(address).has('my-key')).toBe(false)
  })

  test('CACHE_MAX_SIZE=3: the least recently used entries go first', async () => {
    const { address } = await startServer([], { CACHE_MAX_SIZE: '3', CACHE_STORE: store })
    const client = clientOf(address)
    for (const key of ['a', 'b', 'c']) await client.store(key, key)
    await client.retrieve('a')
    await client.store('d', 'd')
    expect(await keysOf(client)).toEqual(['a', 'c', 'd'])
    await client.store('c', 'again')
    await client.store('e', 'e')
    expect(await keysOf(client)).toEqual(['c', 'd', 'e'])
    expect(await client.stats()).toMatchObject({
      memory: { entries: 3, entriesMax: 3 },
      cache: { evictions: 2 },
    })
  })

  test('CACHE_EXPIRATION: what is stored without a time to live is gone after that', async () => {
    const { address } = await startServer([], { CACHE_EXPIRATION: '1s', CACHE_STORE: store })
    const client = clientOf(address)
    await client.store('lasting', 1, { ttlSeconds: 1000 })
    await client.store('brief', 1)
    expect(await client.inspect('brief')).toMatchObject({ lifetimeSeconds: 1 })
    await eventually(() => client.retrieve('brief')).toBeUndefined()
    expect(await client.retrieve('lasting')).toBe(1)
  })

  test('CACHE_RENEW_ON_HIT: a hit starts the time anew', async () => {
    const { address } = await startServer([], {
      CACHE_EXPIRATION: '1h',
      CACHE_RENEW_ON_HIT: 'true',
      CACHE_STORE: store,
    })
    const client = clientOf(address)
    await client.store('k', 1)
    await eventually(async () => (await client.inspect('k'))?.ttlSeconds).toBeLessThan(3600)
    // Of one tick: the server answers both within the same millisecond.
    const [found, entry] = await Promise.all([client.retrieve('k'), client.inspect('k')])
    expect([found, entry?.ttlSeconds]).toEqual([1, 3600])
  })
})

describe('a server that goes away', () => {
  test('kill -9 and a restart: the client says unavailable, comes back by itself, and misses', async () => {
    const { program, address, port } = await startServer()
    const client = clientOf(address, { reconnect: RECONNECT })
    await client.store('k', 'before')
    const unavailable = nextEvent(client, 'unavailable')
    program.process.kill('SIGKILL')
    expect(await unavailable).toMatchObject({ server: address })
    expect(await client.lookup('k')).toMatchObject({
      outcome: 'unavailable',
      error: { code: 'CACHE_UNAVAILABLE' },
    })
    const available = nextEvent(client, 'available')
    await startServer(['--port', String(port)])
    expect(await available).toMatchObject({ server: address, failedCalls: 1 })
    expect(await client.lookup('k')).toEqual({ outcome: 'miss' })
    expect(await client.store('k', 'after')).toMatchObject({ outcome: 'stored' })
  })

  test('kill -9 under load: every call settles, and only those in flight are in doubt', async () => {
    const { program, address } = await startServer()
    const client = clientOf(address, { reconnect: RECONNECT, timeoutMs: 500 })
    await client.connect()
    const calls = Array.from({ length: 20 }, (_, i) => loadUntilUnavailable(client, `caller-${i}`))
    await eventually(() => client.counters().stored).toBeGreaterThan(500)
    program.process.kill('SIGKILL')
    for (const last of await Promise.all(calls)) expect(last).toMatchObject({ outcome: 'unavailable' })
    expect(client.counters()).toMatchObject({ inFlight: 0, pending: 0 })
  })

  test('SIGTERM under load: what was sent is answered, nothing is in doubt, exit 0', async () => {
    const { program, address } = await startServer()
    const clients = [1, 2, 3].map(() => clientOf(address, { reconnect: RECONNECT, timeoutMs: 5000 }))
    await Promise.all(clients.map((client) => client.connect()))
    const calls = clients.flatMap((client, c) =>
      Array.from({ length: 20 }, (_, i) => loadUntilUnavailable(client, `caller-${c}-${i}`, 1000)),
    )
    for (const client of clients) await eventually(() => client.counters().stored).toBeGreaterThan(300)
    program.process.kill('SIGTERM')
    for (const last of await Promise.all(calls))
      expect(last).toMatchObject({ outcome: 'unavailable', maybeStored: false })
    const { code, stderr } = await program.ended
    expect(code).toBe(0)
    expect(stderr).toContain('"msg":"stopped"')
  })

  test('a rolling restart on one port: writers wait for it, and lose nothing', async () => {
    const { program, address, port } = await startServer()
    const client = clientOf(address, { reconnect: RECONNECT })
    await client.connect()
    let writing = true
    const write = async (name: string) => {
      for (let i = 0; writing; i++) {
        const outcome = await client.store(`${name}-${i % 50}`, i)
        expect(outcome).toMatchObject({ outcome: 'stored' })
      }
    }
    const writers = Promise.all(['a', 'b', 'c', 'd'].map(write))
    await eventually(() => client.counters().stored).toBeGreaterThan(100)
    program.process.kill('SIGTERM')
    expect((await program.ended).code).toBe(0)
    await startServer(['--port', String(port)])
    const storedBefore = client.counters().stored
    await eventually(() => client.counters().stored).toBeGreaterThan(storedBefore + 100)
    writing = false
    await writers
  })

  test('stopped for a while (SIGSTOP): calls end at their deadline, and after SIGCONT it goes on', async () => {
    const { program, address } = await startServer()
    const client = clientOf(address, { reconnect: RECONNECT, timeoutMs: 100, heartbeatMs: 50 })
    await client.connect({ timeoutMs: 10_000 })
    const unavailable = nextEvent(client, 'unavailable')
    program.process.kill('SIGSTOP')
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'unavailable', maybeStored: true })
    await unavailable
    program.process.kill('SIGCONT')
    await eventually(async () => (await client.store('k', 2)).outcome).toBe('stored')
  })
})

test('a port in use: the second server says so, the first one serves on', async () => {
  const { address, port } = await startServer()
  const { code, stdout, stderr } = await runProgram('start-server', ['--port', String(port)])
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toContain(`port ${port} of 127.0.0.1 is in use`)
  expect(await clientOf(address).store('k', 1)).toMatchObject({ outcome: 'stored' })
})

test.each(['GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', 'set k 0 0 1\r\n1\r\n', 'help\n'])(
  'text on the binary port: %j gets one line and the door',
  async (text) => {
    const { port } = await startServer()
    const socket = connect(port, '127.0.0.1')
    onTestFinished(() => void socket.destroy())
    socket.setEncoding('utf8')
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    socket.end(text)
    await once(socket, 'close')
    expect(answer).toBe('binary protocol; use cache-shell\r\n')
  },
)

test('a hostile connection harms no other one', async () => {
  const { program, address, port } = await startServer()
  const client = clientOf(address)
  await client.store('k', 1)
  for (const bytes of [
    Buffer.alloc(64, 0xff),
    Buffer.from('00000003930100', 'hex'),
    Buffer.alloc(10_000, 0x91),
  ]) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    socket.end(bytes)
    await once(socket, 'close')
    expect(await client.retrieve('k')).toBe(1)
  }
  program.process.kill('SIGTERM')
  expect((await program.ended).code).toBe(0)
})

/** Writes until a write is not served; at the most so many ms after the first one that was not. The last outcome. */
async function loadUntilUnavailable(client: OrmucoCacheClient, key: string, timeoutMs?: number) {
  for (let i = 0; ; i++) {
    const outcome = await client.store(key, i, timeoutMs === undefined ? undefined : { timeoutMs })
    if (outcome.outcome !== 'stored') return outcome
  }
}
