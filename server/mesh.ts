// The only driver of replication: peer connections, dialing, and timers. It feeds server/replication/ with what comes
// in and with the time, and carries out its effects.
//
// Between the server, which accepts connections and knows the clocks, and the replicator. Per pair of servers one link,
// of two connections: the stream, and a bulk connection for anti-entropy that the stream's dialer opens. Of two streams
// between the same servers the one dialed by the lower boot id stays; as long as there is only one, it is that one.
//
// All addresses are dialed that were listed, found or named by members, unless a link to whoever is there is up.

import { performance } from 'node:perf_hooks'
import type { Transport } from '../protocol/transport.ts'
import type { PeerProofs } from './access.ts'
import { AddressBook } from './address-book.ts'
import type { ClusterSecret } from './cluster-secret.ts'
import type { Logger } from './options.ts'
import { addressOf, announcedAddress, dialableAddress } from './peer-address.ts'
import { PeerConnection, type PeerConnectionEvents } from './peer-connection.ts'
import { type DialPeer, PeerDialer } from './peer-dialer.ts'
import { PeerLog } from './peer-log.ts'
import { type PeerStatus, peerStatuses, unlinked } from './peer-status.ts'
import type { LinkState } from './replication/link-state.ts'
import type { Member } from './replication/members.ts'
import { Channel, type PeerHello } from './replication/peer-messages.ts'
import { PeerRefusal, type ReplicationEffects, type Replicator } from './replication/replicator.ts'

/** Upkeep of replication, in ms; and markers and records looked at in a slice: well below 1 ms of work. */
const TICK_MS = 50
const MARKERS_PER_TICK = 1000
const RECORDS_PER_SLICE = 1000
/** Whoever was refused waits at least so long before the next try, in ms. */
const REFUSED_RETRY_MS = 5000
const BULK_RETRY_MS = 500
/** An attempt that neither failed nor succeeded for so long is not waited for any more, in ms. */
const BULK_PATIENCE_MS = 15_000
/** Codes of a BYE that comes of two servers dialing each other at the same time. */
const NO_REFUSALS = new Set(['duplicate', 'no link'])
/** Addresses dialed, beyond those that were listed. */
const DIALERS_MAX = 256

/** The connections of a link. */
interface Wires {
  stream: PeerConnection
  /** Something came since its HELLO, which may have waited here long after its sender has gone. */
  isHeard: boolean
  bulk: PeerConnection | undefined
  /** When a bulk connection that is not there is dialed again; monotonic ms. */
  bulkDueMs: number
}

export interface MeshSetup {
  logger: Logger
  dial: DialPeer
  /** What is proved on a connection that was dialed, by either end. */
  proofs(transport: Transport): PeerProofs
  random(): number
  /** Makes the replicator, which needs the effects that the mesh has. */
  makeReplicator(effects: Omit<ReplicationEffects, 'random' | 'newBoot'>): Replicator
}

export class Mesh {
  readonly replicator: Replicator
  readonly log: PeerLog
  readonly #setup: MeshSetup
  readonly #wires = new Map<LinkState, Wires>()
  readonly #connections = new Set<PeerConnection>()
  readonly #dialers = new Map<string, PeerDialer>()
  readonly #addresses: AddressBook
  #timer: NodeJS.Timeout | undefined
  #pumpAgain: NodeJS.Immediate | undefined
  #workAgain: NodeJS.Immediate | undefined
  #pumpedSeq = 0
  #pumpedWatermark = 0
  #isClosed = false

  constructor(setup: MeshSetup) {
    this.#setup = setup
    this.log = new PeerLog(setup.logger)
    this.replicator = setup.makeReplicator({
      send: (link, channel, bytes) => {
        const wires = this.#wires.get(link)
        const connection = channel === Channel.Bulk ? wires?.bulk : wires?.stream
        connection?.send(bytes)
      },
      unsentBytes: (link) => this.#wires.get(link)?.bulk?.unsentBytes ?? 0,
      onBoot: () => this.#restartLinks(),
      onMembers: (members) => this.#dialMembers(members),
      event: (name, facts) => this.log.event(name, facts),
    })
    this.#addresses = new AddressBook(this.replicator.replica.members)
  }

  /** Begins to dial and to keep time. `own`: where this server listens. */
  start(label: string, own: { host: string; port: number }, peers: readonly string[]): void {
    this.#at()
    this.replicator.rename(label)
    this.replicator.address = announcedAddress(own.host, own.port)
    for (const address of peers) this.find(address, true)
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    this.#timer.unref()
  }

