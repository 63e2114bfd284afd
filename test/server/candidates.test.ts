// Connections beyond the limit: clients are told that there are too many, other servers get in.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import type { ServerOptions } from '../../server/options.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import { clientTls, serverFiles } from '../helpers/certificates.ts'
import { addressOf, clientOf } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { frame } from '../helpers/frames.ts'
import { allLinked } from '../helpers/linked-servers.ts'
import { type Connection, connect, startServer } from '../helpers/server.ts'

const EMPTY = Buffer.alloc(0)
const TOO_MANY = [Status.Overloaded, 1, 'too many connections', expect.any(Number)]

/** A server that has as many clients as it takes. */
async function fullServer(options: ServerOptions = {}): Promise<[OrmucoCacheServer, Connection]> {
  const server = await startServer({ maxConnections: 1, network: 'local', nodeId: 'full', ...options })
  const client = await connect(server)
  await client.ask(Opcode.Ping, 1)
  return [server, client]
}

describe('a client beyond the limit', () => {
  test.each([
    ['says HELLO', frame(Opcode.Hello, 1, 1, 1, 0, 'late')],
    ['asks at once', frame(Opcode.Get, 1, 'key')],
    ['writes at once', frame(Opcode.Set, 1, 'key', 0, 'value')],
  ])('that %s is told to come again, and goes', async (_, request) => {
    const [server, client] = await fullServer()
    const late = await connect(server)
    late.send(request, frame(Opcode.Ping, 2))
    expect(await late.reply()).toEqual(TOO_MANY)
    expect(await late.rest()).toHaveLength(0)
    await eventually(() => server.stats().connections).toMatchObject({ clients: 1, refused: 1 })
    expect(await client.ask(Opcode.Get, 2, 'key')).toEqual([Status.Miss, 2])
  })

  test('that says nothing makes way for another one', async () => {
    const [server] = await fullServer({ descriptorsReserved: 2 })
    const silent = await connect(server)
    await eventually(() => server.stats().connections.clients).toBe(2)
    const late = await connect(server)
    expect(await silent.rest()).toHaveLength(0)
    expect(await late.ask(Opcode.Ping, 1)).toEqual([Status.Ok, 1, EMPTY])
  })

  test('that says nothing has its time', async () => {
    const [server] = await fullServer({ authTimeoutMs: 100 })
    const silent = await connect(server)
    expect(await silent.rest()).toHaveLength(0)
    await eventually(() => server.stats().connections).toMatchObject({ clients: 1, refused: 1 })
  })

  test('comes in when another one has gone', async () => {
    const [server, client] = await fullServer()
    const late = clientOf(server, { reconnect: { minMs: 10, maxMs: 20 } })
    const stored = late.store('key', 1)
    await eventually(() => server.stats().connections.refused).toBeGreaterThan(0)
    client.transport.end()
    expect((await stored).outcome).toBe('stored')
  })
})

describe('another server beyond the limit', () => {
  const isLinkedWith = async (full: OrmucoCacheServer, client: Connection, options: ServerOptions) => {
    const other = await startServer({
      network: 'local',
      nodeId: 'other',
      peers: [addressOf(full)],
      ...options,
    })
    await allLinked([full, other])
    expect((await client.ask(Opcode.Set, 2, 'key', 0, 'value'))[0]).toBe(Status.Ok)
    await eventually(() => other.stats().memory.entries).toBe(1)
    // While a connection authenticates it may still come from anybody.
    await eventually(() => full.stats().connections).toMatchObject({ clients: 1, refused: 0 })
    expect(full.stats().connections.peers).toBeGreaterThan(0)
  }

  test('gets in', async () => {
    const [full, client] = await fullServer()
    await isLinkedWith(full, client, {})
  })

  test('gets in with the secret of the cluster', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const clusterSecretFile = join(folder, 'secret')
    writeFileSync(clusterSecretFile, 'a secret of sixteen bytes and more', { mode: 0o600 })
    const [full, client] = await fullServer({ clusterSecretFile })
    await isLinkedWith(full, client, { clusterSecretFile })
  })

  test('gets in over TLS', async () => {
    const options = async (commonName: string) => (await serverFiles({ commonName, units: ['peer'] })).mutual
    const full = await startServer({
      ...(await options('full')),
      ...{ maxConnections: 1, network: 'local', nodeId: 'full' },
    })
    const client = clientOf(full, { tls: await clientTls() })
    await client.store('key', 1)
    const other = await startServer({
      ...(await options('other')),
      ...{ network: 'local', nodeId: 'other', peers: [addressOf(full)] },
    })
    await allLinked([full, other])
    await eventually(() => other.stats().memory.entries).toBe(1)
    await eventually(() => full.stats().connections).toMatchObject({ clients: 1, refused: 0 })
  })

  test('stays out where nothing is reserved', async () => {
    const [full] = await fullServer({ descriptorsReserved: 0 })
    const other = await startServer({ network: 'local', nodeId: 'other', peers: [addressOf(full)] })
    await eventually(() => full.stats().connections.refused).toBeGreaterThan(0)
    expect(other.peers()).not.toContainEqual(expect.objectContaining({ state: 'connected' }))
  })
})
