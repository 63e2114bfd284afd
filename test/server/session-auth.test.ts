// Connections that must say who they are: what they may before, how it succeeds and how it fails, what each role may,
// and what becomes of them when the auth file changes.

import { beforeAll, describe, expect, test } from 'vitest'
import { Capability, Opcode, PeerOpcode, Status } from '../../protocol/messages.ts'
import { SCRAM_MECHANISM, ScramClient } from '../../protocol/scram.ts'
import { OptionError, type ServerOptions } from '../../server/options.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import type { User } from '../../server/users.ts'
import { authenticate, bytesIn, listener, SECRET, secretFileOf } from '../helpers/authenticating.ts'
import { eventually } from '../helpers/eventually.ts'
import { decoded, frame, payloads } from '../helpers/frames.ts'
import { type Connection, connect, startServer, WIRES } from '../helpers/server.ts'
import { authFileOf, passwordOf, someUsers, userOf, writeAuthFile } from '../helpers/users.ts'

const { Ok, Miss, Unauthenticated, Forbidden, Malformed } = Status
const EMPTY = Buffer.alloc(0)
const FAILED = 'authentication failed'

let users: User[]
beforeAll(async () => {
  users = await someUsers()
})

/** A server with an auth file, whose path is told. */
async function guarded(options: ServerOptions = {}): Promise<{ server: OrmucoCacheServer; path: string }> {
  const path = authFileOf(users)
  return { server: await startServer({ authFile: path, ...options }), path }
}

async function expectClosed(connection: Connection): Promise<void> {
  expect(await connection.rest()).toHaveLength(0)
}

describe.each(WIRES)('before it has authenticated, a connection over %s', (wire) => {
  test('learns from HELLO that it must, may PING, and may QUIT', async () => {
    const { server } = await guarded()
    const connection = await connect(server, wire)
    const hello = await connection.ask(Opcode.Hello, 1)
    expect([hello[0], hello[3]]).toEqual([Ok, Capability.Authentication])
    expect(await connection.ask(Opcode.Ping, 2, Buffer.from('p'))).toEqual([Ok, 2, Buffer.from('p')])
    expect(await authenticate(connection, 'walt', undefined, 3)).toEqual([Ok, 4, expect.anything(), 'writer'])
    expect((await connection.ask(Opcode.Hello, 5))[3]).toBe(Capability.None)
    const other = await connect(server, wire)
    expect(await other.ask(Opcode.Quit, 1)).toEqual([Ok, 1])
    await expectClosed(other)
  })

  test('is told once that it must, and closed the second time', async () => {
    const { server } = await guarded()
    const connection = await connect(server, wire)
    const refused = [Unauthenticated, expect.any(Number), 'this connection must authenticate first: see AUTH']
    expect(await connection.ask(Opcode.Get, 1, 'key')).toEqual(refused)
    expect(await connection.ask(Opcode.Ping, 2)).toEqual([Ok, 2, EMPTY])
    expect(await connection.ask(Opcode.Set, 3, 'key', 0, 'v')).toEqual(refused)
    await expectClosed(connection)
    expect(server.stats()).toMatchObject({ memory: { entries: 0 }, commands: { get: 0, set: 0 } })
  })

  test('does not learn which opcodes there are by being closed', async () => {
    const { server } = await guarded()
    const connection = await connect(server, wire)
    for (const opcode of [99, 255, 256, 70_000])
      expect((await connection.ask(opcode, 1))[0]).toBe(Status.UnknownOpcode)
    expect((await connection.ask(Opcode.Ping, 2))[0]).toBe(Ok)
    expect((await connection.ask(Opcode.Hello, 0))[0]).toBe(Malformed)
    await expectClosed(connection)
  })

  test('may say everything at once, and is served from where it has authenticated', async () => {
    const { server } = await guarded()
    const connection = await connect(server, wire)
    const client = new ScramClient('walt', passwordOf('walt'))
    connection.send(frame(Opcode.Hello, 1), frame(Opcode.Auth, 2, SCRAM_MECHANISM, client.first()))
    expect((await connection.reply())[1]).toBe(1)
    const challenge = await connection.reply()
    connection.send(
      frame(Opcode.AuthProof, 3, await client.final(bytesIn(challenge))),
      frame(Opcode.Set, 4, 'key', 0, 'v'),
      frame(Opcode.Get, 5, 'key'),
    )
    expect((await connection.reply()).slice(0, 2)).toEqual([Ok, 3])
    expect((await connection.reply()).slice(0, 2)).toEqual([Ok, 4])
    expect(await connection.reply()).toEqual([Ok, 5, 0, Buffer.from('v')])
  })
})

