// Servers that find each other: real sockets, on loopback, where nothing of it leaves the machine. What a machine
// cannot carry is left out, with the system's reason.

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setImmediate as breath } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { CacheError } from '../../protocol/errors.ts'
import type { Discovery } from '../../server/discovery.ts'
import {
  announcement,
  freshPlace,
  GROUP,
  loopbackOnly,
  make,
  openSockets,
  ourAddress,
  reasonAgainst,
  started,
  voice,
} from '../helpers/discovery.ts'
import { eventually } from '../helpers/eventually.ts'

const SECRET = Buffer.from('a secret')
const DATAGRAMS_PER_ROUND_MAX = 1024

const noLoopback = await reasonAgainst(GROUP, loopbackOnly)
if (noLoopback !== undefined) console.log(`skipped: discovery over loopback; ${noLoopback}`)
if (ourAddress === undefined)
  console.log('skipped: datagrams from beyond loopback; no interface but loopback')

describe.skipIf(noLoopback !== undefined)('servers of one cluster', () => {
  test('find each other, and each announcement is reported', async () => {
    const place = await freshPlace()
    const one = await started({ ...place, announce: () => ({ host: '127.0.0.1', port: 11_142 }) })
    const two = await started({ ...place, announce: () => ({ host: '127.0.0.1', port: 11_143 }) })
    const first = `127.0.0.1:11142 ${one.label} ${one.boot}`
    const second = `127.0.0.1:11143 ${two.label} ${two.boot}`
    await eventually(() => one.found.slice(0, 2)).toEqual([second, second])
    await eventually(() => two.found.slice(0, 2)).toEqual([first, first])
    const { counters } = one.discovery
    expect(counters.heard).toBe(counters.found + counters.own)
    expect(counters.sent).toBeGreaterThan(1)
    expect(counters.failed).toBe(0)
    expect(two.lines).toEqual([
      {
        level: 'info',
        group: GROUP,
        port: place.port,
        interfaces: Object.keys(loopbackOnly),
        phrase: 'looking for servers',
      },
    ])
  })

  test('hear themselves, and say nothing of it', async () => {
    const one = await started(await freshPlace())
    await eventually(() => one.discovery.counters.own).toBeGreaterThan(1)
    expect(one.found).toEqual([])
  })

  test('that listen on all addresses, or on one of another family', async () => {
    const place = await freshPlace()
    const one = await started(place)
    const two = await started({ ...place, announce: () => ({ port: 2 }) })
    const three = await started({ ...place, announce: () => ({ host: '::1', port: 3 }) })
    await eventually(() => one.found).toContain(`127.0.0.1:2 ${two.label} ${two.boot}`)
    await eventually(() => two.found).toContain(`[::1]:3 ${three.label} ${three.boot}`)
  })

  test('say nothing until they listen, and then where', async () => {
    const place = await freshPlace()
    const one = await started(place)
    let port = 0
    const two = await started({ ...place, announce: () => ({ host: '127.0.0.1', port }) })
    await eventually(() => two.found.length).toBeGreaterThan(2)
    expect(two.discovery.counters.sent).toBe(0)
    port = 5
    await eventually(() => one.found[0]).toBe(`127.0.0.1:5 ${two.label} ${two.boot}`)
  })

  test('are told from those of other clusters in the same group', async () => {
    const place = await freshPlace()
    const one = await started(place)
    const other = await started({ ...place, cluster: 'another' })
    await eventually(() => one.discovery.counters.foreign).toBeGreaterThan(1)
    await eventually(() => other.discovery.counters.foreign).toBeGreaterThan(1)
    expect([...one.found, ...other.found]).toEqual([])
  })

  test('with a secret believe only each other', async () => {
    const place = await freshPlace()
    const one = await started({ ...place, secret: () => SECRET })
    const two = await started({ ...place, secret: () => SECRET })
    const wrong = await started({ ...place, secret: () => Buffer.from('another secret') })
    const none = await started(place)
    await eventually(() => one.found).toContain(two.address)
    await eventually(() => two.found).toContain(one.address)
    await eventually(() => [one, two, wrong].every(({ discovery }) => discovery.counters.unproven > 4)).toBe(
      true,
    )
    expect(new Set(one.found)).toEqual(new Set([two.address]))
    expect(wrong.found).toEqual([])
    // Who has no secret cannot tell: the link will.
    await eventually(() => none.found).toContain(one.address)
    const warnings = one.lines.filter(({ level }) => level === 'warn')
    expect(warnings).toMatchObject([{ phrase: 'announcement ignored', why: 'unproven', count: 1 }])
    expect(JSON.stringify(one.lines)).not.toContain('secret')
  })
})

