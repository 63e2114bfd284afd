import { describe, expect, it } from 'vitest'
import { ChangeLog } from '../../../server/store/change-log.ts'
import { FIRST_SLOT, NO_SLOT } from '../../../server/store/store.ts'

/** A small deterministic generator (mulberry32), so that a failure can be repeated. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Walks the whole log as a cursor would; the model tells the number of each slot. */
function walk(log: ChangeLog, seqOf: ReadonlyMap<number, number>): number[] {
  const slots: number[] = []
  let seq = 0
  for (let slot = log.next(seq); slot !== NO_SLOT; slot = log.next(seq)) {
    slots.push(slot)
    seq = seqOf.get(slot) ?? Number.NaN
  }
  return slots
}

describe('ChangeLog', () => {
  it('numbers appends from 1 and finds the next record above a cursor', () => {
    const log = new ChangeLog()
    expect(log.tailSeq).toBe(0)
    expect(log.next(0)).toBe(NO_SLOT)
    expect([log.append(5000), log.append(5001), log.append(5002)]).toEqual([1, 2, 3])
    log.remove(2)
    expect([log.next(0), log.next(1), log.next(2), log.next(3)]).toEqual([5000, 5002, 5002, NO_SLOT])
    log.replace(3, 6000)
    expect(log.next(1)).toBe(6000)
    expect(log.count).toBe(2)
  })

  const shapes = [
    { name: 'evenly', records: 20_000, writes: 200_000, pick: (r: number) => r },
    { name: 'mostly a few of them', records: 20_000, writes: 200_000, pick: (r: number) => r ** 8 },
    { name: 'a handful', records: 10, writes: 50_000, pick: (r: number) => r },
  ]
  it.each(shapes)(
    'stays in order, complete and small when records are overwritten $name',
    ({ records, writes, pick }) => {
      const seed = Number(process.env['SEED'] ?? 1)
      const next = random(seed)
      const log = new ChangeLog()
      const seqOf = new Map<number, number>()
      for (let write = 0; write < writes; write++) {
        const slot = FIRST_SLOT + Math.floor(pick(next()) * records)
        const former = seqOf.get(slot)
        if (former !== undefined) log.remove(former)
        if (former !== undefined && next() < 0.02) seqOf.delete(slot)
        else seqOf.set(slot, log.append(slot))
        if (write % 50_000 === 0) expect(walk(log, seqOf), `seed ${seed}`).toEqual(inOrder(seqOf))
      }
      expect(walk(log, seqOf), `seed ${seed}`).toEqual(inOrder(seqOf))
      expect(log.count, `seed ${seed}`).toBe(seqOf.size)
      // 16 bytes a record, and the youngest segments, which stay dense.
      expect(log.bytes, `seed ${seed}`).toBeLessThan(seqOf.size * 16 + 272 * 1024)
    },
  )

  it('does not grow with the number of writes because of a few records that are never overwritten', () => {
    const log = new ChangeLog()
    for (let slot = 0; slot < 2000; slot++) log.append(FIRST_SLOT + slot)
    let seq = log.append(9999)
    for (let write = 0; write < 6_000_000; write++) {
      log.remove(seq)
      seq = log.append(9999)
    }
    expect(log.count).toBe(2001)
    expect(log.bytes).toBeLessThan(320 * 1024)
    expect(log.next(2000)).toBe(9999)
  })
})

function inOrder(seqOf: ReadonlyMap<number, number>): number[] {
  return [...seqOf].sort(([, one], [, two]) => one - two).map(([slot]) => slot)
}
