// ormuco-cache users: the real process with a file of the test's own, from a pipe and on a terminal; what it wrote is
// what a server accepts.

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CommandFailure } from '../../bin/program.ts'
import { usersCommand } from '../../bin/users.ts'
import { SCRAM_ITERATIONS_DEFAULT, ScramClient, ScramServer } from '../../protocol/scram.ts'
import { Users } from '../../server/users.ts'
import { builtProgram, type Ending, Program, type ProgramPlace, runProgram } from '../helpers/program.ts'
import { CTRL_C, hasTerminal, NO_TERMINAL, TerminalProgram } from '../helpers/terminal.ts'

const commandPath = builtProgram('ormuco-cache')

if (!hasTerminal) console.log(`skipped: passwords on a terminal; ${NO_TERMINAL}`)

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}

function users(line: string, place: ProgramPlace = {}): Promise<Ending> {
  return runProgram('ormuco-cache', ['users', ...line.split(' ')], place)
}

/** The same within this process: for what ends before a password is read. */
async function run(line: string): Promise<void> {
  await usersCommand().parseAsync(line.split(' '), { from: 'user' })
}

/** Whether the file lets that user in with that password. */
async function isAccepted(path: string, name: string, password: string): Promise<boolean> {
  const file = Users.read(path)
  const client = new ScramClient(name, password)
  const server = new ScramServer((asked) => file.keysOf(asked))
  const proof = await client.final(server.first(client.first()))
  try {
    client.verify(server.final(proof).serverFinal)
    return true
  } catch {
    return false
  }
}

const KEY = Buffer.alloc(32).toString('base64')

function roles(path: string): string[] {
  return [...Users.read(path)].map(({ name, role }) => `${name} ${role}`)
}