describe.skipIf(noLoopback !== undefined)('a datagram', () => {
  test('that is no announcement is counted, and changes nothing', async () => {
    const one = await started(await freshPlace())
    const say = await voice(one)
    const good = announcement(one)
    for (const bad of [Buffer.of(), Buffer.from('M-SEARCH * HTTP/1.1'), good.subarray(1), randomBytes(2000)])
      say(bad)
    await eventually(() => one.discovery.counters.malformed).toBe(4)
    say(good)
    await eventually(() => one.found).toEqual(['192.0.2.99:7 stranger 0123456789abcdef'])
    const ignored = one.lines.filter(({ phrase }) => phrase === 'announcement ignored')
    expect(ignored).toMatchObject([{ level: 'debug', why: 'malformed', source: '127.0.0.1', count: 1 }])
  })

  test('without a host leads to where it comes from', async () => {
    const one = await started(await freshPlace())
    const say = await voice(one)
    say(announcement(one, { host: undefined }))
    await eventually(() => one.found).toEqual(['127.0.0.1:7 stranger 0123456789abcdef'])
  })

  test('with a proof is not believed 10 seconds later, nor if it comes from the future', async () => {
    let nowMs = 1_790_000_000_000
    const one = await started({ ...(await freshPlace()), secret: () => SECRET, now: () => nowMs })
    const say = await voice(one)
    const proven = announcement(one, { wallMs: nowMs }, SECRET)
    nowMs += 10_000
    say(proven)
    await eventually(() => one.found.length).toBe(1)
    nowMs += 1
    say(proven)
    say(announcement(one, { wallMs: nowMs + 10_001 }, SECRET))
    await eventually(() => one.discovery.counters.stale).toBe(2)
    say(announcement(one, { wallMs: nowMs + 10_000 }, SECRET))
    await eventually(() => one.found.length).toBe(2)
    expect(one.lines.filter(({ why }) => why === 'stale')).toMatchObject([
      { level: 'warn', aheadMs: -10_001 },
    ])
  })

  test('too many of them are heard up to a bound, and those of the next round again', async () => {
    const one = await started({ ...(await freshPlace()), intervalMs: 200 })
    const say = await voice(one)
    for (let said = 0; said < 20_000 || one.discovery.counters.floods === 0; said++) {
      say(Buffer.from('junk'))
      // The kernel drops what it cannot hold: so there is time to hear it.
      if (said % 100 === 0) await breath()
    }
    const { heard, sent } = one.discovery.counters
    // One announcement a round, and the last two may be under way.
    expect(heard).toBeLessThanOrEqual((sent + 2) * (DATAGRAMS_PER_ROUND_MAX + 1))
    expect(one.lines).toContainEqual({
      level: 'warn',
      datagrams: DATAGRAMS_PER_ROUND_MAX,
      count: 1,
      phrase: 'flood of announcements',
    })
    await eventually(() => {
      say(announcement(one))
      return one.found.length
    }).toBeGreaterThan(0)
  })

  test.skipIf(ourAddress === undefined)(
    'from beyond this machine means nothing to a server on loopback',
    async () => {
      const one = await started({ ...(await freshPlace()), announce: () => ({ host: '127.0.0.1', port: 1 }) })
      const say = await voice(one, ourAddress)
      say(announcement(one))
      say(announcement(one, { host: undefined }))
      await eventually(() => one.discovery.counters.outside).toBe(2)
      expect(one.found).toEqual([])
    },
  )

  test.skipIf(ourAddress === undefined)(
    "from beyond this machine does not lead to this machine's loopback",
    async () => {
      const one = await started({ ...(await freshPlace()), announce: () => ({ port: 1 }) })
      const say = await voice(one, ourAddress)
      for (const host of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])
        say(announcement(one, { host }))
      await eventually(() => one.discovery.counters.outside).toBe(4)
      say(announcement(one, { host: undefined }))
      await eventually(() => one.found).toEqual([`${ourAddress}:7 stranger 0123456789abcdef`])
    },
  )
})

