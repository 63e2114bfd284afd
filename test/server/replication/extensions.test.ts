// Rule 11: a value that is read here lives on there. The larger expiry wins, in just that version, and nothing else.

import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../../protocol/errors.ts'
import { Opcode, PeerOpcode, Status, Want } from '../../../protocol/messages.ts'
import { RecordKind } from '../../../server/store/store.ts'
import { addressOf } from '../../helpers/client.ts'
import { eventually } from '../../helpers/eventually.ts'
import { allLinked } from '../../helpers/linked-servers.ts'
import {
  bootOf,
  bytesOf,
  type Node,
  type Seen,
  STORES,
  type Stranger,
  World,
} from '../../helpers/replicas.ts'
import { connect, startServer } from '../../helpers/server.ts'

const LIFETIME_MS = 10_000

function held(node: Node, key: string): Seen {
  const seen = node.see(key)
  if (seen === undefined) throw new Error(`there is no ${key}`)
  return seen
}

function extend(
  stranger: Stranger,
  key: string,
  { hlc, boot }: Pick<Seen, 'hlc' | 'boot'>,
  expiresAtMs: number,
): void {
  stranger.say(PeerOpcode.Extend, [[key, hlc, bytesOf(boot), expiresAtMs]])
}

describe.each(STORES)('renewal (rule 11), %s store', (store) => {
  function pair() {
    const world = new World()
    const options = { store, renewOnHit: true }
    const [a, b] = [world.add('a', options), world.add('b', options)]
    world.link(a, b)
    world.settle()
    return { world, a, b }
  }

  function withStranger() {
    const node = new World().add('a', { store, renewOnHit: true })
    const b = node.meet('b')
    b.rewind(0)
    node.set('key', '1', LIFETIME_MS)
    return { node, b, seen: held(node, 'key') }
  }

  test('a key that is read on one server does not die on the other', () => {
    const { world, a, b } = pair()
    a.set('key', '1', LIFETIME_MS)
    for (let i = 0; i < 6; i++) {
      world.pass(LIFETIME_MS / 2)
      expect(b.get('key')).toBe('1')
    }
    expect(a.keyspace.peek({ bytes: Buffer.from('key'), at: 0, length: 3 })).not.toBe(0)
    expect(a.counters.extended).toBeGreaterThan(0)
  })

  test('reads alone are told of with the upkeep: where nobody writes, nobody pumps', () => {
    const { world, a, b } = pair()
    a.set('key', '1', LIFETIME_MS)
    world.settle()
    world.wallMs += LIFETIME_MS / 2
    expect(b.get('key')).toBe('1')
    b.tick()
    expect(b.outbox.filter(({ bytes }) => bytes[5] === PeerOpcode.Extend)).toHaveLength(1)
    b.deliver()
    expect(held(a, 'key').expiresAtMs).toBe(b.replica.wallMs + LIFETIME_MS)
  })

  test('a read is no write: no new version, no place in the change log', () => {
    const { world, a, b } = pair()
    a.set('key', '1', LIFETIME_MS)
    world.settle()
    const before = held(b, 'key')
    world.pass(LIFETIME_MS / 2)
    b.get('key')
    world.settle()
    expect(held(b, 'key')).toEqual({ ...before, expiresAtMs: b.replica.wallMs + LIFETIME_MS })
    expect(held(a, 'key').expiresAtMs).toBe(held(b, 'key').expiresAtMs)
    expect(a.store.tailSeq).toBe(1)
  })

  test('a hot key is told of at most ten times per lifetime', () => {
    const { world, a, b } = pair()
    a.set('key', '1', LIFETIME_MS)
    let told = 0
    for (let i = 0; i < 200; i++) {
      world.pass(50)
      a.get('key')
      a.replicator.pump()
      told += a.outbox.filter(({ bytes }) => bytes[5] === PeerOpcode.Extend).length
    }
    expect(told).toBeGreaterThanOrEqual(9)
    expect(told).toBeLessThanOrEqual(11)
    expect(b.counters.extended).toBeGreaterThanOrEqual(9)
  })

  test('many reads between two turns are one message', () => {
    const { world, a } = pair()
    for (let i = 0; i < 50; i++) a.set(`k${i}`, '1', LIFETIME_MS)
    world.pass(LIFETIME_MS / 2)
    for (let turn = 0; turn < 3; turn++) for (let i = 0; i < 50; i++) a.get(`k${i}`)
    a.replicator.pump()
    expect(a.outbox.filter(({ bytes }) => bytes[5] === PeerOpcode.Extend)).toHaveLength(1)
  })

  test('merges as the maximum', () => {
    const { node, b, seen } = withStranger()
    extend(b, 'key', seen, seen.expiresAtMs - 1)
    expect(held(node, 'key').expiresAtMs).toBe(seen.expiresAtMs)
    extend(b, 'key', seen, seen.expiresAtMs + 500)
    expect(held(node, 'key').expiresAtMs).toBe(seen.expiresAtMs + 500)
    extend(b, 'key', seen, 0)
    expect(held(node, 'key').expiresAtMs).toBe(0)
    extend(b, 'key', seen, seen.expiresAtMs + 900)
    expect(held(node, 'key').expiresAtMs).toBe(0)
  })

  test('only into the same version: not of another stamp, not of another boot, not where nothing is', () => {
    const { node, b, seen } = withStranger()
    const before = node.contents()
    extend(b, 'key', { ...seen, hlc: seen.hlc - 1 }, seen.expiresAtMs + 500)
    extend(b, 'key', { ...seen, boot: bootOf('b') }, seen.expiresAtMs + 500)
    extend(b, 'nothing', seen, seen.expiresAtMs + 500)
    expect(held(node, 'key').expiresAtMs).toBe(seen.expiresAtMs)
    expect(node.contents()).toEqual(before)
  })

  test.each([RecordKind.Ghost, RecordKind.Tombstone] as const)('never into a marker of kind %i', (kind) => {
    const { node, b, seen } = withStranger()
    node.store.strip(node.slotOf('key'), kind, 0)
    extend(b, 'key', seen, seen.expiresAtMs + 500)
    expect(held(node, 'key')).toMatchObject({ kind, expiresAtMs: 0 })
  })

  test('not into a value that has no lifetime', () => {
    const { node, b } = withStranger()
    node.set('forever', '1')
    extend(b, 'forever', held(node, 'forever'), node.replica.wallMs + 500)
    expect(held(node, 'forever').expiresAtMs).toBe(0)
  })

  test('a value of the same version that a batch brings may extend it too, and shortens nothing', () => {
    const { node, b } = withStranger()
    const { wallMs } = node.replica
    const record = (expiresAtMs: number) =>
      [RecordKind.Value, 'theirs', b.hlc(), 'x', [expiresAtMs, LIFETIME_MS]] as const
    b.batch(0, 1, [record(wallMs + 1000)])
    b.batch(1, 2, [record(wallMs + 5000)])
    expect(held(node, 'theirs').expiresAtMs).toBe(wallMs + 5000)
    b.batch(2, 3, [record(wallMs + 3000)])
    expect(held(node, 'theirs').expiresAtMs).toBe(wallMs + 5000)
  })

  test('what was written anew meanwhile is not told of', () => {
    const { world, a } = pair()
    a.set('key', '1', LIFETIME_MS)
    world.pass(LIFETIME_MS / 2)
    a.get('key')
    a.set('key', '2', LIFETIME_MS)
    a.replicator.pump()
    expect(a.outbox.filter(({ bytes }) => bytes[5] === PeerOpcode.Extend)).toEqual([])
  })

  test('entries of a later version are longer; an expiry beyond 48 bits is refused', () => {
    const { node, b, seen } = withStranger()
    const entry = ['key', seen.hlc, bytesOf(seen.boot), seen.expiresAtMs + 500]
    b.say(PeerOpcode.Extend, [[...entry, 'later', [1]]], 'more')
    expect(held(node, 'key').expiresAtMs).toBe(seen.expiresAtMs + 500)
    expect(() => extend(b, 'key', seen, 2 ** 48)).toThrow(ProtocolError)
    expect(held(node, 'key').expiresAtMs).toBe(seen.expiresAtMs + 500)
  })
})

test('between real servers, a key that is read on one of them lives on at the other, though nobody writes', async () => {
  const one = await startServer({ nodeId: 'a', network: 'local' })
  const two = await startServer({
    nodeId: 'b',
    network: 'local',
    renewOnHit: true,
    peers: [addressOf(one)],
  })
  await allLinked([one, two])
  const [watching, reading] = [await connect(one), await connect(two)]
  await watching.ask(Opcode.Set, 1, 'key', 0, 'v', LIFETIME_MS)
  await eventually(async () => (await reading.ask(Opcode.Get, 2, 'key'))[0]).toBe(Status.Ok)
  // The first one does not renew what it is asked for: what is left can only become less, but for the other's reads.
  let leftMs = Number.POSITIVE_INFINITY
  await eventually(async () => {
    await reading.ask(Opcode.Get, 3, 'key')
    const beforeMs = leftMs
    leftMs = Number((await watching.ask(Opcode.Get, 4, 'key', Want.Meta))[5] ?? Number.NaN)
    return leftMs > beforeMs
  }).toBe(true)
})