describe('whoever fails', () => {
  const proofWith = async (connection: Connection, change: (text: string) => string) => {
    const client = new ScramClient('walt', passwordOf('walt'))
    const challenge = await connection.ask(Opcode.Auth, 1, SCRAM_MECHANISM, client.first())
    const proof = Buffer.from(await client.final(bytesIn(challenge))).toString()
    return connection.ask(Opcode.AuthProof, 2, Buffer.from(change(proof)))
  }

  test.each<[string, (connection: Connection) => Promise<unknown[]>, why: RegExp]>([
    ['a wrong password', (c) => authenticate(c, 'walt', 'guessed'), /proof is wrong/],
    ['an unknown name', (c) => authenticate(c, 'mallory'), /proof is wrong/],
    ['the wrong case', (c) => authenticate(c, 'Walt', passwordOf('walt')), /proof is wrong/],
    ['another mechanism', (c) => c.ask(Opcode.Auth, 2, 'PLAIN', Buffer.from('\0walt\0x')), /mechanism/],
    ['no mechanism', (c) => c.ask(Opcode.Auth, 2, '', EMPTY), /mechanism/],
    ['no message of SCRAM', (c) => c.ask(Opcode.Auth, 2, SCRAM_MECHANISM, Buffer.from('hi')), /header/],
    [
      'channel binding',
      (c) => c.ask(Opcode.Auth, 2, SCRAM_MECHANISM, Buffer.from('y,,n=walt,r=abc')),
      /header/,
    ],
    ['a proof without AUTH', (c) => c.ask(Opcode.AuthProof, 2, Buffer.from('c=biws,r=x,p=eA==')), /without/],
    [
      'AUTH twice',
      async (c) => {
        await c.ask(Opcode.Auth, 1, SCRAM_MECHANISM, new ScramClient('walt', 'x').first())
        return c.ask(Opcode.Auth, 2, SCRAM_MECHANISM, new ScramClient('walt', 'x').first())
      },
      /twice/,
    ],
    ['the proof of another exchange', (c) => proofWith(c, (proof) => proof.replace(/r=./, 'r=#')), /nonce/],
    ['no proof', (c) => proofWith(c, (proof) => proof.replace(/p=.*/, 'p=')), /attributes|proof/],
  ])('%s: one and the same answer, and it is closed', async (_, attempt, why) => {
    const { lines, logger } = listener()
    const { server } = await guarded({ logger })
    const connection = await connect(server)
    expect(await attempt(connection)).toEqual([Unauthenticated, 2, FAILED])
    await expectClosed(connection)
    expect(server.stats().connections).toMatchObject({ authFailures: 1 })
    const failures = lines.filter(({ phrase }) => phrase === FAILED)
    expect(failures).toMatchObject([
      {
        level: 'warn',
        remote: expect.stringContaining('127.0.0.1:'),
        why: expect.stringMatching(why),
        times: 1,
      },
    ])
    expect(JSON.stringify(lines)).not.toContain(passwordOf('walt'))
  })

  test('is logged the first, tenth and hundredth time, with a name that cannot spoil a terminal', async () => {
    const { logger, said } = listener()
    const { server } = await guarded({ logger })
    const names = ['\u001b[2J\r\n\u202edesrever', 'x'.repeat(3000)]
    for (let times = 1; times <= 10; times++)
      expect((await authenticate(await connect(server), names[times % 2] ?? '', 'guessed'))[0]).toBe(
        Unauthenticated,
      )
    expect(said(FAILED)).toMatchObject([
      { user: `${'x'.repeat(64)}…`, times: 1 },
      { user: '\\u001b[2J\\u000d\\u000a\\u202edesrever', times: 10 },
    ])
    expect(server.stats().connections.authFailures).toBe(10)
  })

  test('is closed too if it was let in before', async () => {
    const { server } = await guarded()
    const connection = await connect(server)
    await authenticate(connection, 'walt')
    expect(await authenticate(connection, 'adam', 'guessed', 5)).toEqual([Unauthenticated, 6, FAILED])
    await expectClosed(connection)
  })
})

