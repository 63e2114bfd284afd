// A rolling upgrade: version N beside version N + 1, which appends operands to every message and every record that N
// has never heard of, and offers a protocol version that N does not speak.

import { expect, test } from 'vitest'
import { PeerOpcode } from '../../protocol/messages.ts'
import { hlcOfWall } from '../../server/clock.ts'
import { FakePeer } from '../helpers/fake-peer.ts'
import { startCluster } from '../helpers/processes.ts'
import { stopwatch, tell, until } from '../helpers/waiting.ts'

/** `[1, 'new']` and a nil, as MessagePack. */
const APPENDED = Buffer.from([0x92, 0x01, 0xa3, 0x6e, 0x65, 0x77, 0xc0])
const APPENDED_COUNT = 2
/** Where the highest version stands in a HELLO with a 3-byte array head. */
const VERSION_MAX_AT = 6
/** With operands that are usually left out: what is appended would stand in their place. */
const LAST_WORDS = new Set<number>([PeerOpcode.Bye, PeerOpcode.Refused])

/** The same message with two more operands; a HELLO also claims to speak version 2. Last words stay as they are. */
function asLater(payload: Buffer): Buffer {
  const isShort = (payload[0] ?? 0) !== 0xdc
  if (LAST_WORDS.has(payload[isShort ? 1 : 3] ?? 0)) return payload
  const count = isShort ? (payload[0] ?? 0) & 0x0f : payload.readUInt16BE(1)
  const head = Buffer.from([0xdc, 0, count + APPENDED_COUNT])
  const grown = Buffer.concat([head, payload.subarray(isShort ? 1 : 3), APPENDED])
  if (grown[3] === PeerOpcode.Hello) grown[VERSION_MAX_AT] = 2
  return grown
}

test('unknown operands at the end of every message, streams and rounds alike', {
  timeout: 90_000,
}, async () => {
  const replication = { roundMs: 500 }
  const cluster = await startCluster({ size: 2, started: 0, options: { replication } })
  const [one, two] = [cluster.at(0), cluster.at(1)]
  let rewritten = 0
  const opcodes = new Set<number>()
  for (const proxy of cluster.network.between([one], [two]))
    proxy.rewrite = (payload) => {
      rewritten++
      const grown = asLater(payload)
      if (grown !== payload) opcodes.add(grown[3] ?? 0)
      return grown
    }
  // What is there before they meet comes with a round, the rest with the stream.
  await one.start()
  await one.client.storeMany(Array.from({ length: 500 }, (_, index) => [`before-${index}`, index]))
  await two.start()
  const since = stopwatch()
  await cluster.meshed()
  await two.client.store('later', 1)
  await one.client.delete('before-0')
  const contents = await cluster.same()
  expect(contents.size).toBe(500)
  expect(contents.get('later')).toBe(1)
  await two.client.clear()
  await until(
    'the flush arrives',
    () => one.keys(),
    (keys) => keys.length === 0,
  )
  // The stream may have brought everything before.
  await until(
    'a round is closed',
    () => opcodes,
    (seen) => seen.has(PeerOpcode.RoundClose),
  )
  tell('N with N + 1', {
    'same ms': since(),
    'messages rewritten': rewritten,
    'kinds of them': opcodes.size,
  })
  for (const opcode of [
    PeerOpcode.Hello,
    PeerOpcode.Batch,
    PeerOpcode.Ack,
    PeerOpcode.Rewind,
    PeerOpcode.Ping,
    PeerOpcode.Pong,
    PeerOpcode.RoundOpen,
    PeerOpcode.RoundAnswer,
    PeerOpcode.RoundClose,
  ])
    expect(opcodes).toContain(opcode)
  for (const member of cluster.members) {
    expect(member.logged('peer lost')).toEqual([])
    expect((await member.stats()).replication).toMatchObject({ links: 1, refusals: 0, rewinds: 0 })
  }
})

test('records that have grown, too', async () => {
  const cluster = await startCluster({ size: 1 })
  const server = cluster.at(0)
  const later = await FakePeer.dial(server.port, { label: 'later', extra: ['new', { in: 'version 2' }] })
  later.hello({ versions: [1, 2] })
  await later.follow()
  const now = hlcOfWall(Date.now())
  later.batch(0, 2, now, [
    [0, 'first', now - 1, 1, 0, 0, Buffer.from('one')],
    [0, 'second', now, 1, 0, 0, Buffer.from('two')],
  ])
  const ack = await later.hears(PeerOpcode.Ack)
  expect(ack[3]).toBe(2)
  expect(await server.contents()).toEqual(
    new Map([
      ['first', 'one'],
      ['second', 'two'],
    ]),
  )
  await server.client.store('third', 'three')
  const batch = await later.hears(PeerOpcode.Batch)
  expect(JSON.stringify(batch)).toContain('third')
  expect((await server.peer('later'))?.state).toBe('connected')
})
