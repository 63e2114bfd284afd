// Write concern over the wire: SET and DELETE that wait until other servers have the write, and replies that leave when
// they are ready.

import { describe, expect, test } from 'vitest'
import { ACKS_ALL, ACKS_TIMEOUT_MS_MAX, MEMBERS_MAX } from '../../protocol/limits.ts'
import { Condition, Opcode, Status } from '../../protocol/messages.ts'
import { Reader } from '../../protocol/reader.ts'
import { DEFERRED_MAX, DeferredReplies } from '../../server/deferred.ts'
import type { Requester } from '../../server/handler.ts'
import { Operands } from '../../server/operands.ts'
import type { OnAcks, Writes } from '../../server/writes.ts'
import { addressOf } from '../helpers/client.ts'
import { decoded, frame } from '../helpers/frames.ts'
import { allLinked, startBereaved, startCluster } from '../helpers/linked-servers.ts'
import { type Connection, connect, STORES, startServer, WIRES } from '../helpers/server.ts'
import { sessionHost } from '../helpers/session-host.ts'

const { Ok, Miss, Conflict, BadOperand, ShuttingDown } = Status
const anyVersion = expect.any(Uint8Array)
/** Longer than any test: what waits so long is answered by an event, or not at all. */
const LONG_MS = ACKS_TIMEOUT_MS_MAX
const SHORT_MS = 100

function setFrame(id: number, key: string, acks: number, timeoutMs: number): Buffer {
  return frame(Opcode.Set, id, key, 1, 'value', null, null, null, acks, timeoutMs)
}

async function replies(connection: Connection, count: number): Promise<unknown[][]> {
  const found: unknown[][] = []
  while (found.length < count) found.push(await connection.reply())
  return found
}

describe.each(STORES)('%s store', (store) => {
  test('with one peer: SET and DELETE say that it has them, and it has', async () => {
    const [a, b] = await startCluster(['a', 'b'], { store })
    if (a === undefined || b === undefined) throw new Error('two servers')
    const writer = await connect(a)
    const reader = await connect(b)
    writer.send(setFrame(1, 'key', 1, LONG_MS))
    expect(await writer.reply()).toEqual([Ok, 1, anyVersion, 1, 1])
    expect(await reader.ask(Opcode.Get, 1, 'key')).toEqual([Ok, 1, 1, Buffer.from('value')])
    expect(await writer.ask(Opcode.Delete, 2, 'key', 1, LONG_MS)).toEqual([Ok, 2, 1, 1])
    expect(await reader.ask(Opcode.Get, 2, 'key')).toEqual([Miss, 2])
    // Another server may hold what this one does not.
    expect(await writer.ask(Opcode.Delete, 3, 'key', 1, LONG_MS)).toEqual([Miss, 3, 1, 1])
  })

  test('a value beyond the limit of the peer: nobody has it, and there it is a miss', async () => {
    const a = await startServer({ store, nodeId: 'a', network: 'local' })
    const b = await startServer({
      store,
      nodeId: 'b',
      network: 'local',
      maxValueBytes: 2000,
      peers: [addressOf(a)],
    })
    await allLinked([a, b])
    const [writer, reader] = [await connect(a), await connect(b)]
    const long = Buffer.alloc(2001, 'x')
    expect(await writer.ask(Opcode.Set, 1, 'key', 1, 'short', null, null, null, 1, LONG_MS)).toEqual([
      Ok,
      1,
      anyVersion,
      1,
      1,
    ])
    writer.send(frame(Opcode.Set, 2, 'key', 1, long, null, null, null, 1, SHORT_MS))
    expect(await writer.reply()).toEqual([Ok, 2, anyVersion, 0, 1])
    writer.send(setFrame(3, 'other', 1, LONG_MS))
    expect(await writer.reply()).toEqual([Ok, 3, anyVersion, 1, 1])
    expect(await writer.ask(Opcode.Get, 4, 'key')).toEqual([Ok, 4, 1, long])
    expect(await reader.ask(Opcode.Get, 1, 'key')).toEqual([Miss, 1])
    expect(await reader.ask(Opcode.Get, 2, 'other')).toEqual([Ok, 2, 1, Buffer.from('value')])
  })

  test('the version in a held back reply is that of its own write, whatever was written since', async () => {
    const [a] = await startCluster(['a', 'b'], { store })
    if (a === undefined) throw new Error('a server')
    const connection = await connect(a)
    connection.send(setFrame(1, 'one', 1, LONG_MS), setFrame(2, 'two', 1, LONG_MS))
    const versions = new Map((await replies(connection, 2)).map(([, id, version]) => [id, version]))
    for (const [id, key] of [
      [1, 'one'],
      [2, 'two'],
    ] as const)
      expect(versions.get(id), key).toEqual((await connection.ask(Opcode.Get, 3, key, 1))[4])
  })
})

