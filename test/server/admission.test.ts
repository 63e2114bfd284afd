// Who may come in when it gets tight: the limits of connections and of open files, candidates, and who makes way.

import { describe, expect, test } from 'vitest'
import { Admission, type Visit } from '../../server/admission.ts'
import { Arrivals } from '../../server/arrivals.ts'
import { descriptorLimit, descriptorsOpen } from '../../server/descriptors.ts'
import { resolveOptions, type ServerOptions } from '../../server/options.ts'
import { Counters } from '../../server/statistics.ts'

const UNKNOWN = -1

/** An admission, what it counted and warned of, and who was closed by it. */
function make(options: ServerOptions) {
  const counters = new Counters()
  const warnings: object[] = []
  const closed: string[] = []
  const silent = () => {}
  const logger = {
    ...{ debug: silent, info: silent, error: silent },
    warn: (facts: object, phrase: string) => void warnings.push({ ...facts, phrase }),
  }
  const resolved = resolveOptions({ ...options, logger })
  const admission = new Admission(resolved, new Arrivals(resolved, counters, logger))
  return {
    admission,
    counters,
    warnings,
    closed,
    enter: (name: string, nowMs = 0, descriptor = UNKNOWN): Visit | undefined =>
      admission.enter(descriptor, nowMs, { destroy: () => void closed.push(name) }),
  }
}

describe('below the limit', () => {
  test('anybody is welcome, and whoever leaves makes room', () => {
    const { enter, counters } = make({ maxConnections: 2, descriptorsReserved: 0 })
    const first = enter('a')
    expect([first?.isCandidate, enter('b')?.isCandidate]).toEqual([false, false])
    expect(enter('c')).toBe(undefined)
    first?.leave()
    first?.leave()
    expect(enter('d')?.isCandidate).toBe(false)
    expect(enter('e')).toBe(undefined)
    expect(counters.refused).toBe(2)
  })
})

describe('beyond the limit', () => {
  test('there is half of the reserve for candidates; then the oldest makes way', () => {
    const { enter, counters, closed } = make({ maxConnections: 1, descriptorsReserved: 5 })
    enter('client')
    expect(enter('x')?.isCandidate).toBe(true)
    expect(enter('y')?.isCandidate).toBe(true)
    expect(closed).toEqual([])
    expect(enter('z')?.isCandidate).toBe(true)
    expect([closed, counters.refused]).toEqual([['x'], 1])
  })

  test('whoever turned out to be a server stays, and nobody else comes in its place', () => {
    const { enter, closed } = make({ maxConnections: 1, descriptorsReserved: 4 })
    enter('client')
    for (const name of ['server 1', 'server 2']) {
      const visit = enter(name)
      visit?.confirm()
      expect(visit?.isCandidate).toBe(false)
    }
    expect(enter('x')).toBe(undefined)
    expect(closed).toEqual([])
  })

  test('a candidate has as long as anybody has to authenticate', () => {
    const { admission, enter, closed, counters } = make({
      maxConnections: 1,
      descriptorsReserved: 20,
      authTimeoutMs: 1000,
    })
    enter('client')
    enter('x', 100)
    enter('server', 100)?.confirm()
    enter('y', 600)
    admission.check(1100)
    expect(closed).toEqual([])
    admission.check(1101)
    expect(closed).toEqual(['x'])
    admission.check(10_000)
    expect(closed).toEqual(['x', 'y'])
    expect(counters.refused).toBe(2)
  })

  test('a candidate stays one when others leave: it was not promised more', () => {
    const { enter } = make({ maxConnections: 1, descriptorsReserved: 20 })
    const client = enter('client')
    const candidate = enter('x')
    client?.leave()
    expect(candidate?.isCandidate).toBe(true)
  })
})

describe('the limit of open files', () => {
  test('lowers that of connections, with a warning that has the figures', () => {
    const { admission, enter, warnings } = make({ maxConnections: 10_000, descriptorsReserved: 128 })
    admission.keepReserve(1024, 24)
    expect(warnings).toEqual([
      {
        phrase: 'the limit of open files allows fewer connections',
        maxConnections: 10_000,
        connections: 872,
        descriptorLimit: 1024,
        descriptorsReserved: 128,
      },
    ])
    for (let i = 0; i < 872; i++) expect(enter(`client ${i}`)?.isCandidate).toBe(false)
    expect(enter('one more')?.isCandidate).toBe(true)
  })

  test('that is unknown, or high, changes nothing', () => {
    const { admission, enter, warnings } = make({ maxConnections: 2, descriptorsReserved: 0 })
    admission.keepReserve(undefined, 24)
    admission.keepReserve(1_000_000, 24)
    expect(warnings).toEqual([])
    expect([enter('a')?.isCandidate, enter('b')?.isCandidate, enter('c')]).toEqual([false, false, undefined])
  })

  test('so low that nothing is left still lets one in', () => {
    const { admission, enter } = make({ descriptorsReserved: 128 })
    admission.keepReserve(64, 30)
    expect(enter('a')?.isCandidate).toBe(false)
  })

  test('counts for whoever else in this process opens files: high descriptors are for candidates', () => {
    const { admission, enter, closed } = make({ descriptorsReserved: 4 })
    admission.keepReserve(50_000, 24)
    expect(enter('client', 0, 49_997)?.isCandidate).toBe(false)
    expect(enter('x', 0, 49_998)?.isCandidate).toBe(true)
    expect(enter('y', 0, 49_999)?.isCandidate).toBe(true)
    expect(enter('z', 0, 49_999)?.isCandidate).toBe(true)
    expect(closed).toEqual(['x'])
  })
})

test('the log has the first refusal and every tenfold', () => {
  const { enter, warnings } = make({ maxConnections: 1, descriptorsReserved: 0 })
  for (let i = 0; i < 1000; i++) enter('x')
  expect(warnings).toMatchObject([
    { times: 1, why: 'too many connections', maxConnections: 1 },
    { times: 10 },
    { times: 100 },
  ])
})

test('this system tells', () => {
  const limit = descriptorLimit()
  if (process.platform === 'linux') expect(limit).toBeGreaterThan(descriptorsOpen())
  if (process.platform === 'linux') expect(descriptorsOpen()).toBeGreaterThan(2)
  expect(limit === undefined || Number.isInteger(limit)).toBe(true)
})
