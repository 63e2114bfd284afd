// Requests that wait for other servers: as many as a connection may have, and one more. What is refused for want of
// room is not done, says when to come again, and leaves the connection as it was.

import { expect, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import { eventually } from '../helpers/eventually.ts'
import { frame } from '../helpers/frames.ts'
import { startBereaved } from '../helpers/linked-servers.ts'
import { connect, WIRES } from '../helpers/server.ts'

const { Ok, Miss, Overloaded } = Status
const LONG_MS = 60_000
const SHORT_MS = 1
const version = expect.objectContaining({ length: 16 })

const set = (id: number, key: string, ms: number) =>
  frame(Opcode.Set, id, key, 0, 'v', null, null, null, 1, ms)

test.each(WIRES)('at, below and above the limit, %s', async (wire) => {
  const server = await startBereaved({ requestsInFlightMax: 3 })
  const connection = await connect(server, wire)
  connection.send(set(1, 'a', LONG_MS), set(2, 'b', LONG_MS), set(3, 'c', LONG_MS))
  await eventually(() => server.stats().replication.awaitingAcks).toBe(3)

  // Above: nothing is written, nor deleted.
  const refused = [Overloaded, 4, '3 requests of this connection wait for other servers already', 100]
  connection.send(set(4, 'd', LONG_MS))
  expect(await connection.reply()).toEqual(refused)
  connection.send(frame(Opcode.Delete, 4, 'a', 1, LONG_MS))
  expect(await connection.reply()).toEqual(refused)
  expect(await connection.ask(Opcode.GetMany, 5, ['a', 'd'])).toEqual([
    Ok,
    5,
    [[Ok, 0, Buffer.from('v')], [Miss]],
  ])
  expect(server.stats().connections.overloaded).toBe(2)

  // What need not wait is done, and other connections have their own.
  expect(await connection.ask(Opcode.Set, 6, 'd', 0, 'v')).toEqual([Ok, 6, version, 0])
  const other = await connect(server, wire)
  other.send(set(1, 'e', SHORT_MS))
  expect(await other.reply()).toEqual([Ok, 1, version, 0, 1])
})

test('a reply that has come makes room for another', async () => {
  const server = await startBereaved({ requestsInFlightMax: 2 })
  const connection = await connect(server)
  connection.send(set(1, 'a', SHORT_MS), set(2, 'b', SHORT_MS), set(3, 'c', SHORT_MS))
  const replies = [await connection.reply(), await connection.reply(), await connection.reply()]
  expect(replies.map(([status, id]) => [status, id])).toEqual([
    [Overloaded, 3],
    [Ok, 1],
    [Ok, 2],
  ])
  connection.send(set(4, 'c', SHORT_MS))
  expect(await connection.reply()).toEqual([Ok, 4, version, 0, 1])
})
