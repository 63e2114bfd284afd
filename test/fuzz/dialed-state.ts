// The state of a connection that a server has dialed, to somebody who may not know the cluster secret: AUTH, the proof of
// both ends, HELLO, and what servers say. Whoever has not proved itself is never linked.
//
// What is said depends on what was asked, as in the reply state: the first play makes the chunks, an empty one is a pause.

import { PeerOpcode, Status } from '../../protocol/messages.ts'
import { Channel } from '../../server/replication/peer-messages.ts'
import { decoded, frame, payloads } from '../helpers/frames.ts'
import { type Random, randomFrom } from '../server/store/random.ts'
import { type ReadDoors, readDoors, SECRET } from './doors.ts'
import type { Input, State, World } from './engine.ts'
import { FuzzedServer } from './fuzzed-server.ts'
import { Pen } from './items.ts'
import { chunked, mutated } from './mutations.ts'
import { hello, peerMessage, type Speaker } from './peer-messages.ts'
import { prepareAuthentication } from './prepare-authentication.ts'
import { type Asked, honestChallenge, honestProof, replyStream, type Talk } from './replies.ts'
import { spoiltFrame } from './requests.ts'
import { demand } from './violation.ts'
import type { Wire } from './wire.ts'

const INPUTS_PER_WORLD = 100
const PORT = 11_142
const LABEL = 'dialed'
const PAUSE = Buffer.alloc(0)
/** AUTH, AUTH_PROOF, HELLO, and what follows. */
const ROUNDS = 4
/** A module that was loaded before. */
const LOADING_MS = 3
const pen = new Pen()

class DialedWorld implements World {
  readonly #server: FuzzedServer
  /** Inputs whose chunks are still to be made. */
  readonly #unsaid = new WeakSet<Input>()
  #wire: Wire | undefined
  #accept: () => void = () => {}
  #asked: Asked[] = []
  #heard: unknown[][] = []
  #lives = 0
  #addresses = 0

