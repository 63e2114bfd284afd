// cache-shell as a real process: one command, lines from a pipe, flags, exit codes, and what goes to which output.

import { expect, test } from 'vitest'
import { runProgram, startProgram } from '../helpers/program.ts'
import { startServer } from '../helpers/server.ts'

async function newServerPort(): Promise<string> {
  const { address } = await startServer()
  return String(address?.port)
}

test('one command: its reply, and what that means as exit code', async () => {
  const port = await newServerPort()
  const run = (...args: string[]) => runProgram('cache-shell', ['-p', port, ...args])
  expect(await run('set', 'my-key', '[1,2,3]', 'EX', '60')).toMatchObject({
    code: 0,
    stdout: 'OK\n',
    stderr: '',
  })
  const [hit, miss, refused, wrong, help] = await Promise.all([
    run('get', 'my-key'),
    run('get', 'nothing'),
    run('incr', 'my-key'),
    run('gte', 'my-key'),
    run('help'),
  ])
  expect(hit).toMatchObject({ code: 0, stdout: '[1,2,3]\n', stderr: '' })
  expect(miss).toMatchObject({ code: 1, stdout: '(miss)\n', stderr: '' })
  expect(refused).toMatchObject({ code: 4, stdout: '' })
  expect(refused.stderr).toMatch(/^\(error\) CACHE_NOT_INTEGER .*\n$/)
  expect(wrong).toMatchObject({
    code: 2,
    stdout: '',
    stderr: '(error) USAGE unknown command "gte"; did you mean get?\n',
  })
  expect(help.stdout).toContain('set KEY VALUE [EX SECONDS | PX MS] [NX | XX]')
})

test('nobody there: exit 3 and one line; as JSON if that was asked for', async () => {
  const [plain, json] = await Promise.all([
    runProgram('cache-shell', ['-s', '127.0.0.1:1', 'get', 'a']),
    runProgram('cache-shell', ['--server', '127.0.0.1:1', '--json', 'get', 'a']),
  ])
  const message = '127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1'
  expect(plain).toMatchObject({ code: 3, stdout: '', stderr: `(error) CACHE_UNAVAILABLE ${message}\n` })
  expect(json).toMatchObject({ code: 3, stderr: '' })
  expect(JSON.parse(json.stdout)).toEqual({ error: { code: 'CACHE_UNAVAILABLE', message } })
})

test('lines from a pipe: all replies on standard output, in order', async () => {
  const port = await newServerPort()
  const stdin = 'set a "é 世界"\nget a nothing\nget a --json\nincr a\nget a'
  const ended = await runProgram('cache-shell', ['-p', port], { stdin })
  expect(ended.stdout).toMatch(/^OK\né 世界\n\(miss\)\n"é 世界"\n\(error\) CACHE_NOT_INTEGER .*\né 世界\n$/)
  expect(ended).toMatchObject({ code: 4, stderr: '' })
})

test('the server by variable, --trace on standard error', async () => {
  const port = await newServerPort()
  const [byVariable, byDotEnv, traced] = await Promise.all([
    runProgram('cache-shell', ['ping'], { env: { SERVER_HOST: '127.0.0.1', SERVER_PORT: port } }),
    runProgram('cache-shell', ['-h', '127.0.0.1', 'ping'], { dotEnv: `SERVER_PORT=${port}\n` }),
    runProgram('cache-shell', ['-p', port, '--trace', 'ping']),
  ])
  expect(byVariable).toMatchObject({ code: 0, stdout: 'PONG\n', stderr: '' })
  expect(byDotEnv).toMatchObject({ code: 0, stdout: 'PONG\n' })
  expect(traced).toMatchObject({ code: 0, stdout: 'PONG\n' })
  expect(traced.stderr).toMatch(
    /^-> HELLO id=4294967295 .*\n {3}00 00 (?:.*\n)*<- Ok id=1 \(PING\) payload=""\n {3}00 00 .*\n$/,
  )
})

test('flags that cannot be: exit 2 and one line', async () => {
  const rows: [args: string[], line: RegExp][] = [
    [['--port', '70000', 'ping'], /^cache-shell: .*It takes a whole number from 1 to 65535\.; see --help\n$/],
    [['-t', '0', 'ping'], /^cache-shell: .*It takes at least 1ms\.; see --help\n$/],
    [['-r', '2'], /^cache-shell: --repeat needs a command, such as: .*\n$/],
    [['-s', 'a:1', '-p', '5', 'ping'], /^cache-shell: --server says what --host and --port say/],
    [['--jsn', 'ping'], /^cache-shell: unknown option '--jsn' \(Did you mean --json\?\); see --help\n$/],
  ]
  const endings = await Promise.all(rows.map(([args]) => runProgram('cache-shell', args)))
  for (const [index, { code, stdout, stderr }] of endings.entries()) {
    expect(stderr).toMatch(rows[index]?.[1] ?? /^$/)
    expect(stdout).toBe('')
    expect(code).toBe(2)
  }
})

test('repeated while the server is killed and comes back: unavailable, then a miss, and so on', async () => {
  const first = startProgram('start-server', ['-p', '0'])
  const port = String(await first.port())
  await runProgram('cache-shell', ['-p', port, 'set', 'my-key', '[1,2,3]'])
  const shell = startProgram('cache-shell', ['-p', port, '-r', '100000', '-i', '50ms', 'get', 'my-key'])
  await shell.says('stdout', /^\[1,2,3\]\n/)
  first.process.kill('SIGKILL')
  await first.ended
  await shell.says('stdout', /\(error\) CACHE_UNAVAILABLE localhost:\d+: .*ECONNREFUSED.*\n/)
  const second = startProgram('start-server', ['-p', port])
  await second.port()
  await shell.says('stdout', /\(miss\)\n/)
  shell.process.kill('SIGTERM')
  const { stdout, stderr } = await shell.ended
  expect(stdout).toMatch(/^(?:\[1,2,3\]\n)+(?:\(error\) CACHE_UNAVAILABLE .*\n)+(?:\(miss\)\n)+$/)
  expect(stderr).toBe('')
})

test('whoever reads its output may stop reading', async () => {
  const port = await newServerPort()
  const shell = startProgram('cache-shell', ['-p', port, '-r', '100000', '-i', '10ms', 'ping'])
  await shell.says('stdout', /PONG\n/)
  shell.process.stdout?.destroy()
  expect((await shell.ended).code).toBe(0)
})

test('ormuco-cache shell is the same', async () => {
  const port = await newServerPort()
  const ended = await runProgram('ormuco-cache', ['shell', '-h', '127.0.0.1', '-p', port, 'get', 'nothing'])
  expect(ended).toMatchObject({ code: 1, stdout: '(miss)\n', stderr: '' })
})
