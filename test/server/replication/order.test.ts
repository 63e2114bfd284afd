import { describe, expect, test } from 'vitest'
import { isNewer } from '../../../server/replication/order.ts'
import { RecordKind } from '../../../server/store/store.ts'
import { bootOf } from '../../helpers/replicas.ts'

const { Value, Ghost, Tombstone } = RecordKind
type Version = readonly [hlc: number, origin: string, kind: RecordKind]
const [a, b] = [bootOf('a'), bootOf('b')]

describe('the order of versions', () => {
  test.each<[why: string, newer: Version, older: Version]>([
    ['the later clock', [2, a, Value], [1, b, Tombstone]],
    ['of one clock reading the greater boot', [1, b, Value], [1, a, Tombstone]],
    ['of one version a tombstone before a value', [1, a, Tombstone], [1, a, Value]],
    ['of one version a tombstone before a ghost', [1, a, Tombstone], [1, a, Ghost]],
    ['clocks beyond 32 bits', [2 ** 52 + 1, a, Value], [2 ** 52, b, Value]],
  ])('%s wins, and only one way round', (_, newer, older) => {
    expect(isNewer(...newer, ...older)).toBe(true)
    expect(isNewer(...older, ...newer)).toBe(false)
  })

  test.each([[Value], [Ghost], [Tombstone]])('kind %i does not beat itself', (kind) => {
    expect(isNewer(1, a, kind, 1, a, kind)).toBe(false)
  })

  test('a ghost and its value: neither beats the other', () => {
    expect(isNewer(1, a, Ghost, 1, a, Value)).toBe(false)
    expect(isNewer(1, a, Value, 1, a, Ghost)).toBe(false)
  })

  test('any two different versions have one winner', () => {
    const all: Version[] = []
    for (const hlc of [1, 2, 2 ** 52])
      for (const boot of [a, b]) for (const kind of [Value, Tombstone]) all.push([hlc, boot, kind])
    for (const one of all)
      for (const other of all)
        if (one !== other) expect(isNewer(...one, ...other)).not.toBe(isNewer(...other, ...one))
  })
})