test('all of two peers', async () => {
  const [a] = await startCluster(['a', 'b', 'c'])
  if (a === undefined) throw new Error('a server')
  const connection = await connect(a)
  connection.send(setFrame(1, 'key', ACKS_ALL, LONG_MS))
  expect(await connection.reply()).toEqual([Ok, 1, anyVersion, 2, 2])
  expect(await connection.ask(Opcode.Delete, 2, 'key', ACKS_ALL, LONG_MS)).toEqual([Ok, 2, 2, 2])
})

test('more than there are members waits for those that there are', async () => {
  const [a] = await startCluster(['a', 'b'])
  if (a === undefined) throw new Error('a server')
  const connection = await connect(a)
  connection.send(setFrame(1, 'key', 2, LONG_MS))
  expect(await connection.reply()).toEqual([Ok, 1, anyVersion, 1, 1])
  connection.send(setFrame(2, 'key', MEMBERS_MAX, LONG_MS))
  expect(await connection.reply()).toEqual([Ok, 2, anyVersion, 1, 1])
})

test.each(WIRES)('a server without others answers at once, over %s', async (wire) => {
  const connection = await connect(await startServer(), wire)
  connection.send(setFrame(1, 'key', ACKS_ALL, LONG_MS))
  expect(await connection.reply()).toEqual([Ok, 1, anyVersion, 0])
  expect(await connection.ask(Opcode.Delete, 2, 'key', 1, LONG_MS)).toEqual([Ok, 2])
})

describe('a peer that is gone stays a member', () => {
  test('the answer comes when the time is over, with 0; others overtake it', async () => {
    const connection = await connect(await startBereaved())
    connection.send(
      setFrame(1, 'key', 1, SHORT_MS),
      frame(Opcode.Get, 2, 'key'),
      frame(Opcode.Delete, 3, 'other', ACKS_ALL, SHORT_MS),
      frame(Opcode.Ping, 4),
    )
    const answers = await replies(connection, 4)
    expect(answers.slice(0, 2)).toEqual([
      [Ok, 2, 1, Buffer.from('value')],
      [Ok, 4, Buffer.alloc(0)],
    ])
    expect(new Set(answers.slice(2))).toEqual(
      new Set([
        [Ok, 1, anyVersion, 0, 1],
        [Miss, 3, 0, 1],
      ]),
    )
  })

  test('a write that is not done does not wait', async () => {
    const server = await startBereaved()
    const connection = await connect(server)
    const request = ['key', 1, 'value', null, Condition.Present, null, 1, LONG_MS]
    expect(await connection.ask(Opcode.Set, 1, ...request)).toEqual([Conflict, 1, null])
    expect(server.stats().replication.awaitingAcks).toBe(0)
  })

  test('QUIT lets the answers come that were asked for before', async () => {
    const connection = await connect(await startBereaved())
    connection.send(setFrame(1, 'key', 1, SHORT_MS), frame(Opcode.Quit, 2), frame(Opcode.Ping, 3))
    expect(await replies(connection, 2)).toEqual([
      [Ok, 2],
      [Ok, 1, anyVersion, 0, 1],
    ])
    expect(await connection.rest()).toHaveLength(0)
  })

  test('a connection that closes meanwhile is no harm', async () => {
    const server = await startBereaved()
    const connection = await connect(server)
    connection.send(setFrame(1, 'key', 1, SHORT_MS))
    const other = await connect(server)
    other.send(setFrame(2, 'other', 1, SHORT_MS))
    connection.transport.destroy()
    expect(await other.reply()).toEqual([Ok, 2, anyVersion, 0, 1])
    expect(server.stats().replication.awaitingAcks).toBe(0)
  })
})

