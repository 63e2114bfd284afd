// How much a soak does, for how long it may take and what the machine allows.

import { describe, expect, test } from 'vitest'
import { ATTACKS, connectionsIn, fitSizes, planSoak, sizeIn } from './plan.ts'

describe('a plan', () => {
  test('has each attack alone, then all together, between two quiet phases', () => {
    const { phases } = planSoak(10, 10_000)
    expect(phases.map(({ attacks }) => attacks)).toEqual([
      [],
      ...ATTACKS.map((attack) => [attack]),
      ATTACKS,
      [],
    ])
  })

  test('has as many connections together as alone, and fewer a second', () => {
    const { sizes, phases } = planSoak(10, 10_000)
    const [, , churn] = phases
    const together = phases.at(-2)
    if (churn === undefined || together === undefined) expect.fail()
    expect([sizeIn(churn, 'churn', sizes), sizeIn(together, 'churn', sizes)]).toEqual([2000, 400])
    expect(sizeIn(together, 'idle', sizes)).toBe(10_000)
  })

  test.each([0.5, 1, 10, 600])('of %d minutes takes about so long', (minutes) => {
    const { phases, warmUpMs } = planSoak(minutes, 1000)
    const plannedMs = phases.reduce((sum, { ms }) => sum + ms, warmUpMs)
    expect(plannedMs).toBeLessThanOrEqual(minutes * 60_000)
    // The rest is for the server to settle.
    expect(plannedMs).toBeGreaterThan(minutes * 60_000 * 0.7)
    for (const { ms } of phases) expect(ms).toBeGreaterThan(500)
  })

  test('of few connections is small in all that stays open', () => {
    const { sizes } = planSoak(1, 500)
    expect(sizes).toMatchObject({ idle: 500, slow: 100, deaf: 100 })
    expect(planSoak(1, 10_000).sizes).toMatchObject({ idle: 10_000, slow: 1000, deaf: 1000 })
  })
})

describe('the limit of open files', () => {
  const { sizes } = planSoak(10, 10_000)

  test('changes nothing when it is high, or unknown', () => {
    expect(fitSizes(sizes, 1_000_000)).toEqual({ sizes, lowered: undefined })
    expect(fitSizes(sizes, undefined)).toEqual({ sizes, lowered: undefined })
  })

  test.each([2048, 4096, 8192])('of %d lowers what stays open, and it says so', (limit) => {
    const fitted = fitSizes(sizes, limit)
    expect(connectionsIn(fitted.sizes)).toBeLessThan(limit)
    expect(connectionsIn(fitted.sizes)).toBeGreaterThan(limit * 0.8)
    expect(fitted.sizes.churn).toBe(sizes.churn)
    expect(fitted.lowered).toContain(`idle 10000 -> ${fitted.sizes.idle}`)
    expect(fitted.lowered).toContain(`${limit}`)
  })

  test('that leaves nothing is an error', () => {
    expect(() => fitSizes(sizes, 1024)).toThrow(/ulimit -n/)
  })
})
