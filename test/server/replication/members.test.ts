import { describe, expect, test } from 'vitest'
import { MEMBERS_MAX } from '../../../protocol/limits.ts'
import { type MemberNews, Members } from '../../../server/replication/members.ts'
import { bootOf } from '../../helpers/replicas.ts'

const FORGET_MS = 1000

function members(): Members {
  return new Members('me', FORGET_MS)
}

function news(label: string, more: Partial<MemberNews> = {}): MemberNews {
  return { label, address: undefined, boot: bootOf(label), unseenMs: 0, ...more }
}

describe('members', () => {
  test('one is admitted once; this server itself never is', () => {
    const all = members()
    const a = all.admit('a', 5)
    expect(all.admit('a', 9)).toBe(a)
    expect(a?.seenMs).toBe(5)
    expect(all.admit('me', 5)).toBeUndefined()
    expect(all.size).toBe(1)
  })

  test(`no more than ${MEMBERS_MAX}, of which those that are known stay known`, () => {
    const all = members()
    for (let i = 0; i < MEMBERS_MAX; i++) expect(all.admit(`m${i}`, 0)).toBeDefined()
    expect(all.isFull).toBe(true)
    expect(all.admit('one more', 0)).toBeUndefined()
    expect(all.admit('m3', 0)).toBeDefined()
    expect(all.hear([news('hearsay')], 0, undefined)).toEqual([])
    expect(all.size).toBe(MEMBERS_MAX)
  })

  test('a new boot under a known label ends the former at once: it knows nothing, and its gap is the horizon', () => {
    const all = members()
    const a = all.admit('a', 0)
    if (a === undefined) throw new Error('not admitted')
    all.begin(a, bootOf('a1'), 0)
    a.acked = 10
    a.ackedHlc = 100
    a.agreed = 9
    a.met = true
    a.receivedSeq = 8
    a.vector = new Map([['b', { boot: bootOf('b'), hlc: 7 }]])
    all.begin(a, bootOf('a1'), 77)
    expect(a).toMatchObject({ acked: 10, agreed: 9, met: true, gap: 0 })
    all.begin(a, bootOf('a2'), 77)
    expect(a).toMatchObject({
      acked: 0,
      ackedHlc: 0,
      agreed: 0,
      met: false,
      receivedSeq: 0,
      gap: 77,
      gapSinceRound: 77,
    })
    expect(a.vector.size).toBe(0)
    expect(all.ofBoot(bootOf('a1'))).toBeUndefined()
    expect(all.ofBoot(bootOf('a2'))).toBe(a)
  })

  test('a gap only grows until a round closes it', () => {
    const a = members().admit('a', 0)
    a?.missed(5)
    a?.missed(3)
    expect(a).toMatchObject({ gap: 5, gapSinceRound: 5 })
  })

  test('who is unseen for too long is removed, and that life of it may not come back', () => {
    const all = members()
    const a = all.admit('a', 0)
    all.admit('listed:1', 0)
    if (a !== undefined) all.begin(a, bootOf('a'), 0)
    expect(all.expire(FORGET_MS)).toEqual([])
    expect(all.expire(FORGET_MS + 1).map(({ label }) => label)).toEqual(['a', 'listed:1'])
    expect(all.size).toBe(0)
    expect(all.isRemoved(bootOf('a'))).toBe(true)
    expect(all.removed()).toEqual([{ label: 'a', boot: bootOf('a') }])
  })

  test('also who is known from hearsay alone', () => {
    const all = members()
    all.hear([news('a')], 0, undefined)
    all.expire(FORGET_MS + 1)
    expect(all.isRemoved(bootOf('a'))).toBe(true)
  })

  test('a removal ends that boot and no other', () => {
    const all = members()
    const a = all.admit('a', 0)
    if (a !== undefined) all.begin(a, bootOf('a2'), 0)
    expect(all.remove({ label: 'a', boot: bootOf('a1') })).toBe(true)
    expect(all.get('a')).toBe(a)
    expect(all.remove({ label: 'a', boot: bootOf('a2') })).toBe(true)
    expect(all.get('a')).toBeUndefined()
    expect(all.ofBoot(bootOf('a2'))).toBeUndefined()
    expect(all.remove({ label: 'a', boot: bootOf('a2') })).toBe(false)
  })

  test('removals are remembered up to a number, the oldest are forgotten first', () => {
    const all = members()
    for (let i = 0; i <= MEMBERS_MAX; i++) all.remove({ label: `m${i}`, boot: bootOf(`m${i}`) })
    expect(all.removed()).toHaveLength(MEMBERS_MAX)
    expect(all.isRemoved(bootOf('m0'))).toBe(false)
    expect(all.isRemoved(bootOf('m1'))).toBe(true)
  })
})