describe('a server that drains', () => {
  test('waits for the replies that it holds back', async () => {
    const server = await startBereaved()
    const connection = await connect(server)
    connection.send(setFrame(1, 'key', 1, 5 * SHORT_MS), frame(Opcode.Ping, 2))
    expect(await connection.reply()).toEqual([Ok, 2, Buffer.alloc(0)])
    const closed = server.close()
    // It is not let go when the drain begins.
    expect(await connection.ask(Opcode.Ping, 3)).toEqual([Ok, 3, Buffer.alloc(0)])
    expect(await connection.reply()).toEqual([Ok, 1, anyVersion, 0, 1])
    expect(await connection.rest()).toHaveLength(0)
    await closed
  })

  test('still hears the acknowledgements of what is written meanwhile', async () => {
    const [a, b] = await startCluster(['a', 'b'])
    if (a === undefined || b === undefined) throw new Error('two servers')
    const connection = await connect(a)
    await connection.ask(Opcode.Hello, 1)
    const closed = a.close()
    expect(await connection.reply()).toEqual([ShuttingDown, 0, expect.any(String)])
    connection.send(setFrame(2, 'last words', 1, LONG_MS))
    expect(await connection.reply()).toEqual([Ok, 2, anyVersion, 1, 1])
    await closed
    expect(await (await connect(b)).ask(Opcode.Get, 1, 'last words')).toEqual([
      Ok,
      1,
      1,
      Buffer.from('value'),
    ])
  })

  test('waits no longer than it was told', async () => {
    const server = await startBereaved()
    const connection = await connect(server)
    connection.send(setFrame(1, 'key', 1, LONG_MS), frame(Opcode.Ping, 2))
    await connection.reply()
    await server.close({ drainMs: SHORT_MS })
    await connection.closed
  })
})

test.each<[operands: readonly unknown[], text: string]>([
  [[MEMBERS_MAX + 1], `acks are 0 to ${MEMBERS_MAX}, or ${ACKS_ALL} for all, got ${MEMBERS_MAX + 1}`],
  [[ACKS_ALL - 1], `acks are 0 to ${MEMBERS_MAX}, or ${ACKS_ALL} for all, got ${ACKS_ALL - 1}`],
  [[-1], ''],
  [[1.5], ''],
  [['all'], ''],
  [
    [1, ACKS_TIMEOUT_MS_MAX + 1],
    `acks are waited for at most ${ACKS_TIMEOUT_MS_MAX} ms, got ${ACKS_TIMEOUT_MS_MAX + 1}`,
  ],
  [[1, -1], ''],
  [[0, 'soon'], ''],
])('acks %j are a BadOperand, and nothing is written', async (operands, text) => {
  const connection = await connect(await startServer())
  const requests = [
    [Opcode.Set, 'key', 1, 'value', null, null, null, ...operands],
    [Opcode.Delete, 'there', ...operands],
  ]
  await connection.ask(Opcode.Set, 1, 'there', 1, 'value')
  for (const [opcode, ...rest] of requests)
    expect(await connection.ask(opcode, 2, ...rest)).toEqual([BadOperand, 2, expect.stringContaining(text)])
  expect(await connection.ask(Opcode.Inspect, 3, 'key')).toEqual([Miss, 3])
  expect((await connection.ask(Opcode.Inspect, 4, 'there'))[0]).toBe(Ok)
})

test(`no more than ${DEFERRED_MAX} replies are held back; each is given once`, () => {
  const { keyspace } = sessionHost()
  const waiting: OnAcks[] = []
  const writes: Writes = {
    mustMark: true,
    markerFlags: 0,
    flush: () => {},
    extended: () => {},
    awaitAcks: (wanted, _, done) => {
      waiting.push(done)
      return wanted
    },
  }
  const deferred = new DeferredReplies(keyspace, writes, DEFERRED_MAX)
  let held = 0
  const answers: unknown[][] = []
  const requester: Requester = {
    clientName: '',
    mustAuthenticate: false,
    challenge: undefined,
    authenticated: () => {},
    authenticationFailed: () => {},
    deferred: 0,
    quit: () => {},
    defer: () => void held++,
    answer: (bytes: Uint8Array) => void answers.push(decoded(Buffer.from(bytes.subarray(4)))),
  }
  const operands = new Operands(1024)
  operands.acks = 1
  const request = new Reader()
  const bytes = frame(Opcode.Delete, 7, 'key')
  request.open(bytes, 4, bytes.length)
  let taken = 0
  while (taken < DEFERRED_MAX && deferred.deleted(request, operands, requester, Ok)) taken++
  expect(taken).toBe(DEFERRED_MAX)
  expect(deferred.deleted(request, operands, requester, Ok)).toBe(false)
  expect(deferred.stored(request, operands, requester)).toBe(false)
  expect([held, waiting.length]).toEqual([DEFERRED_MAX, DEFERRED_MAX])
  waiting[0]?.(1)
  expect(answers).toEqual([[Ok, 7, 1, 1]])
  expect(deferred.stored(request, operands, requester)).toBe(true)
  expect(deferred.stored(request, operands, requester)).toBe(false)
})
