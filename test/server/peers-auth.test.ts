// Servers that prove to each other that they belong together: by the secret of the cluster or by certificates. Who does
// not is refused, and both sides know why; a hostile one gets no memory and no work out of whoever dialed it.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as connectSocket, createServer, type Server as NetServer, type Socket } from 'node:net'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { FrameReader } from '../../protocol/frame.ts'
import { Opcode, PeerOpcode, Status } from '../../protocol/messages.ts'
import { ScramServer } from '../../protocol/scram.ts'
import { memoryTransports } from '../../protocol/transport.ts'
import { ClusterSecret } from '../../server/cluster-secret.ts'
import type { ServerOptions } from '../../server/options.ts'
import { PeerConnection } from '../../server/peer-connection.ts'
import { Channel } from '../../server/replication/peer-messages.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import type { User } from '../../server/users.ts'
import { authenticate, type Line, listener, SECRET, secretFileOf } from '../helpers/authenticating.ts'
import { serverFiles } from '../helpers/certificates.ts'
import { addressOf, clientOf } from '../helpers/client.ts'
import { freshPlace, GROUP, loopbackOnly, reasonAgainst } from '../helpers/discovery.ts'
import { eventually } from '../helpers/eventually.ts'
import { FakePeer } from '../helpers/fake-peer.ts'
import { decoded, frame } from '../helpers/frames.ts'
import { allLinked, startCluster } from '../helpers/linked-servers.ts'
import { connect, startServer } from '../helpers/server.ts'
import { authFileOf, passwordOf, someUsers } from '../helpers/users.ts'

const OTHER_SECRET = 'another secret of theirs'

let users: User[]
beforeAll(async () => {
  users = await someUsers()
})

interface Told {
  server: OrmucoCacheServer
  lines: Line[]
  said(phrase: string): Line[]
}

async function told(options: ServerOptions): Promise<Told> {
  const { lines, logger, said } = listener()
  return { server: await startServer({ network: 'local', logger, ...options }), lines, said }
}

/** A server, and another one that dials it. */
async function twoOf(accepting: ServerOptions, dialing: ServerOptions): Promise<[Told, Told]> {
  const one = await told({ nodeId: 'a', ...accepting })
  const two = await told({ nodeId: 'b', ...dialing, peers: [addressOf(one.server)] })
  return [one, two]
}

async function expectReplicated(from: OrmucoCacheServer, to: OrmucoCacheServer, key: string): Promise<void> {
  const connection = await connect(from)
  expect((await connection.ask(Opcode.Set, 1, key, 0, key)).slice(0, 2)).toEqual([Status.Ok, 1])
  const other = await connect(to)
  await eventually(() => other.ask(Opcode.Get, 2, key)).toEqual([Status.Ok, 2, 0, Buffer.from(key)])
}

describe('servers with the same secret', () => {
  test('replicate both ways, by stream and by rounds', async () => {
    const [a, b, c] = await startCluster(['a', 'b', 'c'], { clusterSecretFile: secretFileOf() })
    if (!a || !b || !c) throw new Error('three servers are needed')
    await expectReplicated(a, c, 'from a')
    await expectReplicated(c, a, 'from c')
    await expectReplicated(b, c, 'from b')
    for (const { replication, connections } of [a, b, c].map((server) => server.stats())) {
      expect(replication).toMatchObject({ links: 2, refusals: 0 })
      expect(connections).toMatchObject({ authFailures: 0, unauthenticated: 0 })
    }
    // Each connection of the three links, stream and bulk, has authenticated.
    const sum = (counts: (number | undefined)[]) =>
      counts.reduce<number>((total, count) => total + (count ?? 0), 0)
    const stats = () => [a, b, c].map((server) => server.stats())
    await eventually(() => sum(stats().map(({ connections }) => connections.peers))).toBe(6)
    expect(sum(stats().map(({ commands }) => commands['authProof']))).toBeGreaterThanOrEqual(6)
  })

  test('fill a newcomer by rounds over a bulk connection that has authenticated', async () => {
    const secret = { clusterSecretFile: secretFileOf() }
    const first = await startServer({ nodeId: 'a', network: 'local', ...secret })
    const connection = await connect(first)
    for (let id = 1; id <= 100; id++) await connection.ask(Opcode.Set, id, `key ${id}`, 0, 'v')
    const second = await startServer({ nodeId: 'b', network: 'local', ...secret, peers: [addressOf(first)] })
    await eventually(() => second.stats().memory.entries).toBe(100)
    await eventually(() => first.stats().commands['authProof']).toBe(2)
    await eventually(() => first.stats().replication.fullRounds).toBe(1)
  })

  test('and an auth file as well: clients by their users, servers by the secret', async () => {
    const options = { clusterSecretFile: secretFileOf(), authFile: authFileOf(users) }
    const [a, b] = await startCluster(['a', 'b'], options)
    if (!a || !b) throw new Error('two servers are needed')
    const as = (name: string) => ({ username: name, password: passwordOf(name) })
    await clientOf(a, as('walt')).store('key', 1)
    const reader = clientOf(b, as('rhea'))
    await eventually(() => reader.retrieve('key')).toBe(1)
  })

  test('the final newline of the file does not count', async () => {
    const [one, two] = await twoOf(
      { clusterSecretFile: secretFileOf(SECRET) },
      { clusterSecretFile: secretFileOf(`${SECRET}\n`) },
    )
    await allLinked([one.server, two.server])
  })
})

