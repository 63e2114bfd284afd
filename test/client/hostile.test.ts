// Servers that break the contract: the calls under way settle, the connection is given up where it must be, and the
// client comes back by itself.

import { describe, expect, test } from 'vitest'
import { FRAME_HEADER_BYTES, FRAME_OVERHEAD_BYTES_MAX } from '../../protocol/limits.ts'
import { Status, ValueFlags } from '../../protocol/messages.ts'
import { clientOf } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import {
  answerAll,
  type FakeConnection,
  LINK_ID,
  type Request,
  startFakeServer,
} from '../helpers/fake-server.ts'
import { frame, framed, hex } from '../helpers/frames.ts'

const RECONNECT = { minMs: 1, maxMs: 5 }

/** A server whose first connection answers requests badly and whose later ones answer well; and its client. */
async function badAtFirst(onRequest: (request: Request, connection: FakeConnection) => void) {
  const server = await startFakeServer({
    onRequest: (request, connection) => {
      if (connection === server.connections[0]) onRequest(request, connection)
      else answerAll(request, connection)
    },
  })
  return { server, client: clientOf(server.address, { reconnect: RECONNECT }) }
}

describe('what cannot be a reply ends the connection, and the next one serves', () => {
  const rows: [string, (id: number) => Buffer][] = [
    ['garbage', () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['a huge frame length', () => hex('ffffffff 92 00 01')],
    ['a frame of 0 bytes', () => hex('00000000')],
    ['a frame that is no array', (id) => framed(Buffer.from([id & 0x7f]))],
    ['an array of one', () => frame(0)],
    ['a status that is no integer', (id) => frame('Ok', id)],
    ['an id that is no integer', () => frame(0, 'one')],
    ['an id beyond 32 bits', () => frame(0, 2 ** 33)],
    ['a hit without a value', (id) => frame(Status.Ok, id)],
    [
      'a hit whose value is cut off',
      (id) => framed(Buffer.concat([frame(Status.Ok, id, 0).subarray(4), hex('c4ff00')])),
    ],
    ['a hit whose flags are text', (id) => frame(Status.Ok, id, 'raw', Buffer.from([1]))],
    ['a hit whose value is a number', (id) => frame(Status.Ok, id, 0, 5)],
    ['an error whose text is a number', (id) => frame(Status.BadOperand, id, 5)],
    ['an error whose retry-after is text', (id) => frame(Status.Overloaded, id, 'busy', 'soon')],
    ['an error of the connection', () => frame(Status.Malformed, 0, 'what was that?')],
  ]

  test.each(rows)('%s', async (_, answer) => {
    const { server, client } = await badAtFirst(([, id], connection) => connection.raw(answer(id)))
    const calls = [client.lookup('a'), client.lookup('b')]
    for (const found of await Promise.all(calls))
      expect(found).toMatchObject({
        outcome: 'unavailable',
        error: { code: expect.stringMatching(/^CACHE_(PROTOCOL|UNAVAILABLE)$/) },
      })
    await (await server.connection(0)).closed
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
    expect(client.counters()).toMatchObject({ inFlight: 0, pending: 0, outages: 1 })
    expect(server.connections).toHaveLength(2)
  })

  test.each(rows.slice(0, 8))('%s, instead of a greeting', async (_, answer) => {
    const server = await startFakeServer({
      greets: false,
      onConnection: (connection) => {
        if (server.connections.length === 1) connection.raw(answer(LINK_ID))
        else connection.greet()
      },
      onRequest: answerAll,
    })
    const client = clientOf(server.address, { reconnect: RECONNECT })
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
    expect(client.counters()).toMatchObject({ outages: 1 })
  })

  test('a connection that ends in the middle of a frame', async () => {
    const { client } = await badAtFirst(([, id], connection) => {
      const whole = frame(Status.Ok, id, ValueFlags.Utf8, 'a long value')
      connection.socket.end(whole.subarray(0, whole.length - 3))
    })
    expect(await client.lookup('k')).toMatchObject({
      outcome: 'unavailable',
      error: { code: 'CACHE_UNAVAILABLE' },
    })
    await eventually(() => client.lookup('k')).toEqual({ outcome: 'miss' })
  })

  test('a connection that is reset', async () => {
    const { client } = await badAtFirst((_, connection) => connection.socket.resetAndDestroy())
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'unavailable', maybeStored: true })
    await eventually(() => client.lookup('k')).toEqual({ outcome: 'miss' })
  })
})

