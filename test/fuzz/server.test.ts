// Spoilt frames against a server, over the in-memory transport: whatever comes, every byte it answers is a frame, other
// connections are served on, and what is left of the bad ones is nothing.

import { setImmediate as afterDelivery } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Condition, Opcode, Status } from '../../protocol/messages.ts'
import { memoryTransports, type Transport } from '../../protocol/transport.ts'
import { OrmucoCacheServer } from '../../server/server.ts'
import { decoded, frame, payloads } from '../helpers/frames.ts'
import { type Random, randomFrom, seedRange, seeds } from '../server/store/random.ts'
import { chunked, mutated, randomBytes } from './mutations.ts'

const SEEDS = 30
const INPUTS_PER_SEED = 500
const AT_A_TIME = 50
const WITNESS_KEY = 'witness'
const WITNESS_VALUE = Buffer.from('still here')

/** One connection: what it sent, what came back, and whether it is over. */
class Peer {
  readonly transport: Transport
  readonly received: Buffer[] = []
  closed = false

  constructor(server: OrmucoCacheServer) {
    const [ours, theirs] = memoryTransports()
    this.transport = ours
    ours.open({
      onChunk: (chunk) => void this.received.push(Buffer.from(chunk)),
      onDrain() {},
      onClose: () => {
        this.closed = true
      },
    })
    server.serve(theirs)
  }
}

describe.each(['arena', 'heap'] as const)('%s store', (store) => {
  test(`${INPUTS_PER_SEED} spoilt conversations a seed: ${seedRange(SEEDS)}`, async () => {
    for (const seed of seeds(SEEDS)) {
      try {
        await spoil(store, randomFrom(seed))
      } catch (error) {
        throw new Error(`seed ${seed} (alone: SEED=${seed} SEEDS=1): ${String(error)}`, { cause: error })
      }
    }
  }, 60_000)
})

async function spoil(store: 'arena' | 'heap', random: Random): Promise<void> {
  const server = new OrmucoCacheServer({
    store,
    maxMemoryBytes: 1024 * 1024,
    maxValueBytes: 4096,
    renewOnHit: random.oneIn(2),
  })
  try {
    const witness = new Peer(server)
    for (let inputs = 0; inputs < INPUTS_PER_SEED; inputs += AT_A_TIME) {
      const peers = Array.from({ length: AT_A_TIME }, () => new Peer(server))
      for (const peer of peers) {
        const stream = Buffer.concat(Array.from({ length: 1 + random.below(4) }, () => randomRequest(random)))
        for (const chunk of chunked(random.oneIn(10) ? stream : mutated(stream, random), random))
          peer.transport.write(chunk)
      }
      await afterDelivery()
      for (const peer of peers) checkReplies(Buffer.concat(peer.received))
      await askWitness(witness)
      for (const { transport } of peers) transport.destroy()
      await afterDelivery()
    }
    const { connections, memory } = server.stats()
    expect(connections.clients).toBe(1)
    expect(memory.usedBytes).toBeLessThanOrEqual(memory.limitBytes)
  } finally {
    server.destroy()
  }
}

/** What was answered are whole frames; but whoever speaks text gets a line of text. */
function checkReplies(bytes: Buffer): void {
  if (bytes.toString('latin1').startsWith('binary protocol;')) return
  for (const payload of payloads(bytes)) {
    const [status, id] = decoded(payload)
    expect(Object.values(Status)).toContain(status)
    expect(id).toBeTypeOf('number')
    expect(status).not.toBe(Status.Internal)
  }
}

async function askWitness(witness: Peer): Promise<void> {
  witness.received.length = 0
  witness.transport.write(
    Buffer.concat([frame(Opcode.Set, 1, WITNESS_KEY, 0, WITNESS_VALUE), frame(Opcode.Get, 2, WITNESS_KEY)]),
  )
  await afterDelivery()
  const [stored, found] = payloads(Buffer.concat(witness.received)).map(decoded)
  expect(stored?.slice(0, 2)).toEqual([Status.Ok, 1])
  expect(found).toEqual([Status.Ok, 2, 0, WITNESS_VALUE])
  expect(witness.closed).toBe(false)
}

function randomRequest(random: Random): Buffer {
  const opcodes = Object.values(Opcode)
  const opcode = opcodes[random.below(opcodes.length)] ?? Opcode.Ping
  const id = random.oneIn(10) ? 2 ** 32 - 1 - random.below(3) : 1 + random.below(1000)
  return frame(opcode, id, ...operandsOf(opcode, random))
}

function operandsOf(opcode: Opcode, random: Random): unknown[] {
  switch (opcode) {
    case Opcode.Hello:
      return [1, 1 + random.below(3), 0, 'fuzz']
    case Opcode.Ping:
      return random.oneIn(2) ? [] : [randomBytes(random.below(20), random)]
    case Opcode.Get:
      return random.oneIn(2) ? [randomKey(random)] : [randomKey(random), 1]
    case Opcode.Set:
      return upTo(random, [
        randomKey(random),
        random.below(5),
        randomValue(random),
        random.pick([null, 0, 1, 50, 100_000]),
        random.pick([null, ...Object.values(Condition)]),
        random.pick([null, randomBytes(16, random)]),
        random.pick([null, 0, 2]),
      ])
    case Opcode.Delete:
    case Opcode.Inspect:
      return [randomKey(random)]
    case Opcode.Touch:
      return [randomKey(random), random.pick([0, 1, 1000])]
    case Opcode.GetMany:
    case Opcode.DeleteMany:
      return [Array.from({ length: random.below(20) }, () => randomKey(random))]
    case Opcode.SetMany:
      return upTo(random, [
        Array.from({ length: random.below(10) }, () => [
          randomKey(random),
          random.below(5),
          randomValue(random),
        ]),
        random.pick([null, 0, 50]),
        random.pick([null, 0, 1, 2]),
      ])
    case Opcode.Increment:
    case Opcode.Decrement:
      return upTo(random, [
        randomKey(random),
        random.below(1000) - 500,
        random.below(10),
        random.pick([null, 0, 100]),
      ])
    case Opcode.Scan:
      return upTo(random, [random.below(50), random.pick(['', 'k', 'kk']), 1 + random.below(100)])
    case Opcode.Stats:
      return random.oneIn(2) ? [] : [random.pick(['server', 'cache', 'nothing'])]
    default:
      return []
  }
}

/** Some of the operands from the first on; the first always. */
function upTo(random: Random, operands: readonly unknown[]): unknown[] {
  return operands.slice(0, 1 + random.below(operands.length))
}

function randomKey(random: Random): string {
  return random.oneIn(20)
    ? 'k'.repeat(1020 + random.below(8))
    : `k${random.below(40)}${random.oneIn(5) ? 'ü€😀' : ''}`
}

function randomValue(random: Random): Buffer | string {
  if (random.oneIn(5)) return 'text'
  return randomBytes(random.oneIn(20) ? 4090 + random.below(10) : random.below(200), random)
}
