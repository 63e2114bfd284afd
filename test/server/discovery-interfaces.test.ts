// The interfaces over which servers find each other: those that come, go, or cannot be used; and a discovery that has
// none. What a machine cannot carry is left out, with the system's reason.

import { describe, expect, test } from 'vitest'
import type { Interfaces } from '../../server/multicast.ts'
import { OptionError } from '../../server/options.ts'
import {
  bound,
  elsewhere,
  freshPlace,
  GROUP,
  GROUP_V6,
  globalV6,
  linkLocalV6,
  loopbackOnly,
  loopbackV6,
  make,
  openSockets,
  reasonAgainst,
  started,
} from '../helpers/discovery.ts'
import { eventually } from '../helpers/eventually.ts'

const noLoopback = await reasonAgainst(GROUP, loopbackOnly)
const noGlobalV6 = await reasonAgainst(GROUP_V6, globalV6)
const noLinkLocalV6 = await reasonAgainst(GROUP_V6, linkLocalV6)
const noLoopbackV6 = await reasonAgainst(GROUP_V6, loopbackV6)
const isUnreachable = noLoopbackV6?.includes('ENETUNREACH') === true
if (noLoopback !== undefined) console.log(`skipped: interfaces that come and go; ${noLoopback}`)
if (noGlobalV6 !== undefined) console.log(`skipped: discovery over IPv6; ${noGlobalV6}`)
if (noLinkLocalV6 !== undefined) console.log(`skipped: discovery over link-local IPv6; ${noLinkLocalV6}`)
if (!isUnreachable)
  console.log(`skipped: loopback without IPv6 multicast; ${noLoopbackV6 ?? 'here it carries that'}`)

describe.skipIf(noLoopback !== undefined)('the interfaces', () => {
  test('may go and come back', async () => {
    const place = await freshPlace()
    let interfaces = loopbackOnly
    const one = await started({ ...place, interfaces: () => interfaces })
    const two = await started(place)
    await eventually(() => one.found.length).toBeGreaterThan(0)
    interfaces = {}
    // A round later it is gone.
    let sent = -1
    await eventually(() => {
      const before = sent
      sent = one.discovery.counters.sent
      return sent - before
    }).toBe(0)
    const before = one.found.length
    interfaces = loopbackOnly
    await eventually(() => one.found.length).toBeGreaterThan(before + 1)
    await eventually(() => two.discovery.counters.found).toBeGreaterThan(sent)
  })

  test('may be joined by others, and one that cannot be used is named once', async () => {
    const place = await freshPlace()
    let interfaces = loopbackOnly
    const one = await started({ ...place, announce: () => ({ port: 1 }), interfaces: () => interfaces })
    const two = await started(place)
    await eventually(() => two.found).toContain(`127.0.0.1:1 ${one.label} ${one.boot}`)
    const openBefore = openSockets()
    // An address of documentation: nobody has it.
    interfaces = { ...loopbackOnly, wlan0: elsewhere('203.0.113.1') }
    await eventually(() => two.found).toContain(`203.0.113.1:1 ${one.label} ${one.boot}`)
    await eventually(() => two.found.length).toBeGreaterThan(10)
    await eventually(openSockets).toBe(openBefore)
    expect(one.lines.filter(({ level }) => level === 'warn')).toEqual([
      {
        ...{ level: 'warn', interface: 'wlan0', group: GROUP, error: 'bind EADDRNOTAVAIL 203.0.113.1' },
        phrase: 'interface does not carry multicast',
      },
    ])
  })

  test('are used up to sixteen', async () => {
    const many = Array.from({ length: 20 }, (_, i) => [`veth${i}`, elsewhere(`203.0.113.${i}`)] as const)
    const interfaces = { ...Object.fromEntries(many), ...loopbackOnly }
    const one = await started({
      ...(await freshPlace()),
      announce: () => ({ port: 1 }),
      interfaces: () => interfaces,
    })
    await eventually(() => one.discovery.counters.sent).toBeGreaterThan(2)
    const warnings = one.lines.filter(({ level }) => level === 'warn')
    expect(warnings).toHaveLength(20)
    expect(warnings.filter(({ error }) => error === 'only 16 interfaces are used')).toHaveLength(5)
  })

  test.skipIf(noGlobalV6 !== undefined)('may speak IPv6', async () => {
    const [name = '', infos] = Object.entries(globalV6)[0] ?? []
    await findEachOther({ [name]: infos }, `[${infos?.[0]?.address}]:2`)
  })

  test.skipIf(noLinkLocalV6 !== undefined)('may have nothing but a link-local address', async () => {
    const [name = '', infos] = Object.entries(linkLocalV6)[0] ?? []
    await findEachOther({ [name]: infos }, `[${infos?.[0]?.address}%${name}]:2`)
  })

  async function findEachOther(interfaces: Interfaces, address: string): Promise<void> {
    const place = { ...(await freshPlace('udp6')), group: GROUP_V6, interfaces: () => interfaces }
    const one = await started({ ...place, announce: () => ({ port: 1 }) })
    const two = await started({ ...place, announce: () => ({ port: 2 }) })
    await eventually(() => one.found).toContain(`${address} ${two.label} ${two.boot}`)
  }
})