describe('servers that do not belong together', () => {
  const secret = () => ({ clusterSecretFile: secretFileOf() })

  test.each<[string, () => ServerOptions, () => ServerOptions, Partial<Line>, Partial<Line>]>([
    [
      'two secrets',
      secret,
      () => ({ clusterSecretFile: secretFileOf(OTHER_SECRET) }),
      { code: 'secret', why: 'the proof is wrong' },
      { code: 'secret', why: 'authentication failed' },
    ],
    [
      'a secret, and a dialer without',
      secret,
      () => ({}),
      { code: 'role', why: 'a server must first prove that it knows the cluster secret' },
      { code: 'role', why: 'a server must first prove that it knows the cluster secret' },
    ],
    [
      'no secret, and a dialer with one',
      () => ({}),
      secret,
      { code: 'secret', why: 'this server has no cluster secret' },
      { code: 'secret', why: 'this server has no cluster secret' },
    ],
    [
      'an auth file and no secret, and a dialer with one',
      () => ({ authFile: authFileOf(users) }),
      secret,
      { code: 'secret', why: 'this server has no cluster secret' },
      { code: 'secret', why: 'this server has no cluster secret' },
    ],
    [
      'an auth file alone',
      () => ({ authFile: authFileOf(users) }),
      () => ({ authFile: authFileOf(users) }),
      {
        code: 'role',
        why: 'this server has neither a cluster secret nor certificates: it takes no other server',
      },
      {
        code: 'role',
        why: 'this server has neither a cluster secret nor certificates: it takes no other server',
      },
    ],
  ])('%s: both say why, and nothing goes over', async (_, accepting, dialing, atAcceptor, atDialer) => {
    const [one, two] = await twoOf(accepting(), dialing())
    await eventually(() => one.said('peer refused')).toMatchObject([
      { level: 'warn', peer: '127.0.0.1', times: 1, ...atAcceptor },
    ])
    await eventually(() => two.said('refused by peer')).toMatchObject([
      { level: 'warn', remote: addressOf(one.server), times: 1, ...atDialer },
    ])
    for (const { server, lines } of [one, two]) {
      const { replication, connections } = server.stats()
      expect(replication).toMatchObject({ links: 0, applied: 0 })
      expect(replication.refusals).toBeGreaterThanOrEqual(1)
      expect(connections.peers).toBe(0)
      expect(JSON.stringify([lines, server.stats()])).not.toMatch(/secret of (these|theirs)/)
    }
    expect(two.server.stats().peers[0]).toMatchObject({ state: 'never', refusals: expect.any(Number) })
  })

  test('are told of under the name that they are listed by', async () => {
    const one = await told({ nodeId: 'a', ...secret() })
    const listed = `localhost:${one.server.address?.port}`
    const clusterSecretFile = secretFileOf(OTHER_SECRET)
    const two = await told({ nodeId: 'b', clusterSecretFile, peers: [listed] })
    await eventually(() => two.server.peers()).toMatchObject([
      { nodeId: listed, state: 'never', lastError: 'authentication failed' },
    ])
    expect(two.server.peers()[0]?.refusals).toBeGreaterThan(0)
    expect(two.said('refused by peer')).toMatchObject([{ peer: listed, remote: addressOf(one.server) }])
  })

  test('one that is refused again and again is logged once, and counted each time', async () => {
    const { server, said } = await told({ clusterSecretFile: secretFileOf() })
    for (let times = 1; times <= 10; times++)
      await authenticate(await connect(server), ':cluster', OTHER_SECRET)
    expect(said('peer refused').map(({ times }) => times)).toEqual([1, 10])
    expect(server.stats()).toMatchObject({
      replication: { refusals: 10, members: 0 },
      connections: { authFailures: 10 },
    })
  })

  test('a client that is an admin is no server', async () => {
    const { server } = await told({ clusterSecretFile: secretFileOf(), authFile: authFileOf(users) })
    const connection = await connect(server)
    await authenticate(connection, 'adam')
    expect((await connection.ask(PeerOpcode.Hello, 0, 1, 1, 0, 'default', 'evil')).slice(0, 2)).toEqual([
      Status.Forbidden,
      0,
    ])
    expect(await connection.rest()).toHaveLength(0)
    expect(server.stats()).toMatchObject({ replication: { members: 0, applied: 0 } })
  })
})

