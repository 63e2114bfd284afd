// A server process that may open only a few files: clients take what there is for them and no more, are told so, and
// links to other servers are made all the same, in both directions.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import { clientOf } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { unusedPort } from '../helpers/fake-server.ts'
import { decoded, frame } from '../helpers/frames.ts'
import { type Program, startProgram } from '../helpers/program.ts'
import { startServer } from '../helpers/server.ts'

const OPEN_FILES_MAX = 256
const RESERVED = 128

/** The most connections that the server says it takes. */
async function connectionsOf(program: Program): Promise<number> {
  const [, connections] = await program.says(
    'stderr',
    new RegExp(`"connections":(\\d+),"descriptorLimit":${OPEN_FILES_MAX},"descriptorsReserved":${RESERVED}`),
  )
  return Number(connections)
}

class Knock {
  readonly socket: Socket
  isClosed = false
  readonly #received: Buffer[] = []

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('error', () => {})
    this.socket.on('data', (chunk) => this.#received.push(chunk))
    this.socket.once('close', () => {
      this.isClosed = true
    })
    onTestFinished(() => void this.socket.destroy())
  }

  /** The status of its one PING or GET; undefined: no answer yet. */
  get status(): unknown {
    const received = Buffer.concat(this.#received)
    return received.length < 4 ? undefined : decoded(received.subarray(4))[0]
  }
}

function knock(port: number, times: number, request: Buffer): Knock[] {
  return Array.from({ length: times }, () => {
    const made = new Knock(port)
    made.socket.write(request)
    return made
  })
}

test('clients find no room, servers do', async () => {
  const elsewhere = await unusedPort()
  const program = startProgram(
    'start-server',
    ['-p', '0', '--node-id', 'full', '--network', 'local', '--peers', `127.0.0.1:${elsewhere}`],
    { openFilesMax: OPEN_FILES_MAX },
  )
  const port = await program.port()
  const connections = await connectionsOf(program)
  expect(connections).toBeGreaterThan(50)
  expect(connections).toBeLessThan(OPEN_FILES_MAX - RESERVED)

  const client = clientOf(`127.0.0.1:${port}`)
  await client.connect({ timeoutMs: 10_000 })
  const inside = knock(port, connections - 1, frame(Opcode.Ping, 1))
  await eventually(() => inside.filter(({ status }) => status === Status.Ok).length).toBe(connections - 1)

  // More than there are files left, whether they ask or only wait.
  const asking = knock(port, 150, frame(Opcode.Get, 1, 'key'))
  await eventually(() => asking.filter(({ isClosed }) => isClosed).length).toBe(150)
  const statuses = new Set(asking.map(({ status }) => status))
  expect([Status.Overloaded, undefined]).toEqual(expect.arrayContaining([...statuses]))
  const waiting = knock(port, 150, Buffer.alloc(0))
  await eventually(() => waiting.filter(({ isClosed }) => isClosed).length).toBeGreaterThanOrEqual(
    150 - RESERVED / 2,
  )
  await program.says('stderr', /"why":"too many connections".*"msg":"connection refused"/)

  // One dials in, one is dialed.
  const dialing = await startServer({ nodeId: 'dialing', network: 'local', peers: [`127.0.0.1:${port}`] })
  const dialed = await startServer({ nodeId: 'dialed', network: 'local', port: elsewhere })
  for (const server of [dialing, dialed])
    await eventually(() => server.peers().find(({ nodeId }) => nodeId === 'full')?.state).toBe('connected')
  await client.store('key', 'value', { acks: 2, timeoutMs: 10_000 })
  expect(await clientOf(dialed).retrieve('key')).toBe('value')
  await clientOf(dialing).store('back', 'again', { acks: 'all', timeoutMs: 10_000 })
  expect(await client.retrieve('back', { timeoutMs: 10_000 })).toBe('again')

  expect(inside.filter(({ isClosed }) => isClosed)).toEqual([])
  expect(program.stderr).not.toMatch(/EMFILE|"level":"(error|fatal)"/)
  program.process.kill('SIGTERM')
  await once(program.process, 'exit')
  expect(program.process.exitCode).toBe(0)
}, 60_000)
