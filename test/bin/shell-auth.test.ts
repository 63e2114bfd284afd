// Who sits at the shell: `auth`, and what a shell without a name meets; and that no password is anywhere but where it
// was typed: not in errors, history, completion and trace.

import { beforeAll, describe, expect, test } from 'vitest'
import { completer } from '../../bin/shell-completion.ts'
import { isSecret } from '../../bin/shell-history.ts'
import type { Dial } from '../../protocol/link.ts'
import type { User } from '../../server/users.ts'
import { startServer } from '../helpers/server.ts'
import { dialMemory, dialRefused, TestShell, type TestShellOptions } from '../helpers/shell.ts'
import { authFileOf, passwordOf, someUsers } from '../helpers/users.ts'

let users: User[]
beforeAll(async () => {
  users = await someUsers()
})

/** A shell, and a server that wants to know who one is; `dials` counts. */
async function guardedShell(options: TestShellOptions = {}) {
  const dial = dialMemory(await startServer({ authFile: authFileOf(users) }))
  const counted = { dials: 0 }
  const shell = new TestShell((...args) => {
    counted.dials++
    return dial(...args)
  }, options)
  return { shell, counted }
}

const WHO =
  /^\(error\) CACHE_UNAUTHENTICATED cache:11142: who are you\? type auth USER, or start cache-shell with --u/
const REFUSED = '(error) CACHE_UNAUTHENTICATED cache:11142: authentication failed\n'
const as = (username: string, password = passwordOf(username)) => ({
  credentials: async () => ({ username, password }),
})

describe('a shell that is nobody', () => {
  test('is told what to do, with each command, and does not ask the server again in between', async () => {
    const { shell, counted } = await guardedShell()
    for (const line of ['get a', 'ping', 'raw 920205']) {
      const { text, exit } = await shell.run(line)
      expect([text, exit]).toEqual([expect.stringMatching(WHO), 4])
    }
    expect(counted.dials).toBe(3)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(counted.dials).toBe(3)
    expect(shell.connection.isConnected).toBe(false)
  })

  test('becomes somebody by auth, and somebody else by another one', async () => {
    const questions: string[] = []
    const { shell } = await guardedShell({
      askPassword: async (question) => {
        questions.push(question)
        return passwordOf(/for (\w+):/.exec(question)?.[1] ?? '')
      },
    })
    expect(await shell.run('auth rhea')).toMatchObject({ text: 'OK\n', exit: 0 })
    expect(await shell.says('get a')).toBe('(miss)\n')
    expect(await shell.run('set a 1')).toMatchObject({
      text: expect.stringMatching(/^\(error\) CACHE_FORBIDDEN /),
      exit: 4,
    })
    expect(await shell.says('AUTH walt')).toBe('OK\n')
    expect(await shell.says('set a 1')).toBe('OK\n')
    expect(questions).toEqual(['Password for rhea: ', 'Password for walt: '])
  })
})

describe('auth', () => {
  test('with a wrong password changes nothing', async () => {
    const { shell } = await guardedShell(as('walt'))
    expect(await shell.says('set a 1')).toBe('OK\n')
    expect(await shell.run('auth adam guessed')).toMatchObject({ text: REFUSED, exit: 4 })
    expect(await shell.run('auth mallory guessed')).toMatchObject({ text: REFUSED, exit: 4 })
    expect(await shell.says('get a')).toBe('1\n')
    expect((await shell.run('clear')).text).toMatch(/^\(error\) CACHE_FORBIDDEN/)
  })

  test('without a server, or one that has no users, changes nothing either', async () => {
    const shell = new TestShell(dialRefused)
    expect(await shell.run('auth walt x')).toMatchObject({
      text: '(error) CACHE_UNAVAILABLE cache:11142: connect ECONNREFUSED\n',
      exit: 3,
    })
    const open = new TestShell(dialMemory(await startServer()))
    expect(await open.run('auth walt x')).toMatchObject({
      text: `${REFUSED.trimEnd()} (it demands no authentication: perhaps it has no users)\n`,
      exit: 4,
    })
    expect(await open.says('ping')).toBe('PONG\n')
  })

  test('takes the password in the line, quoted or not', async () => {
    const { shell } = await guardedShell()
    expect(await shell.says(`auth walt "${passwordOf('walt')}"`)).toBe('OK\n')
    expect(await shell.says(`AUTH 'adam' '${passwordOf('adam')}' --json`)).toBe('true\n')
  })

  test('does not take it among the arguments of a process', async () => {
    const { shell, counted } = await guardedShell()
    const { text, exit } = await shell.run(['auth', 'walt', passwordOf('walt')])
    expect(text).toMatch(
      /^\(error\) USAGE others can see a password among the arguments of a process: start ca/,
    )
    expect([exit, counted.dials]).toEqual([2, 0])
  })

  test.each([
    [
      'nobody can be asked',
      undefined,
      /^\(error\) USAGE there is no terminal to ask for the password: start cach/,
      2,
    ],
    [
      'nothing is answered',
      async (): Promise<string | undefined> => '',
      /^\(not authenticated\).*no password was given/,
      1,
    ],
    [
      'Ctrl-C is answered',
      async (): Promise<string | undefined> => undefined,
      /^\(not authenticated\).*no password was given/,
      1,
    ],
  ] as const)('%s', async (_, askPassword, message, exit) => {
    const { shell, counted } = await guardedShell(askPassword === undefined ? {} : { askPassword })
    const ran = await shell.run('auth walt')
    expect([ran.text, ran.exit]).toEqual([expect.stringMatching(message), exit])
    expect(counted.dials).toBe(0)
  })

  test('people may take longer than servers', async () => {
    const { shell } = await guardedShell({
      timeoutMs: 1000,
      askPassword: () =>
        new Promise((resolve) => {
          setTimeout(() => resolve(passwordOf('walt')), 1100)
        }),
    })
    expect(await shell.says('auth walt')).toBe('OK\n')
  })

  test.each([
    'auth',
    'auth walt hunter2 hunter2',
    'auth walt "hunter2',
    'auth "walt hunter2',
    'auth walt --hunter2',
    'auth walt -h hunter2',
    'auth "" hunter2',
    `auth walt "hunter2"hunter2`,
    String.raw`auth walt "\hunter2"`,
    '"auth" walt --hunter2',
    '--json auth walt hunter2 hunter2',
  ])('%s is wrong, and nothing of it is repeated', async (line) => {
    const { shell, counted } = await guardedShell()
    const { text, exit } = await shell.run(line)
    expect([exit, counted.dials]).toEqual([2, 0])
    expect(text).toContain('USAGE')
    expect(text).not.toContain('hunter2')
    expect(isSecret(line)).toBe(true)
  })

  test('is in the help, and Tab offers it and nothing behind it', async () => {
    const { shell } = await guardedShell(as('walt'))
    await shell.run('set secret 1')
    const complete = completer(shell.connection)
    expect(await complete('au')).toEqual([['auth '], 'au'])
    expect(await complete('auth walt sec')).toEqual([[], 'sec'])
    expect(await shell.says('help auth')).toMatch(
      /^auth USER\n {2}say who you are; the password is asked for\n/,
    )
  })
})

