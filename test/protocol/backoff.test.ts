// Waits between attempts: exponential, with full jitter, bounded.

import { expect, test } from 'vitest'
import { backoffMs } from '../../protocol/backoff.ts'
import { randomFrom } from '../server/store/random.ts'

const OPTIONS = { minMs: 50, maxMs: 2000 }
const ALMOST_ONE = 1 - 2 ** -53

test('the bound doubles from min to max and stays there', () => {
  const bounds = [0, 1, 2, 3, 4, 5, 6, 7, 1000, 2 ** 31].map(
    (attempt) => backoffMs(attempt, ALMOST_ONE, OPTIONS) + 1,
  )
  expect(bounds).toEqual([50, 100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000])
})

test('anything from 0 up to the bound, evenly', () => {
  expect(backoffMs(3, 0, OPTIONS)).toBe(0)
  expect(backoffMs(3, 0.25, OPTIONS)).toBe(100)
  expect(backoffMs(3, 0.5, OPTIONS)).toBe(200)
  const random = randomFrom(1)
  for (let attempt = 0; attempt < 200; attempt++) {
    const waitMs = backoffMs(attempt, random.below(1000) / 1000, OPTIONS)
    expect(Number.isInteger(waitMs) && waitMs >= 0 && waitMs < 2000).toBe(true)
  }
})

test('min and max may be the same', () => {
  expect(backoffMs(0, 0.5, { minMs: 10, maxMs: 10 })).toBe(5)
  expect(backoffMs(9, 0.5, { minMs: 10, maxMs: 10 })).toBe(5)
})
