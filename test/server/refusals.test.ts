// What cannot be a frame: the server says what it can to whoever is there, closes that connection, and touches no other.

import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import { decoded, frame, framed, hex, payloads } from '../helpers/frames.ts'
import { connect, startServer, WIRES } from '../helpers/server.ts'

const { Malformed, FrameTooLarge } = Status
const TEXT_REFUSAL = 'binary protocol; use cache-shell\r\n'

/** A connection in the middle of a request; what it sends later must not have suffered. */
async function bystander(server: OrmucoCacheServer, wire: 'tcp' | 'memory') {
  const connection = await connect(server, wire)
  await connection.ask(Opcode.Set, 1, 'bystander', 1, 'here')
  const request = frame(Opcode.Get, 2, 'bystander')
  connection.send(request.subarray(0, 7))
  return async () => {
    connection.send(request.subarray(7))
    expect(await connection.reply()).toEqual([Status.Ok, 2, 1, Buffer.from('here')])
  }
}

const tooLong = (bytes: number) => {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(bytes)
  return head
}

/** Name, bytes, status. */
const NO_FRAMES: readonly (readonly [string, Buffer, number])[] = [
  ['a length of zero', hex('00 00 00 00'), Malformed],
  ['a length one over the limit', tooLong(1024 * 1024 + 65_537), FrameTooLarge],
  ['a length of 2^31', hex('80 00 00 00 00'), FrameTooLarge],
  ['a length of 2^32 - 1', hex('ff ff ff ff'), FrameTooLarge],
  ['no array', framed(hex('a5 68 65 6c 6c 6f')), Malformed],
  ['a map', framed(hex('82 02 01 00 00')), Malformed],
  ['an integer', framed(hex('02')), Malformed],
  ['the byte that MessagePack never uses', framed(hex('c1')), Malformed],
  ['an extension', framed(hex('d4 01 02')), Malformed],
  ['an empty array', framed(hex('90')), Malformed],
  ['an array of one', framed(hex('91 02')), Malformed],
  ['an array that is not there', framed(hex('92')), Malformed],
  ['an opcode without its id', framed(hex('92 02')), Malformed],
  ['an opcode in words', framed(hex('92 a4 50 49 4e 47 01')), Malformed],
  ['a negative opcode', framed(hex('92 ff 01')), Malformed],
  ['an opcode and a half', framed(hex('92 cb 3f f8 00 00 00 00 00 00 01')), Malformed],
  ['no opcode but nil', framed(hex('92 c0 01')), Malformed],
  ['an id in words', framed(hex('92 02 a1 31')), Malformed],
  ['a negative id', framed(hex('92 02 ff')), Malformed],
  ['no id but nil', framed(hex('92 02 c0')), Malformed],
  ['the id 0', framed(hex('92 02 00')), Malformed],
  ['the id 0 in eight bytes', framed(hex('92 02 cf 00 00 00 00 00 00 00 00')), Malformed],
  ['the id 0 for an unknown opcode', framed(hex('92 63 00')), Malformed],
  ['the id 0 with a wrong operand', framed(hex('93 03 00 05')), Malformed],
  ['the id 2^32', framed(hex('92 02 cf 00 00 00 01 00 00 00 00')), Malformed],
  ["a server's HELLO that says nothing", framed(hex('92 20 00')), Malformed],
  ["a server's HELLO with a word for a version", framed(hex('93 20 00 a1 61')), Malformed],
  ['the id 2^53', framed(hex('92 02 cf 00 20 00 00 00 00 00 00')), Malformed],
]

/** The same, where an id could be read: the answer carries it. */
const BROKEN_REQUESTS: readonly (readonly [string, Buffer])[] = [
  ['bytes after the array', framed(hex('92 02 07 c0'))],
  ['a second array after the first', framed(hex('92 02 07 92 02 08'))],
  ['fewer operands than announced', framed(hex('93 02 07'))],
  ['a text that ends too early', framed(hex('93 03 07 a5 68 65'))],
  ['a text of 4 GiB', framed(hex('93 03 07 db ff ff ff ff 61'))],
  ['a list of 4 G keys', framed(hex('93 08 07 dd ff ff ff ff a1 61'))],
  ['a list with one key too few', framed(hex('93 08 07 92 a1 61'))],
  ['an extension for a key', framed(hex('93 03 07 d4 01 61'))],
  ['a timestamp among unknown operands', framed(hex('94 02 07 c0 d6 ff 00 00 00 00'))],
  ['unknown operands nested too deep', framed(hex(`94 02 07 c0 ${'91'.repeat(9)} c0`))],
  ['100 000 levels', framed(hex(`94 02 07 c0 ${'91'.repeat(100_000)}`))],
]

