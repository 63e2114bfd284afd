// Rule 4, who knows a record; and the part of rule 5 that says for how long it must have been so.

import { describe, expect, test } from 'vitest'
import { Knowledge } from '../../../server/replication/knowledge.ts'
import { emptyHead, RecordKind } from '../../../server/store/store.ts'
import { bootOf, type Node, type Stranger, World } from '../../helpers/replicas.ts'

const GRACE_MS = 1000

function setUp(): {
  world: World
  node: Node
  knowledge: Knowledge
  isKnown(key: string, label: string): boolean
} {
  const world = new World()
  const node = world.add('a', { options: { graceMs: GRACE_MS } })
  const knowledge = new Knowledge(node.replica)
  const isKnown = (key: string, label: string) => {
    const head = emptyHead()
    node.store.head(node.slotOf(key), head)
    return knowledge.isKnown(head, node.member(label))
  }
  return { world, node, knowledge, isKnown }
}

/** Takes what the server streams, and acknowledges all of it. */
function acknowledge(node: Node, stranger: Stranger): void {
  node.replicator.pump()
  stranger.ack(node.store.tailSeq)
}

describe('known to a member (rule 4)', () => {
  test('by acked: it acknowledged this own record, and not those after it', () => {
    const { node, isKnown } = setUp()
    const b = node.meet('b')
    b.rewind(0)
    node.set('one', '1')
    expect(isKnown('one', 'b')).toBe(false)
    acknowledge(node, b)
    node.set('two', '2')
    expect(isKnown('one', 'b')).toBe(true)
    expect(isKnown('two', 'b')).toBe(false)
  })

  test('by acked, but not what others stamped: the stream does not bring that', () => {
    const { node, isKnown } = setUp()
    const [b, c] = [node.meet('b'), node.meet('c')]
    c.batch(0, 1, [[RecordKind.Value, 'theirs', c.hlc(), 'x']])
    b.rewind(0)
    node.set('own', '1')
    acknowledge(node, b)
    expect(isKnown('own', 'b')).toBe(true)
    expect(isKnown('theirs', 'b')).toBe(false)
  })

  test('by origin: it is its own record, in its present boot', () => {
    const { node, isKnown } = setUp()
    const b = node.meet('b')
    node.meet('c')
    b.batch(0, 1, [[RecordKind.Value, 'theirs', b.hlc(), 'x']])
    expect(isKnown('theirs', 'b')).toBe(true)
    expect(isKnown('theirs', 'c')).toBe(false)
    node.replicator.linkDown(node.linkTo('b'))
    node.meet('b', { boot: bootOf('b2') })
    expect(isKnown('theirs', 'b')).toBe(false)
  })

  test('by agreed: up to where the last completed round began, whoever stamped it', () => {
    const { node, isKnown } = setUp()
    const b = node.meet('b')
    node.meet('c')
    b.batch(0, 1, [[RecordKind.Value, 'one', b.hlc(), 'x']])
    node.set('two', '2')
    node.member('c').agreed = 1
    expect(isKnown('one', 'c')).toBe(true)
    expect(isKnown('two', 'c')).toBe(false)
    // Written anew it stands further up.
    b.batch(1, 2, [[RecordKind.Value, 'one', b.hlc() + 1, 'y']])
    expect(isKnown('one', 'c')).toBe(false)
  })

  test('by vector: the origin says that it was acknowledged, by this boot of the member, up to this stamp', () => {
    const { node, isKnown } = setUp()
    const [b] = [node.meet('b'), node.meet('c')]
    const hlc = b.hlc()
    b.batch(0, 1, [[RecordKind.Value, 'theirs', hlc, 'x']])
    b.ping([['c', bootOf('c'), hlc - 1]])
    expect(isKnown('theirs', 'c')).toBe(false)
    b.ping([['c', bootOf('c0'), hlc]])
    expect(isKnown('theirs', 'c')).toBe(false)
    b.ping([['c', bootOf('c'), hlc]])
    expect(isKnown('theirs', 'c')).toBe(true)
    b.ping([])
    expect(isKnown('theirs', 'c')).toBe(false)
  })

  test('by vector, but not that of anybody else: only the origin can tell', () => {
    const { node, isKnown } = setUp()
    const [b, d] = [node.meet('b'), node.meet('d')]
    node.meet('c')
    b.batch(0, 1, [[RecordKind.Value, 'theirs', b.hlc(), 'x']])
    d.ping([['c', bootOf('c'), d.hlc(1)]])
    expect(isKnown('theirs', 'c')).toBe(false)
  })

  test('a dead boot announces nothing: its vector is gone with it', () => {
    const { node, isKnown } = setUp()
    const [b] = [node.meet('b'), node.meet('c')]
    const hlc = b.hlc()
    b.batch(0, 1, [[RecordKind.Value, 'theirs', hlc, 'x']])
    b.ping([['c', bootOf('c'), hlc]])
    node.replicator.linkDown(node.linkTo('b'))
    expect(isKnown('theirs', 'c')).toBe(true)
    const next = node.meet('b', { boot: bootOf('b2') })
    next.ping([['c', bootOf('c'), next.hlc(1)]])
    expect(isKnown('theirs', 'c')).toBe(false)
  })

  test('a member that was never reached knows nothing: it may hold old data', () => {
    const { node, isKnown } = setUp()
    node.replicator.expect('10.0.0.9:11142')
    node.set('key', '1')
    expect(isKnown('key', '10.0.0.9:11142')).toBe(false)
  })

  test('what a member acknowledged of a former boot of this server counts no more', () => {
    const { node, isKnown } = setUp()
    const b = node.meet('b')
    b.rewind(0)
    node.set('key', '1')
    acknowledge(node, b)
    node.member('b').beginAnew(0)
    expect(isKnown('key', 'b')).toBe(false)
  })
})

