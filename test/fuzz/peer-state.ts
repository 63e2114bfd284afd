// The state of a connection between servers: two attackers who dial and say that they are servers, one with a lower and
// one with a higher boot than the victim's, and one whom the victim dials; each with a stream and a bulk connection.
//
// Whatever they say, an honest server that comes when they are gone is served as if nothing had been.

import { Channel } from '../../server/replication/peer-messages.ts'
import { emptyHead, NO_SLOT, RecordKind } from '../../server/store/store.ts'
import { decoded, payloads } from '../helpers/frames.ts'
import { bootOf, spanOf } from '../helpers/replicas.ts'
import { type Random, randomFrom } from '../server/store/random.ts'
import type { Dialed } from './dialed-socket.ts'
import type { Input, State, World } from './engine.ts'
import { FuzzedServer } from './fuzzed-server.ts'
import { HonestPeer } from './honest-peer.ts'
import { Pen } from './items.ts'
import { chunked, mutated, randomBytes } from './mutations.ts'
import { hello, isBulk, peerMessage, type Speaker } from './peer-messages.ts'
import { spoiltFrame } from './requests.ts'
import { SKEW_MS_MAX } from './server-checks.ts'
import { demand } from './violation.ts'
import { Wire } from './wire.ts'
import { Witness } from './witness.ts'

const INPUTS_PER_WORLD = 1000
const CHECK_EVERY = 25
/** And the witness asks after so many. */
const LOOK_EVERY = 4
const HEARD_MAX = 20
/** The last one is dialed by the victim. */
const LABELS = ['a', 'z', 'dialed'] as const
const ADDRESS = '10.0.0.9:11142'
/** Of each attacker its stream, then its bulk connection. */
const SLOTS = 2 * LABELS.length
const DIALED_SLOT = SLOTS - 2
/** Dials that wait for an answer; older ones are refused. */
const DIALS_MAX = 8
const pen = new Pen()

class Attacker implements Speaker {
  readonly label: string
  readonly heard: unknown[][] = []
  readonly #server: FuzzedServer
  #lives = 0

  constructor(server: FuzzedServer, label: string) {
    this.#server = server
    this.label = label
  }

  get victim() {
    return this.#server.replicator
  }

  /** Of the link there is; else the one that it says it has. */
  get boot(): string {
    return this.victim.link(this.label)?.boot ?? bootOf(`${this.label}${this.#lives}`)
  }

  /** It was removed: it comes back as somebody else. */
  restart(): void {
    const { members } = this.victim.replica
    while (members.isRemoved(bootOf(`${this.label}${this.#lives}`))) this.#lives++
  }

  hear(bytes: Buffer): void {
    // A connection that began with text is answered with text.
    if (bytes.toString('latin1', 0, 6) === 'binary') return
    for (const payload of payloads(bytes)) this.heard.push(decoded(payload))
    if (this.heard.length > 2 * HEARD_MAX) this.heard.splice(0, this.heard.length - HEARD_MAX)
  }
}

class PeerWorld implements World {
  readonly #server: FuzzedServer
  readonly #witness: Witness
  readonly #attackers: readonly Attacker[]
  readonly #wires: (Wire | undefined)[] = new Array(SLOTS).fill(undefined)
  readonly #dials: [Dialed, Wire][] = []
  #played = 0

  constructor(seed: number) {
    this.#server = new FuzzedServer(seed, seed & 1 ? 'arena' : 'heap')
    this.#attackers = LABELS.map((label) => new Attacker(this.#server, label))
    const { surroundings } = this.#server
    surroundings.onDial = (dialed, wire) => {
      this.#dials.push([dialed, wire])
      if (this.#dials.length > DIALS_MAX) this.#dials.shift()?.[0].refuse()
    }
    this.#witness = surroundings.within(() => {
      this.#server.mesh.find(ADDRESS)
      return new Witness(this.#server)
    })
  }

  next(random: Random): Input {
    let luck = random.below(2 ** 31)
    // Without its stream a bulk connection is refused.
    const isRefused = channelOf(slotOf(luck)) === Channel.Bulk && this.#wireAt(slotOf(luck) - 1) === undefined
    if (isRefused && !random.oneIn(20)) luck = Math.max(0, luck - 1)
    const slot = slotOf(luck)
    const speaker = this.#attacker(slot)
    const isNew = this.#wireAt(slot) === undefined
    const channel = channelOf(slot)
    const frames: Buffer[] = []
    if (isNew && !random.oneIn(30)) {
      speaker.restart()
      const greeting = hello(speaker, channel, random)
      frames.push(random.oneIn(12) ? spoiltFrame(greeting, random) : pen.frame(greeting, random))
    }
    for (let left = 1 + random.below(2); left > 0; left--) {
      let message = peerMessage(speaker, random)
      // Rounds go over the bulk connection, the rest over the stream: mostly.
      for (let tries = 5; tries > 0 && isBulk(message) !== (channel === Channel.Bulk); tries--)
        message = peerMessage(speaker, random)
      frames.push(random.oneIn(5) ? spoiltFrame(message, random) : pen.frame(message, random))
    }
    if (random.oneIn(40)) frames.push(randomBytes(random.below(60), random))
    const stream = Buffer.concat(frames)
    return { chunks: chunked(random.oneIn(8) ? mutated(stream, random) : stream, random), luck }
  }

  play(input: Input): string {
    return this.#server.surroundings.within(() => this.#play(input))
  }