describe.skipIf(noLoopback !== undefined)('the end', () => {
  test('nothing is said, heard or left open', async () => {
    const place = await freshPlace()
    const one = await started(place)
    const openBefore = openSockets()
    const two = await started(place)
    await eventually(() => two.found.length).toBeGreaterThan(0)
    await Promise.all([two.discovery.stop(), two.discovery.stop()])
    const atTheEnd = { ...two.discovery.counters }
    await roundsOf(one)
    expect(two.discovery.counters).toEqual(atTheEnd)
    expect(openSockets()).toBe(openBefore)
    await expect(two.discovery.start()).rejects.toThrow(CacheError)
  })

  test('may come while an interface is being opened', async () => {
    const place = await freshPlace()
    const one = await started(place)
    const openBefore = openSockets()
    let asked = 0
    let onThird = () => {}
    const interfaces = () => {
      // At first there is loopback, then nothing, then loopback again: it is about to be opened.
      if (++asked === 3) queueMicrotask(onThird)
      return asked === 2 ? {} : loopbackOnly
    }
    const two = make({ ...place, interfaces })
    const stopped = new Promise<void>((resolve) => {
      onThird = () => resolve(two.discovery.stop())
    })
    await two.discovery.start()
    await stopped
    const atTheEnd = { ...two.discovery.counters }
    await roundsOf(one)
    expect(two.discovery.counters).toEqual(atTheEnd)
    expect(openSockets()).toBe(openBefore)
    expect(asked).toBe(3)
  })

  test('may come while it begins', async () => {
    const place = await freshPlace()
    const one = await started(place)
    const openBefore = openSockets()
    const { discovery } = make(place)
    const starting = discovery.start()
    const stopping = discovery.stop()
    await expect(starting).rejects.toThrow(/stopped while it started/)
    await stopping
    await roundsOf(one)
    expect(openSockets()).toBe(openBefore)
    expect(one.found).toEqual([])
    expect(discovery.counters).toMatchObject({ sent: 0, heard: 0 })
  })

  test('a second start is refused, and the first goes on', async () => {
    const one = await started(await freshPlace())
    await expect(one.discovery.start()).rejects.toThrow(/running cannot be started/)
    const { own } = one.discovery.counters
    await eventually(() => one.discovery.counters.own).toBeGreaterThan(own)
  })

  test('what announce or the list of interfaces throws is logged, and the next round tries again', async () => {
    let fails = false
    const announce = () => {
      if (fails) throw new Error('no address yet')
      return { host: '127.0.0.1', port: 1 }
    }
    const one = await started({ ...(await freshPlace()), announce })
    fails = true
    await eventually(() => one.lines.length).toBeGreaterThan(2)
    expect(one.lines[1]).toEqual({ level: 'error', error: 'no address yet', phrase: 'announcement failed' })
    fails = false
    const { sent } = one.discovery.counters
    await eventually(() => one.discovery.counters.sent).toBeGreaterThan(sent)
  })

  test('a process that does nothing else ends', async () => {
    const place = await freshPlace()
    const url = new URL('../../server/discovery.ts', import.meta.url).href
    const script = `const { Discovery } = await import(${JSON.stringify(url)})
      const nothing = () => {}
      const logger = { debug: nothing, info: nothing, warn: nothing, error: nothing }
      const discovery = new Discovery({
        group: ${JSON.stringify(GROUP)}, port: ${place.port}, cluster: 'c', label: 'l', boot: '0123456789abcdef',
        announce: () => ({ host: '127.0.0.1', port: 1 }), onFound: nothing, logger, random: Math.random, now: Date.now,
      })
      await discovery.start()
      console.log('started')`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', import.meta.resolve('tsx'), '--input-type=module', '--eval', script],
      { timeout: 15_000 },
    )
    expect(stdout).toBe('started\n')
  })
})

/** Several rounds of a discovery, by what it hears of itself: others would have had theirs by then. */
async function roundsOf({ discovery }: { discovery: Discovery }): Promise<void> {
  const { own } = discovery.counters
  await eventually(() => discovery.counters.own).toBeGreaterThan(own + 5)
}
