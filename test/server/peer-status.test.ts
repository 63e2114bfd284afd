// What PEERS, LAG and STATS tell of another server, in each state that it may be in.

import { describe, expect, test } from 'vitest'
import { hlcOfWall, wallOfHlc } from '../../server/clock.ts'
import {
  type PeerStatus,
  peerStatuses,
  replicationStats,
  unlinked,
  unstableRecords,
} from '../../server/peer-status.ts'
import { RecordKind } from '../../server/store/store.ts'
import { bootOf, type Node, World } from '../helpers/replicas.ts'

const HISTORY = { reconnects: 2, lastError: 'not a byte', refusals: 3 }

function statusOf(node: Node, label: string): PeerStatus {
  node.at()
  const status = peerStatuses(node.replicator, () => HISTORY).find(({ nodeId }) => nodeId === label)
  if (status === undefined) throw new Error(`nothing is told of ${label}`)
  return status
}

describe('the state of a peer', () => {
  test('never reached', () => {
    const node = new World().add('a')
    node.replicator.expect('host:1')
    node.set('key', '1')
    expect(statusOf(node, 'host:1')).toEqual({
      address: 'host:1',
      region: null,
      nodeId: 'host:1',
      state: 'never',
      lagMs: null,
      lagRecords: 1,
      ackedSeq: 0,
      tailSeq: 1,
      skewMs: null,
      roundTripMs: null,
      receivedBytes: 0,
      sentBytes: 0,
      reconnects: 2,
      refusals: 3,
      lastError: 'not a byte',
    })
  })

  test('connected and up to date', () => {
    const world = new World()
    const [a, b] = [world.add('a'), world.add('b', { region: 'eu' })]
    world.link(a, b)
    a.set('key', '1')
    world.pass(1100)
    expect(statusOf(a, 'b')).toMatchObject({
      region: 'eu',
      state: 'connected',
      lagMs: 0,
      lagRecords: 0,
      ackedSeq: 1,
      tailSeq: 1,
      skewMs: 0,
      roundTripMs: 0,
    })
    expect(statusOf(a, 'b').sentBytes).toBe(statusOf(b, 'a').receivedBytes)
  })

  test('connected and behind: the age of the oldest write that was not acknowledged', () => {
    const world = new World()
    const node = world.add('a')
    const b = node.meet('b')
    b.rewind(0)
    for (let i = 0; i < 3; i++) {
      node.set(`k${i}`, '1')
      node.replicator.pump()
      world.wallMs += 100
    }
    expect(statusOf(node, 'b')).toMatchObject({ lagMs: 300, lagRecords: 3, ackedSeq: 0, tailSeq: 3 })
    b.ack(1)
    expect(statusOf(node, 'b')).toMatchObject({ lagMs: 200, lagRecords: 2, ackedSeq: 1, tailSeq: 3 })
    b.ack(3)
    expect(statusOf(node, 'b')).toMatchObject({ lagMs: 0, lagRecords: 0, ackedSeq: 3, tailSeq: 3 })
  })

  test('a write that was not sent yet is as old as it is, however long nothing was written before', () => {
    const world = new World()
    const node = world.add('a')
    const b = node.meet('b')
    b.rewind(0)
    node.set('key', '1')
    node.replicator.pump()
    b.ack(1)
    world.wallMs += 3_600_000
    node.set('key', '2')
    world.wallMs += 5
    expect(statusOf(node, 'b')).toMatchObject({ state: 'connected', lagMs: 5, lagRecords: 1 })
  })

  test('what others wrote is not waited for, and looked through in bounded work', () => {
    const node = new World().add('a', { entriesMax: 30_000, bytesMax: 1 << 26 })
    const [b, c] = [node.meet('b'), node.meet('c')]
    b.rewind(0)
    node.replicator.linkDown(node.linkTo('b'))
    const theirs = (from: number, to: number) => {
      const keys = Array.from({ length: to - from }, (_, i) => `${from + i}`)
      c.batch(
        from,
        to,
        keys.map((key) => [RecordKind.Value, key, c.hlc(-1), 'x'] as const),
      )
    }
    theirs(0, 10)
    expect(statusOf(node, 'b')).toMatchObject({ state: 'lost', lagMs: 0, lagRecords: 10 })
    theirs(10, 25_000)
    expect(statusOf(node, 'b')).toMatchObject({ state: 'lost', lagMs: null, lagRecords: 25_000 })
  })

  test('unknown as long as it has not said what it has', () => {
    const node = new World().add('a')
    const b = node.meet('b')
    node.set('key', '1')
    expect(statusOf(node, 'b')).toMatchObject({ state: 'connected', lagMs: null, lagRecords: 1 })
    b.rewind(0)
    expect(statusOf(node, 'b').lagMs).toBe(0)
  })

  test('lost: the age of the first write that it did not get', () => {
    const world = new World()
    const node = world.add('a')
    const b = node.meet('b')
    b.rewind(0)
    node.set('key', '1')
    node.replicator.pump()
    b.ack(1)
    node.replicator.linkDown(node.linkTo('b'))
    world.wallMs += 4000
    expect(statusOf(node, 'b')).toMatchObject({ state: 'lost', lagMs: 0, lagRecords: 0, skewMs: null })
    node.set('more', '1')
    world.wallMs += 1500
    expect(statusOf(node, 'b')).toMatchObject({ state: 'lost', lagMs: 1500, lagRecords: 1, skewMs: null })
  })

  test('refused, and its clock', () => {
    const node = new World().add('a')
    const { wallMs } = node.replica
    const b = node.meet('b', { wallMs: wallMs - 6000 })
    b.rewind(0)
    b.say(38, 'skew', 'you are ahead')
    expect(statusOf(node, 'b')).toMatchObject({ state: 'refused', skewMs: -6000 })
  })

  test('refusing what it sends, until a message passes', () => {
    const node = new World().add('a')
    const b = node.meet('b')
    b.rewind(0)
    b.ping([], b.hlc(6000))
    expect(statusOf(node, 'b').state).toBe('refused')
    // Nothing was stamped for it: it says neither yes nor no.
    b.rewind(0)
    expect(statusOf(node, 'b').state).toBe('refused')
    b.ping()
    expect(statusOf(node, 'b').state).toBe('connected')
  })

  test('refusing it from its HELLO on', () => {
    const node = new World().add('a')
    const b = node.meet('b', { hlc: hlcOfWall(node.replica.wallMs + 6000) })
    expect(statusOf(node, 'b').state).toBe('refused')
    b.ping()
    expect(statusOf(node, 'b').state).toBe('connected')
  })
})