  end(): void {
    const server = this.#server
    server.surroundings.within(() => {
      server.check()
      for (const wire of this.#wires) wire?.close()
      this.#serveHonestly()
      this.#witness.look()
      this.#witness.close()
      server.check()
      server.endWaiting()
      server.checkNothingHeld()
    })
  }

  #play({ chunks, luck }: Input): string {
    const server = this.#server
    const lots = randomFrom(luck)
    const slot = slotOf(luck)
    const wire = this.#wireAt(slot) ?? this.#open(slot)
    if (wire === undefined) {
      // Nobody has dialed: time for it.
      server.surroundings.pass(500)
      return 'not dialed'
    }
    wire.isReading = !lots.oneIn(15)
    const { applied } = server.replicator.replica.counters
    for (const chunk of chunks) {
      wire.say(chunk, lots.oneIn(4))
      if (lots.oneIn(8)) server.surroundings.turn()
    }
    this.#live(lots)
    const isClosed = wire.isOver
    if (wire.isReading || lots.oneIn(2)) wire.drain()
    if (wire.isOver || lots.oneIn(60)) {
      wire.cut(lots.oneIn(3) ? new Error('reset') : undefined)
      this.#wires[slot] = undefined
    }
    if (++this.#played % LOOK_EVERY === 0) this.#witness.look()
    if (this.#played % CHECK_EVERY === 0) server.check()
    if (isClosed) return 'closed'
    return server.replicator.replica.counters.applied > applied ? 'applied' : 'open'
  }

  #attacker(slot: number): Attacker {
    return this.#attackers[slot >> 1] as Attacker
  }

  #wireAt(slot: number): Wire | undefined {
    const wire = this.#wires[slot]
    if (wire === undefined || !wire.isOver) return wire
    wire.cut()
    this.#wires[slot] = undefined
    return undefined
  }

  #open(slot: number): Wire | undefined {
    const attacker = this.#attacker(slot)
    const wire = slot < DIALED_SLOT ? new Wire(`10.0.0.${slot}:7`) : this.#answerDial(attacker)
    if (wire === undefined) return undefined
    if (slot < DIALED_SLOT) {
      wire.onRead = (bytes) => attacker.hear(bytes)
      this.#server.connect(wire.remote, wire)
    }
    this.#wires[slot] = wire
    return wire
  }

  /** The dial that came last, and whoever dialed has not given up. */
  #answerDial(attacker: Attacker): Wire | undefined {
    for (;;) {
      const [dialed, wire] = this.#dials.pop() ?? []
      if (dialed === undefined || wire === undefined) return undefined
      if (dialed.isGivenUp) continue
      wire.onRead = (bytes) => attacker.hear(bytes)
      dialed.accept()
      return wire
    }
  }

  /** What else goes on in a server meanwhile. */
  #live(lots: Random): void {
    const { keyspace, surroundings } = this.#server
    keyspace.nowMs = surroundings.wallMs
    if (lots.oneIn(3))
      this.#server.write(keyOf(lots), 'x'.repeat(lots.below(300)), lots.pick([0, 500, 60_000]))
    if (lots.oneIn(8)) keyspace.delete(spanOf(keyOf(lots)))
    if (lots.oneIn(3)) keyspace.get(spanOf(keyOf(lots)))
    if (lots.oneIn(300)) keyspace.clear()
    this.#server.mesh.wake()
    // The wall clock may run ahead of the other one, or stay behind.
    if (lots.oneIn(4)) surroundings.wallMs += lots.below(60)
    surroundings.pass(lots.oneIn(200) ? 3000 : lots.oneIn(4) ? lots.below(120) : 0)
  }

  /** The attackers are shown the door; whoever comes then gets everything, and gives. */
  #serveHonestly(): void {
    const { replicator, surroundings, keyspace, store } = this.#server
    for (const { label } of [...replicator.replica.members]) replicator.remove(label)
    surroundings.wallMs += SKEW_MS_MAX
    surroundings.pass(SKEW_MS_MAX)
    const honest = new HonestPeer(this.#server, 'honest')
    const together = (ms: number) => {
      for (let left = ms; left > 0; left -= 50) {
        surroundings.pass(50)
        honest.tick()
      }
    }
    together(1500)
    this.#server.write('from the victim', '1')
    this.#server.mesh.wake()
    honest.node.set('from the honest', '2')
    together(500)
    const slot = keyspace.get(spanOf('from the honest'))
    demand(slot !== NO_SLOT, 'an honest server is not heard')
    demand(honest.node.get('from the victim') === '1', 'an honest server is not told')
    const head = emptyHead()
    for (let at = store.next(0); at !== NO_SLOT; at = store.next(head.seq)) {
      store.head(at, head)
      if (head.kind !== RecordKind.Value || head.expiresAtMs !== 0) continue
      if (head.hlc <= replicator.replica.watermark) continue
      const bytes = Buffer.alloc(head.keyBytes)
      store.copyKey(at, bytes, 0)
      const span = { bytes, at: 0, length: bytes.length }
      const known = honest.node.store.find(honest.node.store.hash(span), span)
      demand(known !== NO_SLOT, 'an honest server does not get all there is', () => bytes.toString('hex'))
    }
    honest.close()
  }
}

function slotOf(luck: number): number {
  return luck % SLOTS
}

function channelOf(slot: number): Channel {
  return (slot & 1) === 1 ? Channel.Bulk : Channel.Stream
}

function keyOf(lots: Random): string {
  return `k${lots.below(100)}`
}

export const peerState: State = {
  name: 'peer',
  inputsPerWorld: INPUTS_PER_WORLD,
  outcomes: ['open', 'closed', 'applied'],
  makeWorld: (seed) => new PeerWorld(seed),
}
