// Rules 2, 7, 9 and 12 where a record comes in: what is applied, what is declined, and that nothing older stays behind.

import { describe, expect, test } from 'vitest'
import { PeerOpcode } from '../../../protocol/messages.ts'
import { NO_SLOT, RecordKind } from '../../../server/store/store.ts'
import { bootOf, type Node, STORES, type Stranger, World, wiredRecord } from '../../helpers/replicas.ts'

const { Value, Ghost, Tombstone } = RecordKind

/** What the last batch was acknowledged with: the sequence number and the places of what was declined. */
function answered(stranger: Stranger): unknown[] {
  return stranger.take(PeerOpcode.Ack).map(([, seq, , , declined]) => [seq, declined])
}

describe.each(STORES)('%s store', (store) => {
  function setUp(
    more: {
      entriesMax?: number
      bytesMax?: number
      valueBytesMax?: number
      options?: { markerBytesMax: number }
    } = {},
  ): {
    world: World
    node: Node
    b: Stranger
  } {
    const world = new World()
    const node = world.add('m', { store, ...more })
    return { world, node, b: node.meet('b') }
  }

  describe('apply (rule 2)', () => {
    test('the newer version wins, whichever comes first', () => {
      const { node, b } = setUp()
      const hlc = b.hlc()
      b.batch(0, 2, [
        [Value, 'up', hlc, 'old'],
        [Value, 'down', hlc + 1, 'new'],
      ])
      b.batch(2, 4, [
        [Value, 'up', hlc + 2, 'new'],
        [Value, 'down', hlc, 'old'],
      ])
      expect([node.get('up'), node.get('down')]).toEqual(['new', 'new'])
      expect(answered(b)).toEqual([
        [2, []],
        [4, []],
      ])
    })

    test('of one clock reading the greater boot wins on both servers', () => {
      const { node, b } = setUp()
      node.set('key', 'mine')
      const { hlc } = node.see('key') ?? { hlc: 0 }
      b.batch(0, 1, [[Value, 'key', hlc, 'theirs']])
      expect(node.get('key')).toBe('mine')
      const z = node.meet('z')
      z.batch(0, 1, [[Value, 'key', hlc, 'theirs']])
      expect(node.get('key')).toBe('theirs')
    })

    test('a tombstone deletes and stays; what is older does not come back', () => {
      const { node, b } = setUp()
      node.set('key', 'value')
      b.batch(0, 1, [[Tombstone, 'key', b.hlc(5), '']])
      expect(node.get('key')).toBeUndefined()
      b.batch(1, 2, [[Value, 'key', b.hlc(4), 'older']])
      expect(node.see('key')).toMatchObject({ kind: Tombstone, hlc: b.hlc(5) })
    })

    test('what comes twice changes nothing', () => {
      const { node, b } = setUp()
      const record = [Value, 'key', b.hlc(), 'value'] as const
      b.batch(0, 1, [record])
      const before = node.see('key')
      b.batch(1, 2, [record])
      expect(node.see('key')).toEqual(before)
      expect(node.counters).toMatchObject({ applied: 1, older: 1 })
    })

    test('a ghost for a key of which nothing is held does not count as held, and keeps off what is older', () => {
      const { node, b } = setUp()
      const c = node.meet('c')
      b.batch(0, 2, [
        [Value, 'key', b.hlc(), 'x'],
        [Ghost, 'nothing', b.hlc(5), ''],
      ])
      expect(node.contents()).toEqual(['key 0 x', 'nothing 1 '])
      expect(answered(b)).toEqual([[2, [1]]])
      c.batch(0, 1, [[Value, 'nothing', b.hlc(4), 'older']])
      expect(node.get('nothing')).toBeUndefined()
      c.batch(1, 2, [[Value, 'nothing', b.hlc(6), 'newer']])
      expect(node.get('nothing')).toBe('newer')
    })

    test('beyond half of what markers may take, ghosts of others are not imported, nor is anything as old', () => {
      const { node, b } = setUp({ options: { markerBytesMax: 600 } })
      const ghosts = Array.from({ length: 20 }, (_, i) => [Ghost, `g${i}`, b.hlc(5), ''] as const)
      b.batch(0, 20, [...ghosts])
      expect(node.store.markerBytes).toBeLessThan(600)
      expect(node.store.stats().ghosts).toBeGreaterThan(0)
      // Those behind the first one are from below its version.
      expect(node.counters).toMatchObject({
        ghostsNotImported: 1,
        declinedBelowHorizon: 19 - node.store.stats().ghosts,
      })
      // That costs no member anything.
      expect([node.replica.horizon, node.member('b').gap]).toEqual([0, 0])
      b.batch(20, 22, [
        [Value, 'other', b.hlc(4), 'older'],
        [Value, 'other too', b.hlc(6), 'newer'],
      ])
      expect([node.see('other'), node.get('other too')]).toEqual([undefined, 'newer'])
    })

    test('a ghost that is newer than what is held takes its place: the old value is not served', () => {
      const { node, b } = setUp()
      node.set('key', 'old')
      b.batch(0, 1, [[Ghost, 'key', b.hlc(5), '']])
      expect(node.see('key')).toMatchObject({ kind: Ghost, hlc: b.hlc(5), boot: bootOf('b') })
      expect(node.get('key')).toBeUndefined()
    })

    test('a value does not fill its own ghost again', () => {
      const { node, b } = setUp()
      const record = [Value, 'key', b.hlc(), 'x'] as const
      b.batch(0, 1, [record])
      node.store.strip(node.slotOf('key'), Ghost, 0)
      b.batch(1, 2, [record])
      expect(node.see('key')?.kind).toBe(Ghost)
    })

    test('a value beyond the limit of this server is not taken, and keeps off what is older', () => {
      const { node, b } = setUp({ valueBytesMax: 100 })
      const c = node.meet('c')
      node.set('held', 'old')
      b.batch(0, 3, [
        [Value, 'held', b.hlc(5), 'x'.repeat(101)],
        [Value, 'new', b.hlc(5), 'x'.repeat(101)],
        [Value, 'at the limit', b.hlc(5), 'x'.repeat(100)],
      ])
      // It does not count for write concern.
      expect(answered(b)).toEqual([[3, [0, 1]]])
      c.batch(0, 1, [[Value, 'new', b.hlc(4), 'older']])
      expect(['held', 'new', 'at the limit'].map((key) => node.get(key)?.length)).toEqual([
        undefined,
        undefined,
        100,
      ])
      expect(node.see('held')).toMatchObject({ kind: Ghost, hlc: b.hlc(5) })
      expect(node.counters.declinedForRoom).toBe(2)
    })

    test('the clock learns: what is written next is above all that came', () => {
      const { node, b } = setUp()
      b.batch(0, 1, [[Value, 'key', b.hlc(4000), 'x']])
      node.set('own', '1')
      expect(node.see('own')?.hlc).toBeGreaterThan(b.hlc(4000))
    })

    test('expiry is taken as it was stamped, and never recomputed', () => {
      const { world, node, b } = setUp()
      const at = node.replica.wallMs + 500
      world.wallMs += 100
      node.at()
      b.batch(0, 1, [[Value, 'key', b.hlc(), 'x', [at, 500]]])
      expect(node.see('key')?.expiresAtMs).toBe(at)
      world.pass(450)
      expect(node.get('key')).toBeUndefined()
    })
  })

  describe('horizon (rule 7)', () => {
    test.each([
      ['value', Value],
      ['tombstone', Tombstone],
      ['ghost', Ghost],
    ] as const)('a %s from at or below it, for a key of which nothing is held, is declined', (_, kind) => {
      const { node, b } = setUp()
      const hlc = b.hlc()
      node.replica.horizon = hlc
      const content = kind === Value ? 'x' : ''
      b.batch(0, 1, [[kind, 'key', hlc, content]])
      expect(node.contents()).toEqual([])
      expect(node.counters.declinedBelowHorizon).toBe(1)
      expect(answered(b)).toEqual([[1, [0]]])
      if (kind === Ghost) return
      b.batch(1, 2, [[kind, 'key', hlc + 1, content]])
      expect(node.see('key')?.hlc).toBe(hlc + 1)
    })

    test.each([
      ['ghost', Ghost],
      ['tombstone', Tombstone],
    ] as const)('a %s of something older does not let a value in from below it', (_, kind) => {
      const { node, b } = setUp()
      b.batch(0, 1, [[kind, 'key', b.hlc(2), '']])
      if (kind === Ghost) expect(node.see('key')?.kind).toBe(Ghost)
      node.replica.horizon = b.hlc(9)
      b.take(PeerOpcode.Ack)
      b.batch(1, 2, [[Value, 'key', b.hlc(5), 'forgotten']])
      expect(node.get('key')).toBeUndefined()
      expect(node.see('key')).toMatchObject({ kind: Ghost, hlc: b.hlc(5) })
      expect(answered(b)).toEqual([[2, [0]]])
      b.batch(2, 3, [[Value, 'key', b.hlc(10), 'new']])
      expect(node.get('key')).toBe('new')
    })

    test('a newer version of a key that is held is applied from below it', () => {
      const { node, b } = setUp()
      b.batch(0, 1, [[Value, 'key', b.hlc(), 'old']])
      node.replica.horizon = b.hlc(9)
      b.batch(1, 2, [[Value, 'key', b.hlc(5), 'new']])
      expect(node.get('key')).toBe('new')
    })

    test('begins at 0', () => {
      const { node, b } = setUp()
      b.batch(0, 1, [[Value, 'key', 1, 'ancient']])
      expect(node.get('key')).toBe('ancient')
    })

    test('what it will rise to when the full round under way ends is minded already', () => {
      const { node, b } = setUp()
      node.replica.comingHorizon = b.hlc(5)
      b.batch(0, 1, [[Value, 'key', b.hlc(5), 'x']])
      expect(node.see('key')).toBeUndefined()
    })
  })

  describe('flush (rule 9)', () => {
    test('what is stamped at or below the watermark is not taken, and counts as known', () => {
      const { node, b } = setUp()
      node.clear()
      const { watermark } = node.replica
      b.batch(0, 2, [
        [Value, 'gone', watermark, 'x'],
        [Value, 'new', watermark + 1, 'x'],
      ])
      expect(node.contents()).toEqual(['new 0 x'])
      expect(answered(b)).toEqual([[2, []]])
      expect(node.counters.flushedOnArrival).toBe(1)
    })
  })

  describe('a value that cannot be stored', () => {
    test('leaves no older version behind: its own version stays as a ghost', () => {
      const { node, b } = setUp({ bytesMax: store === 'arena' ? 4 << 20 : 1 << 16 })
      node.set('key', 'old')
      const tooLarge = 'x'.repeat(8 << 20)
      b.batch(0, 1, [[Value, 'key', b.hlc(5), tooLarge]])
      expect(node.get('key')).toBeUndefined()
      expect(node.see('key')).toMatchObject({ kind: Ghost, hlc: b.hlc(5) })
      expect(answered(b)).toEqual([[1, [0]]])
      expect(node.counters.declinedForRoom).toBe(1)
    })

    test('of a key of which nothing is held leaves its version, and is declined', () => {
      const { node, b } = setUp({ bytesMax: store === 'arena' ? 4 << 20 : 1 << 16 })
      b.batch(0, 1, [[Value, 'key', b.hlc(5), 'x'.repeat(8 << 20)]])
      expect(node.contents()).toEqual(['key 1 '])
      expect(answered(b)).toEqual([[1, [0]]])
    })

    test('nor its ghost: the older value goes all the same, and nothing as old is taken back', () => {
      const { node, b } = setUp()
      node.set('key', 'old')
      const put = node.store.put
      node.store.put = () => NO_SLOT
      b.batch(0, 1, [[Value, 'key', b.hlc(5), 'new']])
      node.store.put = put
      expect(node.see('key')).toBeUndefined()
      expect(node.replica.horizon).toBe(b.hlc(5))
      b.batch(1, 2, [[Value, 'key', b.hlc(4), 'older']])
      expect(node.see('key')).toBeUndefined()
    })
  })

  describe('what a round brings', () => {
    /** As the answerer of a round that the stranger began. */
    function roundOf(full: boolean, gap: number, stranger: Stranger): void {
      stranger.rewind(0)
      const nonce = Buffer.alloc(16, 3)
      stranger.say(PeerOpcode.RoundOpen, 1, full, gap, stranger.hlc(), 0, nonce, 0, Buffer.alloc(0))
      stranger.node.replicator.work(1000)
    }

    test('does not push anything out: declined for room, unlike the stream', () => {
      const { node, b } = setUp({ entriesMax: 2 })
      node.set('one', '1')
      node.set('two', '2')
      roundOf(true, 0, b)
      const more = [wiredRecord([Value, 'more', b.hlc(), 'x'])]
      b.say(PeerOpcode.RoundRecords, 1, b.hlc(), 0, more)
      expect(node.get('more')).toBeUndefined()
      expect(node.see('more')?.kind).toBe(Ghost)
      expect([node.get('one'), node.get('two')]).toEqual(['1', '2'])
      expect(node.counters.declinedForRoom).toBe(1)
      b.batch(0, 1, [[Value, 'more', b.hlc(5), 'x']])
      expect(node.get('more')).toBe('x')
      expect([node.get('one'), node.get('two')]).toContain(undefined)
    })

    test('but a newer version of what is held is taken, and tombstones are', () => {
      const { node, b } = setUp({ entriesMax: 1 })
      node.set('one', 'old')
      roundOf(true, 0, b)
      b.say(PeerOpcode.RoundRecords, 1, b.hlc(), 0, [
        wiredRecord([Value, 'one', b.hlc(5), 'new']),
        wiredRecord([Tombstone, 'gone', b.hlc(5), '']),
      ])
      expect(node.get('one')).toBe('new')
      expect(node.see('gone')?.kind).toBe(Tombstone)
    })

    test('in a full round comes from below the horizon that the round will impose; others must not', () => {
      const { node, b } = setUp()
      const c = node.meet('c')
      roundOf(true, b.hlc(100), b)
      expect(node.replica.comingHorizon).toBe(b.hlc(100))
      c.batch(0, 1, [[Value, 'stale', c.hlc(50), 'x']])
      b.say(PeerOpcode.RoundRecords, 1, b.hlc(), 0, [wiredRecord([Value, 'held', b.hlc(50), 'x'])])
      expect(node.contents()).toEqual(['held 0 x'])
    })

    test('names its origin, which may be anybody', () => {
      const { node, b } = setUp()
      roundOf(true, 0, b)
      const record = wiredRecord([Value, 'key', b.hlc(), 'x', [0, 0], bootOf('far')])
      b.say(PeerOpcode.RoundRecords, 1, b.hlc(), 0, [record])
      expect(node.see('key')?.boot).toBe(bootOf('far'))
    })

    test('of no round that is under way is not taken', () => {
      const { node, b } = setUp()
      b.say(PeerOpcode.RoundRecords, 9, b.hlc(), 0, [wiredRecord([Value, 'key', b.hlc(), 'x'])])
      expect(node.contents()).toEqual([])
    })
  })
})