describe('what members say of others', () => {
  test('makes new members, seen when the teller saw them; of their boots it is hearsay', () => {
    const all = members()
    const found = all.hear([news('a', { address: 'h:1', unseenMs: 300 }), news('b')], 1000, undefined)
    expect(found.map(({ label, address, seenMs, boot }) => [label, address, seenMs, boot])).toEqual([
      ['a', 'h:1', 700, undefined],
      ['b', undefined, 1000, undefined],
    ])
    expect(found.map(({ heardBoot }) => heardBoot)).toEqual([bootOf('a'), bootOf('b')])
    expect(all.hear([news('a', { unseenMs: 100 })], 1000, undefined)).toEqual([])
    expect(all.get('a')).toMatchObject({ seenMs: 900, address: 'h:1' })
    all.hear([news('a', { unseenMs: 500 })], 1000, undefined)
    expect(all.get('a')?.seenMs).toBe(900)
  })

  test.each<[why: string, MemberNews]>([
    ['this server', news('me')],
    ['one unseen for too long', news('a', { unseenMs: FORGET_MS + 1 })],
    ['a life that was removed', news('gone')],
    ['a removed server of which only the name is known', news('gone', { boot: undefined })],
    ['this server by its address', news('self:1', { boot: undefined })],
    ['an address that turned out to be somebody', news('known:1', { boot: undefined })],
    ['an address at which a member listens', news('at:1', { boot: undefined })],
  ])('is no news: %s', (_, item) => {
    const all = members()
    all.remove({ label: 'gone', boot: bootOf('gone') })
    all.resolve('known:1')
    const known = all.admit('known', 0)
    if (known !== undefined) known.address = 'at:1'
    expect(all.hear([item], 0, 'self:1')).toEqual([])
    expect([...all].map(({ label }) => label)).toEqual(['known'])
  })

  test('another life of a removed server is news', () => {
    const all = members()
    all.remove({ label: 'a', boot: bootOf('a1') })
    expect(all.hear([news('a', { boot: bootOf('a2') })], 0, undefined)).toHaveLength(1)
  })

  test('an address that stood for nobody is resolved by who answers there; a reached member is not', () => {
    const all = members()
    all.admit('h:1', 0)
    all.hear([news('a', { address: 'h:1' })], 0, undefined)
    expect([...all].map(({ label }) => label)).toEqual(['a'])
    const b = all.admit('h:2', 0)
    if (b !== undefined) all.begin(b, bootOf('b'), 0)
    all.resolve('h:2')
    expect(all.get('h:2')).toBe(b)
  })

  test('is passed on with the time unseen', () => {
    const all = members()
    const a = all.admit('a', 200)
    if (a === undefined) throw new Error('not admitted')
    a.address = 'h:1'
    all.begin(a, bootOf('a'), 0)
    expect(all.news(500)).toEqual([{ label: 'a', address: 'h:1', boot: bootOf('a'), unseenMs: 300 }])
    expect(all.news(100)).toEqual([{ label: 'a', address: 'h:1', boot: bootOf('a'), unseenMs: 0 }])
  })
})
