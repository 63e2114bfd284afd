// Dialing with TLS: which name is asked for and verified, attempts that end nowhere or are given up, and that a client
// without TLS does not load it. What servers accept is in test/server/tls.test.ts.

import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { dialTcp } from '../../client/dial.ts'
import { authority, clientTls, HERE } from '../helpers/certificates.ts'
import { clientOf, nextEvent } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { answerAll, FakeConnection, unusedPort } from '../helpers/fake-server.ts'
import { runProgram } from '../helpers/program.ts'

async function listening(server: Server, host = '127.0.0.1'): Promise<number> {
  onTestFinished(() => void server.close())
  server.listen(0, host)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** A server that answers, and the names that were asked for, '' for none. */
async function startTlsServer(names: readonly string[] = HERE): Promise<{ port: number; asked: string[] }> {
  const own = await (await authority()).issue({ commonName: 'fake', names })
  const asked: string[] = []
  const context = createSecureContext(own)
  const server = createTlsServer({ ...own, SNICallback: (_, found) => found(null, context) })
  server.on('secureConnection', (socket: TLSSocket) => {
    onTestFinished(() => void socket.destroy())
    asked.push(socket.servername || '')
    new FakeConnection(socket, { onRequest: answerAll })
  })
  return { port: await listening(server), asked }
}

/** Accepts, and never says anything. */
async function startSilentServer(): Promise<{ port: number; sockets: Socket[] }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.resume()
    onTestFinished(() => void socket.destroy())
  })
  return { port: await listening(server), sockets }
}

test('a host that has a name is asked for by it, one that has an address is not; both are verified', async () => {
  const { port, asked } = await startTlsServer()
  const tls = await clientTls()
  for (const host of ['localhost', '127.0.0.1'])
    expect(await clientOf(`${host}:${port}`, { tls }).lookup('k')).toEqual({ outcome: 'miss' })
  expect(asked).toEqual(['localhost', ''])
})

test('another name may be asked for', async () => {
  const { port, asked } = await startTlsServer(['cache.example'])
  const tls = { ...(await clientTls()), servername: 'cache.example' }
  expect(await clientOf(`127.0.0.1:${port}`, { tls }).lookup('k')).toEqual({ outcome: 'miss' })
  expect(asked).toEqual(['cache.example'])
})

test('without an authority of its own a client trusts those of the system, and no other', async () => {
  const { port } = await startTlsServer()
  const found = await clientOf(`localhost:${port}`, { tls: true }).lookup('k')
  if (found.outcome !== 'unavailable') throw new Error(found.outcome)
  expect(found.error.message).toMatch(/verify|self-signed|issuer/)
})

test('an authority that is none is a failure of the dial, each time', async () => {
  const { port, asked } = await startTlsServer()
  const client = clientOf(`localhost:${port}`, {
    tls: { cert: 'nonsense' },
    reconnect: { minMs: 1, maxMs: 5 },
  })
  for (let i = 0; i < 3; i++) expect(await client.lookup('k')).toMatchObject({ outcome: 'unavailable' })
  expect(asked).toEqual([])
})

test('nobody there: the error is that of the connection', async () => {
  const port = await unusedPort()
  const found = await clientOf(`127.0.0.1:${port}`, { tls: true }).lookup('k')
  if (found.outcome !== 'unavailable') throw new Error(found.outcome)
  expect(found.error.message).toContain(`connect ECONNREFUSED 127.0.0.1:${port}`)
})

test('a handshake that nobody answers ends with the time for connecting, and is begun again', async () => {
  const { port, sockets } = await startSilentServer()
  const client = clientOf(`127.0.0.1:${port}`, {
    ...{ tls: true, connectTimeoutMs: 50, reconnect: { minMs: 1, maxMs: 5 } },
  })
  const unavailable = nextEvent(client, 'unavailable')
  void client.lookup('k')
  expect(await unavailable).toMatchObject({ error: { message: expect.stringContaining('within 50 ms') } })
  await eventually(() => sockets.length).toBeGreaterThan(2)
  await eventually(() => sockets[0]?.destroyed).toBe(true)
})

test('a dial that is given up calls nobody, at whatever moment', async () => {
  const silent = await startSilentServer()
  const { port } = await startTlsServer()
  const tls = await clientTls()
  const calls: string[] = []
  const begin = (to: number, options: object = tls) =>
    dialTcp(
      [{ host: '127.0.0.1', port: to }],
      () => {},
      options,
    )(
      (transport) => {
        calls.push('transport')
        transport.destroy()
      },
      () => calls.push('failure'),
    )
  // While TLS is still being loaded; then in the handshake; then where the dial would have failed.
  begin(silent.port)()
  const giveUp = begin(silent.port)
  await eventually(() => silent.sockets.length).toBe(1)
  giveUp()
  await eventually(() => silent.sockets[0]?.destroyed).toBe(true)
  begin(port, { cert: 'nonsense' })()
  giveUp()
  // What was begun after them all has ended.
  await new Promise<void>((resolve) => {
    dialTcp(
      [{ host: '127.0.0.1', port }],
      () => {},
      tls,
    )(
      (transport) => {
        transport.destroy()
        resolve()
      },
      () => calls.push('failure'),
    )
  })
  expect(calls).toEqual([])
})

test('a client without TLS does not load it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const program = join(folder, 'program.mts')
  writeFileSync(
    program,
    `import { OrmucoCacheClient } from ${JSON.stringify(new URL('../../client/index.ts', import.meta.url).href)}
     const isLoaded = () => process.moduleLoadList.includes('NativeModule tls')
     for (const tls of [false, true]) {
       const cache = new OrmucoCacheClient({ servers: '127.0.0.1:${await unusedPort()}', tls })
       await cache.lookup('k', { timeoutMs: 10_000 })
       cache.destroy()
       process.stdout.write(isLoaded() + '\\n')
     }`,
  )
  expect(await runProgram(program, [])).toMatchObject({ stdout: 'false\ntrue\n' })
})
