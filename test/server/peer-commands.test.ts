// PEERS, LAG and FORGET_PEER over the wire, and what STATS tells of replication.

import { describe, expect, test } from 'vitest'
import { Opcode, PeerOpcode, Status } from '../../protocol/messages.ts'
import { Writer } from '../../protocol/writer.ts'
import { HybridClock, hlcOfWall } from '../../server/clock.ts'
import { unstableRecords } from '../../server/peer-status.ts'
import { replicationDefaults } from '../../server/replication/defaults.ts'
import { Channel, type PeerHello, writeHello } from '../../server/replication/peer-messages.ts'
import { Replicator } from '../../server/replication/replicator.ts'
import { HeapStore } from '../../server/store/heap-store.ts'
import { emptyHead, RecordKind } from '../../server/store/store.ts'
import { listener } from '../helpers/authenticating.ts'
import { addressOf } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { decoded, frame } from '../helpers/frames.ts'
import { allLinked, startBereaved, startCluster } from '../helpers/linked-servers.ts'
import { connect, SURROUNDINGS, startServer } from '../helpers/server.ts'

const STRANGER = '00000000000000bb'
const { Ok, Miss, BadOperand, Forbidden } = Status

describe.each(SURROUNDINGS)('alone, $store store, $wire', ({ store, wire }) => {
  test('there is nobody to list and nobody to forget', async () => {
    const connection = await connect(await startServer({ store }), wire)
    expect(await connection.ask(Opcode.Peers, 1)).toEqual([Ok, 1, []])
    expect(await connection.ask(Opcode.Lag, 2)).toEqual([Ok, 2, []])
    expect(await connection.ask(Opcode.ForgetPeer, 3, 'nobody')).toEqual([Miss, 3])
    expect(await connection.ask(Opcode.Stats, 4, 'replication')).toEqual([
      Ok,
      4,
      { replication: expect.objectContaining({ members: 0, links: 0, unstable: 0, horizonMs: null }) },
    ])
  })

  test('operands behind those that are known are ignored', async () => {
    const connection = await connect(await startServer({ store }), wire)
    for (const [opcode, ...operands] of [[Opcode.Peers], [Opcode.Lag], [Opcode.ForgetPeer, 'x']])
      expect((await connection.ask(opcode, 1, ...operands, 'more', [1]))[1]).toBe(1)
  })

  test.each([[[]], [[null]], [[5]], [['']], [['x'.repeat(257)]], [[['x']]]])(
    'a node id that is none: %j',
    async (operands) => {
      const connection = await connect(await startServer({ store }), wire)
      expect(await connection.ask(Opcode.ForgetPeer, 1, ...operands)).toEqual([
        BadOperand,
        1,
        expect.any(String),
      ])
    },
  )
})

test('a peer that is connected, and the same of it in STATS', async () => {
  const [a, b] = await startCluster(['a', 'b'], { region: 'eu' })
  if (a === undefined || b === undefined) throw new Error('two servers')
  const connection = await connect(a)
  await connection.ask(Opcode.Set, 1, 'key', 1, 'value', null, null, null, 1)
  const [, , peers] = await connection.ask(Opcode.Peers, 2)
  expect(peers).toEqual([
    {
      address: addressOf(b),
      region: 'eu',
      nodeId: 'b',
      state: 'connected',
      lagMs: 0,
      lagRecords: 0,
      ackedSeq: 1,
      tailSeq: 1,
      skewMs: expect.any(Number),
      roundTripMs: expect.any(Number),
      receivedBytes: expect.any(Number),
      sentBytes: expect.any(Number),
      reconnects: 0,
      refusals: 0,
      lastError: null,
    },
  ])
  const [, , stats] = await connection.ask(Opcode.Stats, 3, 'peers')
  expect(stats).toEqual({
    peers: [expect.objectContaining({ nodeId: 'b', state: 'connected', ackedSeq: 1 })],
  })
  expect(await connection.ask(Opcode.Lag, 4)).toEqual([
    Ok,
    4,
    [{ nodeId: 'b', state: 'connected', lagMs: 0, lagRecords: 0, ackedSeq: 1, tailSeq: 1 }],
  ])
})