describe('a greeting that', () => {
  const hello = (...operands: unknown[]) => frame(Status.Ok, LINK_ID, ...operands)
  const who = [1, 0, '0.0.0', 'fake', Buffer.alloc(8), 'r', 'c']

  test.each([
    ['is empty', hello()],
    ['ends early', hello(...who)],
    ['has text for a limit', hello(...who, 'much', 'more')],
    ['refuses the version', frame(Status.UnsupportedVersion, LINK_ID, 'this server speaks versions 7 to 9')],
    ['refuses without a word', frame(Status.Internal, LINK_ID)],
  ])('%s is no connection, and its reason is told', async (_, greeting) => {
    const server = await startFakeServer({
      greets: false,
      onConnection: (connection) => connection.raw(greeting),
    })
    const client = clientOf(server.address, { timeoutMs: 100, reconnect: RECONNECT })
    const outcome = await client.store('k', 1)
    expect(outcome).toMatchObject({
      outcome: 'unavailable',
      maybeStored: false,
      error: { code: 'CACHE_TIMEOUT' },
    })
    if (outcome.outcome === 'unavailable') expect(outcome.error.message).toMatch(/not understood: /)
    expect(server.connections.length).toBeGreaterThan(1)
  })

  test('promises endless frames does not get them: the limit is that of any server', async () => {
    const server = await startFakeServer({
      greets: false,
      onConnection: (connection) => connection.raw(hello(...who, 2 ** 52, 2 ** 53 - 1)),
      onRequest: (_, connection) => connection.raw(hex('f0000000 93')),
    })
    const client = clientOf(server.address, { reconnect: RECONNECT })
    const found = await client.lookup('k')
    expect(found).toMatchObject({
      outcome: 'unavailable',
      error: { message: expect.stringMatching(/limit of 536936448/) },
    })
  })

  test('says more than is known is fine', async () => {
    const server = await startFakeServer({
      greets: false,
      onConnection: (connection) => connection.raw(hello(...who, 1000, 66_536, 'new', [1, { a: null }])),
      onRequest: answerAll,
    })
    expect(await clientOf(server.address).lookup('k')).toEqual({ outcome: 'miss' })
  })

  test('comes twice, or with other answers before it, changes nothing', async () => {
    const server = await startFakeServer({
      onConnection: (connection) => {
        connection.send([Status.Ok, 77, 0, Buffer.from('x')], [99, 0, 'a push from the future'])
        connection.greet()
        connection.greet()
      },
      onRequest: answerAll,
    })
    expect(await clientOf(server.address).lookup('k')).toEqual({ outcome: 'miss' })
  })
})

