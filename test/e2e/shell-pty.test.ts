// The shell as a person meets it: the real process on a real terminal, a pseudo one, against a real server.

import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { builtProgram, type Program, startProgram } from '../helpers/program.ts'
import { CTRL_C, CTRL_D, hasTerminal, NO_TERMINAL, TerminalProgram, UP } from '../helpers/terminal.ts'
import { authFileOf, passwordOf, someUsers } from '../helpers/users.ts'

const COLOR = /\[[0-9;]*m/

if (!hasTerminal) console.log(`skipped: the shell on a terminal; ${NO_TERMINAL}`)

function startShell(port: number, env: Readonly<Record<string, string>> = {}, flags = ''): TerminalProgram {
  return new TerminalProgram(
    `'${process.execPath}' '${builtProgram('cache-shell')}' -h localhost -p ${port} ${flags}`,
    { env },
  )
}

async function startServer(
  port = 0,
  flags: readonly string[] = [],
): Promise<{ server: Program; port: number }> {
  const server = startProgram('start-server', ['-p', String(port), ...flags])
  return { server, port: await server.port() }
}

describe.skipIf(!hasTerminal)('on a terminal', () => {
  test('colours, values, completion, history, questions, Ctrl-C and Ctrl-D', async () => {
    const { port } = await startServer()
    const shell = startShell(port)
    const prompt = `\x1b[1mlocalhost:${port}>\x1b[0m `
    await shell.shows(prompt)
    await shell.says('set my-key [1,2,3] EX 60', '\x1b[32mOK\x1b[0m\n', prompt)
    await shell.says('get nothing', '\x1b[33m(miss)\x1b[0m\n', prompt)
    await shell.says(
      'gte a',
      '\x1b[31m(error)\x1b[0m USAGE unknown command "gte"; did you mean get?\n',
      prompt,
    )
    await shell.says('set wide "世界 😀 é"', 'OK', prompt)
    await shell.says('get wide', '"世界 😀 é"', prompt)
    await shell.says('peers', '\x1b[33m(no other servers)\x1b[0m\n', prompt)
    await shell.says('stats cache', '\x1b[36mcache\x1b[0m\n  \x1b[2mhits', prompt)

    shell.type('ge')
    await shell.shows('ge')
    shell.type('\t')
    await shell.shows('t ')
    shell.type('my')
    await shell.shows('my')
    shell.type('\t')
    await shell.shows('-key ')
    shell.type('\r')
    await shell.shows('[\x1b[33m1\x1b[0m,\x1b[33m2\x1b[0m,\x1b[33m3\x1b[0m]')
    await shell.shows(prompt)

    shell.type('clear\r')
    await shell.shows(`Delete everything on localhost:${port}? [y/N] `)
    shell.type('n\r')
    await shell.shows('(not cleared)')
    await shell.shows(prompt)
    // Who has the habits of redis-cli may give a password as the user.
    shell.type('AUTH my-password\r')
    await shell.shows('Password for my-password: ')
    shell.type(CTRL_C)
    await shell.shows('(not authenticated)')
    await shell.shows(prompt)

    shell.type('half a line')
    await shell.shows('half a line')
    shell.type(CTRL_C)
    shell.type(UP)
    await shell.shows('clear')
    shell.type(CTRL_C)
    await shell.shows(prompt)
    shell.type(CTRL_D)
    expect(await shell.ended).toBe(0)
    const history = join(shell.folder, 'ormuco-cache', 'history')
    expect((statSync(history).mode & 0o777).toString(8)).toBe('600')
    const kept = readFileSync(history, 'utf8')
    expect(kept).toContain('set my-key [1,2,3] EX 60\n')
    expect(kept).not.toContain('password')
  })

  test('a server that hangs, dies, and comes back', async () => {
    const { server, port } = await startServer()
    const shell = startShell(port, { NO_COLOR: '1' })
    const prompt = `localhost:${port}> `
    const lonely = `localhost:${port} (not connected)> `
    await shell.shows(prompt)
    await shell.says('set a 1', 'OK\n', prompt)

    server.process.kill('SIGSTOP')
    shell.type('get a\r')
    await shell.shows('get a\n')
    shell.type(CTRL_C)
    await shell.shows('(error) INTERRUPTED stopped')
    await shell.shows(prompt)

    shell.type('get half')
    await shell.shows('get half')
    server.process.kill('SIGKILL')
    await shell.shows(`${lonely}get half`)
    shell.type('\r')
    await shell.shows('(error) CACHE_UNAVAILABLE')
    await shell.shows(lonely)

    await startServer(port)
    await shell.shows(prompt)
    await shell.says('get a', '(miss)', prompt)
    await shell.says('quit', '', '')
    expect(await shell.ended).toBe(0)
    expect(shell.text).not.toMatch(COLOR)
  })

  test('begins without a server, and goes on without a place for its history', async () => {
    const shell = startShell(1, { XDG_STATE_HOME: '/dev/null' })
    await shell.shows('\x1b[31m(error)\x1b[0m CACHE_UNAVAILABLE localhost:1: ')
    await shell.shows('(no history: ')
    await shell.shows('localhost:1 (not connected)>')
    shell.type(CTRL_D)
    expect(await shell.ended).toBe(0)
  })

  test('--askpass and auth: what is typed is not shown, not kept, and not sent', async () => {
    const users = await someUsers()
    const { port } = await startServer(0, ['--auth-file', authFileOf(users)])
    const shell = startShell(port, { NO_COLOR: '1' }, '--user rhea --askpass --trace')
    const prompt = `localhost:${port}> `
    await shell.shows('Password for rhea: ')
    shell.type(`${passwordOf('rhea')}\r`)
    await shell.shows(prompt)
    await shell.says('get a', '(miss)', prompt)
    await shell.says('set a 1', '(error) CACHE_FORBIDDEN', prompt)

    shell.type('auth walt\r')
    await shell.shows('Password for walt: ')
    shell.type(`${passwordOf('walt')}\r`)
    await shell.shows('OK\n')
    await shell.shows(prompt)
    await shell.says('set a 1', 'OK\n', prompt)

    shell.type('auth adam\r')
    await shell.shows('Password for adam: ')
    shell.type('half of the pass')
    shell.type(CTRL_C)
    await shell.shows('(not authenticated)')
    await shell.shows(prompt)
    shell.type('auth adam\r')
    await shell.shows('Password for adam: ')
    shell.type('something else\r')
    await shell.shows('(error) CACHE_UNAUTHENTICATED')
    await shell.says('get a', '1\n', prompt)

    await shell.says(`auth adam "${passwordOf('adam')}"`, 'OK\n', prompt)
    shell.type(UP)
    await shell.shows('get a')
    shell.type(CTRL_C)
    shell.type(CTRL_D)
    expect(await shell.ended).toBe(0)

    for (const secret of [passwordOf('rhea'), passwordOf('walt'), 'half of the pass', 'something else'])
      expect(shell.text).not.toContain(secret)
    expect(shell.text).toContain('AUTH_PROOF id=4294967295 clientFinal=(not shown)')
    const kept = readFileSync(join(shell.folder, 'ormuco-cache', 'history'), 'utf8')
    expect(kept).toBe('get a\nset a 1\nset a 1\nget a\n')
  })

  test('a password that is asked for by a single command', async () => {
    const { port } = await startServer(0, ['--auth-file', authFileOf(await someUsers())])
    const [right, wrong, stopped] = ['set a 1', 'get a', 'get a'].map((command) =>
      startShell(port, {}, `--user walt ${command}`),
    )
    if (right === undefined || wrong === undefined || stopped === undefined) throw new Error('no shells')
    for (const shell of [right, wrong, stopped]) await shell.shows('Password for walt: ')
    right.type(`${passwordOf('walt')}\r`)
    wrong.type('guessed\r')
    stopped.type(CTRL_C)
    expect(await right.ended).toBe(0)
    expect(await wrong.ended).toBe(4)
    expect(await stopped.ended).toBe(130)
    expect(wrong.text).toContain('authentication failed')
    expect(wrong.text).not.toContain('guessed')
  })
})