test('without a link: who was lost, and who is linked with others and never was with this one', () => {
  const node = new World().add('a')
  node.replicator.expect('listed:1')
  const heardOf = (label: string, boot?: string) => ({ label, address: `${label}:1`, boot, unseenMs: 0 })
  node.meet('b', { news: [heardOf('c', bootOf('c')), heardOf('nobody reached it')] })
  node.meet('d')
  expect(unlinked(node.replicator)).toEqual(['c'])
  node.replicator.linkDown(node.linkTo('d'))
  expect(unlinked(node.replicator)).toEqual(['c', 'd'])
})

describe('replication as a whole', () => {
  test('of a server that has nothing to tell', () => {
    const node = new World().add('a')
    const stats = replicationStats(node.replicator, 0, 0)
    expect(stats).toMatchObject({
      members: 0,
      links: 0,
      horizonMs: null,
      watermarkMs: null,
      gaps: 0,
      unstable: 0,
    })
  })

  test('of one that has', () => {
    const node = new World().add('a')
    node.meet('b')
    node.replicator.expect('host:1')
    node.set('before', '1')
    node.clear()
    for (const key of ['gone', 'forgotten']) node.delete(key)
    node.set('key', '1')
    const hlc = node.see('forgotten')?.hlc ?? 0
    node.retention.drop(node.slotOf('forgotten'))
    node.evict('key')
    const { watermark } = node.replica
    expect(replicationStats(node.replicator, 1, 4)).toMatchObject({
      members: 2,
      links: 1,
      horizonMs: wallOfHlc(hlc),
      watermarkMs: wallOfHlc(watermark),
      gaps: 2,
      ghosts: 1,
      tombstones: 1,
      droppedUnstable: 1,
      unstable: 2,
      refusals: 4,
      awaitingAcks: 0,
    })
  })

  test('what is unstable is counted from where all agreed on, and not at any price', () => {
    const node = new World().add('a')
    node.meet('b')
    for (let i = 0; i < 10; i++) node.set(`k${i}`, '1')
    node.member('b').agreed = 4
    expect(unstableRecords(node.replica, 6)).toBe(6)
    expect(unstableRecords(node.replica, 5)).toBeNull()
  })
})
