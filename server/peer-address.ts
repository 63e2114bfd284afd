// Addresses of other servers as text: taken apart to be dialed, and completed where a server does not know its own.

import { hostPort } from '../protocol/notation.ts'
import { isWildcard } from './loopback.ts'

/** In an announced address: any of this server's. */
const ANY_HOST = '*'

/** What a server that listens on `host` and `port` says of itself. */
export function announcedAddress(host: string, port: number): string {
  return hostPort.format({ host: isWildcard(host) ? ANY_HOST : host, port })
}

/** An announced address as it can be dialed: whoever listens on all addresses was reached at `dialed`, or came from `remote`. */
export function dialableAddress(
  announced: string | undefined,
  dialed: string | undefined,
  remote: string,
): string | undefined {
  if (!announced?.startsWith(`${ANY_HOST}:`)) return announced
  if (dialed !== undefined) return dialed
  const port = Number(announced.slice(ANY_HOST.length + 1))
  const host = remote.slice(0, remote.lastIndexOf(':'))
  return Number.isInteger(port) ? hostPort.format({ host, port }) : undefined
}

export function addressOf(address: string): { host: string; port: number } {
  const { host = '127.0.0.1', port } = hostPort.parse(address) ?? { host: address, port: 0 }
  return { host, port }
}