describe('another secret in the file', () => {
  test.each([
    ['accepted', 0],
    ['dialed', 1],
  ])('ends links that were proved by the former, of who %s first, until all have it', async (_, first) => {
    const files = [secretFileOf(), secretFileOf()]
    const pair = await twoOf({ clusterSecretFile: files[0] ?? '' }, { clusterSecretFile: files[1] ?? '' })
    const servers = pair.map(({ server }) => server)
    await allLinked(servers)
    for (const index of [first, 1 - first]) {
      writeFileSync(files[index] ?? '', OTHER_SECRET)
      servers[index]?.reload()
      if (index !== first) continue
      await eventually(() => servers.map((server) => server.stats().replication.links)).toEqual([0, 0])
      await eventually(() => pair[1].said('refused by peer')).not.toEqual([])
      // Whoever dialed at first, and whoever dials now where the other said to listen.
      for (const server of servers)
        await eventually(() => server.peers()).toMatchObject([
          { state: 'lost', lastError: expect.stringMatching(/authentication failed|proof is wrong/) },
        ])
    }
    await allLinked(servers)
    await expectReplicated(pair[0].server, pair[1].server, 'under the new one')
  })

  test('the same in the file again ends nothing', async () => {
    const files = secretFileOf()
    const [one, two] = await twoOf({ clusterSecretFile: files }, { clusterSecretFile: files })
    await allLinked([one.server, two.server])
    writeFileSync(files, `${SECRET}\n`)
    for (const { server } of [one, two]) server.reload()
    await expectReplicated(two.server, one.server, 'after that')
    for (const { said } of [one, two]) expect(said('peer lost')).toEqual([])
  })
})

describe('servers with certificates', () => {
  const mutual = async (commonName: string, unit: string) => ({
    ...(await serverFiles({ commonName, units: [unit] })).mutual,
    tlsRequireClientCert: true,
  })

  test('of the role peer, that name their node ids, replicate', async () => {
    const [one, two] = await twoOf(await mutual('a', 'peer'), await mutual('b', 'peer'))
    await allLinked([one.server, two.server])
    expect(two.server.stats().commands['auth']).toBe(0)
  })

  test.each([
    ['of another role', 'b', 'admin', 'role', /does not have the role peer/],
    ['of another name', 'c', 'peer', 'certificate', /b is not named by its certificate/],
  ])('%s are refused', async (_, commonName, unit, code, why) => {
    const [one, two] = await twoOf(await mutual('a', 'peer'), await mutual(commonName, unit))
    await eventually(() => one.said('peer refused')).toMatchObject([
      { code, why: expect.stringMatching(why) },
    ])
    await eventually(() => two.said('refused by peer')).toMatchObject([
      { code, why: expect.stringMatching(why) },
    ])
    expect(one.server.stats().replication.links).toBe(0)
  })
})