describe('roles', () => {
  test('each may what it may, is told what it may not, and goes on', async () => {
    const { server } = await guarded()
    const connection = await connect(server)
    await authenticate(connection, 'rhea')
    expect(await connection.ask(Opcode.Get, 5, 'key')).toEqual([Miss, 5])
    expect(await connection.ask(Opcode.SetMany, 6, [['key', 0, 'v']])).toEqual([
      Forbidden,
      6,
      'SET_MANY is for the role writer, and this connection has the role reader',
    ])
    expect(await authenticate(connection, 'walt', undefined, 7)).toMatchObject([Ok, 8, {}, 'writer'])
    expect((await connection.ask(Opcode.Set, 9, 'key', 0, 'v'))[0]).toBe(Ok)
    expect(await connection.ask(Opcode.Clear, 10)).toEqual([
      Forbidden,
      10,
      'CLEAR is for the role admin, and this connection has the role writer',
    ])
    await authenticate(connection, 'adam', undefined, 11)
    expect(await connection.ask(Opcode.Clear, 13)).toEqual([Ok, 13])
    expect(await connection.ask(Opcode.Get, 14, 'key')).toEqual([Miss, 14])
    expect(server.stats().connections).toMatchObject({ forbidden: 2, authFailures: 0 })
  })

  test('an admin is no peer: what only servers say is refused, and closes', async () => {
    const { logger, said } = listener()
    const { server } = await guarded({ logger })
    for (const opcode of [PeerOpcode.Hello, PeerOpcode.Batch]) {
      const connection = await connect(server)
      await authenticate(connection, 'adam')
      expect((await connection.ask(opcode, 0)).slice(0, 2)).toEqual([Forbidden, 0])
      await expectClosed(connection)
    }
    expect(server.stats()).toMatchObject({
      connections: { peers: 0, peerMessagesRefused: 2 },
      replication: { members: 0, refusals: 1 },
    })
    expect(said('peer refused')).toMatchObject([{ peer: '127.0.0.1', code: 'role', times: 1 }])
  })

  test('a user with the role peer may what servers may, and nothing that clients ask', async () => {
    const path = authFileOf([...users, await userOf('paul', 'peer')])
    const server = await startServer({ authFile: path })
    const connection = await connect(server)
    expect(await authenticate(connection, 'paul')).toMatchObject([Ok, 2, {}, 'peer'])
    expect((await connection.ask(Opcode.Get, 3, 'key'))[0]).toBe(Forbidden)
    expect((await connection.ask(Opcode.Ping, 4))[0]).toBe(Ok)
  })
})

describe('with a cluster secret and no auth file', () => {
  test('clients need not authenticate, may everything, and are no servers', async () => {
    const server = await startServer({ clusterSecretFile: secretFileOf() })
    const connection = await connect(server)
    expect((await connection.ask(Opcode.Hello, 1))[3]).toBe(Capability.None)
    expect(await connection.ask(Opcode.Clear, 2)).toEqual([Ok, 2])
    const peer = await connect(server)
    expect(await peer.ask(PeerOpcode.Hello, 0)).toEqual([
      Forbidden,
      0,
      'a server must first prove that it knows the cluster secret',
    ])
    await expectClosed(peer)
  })

  test('whoever proves to know it may nothing that clients ask', async () => {
    const server = await startServer({ clusterSecretFile: secretFileOf(`${SECRET}\n`) })
    const connection = await connect(server)
    expect(await authenticate(connection, ':cluster', SECRET)).toMatchObject([Ok, 2, {}, 'peer'])
    expect((await connection.ask(Opcode.Get, 3, 'key'))[0]).toBe(Forbidden)
  })

  test('whoever does not is closed, and counts as a server that was refused', async () => {
    const { logger, said, lines } = listener()
    const server = await startServer({ clusterSecretFile: secretFileOf(), logger })
    const connection = await connect(server)
    expect(await authenticate(connection, ':cluster', 'another secret of theirs')).toEqual([
      Unauthenticated,
      2,
      FAILED,
    ])
    await expectClosed(connection)
    expect(said('peer refused')).toMatchObject([{ peer: '127.0.0.1', code: 'secret' }])
    expect(said(FAILED)).toMatchObject([{ user: ':cluster' }])
    expect(server.stats()).toMatchObject({ connections: { authFailures: 1 }, replication: { refusals: 1 } })
    expect(JSON.stringify([lines, server.stats()])).not.toContain(SECRET)
  })
})

