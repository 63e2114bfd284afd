// The state of a client: a hostile server answers it. Every call ends once, with what its type allows or with a CacheError;
// nothing is thrown elsewhere; and with the next honest answer all is well.
//
// Each input is a client's whole life, some connections long. An empty chunk is a pause, in which the client goes on; with
// each third one a connection ends. What is said depends on what was asked, so the first play makes the chunks, and later
// ones repeat them.

import { inspect } from 'node:util'
import { OrmucoCacheClient } from '../../client/client.ts'
import { CacheError } from '../../protocol/errors.ts'
import { Opcode, Status } from '../../protocol/messages.ts'
import { decoded, frame, payloads } from '../helpers/frames.ts'
import { type Random, randomFrom } from '../server/store/random.ts'
import type { Input, State, World } from './engine.ts'
import { chunked } from './mutations.ts'
import { prepareAuthentication } from './prepare-authentication.ts'
import { type Asked, honestChallenge, honestProof, PASSWORD, replyStream, type Talk } from './replies.ts'
import { Surroundings } from './surroundings.ts'
import { demand, Violation } from './violation.ts'
import type { Wire } from './wire.ts'

const INPUTS_PER_WORLD = 200
const START_MS = Date.UTC(2030, 0, 1)
const TIMEOUT_MS = 300
/** So many timeouts later everything must have ended. */
const END_ROUNDS = 4
const END_MS = 400
const CONNECTIONS_MAX = 3
const ROUNDS = 3
/** With credentials: HELLO, AUTH and AUTH_PROOF come before all else. */
const AUTH_ROUNDS = 5
/** To be served by an honest server. */
const ATTEMPTS = 5
/** A module that was loaded before. */
const LOADING_MS = 3
/** Where it must come, on however busy a machine. */
const LOADING_MS_MAX = 5000
const PAUSE = Buffer.alloc(0)
const logger = { debug() {}, info() {}, warn() {}, error() {} }

interface Call {
  name: string
  begin: () => Promise<unknown>
  /** Whether it may resolve with this. */
  isPossible: (value: unknown) => boolean
}

class ReplyWorld implements World {
  /** Inputs whose chunks are still to be made. */
  readonly #unsaid = new WeakSet<Input>()

  next(random: Random): Input {
    const input: Input = { chunks: [], luck: random.below(2 ** 31) }
    this.#unsaid.add(input)
    return input
  }

  play(input: Input): Promise<string> {
    const surroundings = new Surroundings(START_MS)
    const isNew = this.#unsaid.delete(input)
    return surroundings.within(() => new Life(surroundings, input, isNew).live())
  }

  end(): void {}
}

/** One client from its first call to its last. */
class Life {
  readonly #surroundings: Surroundings
  readonly #input: Input
  readonly #isNew: boolean
  readonly #lots: Random
  /** For what is said alone, so that all else stays the same when it is repeated. */
  readonly #voice: Random
  readonly #client: OrmucoCacheClient
  readonly #mayAuthenticate: boolean
  readonly #rounds: number
  readonly #calls: readonly Call[]
  /** How often each call that was begun has ended. */
  readonly #ends: { name: string; times: number }[] = []
  readonly #faults: unknown[] = []
  #wire: Wire | undefined
  #asked: Asked[] = []
  #talk: Talk = { mayAuthenticate: false }
  #said = 0

