// Anti-entropy with a peer that asks for more than it may, and tells more than it should.

import { describe, expect, test } from 'vitest'
import { PeerOpcode as Peer } from '../../../protocol/messages.ts'
import { STORES, World } from '../../helpers/replicas.ts'

describe.each(STORES)('a peer that does not keep to a round, %s store', (store) => {
  function pair() {
    const world = new World()
    return { world, a: world.add('a', { store }) }
  }

  test('wants no more than was listed to it', () => {
    const { a } = pair()
    const z = a.meet('z')
    for (let i = 0; i < 10; i++) a.set(`k${i}`, '1')
    z.rewind(a.store.tailSeq)
    z.say(Peer.RoundOpen, 1, true, 0, z.hlc(), 0, Buffer.alloc(16), 0, Buffer.alloc(0))
    a.replicator.work(1000)
    const wants = Array.from({ length: 4096 }, () => 1)
    z.say(Peer.RoundWant, 1, wants)
    a.replicator.work(1000)
    expect(z.take(Peer.RoundRecords)).toEqual([])
    z.say(Peer.RoundAsk, 1, [0])
    a.replicator.work(1000)
    for (let i = 0; i < 10; i++) z.say(Peer.RoundWant, 1, wants)
    while (a.replicator.work(1000));
    const records = z.take(Peer.RoundRecords).flatMap(([, , , list]) => (Array.isArray(list) ? list : []))
    expect(records).toHaveLength(10)
  })

  test('lists without end: the initiator gives it up', () => {
    const { world, a } = pair()
    const z = a.meet('z')
    z.rewind(0)
    world.pass(100)
    const id = z.take(Peer.RoundOpen)[0]?.[0]
    z.say(Peer.RoundAnswer, id, 0, 0, z.hlc(), 0, [0, 1])
    const entries = Buffer.alloc(1024 * 32)
    let listed = 0
    expect(() => {
      for (; listed < 4000; listed++) {
        for (let i = 0; i < 1024; i++) entries.writeDoubleBE(listed * 1024 + i, i * 32)
        z.say(Peer.RoundList, id, false, entries)
      }
    }).toThrow('entries in a group')
    expect(listed).toBe(256)
  })

  test('purges nothing in a small round, nor what is above its gap', () => {
    const { a } = pair()
    const z = a.meet('z')
    a.set('key', '1')
    z.rewind(a.store.tailSeq)
    a.member('z').met = true
    a.member('z').gap = 0
    for (const full of [false, true]) {
      z.say(Peer.RoundOpen, 1, full, full ? 5 : z.hlc(), z.hlc(), 0, Buffer.alloc(16), 0, Buffer.alloc(0))
      a.replicator.work(1000)
      z.say(Peer.RoundPurge, 1, [1])
      expect(a.get('key')).toBe('1')
    }
  })
})
