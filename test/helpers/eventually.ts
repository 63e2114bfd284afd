// For what becomes true without an event to await: asks until it holds, with more patience than a busy machine needs.

import { expect } from 'vitest'

const PATIENCE_MS = 15_000
const EVERY_MS = 10

/** `await eventually(() => thing()).toBe(…)`: any assertion, on what the probe answers in the end. */
export function eventually<T>(probe: () => T) {
  return expect.poll(probe, { timeout: PATIENCE_MS, interval: EVERY_MS })
}