describe('stable (rules 4 and 5)', () => {
  test('is what every member knows', () => {
    const { node, knowledge } = setUp()
    node.set('key', '1')
    expect(knowledge.isStableAt(node.slotOf('key'))).toBe(true)
    const [b, c] = [node.meet('b'), node.meet('c')]
    expect(knowledge.isStableAt(node.slotOf('key'))).toBe(false)
    for (const stranger of [b, c]) {
      expect(knowledge.isStableAt(node.slotOf('key'))).toBe(false)
      stranger.rewind(0)
      acknowledge(node, stranger)
    }
    expect(knowledge.isStableAt(node.slotOf('key'))).toBe(true)
  })

  /** Lets time pass as the server would: copies are made all the while. */
  function pass(world: World, node: Node, knowledge: Knowledge, ms: number): void {
    for (let left = ms; left > 0; left -= 50) {
      world.monoMs += 50
      node.at()
      knowledge.keep()
    }
  }

  function stable() {
    const made = setUp()
    const b = made.node.meet('b')
    b.rewind(0)
    made.node.set('key', '1')
    made.knowledge.keep()
    acknowledge(made.node, b)
    return { ...made, mayForget: () => made.knowledge.mayForget(made.node.slotOf('key')) }
  }

  test('a record may be forgotten when it has been stable for the time of grace', () => {
    const { world, node, knowledge, mayForget } = stable()
    pass(world, node, knowledge, GRACE_MS)
    expect(mayForget()).toBe(false)
    pass(world, node, knowledge, GRACE_MS / 8 + 50)
    expect(mayForget()).toBe(true)
  })

  test('a member that joins meanwhile delays that, and a new boot does', () => {
    const { world, node, knowledge, mayForget } = stable()
    pass(world, node, knowledge, 2 * GRACE_MS)
    expect(mayForget()).toBe(true)
    const c = node.meet('c')
    expect(mayForget()).toBe(false)
    c.rewind(0)
    acknowledge(node, c)
    pass(world, node, knowledge, GRACE_MS / 2)
    expect(mayForget()).toBe(false)
    pass(world, node, knowledge, GRACE_MS)
    expect(mayForget()).toBe(true)
    node.replicator.linkDown(node.linkTo('c'))
    node.meet('c', { boot: bootOf('c2') })
    expect(mayForget()).toBe(false)
  })

  test('a new boot of this server delays it too', () => {
    const { world, node, knowledge, mayForget } = stable()
    pass(world, node, knowledge, 2 * GRACE_MS)
    node.replica.boot = bootOf('a2')
    expect(mayForget()).toBe(false)
  })

  test('alone, everything may be forgotten at once', () => {
    const { node, knowledge } = setUp()
    node.set('key', '1')
    expect(knowledge.mayForget(node.slotOf('key'))).toBe(true)
  })
})
