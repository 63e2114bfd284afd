// cache-shell and cache-bench as real processes that have to say who they are: passwords from standard input and from
// variables, certificates, and what a refusal is as an exit code. A real terminal is in test/e2e/shell-pty.test.ts.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { User } from '../../server/users.ts'
import { clientTls, serverFiles } from '../helpers/certificates.ts'
import { runProgram, startProgram } from '../helpers/program.ts'
import { startServer } from '../helpers/server.ts'
import { authFileOf, passwordOf, someUsers } from '../helpers/users.ts'

let users: User[]
beforeAll(async () => {
  users = await someUsers()
})

async function guardedPort(): Promise<string> {
  const { address } = await startServer({ authFile: authFileOf(users) })
  return String(address?.port)
}

test('the password is the first line of the input; what is behind it are commands', async () => {
  const port = await guardedPort()
  const password = passwordOf('walt')
  const run = (args: string[], place = {}) => runProgram('cache-shell', ['-p', port, ...args], place)
  const [command, forbidden, lines] = await Promise.all([
    run(['--user', 'walt', '--askpass', 'set', 'a', '1'], { stdin: `${password}\nget a\n` }),
    run(['--user', 'rhea', '--askpass', 'set', 'a', '2'], { stdin: passwordOf('rhea') }),
    run(['--user', 'walt', '--askpass'], { stdin: `${password}\nset c "é 世界"\nget c\n` }),
  ])
  expect(command).toMatchObject({ code: 0, stdout: 'OK\n', stderr: '' })
  expect(forbidden).toMatchObject({ code: 4, stdout: '' })
  expect(forbidden.stderr).toMatch(/^\(error\) CACHE_FORBIDDEN /)
  expect(lines).toMatchObject({ code: 0, stdout: 'OK\né 世界\n', stderr: '' })
})

test('the password in a variable; none, or a wrong one, is refused: exit code 4', async () => {
  const port = await guardedPort()
  const run = (args: string[], env = {}) => runProgram('cache-shell', ['-p', port, ...args], { env })
  const [nobody, byVariables, wrong, none] = await Promise.all([
    run(['get', 'a']),
    run(['get', 'b'], { CACHE_USERNAME: 'walt', CACHE_PASSWORD: passwordOf('walt') }),
    run(['--user', 'walt', 'get', 'a'], { CACHE_PASSWORD: 'guessed' }),
    run(['--user', 'walt', 'get', 'a']),
  ])
  expect(nobody).toMatchObject({ code: 4, stdout: '' })
  expect(nobody.stderr).toMatch(
    /^\(error\) CACHE_UNAUTHENTICATED localhost:\d+: who are you\? type auth USER/,
  )
  expect(byVariables).toMatchObject({ code: 1, stdout: '(miss)\n', stderr: '' })
  expect(wrong).toMatchObject({ code: 4, stdout: '' })
  expect(wrong.stderr).toMatch(/^\(error\) CACHE_UNAUTHENTICATED localhost:\d+: authentication failed\n$/)
  expect(none).toMatchObject({
    code: 2,
    stdout: '',
    stderr: 'cache-shell: --user needs a password: --askpass, CACHE_PASSWORD or CACHE_PASSWORD_FILE\n',
  })
})

test('no password at all; one among the arguments; and auth in a pipe', async () => {
  const port = await guardedPort()
  const run = (args: string[], place = {}) => runProgram('cache-shell', ['-p', port, ...args], place)
  const [empty, argument, piped] = await Promise.all([
    run(['--user', 'walt', '--askpass', 'ping'], { stdin: '' }),
    run(['auth', 'walt', passwordOf('walt')]),
    run([], { stdin: `auth walt "${passwordOf('walt')}"\nset a 1\nauth rhea\n` }),
  ])
  expect(empty).toMatchObject({ code: 2, stdout: '' })
  expect(empty.stderr).toMatch(/^cache-shell: a password has 1 to 1024 characters, none was given\n$/)
  expect(argument).toMatchObject({ code: 2, stdout: '' })
  expect(argument.stderr).toMatch(/^\(error\) USAGE others can see a password among the arguments/)
  expect(piped).toMatchObject({ code: 2, stderr: '' })
  expect(piped.stdout).toMatch(/^OK\nOK\n\(error\) USAGE there is no terminal to ask for the password: /)
})

