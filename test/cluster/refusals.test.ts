// Who is not let in, and what is not taken: refused with a reason that both sides hear, logged the first time and then
// every tenth, hundredth …, counted in STATS, and nothing of it applied.

import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { Opcode, PeerOpcode, Status } from '../../protocol/messages.ts'
import { HLC_TICKS_PER_MS, hlcOfWall } from '../../server/clock.ts'
import { BULK, FakePeer, type FakeRecord } from '../helpers/fake-peer.ts'
import { type Member, startCluster } from '../helpers/processes.ts'
import { tell, until } from '../helpers/waiting.ts'

const HOUR_MS = 3_600_000
const UTF8 = 1

async function started(options = {}): Promise<Member> {
  const cluster = await startCluster({ size: 1, options })
  return cluster.at(0)
}

async function logs(member: Member, phrase: string, code: string): Promise<string> {
  const [line] = await until(
    `${member.label} logs "${phrase}" ${code}`,
    () => member.logged(phrase, { code }),
    (lines) => lines.length > 0,
  )
  expect(line?.level).toBe('warn')
  return String(line?.['why'])
}

function record(key: string, hlc: number): FakeRecord {
  return [0, key, hlc, UTF8, 0, 0, Buffer.from('from a peer')]
}

test('a server of another cluster: both say so, and neither takes anything', async () => {
  const cluster = await startCluster({ size: 2, started: 0 })
  const [blue, green] = [cluster.at(0), cluster.at(1)]
  blue.options = { ...blue.options, cluster: 'blue' }
  green.options = { ...green.options, cluster: 'green' }
  await Promise.all([blue.start(), green.start()])
  await blue.client.store('blue', 1)
  await green.client.store('green', 1)
  for (const member of cluster.members) {
    expect(await logs(member, 'peer refused', 'cluster')).toMatch(/of cluster (blue|green), node-. of/)
    expect(await logs(member, 'refused by peer', 'cluster')).toMatch(/of cluster (blue|green), node-. of/)
    const { replication } = await member.stats()
    expect(replication.refusals).toBeGreaterThanOrEqual(2)
    expect(replication.links).toBe(0)
    expect(replication.applied).toBe(0)
  }
  expect(await blue.keys()).toEqual(['blue'])
  expect(await green.keys()).toEqual(['green'])
})

test('a second live server with the same node id: it is told, and the first one stays', {
  timeout: 60_000,
}, async () => {
  const cluster = await startCluster({ size: 3, started: 2 })
  const [one, two, third] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed([one, two])
  const { bootId } = (await two.stats()).server
  third.options = { ...third.options, nodeId: two.label, peers: [one.address] }
  await third.start()
  expect(await logs(one, 'peer refused', 'label')).toContain(`a live server with the node id ${two.label}`)
  expect(await logs(third, 'refused by peer', 'label')).toContain('each needs its own')
  await third.client.store('from the second of that name', 1)
  expect((await one.peer(two.label))?.state).toBe('connected')
  expect((await two.stats()).server.bootId).toBe(bootId)
  await two.client.store('from the first of that name', 1)
  await until(
    'the first one replicates',
    () => one.keys(),
    (keys) => keys.join() === 'from the first of that name',
  )
  // It comes in when the first one is gone.
  await two.kill()
  await until(
    'the second one is let in',
    () => one.keys(),
    (keys) => keys.includes('from the second of that name'),
  )
})

test("one's own address, under whatever name, is dropped with one line", { timeout: 60_000 }, async () => {
  const cluster = await startCluster({ size: 2, started: 0 })
  const everybody = cluster.members.flatMap(({ port }) => [`127.0.0.1:${port}`, `localhost:${port}`])
  for (const member of cluster.members) {
    member.options = { ...member.options, peers: everybody }
    await member.start()
  }
  await cluster.meshed()
  for (const member of cluster.members) {
    const others = cluster.members.filter((other) => other !== member).map(({ label }) => label)
    await until(
      `${member.label} knows the other, and nobody else`,
      async () => (await member.stats()).peers.map(({ nodeId }) => nodeId),
      (labels) => labels.join() === others.join(),
    )
    const own = [`127.0.0.1:${member.port}`, `localhost:${member.port}`]
    expect(
      member
        .logged('own address skipped')
        .map((line) => line['address'])
        .sort(),
    ).toEqual(own)
    expect(member.logged('peer refused')).toEqual([])
    expect(member.logged('refused by peer')).toEqual([])
    expect((await member.stats()).replication.refusals).toBe(0)
  }
})

