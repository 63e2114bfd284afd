// Rules 1, 3, 9 and 12 on the stream, and the check of stamps: what is sent and from where on, what is refused as a
// whole, and who counts for a write.

import { describe, expect, test } from 'vitest'
import { PeerOpcode } from '../../../protocol/messages.ts'
import { RecordKind } from '../../../server/store/store.ts'
import { bootOf, bytesOf, type Node, STORES, type Stranger, World } from '../../helpers/replicas.ts'

const { Value } = RecordKind
const SKEW_MS = 5000
const RETRY_MS = 5000

interface Batch {
  from: number
  to: number
  keys: string[]
}

/** The batches that were sent: places and keys. */
function batches(stranger: Stranger): Batch[] {
  return stranger.take(PeerOpcode.Batch).map(([, from, to, , , records]) => ({
    from: Number(from),
    to: Number(to),
    keys: Array.isArray(records) ? records.map((record: unknown[]) => String(record[1])) : [],
  }))
}

/** From where on the server asked for the stream. */
function asked(stranger: Stranger): unknown[] {
  return stranger.take(PeerOpcode.Rewind).map(([boot, seq]) => {
    expect(boot).toEqual(bytesOf(stranger.boot))
    return seq
  })
}

function started(node: Node, label: string): Stranger {
  const stranger = node.meet(label)
  stranger.rewind(0)
  return stranger
}

