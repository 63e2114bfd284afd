// Rule 12 between replicators: who counts for a write. What Acks does by itself is in acks.test.ts.

import { describe, expect, test } from 'vitest'
import { type Node, type Stranger, World } from '../../helpers/replicas.ts'

const RETRY_MS = 5000

function started(node: Node, label: string): Stranger {
  const stranger = node.meet(label)
  stranger.rewind(0)
  return stranger
}

describe('write concern (rule 12)', () => {
  function wait(node: Node, wanted: number, timeoutMs = 1000): { told: number[]; awaited: number } {
    const told: number[] = []
    const awaited = node.replicator.awaitAcks(wanted, timeoutMs, (count) => told.push(count))
    return { told, awaited }
  }

  test('counts members other than this server that applied the write', () => {
    const world = new World()
    const [a, b, c] = [world.add('a'), world.add('b'), world.add('c')]
    world.link(a, b)
    world.link(a, c)
    world.settle()
    a.set('key', '1')
    const { told, awaited } = wait(a, 2)
    expect([awaited, told]).toEqual([2, []])
    world.settle()
    expect(told).toEqual([2])
    expect(a.replicator.acks.isWaiting).toBe(false)
  })

  test('waits for no more than there are, and alone for nobody', () => {
    const world = new World()
    const a = world.add('a')
    a.set('key', '1')
    expect(wait(a, 255)).toEqual({ awaited: 0, told: [] })
    started(a, 'b')
    a.set('key', '2')
    expect(wait(a, 255).awaited).toBe(1)
  })

  test('what a member declined does not count; time over says how many did', () => {
    const world = new World()
    const a = world.add('a')
    const [b, c] = [started(a, 'b'), started(a, 'c')]
    a.set('other', '1')
    a.set('key', '1')
    const { told } = wait(a, 2)
    a.replicator.pump()
    b.ack(2, [1])
    c.ack(2, [0])
    expect(told).toEqual([])
    world.pass(1000)
    expect(told).toEqual([1])
  })

  test('what is too large for the receiver does not count', () => {
    const world = new World()
    const [a, b] = [world.add('a'), world.add('b', { bytesMax: 1 << 16 })]
    world.link(a, b)
    world.settle()
    a.set('key', 'x'.repeat(100_000))
    const { told } = wait(a, 1)
    world.settle()
    world.pass(1050)
    expect(told).toEqual([0])
  })

  test('what a member refused does not count, until it takes it', () => {
    const world = new World()
    const [a, b] = [world.add('a'), world.add('b')]
    b.wallOffsetMs = -6000
    world.link(a, b)
    a.set('key', '1')
    const { told } = wait(a, 1, 20_000)
    world.settle()
    expect([told, b.get('key')]).toEqual([[], undefined])
    b.wallOffsetMs = 0
    world.pass(RETRY_MS + 1000)
    expect([told, b.get('key')]).toEqual([[1], '1'])
  })

  test('a link that is lost meanwhile tells nobody anything', () => {
    const world = new World()
    const [a, b] = [world.add('a'), world.add('b')]
    world.link(a, b)
    world.settle()
    a.set('key', '1')
    const { told } = wait(a, 1)
    a.replicator.pump()
    world.cut(a, b)
    world.pass(950)
    expect(told).toEqual([])
    world.pass(50)
    expect(told).toEqual([0])
  })
})
