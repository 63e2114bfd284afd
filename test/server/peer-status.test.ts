// What PEERS, LAG and STATS tell of another server, in each state that it may be in.

import { describe, expect, test } from 'vitest'
import { wallOfHlc } from '../../server/clock.ts'
import { type PeerStatus, peerStatuses, replicationStats, unstableRecords } from '../../server/peer-status.ts'
import { type Node, World } from '../helpers/replicas.ts'

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

  test('connected and behind: the age of the oldest batch that was not acknowledged', () => {
    const node = new World().add('a')
    const b = node.meet('b')
    b.rewind(0)
    for (let i = 0; i < 3; i++) node.set(`k${i}`, '1')
    node.replicator.pump()
    node.replica.monoMs += 250
    const [status] = peerStatuses(node.replicator, () => HISTORY)
    expect(status).toMatchObject({ lagMs: 250, lagRecords: 3, ackedSeq: 0, tailSeq: 3 })
  })

  test('lost: the age of what it last acknowledged', () => {
    const world = new World()
    const node = world.add('a')
    const b = node.meet('b')
    b.rewind(0)
    node.set('key', '1')
    node.replicator.pump()
    b.ack(1)
    node.replicator.linkDown(node.linkTo('b'))
    world.wallMs += 4000
    node.set('more', '1')
    expect(statusOf(node, 'b')).toMatchObject({ state: 'lost', lagMs: 4000, lagRecords: 1, skewMs: null })
  })

  test('refused, and its clock', () => {
    const node = new World().add('a')
    const { wallMs } = node.replica
    const b = node.meet('b', { wallMs: wallMs - 6000 })
    b.rewind(0)
    b.say(38, 'skew', 'you are ahead')
    expect(statusOf(node, 'b')).toMatchObject({ state: 'refused', skewMs: -6000 })
  })
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
