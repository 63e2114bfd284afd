// The state of a connection that has still to say who it is, and of those that have: to a server with an auth file and a
// cluster secret. It is asked everything that a client may ask, and answered nothing before it has proved itself; then
// what its role allows. Some arrive with certificates, and the auth file changes meanwhile.

import { Opcode, Status } from '../../protocol/messages.ts'
import type { Certificate } from '../../server/access.ts'
import { Channel } from '../../server/replication/peer-messages.ts'
import type { Role } from '../../server/users.ts'
import { decoded, payloads } from '../helpers/frames.ts'
import { type Random, randomFrom } from '../server/store/random.ts'
import { challengeIn, clientFinal, clientFirst, type Exchange, serverFinal } from './auth-messages.ts'
import { CLUSTER_USER, knownKeys, NAMES, type ReadDoors, ROLES, readDoors } from './doors.ts'
import type { Input, State, World } from './engine.ts'
import { FuzzedServer, VALUE_BYTES_MAX } from './fuzzed-server.ts'
import { type Item, Pen } from './items.ts'
import { Ledger } from './ledger.ts'
import { chunked, mutated } from './mutations.ts'
import { hello, peerMessage, type Speaker } from './peer-messages.ts'
import { type Learnt, request, requestStream, spoiltFrame } from './requests.ts'
import { demand } from './violation.ts'
import type { Wire } from './wire.ts'
import { Witness } from './witness.ts'

const INPUTS_PER_WORLD = 1000
const CONNECTIONS = 8
const CHECK_EVERY = 50
const LOOK_EVERY = 4
const LEARNT: Learnt = { versions: [], labels: ['p', 'm', 'x'] }
const pen = new Pen()

/** With a role of its own, with one of the auth file, with two, with none. */
const CERTIFICATES: readonly (readonly [Certificate, string | Role | undefined])[] = [
  [{ commonName: 'c', units: ['reader'], altNames: [] }, 'reader'],
  [{ commonName: 'p', units: ['peer'], altNames: ['10.0.0.9'] }, 'peer'],
  [{ commonName: 'walt', units: ['sales'], altNames: [] }, 'walt'],
  [{ commonName: 'rhea', units: [], altNames: ['rhea'] }, 'rhea'],
  [{ commonName: 'adam', units: ['reader', 'admin'], altNames: [] }, 'adam'],
  [{ commonName: undefined, units: ['admins'], altNames: [] }, undefined],
]

/** One of the attackers' connections, and how far it has come with authenticating. */
class Connection {
  readonly wire: Wire
  readonly ledger: Ledger
  /** Under which name of the auth file it is known, if it is. */
  user: string | undefined
  exchange: Exchange | undefined
  isLetIn = false

  constructor(wire: Wire, ledger: Ledger) {
    this.wire = wire
    this.ledger = ledger
    ledger.onFrame = (payload) => this.#said(payload)
    wire.onRead = (bytes) => this.#heard(bytes)
  }

  /** Whether it is its turn to prove something. */
  get isChallenged(): boolean {
    return !this.wire.isOver && this.exchange?.serverFirst !== undefined
  }

  #said(payload: Buffer): void {
    if (this.exchange !== undefined || this.ledger.isPeer || !payload.includes('n,,n=')) return
    const [opcode, , , first] = elementsOf(payload)
    if (opcode !== Opcode.Auth || !(typeof first === 'string' || Buffer.isBuffer(first))) return
    const [, bare, name] = /^n,,(n=([^,]*),.*)$/s.exec(first.toString()) ?? []
    if (bare === undefined || name === undefined) return
    this.exchange = {
      name: name.replaceAll('=2C', ',').replaceAll('=3D', '='),
      bare,
      serverFirst: undefined,
    }
  }

  #heard(bytes: Buffer): void {
    this.ledger.hear(bytes)
    const { exchange } = this
    if (exchange === undefined || this.ledger.isPeer || bytes.toString('latin1', 0, 6) === 'binary') return
    for (const payload of payloads(bytes)) {
      const [status, , text, role] = decoded(payload)
      if (status !== Status.Ok || !Buffer.isBuffer(text)) continue
      const told = text.toString()
      if (told.startsWith('r=')) exchange.serverFirst = told
      else if (typeof role === 'string') this.#onLetIn(exchange, told)
    }
  }

  /** The server must have proved itself as well. */
  #onLetIn(exchange: Exchange, told: string): void {
    const asked = challengeIn(exchange)
    const keys = asked && knownKeys(exchange.name, asked.salt, asked.iterations)
    demand(keys !== undefined, 'somebody is let in who has no password', () => exchange.name)
    demand(told === serverFinal(exchange, keys), 'the server does not prove itself', () => told)
    this.user = exchange.name
    this.exchange = undefined
    this.isLetIn = true
  }
}

