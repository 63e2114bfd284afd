// How those who mean no good connect: plain or with TLS, and from several addresses of this machine in turn, so that
// neither a server's limits for one address nor the ports of one address are what is measured.

import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

export interface Target {
  port: number
  tls: boolean
  /** To connect from. */
  addresses: readonly string[]
}

const HOST = '127.0.0.1'

export class Dialer {
  readonly #target: Target
  #dialed = 0

  constructor(target: Target) {
    this.#target = target
  }

  /** A socket that connects; `onOpen` when it may be written to. Its errors are nobody's business. */
  dial(onOpen: (socket: Socket) => void): Socket {
    const { port, tls, addresses } = this.#target
    const localAddress = addresses[this.#dialed++ % addresses.length] ?? HOST
    const to = { host: HOST, port, localAddress, noDelay: true }
    // What is under attack is not the certificate.
    const socket = tls ? connectTls({ ...to, rejectUnauthorized: false }) : connect(to)
    socket.once(tls ? 'secureConnect' : 'connect', () => onOpen(socket))
    socket.on('error', () => {})
    return socket
  }
}

/** So many addresses of a group of their own; only 127.0.0.1 where the system has no others. */
export async function sourceAddresses(group: number, count: number): Promise<string[]> {
  const addresses = Array.from({ length: count }, (_, number) => `127.${group}.0.${1 + number}`)
  return (await isOurs(addresses[0] ?? HOST)) ? addresses : [HOST]
}

function isOurs(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(0, address, () => server.close(() => resolve(true)))
  })
}
