// However TCP cuts what a client says, it is answered alike: a conversation over all commands, cut at every byte.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { Packr } from 'msgpackr'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { SocketTransport } from '../../protocol/socket-transport.ts'
import { memoryTransports, type Transport } from '../../protocol/transport.ts'
import { Session } from '../../server/session.ts'
import { CONVERSATION } from '../helpers/conversation.ts'
import { decoded, frame, framed, payloads } from '../helpers/frames.ts'
import { Connection, STORES } from '../helpers/server.ts'
import { sessionHost, type TestHost } from '../helpers/session-host.ts'

const requests = CONVERSATION.map((elements) => frame(...elements))
const stream = Buffer.concat(requests)

/** Says these chunks, one after another, to a fresh session; all it answered until it closed. */
function answers(host: TestHost, chunks: readonly Uint8Array[]): Promise<Buffer> {
  const [ours, theirs] = memoryTransports()
  new Session(theirs, host)
  const received: Buffer[] = []
  return new Promise((resolve) => {
    ours.open({
      onChunk: (chunk) => received.push(Buffer.from(chunk)),
      onDrain: () => {},
      onClose: () => resolve(Buffer.concat(received)),
    })
    for (const chunk of chunks) ours.write(chunk)
  })
}

describe.each(STORES)('%s store', (store) => {
  const host = () => sessionHost({ store, maxMemoryBytes: 1024 * 1024 })
  let expected: Buffer

  beforeAll(async () => {
    expected = await answers(host(), [stream])
  })

  test('in one piece every request gets its answer', () => {
    const replies = payloads(expected).map(decoded)
    expect(replies.map(([, id]) => id)).toEqual(CONVERSATION.map(([, id]) => id))
    expect(replies.map(([status]) => status)).toEqual([
      0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 22, 0, 0, 0, 18, 19, 19, 0, 0, 0, 0, 0, 0, 0,
    ])
  })

  test('in two pieces, at every byte', async () => {
    for (let cut = 1; cut < stream.length; cut++) {
      const got = await answers(host(), [stream.subarray(0, cut), stream.subarray(cut)])
      expect(got.equals(expected), `cut at ${cut}`).toBe(true)
    }
  })

  test.each([1, 2, 3, 5, 7, 64])('in pieces of %i bytes', async (bytes) => {
    const chunks: Buffer[] = []
    for (let at = 0; at < stream.length; at += bytes) chunks.push(stream.subarray(at, at + bytes))
    expect((await answers(host(), chunks)).equals(expected)).toBe(true)
  })

  test('request by request', async () => {
    expect((await answers(host(), requests)).equals(expected)).toBe(true)
  })

  test('written by msgpackr with its default options', async () => {
    const packr = new Packr()
    const others = CONVERSATION.map((elements) => framed(packr.pack([...elements])))
    expect((await answers(host(), others)).equals(expected)).toBe(true)
  })

  test('over TCP, byte by byte', async () => {
    const net = createServer((socket) => new Session(new SocketTransport(socket), host()))
    onTestFinished(() => void net.close())
    net.listen(0, '127.0.0.1')
    await once(net, 'listening')
    const client = await dial(net.address())
    const connection = new Connection(client)
    for (const byte of stream) {
      client.write(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect((await connection.rest()).equals(expected)).toBe(true)
  })
})

async function dial(address: AddressInfo | string | null): Promise<Transport> {
  if (address === null || typeof address === 'string') throw new Error('no port')
  const socket = connect(address.port, '127.0.0.1')
  await once(socket, 'connect')
  return new SocketTransport(socket)
}
