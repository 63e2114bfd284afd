// Anti-entropy between two servers: when a round is a small or a full one, what it says, and what each end is left with.

import { describe, expect, test } from 'vitest'
import { PeerOpcode as Peer } from '../../../protocol/messages.ts'
import { RecordKind } from '../../../server/store/store.ts'
import { decoded } from '../../helpers/frames.ts'
import { type Node, type ReplicaOptions, STORES, World } from '../../helpers/replicas.ts'

const { Value, Ghost, Tombstone } = RecordKind
const ROUND_MS = 10_000
/** Jitter included. */
const NEXT_ROUND_MS = ROUND_MS * 1.3

/** Opcodes from 48 on, that a server sends while `during` runs. */
function said(world: World, nodes: readonly Node[], during: () => void): number[] {
  const opcodes: number[] = []
  const restore = nodes.map((node) => {
    const deliver = node.deliver
    node.deliver = () => {
      for (const { bytes } of node.outbox) opcodes.push(Number(decoded(bytes.subarray(4))[0]))
      return deliver.call(node)
    }
    return () => {
      node.deliver = deliver
    }
  })
  during()
  world.settle()
  for (const undo of restore) undo()
  return opcodes.filter((opcode) => opcode >= Peer.RoundOpen)
}

describe.each(STORES)('%s store', (store) => {
  function pair(more: ReplicaOptions = {}): { world: World; a: Node; b: Node } {
    const world = new World()
    const [a, b] = [world.add('a', { store, ...more }), world.add('b', { store, ...more })]
    return { world, a, b }
  }

  function linkAndSettle(world: World, a: Node, b: Node): void {
    world.link(a, b)
    world.pass(300)
  }

  /** Linked, and whatever was there known to both. */
  function met(more: ReplicaOptions = {}) {
    const made = pair(more)
    linkAndSettle(made.world, made.a, made.b)
    return made
  }

  describe('which round', () => {
    test('at first contact of two boots a full one, begun by the lower label; then small ones', () => {
      const { world, a, b } = met()
      expect([a.counters.fullRounds, a.counters.smallRounds]).toEqual([1, 0])
      expect([b.counters.fullRounds, b.counters.smallRounds]).toEqual([1, 0])
      expect([a.member('b').met, b.member('a').met]).toEqual([true, true])
      world.pass(NEXT_ROUND_MS)
      expect([a.counters.fullRounds, a.counters.smallRounds]).toEqual([1, 1])
      expect(a.events).toEqual([
        ['round started', { peer: 'b', full: true }],
        ['round ended', { peer: 'b', full: true }],
        ['round started', { peer: 'b', full: false }],
        ['round ended', { peer: 'b', full: false }],
      ])
      expect(b.events).toEqual([
        ['round ended', { peer: 'a', full: true }],
        ['round ended', { peer: 'a', full: false }],
      ])
    })

    test('after an outage of the same two boots a small one', () => {
      const { world, a, b } = met()
      world.cut(a, b)
      linkAndSettle(world, a, b)
      expect([a.counters.fullRounds, a.counters.smallRounds]).toEqual([1, 1])
    })

    test('with an open gap a full one, and the gap is closed', () => {
      const { world, a, b } = met()
      a.member('b').missed(5)
      world.pass(NEXT_ROUND_MS)
      expect(a.counters.fullRounds).toBe(2)
      expect(a.member('b').gap).toBe(0)
      expect(b.replica.horizon).toBe(5)
    })

    test('UPGRADE: whoever answers and has a gap, or does not know the other, makes it a full one at once', () => {
      const { world, a, b } = met()
      b.member('a').missed(7)
      const opcodes = said(world, [a, b], () => world.pass(NEXT_ROUND_MS))
      expect(opcodes.slice(0, 3)).toEqual([Peer.RoundOpen, Peer.RoundAnswer, Peer.RoundOpen])
      expect(a.counters).toMatchObject({ smallRounds: 1, fullRounds: 2 })
      expect(b.member('a').gap).toBe(0)
      expect(a.replica.horizon).toBe(7)
    })

    test('BUSY: one full round at a time; whoever is told so asks again a second later', () => {
      const world = new World()
      const [a, b, c] = ['a', 'b', 'c'].map((label) => world.add(label, { store }))
      if (a === undefined || b === undefined || c === undefined) throw new Error('three servers')
      for (const node of [a, b, c]) for (let i = 0; i < 20; i++) node.set(`${node.label}${i}`, '1')
      world.link(a, c)
      world.link(b, c)
      const opcodes = said(world, [a, b, c], () => world.pass(100))
      expect(opcodes.filter((opcode) => opcode === Peer.RoundBusy)).toHaveLength(1)
      const isMet = () => [c.member('a').met, c.member('b').met]
      expect(isMet().filter((itIs) => itIs)).toHaveLength(1)
      world.pass(1200)
      expect(isMet()).toEqual([true, true])
      expect(c.store.stats().entries).toBe(60)
    })

    test('none before the stream has begun, nor while it is refused', () => {
      const { world, a, b } = pair()
      b.wallOffsetMs = -6000
      a.set('key', '1')
      world.link(a, b)
      world.pass(500)
      expect([a.member('b').met, b.member('a').met]).toEqual([false, false])
      b.wallOffsetMs = 0
      world.pass(20_000)
      expect([a.member('b').met, b.member('a').met]).toEqual([true, true])
    })

    test('one that makes no progress is given up, and another one begins', () => {
      const { world, a } = pair()
      const z = a.meet('z')
      z.rewind(0)
      world.pass(100)
      expect(z.take(Peer.RoundOpen)).toHaveLength(1)
      world.pass(29_000)
      expect(z.take(Peer.RoundOpen)).toEqual([])
      world.pass(3000)
      expect(z.take(Peer.RoundOpen)).toHaveLength(1)
      expect(a.member('z').met).toBe(false)
    })
  })

  describe('what is compared', () => {
    test('when all is equal digests are all there is', () => {
      const { world, a, b } = met()
      for (let i = 0; i < 100; i++) a.set(`k${i}`, '1')
      world.pass(100)
      const opcodes = said(world, [a, b], () => world.pass(NEXT_ROUND_MS))
      expect(opcodes).toEqual([Peer.RoundOpen, Peer.RoundAnswer, Peer.RoundClose, Peer.RoundClose])
      expect(a.counters.roundsEqual).toBeGreaterThanOrEqual(1)
    })

    test('an eviction makes no difference: a ghost has the version of its value', () => {
      const { world, a, b } = met()
      a.meet('z')
      b.meet('z')
      a.set('key', '1')
      world.pass(100)
      b.evict('key')
      expect(b.see('key')?.kind).toBe(Ghost)
      const opcodes = said(world, [a, b], () => world.pass(NEXT_ROUND_MS))
      expect(opcodes).not.toContain(Peer.RoundList)
      expect(a.get('key')).toBe('1')
    })

    test('but a tombstone of the same version as a value does, and wins', () => {
      const { world, a, b } = met()
      a.meet('z')
      b.meet('z')
      a.set('key', '1')
      world.pass(100)
      b.store.strip(b.slotOf('key'), Tombstone, 0)
      world.pass(NEXT_ROUND_MS)
      expect(a.see('key')?.kind).toBe(Tombstone)
    })

    test('where leaves differ, those and no others', () => {
      const { world, a, b } = pair({ entriesMax: 100_000 })
      for (let i = 0; i < 400; i++) a.set(`k${i}`, '1')
      linkAndSettle(world, a, b)
      world.cut(a, b)
      a.member('b').missed(1)
      b.store.forget(b.slotOf('k17'), 'deleted')
      world.link(a, b)
      const before = b.linkTo('a').sentBytes
      world.pass(100)
      expect(a.counters.fullRounds).toBe(2)
      expect(b.get('k17')).toBe('1')
      // 32 bytes an entry: a list of all would have 12 800.
      expect(b.linkTo('a').sentBytes - before).toBeLessThan(4000)
    })

    test('a small round is about what somebody may not know, and finds what a third member stamped', () => {
      const { world, a, b } = met()
      const z = a.meet('z')
      z.batch(0, 1, [[Value, 'from z', z.hlc(), 'x']])
      b.replica.members.admit('z', world.monoMs)
      world.pass(NEXT_ROUND_MS)
      expect(a.counters.smallRounds).toBeGreaterThanOrEqual(1)
      expect(b.get('from z')).toBe('x')
      expect(b.see('from z')).toMatchObject({ boot: a.see('from z')?.boot, hlc: a.see('from z')?.hlc })
    })

    test('both ways in one round: newer versions, tombstones, and what one of them lacks', () => {
      const { world, a, b } = pair()
      a.meet('z')
      b.meet('z')
      a.set('only a', '1')
      b.set('only b', '1')
      a.set('newer at b', 'old')
      b.set('newer at a', 'old')
      b.set('deleted at a', 'old')
      a.set('deleted at b', 'old')
      world.wallMs += 10
      b.set('newer at b', 'new')
      a.set('newer at a', 'new')
      a.delete('deleted at a')
      b.delete('deleted at b')
      linkWithoutStreams(world, a, b)
      world.pass(100)
      for (const node of [a, b]) {
        expect([node.get('only a'), node.get('only b')]).toEqual(['1', '1'])
        expect([node.get('newer at a'), node.get('newer at b')]).toEqual(['new', 'new'])
        expect([node.see('deleted at a')?.kind, node.see('deleted at b')?.kind]).toEqual([
          Tombstone,
          Tombstone,
        ])
      }
    })

    test('two rounds at a time are kept apart, however small the slices are', () => {
      const { world, a } = pair()
      const strangers = ['y', 'z'].map((label) => a.meet(label))
      for (let i = 0; i < 5; i++) a.set(`k${i}`, '1')
      for (const stranger of strangers) {
        a.member(stranger.label).met = true
        stranger.rewind(0)
      }
      world.pass(100)
      for (const stranger of strangers) {
        const id = stranger.take(Peer.RoundOpen)[0]?.[0]
        const leaves = Array.from({ length: 256 }, (_, leaf) => [leaf, 0]).flat()
        stranger.say(Peer.RoundAnswer, id, 0, 0, stranger.hlc(), 0, leaves)
        stranger.say(Peer.RoundList, id, true, Buffer.alloc(0))
      }
      while (a.replicator.work(1));
      for (const stranger of strangers) {
        const records = stranger
          .take(Peer.RoundRecords)
          .flatMap(([, , , list]) => (Array.isArray(list) ? list : []))
        expect(records.map(([, key]) => key)).toEqual(['k0', 'k1', 'k2', 'k3', 'k4'])
      }
    })

    test('a joiner gets everything, also in many frames, and of ghosts the versions', () => {
      const { world, a, b } = pair({ entriesMax: 100_000, bytesMax: 8 << 20 })
      a.meet('z')
      for (let i = 0; i < 3000; i++) a.set(`k${i}`, 'x'.repeat(100))
      a.evict('k5')
      linkAndSettle(world, a, b)
      expect(b.store.stats()).toMatchObject({ entries: 2999, ghosts: 1 })
    })

    test('nothing that is imported pushes out what is there', () => {
      const { world, a, b } = pair()
      const small = world.add('s', { store, entriesMax: 3 })
      for (let i = 0; i < 10; i++) a.set(`k${i}`, '1')
      for (let i = 0; i < 3; i++) small.set(`s${i}`, '1')
      linkWithoutStreams(world, a, small)
      world.pass(100)
      expect([small.get('s0'), small.get('s1'), small.get('s2')]).toEqual(['1', '1', '1'])
      expect(small.store.stats()).toMatchObject({ entries: 3, ghosts: 10 })
      expect(a.store.stats().entries).toBe(13)
      // Declining for room counts as agreed.
      expect(a.member('s').agreed).toBeGreaterThan(0)
      expect(b.contents()).toEqual([])
    })
  })

  describe('what it leaves (rules 4, 7 and 8)', () => {
    test('agreed: up to where the change log stood when it began, on both ends', () => {
      const { world, a, b } = pair()
      a.set('one', '1')
      b.set('two', '1')
      linkAndSettle(world, a, b)
      a.set('three', '1')
      world.pass(100)
      expect(a.member('b').agreed).toBeGreaterThanOrEqual(1)
      expect(a.member('b').agreed).toBeLessThan(a.store.tailSeq)
      expect(b.member('a').agreed).toBeGreaterThanOrEqual(1)
    })

    test('agreed: what is written during the round is not in it', () => {
      const { world, a } = pair()
      const z = a.meet('z')
      a.set('before', '1')
      z.rewind(0)
      world.pass(100)
      const id = z.take(Peer.RoundOpen)[0]?.[0]
      a.set('during', '1')
      z.say(Peer.RoundAnswer, id, 0, 0, z.hlc(), 0, [])
      z.say(Peer.RoundClose, id)
      expect(a.member('z').agreed).toBe(1)
    })

    test('a full round purges what the other does not hold from below its gap, and raises the horizon to that', () => {
      for (const [begins, answers] of [
        ['a', 'b'],
        ['b', 'a'],
      ] as const) {
        const { world, a, b } = met()
        const [pays, forgot] = begins === 'a' ? [a, b] : [b, a]
        expect(answers).toBe(forgot.label)
        pays.set('deleted meanwhile', '1')
        world.pass(100)
        world.cut(a, b)
        const gap = pays.see('deleted meanwhile')?.hlc ?? 0
        world.wallMs += 10
        pays.set('newer than the gap', '1')
        // It was deleted there, and the tombstone had to go.
        forgot.delete('deleted meanwhile')
        forgot.retention.drop(forgot.slotOf('deleted meanwhile'))
        const { horizon } = forgot.replica
        expect(horizon).toBeGreaterThan(gap)
        expect(forgot.member(pays.label).gap).toBe(horizon)
        linkAndSettle(world, a, b)
        for (const node of [a, b]) {
          expect(node.get('deleted meanwhile'), `${pays.label} pays`).toBeUndefined()
          expect(node.replica.horizon).toBe(horizon)
        }
        expect(pays.counters.purged).toBeGreaterThan(0)
        expect(forgot.member(pays.label).gap).toBe(0)
      }
    })

    test('a gap that arises during the round stays', () => {
      const { world, a, b } = met()
      a.member('b').missed(5)
      world.pass(6000)
      let isDone = false
      const deliver = a.deliver
      a.deliver = () => {
        if (!isDone && a.outbox.some(({ bytes }) => decoded(bytes.subarray(4))[0] === Peer.RoundOpen)) {
          isDone = true
          a.member('b').missed(9)
        }
        return deliver.call(a)
      }
      for (let left = 8000; left > 0 && !isDone; left -= 50) world.pass(50)
      a.deliver = deliver
      expect(isDone).toBe(true)
      expect(a.member('b').gap).toBe(9)
      expect(b.replica.horizon).toBe(5)
    })

    test("a new boot begins with a gap of the other's horizon, and pays that", () => {
      const { world, a, b } = met()
      a.replica.horizon = 1000
      world.cut(a, b)
      const next = world.add('b', { store, boot: 'ffffffffffffffff' })
      next.clock.receive(1)
      world.nodes.splice(1, 1)
      linkAndSettle(world, a, next)
      expect(next.replica.horizon).toBe(1000)
      expect(a.member('b').gap).toBe(0)
    })

    test('a round that was refused in between does not count as completed', () => {
      const { world, a } = pair()
      const z = a.meet('z')
      z.rewind(0)
      world.pass(100)
      const id = z.take(Peer.RoundOpen)[0]?.[0]
      z.say(Peer.RoundAnswer, id, 0, 0, z.hlc(), 0, [])
      expect(z.take(Peer.RoundClose)).toEqual([[id]])
      z.say(Peer.Refused, 'skew', 'you are ahead')
      z.say(Peer.RoundClose, id)
      expect(a.member('z').met).toBe(false)
    })

    test('and neither end counts it before the other has: CLOSE is answered with CLOSE', () => {
      const { world, a } = pair()
      const z = a.meet('z')
      z.rewind(0)
      world.pass(100)
      const id = z.take(Peer.RoundOpen)[0]?.[0]
      z.say(Peer.RoundClose, id)
      expect(a.member('z').met).toBe(false)
      z.say(Peer.RoundAnswer, id, 0, 0, z.hlc(), 0, [])
      expect(a.member('z').met).toBe(false)
      z.say(Peer.RoundClose, id)
      expect(a.member('z').met).toBe(true)
    })
  })
})

/** Streams that have nothing to say, so that it is the round that brings everything. */
function linkWithoutStreams(world: World, one: Node, other: Node): void {
  world.link(one, other)
  for (const node of [one, other]) node.outbox = []
  for (const [node, peer] of [
    [one, other],
    [other, one],
  ] as const) {
    const said = rewindTo(node)
    node.replicator.receive(node.linkTo(peer.label), said, 4, said.length)
  }
}

/** What makes a server believe that the other end has everything already. */
function rewindTo(node: Node): Buffer {
  const bytes = Buffer.alloc(64)
  let at = 4
  for (const byte of [0x94, Peer.Rewind, 0, 0xc4, 8]) at = bytes.writeUInt8(byte, at)
  at += bytes.write(node.replica.boot, at, 'hex')
  at = bytes.writeUInt8(0xce, at)
  at = bytes.writeUInt32BE(node.store.tailSeq, at)
  return bytes.subarray(0, at)
}
