// A client and servers that answer with spoilt replies: every call settles with what its type allows, nothing is thrown
// elsewhere, and with the next good answer all is well.

import { describe, expect, test } from 'vitest'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { CacheError } from '../../protocol/errors.ts'
import { Opcode, Status } from '../../protocol/messages.ts'
import { clientOf } from '../helpers/client.ts'
import {
  answerAll,
  type FakeConnection,
  type FakeServer,
  LINK_ID,
  type Request,
  startFakeServer,
} from '../helpers/fake-server.ts'
import { frame } from '../helpers/frames.ts'
import { type Random, randomFrom, seedRange, seeds } from '../server/store/random.ts'
import { chunked, mutated, randomBytes } from './mutations.ts'

const SEEDS = 1000
const CALLS = 12

describe('spoilt replies', () => {
  test(`${CALLS} calls a seed: ${seedRange(SEEDS)}`, async () => {
    let random = randomFrom(0)
    let spoiling = false
    let asked = 0
    const server = await startFakeServer({
      greets: false,
      onConnection: (connection) => greet(connection, spoiling && random.oneIn(4) ? random : undefined),
      onRequest(request, connection) {
        if (!spoiling) {
          answerAll(request, connection)
          return
        }
        asked++
        for (const chunk of chunked(spoiltReply(request, random), random)) connection.raw(chunk)
        // What is not answered by now never will be.
        if (asked % CALLS === 0) connection.socket.end()
      },
    })
    const client = clientOf(server.address, { reconnect: { minMs: 1, maxMs: 1 }, timeoutMs: 300 })
    for (const seed of seeds(SEEDS)) {
      try {
        random = randomFrom(seed)
        spoiling = false
        await backToNormal(server, client)
        spoiling = true
        asked = 0
        await Promise.all(callsOf(client).map(settled))
        expect(client.counters()).toMatchObject({ inFlight: 0, pending: 0 })
      } catch (error) {
        throw new Error(`seed ${seed} (alone: SEED=${seed} SEEDS=1): ${String(error)}`, { cause: error })
      }
    }
  }, 60_000)
})

/** Ends what the last seed left: in the middle of a spoilt frame the best of answers would be lost. */
async function backToNormal(server: FakeServer, client: OrmucoCacheClient): Promise<void> {
  for (const { socket } of server.connections) socket.destroy()
  server.connections.length = 0
  for (let attempt = 0; attempt < 3; attempt++)
    if ((await client.store('good', 1, { timeoutMs: 15_000 })).outcome === 'stored') return
  throw new Error('it does not come back')
}

function greet(connection: FakeConnection, random: Random | undefined): void {
  const greeting = frame(Status.Ok, LINK_ID, 1, 0, '0.0.0', 'fake', Buffer.alloc(8), 'r', 'c', 4096, 70_000)
  connection.raw(random === undefined ? greeting : mutated(greeting, random))
  // A greeting that is not understood as one must not cost the test the time to connect.
  if (random !== undefined) connection.socket.end()
}

/** Calls, each with a check of what it may resolve with. */
type Call = [promise: Promise<unknown>, isPossible: (value: unknown) => boolean]

function callsOf(client: OrmucoCacheClient): Call[] {
  const anything = () => true
  const isBoolean = (value: unknown) => typeof value === 'boolean'
  const hasOutcome =
    (...outcomes: string[]) =>
    (value: unknown) =>
      typeof value === 'object' &&
      value !== null &&
      'outcome' in value &&
      outcomes.includes(String(value.outcome))
  const stored = hasOutcome('stored', 'conflict', 'unavailable')
  return [
    [client.retrieve('k'), anything],
    [client.retrieve('k'), anything],
    [client.lookup('k'), hasOutcome('hit', 'miss', 'unavailable')],
    [client.store('k', 1), stored],
    [client.store('k', 1, { if: 'absent' }), stored],
    [client.inspect('k'), (value) => value === undefined || typeof value === 'object'],
    [client.has('k'), isBoolean],
    [client.delete('k'), isBoolean],
    [client.increment('k'), Number.isSafeInteger],
    [client.retrieveMany(['a', 'b', 'c']), (values) => Array.isArray(values) && values.length === 3],
    [
      client.storeMany([
        ['a', 1],
        ['b', 2],
      ]),
      (outcomes) => Array.isArray(outcomes) && outcomes.length === 2 && outcomes.every(stored),
    ],
    [client.stats(), anything],
  ]
}

async function settled([promise, isPossible]: Call): Promise<void> {
  try {
    const value = await promise
    if (!isPossible(value)) throw new Error(`resolved with ${JSON.stringify(value)}`)
  } catch (error) {
    if (!(error instanceof CacheError)) throw error
  }
}

function spoiltReply([opcode, id]: Request, random: Random): Buffer {
  const others = random.oneIn(3)
    ? [frame(Status.Ok, id + random.below(20) - 10, 0, randomBytes(5, random))]
    : []
  const good = frame(...replyTo(opcode, id, random))
  const stream = random.oneIn(2) ? Buffer.concat([...others, good]) : Buffer.concat([good, ...others])
  return random.oneIn(3) ? mutated(stream, random) : stream
}

function replyTo(opcode: number, id: number, random: Random): unknown[] {
  if (random.oneIn(5)) return [random.below(40), id, 'text', 100]
  const version = randomBytes(16, random)
  switch (opcode) {
    case Opcode.Get:
      return [
        Status.Ok,
        id,
        random.below(5),
        randomBytes(random.below(30), random),
        version,
        random.pick([null, 500]),
      ]
    case Opcode.Set:
      return random.oneIn(2) ? [Status.Ok, id, version, 0] : [Status.Conflict, id, version]
    case Opcode.Inspect:
      return [Status.Ok, id, 2, 10, version, null, 500]
    case Opcode.GetMany:
      return [Status.Ok, id, [[Status.Ok, 0, randomBytes(3, random)], [Status.Miss], [Status.Skipped]]]
    case Opcode.SetMany:
      return [Status.Ok, id, [[Status.Ok, version], [Status.Conflict]]]
    case Opcode.Increment:
      return [Status.Ok, id, random.below(1000) - 500, version]
    case Opcode.Stats:
      return [
        Status.Ok,
        id,
        { server: { version: 'x', uptimeSeconds: 1.5 }, peers: [], cache: { hits: null } },
      ]
    default:
      return [random.pick([Status.Ok, Status.Miss]), id]
  }
}