describe('what is odd but harmless', () => {
  test('replies with ids that nobody waits for, and the same reply twice', async () => {
    const server = await startFakeServer({
      onRequest: ([, id], connection) =>
        connection.send(
          [Status.Ok, id + 1, ValueFlags.Utf8, 'for nobody'],
          [Status.Ok, id + 256, ValueFlags.Utf8, 'for the same slot'],
          [Status.Ok, id, ValueFlags.Utf8, 'right'],
          [Status.Ok, id, ValueFlags.Utf8, 'again'],
          [Status.Malformed, 0xffff_fffe, 'for nobody'],
        ),
    })
    const client = clientOf(server.address)
    for (let i = 0; i < 5; i++) expect(await client.retrieve('k')).toBe('right')
    expect(client.counters()).toMatchObject({ hits: 5, inFlight: 0, outages: 0 })
  })

  test('a value that nobody can read is unavailable, counted, and costs the connection nothing', async () => {
    const server = await startFakeServer({
      onRequest: ([, id, key], connection) =>
        key === 'good'
          ? connection.send([Status.Ok, id, ValueFlags.Utf8, 'good'])
          : connection.send([Status.Ok, id, 77, Buffer.from('x'), Buffer.alloc(16), null]),
    })
    const client = clientOf(server.address)
    const calls = [client.retrieve('bad'), client.lookup('bad'), client.retrieve('good')]
    expect(await Promise.all(calls)).toEqual([
      undefined,
      {
        outcome: 'unavailable',
        error: expect.objectContaining({ code: 'CACHE_PROTOCOL', retriable: false }),
      },
      'good',
    ])
    await expect(client.retrieve('bad', { onUnavailable: 'throw' })).rejects.toMatchObject({
      code: 'CACHE_PROTOCOL',
    })
    expect(client.counters()).toMatchObject({ hits: 1, undecodable: 3, unavailable: 3, outages: 0 })
  })

  test('errors of single requests: their code, and whether to try again', async () => {
    const server = await startFakeServer({
      onRequest: ([, id, key], connection) =>
        connection.send([Number(key), id, 'because', 1500, 'later operand']),
    })
    const client = clientOf(server.address)
    const errorOf = async (status: number) => {
      const outcome = await client.store(String(status), 1)
      if (outcome.outcome !== 'unavailable') throw new Error(outcome.outcome)
      const { code, retriable, retryAfterMs, message, server: from } = outcome.error
      expect([message, from]).toEqual([`${server.address}: because`, server.address])
      expect(retryAfterMs).toBe(1500)
      return [code, retriable, outcome.maybeStored]
    }
    expect(await errorOf(Status.UnknownOpcode)).toEqual(['CACHE_PROTOCOL', false, false])
    expect(await errorOf(Status.KeyTooLarge)).toEqual(['CACHE_TOO_LARGE', false, false])
    expect(await errorOf(Status.NotInteger)).toEqual(['CACHE_NOT_INTEGER', false, false])
    expect(await errorOf(Status.Overloaded)).toEqual(['CACHE_OVERLOADED', true, false])
    expect(await errorOf(Status.Unauthenticated)).toEqual(['CACHE_UNAUTHENTICATED', false, false])
    expect(await errorOf(Status.Forbidden)).toEqual(['CACHE_FORBIDDEN', false, false])
    expect(await errorOf(Status.ShuttingDown)).toEqual(['CACHE_UNAVAILABLE', true, false])
    expect(await errorOf(Status.Internal)).toEqual(['CACHE_UNAVAILABLE', true, true])
    expect(await errorOf(77)).toEqual(['CACHE_PROTOCOL', false, true])
    expect(client.counters().outages).toBe(0)
  })

  test('an error without a text, and one with an endless one', async () => {
    const texts: unknown[][] = [[], [null], ['x'.repeat(100_000)]]
    const server = await startFakeServer({
      onRequest: ([, id], connection) => connection.send([Status.Overloaded, id, ...(texts.shift() ?? [])]),
    })
    const client = clientOf(server.address)
    for (const message of [/: \(no text\)$/, /: \(no text\)$/, /: x{500}$/])
      await expect(client.delete('k')).rejects.toThrow(message)
  })

  test('bytes one by one', async () => {
    const server = await startFakeServer({
      onRequest: async ([, id, key], { socket }) => {
        for (const byte of frame(Status.Ok, id, ValueFlags.Utf8, String(key)))
          await new Promise<void>((resolve) => socket.write(Buffer.from([byte]), () => resolve()))
      },
    })
    const client = clientOf(server.address)
    expect(await client.retrieve('one')).toBe('one')
    expect(await client.retrieve('two')).toBe('two')
  })

  test('a frame of the largest size is taken; one byte more ends the connection', async () => {
    const limit = 200_000 + FRAME_OVERHEAD_BYTES_MAX
    const server = await startFakeServer({
      valueBytesMax: 200_000,
      frameBytesMax: limit,
      onRequest: ([, id, key], connection) => {
        const headBytes = frame(Status.Ok, id, 0, Buffer.alloc(limit)).length - FRAME_HEADER_BYTES - limit
        const valueBytes = limit - headBytes + (key === 'one more' ? 1 : 0)
        connection.send([Status.Ok, id, 0, Buffer.alloc(valueBytes)])
      },
    })
    const client = clientOf(server.address, { reconnect: RECONNECT })
    expect(await client.retrieve<Buffer>('largest')).toBeInstanceOf(Buffer)
    expect(await client.lookup('one more')).toMatchObject({
      error: {
        message: expect.stringContaining(
          `a frame of ${limit + 1} bytes is over this connection's limit of ${limit}`,
        ),
      },
    })
  })
})
