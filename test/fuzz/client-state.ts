// The state of a client connection that may ask: requests, right and wrong, on some connections at a time, to a server
// that has an honest peer, so that writes wait for acknowledgements and replies come late.

import { Status } from '../../protocol/messages.ts'
import { type Random, randomFrom } from '../server/store/random.ts'
import type { Input, State, World } from './engine.ts'
import { FuzzedServer, VALUE_BYTES_MAX } from './fuzzed-server.ts'
import { HonestPeer } from './honest-peer.ts'
import { Ledger } from './ledger.ts'
import { chunked } from './mutations.ts'
import { type Learnt, requestStream } from './requests.ts'
import type { Wire } from './wire.ts'
import { Witness } from './witness.ts'

const INPUTS_PER_WORLD = 1000
const CONNECTIONS = 4
/** The whole server is looked at after so many inputs. */
const CHECK_EVERY = 25
/** And the witness asks after so many. */
const LOOK_EVERY = 4
const VERSIONS_LEARNT = 16

interface Connection {
  wire: Wire
  ledger: Ledger
}

class ClientWorld implements World {
  readonly #server: FuzzedServer
  readonly #witness: Witness
  readonly #peer: HonestPeer
  readonly #connections: (Connection | undefined)[] = new Array(CONNECTIONS).fill(undefined)
  readonly #learnt: Learnt = { versions: [], labels: ['friend', 'm', 'x'] }
  #played = 0

  constructor(seed: number) {
    this.#server = new FuzzedServer(seed, seed & 1 ? 'arena' : 'heap')
    const { surroundings } = this.#server
    this.#witness = surroundings.within(() => new Witness(this.#server))
    this.#peer = surroundings.within(() => new HonestPeer(this.#server, 'friend'))
  }

  next(random: Random): Input {
    return {
      chunks: chunked(requestStream(this.#learnt, random), random),
      luck: random.below(2 ** 31),
    }
  }

  play(input: Input): string {
    return this.#server.surroundings.within(() => this.#play(input))
  }

  end(): void {
    const { surroundings } = this.#server
    surroundings.within(() => {
      const open = this.#connections.filter((connection) => connection !== undefined)
      for (const connection of open) this.#server.readAll(connection.wire)
      this.#server.endWaiting()
      for (const { wire, ledger } of open) {
        ledger.settle(wire.isOver)
        wire.close()
      }
      this.#witness.look()
      this.#witness.close()
      this.#peer.close()
      this.#server.check()
      this.#server.checkNothingHeld()
    })
  }

  #play({ chunks, luck }: Input): string {
    const { surroundings } = this.#server
    const lots = randomFrom(luck)
    const slot = lots.below(CONNECTIONS)
    const connection = this.#connectionAt(slot)
    const { wire, ledger } = connection
    const before = ledger.statuses.length
    wire.isReading = !lots.oneIn(6)
    for (const chunk of chunks) {
      ledger.say(chunk)
      wire.say(chunk, lots.oneIn(4))
      if (lots.oneIn(8)) surroundings.turn()
    }
    if (lots.oneIn(10)) this.#pass(lots)
    else surroundings.turn()
    if (wire.isReading || lots.oneIn(2)) this.#server.readAll(connection.wire)
    if (wire.isSettled) ledger.settle(wire.isOver, 'late ones may be')
    const outcome = this.#outcome(connection, before)
    if (wire.isOver || lots.oneIn(3)) {
      if (lots.oneIn(2)) this.#server.readAll(connection.wire)
      wire.cut(lots.oneIn(3) ? new Error('reset') : undefined)
      this.#connections[slot] = undefined
    }
    if (++this.#played % LOOK_EVERY === 0) this.#witness.look()
    if (lots.oneIn(50)) this.#peer.act(lots)
    if (this.#played % CHECK_EVERY === 0) this.#server.check()
    return outcome
  }

  #connectionAt(slot: number): Connection {
    const known = this.#connections[slot]
    if (known !== undefined && !known.wire.isOver) return known
    known?.wire.cut()
    const wire = this.#server.connect(`client:${slot}`)
    const ledger = new Ledger(VALUE_BYTES_MAX, 'admin')
    wire.onRead = (bytes) => {
      this.#learn(bytes)
      ledger.hear(bytes)
    }
    const connection = { wire, ledger }
    this.#connections[slot] = connection
    return connection
  }

  /** A version is 16 bytes in a binary: wherever it stands. */
  #learn(bytes: Buffer): void {
    const at = bytes.indexOf(VERSION_HEAD)
    if (at < 0 || at + 18 > bytes.length) return
    const { versions } = this.#learnt
    versions[this.#played % VERSIONS_LEARNT] = Buffer.from(bytes.subarray(at + 2, at + 18))
  }

  #pass(lots: Random): void {
    const ms = lots.oneIn(100) ? 31_000 : lots.oneIn(9) ? 1100 : lots.below(60)
    this.#server.surroundings.pass(ms)
  }

  #outcome({ wire, ledger }: Connection, before: number): string {
    if (ledger.isPeer) return 'peer'
    if (wire.isOver) return ledger.isLastWordSaid ? 'closed' : 'closed without a word'
    if (wire.unsentBytes > 0) return 'not read'
    if (ledger.isMidFrame) return 'in mid-frame'
    const statuses = ledger.statuses.slice(before)
    return statuses.some((status) => status >= Status.Malformed) ? 'refused' : 'answered'
  }
}

const VERSION_HEAD = Buffer.of(0xc4, 0x10)

export const clientState: State = {
  name: 'client',
  inputsPerWorld: INPUTS_PER_WORLD,
  outcomes: ['answered', 'refused', 'closed', 'closed without a word', 'in mid-frame', 'not read'],
  makeWorld: (seed) => new ClientWorld(seed),
}