  constructor(seed: number, doors: ReadDoors) {
    doors.release()
    this.#server = new FuzzedServer(seed, seed & 1 ? 'arena' : 'heap', doors)
    const { surroundings } = this.#server
    surroundings.onDial = (dialed, wire) => {
      if (dialed.host !== this.#host) return
      this.#wire = wire
      this.#accept = () => dialed.accept()
    }
    surroundings.within(() => this.#server.mesh.find(`${this.#host}:${PORT}`))
  }

  get #host(): string {
    return `10.1.0.${this.#addresses}`
  }

  next(random: Random): Input {
    const input: Input = { chunks: [], luck: random.below(2 ** 31) }
    this.#unsaid.add(input)
    return input
  }

  play(input: Input): Promise<string> {
    const isNew = this.#unsaid.delete(input)
    return this.#server.surroundings.within(() => this.#play(input, isNew))
  }

  end(): void {
    const server = this.#server
    server.surroundings.within(() => {
      this.#wire?.cut()
      server.check()
      server.endWaiting()
      server.checkNothingHeld()
    })
  }

  async #play({ chunks, luck }: Input, isNew: boolean): Promise<string> {
    const { surroundings, replicator } = this.#server
    const lots = randomFrom(luck)
    const voice = randomFrom(luck ^ 0x5bd1_e995)
    const wire = this.#dialed()
    demand(wire !== undefined && !wire.isOver, 'it does not dial again')
    const talk: Talk = { mayAuthenticate: true, password: SECRET }
    const speaker: Speaker = { label: LABEL, boot: this.#boot(), victim: replicator, heard: this.#heard }
    let isProven = false
    this.#asked = []
    wire.onRead = (bytes) => this.#hear(bytes)
    this.#accept()
    await this.#load(wire)
    for (let round = 0, said = 0; round < ROUNDS; round++, said++) {
      const asked = this.#asked.splice(0)
      if (isNew) chunks.push(...chunked(this.#speech(asked, talk, speaker, voice), voice), PAUSE)
      for (; (chunks[said] ?? PAUSE).length > 0; said++) {
        wire.say(chunks[said] ?? PAUSE)
        isProven ||= isProofIn(chunks.slice(0, said + 1), talk)
        demand(isProven || replicator.link(LABEL) === undefined, 'a link to somebody who proved nothing')
      }
      await this.#load(wire)
      if (lots.oneIn(4)) surroundings.pass(lots.pick([10, 1000]))
    }
    const outcome = wire.isOver ? 'closed' : replicator.link(LABEL) === undefined ? 'open' : 'linked'
    wire.drain()
    wire.cut(lots.oneIn(3) ? new Error('reset') : undefined)
    surroundings.turn()
    demand(replicator.link(LABEL) === undefined, 'a link without a connection')
    return outcome
  }

  /** The dialer waits longer each time, some seconds at the most; and may have been told that nobody is there for it. */
  #dialed(): Wire | undefined {
    const isWaiting = () => this.#wire === undefined || this.#wire.isOver
    for (let left = 100; left > 0 && isWaiting(); left--) this.#server.surroundings.pass(100)
    if (isWaiting()) {
      this.#addresses++
      this.#server.mesh.find(`${this.#host}:${PORT}`)
    }
    return this.#wire
  }

  #hear(bytes: Buffer): void {
    for (const payload of payloads(bytes)) {
      const [opcode, id, ...operands] = decoded(payload)
      if (typeof opcode !== 'number' || typeof id !== 'number') continue
      if (opcode < PeerOpcode.Hello) this.#asked.push({ opcode, id, operands })
      else this.#heard = [...this.#heard.slice(-20), [opcode, id, ...operands]]
    }
  }

  /** Answers to what was asked; or, where nothing was, what servers say. */
  #speech(asked: readonly Asked[], talk: Talk, speaker: Speaker, voice: Random): Buffer {
    if (asked.length > 0) return voice.oneIn(3) ? replyStream(asked, talk, voice) : honestly(asked, talk)
    const greeting = hello(speaker, Channel.Stream, voice)
    const frames = [voice.oneIn(10) ? spoiltFrame(greeting, voice) : pen.frame(greeting, voice)]
    for (let left = voice.below(3); left > 0; left--) {
      const message = peerMessage(speaker, voice)
      frames.push(voice.oneIn(4) ? spoiltFrame(message, voice) : pen.frame(message, voice))
    }
    if (voice.oneIn(2)) frames.shift()
    const stream = Buffer.concat(frames)
    return voice.oneIn(8) ? mutated(stream, voice) : stream
  }

  /** One that was not removed. */
  #boot(): string {
    const { members } = this.#server.replicator.replica
    const boot = () => `dd${this.#lives.toString(16).padStart(14, '0')}`
    while (members.isRemoved(boot())) this.#lives++
    return boot()
  }

  async #load(wire: Wire): Promise<void> {
    const { surroundings } = this.#server
    await surroundings.settle()
    for (let left = LOADING_MS; left > 0 && this.#asked.length === 0 && !wire.isOver; left--) {
      await surroundings.outside()
      await surroundings.settle()
    }
  }
}

function honestly(asked: readonly Asked[], talk: Talk): Buffer {
  return Buffer.concat(
    asked.map(({ id, operands }) =>
      operands.length === 2
        ? frame(Status.Ok, id, Buffer.from(honestChallenge(operands[1], talk)))
        : frame(Status.Ok, id, Buffer.from(honestProof(talk)), 'peer'),
    ),
  )
}

/** Whether what only somebody can say who knows the secret stands in these bytes. */
function isProofIn(chunks: readonly Buffer[], talk: Talk): boolean {
  return talk.exchange !== undefined && Buffer.concat([...chunks]).includes(honestProof(talk))
}

let doors: ReadDoors | undefined

export const dialedState: State = {
  name: 'dialed',
  inputsPerWorld: INPUTS_PER_WORLD,
  outcomes: ['closed', 'open', 'linked'],
  prepare: async () => {
    doors = await readDoors()
    await prepareAuthentication(SECRET)
  },
  makeWorld: (seed) => {
    if (doors === undefined) throw new Error('not prepared')
    return new DialedWorld(seed, doors)
  },
}