describe.each(STORES)('%s store', (store) => {
  describe('what is sent (rule 1)', () => {
    test('each key once, at its latest place, with its latest value', () => {
      const node = new World().add('a', { store })
      const b = started(node, 'b')
      for (let i = 0; i < 1000; i++) node.set('hot', `${i}`)
      node.set('cold', '1')
      node.delete('hot')
      node.replicator.pump()
      expect(batches(b)).toEqual([{ from: 0, to: 1002, keys: ['cold', 'hot'] }])
    })

    test('its own writes alone: what came from a peer is not passed on', () => {
      const node = new World().add('a', { store })
      const [b, c] = [started(node, 'b'), started(node, 'c')]
      b.batch(0, 1, [[Value, 'theirs', b.hlc(), 'x']])
      node.set('mine', '1')
      node.replicator.pump()
      for (const stranger of [b, c]) expect(batches(stranger).map(({ keys }) => keys)).toEqual([['mine']])
    })

    test('in pieces of 64 KiB, each beginning where the former ended', () => {
      const node = new World().add('a', { store })
      const b = started(node, 'b')
      for (let i = 0; i < 20; i++) node.set(`k${i}`, 'x'.repeat(10_000))
      node.replicator.pump()
      const sent = batches(b)
      expect(sent.map(({ keys }) => keys.length)).toEqual([7, 7, 6])
      expect(sent.map(({ from }) => from)).toEqual([0, ...sent.slice(0, -1).map(({ to }) => to)])
    })

    test('no more than the window at a time; an acknowledgement opens it again', () => {
      const node = new World().add('a', { store, options: { windowBytes: 100_000 } })
      const b = started(node, 'b')
      for (let i = 0; i < 40; i++) node.set(`k${i}`, 'x'.repeat(10_000))
      expect(node.replicator.pump()).toBe(false)
      const first = batches(b)
      expect(first.map(({ keys }) => keys.length)).toEqual([7, 7])
      b.ack(7)
      expect(batches(b)).toHaveLength(1)
      for (let left = 10; left > 0; left--) b.ack(node.linkTo('b').sentSeq)
      expect(node.member('b').acked).toBe(40)
      expect(node.linkTo('b').isCaughtUp(node.store.tailSeq)).toBe(true)
    })

    test('nothing before the other end has said from where on', () => {
      const node = new World().add('a', { store })
      const b = node.meet('b')
      node.set('key', '1')
      node.replicator.pump()
      expect(batches(b)).toEqual([])
      b.rewind(0)
      expect(batches(b)).toHaveLength(1)
    })
  })

  describe('the cursor (rule 3)', () => {
    test('resumes where it was for the same boot, and from 0 for another', () => {
      const node = new World().add('a', { store })
      const b = node.meet('b')
      expect(asked(b)).toEqual([0])
      b.batch(0, 7, [[Value, 'key', b.hlc(), 'x']])
      node.member('b').agreed = 5
      node.replicator.linkDown(node.linkTo('b'))
      const again = node.meet('b')
      expect(asked(again)).toEqual([7])
      expect(node.member('b').agreed).toBe(5)
      node.replicator.linkDown(node.linkTo('b'))
      const other = node.meet('b', { boot: bootOf('b2') })
      expect(asked(other)).toEqual([0])
      expect(node.member('b').agreed).toBe(0)
    })

    test('is taken from whoever names this boot; a request for a former boot is not for this server', () => {
      const node = new World().add('a', { store })
      for (let i = 0; i < 3; i++) node.set(`k${i}`, '1')
      const b = node.meet('b')
      b.rewind(2, bootOf('before'))
      expect(batches(b)).toEqual([])
      b.rewind(2)
      expect(batches(b)).toEqual([{ from: 2, to: 3, keys: ['k2'] }])
      expect(node.member('b').acked).toBe(2)
    })

    test('beyond the tail is not believed', () => {
      const node = new World().add('a', { store })
      const b = node.meet('b')
      b.rewind(1)
      expect(node.member('b').acked).toBe(0)
      expect(node.linkTo('b').isStarted).toBe(false)
    })

    test('a batch that does not begin there is not applied: one REWIND, whatever else comes before it takes effect', () => {
      const node = new World().add('a', { store })
      const b = node.meet('b')
      b.batch(0, 3, [[Value, 'one', b.hlc(), 'x']])
      asked(b)
      b.batch(4, 5, [[Value, 'hole', b.hlc(), 'x']])
      b.batch(5, 6, [[Value, 'hole', b.hlc(), 'x']])
      expect(asked(b)).toEqual([3])
      b.batch(3, 5, [[Value, 'two', b.hlc(), 'x']])
      b.batch(3, 5, [[Value, 'late', b.hlc(), 'x']])
      expect(asked(b)).toEqual([5])
      expect(node.contents().map((line) => line.split(' ')[0])).toEqual(['one', 'two'])
    })

    test('a batch of a former boot changes nothing', () => {
      const node = new World().add('a', { store })
      const b = node.meet('b')
      const record = [Value, 'key', b.hlc(), 1, 0, 0, Buffer.from('x')]
      b.say(PeerOpcode.Batch, bytesOf(bootOf('b0')), 0, 1, b.hlc(), 0, [record])
      expect(node.contents()).toEqual([])
      expect(b.take(PeerOpcode.Ack)).toEqual([])
    })

    test('what was acknowledged outlasts the link; what was on its way is sent again', () => {
      const world = new World()
      const [a, b] = [world.add('a', { store }), world.add('b', { store })]
      world.link(a, b)
      a.set('one', '1')
      world.settle()
      a.set('two', '2')
      a.replicator.pump()
      world.cut(a, b)
      world.link(a, b)
      world.settle()
      expect(b.get('two')).toBe('2')
      expect(b.counters).toMatchObject({ applied: 2, older: 0 })
    })
  })

  describe('a stamp too far ahead (the skew check)', () => {
    function setUp() {
      const world = new World()
      const node = world.add('a', { store })
      node.set('own', '1')
      const b = started(node, 'b')
      node.replicator.pump()
      node.deliver()
      b.heard.length = 0
      const { member } = node.linkTo('b')
      /** All that a message might move. */
      const state = () => ({
        clock: node.clock.last,
        watermark: node.replica.watermark,
        received: member.receivedSeq,
        acked: member.acked,
        agreed: member.agreed,
        vector: member.vector,
        contents: node.contents(),
      })
      return { world, node, b, state }
    }
    const AHEAD_MS = SKEW_MS + 1

    test.each<[what: string, say: (b: Stranger) => void]>([
      [
        'a batch with one such record among others',
        (b) =>
          b.say(PeerOpcode.Batch, bytesOf(b.boot), 0, 3, b.hlc(), 0, [
            [Value, 'first', b.hlc(), 1, 0, 0, Buffer.from('x')],
            [Value, 'ahead', b.hlc(AHEAD_MS), 1, 0, 0, Buffer.from('x')],
            [Value, 'last', b.hlc(), 1, 0, 0, Buffer.from('x')],
          ]),
      ],
      [
        'a batch with such a head',
        (b) => b.say(PeerOpcode.Batch, bytesOf(b.boot), 0, 3, b.hlc(AHEAD_MS), 0, []),
      ],
      [
        'a batch with such a watermark',
        (b) =>
          b.say(PeerOpcode.Batch, bytesOf(b.boot), 0, 3, b.hlc(), b.hlc(AHEAD_MS), [
            [Value, 'first', b.hlc(), 1, 0, 0, Buffer.from('x')],
          ]),
      ],
      [
        'an acknowledgement',
        (b) => b.say(PeerOpcode.Ack, bytesOf(b.node.replica.boot), 1, b.hlc(AHEAD_MS), 0, []),
      ],
      ['a PING', (b) => b.ping([['c', bootOf('c'), b.hlc()]], b.hlc(AHEAD_MS))],
      [
        'a round',
        (b) =>
          b.say(PeerOpcode.RoundOpen, 1, true, 0, b.hlc(AHEAD_MS), 0, Buffer.alloc(16), 0, Buffer.alloc(0)),
      ],
      [
        'a round with such a gap, to which the horizon would rise',
        (b) =>
          b.say(
            PeerOpcode.RoundOpen,
            1,
            true,
            b.hlc(AHEAD_MS),
            b.hlc(),
            0,
            Buffer.alloc(16),
            0,
            Buffer.alloc(0),
          ),
      ],
      [
        'records of a round',
        (b) => {
          b.say(PeerOpcode.RoundOpen, 1, true, 0, 1, 0, Buffer.alloc(16), 0, Buffer.alloc(0))
          b.node.replicator.work(100)
          b.say(PeerOpcode.RoundRecords, 1, 1, 0, [
            [Value, 'first', b.hlc(), 1, 0, 0, Buffer.from('x'), bytesOf(b.boot)],
            [Value, 'ahead', b.hlc(AHEAD_MS), 1, 0, 0, Buffer.from('x'), bytesOf(b.boot)],
          ])
          b.say(PeerOpcode.RoundClose, 1)
        },
      ],
    ])('refuses the whole message, and nothing is moved: %s', (_, say) => {
      const { node, b, state } = setUp()
      const before = state()
      say(b)
      node.replicator.work(1000)
      expect(state()).toEqual(before)
      expect(node.counters.refusedForSkew).toBe(1)
      expect(b.take(PeerOpcode.Refused)[0]?.[0]).toBe('skew')
      expect(b.take(PeerOpcode.Ack)).toEqual([])
      expect(
        b.take(PeerOpcode.RoundAnswer).length + b.take(PeerOpcode.RoundClose).length,
      ).toBeLessThanOrEqual(1)
      expect(node.events.filter(([name]) => name === 'clock skew')).toMatchObject([
        ['clock skew', { peer: 'b', aheadMs: AHEAD_MS }],
      ])
    })

    test('clocks further apart than half a second are told, at each PONG, and refuse nothing', () => {
      const { node, b } = setUp()
      const { wallMs, monoMs, options } = node.replicator.replica
      const pong = (skewMs: number) => b.say(PeerOpcode.Pong, Math.round(monoMs), Math.round(wallMs + skewMs))
      pong(options.skewMsWarn - 100)
      const told = () => node.events.filter(([name]) => name === 'clocks apart')
      expect(told()).toEqual([])
      pong(options.skewMsWarn + 100)
      expect(told()).toMatchObject([['clocks apart', { peer: 'b' }]])
      expect(node.counters.refusedForSkew).toBe(0)
    })

    test('as far ahead as may be is taken', () => {
      const { node, b } = setUp()
      b.batch(0, 1, [[Value, 'key', b.hlc(SKEW_MS), 'x']])
      expect(node.get('key')).toBe('x')
    })

    test('what was refused is taken when it is sent again after the clock was set right', () => {
      const { world, node, b } = setUp()
      const record = [Value, 'key', b.hlc(SKEW_MS + 1000), 'x'] as const
      b.batch(0, 1, [record])
      expect(node.get('key')).toBeUndefined()
      world.wallMs += 1000
      b.batch(0, 1, [record])
      expect(node.get('key')).toBe('x')
    })

    test('in a HELLO: the link is up, but the stream is asked for only when a PING shows a right clock', () => {
      const world = new World()
      const node = world.add('a', { store })
      const ahead = { hlc: node.meet('x').hlc(SKEW_MS + 1) }
      const b = node.meet('b', ahead)
      expect(asked(b)).toEqual([])
      expect(b.take(PeerOpcode.Refused)).toHaveLength(1)
      b.ping([], b.hlc())
      expect(asked(b)).toEqual([0])
      b.ping([], b.hlc())
      expect(asked(b)).toEqual([])
    })
  })

  describe('refused by the other end', () => {
    test('it gets PING alone, and after 5 s everything from what it had acknowledged on', () => {
      const world = new World()
      const node = world.add('a', { store })
      const b = started(node, 'b')
      node.set('one', '1')
      node.replicator.pump()
      b.ack(1)
      node.set('two', '2')
      node.replicator.pump()
      node.deliver()
      b.heard.length = 0
      b.say(PeerOpcode.Refused, 'skew', 'you are ahead')
      expect(node.linkTo('b').refusedReason).toBe('you are ahead')
      node.set('three', '3')
      node.clear()
      node.set('four', '4')
      world.pass(RETRY_MS - 100)
      expect(new Set(b.heard.map(([opcode]) => opcode))).toEqual(new Set([PeerOpcode.Ping]))
      b.heard.length = 0
      world.pass(200)
      // It may have missed an acknowledgement too.
      expect(asked(b)).toEqual([0])
      expect(batches(b)).toEqual([{ from: 1, to: 4, keys: ['four'] }])
      expect(node.events.map(([name]) => name)).toContain('refused by peer')
    })

    test('what it refused comes again by itself, though nothing is written any more', () => {
      const world = new World()
      const node = world.add('a', { store })
      const b = started(node, 'b')
      node.set('one', '1')
      node.replicator.pump()
      node.deliver()
      b.heard.length = 0
      b.say(PeerOpcode.Refused, 'skew', 'you are ahead')
      world.monoMs += RETRY_MS
      node.tick()
      expect(batches(b)).toEqual([{ from: 0, to: 1, keys: ['one'] }])
    })

    test('the one event, however often it says so', () => {
      const node = new World().add('a', { store })
      const b = started(node, 'b')
      for (let i = 0; i < 5; i++) b.say(PeerOpcode.Refused, 'skew', 'you are ahead')
      expect(node.events.filter(([name]) => name === 'refused by peer')).toHaveLength(1)
    })
  })

  describe('flush (rule 9)', () => {
    test('reaches the others at once, without a write; what was written before is gone there too', () => {
      const world = new World()
      const [a, b] = [world.add('a', { store }), world.add('b', { store })]
      world.link(a, b)
      a.set('mine', '1')
      b.set('theirs', '1')
      world.settle()
      a.clear()
      world.settle()
      expect([b.get('mine'), b.get('theirs'), a.get('theirs')]).toEqual([undefined, undefined, undefined])
      expect(b.replica.watermark).toBe(a.replica.watermark)
    })

    test('is carried by HELLO: who was away hears of it first', () => {
      const world = new World()
      const [a, b] = [world.add('a', { store }), world.add('b', { store })]
      b.set('old', '1')
      world.wallMs += 1
      a.clear()
      world.link(a, b)
      expect(b.get('old')).toBeUndefined()
    })

    test.each<[how: string, say: (b: Stranger, watermark: number) => void]>([
      ['a batch', (b, watermark) => b.batch(0, 1, [], watermark)],
      ['a PING', (b, f) => b.say(PeerOpcode.Ping, 1, b.hlc(), f, bytesOf(b.boot), 0, 1, [], [], [])],
      [
        'an acknowledgement',
        (b, f) => b.say(PeerOpcode.Ack, bytesOf(b.node.replica.boot), 0, b.hlc(), f, []),
      ],
      [
        'a round',
        (b, f) => b.say(PeerOpcode.RoundOpen, 1, false, 0, b.hlc(), f, Buffer.alloc(16), 0, Buffer.alloc(0)),
      ],
    ])('is carried by %s, and the next stamp is above it', (_, say) => {
      const node = new World().add('a', { store })
      const b = started(node, 'b')
      node.set('old', '1')
      say(b, b.hlc(3000))
      expect(node.replica.watermark).toBe(b.hlc(3000))
      expect(node.get('old')).toBeUndefined()
      node.set('new', '2')
      expect(node.get('new')).toBe('2')
      expect(node.see('new')?.hlc).toBeGreaterThan(b.hlc(3000))
    })

    test('a lower watermark changes nothing', () => {
      const node = new World().add('a', { store })
      const b = started(node, 'b')
      node.clear()
      const { watermark } = node.replica
      node.set('key', '1')
      b.batch(0, 1, [], watermark - 1)
      expect(node.replica.watermark).toBe(watermark)
      expect(node.get('key')).toBe('1')
    })
  })
})