  /** An address where there may be a server. `isListed`: it counts as a member before it was ever reached. */
  find(address: string, isListed = false): void {
    if (this.#isClosed) return
    if (this.#addresses.isOwn(address)) {
      this.replicator.replica.members.drop(address)
      return
    }
    if (address === this.replicator.address) {
      this.#dropOwn(address)
      return
    }
    const label = this.#addresses.answeredAt(address)
    // Somebody who has not reached it yet names it as a member of its own.
    if (label !== undefined) this.replicator.reached(address, label)
    // Multicast, and members, may name any number of addresses.
    if (!isListed && !this.#dialers.has(address) && this.#dialers.size >= DIALERS_MAX) return
    if (isListed) {
      this.#addresses.list(address)
      this.replicator.expect(address)
    }
    this.#dialer(address).start()
  }

  /**
   * A connection that said a peer's HELLO: its frames are to be given to `take` of what this returns. With what it has
   * proved.
   */
  accept(transport: Transport, { certificate, isReflected }: PeerProofs): PeerConnection {
    const proofs = { certificate, isReflected }
    const connection = new PeerConnection(transport, undefined, undefined, this.#events, proofs)
    this.#connections.add(connection)
    return connection
  }

  /** The secret may be another one: ends what was dialed under the former. */
  dropUnproven(secret: ClusterSecret | undefined): void {
    for (const connection of [...this.#connections])
      if (connection.secret !== undefined && !connection.secret.isSame(secret))
        connection.bye('secret', 'the cluster secret has changed')
  }

  /** Something may have been written: sends it when this turn of the event loop is over. */
  wake(): void {
    const { store, watermark } = this.replicator.replica
    if (this.#pumpAgain !== undefined) return
    if (store.tailSeq === this.#pumpedSeq && watermark === this.#pumpedWatermark) return
    if (this.#wires.size === 0) return
    this.#pumpAgain = setImmediate(() => this.#pump())
  }

  get links(): number {
    return this.#wires.size
  }

  peers(): PeerStatus[] {
    this.#at()
    return peerStatuses(this.replicator, (label) => this.log.of(label))
  }

  /** `peers forget NODE`: it is no member any more, here and at all others. False if there is no such member. */
  forget(label: string): boolean {
    this.#at()
    if (!this.replicator.remove(label)) return false
    for (const [link, wires] of this.#wires)
      if (link.member.label === label) wires.stream.bye('removed', `${label} was removed from the cluster`)
    for (const address of this.#addresses.addressesOf(label)) this.#stopDialing(address)
    this.#stopDialing(label)
    return true
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#timer !== undefined) clearInterval(this.#timer)
    if (this.#pumpAgain !== undefined) clearImmediate(this.#pumpAgain)
    if (this.#workAgain !== undefined) clearImmediate(this.#workAgain)
    for (const dialer of this.#dialers.values()) dialer.close()
    this.replicator.acks.end()
    for (const connection of [...this.#connections]) connection.bye('closing', 'the server is shutting down')
  }

  readonly #events: PeerConnectionEvents = {
    onReady: (connection) => {
      this.#at()
      connection.sendHello(this.replicator.hello(connection.channel ?? Channel.Stream))
    },
    onHello: (connection, hello) => this.#onHello(connection, hello),
    onMessage: (connection, bytes, at, end) => {
      const { link } = connection
      if (link === undefined) return
      this.#at()
      this.#heard(connection, link)
      this.replicator.receive(link, bytes, at, end)
      this.#dialerOf(connection)?.answered()
      this.#work()
    },
    onClosed: (connection) => this.#onClosed(connection),
    now: () => performance.now(),
  }

  #onHello(connection: PeerConnection, hello: PeerHello): void {
    this.#at()
    hello.address = dialableAddress(hello.address, connection.dialed, connection.remote)
    try {
      if (hello.boot === this.replicator.replica.boot) {
        // This end was dialed by the other one, which is this server too, and drops the address.
        connection.bye('self', 'this server has reached itself')
        return
      }
      connection.mustBelong(hello.label)
      this.replicator.check(hello)
      if (connection.channel === Channel.Bulk) this.#joinBulk(connection, hello)
      else this.#joinStream(connection, hello)
    } catch (error) {
      if (!(error instanceof PeerRefusal)) throw error
      this.log.refused(hello.label, connection.remote, error.code, error.message)
      connection.refuse(error.code, error.message)
    }
  }

  #joinStream(connection: PeerConnection, hello: PeerHello): void {
    const { replicator } = this
    const former = replicator.link(hello.label)
    const wires = former === undefined ? undefined : this.#wires.get(former)
    if (connection.dialed !== undefined) this.#learn(connection.dialed, hello.label)
    if (
      wires?.stream.isAlive(performance.now(), replicator.replica.options.pingMs) &&
      this.#isPreferred(wires.stream, hello) &&
      !this.#isPreferred(connection, hello)
    ) {
      connection.bye('duplicate', 'there is a link already', replicator.replica.label)
      return
    }
    if (!connection.isDialed) connection.sendHello(replicator.hello(Channel.Stream))
    replicator.linkUp(hello, connection.dialed, (made) => {
      connection.link = made
      this.#wires.set(made, { stream: connection, isHeard: false, bulk: undefined, bulkDueMs: 0 })
    })
    if (wires !== undefined && former !== undefined) {
      this.#wires.delete(former)
      wires.bulk?.bye('duplicate', 'another link has taken its place')
      wires.stream.bye('duplicate', 'another link has taken its place')
      if (wires.isHeard) this.log.superseded(hello.label)
    }
    this.#dialMissingBulks()
  }

  #heard(connection: PeerConnection, link: LinkState): void {
    const wires = this.#wires.get(link)
    if (wires === undefined || wires.isHeard || wires.stream !== connection) return
    wires.isHeard = true
    this.log.connected(link.member.label, connection.remote, link.member.region)
  }

  /** Whether a stream with this server was dialed by the lower of the two boots. */
  #isPreferred(connection: PeerConnection, hello: PeerHello): boolean {
    const { boot } = this.replicator.replica
    return connection.isDialed === boot < hello.boot
  }

  #joinBulk(connection: PeerConnection, hello: PeerHello): void {
    const link = connection.link ?? this.replicator.link(hello.label)
    const wires = link === undefined ? undefined : this.#wires.get(link)
    if (link === undefined || wires === undefined || link.boot !== hello.boot) {
      connection.bye('no link', 'a bulk connection needs a link')
      return
    }
    if (!connection.isDialed) connection.sendHello(this.replicator.hello(Channel.Bulk))
    connection.link = link
    const former = wires.bulk
    wires.bulk = connection
    if (former !== undefined && former !== connection) former.end()
    this.replicator.bulkUp(link)
    this.#work()
  }

  /** One attempt; whether another one is due is asked in every tick. */
  #dialBulk(link: LinkState, wires: Wires, address: string): void {
    wires.bulkDueMs = performance.now() + BULK_PATIENCE_MS
    const { host, port } = addressOf(address)
    const dialer = new PeerDialer(host, port, this.#setup.dial, {
      isWanted: () => this.#wires.has(link),
      onTransport: (transport) => {
        dialer.close()
        if (this.#wires.has(link)) this.#dialedConnection(transport, Channel.Bulk, address, link)
        else transport.destroy()
      },
      onFailure: () => {
        dialer.close()
        wires.bulkDueMs = performance.now() + BULK_RETRY_MS
      },
      random: this.#setup.random,
    })
    dialer.start()
  }

  /** Without its bulk connection a link has no anti-entropy: whoever dialed the stream dials that one too. */
  #dialMissingBulks(): void {
    const nowMs = performance.now()
    for (const [link, wires] of this.#wires)
      if (wires.stream.dialed !== undefined && wires.bulk === undefined && nowMs >= wires.bulkDueMs)
        this.#dialBulk(link, wires, wires.stream.dialed)
  }

  #dialedConnection(transport: Transport, channel: Channel, address: string, link?: LinkState): void {
    const proofs = this.#setup.proofs(transport)
    const connection = new PeerConnection(transport, channel, address, this.#events, proofs)
    connection.link = link
    this.#connections.add(connection)
    connection.open()
  }

  #onClosed(connection: PeerConnection): void {
    this.#connections.delete(connection)
    const { link, dialed } = connection
    const { replica } = this.replicator
    const wires = link === undefined ? undefined : this.#wires.get(link)
    const name = dialed === undefined ? connection.remote : this.#addresses.nameOf(dialed)
    const label = link?.member.label ?? connection.hello?.label ?? name
    const answeredBy = connection.refusedBy?.label
    if (dialed !== undefined && answeredBy !== undefined && replica.members.get(answeredBy) !== undefined)
      this.#learn(dialed, answeredBy)
    if (connection.refusedBy?.code === 'self' && dialed !== undefined) this.#dropOwn(dialed)
    else if (connection.refusedBy !== undefined && !NO_REFUSALS.has(connection.refusedBy.code))
      this.log.refusedBy(label, connection.remote, connection.refusedBy.code, connection.refusedBy.text)
    else if (connection.unproven !== undefined)
      this.log.refused(label, connection.remote, 'secret', connection.unproven)
    else if (dialed !== undefined && connection.isUnanswered && !this.#isClosed)
      this.log.unanswered(name, dialed, connection.why)
    if (link !== undefined && wires !== undefined) {
      this.#at()
      if (wires.stream === connection) {
        this.#wires.delete(link)
        this.replicator.linkDown(link)
        wires.bulk?.end()
        if (connection.refusedBy?.code === 'duplicate') {
          if (wires.isHeard) this.log.superseded(label)
        } else if (!this.#isClosed) this.log.lost(label, connection.remote, connection.why, wires.isHeard)
        if (link.member.address !== undefined) this.#dialer(link.member.address).again()
      } else if (wires.bulk === connection) {
        wires.bulk = undefined
        this.replicator.bulkDown(link)
      }
      if (connection.channel === Channel.Bulk) wires.bulkDueMs = performance.now() + BULK_RETRY_MS
    }
    if (dialed !== undefined && connection.channel === Channel.Stream && !this.#addresses.isOwn(dialed))
      this.#dialers.get(dialed)?.again(connection.isRefused ? REFUSED_RETRY_MS : 0)
  }

  #dialer(address: string): PeerDialer {
    const known = this.#dialers.get(address)
    if (known !== undefined) return known
    const { host, port } = addressOf(address)
    const made: PeerDialer = new PeerDialer(host, port, this.#setup.dial, {
      isWanted: () => this.#isWanted(address),
      onTransport: (transport) => this.#dialedConnection(transport, Channel.Stream, address),
      onFailure: (error) => this.log.failed(this.#addresses.nameOf(address), address, error.message),
      random: this.#setup.random,
    })
    this.#dialers.set(address, made)
    return made
  }

  #dialerOf(connection: PeerConnection): PeerDialer | undefined {
    return connection.dialed === undefined ? undefined : this.#dialers.get(connection.dialed)
  }

  /** Not while a link to whoever answers there is up. An address that counts as a member is dialed to learn whose it is. */
  #isWanted(address: string): boolean {
    const label = this.#addresses.labelAt(address)
    return label === undefined || this.replicator.link(label) === undefined
  }

  /** Whose address that is: else it would be dialed for ever, and count as one more member that knows nothing. */
  #learn(address: string, label: string): void {
    this.#addresses.learn(address, label)
    this.replicator.reached(address, label)
  }

  #dialMembers(members: readonly Member[]): void {
    for (const { address } of members) if (address !== undefined) this.find(address)
  }

  #stopDialing(address: string): void {
    this.#dialers.get(address)?.close()
    this.#dialers.delete(address)
    this.#addresses.unlist(address)
  }

  #dropOwn(address: string): void {
    this.#addresses.own(address)
    this.#stopDialing(address)
    this.replicator.replica.members.drop(address)
    this.#setup.logger.info({ address }, 'own address skipped')
  }

  /** This server has another boot: whoever is linked must hear of it in a HELLO. */
  #restartLinks(): void {
    const links = [...this.#wires.values()]
    for (const { stream } of links) stream.bye('new boot', 'the clock was set back: this server begins anew')
  }

  #at(): void {
    this.replicator.at(Date.now(), performance.now())
  }

  #pump(): void {
    this.#pumpAgain = undefined
    this.#at()
    const { store, watermark } = this.replicator.replica
    this.#pumpedSeq = store.tailSeq
    this.#pumpedWatermark = watermark
    if (this.replicator.pump()) this.#pumpAgain = setImmediate(() => this.#pump())
  }

  #work(): void {
    this.#workAgain ??= setImmediate(() => {
      this.#workAgain = undefined
      this.#at()
      if (this.replicator.work(RECORDS_PER_SLICE)) this.#work()
    })
  }

  #tick(): void {
    this.#at()
    this.replicator.tick(MARKERS_PER_TICK)
    this.wake()
    this.#work()
    // After the poll phase: a server that was stopped for a while reads what has come before it judges.
    setImmediate(() => {
      for (const connection of [...this.#connections])
        connection.closeIfSilent(performance.now(), this.replicator.replica.options.roundMs)
    })
    this.#dialMissingBulks()
    this.#warnOfMissingLinks()
  }

  /** Whoever is linked with nobody has other worries. */
  #warnOfMissingLinks(): void {
    if (this.#wires.size === 0) return
    this.log.missing(unlinked(this.replicator), performance.now())
  }
}
