// The sockets of a multicast group: on every interface that carries it, now and later.
//
// Between the system's interfaces and discovery.ts; knows bytes, not what they mean. Per interface one sender; in front
// of them one receiver, or one per interface where the group's address has a zone. Receivers are bound to the group and
// senders connected to it, so that nothing reaches them by a unicast address. None of them keeps a process alive.
//
// `follow` makes the sockets fit the interfaces, whatever was there before: after `close` it opens all of them again.

import { createSocket, type Socket } from 'node:dgram'
import { isIP } from 'node:net'
import { isLoopback } from './loopback.ts'
import { type Interfaces, isAlike, type Network, networksFor } from './multicast.ts'
import type { Logger } from './options.ts'

/** Linux lets a socket join 20 groups. Interfaces beyond that are not used. */
const NETWORKS_MAX = 16
/** Datagrams that wait in the kernel, per receiver; more are lost. */
const RECEIVE_BUFFER_BYTES = 256 * 1024

export interface MulticastSocketsOptions {
  group: string
  port: number
  interfaces: () => Interfaces
  logger: Logger
  /** The bytes are the owner's. `source`: an IP address, with its zone if it has one. */
  onDatagram: (datagram: Uint8Array, source: string) => void
  onSent: (error: Error | null) => void
}

interface Outlet {
  readonly network: Network
  readonly sender: Socket
  readonly receiver: Socket
  /** What was sent did not leave: under the same name the interface may be another one by now. */
  failed: boolean
}

export class MulticastSockets {
  readonly #options: MulticastSocketsOptions
  /** By the address that they are bound to. */
  readonly #receivers = new Map<string, Socket>()
  /** By the interface's name. */
  readonly #outlets = new Map<string, Outlet>()
  /** By the interface's name: what was last logged of it. */
  readonly #troubles = new Map<string, string>()

  constructor(options: MulticastSocketsOptions) {
    this.#options = options
  }

  /** The interfaces in use. */
  get names(): string[] {
    return [...this.#outlets.keys()]
  }

  /** Why the others are not, one text each. */
  get troubles(): string[] {
    return [...this.#troubles].map(([name, error]) => `${name}: ${error}`)
  }

  /**
   * Lets go of interfaces that are gone or changed, joins the group on those that are new. `host`: as for networksFor.
   * One at a time; does not reject for an interface that cannot be used.
   */
  async follow(host: string | undefined): Promise<void> {
    const { group, interfaces } = this.#options
    const isLocal = host !== undefined && isLoopback(host)
    const networks = networksFor(interfaces(), group, host)
    const present = new Map(networks.map((network) => [network.name, network]))
    for (const name of this.#troubles.keys()) if (!present.has(name)) this.#troubles.delete(name)
    for (const { name } of networks.splice(NETWORKS_MAX)) {
      this.#tell('warn', name, `only ${NETWORKS_MAX} interfaces are used`)
      present.delete(name)
    }
    for (const { network, failed } of [...this.#outlets.values()])
      if (failed || !isAlike(network, present.get(network.name))) this.#leave(network.name)
    for (const network of networks) {
      if (this.#outlets.has(network.name)) continue
      try {
        await this.#join(network)
      } catch (error) {
        // Linux carries no IPv6 multicast on loopback: that matters only to those who have nothing else.
        const level = network.isLoopback && !isLocal ? 'debug' : 'warn'
        this.#tell(level, network.name, error instanceof Error ? error.message : String(error))
      }
    }
  }

  /** Sends on every interface what `datagramFor` makes for it. */
  send(datagramFor: (network: Network) => Uint8Array): void {
    for (const outlet of this.#outlets.values()) {
      const { network, sender } = outlet
      sender.send(datagramFor(network), (error) => {
        // What was under way when the socket was closed is nobody's news.
        if (this.#outlets.get(network.name) !== outlet) return
        if (error === null) this.#troubles.delete(network.name)
        else {
          outlet.failed = true
          this.#tell('warn', network.name, error.message)
        }
        this.#options.onSent(error)
      })
    }
  }

  /** Sends and hears nothing more, until `follow`. Resolves when all sockets are closed. */
  async close(): Promise<void> {
    const senders = [...this.#outlets.values()].map(({ sender }) => sender)
    const sockets = [...senders, ...this.#receivers.values()]
    this.#outlets.clear()
    this.#receivers.clear()
    await Promise.all(sockets.map((socket) => new Promise<void>((resolve) => socket.close(resolve))))
  }

  async #join(network: Network): Promise<void> {
    const sender = await this.#openSender(network)
    try {
      const receiver = this.#receivers.get(network.target) ?? (await this.#openReceiver(network))
      receiver.addMembership(this.#options.group, network.selector)
      this.#outlets.set(network.name, { network, sender, receiver, failed: false })
    } catch (error) {
      sender.close()
      throw error
    }
  }

  #leave(name: string): void {
    const outlet = this.#outlets.get(name)
    if (outlet === undefined) return
    const { receiver, network, sender } = outlet
    this.#outlets.delete(name)
    sender.close()
    if ([...this.#outlets.values()].some((other) => other.receiver === receiver)) {
      try {
        receiver.dropMembership(this.#options.group, network.selector)
      } catch {
        // The interface is gone, and its membership with it.
      }
      return
    }
    this.#receivers.delete(network.target)
    receiver.close()
  }

  async #openSender({ source, selector, target }: Network): Promise<Socket> {
    const socket = await this.#open(source, 0)
    try {
      socket.setMulticastInterface(selector)
      // This link and no further; but the other servers of this machine too.
      socket.setMulticastTTL(1)
      socket.setMulticastLoopback(true)
      await new Promise<void>((resolve, reject) => {
        // Called with the error too, if there is one, which its type does not say.
        const onConnect = (error?: Error) => (error === undefined ? resolve() : reject(error))
        socket.connect(this.#options.port, target, onConnect)
      })
      return socket
    } catch (error) {
      socket.close()
      throw error
    }
  }

  async #openReceiver({ target }: Network): Promise<Socket> {
    const socket = await this.#open(target, this.#options.port)
    socket.on('message', (datagram, { address }) => this.#options.onDatagram(datagram, address))
    this.#receivers.set(target, socket)
    return socket
  }

  #open(address: string, port: number): Promise<Socket> {
    const { group, logger } = this.#options
    const type = isIP(group) === 6 ? 'udp6' : 'udp4'
    // Servers of one machine share the port of the group; a sender's own port is nobody else's.
    const socket = createSocket({ type, reuseAddr: port !== 0, recvBufferSize: RECEIVE_BUFFER_BYTES }).unref()
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close()
        reject(error)
      })
      // Exclusive: a worker of node:cluster has its own sockets too.
      socket.bind({ address, port, exclusive: true }, () => {
        socket.removeAllListeners('error')
        socket.on('error', (error) =>
          logger.warn({ address, error: error.message }, 'multicast socket failed'),
        )
        resolve(socket)
      })
    })
  }

  /** Logs what is wrong with an interface, once until something else is. */
  #tell(level: 'debug' | 'warn', name: string, error: string): void {
    if (this.#troubles.get(name) === error) return
    this.#troubles.set(name, error)
    const { logger, group } = this.#options
    logger[level]({ interface: name, group, error }, 'interface does not carry multicast')
  }
}