describe('--trace', () => {
  test('shows that somebody proves to be somebody, and not how', async () => {
    const { shell } = await guardedShell({ trace: true })
    await shell.run(`auth walt "${passwordOf('walt')}"`)
    const lines = shell.traced.split('\n')
    const meanings = lines.filter((line) => /^(?:->|<-)/.test(line))
    expect(meanings).toEqual([
      expect.stringMatching(/^-> HELLO /),
      expect.stringMatching(/^<- Ok id=4294967295 \(HELLO\) version=1 capabilities=1 /),
      '-> AUTH id=4294967295 mechanism="SCRAM-SHA-256" clientFirst=(not shown)',
      '<- Ok id=4294967295 (AUTH) serverFirst=(not shown)',
      '-> AUTH_PROOF id=4294967295 clientFinal=(not shown)',
      '<- Ok id=4294967295 (AUTH_PROOF) serverFinal=(not shown) role="writer"',
    ])
    const hidden = lines.filter((line) => /^ {3}\(\d+ bytes, not shown\)$/.test(line))
    expect(hidden).toHaveLength(4)
    // The message begins with these.
    for (const text of ['n,,n=', 'r=', 'c=biws', 'v='])
      expect(shell.traced).not.toContain(
        Buffer.from(text)
          .toString('hex')
          .replace(/..(?=.)/g, '$& '),
      )
  })

  test('shows why it failed', async () => {
    const { shell } = await guardedShell({ trace: true })
    await shell.run('auth walt guessed')
    expect(shell.traced).toMatch(
      /<- Unauthenticated id=4294967295 \(AUTH_PROOF\) text="authentication failed"\n/,
    )
    expect(shell.traced).not.toContain('guessed')
  })
})

test('credentials of the command line are asked for each connection, and the prompt follows', async () => {
  let isKnown = false
  const states: boolean[] = []
  const { shell } = await guardedShell({
    credentials: async () => ({ username: 'walt', password: isKnown ? passwordOf('walt') : 'guessed' }),
    onStateChange: () => states.push(shell.connection.isConnected),
  })
  expect(await shell.run('get a')).toMatchObject({ text: REFUSED, exit: 4 })
  isKnown = true
  expect(await shell.says('get a')).toBe('(miss)\n')
  expect([states[0], states.at(-1)]).toEqual([false, true])
})

test('of two servers that say no both are asked, within one command', async () => {
  const servers = await Promise.all([users, users].map(() => startServer({ authFile: authFileOf(users) })))
  const [one, two] = servers.map(dialMemory)
  const tried: number[] = []
  const dial: Dial = (...args) => {
    tried.push(tried.length % 2)
    return (tried.length % 2 === 1 ? one : two)?.(...args) ?? (() => {})
  }
  const shell = new TestShell(dial, { serverCount: 2, ...as('walt', 'guessed') })
  expect(await shell.run('get a')).toMatchObject({ text: REFUSED, exit: 4 })
  expect(tried).toEqual([0, 1])
})
