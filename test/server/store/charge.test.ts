import { describe, expect, it } from 'vitest'
import {
  chargeOf,
  INDEX_AND_LOG_BYTES,
  TIMED_CHARGE_BYTES,
  timedBytesOf,
} from '../../../server/store/charge.ts'

describe('charge', () => {
  it('is head, key and value in whole units, and the share of index and log', () => {
    expect(chargeOf(23, 100, 0)).toBe(168 + INDEX_AND_LOG_BYTES) // 40 + 123 = 163
    expect(chargeOf(23, 100, TIMED_CHARGE_BYTES)).toBe(184 + INDEX_AND_LOG_BYTES) // 183
    expect(chargeOf(8, 16, 0)).toBe(64 + INDEX_AND_LOG_BYTES) // whole already
  })

  it('has a least: the smallest record must be able to become a free extent', () => {
    expect(chargeOf(1, 0, 0)).toBe(48 + INDEX_AND_LOG_BYTES)
    expect(chargeOf(8, 0, 0)).toBe(48 + INDEX_AND_LOG_BYTES)
    expect(chargeOf(9, 0, 0)).toBe(56 + INDEX_AND_LOG_BYTES)
  })

  it('never falls when a part grows, is a multiple of 8 and leaves less than 8 bytes to rounding', () => {
    for (const timed of [0, TIMED_CHARGE_BYTES] as const)
      for (let key = 1; key <= 64; key++)
        for (let value = 0; value <= 64; value++) {
          const charge = chargeOf(key, value, timed)
          const needed = 40 + timed + key + value
          expect(charge % 8).toBe(0)
          expect(charge - INDEX_AND_LOG_BYTES).toBeGreaterThanOrEqual(needed)
          if (needed > 48) expect(charge - INDEX_AND_LOG_BYTES - needed).toBeLessThan(8)
          expect(chargeOf(key, value + 1, timed)).toBeGreaterThanOrEqual(charge)
        }
  })

  it('stays exact for the largest values', () => {
    expect(chargeOf(1024, 512 * 1024 * 1024, 0)).toBe(512 * 1024 * 1024 + 1024 + 40 + INDEX_AND_LOG_BYTES)
  })

  it('charges times when there is an expiry or a lifetime', () => {
    expect(timedBytesOf(0, 0)).toBe(0)
    expect(timedBytesOf(1_704_067_200_000, 0)).toBe(TIMED_CHARGE_BYTES)
    expect(timedBytesOf(0, 60_000)).toBe(TIMED_CHARGE_BYTES)
  })
})