describe('from a pipe', () => {
  test('users are added and listed; other lines stay', async () => {
    const folder = newFolder()
    const path = join(folder, 'users')
    writeFileSync(path, '# the shop\n\n')
    expect(
      await users(`add alice --role writer --file ${path}`, { stdin: 'wonder land\nmore\n' }),
    ).toMatchObject({
      code: 0,
      stdout: 'alice is writer now\n',
      stderr: '',
    })
    // Roles in any case, as other words of flags; the variable in the place of the flag, or in .env.
    const inVariable = { env: { CACHE_AUTH_FILE: path }, stdin: 'builder' }
    expect((await users('add bob -r ADMIN', inVariable)).stdout).toBe('bob is admin now\n')
    expect(readFileSync(path, 'utf8')).toMatch(
      /^# the shop\n\n# strangers: [\w+/]{43}=\nalice:writer:SCRAM-SHA-256\$.*\nbob:admin:.*\n$/,
    )
    expect((await users('list', { dotEnv: `CACHE_AUTH_FILE=${path}` })).stdout).toBe(
      'alice  writer\nbob    admin\n',
    )
    expect(await isAccepted(path, 'alice', 'wonder land')).toBe(true)
    expect(await isAccepted(path, 'alice', 'wonder land\nmore')).toBe(false)
    expect(await isAccepted(path, 'bob', 'builder')).toBe(true)
    expect(Users.read(path).find('bob')?.keys.iterations).toBe(SCRAM_ITERATIONS_DEFAULT)
  })

  test('a user gets another password, another role, and is removed', async () => {
    const folder = newFolder()
    const path = join(folder, 'users')
    await users(`add alice -r writer -f ${path}`, { stdin: 'wonder land' })
    writeFileSync(path, `${readFileSync(path, 'utf8')}\n# the end`)
    expect((await users(`add alice --replace -f ${path}`, { stdin: 'other' })).stdout).toBe(
      'alice is writer now\n',
    )
    expect(await isAccepted(path, 'alice', 'other')).toBe(true)
    expect(await isAccepted(path, 'alice', 'wonder land')).toBe(false)
    await users(`add alice --replace --role reader -f ${path}`, { stdin: 'other' })
    expect(roles(path)).toEqual(['alice reader'])

    expect((await users(`remove alice -f ${path}`)).stdout).toBe('alice is removed\n')
    expect(readFileSync(path, 'utf8')).toMatch(/^# strangers: .*\n\n# the end\n$/)
    expect(readdirSync(folder)).toEqual(['users'])
  })

  test('a name that is unknown keeps its salt, whoever is added, changed and removed', async () => {
    const path = join(newFolder(), 'users')
    const salt = () => Users.read(path).keysOf('mallory').salt
    const add = (line: string) => users(`add ${line} -f ${path}`, { stdin: 'secret' })
    await add('alice -r reader')
    const before = salt()
    const [strangers] = readFileSync(path, 'utf8').split('\n')
    await add('bob -r writer')
    expect(salt()).toEqual(before)
    await add('alice --replace')
    expect(salt()).toEqual(before)
    await users(`remove alice -f ${path}`)
    expect(salt()).toEqual(before)
    expect(readFileSync(path, 'utf8').split('\n')[0]).toBe(strangers)
    expect((statSync(path).mode & 0o777).toString(8)).toBe(process.platform === 'win32' ? '666' : '600')
  })

  test('a file without a secret for strangers gets one with its next change', async () => {
    const path = join(newFolder(), 'users')
    const bob = `bob:reader:SCRAM-SHA-256$15000:AAAAAAAAAAA=$${KEY}:${KEY}`
    writeFileSync(path, `# mine\n${bob}\n${bob.replace('bob', 'carol')}\n`, { mode: 0o600 })
    await run(`remove carol -f ${path}`)
    const written = readFileSync(path, 'utf8')
    expect(written).toMatch(/\n# strangers: .*\n$/)
    expect(written.split('\n').slice(0, 2)).toEqual(['# mine', bob])
    await users(`add dora -r reader -f ${path}`, { stdin: 'secret' })
    expect(readFileSync(path, 'utf8').startsWith(written)).toBe(true)
  })

  test('the same password is another line each time', async () => {
    const path = join(newFolder(), 'users')
    await users(`add alice -r reader -f ${path}`, { stdin: 'secret' })
    await users(`add bob -r reader -f ${path}`, { stdin: 'secret' })
    const [, alice, bob] = readFileSync(path, 'utf8').split('\n')
    expect(alice?.replace('alice', 'bob')).not.toBe(bob)
    expect(`${alice}${bob}`).not.toContain('secret')
  })

  test('of which nobody closes the other end', async () => {
    const path = join(newFolder(), 'users')
    const child = spawn(process.execPath, [commandPath, 'users', 'add', 'alice', '-r', 'peer', '-f', path], {
      env: {},
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const program = new Program(child)
    child.stdin.write('secret\nmore')
    expect(await program.ended).toMatchObject({ code: 0, stdout: 'alice is peer now\n' })
  })

  test.each<[line: string, message: string]>([
    // Whatever stands there may be a password: it is not repeated.
    ['add alice secret -r reader -f users', 'see --help'],
    ['add alice --password=secret -r reader -f users', '--password is not possible: arguments stand in'],
    ['add alice --password secret -r reader -f users', '--password is not possible: arguments stand in'],
    ['add -r reader -f users', "missing required argument 'name'; see --help"],
    ['list', '--file is missing; allowed: the path of an auth file, here or in CACHE_AUTH_FILE'],
  ])('%s: one line, exit 2', async (line, message) => {
    const { code, stdout, stderr } = await users(line)
    expect(stderr).toContain(message)
    expect(stderr).not.toContain('secret')
    expect(stderr.indexOf('\n')).toBe(stderr.length - 1)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })
})

const NAME = "1 to 128 printable ASCII characters without blanks, ':', ',' and '=', the first of them no '#'"
const ROLES = 'reader, writer, admin, peer'

test.each<[line: string, code: number, message: string]>([
  ['add al,ice -r reader', 2, `NAME: 'al,ice' is not possible; allowed: ${NAME}`],
  ['add :cluster -r peer', 2, `NAME: ':cluster' is not possible; allowed: ${NAME}`],
  ['add alice -r boss', 2, `--role: 'boss' is not possible; allowed: ${ROLES}`],
  ['add alice', 2, `--role is missing; allowed: ${ROLES}`],
  ['add alice --replace', 2, `--role is missing; allowed: ${ROLES}`],
  ['list', 1, 'it cannot be read (ENOENT)'],
  ['remove alice', 1, 'it cannot be read (ENOENT)'],
])('%s is refused before anybody is asked: exit code %i, no file', async (line, exitCode, message) => {
  const folder = newFolder()
  const failure = await run(`${line} -f ${join(folder, 'users')}`).catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(CommandFailure)
  expect(failure).toMatchObject({ exitCode, message: expect.stringContaining(message) })
  expect(readdirSync(folder)).toEqual([])
})

test('a file with a line that is no user is not touched', async () => {
  const path = join(newFolder(), 'users')
  writeFileSync(path, '# mine\nalice:admin:secret\n', { mode: 0o600 })
  for (const line of ['add bob -r reader', 'list', 'remove alice'])
    await expect(run(`${line} -f ${path}`)).rejects.toThrow(
      `${path} line 2: not a user; allowed: NAME:ROLE:SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, or # and a comment`,
    )
  expect(readFileSync(path, 'utf8')).toBe('# mine\nalice:admin:secret\n')
})

test('who is there already is not replaced, and who is not there not removed', async () => {
  const path = join(newFolder(), 'users')
  writeFileSync(path, `alice:writer:SCRAM-SHA-256$15000:AAAAAAAAAAA=$${KEY}:${KEY}`, { mode: 0o600 })
  await expect(run(`add alice -r admin -f ${path}`)).rejects.toThrow(
    'alice is writer already; --replace gives another password, and the role that --role names',
  )
  await expect(run(`remove bob -f ${path}`)).rejects.toThrow(`${path} names no user 'bob'`)
  expect(roles(path)).toEqual(['alice writer'])
})

test.skipIf(process.platform === 'win32')(
  'a file that others may read is listed with a warning',
  async () => {
    const path = join(newFolder(), 'users')
    writeFileSync(path, '', { mode: 0o644 })
    const { code, stderr } = await users(`list -f ${path}`)
    expect(code).toBe(0)
    expect(stderr).toBe(
      `ormuco-cache: others may read or change the auth file: ${JSON.stringify({ path, mode: '644', wanted: '600' })}\n`,
    )
  },
)

test('without a command: its help, exit 2', async () => {
  const { code, stderr } = await runProgram('ormuco-cache', ['users'])
  expect(code).toBe(2)
  expect(stderr).toContain('Usage: ormuco-cache users [options] [command]')
})

describe.skipIf(!hasTerminal)('on a terminal', () => {
  /** Says how it went, and whether the terminal shows what is typed afterwards. */
  function startAdding(): TerminalProgram {
    const command = `'${process.execPath}' '${commandPath}' users add alice -r admin -f users`
    return new TerminalProgram(`sh -c "${command}; echo ended \\$?; stty -a"`)
  }

  test('a password is typed twice and not shown', async () => {
    const terminal = startAdding()
    await terminal.shows('password of alice: ')
    terminal.type('wonderlant\x7fd\r')
    await terminal.shows('once more: ')
    terminal.type('wonderland\r')
    await terminal.shows('alice is admin now\nended 0\n')
    await terminal.ended
    expect(terminal.text).toMatch(/^password of alice: \nonce more: \nalice is admin now\n/)
    expect(terminal.text).toMatch(/ echo /)
    const path = join(terminal.folder, 'users')
    expect(await isAccepted(path, 'alice', 'wonderland')).toBe(true)
    expect((statSync(path).mode & 0o777).toString(8)).toBe('600')
  })

  test('two different ones are none', async () => {
    const terminal = startAdding()
    await terminal.shows('password of alice: ')
    terminal.type('wonderland\rwunderland\r')
    await terminal.shows('ormuco-cache: these were two different passwords\nended 1\n')
    await terminal.ended
    expect(terminal.text).not.toMatch(/w[ou]nderland/)
    expect(readdirSync(terminal.folder)).toEqual([])
  })

  test('Ctrl-C leaves nothing behind', async () => {
    const terminal = startAdding()
    await terminal.shows('password of alice: ')
    terminal.type(`wonder${CTRL_C}`)
    await terminal.shows('ormuco-cache: interrupted\nended 130\n')
    await terminal.ended
    expect(terminal.text).not.toContain('wonder')
    expect(terminal.text).toMatch(/ echo /)
    expect(readdirSync(terminal.folder)).toEqual([])
  })
})
