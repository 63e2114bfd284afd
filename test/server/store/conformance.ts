// What every store must do, as one suite run for every implementation: describeStore(name, make).
//
// Byte limits are not small here, since a store may need some room to work in; entry limits are.

import { describe, expect, it } from 'vitest'
import { describeContents } from './conformance/contents.ts'
import { describeExpiry } from './conformance/expiry.ts'
import { describeFlush } from './conformance/flush.ts'
import { describeLimits } from './conformance/limits.ts'
import { describeMarkers } from './conformance/markers.ts'
import { suiteOf } from './conformance/suite.ts'
import { describeWalks } from './conformance/walks.ts'
import type { MakeStore } from './driver.ts'
import { describeExhaustively } from './exhaustive.ts'

export function describeStore(name: string, make: MakeStore): void {
  const suite = suiteOf(make)
  describe(name, () => {
    describeContents(suite)
    describeLimits(suite)
    describeMarkers(suite)
    describeExpiry(suite)
    describeFlush(suite)
    describeWalks(suite)
    describeExhaustively(make)

    it('shares nothing with another store', () => {
      const [one, other] = [suite.withEntries(10), suite.withEntries(10)]
      one.put('a', 'x')
      expect(other.peek('a')).toBeUndefined()
      expect(other.store.tailSeq).toBe(0)
    })
  })
}