test('a server that was dialed must be named by its certificate too', async () => {
  const files = async (commonName: string) => (await serverFiles({ commonName, units: ['peer'] })).mutual
  const [one, two] = await twoOf(
    { ...(await files('somebody else')), tlsRequireClientCert: true },
    { ...(await files('b')), tlsRequireClientCert: true },
  )
  const refused = { code: 'certificate', why: 'a is not named by its certificate' }
  await eventually(() => two.said('peer refused')).toMatchObject([{ peer: 'a', ...refused }])
  await eventually(() => one.said('refused by peer')).toMatchObject([refused])
  expect(two.server.stats().replication.links).toBe(0)
})

test('a server that was dialed must have the role peer too', async () => {
  const files = async (commonName: string, unit: string) =>
    (await serverFiles({ commonName, units: [unit] })).mutual
  const authFile = authFileOf(users)
  const [one, two] = await twoOf(
    { ...(await files('a', 'reader')), authFile },
    { ...(await files('b', 'peer')), authFile },
  )
  const refused = { code: 'role', why: 'its certificate does not have the role peer (OU)' }
  await eventually(() => two.said('peer refused')).toContainEqual(
    expect.objectContaining({ peer: 'a', ...refused }),
  )
  await eventually(() => one.said('refused by peer')).toContainEqual(expect.objectContaining(refused))
  expect(two.server.stats().replication.links).toBe(0)
})

test('who takes no other server does not give itself to one either', async () => {
  const [one, two] = await twoOf({}, { authFile: authFileOf(users) })
  const refused = { code: 'certificate', why: 'it has no certificate' }
  // Each dials the other, and tries again.
  await eventually(() => two.said('peer refused')).toContainEqual(
    expect.objectContaining({ peer: 'a', ...refused }),
  )
  await eventually(() => one.said('refused by peer')).toContainEqual(expect.objectContaining(refused))
  expect(one.server.stats().replication).toMatchObject({ links: 0, applied: 0 })
})

/** A server that is none: says what `answer` says to each request of whoever dials it. */
async function impostor(answer: (request: unknown[], socket: Socket) => void): Promise<string> {
  const net = createServer((socket) => {
    socket.on('error', () => {})
    onTestFinished(() => void socket.destroy())
    const frames = new FrameReader(4096, (bytes, at, end) => {
      answer(decoded(Buffer.from(bytes.subarray(at, end))), socket)
      return true
    })
    socket.on('data', (chunk) => frames.push(chunk))
  })
  return listening(net)
}