test('no protocol version in common: told which, logged once and then every tenth time', async () => {
  const server = await started()
  const times = 25
  for (let dial = 0; dial < times; dial++) {
    const peer = await FakePeer.dial(server.port, { label: 'later' })
    peer.hello({ versions: [2, 3] })
    const [, , code, text] = await peer.hears(PeerOpcode.Bye)
    expect(code).toBe('version')
    expect(text).toContain('speaks protocol versions 1 to 1, later 2 to 3')
    peer.end()
  }
  expect(server.logged('peer refused', { peer: 'later' }).map((line) => line['times'])).toEqual([1, 10])
  expect((await server.stats()).replication).toMatchObject({ refusals: times, members: 0 })
})

test('whoever calls itself something new each time fills neither the log nor the memory', async () => {
  const server = await started()
  const times = 400
  for (let dial = 0; dial < times; dial++) {
    const peer = await FakePeer.dial(server.port, { label: `stranger-${dial}` })
    peer.hello({ cluster: 'elsewhere' })
    await peer.hears(PeerOpcode.Bye)
    peer.end()
  }
  const lines = server.logged('peer refused').length
  tell('strangers', { refused: times, 'lines in the log': lines })
  expect(lines).toBeLessThan(times)
  expect((await server.stats()).replication.refusals).toBe(times)
  // Nor what is remembered of the servers that matter.
  const known = await FakePeer.dial(server.port, { label: 'known' })
  known.hello({ hlc: hlcOfWall(Date.now() + HOUR_MS) })
  await known.hears(PeerOpcode.Refused)
  expect(await server.peer('known')).toMatchObject({
    refusals: 1,
    lastError: expect.stringContaining('ahead'),
  })
})

test('a stamp, a record or a flush from the far future is refused whole, and nothing is poisoned', async () => {
  const server = await started()
  await server.client.store('local', 'kept')
  const peer = await FakePeer.dial(server.port)
  peer.hello()
  await peer.hears(PeerOpcode.Rewind)
  const now = hlcOfWall(Date.now())
  const far = now + HOUR_MS * HLC_TICKS_PER_MS
  peer.batch(0, 5, far, [record('stamped ahead', now)])
  peer.batch(0, 5, now, [record('good company', now), record('ahead', far)])
  peer.batch(0, 5, now, [record('with a flush', now)], far)
  const refusals = await peer.hearsAll(3, PeerOpcode.Refused)
  for (const [, , code, text] of refusals) {
    expect(code).toBe('skew')
    expect(text).toMatch(/fake is 3[56]\d{5} ms ahead of the clock of node-0, which takes at most 5000/)
  }
  expect(peer.heard.filter(([opcode]) => opcode === PeerOpcode.Ack)).toEqual([])
  expect(await server.keys()).toEqual(['local'])
  expect(server.logged('clock skew', { peer: 'fake' }).map((line) => line['times'])).toEqual([1])
  const stats = await server.stats()
  expect(stats.replication).toMatchObject({ refusedForSkew: 3, refusals: 3, applied: 0, watermarkMs: null })
  expect(stats.peers[0]).toMatchObject({ nodeId: 'fake', refusals: 3, lastError: refusals[2]?.[3] })

  // The cursor has not moved: what is right is taken from the same place. And nothing local is stamped ahead.
  peer.batch(0, 5, now, [record('in time', now)])
  await peer.hears(PeerOpcode.Ack, (ack) => ack[3] === 5)
  expect(await server.client.retrieve('in time')).toBe('from a peer')
  await peer.follow()
  await server.client.store('stamped after all that', 1)
  const [, , , , , hlc, , records] = await peer.hears(PeerOpcode.Batch, (batch) =>
    JSON.stringify(batch[7]).includes('stamped after all that'),
  )
  expect(hlc).toBeLessThan(hlcOfWall(Date.now()) + 1000 * HLC_TICKS_PER_MS)
  expect(records).not.toEqual([])
})

