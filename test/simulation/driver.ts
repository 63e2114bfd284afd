// What server/mesh.ts does, on the virtual network: HELLO, one link per pair of two connections, dialing with backoff,
// silence, and the feeding of the replicator. Bytes of a connection that is not, or no longer, this driver's are dropped.

import { backoffMs } from '../../protocol/backoff.ts'
import { FrameReader } from '../../protocol/frame.ts'
import { PeerOpcode } from '../../protocol/messages.ts'
import { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import type { LinkState } from '../../server/replication/link-state.ts'
import type { Member } from '../../server/replication/members.ts'
import { Channel, type PeerHello, readHello, writeHello } from '../../server/replication/peer-messages.ts'
import { PeerRefusal, type Replicator } from '../../server/replication/replicator.ts'
import type { Chance } from './chance.ts'
import { withUnknownOperands } from './future.ts'
import type { Connection, Host, Network } from './network.ts'
import type { EventQueue } from './queue.ts'

const BACKOFF = { minMs: 100, maxMs: 5000 }
const FRAME_BYTES_MAX = 1024 * 1024
const BULK_RETRY_MS = 500
const REFUSED_RETRY_MS = 5000

/** A connection as this end sees it. */
interface Wire {
  readonly connection: Connection
  /** Address it was dialed at; undefined: the other end dialed. */
  readonly dialed: string | undefined
  /** The link that a dialed bulk connection is for. */
  readonly bulkOf: LinkState | undefined
  readonly frames: FrameReader
  /** Of the other end's HELLO. */
  channel: Channel | undefined
  link: LinkState | undefined
  heardMs: number
}

interface Wires {
  stream: Wire
  bulk: Wire | undefined
}

interface Target {
  failures: number
  nextMs: number
  isDialing: boolean
  /** Who answered there. */
  label: string | undefined
}

export interface DriverSetup {
  replicator: Replicator
  host: Host
  network: Network
  queue: EventQueue
  chance: Chance
  /** A link without a byte for so long is dead, in ms. */
  silenceMs: number
  /** Speaks as a later version would. */
  isFuture: boolean
  /** Frames of a stream that arrive are sometimes given to the replicator twice. */
  duplicates: boolean
  machineOf(address: string): number | undefined
  /** Tells the replicator the time. */
  at(): void
  /** Something came: there may be work. */
  onReceived(): void
}

export class Driver {
  readonly #setup: DriverSetup
  readonly #wires = new Map<Connection, Wire>()
  readonly #links = new Map<LinkState, Wires>()
  readonly #targets = new Map<string, Target>()
  readonly #reader = new Reader()
  readonly #writer = new Writer(16 * 1024)
  isStopped = false

  constructor(setup: DriverSetup) {
    this.#setup = setup
  }

  // Effects of the replicator.

  send(link: LinkState, channel: Channel, bytes: Uint8Array): void {
    const wires = this.#links.get(link)
    const wire = channel === Channel.Bulk ? wires?.bulk : wires?.stream
    if (wire !== undefined) this.#send(wire, bytes)
  }

  unsentBytes(link: LinkState): number {
    const wire = this.#links.get(link)?.bulk
    return wire === undefined ? 0 : this.#setup.network.unread(wire.connection, this.#setup.host)
  }

  /** All links are to be made anew. */
  restart(): void {
    for (const wire of [...this.#wires.values()]) this.#close(wire)
  }

  onMembers(members: readonly Member[]): void {
    for (const { address } of members) if (address !== undefined) this.find(address)
  }

  /** Dials an address from now on. */
  find(address: string): void {
    const { replicator } = this.#setup
    if (address === replicator.address || this.#targets.has(address)) return
    this.#targets.set(address, { failures: 0, nextMs: 0, isDialing: false, label: undefined })
  }

  /** Dials what is not linked, and gives up what is silent. */
  tick(): void {
    const { queue, silenceMs, replicator } = this.#setup
    for (const wire of [...this.#wires.values()])
      if (wire.channel !== Channel.Bulk && queue.nowMs - wire.heardMs > silenceMs) this.#close(wire)
    for (const [link, { stream }] of this.#links)
      if (replicator.link(link.member.label) !== link) this.#close(stream)
    for (const [address, target] of this.#targets)
      if (!target.isDialing && queue.nowMs >= target.nextMs && !this.#isLinked(address, target))
        this.#dial(address, target)
  }

  #isLinked(address: string, { label }: Target): boolean {
    const { replicator } = this.#setup
    if (label !== undefined && replicator.link(label) !== undefined) return true
    for (const { member } of replicator.links) if (member.address === address) return true
    return false
  }

  // Connections.

  #dial(address: string, target: Target): void {
    const { network, host, machineOf } = this.#setup
    const machine = machineOf(address)
    if (machine === undefined) return
    target.isDialing = true
    network.dial(host, machine, {
      onFailed: () => this.#failed(target),
      onOpen: (connection) => {
        if (this.isStopped) return
        const wire = this.#open(connection, address, undefined)
        this.#setup.at()
        this.#sendHello(wire, Channel.Stream)
      },
    })
  }

  #failed(target: Target, leastMs = 0): void {
    const { queue, chance } = this.#setup
    target.isDialing = false
    target.nextMs = queue.nowMs + leastMs + backoffMs(target.failures++, chance.fraction(), BACKOFF)
  }

  #dialBulk(link: LinkState, address: string): void {
    const { network, host, machineOf } = this.#setup
    const again = () => this.#dialBulkLater(link, address)
    const wires = this.#links.get(link)
    const machine = machineOf(address)
    if (this.isStopped || wires === undefined || wires.bulk !== undefined || machine === undefined) return
    network.dial(host, machine, {
      onFailed: again,
      onOpen: (connection) => {
        if (this.isStopped) return
        const wire = this.#open(connection, address, link)
        if (this.#links.get(link) === undefined) {
          this.#close(wire)
          return
        }
        this.#setup.at()
        this.#sendHello(wire, Channel.Bulk)
      },
    })
  }

  #dialBulkLater(link: LinkState, address: string): void {
    this.#setup.queue.in(BULK_RETRY_MS, () => this.#dialBulk(link, address))
  }

  accept(connection: Connection): void {
    this.#open(connection, undefined, undefined)
  }

  #open(connection: Connection, dialed: string | undefined, bulkOf: LinkState | undefined): Wire {
    const frames = new FrameReader(FRAME_BYTES_MAX, (bytes, at, end) => {
      this.#onFrame(wire, bytes, at, end)
      return true
    })
    const heardMs = this.#setup.queue.nowMs
    const link = bulkOf
    const wire: Wire = { connection, dialed, bulkOf, frames, channel: undefined, link, heardMs }
    this.#wires.set(connection, wire)
    return wire
  }

  onBytes(connection: Connection, bytes: Uint8Array): void {
    const wire = this.#wires.get(connection)
    if (wire === undefined) return
    wire.heardMs = this.#setup.queue.nowMs
    wire.frames.push(bytes)
  }

  onClosed(connection: Connection): void {
    const wire = this.#wires.get(connection)
    if (wire !== undefined) this.#end(wire)
  }

  #close(wire: Wire): void {
    this.#setup.network.close(wire.connection, this.#setup.host)
    this.#end(wire)
  }

  #end(wire: Wire): void {
    const { replicator } = this.#setup
    if (!this.#wires.delete(wire.connection)) return
    this.#setup.at()
    const { link, dialed, bulkOf } = wire
    const wires = link === undefined ? undefined : this.#links.get(link)
    if (link !== undefined && wires?.bulk === wire) {
      wires.bulk = undefined
      replicator.bulkDown(link)
      // Whoever dialed the stream sees to it that there is one, whichever of the two had dialed this one.
      if (wires.stream.dialed !== undefined && wires.stream !== wire)
        this.#dialBulkLater(link, wires.stream.dialed)
    }
    if (link !== undefined && wires?.stream === wire) {
      this.#links.delete(link)
      replicator.linkDown(link)
      if (wires.bulk !== undefined) this.#close(wires.bulk)
    }
    if (dialed === undefined) return
    const target = this.#targets.get(dialed)
    if (bulkOf !== undefined && wires?.bulk === undefined) this.#dialBulkLater(bulkOf, dialed)
    else if (target !== undefined) this.#failed(target)
  }

  // Frames.

  #onFrame(wire: Wire, bytes: Uint8Array, at: number, end: number): void {
    if (!this.#wires.has(wire.connection)) return
    this.#setup.at()
    if (wire.channel === undefined) {
      const reader = this.#reader
      reader.open(bytes, at, end)
      if (reader.head !== PeerOpcode.Hello) throw new Error(`the first message is ${reader.head}, no HELLO`)
      this.#onHello(wire, readHello(reader))
    } else if (wire.link !== undefined) {
      this.#receive(wire, wire.link, bytes, at, end)
    }
    this.#setup.onReceived()
  }

  #receive(wire: Wire, link: LinkState, bytes: Uint8Array, at: number, end: number): void {
    const { replicator, chance, duplicates } = this.#setup
    const { dialed, channel } = wire
    const target = dialed === undefined ? undefined : this.#targets.get(dialed)
    if (target !== undefined) target.failures = 0
    this.#reader.open(bytes, at, end)
    if (this.#reader.head === PeerOpcode.Bye) {
      this.#close(wire)
      return
    }
    // The replicator has ended this link itself.
    if (replicator.link(link.member.label) !== link) {
      this.#close(wire)
      return
    }
    replicator.receive(link, bytes, at, end)
    if (duplicates && channel === Channel.Stream && chance.oneIn(50) && this.#links.has(link))
      replicator.receive(link, bytes, at, end)
  }

  #onHello(wire: Wire, hello: PeerHello): void {
    const { replicator } = this.#setup
    wire.channel = hello.channel
    try {
      if (wire.dialed !== undefined && hello.boot === replicator.replica.boot) {
        replicator.reached(wire.dialed, replicator.replica.label)
        this.#close(wire)
        this.#targets.delete(wire.dialed)
        return
      }
      replicator.check(hello)
      if (hello.channel === Channel.Bulk) this.#joinBulk(wire, hello)
      else this.#joinStream(wire, hello)
    } catch (error) {
      if (!(error instanceof PeerRefusal)) throw error
      const target = wire.dialed === undefined ? undefined : this.#targets.get(wire.dialed)
      this.#close(wire)
      if (target !== undefined) this.#failed(target, REFUSED_RETRY_MS / 2)
    }
  }

  #joinStream(wire: Wire, hello: PeerHello): void {
    const { replicator } = this.#setup
    const former = replicator.link(hello.label)
    const wires = former === undefined ? undefined : this.#links.get(former)
    if (wires !== undefined && this.#isPreferred(wires.stream, hello) && !this.#isPreferred(wire, hello)) {
      this.#close(wire)
      return
    }
    if (wire.dialed === undefined) this.#sendHello(wire, Channel.Stream)
    const target = wire.dialed === undefined ? undefined : this.#targets.get(wire.dialed)
    const link = replicator.linkUp(hello, wire.dialed, (made) => {
      wire.link = made
      this.#links.set(made, { stream: wire, bulk: undefined })
    })
    if (target !== undefined) {
      target.label = hello.label
      target.isDialing = false
    }
    if (wires !== undefined && former !== undefined) {
      this.#links.delete(former)
      if (wires.bulk !== undefined) this.#close(wires.bulk)
      this.#close(wires.stream)
    }
    if (wire.dialed !== undefined) this.#dialBulk(link, wire.dialed)
  }

  /** Whether a stream with this server was dialed by the lower of the two boots. */
  #isPreferred(wire: Wire, hello: PeerHello): boolean {
    return (wire.dialed !== undefined) === this.#setup.replicator.replica.boot < hello.boot
  }

  #joinBulk(wire: Wire, hello: PeerHello): void {
    const { replicator } = this.#setup
    const link = wire.link ?? replicator.link(hello.label)
    const wires = link === undefined ? undefined : this.#links.get(link)
    if (link === undefined || wires === undefined || link.boot !== hello.boot) {
      this.#close(wire)
      return
    }
    if (wire.dialed === undefined) this.#sendHello(wire, Channel.Bulk)
    wire.link = link
    const former = wires.bulk
    wires.bulk = wire
    if (former !== undefined && former !== wire) {
      replicator.bulkDown(link)
      this.#close(former)
    }
    replicator.bulkUp(link)
  }

  #sendHello(wire: Wire, channel: Channel): void {
    const writer = this.#writer
    writer.at = 0
    writeHello(writer, this.#setup.replicator.hello(channel))
    this.#send(wire, writer.bytes.subarray(0, writer.at))
  }

  #send(wire: Wire, bytes: Uint8Array): void {
    const { network, host, isFuture } = this.#setup
    network.send(wire.connection, host, isFuture ? withUnknownOperands(bytes) : bytes)
  }
}