describe('a discovery that cannot be', () => {
  test.each(['192.0.2.1', '240.0.0.1', 'fe80::1', 'group.example', 'ff02::1%lo', ''])(
    'group %j is refused, with what is allowed',
    async (group) => {
      const { discovery } = make({ group })
      const refused = await discovery.start().catch((error: unknown) => error)
      expect(refused).toBeInstanceOf(OptionError)
      expect(String(refused)).toMatch(
        /: multicast: .* is not possible; allowed: group:port, a multicast address/,
      )
    },
  )

  test('no interface: it says so', async () => {
    const { discovery } = make({ interfaces: () => ({}) })
    await expect(discovery.start()).rejects.toThrow(
      /^no interface carries the multicast group 239\.255\.11\.42: none has an address of its family$/,
    )
  })

  test('no interface that does: it names each with its reason', async () => {
    const interfaces = () => ({ eth0: elsewhere('203.0.113.1'), eth1: elsewhere('203.0.113.2') })
    const { discovery } = make({ interfaces, announce: () => ({ port: 1 }) })
    await expect(discovery.start()).rejects.toThrow(
      /^no interface carries .*: eth0: \S+ EADDRNOTAVAIL.*; eth1: \S+ EADDRNOTAVAIL/,
    )
  })

  test.skipIf(noLoopback !== undefined)('another program has the port for itself', async () => {
    const place = await freshPlace()
    await eventually(openSockets).toBe(0)
    const other = await bound(place.port, GROUP)
    const { discovery } = make(place)
    await expect(discovery.start()).rejects.toThrow(`: bind EADDRINUSE ${GROUP}:${place.port}`)
    await eventually(openSockets).toBe(1)
    other.close()
  })

  test.runIf(noLoopbackV6?.includes('ENETUNREACH'))(
    'on loopback, where that is without IPv6 multicast',
    async () => {
      await eventually(openSockets).toBe(0)
      const { discovery } = make({ group: GROUP_V6, interfaces: () => loopbackV6 })
      await expect(discovery.start()).rejects.toThrow(
        /: connect ENETUNREACH \S+; on loopback an IPv4 group may do$/,
      )
      await eventually(openSockets).toBe(0)
    },
  )

  test.each(['localhost', '0.0.0.0', '::', 'fe80::1%lo'])('host %s cannot be announced', async (host) => {
    const { discovery } = make({ announce: () => ({ host, port: 1 }) })
    await expect(discovery.start()).rejects.toThrow(RangeError)
  })

  test('an empty secret proves nothing', () => {
    expect(() => make({ secret: () => Buffer.of() })).toThrow(RangeError)
  })
})
