// When the requests of a tick leave: few of them at its end, many while the others are made, and sooner while the server
// has nothing to do.

import { unpack } from 'msgpackr'
import { expect, test } from 'vitest'
import { Call } from '../../client/call.ts'
import { Outbox } from '../../client/outbox.ts'
import { Ring } from '../../client/ring.ts'
import { Opcode } from '../../protocol/messages.ts'
import { payloads } from '../helpers/frames.ts'

const KIB = 1024
const END = { onReply: () => {}, onFailure: () => {} }

function outbox() {
  /** Ids of the requests in each write. */
  const writes: unknown[][] = []
  const way = {
    unsentBytes: 0,
    write: (bytes: Uint8Array) => {
      writes.push(payloads(Buffer.from(bytes)).map((payload) => unpack(payload)[1]))
      return true
    },
  }
  const box = new Outbox(way, new Ring(), () => {})
  const ask = (valueBytes: number): Call => {
    const call = new Call(
      END,
      () => {},
      () => {},
      undefined,
      { throws: false, failsFast: false },
    )
    const writer = box.begin(Opcode.Ping, 1)
    writer.reserve(valueBytes + 8)
    writer.binary(Buffer.alloc(valueBytes), 0, valueBytes)
    box.endFrame()
    box.commit(call)
    return call
  }
  return { box, writes, ask, endOfTick: () => new Promise<void>((resolve) => process.nextTick(resolve)) }
}

const idsUpTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1)

/** As after a request that is not answered yet: the server has something to do. */
async function busyOutbox() {
  const made = outbox()
  made.ask(1)
  await made.endOfTick()
  made.writes.length = 0
  return made
}

const idsFromTo = (first: number, last: number) => idsUpTo(last).slice(first - 1)

test('seven leave at the end of the tick, in one write', async () => {
  const { writes, ask, endOfTick } = outbox()
  for (let left = 7; left > 0; left--) ask(KIB)
  expect(writes).toEqual([])
  await endOfTick()
  expect(writes).toEqual([idsUpTo(7)])
})

test('eight leave at once while nothing is in flight, however small, and the rest at the end', async () => {
  const { box, writes, ask, endOfTick } = outbox()
  const first = ask(1)
  for (let left = 6; left > 0; left--) ask(1)
  expect(box.hasLeft(first)).toBe(false)
  ask(1)
  expect(writes).toEqual([idsUpTo(8)])
  expect(box.hasLeft(first)).toBe(true)
  expect(box.isEmpty).toBe(true)
  for (let left = 20; left > 0; left--) ask(1)
  await endOfTick()
  expect(writes).toEqual([idsUpTo(8), idsFromTo(9, 28)])
})

test('while something is in flight, fifteen leave at the end of the tick, in one write', async () => {
  const { writes, ask, endOfTick } = await busyOutbox()
  for (let left = 15; left > 0; left--) ask(KIB)
  expect(writes).toEqual([])
  await endOfTick()
  expect(writes).toEqual([idsFromTo(2, 16)])
})

test('while something is in flight, sixteen with 4 KiB leave at once', async () => {
  const { box, writes, ask } = await busyOutbox()
  for (let left = 16; left > 0; left--) ask(KIB)
  expect(writes).toEqual([idsFromTo(2, 17)])
  expect(box.isEmpty).toBe(true)
})

test('small ones leave as soon as they have 4 KiB, and the rest at the end', async () => {
  const { box, writes, ask, endOfTick } = outbox()
  const calls = Array.from({ length: 1000 }, () => ask(10))
  expect(writes.length).toBeGreaterThan(4)
  const left = writes.flat().length
  expect(calls.filter((call) => box.hasLeft(call))).toEqual(calls.slice(0, left))
  await endOfTick()
  expect(writes.flat()).toEqual(idsUpTo(1000))
})

test('a few large ones leave when they fill the buffer', () => {
  const { writes, ask } = outbox()
  for (let left = 3; left > 0; left--) ask(30 * KIB)
  expect(writes).toEqual([idsUpTo(3)])
})