test('a peer that is gone falls behind, and what it does not have is unstable', async () => {
  const server = await startBereaved()
  const connection = await connect(server)
  for (let i = 0; i < 3; i++) await connection.ask(Opcode.Set, 1, `key ${i}`, 1, 'value')
  expect(await connection.ask(Opcode.Lag, 2)).toEqual([
    Ok,
    2,
    [expect.objectContaining({ nodeId: 'b', state: 'lost', lagRecords: 3, ackedSeq: 0, tailSeq: 3 })],
  ])
  expect(server.stats().replication.unstable).toBe(3)
})

/** HELLO of a server that the test plays. */
function helloFrame(): Uint8Array {
  const wallMs = Date.now()
  const hello: PeerHello = {
    versionMin: 1,
    versionMax: 1,
    capabilities: 0,
    cluster: 'default',
    label: 'b',
    region: '',
    boot: STRANGER,
    channel: Channel.Stream,
    wallMs,
    hlc: hlcOfWall(wallMs),
    watermark: 0,
    address: undefined,
    usedBytes: 0,
    news: [],
    removed: [],
  }
  const writer = new Writer(1024)
  writeHello(writer, hello)
  return writer.bytes.subarray(0, writer.at)
}

test('of a peer that is gone without a word, the log says that, and calls it no client', async () => {
  const { logger, said } = listener()
  const peer = await connect(await startServer({ logger }), 'memory')
  peer.send(helloFrame())
  expect((await peer.reply())[0]).toBe(PeerOpcode.Hello)
  peer.transport.end()
  await eventually(() => said('peer lost')).toMatchObject([{ peer: 'b', why: 'the connection was closed' }])
})

test('who is gone when its HELLO is read, as after a stop of this server, was never connected', async () => {
  const { logger, said } = listener()
  const server = await startServer({ logger })
  for (let dial = 0; dial < 5; dial++) {
    const late = await connect(server, 'memory')
    late.send(helloFrame())
    late.transport.end()
    await late.closed
    await eventually(() => server.peers()).toMatchObject([{ state: 'lost', reconnects: 0 }])
  }
  expect(said('peer connected')).toEqual([])
  expect(said('peer lost')).toMatchObject([{ times: 1 }])
  const there = await connect(server, 'memory')
  const ping = [Date.now(), hlcOfWall(Date.now()), 0, Buffer.from(STRANGER, 'hex'), 0, 1, [], [], []]
  there.send(helloFrame(), frame(PeerOpcode.Ping, 0, ...ping))
  await eventually(() => said('peer connected')).toMatchObject([{ peer: 'b', reconnects: 0 }])
  expect(server.peers()).toMatchObject([{ state: 'connected', reconnects: 0 }])
})

describe('FORGET_PEER', () => {
  test('of one that is gone: it is a member no more', async () => {
    const server = await startBereaved()
    const connection = await connect(server)
    await connection.ask(Opcode.Set, 1, 'key', 1, 'value')
    expect(await connection.ask(Opcode.ForgetPeer, 2, 'b')).toEqual([Ok, 2])
    expect(await connection.ask(Opcode.Peers, 3)).toEqual([Ok, 3, []])
    expect(await connection.ask(Opcode.ForgetPeer, 4, 'b')).toEqual([Miss, 4])
    expect(server.stats().replication).toMatchObject({ members: 0, unstable: 0 })
    // There is nobody to wait for any more.
    expect((await connection.ask(Opcode.Set, 5, 'key', 1, 'v', null, null, null, 1, 60_000))[3]).toBe(0)
  })

  test('of one that is connected: everybody hears of it, and nobody lets it in again', async () => {
    const [a, b, c] = await startCluster(['a', 'b', 'c'])
    if (a === undefined || b === undefined || c === undefined) throw new Error('three servers')
    expect(await (await connect(a)).ask(Opcode.ForgetPeer, 1, 'c')).toEqual([Ok, 1])
    await eventually(() => b.peers().map(({ nodeId }) => nodeId)).toEqual(['a'])
    await eventually(() => c.peers().filter(({ state }) => state === 'connected')).toEqual([])
    await eventually(() =>
      c
        .peers()
        .map(({ lastError }) => lastError ?? '')
        .join(),
    ).toMatch(/removed from the cluster/)
    expect(a.peers().map(({ nodeId }) => nodeId)).toEqual(['b'])
    await allLinked([a, b])
  })
})

