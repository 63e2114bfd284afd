// start-server as a real process: what it prints where, how it ends, and with which exit code.

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { pack } from 'msgpackr'
import { expect, onTestFinished, test } from 'vitest'
import { FRAME_HEADER_BYTES } from '../../protocol/limits.ts'
import { Opcode, ValueFlags } from '../../protocol/messages.ts'
import { type Program, runProgram, startProgram } from '../helpers/program.ts'

const SOURCE = fileURLToPath(new URL('../../bin/start-server.ts', import.meta.url))

/** Log lines as objects; fails on a line that is not JSON. */
function logLines(stderr: string): Record<string, unknown>[] {
  return stderr
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

function dial(port: number): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  return socket
}

function frame(message: readonly unknown[]): Buffer {
  const body = pack(message)
  const header = Buffer.alloc(FRAME_HEADER_BYTES)
  header.writeUInt32BE(body.length)
  return Buffer.concat([header, body])
}

/** Leaves the server with replies that it cannot send: more than the system's buffers hold, and nobody reads. */
async function askWithoutReading(socket: Socket): Promise<void> {
  socket.write(frame([Opcode.Set, 1, 'big', ValueFlags.Raw, Buffer.alloc(1_000_000)]))
  await once(socket, 'data')
  socket.pause()
  for (let id = 2; id < 40; id++) socket.write(frame([Opcode.Get, id, 'big']))
}

async function stopped(program: Program, signal: 'SIGTERM' | 'SIGINT') {
  program.process.kill(signal)
  return program.ended
}

test.each(['SIGTERM', 'SIGINT'] as const)(
  'the ready line alone on standard output; %s drains and exits 0',
  async (signal) => {
    // As `npm start` runs it.
    const program = startProgram(SOURCE, ['--port', '0'])
    const port = await program.port()
    await once(dial(port), 'connect')
    const { code, stdout, stderr } = await stopped(program, signal)
    expect(code).toBe(0)
    expect(stdout).toBe(`Server listens on port ${port}\n`)
    const log = logLines(stderr)
    expect(log).toContainEqual(expect.objectContaining({ level: 'info', msg: 'draining' }))
    for (const line of log) expect(line).toMatchObject({ time: expect.stringMatching(/^\d{4}-.*Z$/) })
  },
)

test('the same signal twice at once, as npm makes it of one Ctrl-C, still drains', async () => {
  const program = startProgram('start-server', ['--port', '0'])
  await program.port()
  program.process.kill('SIGINT')
  expect((await stopped(program, 'SIGINT')).code).toBe(0)
})

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('a second %s ends a drain that takes long: exit %d', async (signal, exitCode) => {
  const program = startProgram('start-server', ['--port', '0', '--drain-timeout', '1h'])
  await askWithoutReading(dial(await program.port()))
  program.process.kill('SIGTERM')
  await program.says('stderr', /"msg":"draining"/)
  const impatience = setInterval(() => program.process.kill(signal), 50)
  onTestFinished(() => clearInterval(impatience))
  expect((await program.ended).code).toBe(exitCode)
})

test('is reached at the address it was given by .env', async () => {
  const program = startProgram('start-server', [], { dotEnv: 'LISTEN_ON=[::1]:0\nCACHE_MAX_SIZE=128\n' })
  const socket = connect(await program.port(), '::1')
  await once(socket, 'connect')
  socket.destroy()
  expect((await stopped(program, 'SIGTERM')).code).toBe(0)
})

test('a port in use: one line with the port and what to do, exit 1', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  onTestFinished(() => void other.close())
  const address = other.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const { code, stdout, stderr } = await runProgram('start-server', ['--port', String(port)])
  expect(code).toBe(1)
  expect(stdout).toBe('')
  expect(stderr.split('\n').filter((line) => line.startsWith('start-server: '))).toEqual([
    `start-server: port ${port} of 127.0.0.1 is in use: stop what listens there, or take another with --port (0 picks a free one)`,
  ])
})

test('an address of another machine: exit 1', async () => {
  const { code, stderr } = await runProgram('start-server', ['--host', '192.0.2.1', '--insecure', '-p', '0'])
  expect(code).toBe(1)
  expect(stderr).toContain('start-server: 192.0.2.1 is no address of this machine: see --host\n')
})