  constructor(surroundings: Surroundings, input: Input, isNew: boolean) {
    this.#surroundings = surroundings
    this.#input = input
    this.#isNew = isNew
    this.#lots = randomFrom(input.luck)
    this.#voice = randomFrom(input.luck ^ 0x5bd1_e995)
    surroundings.onDial = (dialed, wire) => {
      this.#wire = wire
      wire.onRead = (bytes) => {
        for (const payload of payloads(bytes)) this.#asked.push(askedIn(payload))
      }
      setImmediate(() => dialed.accept())
    }
    this.#mayAuthenticate = this.#lots.oneIn(6)
    this.#rounds = this.#mayAuthenticate ? AUTH_ROUNDS : ROUNDS
    this.#client = new OrmucoCacheClient({
      servers: '10.0.0.1:1',
      timeoutMs: TIMEOUT_MS,
      reconnect: { minMs: 1, maxMs: 1 },
      logger,
      ...(this.#mayAuthenticate ? { username: 'fuzz', password: PASSWORD } : {}),
    })
    this.#calls = callsOf(this.#client)
  }

  async live(): Promise<string> {
    const pauses = this.#input.chunks.filter(({ length }) => length === 0).length
    const wanted = 1 + this.#lots.below(CONNECTIONS_MAX)
    const connections = this.#isNew ? wanted : Math.max(1, Math.ceil(pauses / this.#rounds))
    for (let left = connections; left > 0; left--) await this.#connection()
    const { hits, misses, stored } = this.#client.counters()
    if (this.#lots.oneIn(4)) await this.#recover()
    for (let left = END_ROUNDS; left > 0; left--) {
      this.#surroundings.pass(END_MS)
      await this.#surroundings.settle()
    }
    if (this.#faults.length > 0) throw this.#faults[0]
    for (const { name, times } of this.#ends)
      demand(times === 1, times === 0 ? 'a call that never ends' : 'a call that ends twice', () => name)
    const { inFlight, pending } = this.#client.counters()
    demand(inFlight === 0 && pending === 0, 'calls are counted that have ended')
    this.#client.destroy()
    await this.#surroundings.settle()
    demand(this.#surroundings.timers === 0, 'timers of a client that is gone')
    const outcome = hits + misses + stored > 0 ? 'served' : 'not served'
    return this.#mayAuthenticate ? `${outcome}, with a password` : outcome
  }

  /** Where there is a module loader in between, what authentication needs is there after a moment. */
  async #load(ms: number, isDone: () => boolean = () => false): Promise<void> {
    await this.#surroundings.settle()
    if (!this.#mayAuthenticate) return
    const isOver = () => this.#asked.length > 0 || !this.#isConnected || isDone()
    for (let left = ms; left > 0 && !isOver(); left--) {
      await this.#surroundings.outside()
      await this.#surroundings.settle()
    }
  }

  async #connection(): Promise<void> {
    this.#talk = { mayAuthenticate: this.#mayAuthenticate }
    for (const call of this.#calls) if (this.#lots.oneIn(3)) this.#begin(call)
    await this.#connected()
    const { chunks } = this.#input
    const wire = this.#wire
    for (let round = 0; round < this.#rounds; round++) {
      // On a connection that is up a call leaves with others of its tick.
      if (round > 0) for (const call of this.#calls) if (this.#lots.oneIn(8)) this.#begin(call)
      await this.#surroundings.settle()
      const asked = this.#asked.splice(0)
      if (this.#isNew)
        chunks.push(...chunked(replyStream(asked, this.#talk, this.#voice), this.#voice), PAUSE)
      for (; this.#said < chunks.length; this.#said++) {
        const chunk = chunks[this.#said] ?? PAUSE
        if (chunk.length === 0) break
        wire?.say(chunk)
        if (this.#lots.oneIn(5)) await this.#surroundings.settle()
      }
      this.#said++
      if (round === 0) await this.#load(LOADING_MS)
      else await this.#surroundings.settle()
      if (this.#lots.oneIn(8)) this.#surroundings.pass(this.#lots.pick([1, 50, 400, 4000]))
    }
    wire?.cut(this.#lots.oneIn(3) ? new Error('reset') : undefined)
    await this.#surroundings.settle()
  }

  /** Whoever has calls dials, and dials again after a moment. */
  async #connected(): Promise<void> {
    this.#asked = []
    this.#begin({ name: 'ping', begin: () => this.#client.connect(), isPossible: () => true })
    await this.#surroundings.settle()
    if (this.#isConnected) return
    this.#surroundings.pass(5)
    await this.#surroundings.settle()
    demand(this.#isConnected, 'it does not dial again')
  }

  get #isConnected(): boolean {
    return this.#wire !== undefined && !this.#wire.isOver
  }

  /** An honest server, at last. */
  async #recover(): Promise<void> {
    let isStored = false
    // What was asked before has ended: an honest server has nothing to say to it.
    this.#surroundings.pass(END_MS)
    await this.#surroundings.settle()
    for (let attempt = 0; attempt < ATTEMPTS && !isStored; attempt++) {
      this.#wire?.cut()
      this.#talk = { mayAuthenticate: this.#mayAuthenticate }
      await this.#connected()
      const stored = this.#client.store('good', 1).then((outcome) => {
        isStored = outcome.outcome === 'stored'
        return outcome
      })
      this.#begin({ name: 'the last one', begin: () => stored, isPossible: () => true })
      for (let round = 0; round < this.#rounds; round++) {
        await this.#load(LOADING_MS_MAX, () => isStored)
        for (const request of this.#asked.splice(0)) this.#wire?.say(honestReply(request, this.#talk))
      }
      await this.#surroundings.settle()
    }
    demand(isStored, 'it does not come back')
  }

  #begin({ name, begin, isPossible }: Call): void {
    const watched = { name, times: 0 }
    this.#ends.push(watched)
    begin().then(
      (value) => {
        watched.times++
        if (isPossible(value)) return
        this.#faults.push(
          new Violation('a call resolves with what it must not', `${name}: ${inspect(value)}`),
        )
      },
      (error: unknown) => {
        watched.times++
        if (!(error instanceof CacheError)) this.#faults.push(error)
      },
    )
  }
}

function callsOf(client: OrmucoCacheClient): Call[] {
  const anything = () => true
  const isBoolean = (value: unknown) => typeof value === 'boolean'
  const isNumber = (value: unknown) => Number.isSafeInteger(value)
  const isObject = (value: unknown) => typeof value === 'object' && value !== null
  const hasOutcome =
    (...outcomes: string[]) =>
    (value: unknown) =>
      typeof value === 'object' &&
      value !== null &&
      'outcome' in value &&
      outcomes.includes(String(value.outcome))
  const stored = hasOutcome('stored', 'conflict', 'unavailable')
  const listOf = (length: number, isPossible: (item: unknown) => boolean) => (values: unknown) =>
    Array.isArray(values) && values.length === length && values.every(isPossible)
  const call = (name: string, begin: () => Promise<unknown>, isPossible: (value: unknown) => boolean) => ({
    name,
    begin,
    isPossible,
  })
  const pairs = [
    ['a', 1],
    ['b', 2],
  ] as const
  return [
    call('retrieve', () => client.retrieve('k'), anything),
    call('lookup', () => client.lookup('k'), hasOutcome('hit', 'miss', 'unavailable')),
    call('store', () => client.store('k', 1), stored),
    call('store, acknowledged', () => client.store('k', 1, { if: 'absent', acks: 2 }), stored),
    call(
      'inspect',
      () => client.inspect('k'),
      (value) => value === undefined || isObject(value),
    ),
    call('has', () => client.has('k'), isBoolean),
    call('delete', () => client.delete('k'), isBoolean),
    call('touch', () => client.touch('k', 1), isBoolean),
    call('increment', () => client.increment('k'), isNumber),
    call('retrieveMany', () => client.retrieveMany(['a', 'b', 'c']), listOf(3, anything)),
    call('storeMany', () => client.storeMany(pairs), listOf(2, stored)),
    call('deleteMany', () => client.deleteMany(['a', 'b']), isNumber),
    call('keys', () => someKeys(client), Array.isArray),
    call('clear', () => client.clear(), anything),
    call('stats', () => client.stats(), anything),
  ]
}

/** A server may name keys for ever: it is for the caller to stop. */
async function someKeys(client: OrmucoCacheClient): Promise<string[]> {
  const keys: string[] = []
  for await (const key of client.keys()) if (keys.push(key) >= 30) break
  return keys
}

function askedIn(payload: Buffer): Asked {
  const [opcode, id, ...operands] = decoded(payload)
  if (typeof opcode !== 'number' || typeof id !== 'number')
    throw new Violation('a request without opcode and id', payload.toString('hex'))
  return { opcode, id, operands }
}

function honestReply({ opcode, id, operands }: Asked, talk: Talk): Buffer {
  const capabilities = Number(talk.mayAuthenticate)
  if (opcode === Opcode.Hello)
    return frame(Status.Ok, id, 1, capabilities, '0.0.0', 'honest', Buffer.alloc(8), 'r', 'c', 4096, 70_000)
  if (opcode === Opcode.Auth) return frame(Status.Ok, id, Buffer.from(honestChallenge(operands[1], talk)))
  if (opcode === Opcode.AuthProof) return frame(Status.Ok, id, Buffer.from(honestProof(talk)), 'admin')
  return opcode === Opcode.Set ? frame(Status.Ok, id, Buffer.alloc(16), 0) : frame(Status.Miss, id)
}

export const replyState: State = {
  name: 'reply',
  inputsPerWorld: INPUTS_PER_WORLD,
  outcomes: ['served', 'not served', 'served, with a password', 'not served, with a password'],
  prepare: () => prepareAuthentication(PASSWORD),
  makeWorld: () => new ReplyWorld(),
}
