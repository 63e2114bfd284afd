// The table of origins by itself, and what becomes of records when it is full.

import { describe, expect, test } from 'vitest'
import { HybridClock, hlcOfWall } from '../../../server/clock.ts'
import { bootIdOf, NO_ORIGIN, Origins } from '../../../server/origins.ts'
import { replicationDefaults } from '../../../server/replication/defaults.ts'
import { Forgetting } from '../../../server/replication/forgetting.ts'
import { Knowledge } from '../../../server/replication/knowledge.ts'
import { Members } from '../../../server/replication/members.ts'
import { Merged, Merger, Source } from '../../../server/replication/merge.ts'
import { emptyRemoteRecord } from '../../../server/replication/records.ts'
import { type Replica, ReplicationCounters } from '../../../server/replication/replica.ts'
import { HeapStore } from '../../../server/store/heap-store.ts'
import { emptyHead, NO_SLOT } from '../../../server/store/store.ts'
import { bootOf, bytesOf, spanOf, WALL_MS } from '../../helpers/replicas.ts'

const self = bootOf('self')

describe('the table of origins', () => {
  test('gives out an index per boot, and tells it back', () => {
    const origins = new Origins(self)
    const a = origins.indexOf(bootOf('a'))
    expect(origins.self).not.toBe(a)
    expect(origins.indexOf(bootOf('a'))).toBe(a)
    expect(origins.idOf(a)).toBe(bootOf('a'))
    expect(origins.idOf(origins.self)).toBe(self)
    expect(origins.count).toBe(2)
  })

  test('has the words of a boot id as they stand on the wire, bit 31 set or not', () => {
    const origins = new Origins(self)
    const index = origins.indexOf('fffefdfc01020304')
    const view = new DataView(new ArrayBuffer(8))
    view.setInt32(0, origins.highWord(index))
    view.setInt32(4, origins.lowWord(index))
    expect(bootIdOf(new Uint8Array(view.buffer))).toBe('fffefdfc01020304')
  })

  test('a boot id is read from the middle of bytes', () => {
    expect(bootIdOf(Buffer.concat([Buffer.alloc(3), bytesOf(self), Buffer.alloc(3)]), 3)).toBe(self)
  })

  test('an index that was not given out is an error in the program', () => {
    expect(() => new Origins(self).idOf(7)).toThrow('origin 7')
  })

  test('full, it gives out no more until those are reclaimed that no record bears', () => {
    const origins = new Origins(self, 4)
    const [a, b, c] = ['a', 'b', 'c'].map((label) => origins.indexOf(bootOf(label)))
    expect(origins.indexOf(bootOf('d'))).toBe(NO_ORIGIN)
    expect(origins.reclaim((index) => index !== b)).toBe(a)
    expect(origins.indexOf(bootOf('d'))).toBe(b)
    expect(() => origins.idOf(c as number)).not.toThrow()
    expect(origins.indexOf(bootOf('e'))).toBe(NO_ORIGIN)
  })

  test('its own boot is never reclaimed; of the others the oldest is named', () => {
    const origins = new Origins(self, 3)
    origins.indexOf(bootOf('a'))
    expect(origins.reclaim(() => false)).toBe(NO_ORIGIN)
    expect(origins.idOf(origins.self)).toBe(self)
    expect(origins.count).toBe(1)
  })

  test('an index that is given out again counts as young', () => {
    const origins = new Origins(self, 3)
    const a = origins.indexOf(bootOf('a'))
    const b = origins.indexOf(bootOf('b'))
    origins.reclaim((index) => index !== a)
    expect(origins.indexOf(bootOf('c'))).toBe(a)
    expect(origins.reclaim(() => true)).toBe(b)
  })
})

describe('a full table of origins', () => {
  /** Takes records of any boot, with room for three boots beside its own. */
  function small() {
    const store = new HeapStore({ entriesMax: 100, bytesMax: 1 << 20, hashKey: Buffer.alloc(16, 1) })
    const replica: Replica = {
      store,
      clock: new HybridClock(),
      origins: new Origins(self, 4),
      members: new Members('self', 1e9),
      options: replicationDefaults('lan', 1 << 20),
      counters: new ReplicationCounters(),
      valueBytesMax: 100,
      boot: self,
      label: 'self',
      horizon: 0,
      declinedHlc: 0,
      comingHorizon: 0,
      watermark: 0,
      wallMs: WALL_MS,
      monoMs: 1000,
    }
    const merger = new Merger(replica, new Forgetting(replica, new Knowledge(replica)))
    let hlc = hlcOfWall(WALL_MS)
    const take = (key: string, label: string) => {
      const origin = bootOf(label)
      const record = { ...emptyRemoteRecord(), key: spanOf(key), value: spanOf(label), hlc: ++hlc, origin }
      return merger.merge(record, Source.Stream)
    }
    const originAt = (key: string) => {
      const slot = store.find(store.hash(spanOf(key)), spanOf(key))
      if (slot === NO_SLOT) return undefined
      const head = emptyHead()
      store.head(slot, head)
      return replica.origins.idOf(head.origin)
    }
    return { replica, take, originAt }
  }

  test('is reclaimed: a boot whose records were all overwritten makes room, and nothing is lost', () => {
    const { replica, take, originAt } = small()
    for (const label of ['a', 'b', 'c']) take(label, label)
    take('a', 'b')
    expect(take('d', 'd')).toBe(Merged.Applied)
    expect(['a', 'b', 'c', 'd'].map(originAt)).toEqual(['b', 'b', 'c', 'd'].map(bootOf))
    expect(replica.horizon).toBe(0)
  })

  test('drops the records of the oldest boot when all are borne', () => {
    const { take, originAt } = small()
    for (const label of ['a', 'b', 'c']) take(label, label)
    take('a2', 'a')
    expect(take('d', 'd')).toBe(Merged.Applied)
    expect(['a', 'a2', 'b', 'c', 'd'].map(originAt)).toEqual([
      undefined,
      undefined,
      bootOf('b'),
      bootOf('c'),
      bootOf('d'),
    ])
  })

  test('and whoever may not know those records pays: the horizon rises, and its gap', () => {
    const { replica, take } = small()
    replica.members.admit('away', 0)
    for (const label of ['a', 'b', 'c', 'd']) take(label, label)
    expect(replica.horizon).toBe(hlcOfWall(WALL_MS) + 1)
    expect(replica.members.get('away')?.gap).toBe(replica.horizon)
  })

  test('the oldest boot may be that of the very record that is overwritten', () => {
    const { take, originAt } = small()
    for (const label of ['a', 'b', 'c']) take(label, label)
    expect(take('a', 'd')).toBe(Merged.Applied)
    expect(originAt('a')).toBe(bootOf('d'))
  })

  test('a thousand boots pass through three places', () => {
    const { replica, take } = small()
    for (let i = 0; i < 1000; i++) expect(take('key', `${i}`)).toBe(Merged.Applied)
    expect(replica.origins.count).toBeLessThanOrEqual(4)
  })
})
