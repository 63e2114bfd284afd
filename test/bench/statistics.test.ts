// The arithmetic behind published figures: a wrong median would go unnoticed in a table.

import { describe, expect, it } from 'vitest'
import { mebibytes, median, percentile, ratio, thousands } from './statistics.ts'

describe('median', () => {
  it('is the middle of an odd count, in any order', () => {
    expect(median([9, 1, 5])).toBe(5)
  })

  it('is the mean of the two middle ones of an even count', () => {
    expect(median([10, 1, 3, 4])).toBe(3.5)
  })

  it('compares numbers, not texts', () => {
    expect(median([100, 20, 3])).toBe(20)
  })

  it('leaves its argument alone', () => {
    const values = [3, 1, 2]
    median(values)
    expect(values).toEqual([3, 1, 2])
  })

  it('is NaN of nothing', () => {
    expect(median([])).toBeNaN()
  })
})

describe('percentile', () => {
  it('is the smallest value that so many percent do not exceed', () => {
    const hundred = Float64Array.from({ length: 100 }, (_, index) => 100 - index)
    expect(percentile(hundred, 50)).toBe(50)
    expect(percentile(hundred, 99)).toBe(99)
    expect(percentile(hundred, 100)).toBe(100)
  })

  it('is the only value of one, and NaN of none', () => {
    expect(percentile(Float64Array.of(7), 1)).toBe(7)
    expect(percentile(new Float64Array(), 50)).toBeNaN()
  })
})

describe('figures as text', () => {
  it('shows thousands with a decimal only when there are few', () => {
    expect(thousands(1_234_567)).toBe('1235')
    expect(thousands(9_876)).toBe('9.9')
  })

  it('shows a dash for what was not measured', () => {
    expect(thousands(Number.NaN)).toBe('–')
    expect(mebibytes(Number.NaN)).toBe('–')
    expect(ratio(1, 0)).toBe('–')
    expect(ratio(Number.NaN, 2)).toBe('–')
  })

  it('shows ratios with two decimals, and mebibytes whole', () => {
    expect(ratio(2, 3)).toBe('0.67')
    expect(mebibytes(5 * 1024 ** 2)).toBe('5')
  })
})
