// What happens to peers, as lines of the log: what repeats is counted each time and said the 1st, 10th, 100th time.

import { describe, expect, test } from 'vitest'
import { PeerLog } from '../../server/peer-log.ts'

type Line = [level: string, phrase: string, fields: object]

function setUp(): { log: PeerLog; lines: Line[]; phrases(): string[] } {
  const lines: Line[] = []
  const to = (level: string) => (fields: object, phrase: string) => void lines.push([level, phrase, fields])
  const logger = { debug: to('debug'), info: to('info'), warn: to('warn'), error: to('error') }
  return { log: new PeerLog(logger), lines, phrases: () => lines.map(([, phrase]) => phrase) }
}

describe('connections', () => {
  test('the first is no reconnect, those after it are', () => {
    const { log, lines } = setUp()
    for (let i = 0; i < 3; i++) {
      log.connected('b', '10.0.0.2:5', 'eu')
      log.lost('b', '10.0.0.2:5', 'not a byte')
    }
    expect(log.of('b')).toMatchObject({ reconnects: 2, lastError: 'not a byte' })
    expect(lines.slice(0, 2)).toEqual([
      ['info', 'peer connected', { peer: 'b', remote: '10.0.0.2:5', region: 'eu', reconnects: 0 }],
      ['warn', 'peer lost', { peer: 'b', remote: '10.0.0.2:5', why: 'not a byte' }],
    ])
  })

  test('those that were lost before anything was heard are not told of one by one', () => {
    const { log, lines } = setUp()
    for (let i = 0; i < 12; i++) log.lost('b', 'x', 'EPIPE', false)
    expect(lines.map(([, phrase, fields]) => [phrase, fields])).toEqual(
      [1, 10].map((times) => ['peer lost', { peer: 'b', remote: 'x', why: 'EPIPE', times }]),
    )
  })

  test('of two that were dialed at the same time, the one that gave way is no reconnect', () => {
    const { log } = setUp()
    log.connected('b', 'x', '')
    log.connected('b', 'y', '')
    log.superseded('b')
    expect(log.of('b').reconnects).toBe(0)
  })
})

describe('what repeats', () => {
  test('clocks that drift apart are a warning now and then, and no refusal', () => {
    const { log, lines } = setUp()
    log.connected('b', 'x', '')
    for (let i = 0; i < 12; i++) log.event('clocks apart', { peer: 'b', skewMs: -800 })
    expect(lines.filter(([, phrase]) => phrase === 'clocks apart')).toEqual([
      ['warn', 'clocks apart', { peer: 'b', skewMs: -800, times: 1 }],
      ['warn', 'clocks apart', { peer: 'b', skewMs: -800, times: 10 }],
    ])
    expect(log.of('b').refusals).toBe(0)
  })

  test('is said the 1st, 10th and 100th time', () => {
    const { log, lines } = setUp()
    for (let i = 0; i < 200; i++) log.failed('b', 'b:1', 'refused')
    expect(lines.map(([, , fields]) => fields)).toEqual(
      [1, 10, 100].map((times) => ({ peer: 'b', address: 'b:1', why: 'refused', times })),
    )
  })

  test('is counted apart for each peer, and anew when it connected', () => {
    const { log, phrases } = setUp()
    log.failed('b', 'b:1', 'x')
    log.failed('c', 'c:1', 'x')
    log.failed('b', 'b:1', 'x')
    log.connected('b', 'r', '')
    log.failed('b', 'b:1', 'x')
    expect(phrases()).toEqual(['peer unreachable', 'peer unreachable', 'peer connected', 'peer unreachable'])
  })

  test('under ever new names it is counted together: neither the log nor the memory fills up', () => {
    const { log, lines } = setUp()
    for (let i = 0; i < 100_000; i++) log.refused(`stranger ${i}`, 'r', 'cluster', 'of another cluster')
    expect(log.refusals).toBe(100_000)
    expect(lines.length).toBeLessThan(300)
  })
})

describe('refusals', () => {
  test('are counted for a peer that is known, in both directions', () => {
    const { log, phrases } = setUp()
    log.connected('b', 'r', '')
    log.refused('b', 'r', 'label', 'a live server with that name')
    log.refusedBy('b', 'r', 'removed', 'it was removed')
    expect(log.of('b')).toMatchObject({ refusals: 2, lastError: 'it was removed' })
    expect(log.refusals).toBe(2)
    expect(phrases()).toEqual(['peer connected', 'peer refused', 'refused by peer'])
  })

  test.each(['closing', 'new boot'])('a server that says %s refuses nobody', (code) => {
    const { log, lines } = setUp()
    log.refusedBy('b', 'r', code, 'bye')
    expect(log.refusals).toBe(0)
    expect(lines).toEqual([])
  })
})

describe('a member without a link', () => {
  test('is worth a warning after 15 s, and again a good while later', () => {
    const { log, phrases } = setUp()
    for (let second = 0; second <= 15; second++) log.missing(['b'], second * 1000)
    expect(phrases()).toEqual([])
    log.missing(['b'], 15_001)
    expect(phrases()).toEqual(['no link to member'])
    for (let second = 16; second <= 90; second++) log.missing(['b'], second * 1000)
    expect(phrases()).toHaveLength(1)
    log.missing(['b'], 91_000)
    expect(phrases()).toHaveLength(2)
  })

  test('not if it was linked in between', () => {
    const { log, phrases } = setUp()
    log.missing(['b'], 0)
    log.missing([], 10_000)
    log.missing(['b'], 11_000)
    log.missing(['b'], 20_000)
    expect(phrases()).toEqual([])
  })
})

describe('events of the replicator', () => {
  test('a full round is worth a line, a small one is not', () => {
    const { log, phrases } = setUp()
    log.event('round started', { peer: 'b', full: false })
    log.event('round ended', { peer: 'b', full: false })
    expect(phrases()).toEqual([])
    log.event('round started', { peer: 'b', full: true })
    log.event('round ended', { peer: 'b', full: true })
    expect(phrases()).toEqual(['full sync started', 'peer caught up'])
  })

  test('skew is said as what repeats is, and remembered', () => {
    const { log, lines } = setUp()
    for (let i = 0; i < 10; i++) log.event('clock skew', { peer: 'b', aheadMs: 6000, reason: 'b is ahead' })
    expect(lines).toEqual([
      ['warn', 'clock skew', { peer: 'b', aheadMs: 6000, reason: 'b is ahead', times: 1 }],
      ['warn', 'clock skew', { peer: 'b', aheadMs: 6000, reason: 'b is ahead', times: 10 }],
    ])
    expect(log.of('b')).toMatchObject({ refusals: 10, lastError: 'b is ahead' })
  })

  test.each(['clock set back', 'member forgotten', 'member removed'] as const)(
    '%s is always said',
    (name) => {
      const { log, phrases } = setUp()
      log.event(name, { member: 'b' })
      log.event(name, { member: 'b' })
      expect(phrases()).toEqual([name, name])
    },
  )
})
