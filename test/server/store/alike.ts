// Expectations for loops: as vitest's, which take their time to prepare a message that is hardly ever needed.

import { expect } from 'vitest'

/** As toBe. */
export function same(seen: unknown, wanted: unknown): void {
  if (!Object.is(seen, wanted)) expect(seen).toBe(wanted)
}

/** As toEqual, for plain data whose fields stand in the same order. */
export function alike(seen: unknown, wanted: unknown): void {
  if (!Object.is(seen, wanted) && JSON.stringify(seen) !== JSON.stringify(wanted))
    expect(seen).toEqual(wanted)
}
