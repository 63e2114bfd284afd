// Discoveries of a test's own, on loopback unless told otherwise, and somebody who says anything to them. All of it ends
// with the test. Also what this machine can carry: tests leave out the rest, and say why.

import { randomBytes } from 'node:crypto'
import { createSocket, Socket } from 'node:dgram'
import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os'
import { onTestFinished } from 'vitest'
import { type Announcement, writeAnnouncement } from '../../server/announcement.ts'
import { Discovery, type DiscoveryOptions } from '../../server/discovery.ts'
import type { Interfaces } from '../../server/multicast.ts'
import type { Logger } from '../../server/options.ts'

export const GROUP = '239.255.11.42'
/** Of interface-local scope: the system keeps it on this machine. */
export const GROUP_V6 = 'ff01::1142'
/** What a machine without a network, or a system without multicast, answers. Anything else is a failure. */
const CANNOT = /ENETUNREACH|EHOSTUNREACH|ENODEV|EADDRNOTAVAIL|EAFNOSUPPORT|ENOPROTOOPT/

export const loopbackOnly = pick(({ internal, family }) => internal && family === 'IPv4')
export const loopbackV6 = pick(({ internal, family }) => internal && family === 'IPv6')
const isBeyondV6 = ({ internal, family }: NetworkInterfaceInfo) => !internal && family === 'IPv6'
export const globalV6 = pick((info) => isBeyondV6(info) && info.scopeid === 0)
export const linkLocalV6 = pick((info) => isBeyondV6(info) && info.scopeid !== 0)
const beyond = pick(({ internal, family }) => !internal && family === 'IPv4')
/** An address of this machine that is not loopback, if it has one. */
export const ourAddress = Object.values(beyond)[0]?.[0]?.address

interface Line {
  level: string
  phrase: string
  [fact: string]: unknown
}

/** A discovery that remembers what it reported and logged. On loopback unless told otherwise. */
export function make(changes: Partial<DiscoveryOptions> = {}) {
  const found: string[] = []
  const lines: Line[] = []
  const log = (level: string) => (facts: object, phrase: string) =>
    void lines.push({ level, ...facts, phrase })
  const logger: Logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
  const boot = randomBytes(8).toString('hex')
  const label = `cache-${boot.slice(0, 4)}`
  const options: DiscoveryOptions = {
    ...{ group: GROUP, port: 9, intervalMs: 20, cluster: 'default', label, boot, logger },
    announce: () => ({ host: '127.0.0.1', port: 1 }),
    onFound: (address, foundLabel, foundBoot) => void found.push(`${address} ${foundLabel} ${foundBoot}`),
    random: Math.random,
    now: Date.now,
    interfaces: () => loopbackOnly,
    ...changes,
  }
  const discovery = new Discovery(options)
  onTestFinished(() => discovery.stop())
  return { discovery, options, found, lines, label, boot, address: `127.0.0.1:1 ${label} ${boot}` }
}

export async function started(changes: Partial<DiscoveryOptions>) {
  const made = make(changes)
  await made.discovery.start()
  return made
}

/** A socket that shares its port with nobody. */
export async function bound(port: number, address: string): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.bind(port, address)
  await once(socket, 'listening')
  return socket
}

/** A port and a cluster of a test's own: other tests may run on this machine. */
export async function freshPlace(type: 'udp4' | 'udp6' = 'udp4'): Promise<{ port: number; cluster: string }> {
  const socket = createSocket(type)
  socket.bind(0)
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  return { port, cluster: randomBytes(4).toString('hex') }
}

/** Somebody who says anything to the group of a discovery, over loopback, from an address of this machine. */
export async function voice({ options }: { options: DiscoveryOptions }, from = '127.0.0.1') {
  const socket = await bound(0, from)
  onTestFinished(() => void socket.close())
  socket.setMulticastInterface('127.0.0.1')
  return (datagram: Uint8Array) => socket.send(datagram, options.port, options.group)
}

/** What a server unknown so far says to a discovery. */
export function announcement(
  { options }: { options: DiscoveryOptions },
  changes: Partial<Announcement> = {},
  secret?: Uint8Array,
): Buffer {
  const { cluster } = options
  const stranger = {
    cluster,
    label: 'stranger',
    boot: '0123456789abcdef',
    host: '192.0.2.99',
    port: 7,
    wallMs: 1,
  }
  return writeAnnouncement({ ...stranger, ...changes }, secret)
}

function pick(isWanted: (info: NetworkInterfaceInfo) => boolean): Interfaces {
  const picked: Record<string, Interfaces[string]> = {}
  for (const [name, infos = []] of Object.entries(networkInterfaces())) {
    const wanted = infos.filter(isWanted)
    if (wanted.length > 0) picked[name] = wanted
  }
  return picked
}

export function elsewhere(address: string): Interfaces[string] {
  return [{ address, family: 'IPv4', internal: false, mac: '', netmask: '', cidr: null }]
}

/** Why these interfaces do not carry a group; undefined if one does. Throws what is no reason to skip anything. */
export async function reasonAgainst(group: string, interfaces: Interfaces): Promise<string | undefined> {
  const [entry] = Object.entries(interfaces)
  if (entry?.[1]?.[0] === undefined) return 'no interface has an address of that family'
  const [name, [{ address, family }]] = [entry[0], [entry[1][0]]]
  const socket = createSocket(family === 'IPv6' ? 'udp6' : 'udp4')
  try {
    socket.bind(0)
    await once(socket, 'listening')
    const selector = family === 'IPv6' ? `::%${name}` : address
    socket.addMembership(group, selector)
    socket.setMulticastInterface(selector)
    await new Promise<void>((resolve, reject) =>
      socket.send('probe', socket.address().port, group, (error) =>
        error === null ? resolve() : reject(error),
      ),
    )
    return undefined
  } catch (error) {
    if (error instanceof Error && CANNOT.test(error.message)) return `${name}: ${error.message}`
    throw error
  } finally {
    socket.close()
  }
}

/** UDP sockets of this process that were opened and not closed, whoever opened them. */
export function openSockets(): number {
  return open.size
}

const open = new Set<unknown>()
subscribe('udp.socket', (message) => {
  if (typeof message !== 'object' || message === null || !('socket' in message)) return
  const { socket } = message
  if (!(socket instanceof Socket)) return
  open.add(socket)
  socket.on('close', () => open.delete(socket))
})