test('a flag, argument or variable that is not possible: one line, exit 2', async () => {
  const rows: [args: string[], env: Record<string, string>, line: string][] = [
    [['--prot', '5'], {}, "unknown option '--prot' (Did you mean --port?); see --help"],
    [['11142'], {}, "argument '11142' is not possible; allowed: flags only, see --help"],
    [
      [],
      { CACHE_RENEW_ON_HIT: 'maybe' },
      "CACHE_RENEW_ON_HIT: 'maybe' is not possible; allowed: true or false",
    ],
  ]
  const endings = await Promise.all(rows.map(([args, env]) => runProgram('start-server', args, { env })))
  for (const [index, { code, stdout, stderr }] of endings.entries()) {
    expect(stderr).toContain(`start-server: ${rows[index]?.[2]}`)
    expect(stderr.indexOf('\n')).toBe(stderr.length - 1)
    expect(stdout).toBe('')
    expect(code).toBe(2)
  }
})

test('--print-config shows values and their places, and does not listen', async () => {
  const { code, stdout, stderr } = await runProgram('start-server', ['--print-config', '-m', '64mb'], {
    env: { CACHE_EXPIRATION: '5000ms', PEERS: 'a:1,b:2', CACHE_HTTP_LISTEN_ON: '8080' },
    dotEnv: 'CACHE_MAX_SIZE=128\nCACHE_EXPIRATION=3600\n',
  })
  expect(code).toBe(0)
  expect(stdout).toMatch(/^max-memory +64mb +--max-memory$/m)
  expect(stdout).toMatch(/^default-ttl +5s +CACHE_EXPIRATION$/m)
  expect(stdout).toMatch(/^max-entries +128 +CACHE_MAX_SIZE in \.env$/m)
  expect(stdout).toMatch(/^port +11142 +default$/m)
  expect(stdout).toMatch(/^peers +a:1,b:2 +PEERS$/m)
  expect(stdout).toMatch(/^network +wan +default$/m)
  expect(logLines(stderr)).toEqual([
    expect.objectContaining({
      level: 'warn',
      variable: 'CACHE_HTTP_LISTEN_ON',
      msg: 'variable has no effect in this version',
    }),
  ])
})

test('beyond loopback with --insecure it runs, and warns', async () => {
  const program = startProgram('start-server', ['--host', '0.0.0.0', '--port', '0', '--insecure'])
  await program.port()
  const { code, stderr } = await stopped(program, 'SIGTERM')
  expect(code).toBe(0)
  expect(logLines(stderr)).toContainEqual(
    expect.objectContaining({
      level: 'warn',
      host: '0.0.0.0',
      msg: 'listening without authentication and TLS',
    }),
  )
})

test('lines for people, when asked for', async () => {
  const program = startProgram('start-server', ['--port', '0', '--log-format', 'pretty'])
  await program.port()
  const { stderr } = await stopped(program, 'SIGTERM')
  expect(stderr).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO {2}asked to stop signal=SIGTERM$/m)
})

test('readers of its outputs may go away', async () => {
  const program = startProgram('start-server', ['--port', '0', '--log-level', 'debug'])
  const port = await program.port()
  program.process.stdout?.destroy()
  program.process.stderr?.destroy()
  await once(dial(port), 'connect')
  expect((await stopped(program, 'SIGTERM')).code).toBe(0)
})

test.each([
  ['an exception', 'throw new Error("boom")'],
  ['a rejection', 'Promise.reject(new Error("boom"))'],
])('%s that nobody catches is logged, and the process ends', async (_, failure) => {
  const onSignal = `process.once('SIGUSR2', () => { ${failure} })`
  const env = { NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(onSignal)}"` }
  const program = startProgram('start-server', ['--port', '0'], { env })
  await program.port()
  program.process.kill('SIGUSR2')
  const { code, stderr } = await program.ended
  expect(code).toBe(1)
  const error = expect.objectContaining({ message: 'boom', stack: expect.stringContaining('boom') })
  expect(logLines(stderr)).toContainEqual(expect.objectContaining({ level: 'fatal', msg: 'uncaught', error }))
})
