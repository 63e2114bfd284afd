// Another server that means well, with a store and a replicator of its own, linked over two wires to the server under
// attack: it acknowledges, pings, and holds rounds, when it is its turn. It comes back when it was sent away.
//
// What it is sent waits until `settle`: a server never hears an answer while it still speaks.

import { PeerOpcode } from '../../protocol/messages.ts'
import { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import { Channel, readHello, writeHello } from '../../server/replication/peer-messages.ts'
import { payloads } from '../helpers/frames.ts'
import { bootOf, type Node, World } from '../helpers/replicas.ts'
import type { Random } from '../server/store/random.ts'
import type { FuzzedServer } from './fuzzed-server.ts'
import type { Wire } from './wire.ts'

const MARKERS_PER_TICK = 100
const RECORDS_PER_SLICE = 1000
const TURNS_MAX = 1000

export class HonestPeer {
  node: Node
  readonly #server: FuzzedServer
  readonly #label: string
  readonly #onSay: (bytes: Buffer) => void
  readonly #world = new World()
  readonly #wires = new Map<Channel, Wire>()
  readonly #heard: { channel: Channel; payload: Buffer }[] = []
  #lives = 0
  #isRemoved = false

  /** `onSay`: hears what it says on its stream; then it has no other connection. */
  constructor(server: FuzzedServer, label: string, onSay?: (bytes: Buffer) => void) {
    this.#server = server
    this.#label = label
    this.#onSay = onSay ?? (() => {})
    this.node = this.#begin()
    this.#connect(Channel.Stream)
    this.settle()
    if (onSay !== undefined) return
    this.#connect(Channel.Bulk)
    this.settle()
  }

  /** What it might do by now: answer what has come, ping, lose a connection, come back. */
  act(random: Random): void {
    if (this.#isRemoved) this.node = this.#begin()
    if (random.oneIn(30)) this.#wires.get(random.pick<Channel>([Channel.Stream, Channel.Bulk]))?.cut()
    for (const channel of [Channel.Stream, Channel.Bulk] as const)
      if (this.#wires.get(channel)?.isOver ?? true) this.#connect(channel)
    if (random.oneIn(3)) this.node.set(`k${random.below(40)}`, 'from the friend')
    this.tick()
  }

  /** Upkeep, and what it leads to. */
  tick(): void {
    this.#at()
    this.node.replicator.tick(MARKERS_PER_TICK)
    this.settle()
  }

  /** Both say all that they have to say. */
  settle(): void {
    for (let left = TURNS_MAX; left > 0; left--) {
      this.#at()
      const { replicator } = this.node
      const isBusy = [replicator.pump(), replicator.work(RECORDS_PER_SLICE), this.#speak(), this.#listen()]
      this.#server.surroundings.turn()
      if (!isBusy.includes(true) && this.#heard.length === 0) return
    }
  }

  close(): void {
    for (const wire of this.#wires.values()) wire.close()
  }

  #begin(): Node {
    this.close()
    this.#wires.clear()
    this.#heard.length = 0
    this.#isRemoved = false
    const life = this.#lives++
    return this.#world.add(this.#label, {
      boot: bootOf(`${this.#label}${life}`),
      entriesMax: 1000,
      bytesMax: 4 << 20,
    })
  }

  #at(): void {
    const { wallMs, monoMs } = this.#server.surroundings
    this.#world.wallMs = wallMs
    this.#world.monoMs = monoMs
    this.node.at()
  }

  #connect(channel: Channel): void {
    const former = this.#wires.get(channel)
    if (channel === Channel.Stream) this.#down()
    else if (former !== undefined) {
      const link = this.node.replicator.link('m')
      if (link !== undefined) this.node.replicator.bulkDown(link)
    }
    former?.close()
    const wire = this.#server.connect(`10.0.0.2:${1000 + channel}`, undefined, {
      commonName: this.#label,
      units: ['peer'],
      altNames: [],
    })
    this.#wires.set(channel, wire)
    wire.onRead = (bytes) => {
      if (this.#wires.get(channel) !== wire) return
      for (const payload of payloads(bytes)) this.#heard.push({ channel, payload })
    }
    this.#at()
    const writer = new Writer(1024)
    writeHello(writer, this.node.replicator.hello(channel))
    this.#say(channel, Buffer.from(writer.bytes.subarray(0, writer.at)))
  }

  /** The link is over, on this end. */
  #down(): void {
    const link = this.node.replicator.link('m')
    if (link !== undefined) this.node.replicator.linkDown(link)
  }

  /** True if there was something to say. */
  #speak(): boolean {
    const sent = this.node.outbox.splice(0)
    for (const { channel, bytes } of sent) this.#say(channel, bytes)
    return sent.length > 0
  }

  #say(channel: Channel, bytes: Buffer): void {
    if (channel === Channel.Stream) this.#onSay(bytes)
    this.#wires.get(channel)?.say(bytes)
  }

  #listen(): boolean {
    const heard = this.#heard.splice(0)
    for (const { channel, payload } of heard) this.#hear(channel, payload)
    return heard.length > 0
  }

  #hear(channel: Channel, payload: Buffer): void {
    const reader = new Reader()
    reader.open(payload, 0, payload.length)
    const { replicator } = this.node
    const link = replicator.link('m')
    if (reader.head === PeerOpcode.Hello) {
      const hello = readHello(reader)
      if (channel === Channel.Stream) replicator.linkUp(hello)
      else if (link !== undefined) replicator.bulkUp(link)
    } else if (reader.head === PeerOpcode.Bye || (reader.head === PeerOpcode.Refused && link === undefined)) {
      this.#isRemoved ||= payload.includes('removed')
      this.#wires.get(channel)?.close()
      if (channel === Channel.Stream) this.#down()
    } else if (link !== undefined) replicator.receive(link, payload, 0, payload.length)
  }
}
