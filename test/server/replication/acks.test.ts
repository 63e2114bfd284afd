import { describe, expect, test } from 'vitest'
import { Acks } from '../../../server/replication/acks.ts'

const NONE: ReadonlySet<number> = new Set()
const KEY = Uint8Array.of(107)

function acks(ownSeq = 0): { acks: Acks; counts: number[] } {
  const made = new Acks(() => ownSeq)
  return { acks: made, counts: [] }
}

describe('a write counts at a member', () => {
  test('when a batch that it was in was applied', () => {
    const { acks: waiting, counts } = acks()
    waiting.wait(5, KEY, 1, 1000, (count) => counts.push(count))
    waiting.onApplied('a', { fromSeq: 0, toSeq: 4, seqs: [3, 4], declined: NONE })
    expect(counts).toEqual([])
    waiting.onApplied('a', { fromSeq: 4, toSeq: 6, seqs: [5, 6], declined: NONE })
    expect(counts).toEqual([1])
  })

  test('not when that member declined it', () => {
    const { acks: waiting, counts } = acks()
    waiting.wait(5, KEY, 1, 1000, (count) => counts.push(count))
    waiting.onApplied('a', { fromSeq: 0, toSeq: 5, seqs: [5], declined: new Set([5]) })
    waiting.tick(1000)
    expect(counts).toEqual([0])
  })

  test('not when another server overwrote it before it was sent', () => {
    const { acks: waiting, counts } = acks(0)
    waiting.wait(5, KEY, 1, 1000, (count) => counts.push(count))
    waiting.onApplied('a', { fromSeq: 0, toSeq: 9, seqs: [9], declined: NONE })
    waiting.tick(1000)
    expect(counts).toEqual([0])
  })

  test('by the newer one in its place, when this server overwrote it before it was sent', () => {
    const { acks: waiting, counts } = acks(9)
    waiting.wait(5, KEY, 2, 1000, (count) => counts.push(count))
    waiting.onApplied('a', { fromSeq: 0, toSeq: 9, seqs: [9], declined: NONE })
    waiting.onApplied('b', { fromSeq: 0, toSeq: 8, seqs: [8], declined: NONE })
    expect(counts).toEqual([])
    waiting.onApplied('b', { fromSeq: 8, toSeq: 9, seqs: [9], declined: NONE })
    expect(counts).toEqual([2])
  })
})

test('whoever waits is told once, and at the end at the latest', () => {
  const { acks: waiting, counts } = acks()
  waiting.wait(1, KEY, 2, 1000, (count) => counts.push(count))
  waiting.onApplied('a', { fromSeq: 0, toSeq: 1, seqs: [1], declined: NONE })
  waiting.end()
  waiting.end()
  waiting.tick(2000)
  expect(counts).toEqual([1])
  expect(waiting.isWaiting).toBe(false)
})
