// Rules 5 and 6: what leaves a marker, how long it stays, and what it costs when it has to go.

import { describe, expect, test } from 'vitest'
import { PeerOpcode } from '../../../protocol/messages.ts'
import { RecordKind } from '../../../server/store/store.ts'
import { type Node, STORES, type Stranger, World } from '../../helpers/replicas.ts'

const GRACE_MS = 1000
/** 64 ticks of 100 ms. */
const RETENTION_MS = 6400
const ROOMY = { graceMs: GRACE_MS, markerRetentionMs: 1e9 }

function acknowledge(node: Node, ...strangers: Stranger[]): void {
  node.replicator.pump()
  for (const stranger of strangers) {
    if (stranger.link?.isStarted === false) stranger.rewind(0)
    stranger.ack(node.store.tailSeq)
  }
}

function hlcOf(node: Node, key: string): number {
  const seen = node.see(key)
  if (seen === undefined) throw new Error(`there is no ${key}`)
  return seen.hlc
}

describe.each(STORES)('%s store', (store) => {
  describe('forgetting (rule 5)', () => {
    test('alone a delete leaves no trace; with a member it leaves a tombstone, also of what is not there', () => {
      const node = new World().add('a', { store })
      node.set('key', '1')
      node.delete('key')
      expect(node.contents()).toEqual([])
      node.replicator.expect('somewhere:1')
      node.delete('key')
      expect(node.see('key')?.kind).toBe(RecordKind.Tombstone)
    })

    test('a value that is evicted while somebody may not know it leaves a ghost of its version', () => {
      const node = new World().add('a', { store, entriesMax: 1 })
      node.meet('b')
      node.set('one', '1')
      const hlc = hlcOf(node, 'one')
      node.set('two', '2')
      expect(node.see('one')).toMatchObject({ kind: RecordKind.Ghost, hlc, value: '' })
      expect(node.get('one')).toBeUndefined()
    })

    test('a value that expires while somebody may not know it leaves a ghost too', () => {
      const world = new World()
      const node = world.add('a', { store, options: ROOMY })
      node.meet('b')
      node.set('key', '1', 1000)
      world.pass(3000)
      expect(node.see('key')?.kind).toBe(RecordKind.Ghost)
    })

    test('what all have known for the time of grace leaves without a trace, and costs nobody anything', () => {
      const world = new World()
      const node = world.add('a', { store, entriesMax: 1, options: ROOMY })
      const b = node.meet('b')
      node.set('one', '1')
      node.delete('gone')
      acknowledge(node, b)
      world.pass(GRACE_MS / 2)
      expect(node.see('gone')?.kind).toBe(RecordKind.Tombstone)
      world.pass(GRACE_MS)
      expect(node.see('gone')).toBeUndefined()
      node.set('two', '2')
      expect(node.see('one')).toBeUndefined()
      expect(node.replica.horizon).toBe(0)
      expect(node.member('b').gap).toBe(0)
    })

    test('what came just now from the only other member has not been known for that time, although its origin knows it', () => {
      const world = new World()
      const node = world.add('a', { store, entriesMax: 1, options: ROOMY })
      const b = node.meet('b')
      world.pass(GRACE_MS * 2)
      b.batch(0, 1, [[RecordKind.Tombstone, 'gone', b.hlc(), '']])
      world.pass(GRACE_MS / 4)
      expect(node.see('gone')?.kind).toBe(RecordKind.Tombstone)
      world.pass(GRACE_MS)
      expect(node.see('gone')).toBeUndefined()
    })

    test('while a member is away markers stay, however long that is within the retention', () => {
      const world = new World()
      const node = world.add('a', { store, options: ROOMY })
      const b = node.meet('b')
      node.meet('away')
      node.delete('gone')
      acknowledge(node, b)
      world.pass(20 * GRACE_MS)
      expect(node.see('gone')?.kind).toBe(RecordKind.Tombstone)
    })
  })

  describe('forced forgetting (rule 6)', () => {
    test('by age raises the horizon, and the gap only for those that may not know', () => {
      const world = new World()
      const node = world.add('a', { store, options: { graceMs: GRACE_MS, markerRetentionMs: RETENTION_MS } })
      const b = node.meet('b')
      node.meet('away')
      node.delete('gone')
      const hlc = hlcOf(node, 'gone')
      acknowledge(node, b)
      world.pass(RETENTION_MS - 100)
      expect(node.see('gone')).toBeDefined()
      world.pass(400)
      expect(node.see('gone')).toBeUndefined()
      expect(node.replica.horizon).toBe(hlc)
      expect(node.member('away').gap).toBe(hlc)
      expect(node.member('b').gap).toBe(0)
      expect(node.counters.droppedUnstable).toBe(1)
    })

    test('over the budget: the oldest go first, and no more than must', () => {
      const node = new World().add('a', { store, options: { markerBytesMax: 300 } })
      node.meet('away')
      for (let i = 0; i < 3; i++) node.delete(`k${i}`)
      const perMarker = node.store.markerBytes / 3
      const fitting = Math.floor(300 / perMarker)
      for (let i = 3; i < 10; i++) node.delete(`k${i}`)
      const hlc = hlcOf(node, `k${9 - fitting}`)
      node.replicator.pump()
      expect(node.store.markerBytes).toBeLessThanOrEqual(300)
      expect(node.contents()).toEqual(Array.from({ length: fitting }, (_, i) => `k${10 - fitting + i} 2 `))
      expect(node.replica.horizon).toBe(hlc)
      expect(node.member('away').gap).toBe(hlc)
    })

    test('over the budget those that all have known for long go first, and cost nothing', () => {
      const world = new World()
      const node = world.add('a', { store, options: { ...ROOMY, markerBytesMax: 450 } })
      const b = node.meet('b')
      node.set('unstable', '1')
      node.evict('unstable')
      for (let i = 0; i < 4; i++) node.delete(`k${i}`)
      // b has what came after, as rounds may show it, but not the oldest marker of all.
      expect(node.store.oldestMarker()).toBe(node.slotOf('unstable'))
      b.batch(
        0,
        4,
        [0, 1, 2, 3].map((i) => [RecordKind.Tombstone, `k${i}`, b.hlc(1) + i, ''] as const),
      )
      world.pass(GRACE_MS / 2)
      node.replicator.tick(0)
      for (let left = 2 * GRACE_MS; left > 0; left -= 50) {
        world.monoMs += 50
        node.at()
        node.replicator.tick(0)
      }
      for (let i = 4; i < 8; i++) node.delete(`k${i}`)
      node.replicator.pump()
      expect(node.store.markerBytes).toBeLessThanOrEqual(450)
      expect(node.see('unstable')?.kind).toBe(RecordKind.Ghost)
      expect(node.replica.horizon).toBe(0)
      expect(node.counters.droppedUnstable).toBe(0)
    })

    test('near the budget members are asked at once what they know', () => {
      const world = new World()
      const node = world.add('a', { store, options: { ...ROOMY, markerBytesMax: 400 } })
      const b = node.meet('b')
      world.pass(200)
      b.take(PeerOpcode.Ping)
      world.pass(200)
      expect(b.take(PeerOpcode.Ping)).toEqual([])
      for (let i = 0; i < 5; i++) node.delete(`k${i}`)
      world.pass(100)
      expect(b.take(PeerOpcode.Ping).length).toBeGreaterThan(0)
    })

    test('every marker is looked at, however few at a time', () => {
      const world = new World()
      const node = world.add('a', { store, options: ROOMY })
      const b = node.meet('b')
      for (let i = 0; i < 20; i++) node.delete(`k${i}`)
      node.meet('away')
      node.set('fence', '1')
      acknowledge(node, b)
      // The first ten are known to whoever is away too.
      node.member('away').agreed = 10
      for (let left = 3 * GRACE_MS; left > 0; left -= 50) {
        world.monoMs += 50
        node.at()
        node.replicator.tick(1)
      }
      expect(node.store.stats().tombstones).toBe(10)
      expect(node.see('k9')).toBeUndefined()
      expect(node.see('k10')).toBeDefined()
    })
  })

  describe('the age of a marker', () => {
    test('is counted in ticks modulo 256: it is late by a tick at most, also across the wrap', () => {
      for (const tick of [0, 100, 191, 192, 230, 255, 256, 511]) {
        const world = new World()
        world.monoMs = (1024 + tick) * 100
        const node = world.add('a', {
          store,
          options: { graceMs: GRACE_MS, markerRetentionMs: RETENTION_MS },
        })
        node.meet('away')
        node.delete('gone')
        expect(node.see('gone')?.flags).toBe(tick % 256)
        world.pass(RETENTION_MS)
        expect(node.see('gone'), `tick ${tick}`).toBeDefined()
        world.pass(150)
        expect(node.see('gone'), `tick ${tick}`).toBeUndefined()
      }
    })

    test('begins when it becomes one: a value written long ago leaves a young ghost', () => {
      const world = new World()
      const node = world.add('a', { store, options: { graceMs: GRACE_MS, markerRetentionMs: RETENTION_MS } })
      node.meet('away')
      node.set('key', '1')
      world.pass(2 * RETENTION_MS)
      node.evict('key')
      world.pass(RETENTION_MS / 2)
      expect(node.see('key')?.kind).toBe(RecordKind.Ghost)
      world.pass(RETENTION_MS)
      expect(node.see('key')).toBeUndefined()
    })
  })

  describe('a purge (rule 8)', () => {
    test('of what somebody else may not know leaves its version, so that nobody but this server pays', () => {
      const node = new World().add('a', { store })
      node.meet('b')
      node.set('key', '1')
      const hlc = hlcOf(node, 'key')
      node.retention.purge(node.slotOf('key'))
      expect(node.see('key')).toMatchObject({ kind: RecordKind.Ghost, hlc })
      expect(node.replica.horizon).toBe(0)
    })

    test('of what all know leaves nothing; of a marker does nothing', () => {
      const node = new World().add('a', { store })
      const b = node.meet('b')
      node.set('key', '1')
      node.delete('gone')
      acknowledge(node, b)
      node.retention.purge(node.slotOf('key'))
      node.retention.purge(node.slotOf('gone'))
      expect(node.see('key')).toBeUndefined()
      expect(node.see('gone')?.kind).toBe(RecordKind.Tombstone)
      expect(node.counters.purged).toBe(1)
    })
  })
})
