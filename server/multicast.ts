// Where servers meet by multicast: the group, as people write it, and the interfaces of this machine that carry it.
//
// Between a flag, the system's list of interfaces, and discovery.ts. Pure: opens no socket and asks no system.
//
// A server that listens on loopback alone meets only servers of its own machine: nothing of it leaves the machine, and
// nothing from beyond is listened to.

import { BlockList, isIP } from 'node:net'
import type { NetworkInterfaceInfo } from 'node:os'
import { hostPort, type Notation } from '../protocol/notation.ts'
import { isLoopback } from './loopback.ts'

export interface MulticastGroup {
  group: string
  port: number
}

/** `239.255.11.42:11142`, `[ff02::1142]:11142`. */
export const multicastGroup: Notation<MulticastGroup> = {
  allowed:
    'group:port, a multicast address (IPv4 224.0.0.0 to 239.255.255.255, or IPv6 ff00::/8 in brackets, without a ' +
    'zone) and a port from 1 to 65535, such as 239.255.11.42:11142 or [ff02::1142]:11142',
  parse(text) {
    const { host, port = 0 } = hostPort.parse(text) ?? {}
    return host === undefined || port === 0 || !isMulticast(host) ? undefined : { group: host, port }
  },
  format: ({ group, port }) => hostPort.format({ host: group, port }),
}

/** Whether it is an address of a group. One with a zone (`%eth0`) is not: the interfaces are chosen here. */
export function isMulticast(address: string): boolean {
  const family = isIP(address)
  if (family === 0 || address.includes('%')) return false
  return groups.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

const groups = new BlockList()
groups.addSubnet('224.0.0.0', 4, 'ipv4')
groups.addSubnet('ff00::', 8, 'ipv6')

/** Whether an address, without its zone, means something only on one link. */
export function isLinkLocal(address: string): boolean {
  return isIP(address) === 6 && linkLocal.check(address, 'ipv6')
}

const linkLocal = new BlockList()
linkLocal.addSubnet('fe80::', 10, 'ipv6')

/** An interface over which the group is spoken to. */
export interface Network {
  readonly name: string
  readonly isLoopback: boolean
  /** Own address that datagrams come from, with its zone if it needs one. */
  readonly source: string
  /** How a socket is told to use this interface. */
  readonly selector: string
  /** The group, with the zone if it needs one. */
  readonly target: string
  /** The address at which whoever hears of this server here can dial it, without a zone. */
  readonly host: string
}

export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>

/**
 * The interfaces with an address of the group's family, loopback first. `host`: the one address that the server listens
 * on, undefined if it listens on all of them; then interfaces from which it cannot be reached are left out.
 */
export function networksFor(interfaces: Interfaces, group: string, host: string | undefined): Network[] {
  const family = isIP(group) === 6 ? 'IPv6' : 'IPv4'
  const candidates = byDevice(interfaces).flatMap(([name, infos]) => {
    const own = infos.filter((info) => info.family === family)
    const info =
      own.find(({ address }) => address === host) ??
      own.find(({ address }) => !isLinkLocal(address)) ??
      own[0]
    const bearsHost = infos.some(({ address }) => address === host)
    return info === undefined ? [] : [{ name, address: info.address, isLoopback: info.internal, bearsHost }]
  })
  const isBorne = candidates.some(({ bearsHost }) => bearsHost)
  const suitable = candidates.filter((candidate) => {
    if (host === undefined) return true
    if (isLoopback(host)) return candidate.isLoopback
    return candidate.isLoopback || candidate.bearsHost || !isBorne
  })
  // What is heard over loopback may be told to others: so it names an address that means something to them, if it can.
  const outward = candidates.find((candidate) => !candidate.isLoopback && !isLinkLocal(candidate.address))
  return suitable
    .sort((one, other) => Number(other.isLoopback) - Number(one.isLoopback))
    .map(({ name, address, isLoopback }) => ({
      name,
      isLoopback,
      source: isLinkLocal(address) ? `${address}%${name}` : address,
      selector: family === 'IPv6' ? `::%${name}` : address,
      target: isWithinLink(group) ? `${group}%${name}` : group,
      host: host ?? (isLoopback ? outward?.address : undefined) ?? address,
    }))
}

export function isAlike(one: Network, other: Network | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** Linux lists further addresses of eth0 as eth0:1: one device all the same, which joins a group once. */
function byDevice(interfaces: Interfaces): [string, NetworkInterfaceInfo[]][] {
  const devices = new Map<string, NetworkInterfaceInfo[]>()
  for (const [label, infos = []] of Object.entries(interfaces)) {
    const name = label.replace(/:.*/, '')
    devices.set(name, [...(devices.get(name) ?? []), ...infos])
  }
  return [...devices]
}

/** IPv6 groups of interface-local and link-local scope exist once per link, so that sockets want to know which. */
function isWithinLink(group: string): boolean {
  return /^ff[0-9a-f][12]:/i.test(group)
}
