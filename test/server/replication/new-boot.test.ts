// The clock was set back: another life begins, without what was stamped in the future, and nobody pays for the former.

import { describe, expect, test } from 'vitest'
import { hlcOfWall } from '../../../server/clock.ts'
import { bootOf, type Node, STORES, World } from '../../helpers/replicas.ts'

const HOUR_MS = 3_600_000

function now(node: Node): number {
  return hlcOfWall(node.replica.wallMs)
}

describe.each(STORES)('a clock that was set back, %s store', (store) => {
  /** Wrote `early`, then was an hour ahead and wrote `late`; now its clock is right. */
  function setUp() {
    const world = new World()
    const node = world.add('a', { store, options: { markerBytesMax: 300 } })
    const away = node.meet('away')
    node.replicator.linkDown(node.linkTo('away'))
    node.set('early', '1')
    world.wallMs += 10
    node.wallOffsetMs = HOUR_MS
    return { world, node, away }
  }

  function setBack(node: Node): void {
    node.wallOffsetMs = 0
    node.tick()
  }

  test('within the allowed skew nothing happens', () => {
    const { node } = setUp()
    node.wallOffsetMs = 5000
    node.set('late', '1')
    setBack(node)
    expect(node.replica.boot).toBe(bootOf('a'))
    expect(node.get('late')).toBe('1')
  })

  test('takes a new boot, drops what was stamped ahead, keeps the rest, and starts its clock anew', () => {
    const { world, node } = setUp()
    node.set('late', '1')
    node.delete('gone late')
    setBack(node)
    world.settle()
    expect(node.replica.boot).toBe(bootOf("a'"))
    expect(node.replica.origins.idOf(node.replica.origins.self)).toBe(bootOf("a'"))
    expect(node.contents()).toEqual(['early 0 1'])
    expect(node.clock.last).toBe(now(node))
    expect(node.counters.bootsChanged).toBe(1)
    expect(node.events.map(([name]) => name)).toContain('clock set back')
    node.set('new', '1')
    expect(node.see('new')).toMatchObject({ boot: bootOf("a'"), hlc: now(node) + 1 })
    expect(node.see('early')?.boot).toBe(bootOf('a'))
  })

  test('once: the next tick finds the clock in order', () => {
    const { node } = setUp()
    node.set('late', '1')
    setBack(node)
    node.tick()
    expect(node.counters.bootsChanged).toBe(1)
  })

  test('ends all links and lets those go who wait for acknowledgements', () => {
    const { node } = setUp()
    node.meet('b')
    node.set('late', '1')
    const told: number[] = []
    node.replicator.awaitAcks(1, 60_000, (count) => told.push(count))
    setBack(node)
    expect([...node.replicator.links]).toEqual([])
    expect(told).toEqual([0])
  })

  test('what was acknowledged to the former boot counts no more', () => {
    const { node } = setUp()
    const b = node.meet('b')
    b.rewind(0)
    node.set('late', '1')
    node.replicator.pump()
    b.say(34, Buffer.from(node.replica.boot, 'hex'), 2, 1, 0, [])
    expect(node.member('b').acked).toBe(2)
    setBack(node)
    expect(node.member('b')).toMatchObject({ acked: 0, ackedHlc: 0 })
  })

  test('takes back a flush that was stamped in the future, and not one that was not', () => {
    const { node } = setUp()
    node.wallOffsetMs = 0
    node.clear()
    const { watermark } = node.replica
    node.wallOffsetMs = HOUR_MS
    node.set('late', '1')
    setBack(node)
    expect(node.replica.watermark).toBe(watermark)
    node.wallOffsetMs = HOUR_MS
    node.clear()
    setBack(node)
    expect(node.replica.watermark).toBeLessThanOrEqual(now(node))
    node.set('new', '1')
    expect(node.get('new')).toBe('1')
  })

  test('neither its horizon nor a gap stays in the future: nobody is to drop what is written until then', () => {
    const { world, node } = setUp()
    for (let i = 0; i < 20; i++) node.delete(`gone ${i}`)
    node.replicator.pump()
    expect(node.replica.horizon).toBeGreaterThan(hlcOfWall(world.wallMs))
    expect(node.member('away').gap).toBe(node.replica.horizon)
    setBack(node)
    expect(node.replica.horizon).toBe(now(node))
    expect(node.member('away')).toMatchObject({ gap: now(node), gapSinceRound: now(node) })
  })

  test('and so a member that comes back takes part as before', () => {
    const world = new World()
    const [a, b] = ['a', 'b'].map((label) => world.add(label, { store, options: { markerBytesMax: 300 } }))
    if (a === undefined || b === undefined) throw new Error('two servers')
    world.link(a, b)
    world.pass(1000)
    world.cut(a, b)
    a.wallOffsetMs = HOUR_MS
    for (let i = 0; i < 20; i++) a.delete(`gone ${i}`)
    a.replicator.pump()
    setBack(a)
    world.wallMs += 1000
    b.set('theirs', '1')
    world.link(a, b)
    world.pass(1000)
    expect([a.get('theirs'), b.get('theirs')]).toEqual(['1', '1'])
    a.set('mine', '1')
    world.pass(100)
    expect(b.get('mine')).toBe('1')
    expect(b.replica.horizon).toBeLessThanOrEqual(hlcOfWall(world.wallMs))
  })
})
