// What the parts of the conformance suite share: how to get a store, and the units their limits are told in.

import type { Retention } from '../../../../server/store/store.ts'
import { Driver, HASH_KEY, type MakeStore } from '../driver.ts'

export const KIB = 1024
export const MIB = 1024 * KIB
export const YEAR_MS = 366 * 24 * 3600 * 1000
/** Enough that only the limit of entries counts. */
const AMPLE_BYTES = 64 * MIB

export const forgetNothing: Retention = { mayForget: () => false }

/** The implementation under test: new stores, limited by entries or by bytes. */
export interface Suite {
  withEntries(entriesMax: number): Driver
  withBytes(bytesMax: number): Driver
}

export function suiteOf(make: MakeStore): Suite {
  const limited = (entriesMax: number, bytesMax: number) =>
    new Driver(make({ entriesMax, bytesMax, hashKey: HASH_KEY }))
  return {
    withEntries: (entriesMax) => limited(entriesMax, AMPLE_BYTES),
    withBytes: (bytesMax) => limited(Number.POSITIVE_INFINITY, bytesMax),
  }
}
