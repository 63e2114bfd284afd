// How a group is written, and over which interfaces it is spoken to.

import type { NetworkInterfaceInfo } from 'node:os'
import { describe, expect, test } from 'vitest'
import { take } from '../../server/environment.ts'
import { type Interfaces, multicastGroup, networksFor } from '../../server/multicast.ts'
import { OptionError } from '../../server/options.ts'

describe('group:port', () => {
  test.each([
    ['239.255.11.42:11142', { group: '239.255.11.42', port: 11_142 }],
    ['224.0.0.0:1', { group: '224.0.0.0', port: 1 }],
    ['239.255.255.255:65535', { group: '239.255.255.255', port: 65_535 }],
    ['[ff02::1142]:11142', { group: 'ff02::1142', port: 11_142 }],
    ['[FF05::1]:1', { group: 'FF05::1', port: 1 }],
  ])('%s', (text, group) => {
    expect(multicastGroup.parse(text)).toEqual(group)
    expect(multicastGroup.format(group)).toBe(text)
  })

  test.each([
    '',
    'on',
    '11142',
    '239.255.11.42',
    '239.255.11.42:',
    '239.255.11.42:0',
    '239.255.11.42:65536',
    '239.255.11.42:1e3',
    '239.255.11:11142',
    '223.255.255.255:1',
    '240.0.0.0:1',
    '255.255.255.255:1',
    '192.168.1.255:11142',
    'multicast.example:11142',
    'ff02::1142:11142',
    '[fe80::1]:11142',
    '[ff02::1142%eth0]:11142',
    '[ff02::1142]',
  ])('refuses %j', (text) => {
    expect(multicastGroup.parse(text)).toBeUndefined()
  })

  test('a refusal says what is allowed', () => {
    const refusal = expect(() => take('--multicast', '10.0.0.1:11142', multicastGroup))
    refusal.toThrow(OptionError)
    refusal.toThrow(
      /^--multicast: '10\.0\.0\.1:11142' is not possible; allowed: group:port, .*239\.255\.11\.42:11142/,
    )
    for (const [example] of multicastGroup.allowed.matchAll(/(?<=such as | or )\S+:\d+/g))
      expect(multicastGroup.parse(example), example).toBeDefined()
  })
})

function info(address: string, internal = false): NetworkInterfaceInfo {
  const common = { address, internal, mac: '00:00:00:00:00:00', netmask: '', cidr: null }
  return address.includes(':')
    ? { ...common, family: 'IPv6', scopeid: address.startsWith('fe80') ? 2 : 0 }
    : { ...common, family: 'IPv4' }
}

const MACHINE: Interfaces = {
  eth0: [info('192.0.2.7'), info('198.51.100.7'), info('fe80::7'), info('2001:db8::7')],
  lo: [info('127.0.0.1', true), info('::1', true)],
  'eth0:1': [info('192.0.2.8')],
  eth1: [info('203.0.113.7'), info('fe80::8')],
  down: [],
  gone: undefined,
}
const ETH0 = {
  name: 'eth0',
  isLoopback: false,
  source: '192.0.2.7',
  selector: '192.0.2.7',
  host: '192.0.2.7',
}
const ETH1 = {
  name: 'eth1',
  isLoopback: false,
  source: '203.0.113.7',
  selector: '203.0.113.7',
  host: '203.0.113.7',
}
const LO = { name: 'lo', isLoopback: true, source: '127.0.0.1', selector: '127.0.0.1', host: '127.0.0.1' }

describe('the interfaces of an IPv4 group', () => {
  const group = '239.255.11.42'
  const target = group
  const named = (host: string) => ({ host, target })

  test('a server on all addresses: each device once, loopback first with an address that others can dial', () => {
    expect(networksFor(MACHINE, group, undefined)).toEqual([
      { ...LO, ...named('192.0.2.7') },
      { ...ETH0, target },
      { ...ETH1, target },
    ])
  })

  test.each(['127.0.0.1', '127.0.0.9', '::1'])('a server on %s: loopback alone', (host) => {
    expect(networksFor(MACHINE, group, host)).toEqual([{ ...LO, ...named(host) }])
  })

  test('a server on one address: where that is, from that address, and loopback', () => {
    expect(networksFor(MACHINE, group, '203.0.113.7')).toEqual([
      { ...LO, ...named('203.0.113.7') },
      { ...ETH1, ...named('203.0.113.7') },
    ])
    const source = { source: '198.51.100.7', selector: '198.51.100.7' }
    expect(networksFor(MACHINE, group, '198.51.100.7')[1]).toEqual({
      ...ETH0,
      ...source,
      ...named('198.51.100.7'),
    })
    // Of the other family, on the same device.
    expect(networksFor(MACHINE, group, '2001:db8::7')[1]).toEqual({ ...ETH0, ...named('2001:db8::7') })
  })

  test('a server on an address that no interface bears: everywhere', () => {
    const hosts = networksFor(MACHINE, group, '10.9.9.9').map(({ name, host }) => [name, host])
    expect(hosts).toEqual([
      ['lo', '10.9.9.9'],
      ['eth0', '10.9.9.9'],
      ['eth1', '10.9.9.9'],
    ])
  })

  test('a machine with nothing but loopback, or with nothing', () => {
    expect(networksFor({ lo: MACHINE['lo'] }, group, undefined)).toEqual([{ ...LO, target }])
    expect(networksFor({}, group, undefined)).toEqual([])
    expect(networksFor({ lo: [info('::1', true)] }, group, undefined)).toEqual([])
  })
})

describe('the interfaces of an IPv6 group', () => {
  test('link-local scope: the group and the addresses that need it get a zone, what is announced has none', () => {
    expect(networksFor(MACHINE, 'ff02::1142', undefined)).toEqual([
      {
        ...{ name: 'lo', isLoopback: true, source: '::1', selector: '::%lo' },
        ...{ target: 'ff02::1142%lo', host: '2001:db8::7' },
      },
      {
        ...{ name: 'eth0', isLoopback: false, source: '2001:db8::7', selector: '::%eth0' },
        ...{ target: 'ff02::1142%eth0', host: '2001:db8::7' },
      },
      {
        ...{ name: 'eth1', isLoopback: false, source: 'fe80::8%eth1', selector: '::%eth1' },
        ...{ target: 'ff02::1142%eth1', host: 'fe80::8' },
      },
    ])
  })

  test.each([
    ['FF02::1', true],
    ['ff11::1', true],
    ['ff05::1', false],
    ['ff0e::1', false],
    ['ff25::2:1', false],
  ])('%s has a zone: %j', (group, hasZone) => {
    const targets = networksFor(MACHINE, group, undefined).map(({ target }) => target)
    expect(targets).toEqual(
      hasZone ? ['lo', 'eth0', 'eth1'].map((name) => `${group}%${name}`) : [group, group, group],
    )
  })
})