class GreetingWorld implements World {
  readonly #doors: ReadDoors
  readonly #server: FuzzedServer
  readonly #witness: Witness
  readonly #connections: (Connection | undefined)[] = new Array(CONNECTIONS).fill(undefined)
  #played = 0

  constructor(seed: number, doors: ReadDoors) {
    this.#doors = doors
    doors.release()
    this.#server = new FuzzedServer(seed, seed & 1 ? 'arena' : 'heap', doors)
    doors.onChange = () => {
      for (const session of this.#server.sessions) session.reexamine()
      this.#server.mesh.dropUnproven(doors.access.secret)
    }
    this.#witness = this.#server.surroundings.within(() => new Witness(this.#server))
  }

  next(random: Random): Input {
    const luck = random.below(2 ** 31)
    const connection = this.#connections[luck % CONNECTIONS]
    return { chunks: chunked(this.#stream(connection, random), random), luck }
  }

  play(input: Input): string {
    return this.#server.surroundings.within(() => this.#play(input))
  }

  end(): void {
    const server = this.#server
    server.surroundings.within(() => {
      for (const connection of this.#connections)
        if (connection !== undefined) {
          server.readAll(connection.wire)
          connection.ledger.settle(connection.wire.isOver, 'late ones may be')
          connection.wire.close()
        }
      this.#witness.look()
      this.#witness.close()
      server.check()
      server.endWaiting()
      server.checkNothingHeld()
    })
    this.#doors.release()
  }

  #play({ chunks, luck }: Input): string {
    const { surroundings, store } = this.#server
    const lots = randomFrom(luck)
    const slot = luck % CONNECTIONS
    // The same without other inputs: else a proof that was recorded would be wrong.
    this.#doors.nonce = `server${luck}`
    const connection = this.#connectionAt(slot, lots)
    const { wire, ledger } = connection
    const { tailSeq } = store
    const wasLetIn = connection.isLetIn
    wire.isReading = !lots.oneIn(8)
    for (const chunk of chunks) {
      ledger.say(chunk)
      wire.say(chunk, lots.oneIn(4))
    }
    // Of what it has not read it does not know.
    if (ledger.role === undefined && !ledger.isPeer && !ledger.isUnsure && wire.unsentBytes === 0)
      demand(store.tailSeq === tailSeq, 'a write by somebody who is not let in')
    surroundings.turn()
    if (wire.isReading || lots.oneIn(2)) this.#server.readAll(wire)
    if (wire.isSettled) ledger.settle(wire.isOver, 'late ones may be')
    if (lots.oneIn(7)) this.#pass(lots)
    if (lots.oneIn(120)) this.#turnDoors()
    const outcome = outcomeOf(connection, wasLetIn)
    if (wire.isOver || lots.oneIn(9)) {
      wire.cut(lots.oneIn(3) ? new Error('reset') : undefined)
      this.#connections[slot] = undefined
    }
    if (++this.#played % LOOK_EVERY === 0) this.#witness.look()
    if (this.#played % CHECK_EVERY === 0) this.#server.check()
    return outcome
  }

  #connectionAt(slot: number, lots: Random): Connection {
    const known = this.#connections[slot]
    if (known !== undefined && !known.wire.isOver) return known
    known?.wire.cut()
    const [certificate, identity] = lots.oneIn(8) ? (CERTIFICATES[lots.below(CERTIFICATES.length)] ?? []) : []
    const role =
      ROLES[0]?.[identity ?? ''] === undefined ? identity : ROLES[this.#doors.version]?.[identity ?? '']
    const remote = `10.0.0.${slot % 3}:${slot}`
    const wire = this.#server.connect(remote, undefined, certificate)
    const connection = new Connection(wire, new Ledger(VALUE_BYTES_MAX, isRole(role) ? role : undefined))
    if (role !== identity) connection.user = identity
    this.#connections[slot] = connection
    return connection
  }

  #pass(lots: Random): void {
    this.#server.surroundings.pass(lots.oneIn(12) ? 5100 : lots.below(300))
  }

  /** The auth file changes: whoever is gone must go, and others have another role from now on. */
  #turnDoors(): void {
    const version = 1 - this.#doors.version
    // What was asked before is answered before, unless it waits for other servers, and heard.
    for (const connection of this.#connections)
      if (connection !== undefined) this.#server.readAll(connection.wire)
    const affected = this.#connections.filter(
      (connection) =>
        connection !== undefined &&
        !connection.wire.isOver &&
        connection.user !== undefined &&
        connection.user !== CLUSTER_USER &&
        connection.ledger.role !== undefined,
    )
    this.#doors.turn(version)
    for (const connection of affected) {
      const role = ROLES[version]?.[connection?.user ?? '']
      if (connection !== undefined && role !== undefined) connection.ledger.becomes(role)
      else demand(connection?.wire.isOver === true, 'somebody stays who was removed')
    }
  }

  #stream(connection: Connection | undefined, random: Random): Buffer {
    if (random.oneIn(8)) return requestStream(LEARNT, random)
    const frames: Buffer[] = []
    const role = connection?.ledger.role
    if (connection?.isChallenged === true) frames.push(this.#proof(connection.exchange, random))
    else if (role === undefined || random.oneIn(12)) frames.push(...this.#greeting(random))
    if (role === 'peer') frames.push(...this.#peerSpeech(connection, random))
    else if (role !== undefined || random.oneIn(3)) frames.push(spoiltFrame(request(LEARNT, random), random))
    const stream = Buffer.concat(frames)
    return random.oneIn(6) ? mutated(stream, random) : stream
  }

  #greeting(random: Random): Buffer[] {
    const frames: Buffer[] = []
    if (random.oneIn(4)) frames.push(pen.frame([Opcode.Hello, 1, 1, 1, 0, 'fuzz'], random))
    if (random.oneIn(6)) frames.push(pen.frame([Opcode.Ping, 2], random))
    const name = NAMES[random.below(NAMES.length)] ?? ''
    const nonce = `client${random.below(1000)}`
    const first = clientFirst(name, nonce, random)
    const mechanism = random.oneIn(25) ? random.pick(['SCRAM-SHA-1', 'PLAIN', '']) : 'SCRAM-SHA-256'
    const auth: Item[] = [Opcode.Auth, 1 + random.below(100), mechanism, first]
    frames.push(random.oneIn(12) ? spoiltFrame(auth, random) : pen.frame(auth, random))
    return frames
  }

  #proof(exchange: Exchange | undefined, random: Random): Buffer {
    const asked = exchange && challengeIn(exchange)
    const name = random.oneIn(12) ? 'adam' : exchange?.name
    const keys = asked && knownKeys(name ?? '', asked.salt, asked.iterations)
    const final = exchange === undefined ? '' : clientFinal(exchange, keys, random)
    const proof: Item[] = [Opcode.AuthProof, 1 + random.below(100), final]
    return random.oneIn(12) ? spoiltFrame(proof, random) : pen.frame(proof, random)
  }

  #peerSpeech(connection: Connection | undefined, random: Random): Buffer[] {
    const speaker: Speaker = {
      label: 'p',
      boot: '7070707070707070',
      victim: this.#server.replicator,
      heard: [],
    }
    const frames = connection?.ledger.isPeer
      ? []
      : [pen.frame(hello(speaker, Channel.Stream, random), random)]
    for (let left = random.below(3); left > 0; left--)
      frames.push(spoiltFrame(peerMessage(speaker, random), random))
    return frames
  }
}

function elementsOf(payload: Buffer): unknown[] {
  try {
    return decoded(payload)
  } catch {
    return []
  }
}

function outcomeOf({ wire, ledger, isLetIn }: Connection, wasLetIn: boolean): string {
  if (ledger.isPeer) return 'peer'
  if (isLetIn && !wasLetIn) return 'let in'
  if (wire.isOver) return ledger.isLastWordSaid ? 'closed' : 'closed without a word'
  return ledger.role === undefined ? 'open' : 'open, with a role'
}

function isRole(text: string | undefined): text is Role {
  return text === 'reader' || text === 'writer' || text === 'admin' || text === 'peer'
}

let doors: ReadDoors | undefined

export const greetingState: State = {
  name: 'greeting',
  inputsPerWorld: INPUTS_PER_WORLD,
  outcomes: ['open', 'closed', 'closed without a word', 'let in', 'open, with a role', 'peer'],
  prepare: async () => {
    doors = await readDoors()
  },
  makeWorld: (seed) => {
    if (doors === undefined) throw new Error('not prepared')
    return new GreetingWorld(seed, doors)
  },
}
