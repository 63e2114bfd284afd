// Who is let in: each refusal with its code, and that a refusal changes nothing.

import { describe, expect, test } from 'vitest'
import { MEMBERS_MAX } from '../../../protocol/limits.ts'
import { PeerOpcode } from '../../../protocol/messages.ts'
import type { PeerHello } from '../../../server/replication/peer-messages.ts'
import { PeerRefusal } from '../../../server/replication/replicator.ts'
import { bootOf, type Node, World } from '../../helpers/replicas.ts'

function codeOf(node: Node, hello: PeerHello): string | undefined {
  try {
    node.replicator.check(hello)
  } catch (error) {
    if (error instanceof PeerRefusal) return error.code
    throw error
  }
  return undefined
}

/** A server that knows b, has removed r, and is linked with l. */
function setUp(): Node {
  const node = new World().add('a', { cluster: 'ours' })
  node.meet('l')
  node.meet('r')
  node.replicator.remove('r')
  return node
}

describe('a HELLO', () => {
  test('of a server that nobody knows is let in', () => {
    const node = setUp()
    expect(codeOf(node, node.helloFrom('new'))).toBeUndefined()
  })

  test('of a server that speaks a later version as well is let in', () => {
    const node = setUp()
    expect(codeOf(node, { ...node.helloFrom('new'), versionMin: 1, versionMax: 9 })).toBeUndefined()
  })

  test.each<[code: string, why: string, label: string, hello: Partial<PeerHello>]>([
    ['version', 'speaks only later versions', 'new', { versionMin: 2, versionMax: 3 }],
    ['version', 'speaks only earlier versions', 'new', { versionMin: 0, versionMax: 0 }],
    ['cluster', 'is of another cluster', 'new', { cluster: 'theirs' }],
    ['self', 'is this server', 'a', { boot: bootOf('a') }],
    ['self', 'is this server under another name', 'new', { boot: bootOf('a') }],
    ['label', "has this server's node id", 'a', { boot: bootOf('x') }],
    ['label', 'has the node id of a live server', 'l', { boot: bootOf('x') }],
    ['removed', 'was removed', 'r', {}],
    ['removed', 'was removed, under another name', 'new', { boot: bootOf('r') }],
  ])('is refused as %s if its sender %s, and nothing changes', (code, _, label, hello) => {
    const node = setUp()
    const before = [...node.replica.members].map((member) => ({ ...member }))
    expect(() => node.replicator.linkUp({ ...node.helloFrom(label), ...hello })).toThrow(
      expect.objectContaining({ code }),
    )
    expect([...node.replica.members].map((member) => ({ ...member }))).toEqual(before)
    expect([...node.replicator.links].map(({ member }) => member.label)).toEqual(['l'])
  })

  test('is refused as members when there are too many; who is a member may come back', () => {
    const node = new World().add('a')
    for (let i = 0; i < MEMBERS_MAX; i++) node.replicator.expect(`host:${i}`)
    expect(codeOf(node, node.helloFrom('one more'))).toBe('members')
    expect(codeOf(node, node.helloFrom('host:7'))).toBeUndefined()
  })

  test('of the same boot on a second connection is let in: the former link is over', () => {
    const node = setUp()
    const former = node.linkTo('l')
    node.meet('l')
    expect(node.linkTo('l')).not.toBe(former)
  })

  test('of a new boot after the former link is gone is let in', () => {
    const node = setUp()
    node.replicator.linkDown(node.linkTo('l'))
    expect(codeOf(node, { ...node.helloFrom('l'), boot: bootOf('l2') })).toBeUndefined()
  })

  test('of a removed server that restarted, empty, is let in', () => {
    const node = setUp()
    expect(codeOf(node, { ...node.helloFrom('r'), boot: bootOf('r2') })).toBeUndefined()
  })
})

describe('peers forget', () => {
  test('ends the link with a BYE, and is passed on', () => {
    const world = new World()
    const [a, b] = [world.add('a'), world.add('b')]
    world.link(a, b)
    const [goneAtA] = [a.meet('gone'), b.meet('gone')]
    world.settle()
    expect(a.replicator.remove('gone')).toBe(true)
    expect(goneAtA.take(PeerOpcode.Bye)[0]?.[0]).toBe('removed')
    expect(a.replicator.link('gone')).toBeUndefined()
    world.pass(1100)
    expect(b.replica.members.get('gone')).toBeUndefined()
    expect(b.replicator.link('gone')).toBeUndefined()
    expect(codeOf(b, b.helloFrom('gone'))).toBe('removed')
    expect(a.replicator.remove('gone')).toBe(false)
  })

  test('of this server itself, from elsewhere, does not make it leave its own house', () => {
    const node = setUp()
    node.meet('c', { removed: [{ label: 'a', boot: bootOf('a') }] })
    node.set('key', '1')
    expect(node.get('key')).toBe('1')
    expect(node.replica.members.isRemoved(bootOf('a'))).toBe(false)
  })

  test('of an address that was never reached', () => {
    const node = setUp()
    node.replicator.expect('nobody:1')
    expect(node.replicator.remove('nobody:1')).toBe(true)
    expect(node.replica.members.get('nobody:1')).toBeUndefined()
  })

  test('of one that is known from others alone: what they still say of it does not bring it back', () => {
    const node = setUp()
    const c = node.meet('c')
    const hearsay = (label: string, boot: string | undefined) => ({
      label,
      address: undefined,
      boot,
      unseenMs: 0,
    })
    const all = [hearsay('nobody:1', undefined), hearsay('gone', bootOf('gone'))]
    const { members } = node.replica
    members.hear(all, node.replica.monoMs, undefined)
    expect(node.replicator.remove('nobody:1')).toBe(true)
    expect(node.replicator.remove('gone')).toBe(true)
    members.hear(all, node.replica.monoMs, undefined)
    expect([members.get('nobody:1'), members.get('gone')]).toEqual([undefined, undefined])
    expect(members.isRemoved(bootOf('gone'))).toBe(true)
    expect(members.get('c')?.boot).toBe(c.boot)
  })
})

describe('a listed address', () => {
  test('counts as a member that knows nothing until somebody answers there', () => {
    const node = new World().add('a')
    node.replicator.expect('host:1')
    node.replicator.expect('host:1')
    expect(node.replica.members.size).toBe(1)
    expect(node.replicator.mustMark).toBe(true)
    node.replicator.linkUp(node.helloFrom('b'), 'host:1')
    expect([...node.replica.members].map(({ label, address }) => [label, address])).toEqual([['b', 'host:1']])
    node.replicator.expect('host:1')
    expect(node.replica.members.size).toBe(1)
  })

  test('that a member says it listens at is that member', () => {
    const node = new World().add('a')
    node.replicator.expect('host:1')
    node.replicator.linkUp({ ...node.helloFrom('b'), address: 'host:1' })
    expect([...node.replica.members].map(({ label }) => label)).toEqual(['b'])
  })
})
