// Somebody who uses the server all the while as it is meant to be used: stores a value, reads it, and is served whatever
// others do. Its value is what it was, or it is gone for a reason that there is.

import { Opcode, Status } from '../../protocol/messages.ts'
import { frame, payloads } from '../helpers/frames.ts'
import type { FuzzedServer } from './fuzzed-server.ts'
import { demand } from './violation.ts'
import type { Wire } from './wire.ts'

/** Lets it in where not everybody is. */
const CERTIFICATE = { commonName: 'witness', units: ['admin'], altNames: [] }
const KEY = 'witness: nobody else says this'
const VALUE = Buffer.from('still here, and as it was')
const SET = frame(Opcode.Set, 1, KEY, 0, VALUE)
const GET = frame(Opcode.Get, 2, KEY)

export class Witness {
  readonly #server: FuzzedServer
  readonly #wire: Wire
  readonly #heard: Buffer[] = []
  /** What GET was answered when the value was there. */
  #answer: Buffer | undefined
  /** Why it may have had to go since it was stored, each counted. */
  #reasons = 0
  #watermark = 0

  constructor(server: FuzzedServer) {
    this.#server = server
    this.#wire = server.connect('witness:1', undefined, CERTIFICATE)
    this.#wire.onRead = (bytes) => this.#heard.push(bytes)
    this.#store()
  }

  /** Reads its value, and stores it anew if it had to go. */
  look(): void {
    const found = this.#ask(GET)
    if (this.#answer !== undefined && found.equals(this.#answer)) return
    const status = found[5]
    demand(status === Status.Miss, 'the witness reads something else', () => found.toString('hex'))
    demand(
      this.#reasonsNow() > this.#reasons || this.#server.replicator.replica.watermark > this.#watermark,
      'the value of the witness is gone for no reason',
    )
    this.#store()
  }

  close(): void {
    this.#wire.close()
  }

  #store(): void {
    const stored = this.#ask(SET)
    demand(stored[5] === Status.Ok, 'the witness cannot store', () => stored.toString('hex'))
    this.#reasons = this.#reasonsNow()
    this.#watermark = this.#server.replicator.replica.watermark
    this.#answer = this.#ask(GET)
    demand(
      this.#answer.includes(VALUE),
      'the witness reads something else',
      () => `${this.#answer?.toString('hex')}`,
    )
  }

  /** Evictions, and what other servers had purged because they know that it was deleted. */
  #reasonsNow(): number {
    const { replica } = this.#server.replicator
    return this.#server.store.stats().evictions + replica.counters.purged
  }

  #ask(request: Buffer): Buffer {
    this.#heard.length = 0
    this.#wire.say(request)
    demand(!this.#wire.isOver, 'the connection of the witness was closed')
    const answer = Buffer.concat(this.#heard)
    demand(payloads(answer).length === 1, 'the witness gets no answer', () => answer.toString('hex'))
    return answer
  }
}