test('a command ends when it is done, also while the input with its password is open', async () => {
  const port = await guardedPort()
  const shell = startProgram('cache-shell', ['-p', port, '--user', 'walt', '--askpass', 'ping'], {
    stdin: `${passwordOf('walt')}\n`,
    stdinStaysOpen: true,
  })
  expect(await shell.ended).toMatchObject({ code: 0, stdout: 'PONG\n' })
})

describe('TLS', () => {
  /** A server that takes certificates as well as passwords; runs programs that talk to it. */
  async function secured() {
    const files = await serverFiles()
    const { address } = await startServer({ ...files.mutual, authFile: authFileOf(users) })
    const run = (program: string, args: string[], env: Record<string, string> = {}) =>
      runProgram(program, ['-p', String(address?.port), ...args], { env })
    return { ca: files.caPath, run }
  }

  const PASSWORD = { CACHE_USERNAME: 'walt', CACHE_PASSWORD: passwordOf('walt') }

  test('with the authority by flag or by variable, or with a certificate of one’s own', async () => {
    const { ca, run } = await secured()
    const own = await clientTls({ commonName: 'walt', units: ['writer'] })
    const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const [cert, key] = [join(folder, 'walt.pem'), join(folder, 'walt.key.pem')]
    writeFileSync(cert, String(own.cert))
    writeFileSync(key, String(own.key))
    const [byFlag, byVariable, byCertificate] = await Promise.all([
      run('cache-shell', ['--tls', '--cacert', ca, 'set', 'a', '1'], PASSWORD),
      run('cache-shell', ['get', 'b'], { ...PASSWORD, CACHE_TLS: 'on', CACHE_TLS_CA: ca }),
      run('cache-shell', ['--cacert', ca, '--cert', cert, '--key', key, 'set', 'c', '1']),
    ])
    expect(byFlag).toMatchObject({ code: 0, stdout: 'OK\n', stderr: '' })
    expect(byVariable).toMatchObject({ code: 1, stdout: '(miss)\n', stderr: '' })
    expect(byCertificate).toMatchObject({ code: 0, stdout: 'OK\n', stderr: '' })
  })

  test('is not left out, nor the check of the certificate', async () => {
    const { run } = await secured()
    const [plain, unknown] = await Promise.all([
      run('cache-shell', ['-t', '5s', 'get', 'a'], PASSWORD),
      run('cache-shell', ['-t', '5s', '--tls', 'get', 'a'], PASSWORD),
    ])
    expect(plain).toMatchObject({ code: 3, stdout: '' })
    expect(unknown).toMatchObject({ code: 3, stdout: '' })
    expect(unknown.stderr).toMatch(/certificate/)
  })

  test('also of cache-bench', async () => {
    const { ca, run } = await secured()
    const flags = ['--cacert', ca, '-c', '40', '-n', '200', '-t', 'set,get', '-q']
    const bench = await run('cache-bench', flags, PASSWORD)
    expect(bench).toMatchObject({ code: 0, stderr: '' })
    expect(bench.stdout).toMatch(/^SET: .*\nGET: .*\n$/)
  })
})

test('cache-bench says who it is on each connection, and stops if that is nobody', async () => {
  const port = await guardedPort()
  const flags = ['-p', port, '-c', '100', '-n', '1000', '-t', 'set', '-q']
  const run = (args: string[], place = {}) => runProgram('cache-bench', [...flags, ...args], place)
  // One after another, and the last with few: an address may only have so many connections that are not authenticated.
  const good = await run(['--user', 'walt', '--askpass'], { stdin: passwordOf('walt') })
  const wrong = await run(['--user', 'walt'], { env: { CACHE_PASSWORD: 'guessed' } })
  const nobody = await run(['-c', '10'])
  expect(good).toMatchObject({ code: 0, stderr: '' })
  expect(good.stdout).toMatch(/^SET: [\d.]+ requests per second/)
  expect(wrong).toMatchObject({ code: 3, stdout: '' })
  expect(wrong.stderr).toMatch(/^cache-bench: set: 127\.0\.0\.1:\d+ let nobody in: authentication failed\n$/)
  expect(nobody).toMatchObject({ stdout: expect.not.stringMatching(/1000 requests/) })
  expect(nobody.code).not.toBe(0)
  expect(nobody.stderr).toMatch(/Unauthenticated/)
})