test('a HELLO from the far future: linked, but nothing is taken until its clock is right', async () => {
  const server = await started()
  const peer = await FakePeer.dial(server.port)
  peer.hello({ hlc: hlcOfWall(Date.now() + HOUR_MS) })
  const [, , code] = await peer.hears(PeerOpcode.Refused)
  expect(code).toBe('skew')
  await server.client.store('local', 1)
  expect(peer.heard.filter(([opcode]) => opcode === PeerOpcode.Rewind)).toEqual([])
  expect((await server.stats()).replication.refusedForSkew).toBe(1)
})

test('what only servers say, from a client: an error with a reason, counted, nothing applied', async () => {
  const server = await started()
  const now = hlcOfWall(Date.now())
  // Without any HELLO, and after the HELLO of a client: not even a server's HELLO then.
  const silent = await FakePeer.dial(server.port)
  silent.batch(0, 1, now, [record('smuggled', now)])
  const [, , first] = await silent.hears(Status.Forbidden)
  expect(first).toContain('is for servers')
  const client = await FakePeer.dial(server.port)
  client.request(Opcode.Hello, 1, 1, 1, 0, 'client')
  await client.hears(Status.Ok)
  client.hello()
  await client.hears(Status.Forbidden)
  for (const peer of [silent, client]) await peer.closed()
  const stats = await server.stats()
  expect(stats.connections).toMatchObject({ peers: 0, peerMessagesRefused: 2 })
  expect(stats.replication).toMatchObject({ members: 0, applied: 0 })
  expect(await server.keys()).toEqual([])
})

test('messages that cannot be read end their connection, and nothing else', async () => {
  const server = await started()
  await server.client.store('local', 1)
  const sane = await FakePeer.dial(server.port, { label: 'sane' })
  sane.hello()
  await sane.hears(PeerOpcode.Rewind)
  const now = hlcOfWall(Date.now())
  const nonsense: readonly ((peer: FakePeer) => void)[] = [
    (peer) => peer.say(PeerOpcode.Batch),
    (peer) => peer.say(PeerOpcode.Batch, peer.boot, 0, 1, now, 0, [[0, 'too few fields', now]]),
    (peer) => peer.batch(0, 1, now, [[7, 'no such kind', now, 0, 0, 0, Buffer.alloc(0)]]),
    (peer) => peer.batch(0, 1, now, [[0, 'k'.repeat(2000), now, 0, 0, 0, Buffer.alloc(0)]]),
    (peer) => peer.batch(0, 1, now, [[1, 'a tombstone with a value', now, 0, 0, 0, Buffer.from('?')]]),
    (peer) => peer.batch(0, 1, now, [[0, 'late', now, 0, 2 ** 50, 0, Buffer.from('?')]]),
    (peer) => peer.say(PeerOpcode.Ack, randomBytes(3), 0, now, 0, []),
    (peer) => peer.say(PeerOpcode.Ping, 'now'),
    (peer) => peer.hello(),
    (peer) => peer.say(99, 1),
  ]
  for (const [index, speak] of nonsense.entries()) {
    const peer = await FakePeer.dial(server.port, { label: `fool-${index}` })
    peer.hello()
    await peer.hears(PeerOpcode.Rewind)
    speak(peer)
    await peer.closed()
    const lines = await until(
      `a line about ${peer.label}`,
      () => server.logged('peer lost', { peer: peer.label }),
      ({ length }) => length > 0,
    )
    expect(lines.map((line) => line['why'])).toEqual([expect.stringContaining('not understood: ')])
  }
  // The bulk connection alone, where it came on that one.
  const bulk = await FakePeer.dial(server.port, { label: 'sane', boot: sane.boot })
  bulk.hello({ channel: BULK })
  await bulk.hears(PeerOpcode.Hello)
  bulk.say(PeerOpcode.RoundOpen, 1, true, 0, now, 0, Buffer.alloc(16), 31, Buffer.alloc(0))
  await bulk.closed()
  expect(await server.keys()).toEqual(['local'])
  expect((await server.stats()).replication.applied).toBe(0)
  expect((await server.peer('sane'))?.state).toBe('connected')
})