describe.each(WIRES)('over %s', (wire) => {
  test.each(NO_FRAMES)('%s', async (_, bytes, status) => {
    const server = await startServer()
    const others = await bystander(server, wire)
    const connection = await connect(server, wire)
    connection.send(frame(Opcode.Ping, 1), bytes, frame(Opcode.Ping, 2))
    const replies = payloads(await connection.rest()).map(decoded)
    expect(replies).toEqual([
      [Status.Ok, 1, Buffer.alloc(0)],
      [status, 0, expect.any(String)],
    ])
    await others()
  })

  test.each(BROKEN_REQUESTS)('%s', async (_, bytes) => {
    const server = await startServer()
    const others = await bystander(server, wire)
    const connection = await connect(server, wire)
    connection.send(bytes, frame(Opcode.Ping, 8))
    const replies = payloads(await connection.rest()).map(decoded)
    expect(replies).toEqual([[Malformed, 7, expect.any(String)]])
    await others()
  })

  test('the same as the first thing said: the answer is a frame, byte by byte too', async () => {
    const server = await startServer()
    for (const [name, bytes, status] of NO_FRAMES) {
      for (const pieces of [[bytes], [...bytes].map((byte) => Buffer.of(byte))]) {
        const connection = await connect(server, wire)
        for (const piece of pieces) connection.send(piece)
        const replies = payloads(await connection.rest()).map(decoded)
        expect(replies, name).toEqual([[status, 0, expect.any(String)]])
      }
    }
  })

  test.each([
    'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'POST /cache/key HTTP/1.1\r\n\r\n{}',
    'hello',
    'hello\n',
    'get my-key\r\n',
    '\r\n\r\n',
    '*1\r\n$4\r\nPING\r\n',
    '    ',
    '~~~~',
  ])('text gets a line of text: %j', async (text) => {
    const server = await startServer()
    const others = await bystander(server, wire)
    const whole = await connect(server, wire)
    whole.send(Buffer.from(text))
    expect((await whole.rest()).toString()).toBe(TEXT_REFUSAL)
    const slow = await connect(server, wire)
    for (const byte of Buffer.from(text)) slow.send(Buffer.of(byte))
    expect((await slow.rest()).toString()).toBe(TEXT_REFUSAL)
    await others()
  })

  test('text behind a frame is no text, but a frame that is too long', async () => {
    const connection = await connect(await startServer(), wire)
    connection.send(frame(Opcode.Ping, 1), Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    const replies = payloads(await connection.rest()).map(decoded)
    expect(replies.map(([status, id]) => [status, id])).toEqual([
      [Status.Ok, 1],
      [FrameTooLarge, 0],
    ])
  })

  test('a TLS handshake gets nothing', async () => {
    const server = await startServer()
    const others = await bystander(server, wire)
    const connection = await connect(server, wire)
    connection.send(hex('16 03 01 02 00 01 00 01 fc 03 03'), Buffer.alloc(500, 0x42))
    expect(await connection.rest()).toHaveLength(0)
    await others()
  })

  test('a client that goes away in the middle of a frame leaves nothing behind', async () => {
    const server = await startServer()
    const others = await bystander(server, wire)
    const connection = await connect(server, wire)
    connection.send(frame(Opcode.Set, 1, 'half', 0, 'value').subarray(0, 12))
    connection.transport.end()
    await connection.closed
    await others()
    const check = await connect(server, wire)
    expect(await check.ask(Opcode.Get, 1, 'half')).toEqual([Status.Miss, 1])
    expect(server.stats().memory.entries).toBe(1)
  })
})

test('a real TLS client fails at once', async () => {
  const server = await startServer()
  const socket = connectTls({ port: server.address?.port ?? 0, host: '127.0.0.1', rejectUnauthorized: false })
  onTestFinished(() => void socket.destroy())
  const [error] = await once(socket, 'error')
  expect(error).toBeInstanceOf(Error)
})

test('an error reply arrives although the client goes on sending', async () => {
  const server = await startServer()
  const socket = connectSocket({ port: server.address?.port ?? 0, host: '127.0.0.1', allowHalfOpen: true })
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  const received: Buffer[] = []
  socket.on('data', (chunk: Buffer) => received.push(chunk))
  socket.write(Buffer.concat([frame(Opcode.Ping, 1), hex('00 00 00 00')]))
  for (let i = 0; i < 100; i++) socket.write(Buffer.alloc(10_000))
  await once(socket, 'end')
  const replies = payloads(Buffer.concat(received)).map(decoded)
  expect(replies.map(([status]) => status)).toEqual([Status.Ok, Malformed])
  socket.end()
  await once(socket, 'close')
})
