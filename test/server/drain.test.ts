// close(): clients are told, what was asked is answered, and it ends in time whatever clients do.

import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import { memoryTransports } from '../../protocol/transport.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import { decoded, frame, payloads } from '../helpers/frames.ts'
import { Connection, connect, startServer, WIRES } from '../helpers/server.ts'

const { Ok, ShuttingDown } = Status
const MIB = 1024 * 1024
const EMPTY = Buffer.alloc(0)

/** A socket that does only what the test tells it, and closes when the test ends. */
async function rawSocket(server: OrmucoCacheServer) {
  const socket = connectSocket({ port: server.address?.port ?? 0, host: '127.0.0.1', allowHalfOpen: true })
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

describe.each(WIRES)('over %s', (wire) => {
  test('who said HELLO is told by a push, the others are not', async () => {
    const server = await startServer()
    const polite = await connect(server, wire)
    const terse = await connect(server, wire)
    await polite.ask(Opcode.Hello, 1)
    await terse.ask(Opcode.Ping, 1)
    const closed = server.close()
    expect(await polite.reply()).toEqual([ShuttingDown, 0, expect.any(String)])
    expect(await polite.rest()).toHaveLength(0)
    expect(await terse.rest()).toHaveLength(0)
    await closed
    expect(server.stats().connections.clients).toBe(0)
    expect(server.address).toBe(undefined)
  })

  test('what was asked before, and what is asked meanwhile, is answered', async () => {
    const server = await startServer()
    const connection = await connect(server, wire)
    await connection.ask(Opcode.Hello, 1)
    connection.send(frame(Opcode.Set, 2, 'key', 1, 'value'))
    const closed = server.close()
    const replies = [await connection.reply(), await connection.reply()]
    expect(replies.map(([status, id]) => [status, id]).sort()).toEqual([
      [Ok, 2],
      [ShuttingDown, 0],
    ])
    for (let id = 3; id < 20; id++) expect(await connection.ask(Opcode.Ping, id)).toEqual([Ok, id, EMPTY])
    expect(await connection.ask(Opcode.Stats, 20, 'server')).toMatchObject([
      Ok,
      20,
      { server: { draining: true } },
    ])
    expect(await connection.rest()).toHaveLength(0)
    await closed
  })

  test('a client that reads slowly gets everything first', async () => {
    const server = await startServer()
    const connection = await connect(server, wire)
    await connection.ask(Opcode.Set, 1, 'key', 0, Buffer.alloc(MIB))
    connection.transport.pause()
    connection.send(...Array.from({ length: 20 }, (_, i) => frame(Opcode.Get, i + 1, 'key')))
    const closed = server.close()
    connection.transport.resume()
    const ids = payloads(await connection.rest()).map((payload) => decoded(payload)[1])
    expect(ids).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    await closed
  })
})

describe('it ends in time', () => {
  test('with a client that never reads', async () => {
    const server = await startServer({ drainMs: 300 })
    const socket = await rawSocket(server)
    socket.pause()
    const helper = await connect(server)
    await helper.ask(Opcode.Set, 1, 'key', 0, Buffer.alloc(MIB))
    for (let i = 0; i < 60; i++) socket.write(frame(Opcode.Get, i + 1, 'key'))
    while (server.stats().commands['get'] === 0) await helper.ask(Opcode.Ping, 2)
    await server.close()
    expect(server.stats().connections.clients).toBe(0)
  })

  test('with a client that never stops asking', async () => {
    const server = await startServer()
    const busy = await connect(server)
    let isOver = false
    void busy.closed.then(() => {
      isOver = true
    })
    const asking = (async () => {
      for (let id = 1; !isOver; id++)
        if ((await busy.ask(Opcode.Ping, id).catch(() => [])).length === 0) return
    })()
    await server.close({ drainMs: 300 })
    await asking
    expect(server.stats().connections.clients).toBe(0)
  })

  test('with a client that does not close its side', async () => {
    const server = await startServer()
    const socket = await rawSocket(server)
    socket.resume()
    socket.write(frame(Opcode.Ping, 1))
    await once(socket, 'data')
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    await server.close()
    expect(warnings).toEqual([])
  })

  test('with a client in the middle of a frame', async () => {
    const server = await startServer({ drainMs: 300 })
    const connection = await connect(server)
    connection.send(frame(Opcode.Get, 1, 'key').subarray(0, -1))
    await server.close()
    expect(await connection.rest()).toHaveLength(0)
  })

  test('at once, if it is given no time', async () => {
    const server = await startServer()
    const connection = await connect(server)
    await connection.ask(Opcode.Ping, 1)
    await server.close({ drainMs: 0 })
    await connection.closed
  })

  test('with nobody there', async () => {
    await (await startServer()).close()
  })
})

describe('afterwards', () => {
  test('nobody can connect, over TCP or in memory', async () => {
    const server = await startServer()
    const port = server.address?.port ?? 0
    await server.close()
    const socket = connectSocket({ port, host: '127.0.0.1' })
    const [error] = await once(socket, 'error')
    expect(error).toMatchObject({ code: 'ECONNREFUSED' })
    const [ours, theirs] = memoryTransports()
    server.serve(theirs)
    expect(await new Connection(ours).rest()).toHaveLength(0)
  })

  test('closing twice is closing once; starting again is refused', async () => {
    const server = await startServer()
    expect(server.close()).toBe(server.close())
    await server.close()
    await expect(server.start()).rejects.toMatchObject({ code: 'CACHE_CLOSED' })
    server.destroy()
    await server[Symbol.asyncDispose]()
  })

  test('destroy() cuts every connection', async () => {
    const server = await startServer()
    const connections = await Promise.all(WIRES.map((wire) => connect(server, wire)))
    await Promise.all(connections.map((connection) => connection.ask(Opcode.Hello, 1)))
    server.destroy()
    for (const connection of connections) expect(await connection.rest()).toHaveLength(0)
    await server.close()
  })
})