test('without any of it everybody may everything, and AUTH leads nowhere', async () => {
  const server = await startServer()
  const connection = await connect(server)
  expect((await connection.ask(Opcode.Hello, 1))[3]).toBe(Capability.None)
  expect(await connection.ask(Opcode.Clear, 2)).toEqual([Ok, 2])
  expect(await authenticate(connection, 'walt', undefined, 3)).toEqual([Unauthenticated, 4, FAILED])
  await expectClosed(connection)
  const peer = await connect(server)
  expect(await authenticate(peer, ':cluster', SECRET)).toEqual([
    Unauthenticated,
    1,
    'this server has no cluster secret',
  ])
  await expectClosed(peer)
})

describe('when the auth file has changed', () => {
  test('users that are gone or have new keys must go; the others stay, with the role they have now', async () => {
    const { server, path } = await guarded()
    const [rhea, walt, adam, idle] = await Promise.all([1, 2, 3, 4].map(() => connect(server)))
    if (!rhea || !walt || !adam || !idle) throw new Error('no connections')
    await authenticate(rhea, 'rhea')
    await authenticate(walt, 'walt')
    await authenticate(adam, 'adam')
    writeAuthFile(path, [await userOf('walt', 'reader'), await userOf('adam', 'admin', 'a new one')])
    expect((await walt.ask(Opcode.Set, 3, 'key', 0, 'v'))[0]).toBe(Ok)
    server.reload()
    for (const gone of [rhea, adam]) {
      expect(await gone.reply()).toEqual([
        Unauthenticated,
        0,
        'who authenticated this connection was removed, or has new keys',
      ])
      await expectClosed(gone)
    }
    expect((await walt.ask(Opcode.Set, 4, 'key', 0, 'w'))[0]).toBe(Forbidden)
    expect(await walt.ask(Opcode.Get, 5, 'key')).toEqual([Ok, 5, 0, Buffer.from('v')])
    expect((await idle.ask(Opcode.Ping, 1))[0]).toBe(Ok)
    expect(await authenticate(idle, 'adam', 'a new one', 2)).toMatchObject([Ok, 3, {}, 'admin'])
    expect(await authenticate(await connect(server), 'rhea')).toEqual([Unauthenticated, 2, FAILED])
  })

  test('a server whose user is no peer any more must go', async () => {
    const path = authFileOf([await userOf('paul', 'peer')])
    const server = await startServer({ authFile: path })
    const connection = await connect(server)
    await authenticate(connection, 'paul')
    const who = ['default', 'paul', 'elsewhere', Buffer.from('paulpaul'), 0]
    connection.send(frame(PeerOpcode.Hello, 0, 1, 1, 0, ...who, Date.now(), 0, 0, null, 0, [], []))
    expect((await connection.reply())[0]).toBe(PeerOpcode.Hello)
    expect(server.stats().connections.peers).toBe(1)
    writeAuthFile(path, [await userOf('paul', 'reader')])
    server.reload()
    expect(
      payloads(await connection.rest())
        .map(decoded)
        .at(-1)
        ?.slice(0, 2),
    ).toEqual([Unauthenticated, 0])
    expect(server.stats().replication.links).toBe(0)
  })

  test('a proof that was asked for under the former keys is none', async () => {
    const { server, path } = await guarded()
    const connection = await connect(server)
    const client = new ScramClient('walt', passwordOf('walt'))
    const challenge = await connection.ask(Opcode.Auth, 1, SCRAM_MECHANISM, client.first())
    writeAuthFile(path, [await userOf('walt', 'writer', 'a new one')])
    server.reload()
    const proof = await client.final(bytesIn(challenge))
    expect(await connection.ask(Opcode.AuthProof, 2, proof)).toEqual([Unauthenticated, 2, FAILED])
  })

  test('a file that cannot be read changes nothing', async () => {
    const { server, path } = await guarded()
    const connection = await connect(server)
    await authenticate(connection, 'walt')
    writeAuthFile(path, [...users, ...users])
    expect(() => server.reload()).toThrow(OptionError)
    expect(() => server.reload()).toThrow(/authFile: .* line 4: rhea stands in line 1 already/)
    expect((await connection.ask(Opcode.Set, 3, 'key', 0, 'v'))[0]).toBe(Ok)
    await eventually(() => server.stats().connections.unauthenticated).toBe(0)
    expect(await authenticate(await connect(server), 'rhea')).toMatchObject([Ok, 2, {}, 'reader'])
  })
})