describe('what is unstable is counted in bounded work', () => {
  function replicatorWith(records: number): Replicator {
    const store = new HeapStore({ entriesMax: 1000, bytesMax: 1 << 20, hashKey: Buffer.alloc(16, 1) })
    const replicator = new Replicator({
      store,
      clock: new HybridClock(),
      boot: '00000000000000aa',
      label: 'a',
      cluster: 'test',
      region: 'test',
      options: replicationDefaults('local', 1 << 20),
      effects: {
        send: () => {},
        unsentBytes: () => 0,
        random: () => 0.5,
        newBoot: () => '00000000000000bb',
        onBoot: () => {},
        onMembers: () => {},
        event: () => {},
      },
    })
    replicator.at(Date.UTC(2030, 0, 1), 1000)
    const { clock, origins, wallMs } = replicator.replica
    for (let i = 0; i < records; i++) {
      const bytes = Buffer.from(`key ${i}`)
      const key = { bytes, at: 0, length: bytes.length }
      const head = { ...emptyHead(), kind: RecordKind.Value, hlc: clock.tick(wallMs), origin: origins.self }
      store.put(store.hash(key), store.find(store.hash(key), key), key, key, head, wallMs)
    }
    return replicator
  }

  test('none without members; all with one that was never reached', () => {
    const replicator = replicatorWith(5)
    expect(unstableRecords(replicator.replica, 5)).toBe(0)
    replicator.expect('elsewhere:1')
    expect(unstableRecords(replicator.replica, 5)).toBe(5)
    expect(unstableRecords(replicator.replica, 4)).toBe(null)
  })

  test('what everybody agreed on is not looked at', () => {
    const replicator = replicatorWith(5)
    const { members } = replicator.replica
    const member = members.admit('b', 0)
    if (member === undefined) throw new Error('there is room')
    members.begin(member, '00000000000000bb', 0)
    member.agreed = 3
    expect(unstableRecords(replicator.replica, 2)).toBe(2)
    expect(unstableRecords(replicator.replica, 1)).toBe(null)
    member.acked = 4
    expect(unstableRecords(replicator.replica, 2)).toBe(1)
  })
})

describe('a client that speaks as a server', () => {
  test.each([33, 34, 40, 48, 57])(
    'message %i before any HELLO is Forbidden, and the connection closes',
    async (opcode) => {
      const server = await startServer()
      const connection = await connect(server)
      expect(await connection.ask(opcode, 0, 'whatever')).toEqual([Forbidden, 0, expect.any(String)])
      expect(await connection.rest()).toHaveLength(0)
    },
  )

  test('HELLO of servers after HELLO of clients too', async () => {
    const connection = await connect(await startServer())
    await connection.ask(Opcode.Hello, 1)
    connection.send(frame(32, 0, 1, 1, 0, 'default', 'b', 'default', Buffer.alloc(8, 1), 0, 0, 0, 0))
    expect(decoded(await connection.payload())).toEqual([Forbidden, 0, expect.any(String)])
    expect(await connection.rest()).toHaveLength(0)
  })

  test('what not even servers say is Malformed, as everything with id 0', async () => {
    const connection = await connect(await startServer())
    expect(await connection.ask(99, 0, 'whatever')).toEqual([Status.Malformed, 0, expect.any(String)])
    expect(await connection.rest()).toHaveLength(0)
  })

  test('with a request id it is an opcode that there is not', async () => {
    const connection = await connect(await startServer())
    expect(await connection.ask(33, 5, 'whatever')).toEqual([Status.UnknownOpcode, 5, expect.any(String)])
    expect(await connection.ask(Opcode.Ping, 6)).toEqual([Ok, 6, Buffer.alloc(0)])
  })
})