async function listening(net: NetServer): Promise<string> {
  onTestFinished(() => void net.close())
  net.listen(0, '127.0.0.1')
  await once(net, 'listening')
  const address = net.address()
  return `127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
}

describe('whoever dials a server that is none', () => {
  test('tells it nothing but a name, and refuses what does not prove itself', async () => {
    const requests: unknown[][] = []
    const stranger = await new ClusterSecret(OTHER_SECRET).deriveKeys()
    const scram = new ScramServer(() => stranger)
    const address = await impostor((request, socket) => {
      requests.push(request)
      const [opcode, id, , message] = request
      if (opcode === Opcode.Auth && message instanceof Uint8Array)
        socket.write(frame(Status.Ok, id, scram.first(message)))
      // Whatever the proof.
      else socket.write(frame(Status.Ok, id, Buffer.from(`v=${Buffer.alloc(32).toString('base64')}`), 'peer'))
    })
    const { server, said, lines } = await told({ clusterSecretFile: secretFileOf(), peers: [address] })
    await eventually(() => said('peer refused')).toMatchObject([
      { code: 'secret', why: expect.stringMatching(/did not prove that it knows/) },
    ])
    expect(requests.map(([opcode]) => opcode)).toEqual([Opcode.Auth, Opcode.AuthProof])
    expect(server.stats().replication).toMatchObject({ links: 0, refusals: 1 })
    expect(JSON.stringify([lines, requests.map(String)])).not.toContain(SECRET)
  })

  test('is not convinced of anybody by its own proof, handed back to it', async () => {
    let evil: Promise<FakePeer> | undefined
    const started: Promise<Told> = impostor(async ([opcode, id, ...operands], socket) => {
      const { server } = await started
      evil ??= FakePeer.dial(server.address?.port ?? 0, { label: 'evil' })
      const back = await evil
      back.request(Number(opcode), Number(id), ...operands)
      await eventually(() => back.heard.length).toBe(opcode === Opcode.Auth ? 1 : 2)
      if (opcode === Opcode.Auth) socket.write(frame(Status.Ok, id, back.heard[0]?.[2]))
      else {
        back.hello()
        socket.destroy()
      }
    }).then((address) => told({ clusterSecretFile: secretFileOf(), peers: [address] }))
    const { server, said } = await started
    const why = 'it has proved nothing: the proof was made by this server'
    await eventually(() => said('peer refused')).toContainEqual(
      expect.objectContaining({ peer: 'evil', code: 'secret', why }),
    )
    const back = await evil
    // It is logged here before it is heard there.
    await back?.closed()
    expect(back?.heard.map(([opcode]) => opcode)).toEqual([Status.Ok, Status.Ok, PeerOpcode.Bye])
    expect(server.stats().replication.links).toBe(0)
  })

  test('and reaches itself under another name drops that, with a secret too', async () => {
    const passage = createServer(async (socket) => {
      const { server } = await started
      const onward = connectSocket({ host: '127.0.0.1', port: server.address?.port ?? 0 })
      for (const end of [socket, onward]) {
        end.on('error', () => {})
        onTestFinished(() => void end.destroy())
      }
      socket.pipe(onward).pipe(socket)
    })
    const address = await listening(passage)
    const started = told({ clusterSecretFile: secretFileOf(), peers: [address] })
    const { server, said } = await started
    await eventually(() => said('own address skipped')).toMatchObject([{ address }])
    expect([said('peer refused'), said('refused by peer'), server.peers()]).toEqual([[], [], []])
  })

  test.each<[string, Buffer, why: RegExp]>([
    ['a frame longer than 4096 bytes', Buffer.of(0, 0, 16, 1), /4097 bytes is over .* limit of 4096/],
    ['a frame of 4 GB', Buffer.of(255, 255, 255, 255), /over this connection's limit of 4096/],
    ['HELLO before it has proved itself', frame(PeerOpcode.Hello, 0, 1, 1), /message 32 before/],
    ['too much work', frame(Status.Ok, 1, Buffer.from('r=x,s=eHh4,i=2000000000')), /./],
    ['an answer that nobody asked for', frame(Status.Ok, 0), /./],
    ['rubbish', Buffer.from('GET / HTTP/1.1\r\n\r\n'), /over this connection's limit/],
  ])('goes away at %s', async (_, answer, why) => {
    const closed: string[] = []
    const [near, far] = memoryTransports()
    far.open({ onChunk: () => void far.write(answer), onDrain() {}, onClose() {} })
    const events = {
      onReady() {},
      onHello() {},
      onMessage() {},
      onClosed: (connection: PeerConnection) => void closed.push(connection.why),
      now: () => 0,
    }
    const secret = new ClusterSecret(SECRET)
    new PeerConnection(near, Channel.Stream, '10.0.0.1:11142', events, { secret }).open()
    await eventually(() => closed).toEqual([expect.stringMatching(why)])
  })
})

const reason = await reasonAgainst(GROUP, loopbackOnly)
if (reason !== undefined) console.log(`skipped: servers that find each other; ${reason}`)

describe.skipIf(reason !== undefined)('servers that look for each other on the LAN', () => {
  test('with a secret dial only who proves to know it', async () => {
    const { port, cluster } = await freshPlace()
    const place = { multicast: `${GROUP}:${port}`, cluster }
    const [one, two, stranger] = [
      await told({ nodeId: 'a', clusterSecretFile: secretFileOf(), ...place }),
      await told({ nodeId: 'b', clusterSecretFile: secretFileOf(`${SECRET}\n`), ...place }),
      await told({ nodeId: 'c', clusterSecretFile: secretFileOf(OTHER_SECRET), ...place }),
    ]
    await allLinked([one.server, two.server])
    for (const { said } of [one, two, stranger])
      await eventually(() => said('announcement ignored')).toContainEqual(
        expect.objectContaining({ level: 'warn', why: 'unproven' }),
      )
    for (const { said } of [one, two, stranger])
      expect([said('refused by peer'), said('peer refused')]).toEqual([[], []])
  })
})
