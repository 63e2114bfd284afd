// The auth file: what stands in it, what is refused and by which words, and what a name that is not in it gets to see.

import { chmodSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { deriveScramKeys, ScramClient, ScramError, ScramServer } from '../../protocol/scram.ts'
import {
  AuthFileError,
  formatUser,
  isUserName,
  newStrangers,
  parseStrangers,
  parseUsers,
  type User,
  Users,
} from '../../server/users.ts'

const SALT = 'W22ZaJ0SNY7soEsUEjb6gQ=='
const STORED = Buffer.alloc(32, 1).toString('base64')
const SERVER = Buffer.alloc(32, 2).toString('base64')
const KEYS = `SCRAM-SHA-256$15000:${SALT}$${STORED}:${SERVER}`

function newFile(text: string, mode = 0o600): string {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'users')
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

function refusal(read: () => unknown): AuthFileError {
  try {
    read()
  } catch (error) {
    if (error instanceof AuthFileError) return error
    throw error
  }
  throw new Error('it was not refused')
}

async function newUser(name: string, password: string, iterations = 15_000): Promise<User> {
  const salt = Buffer.from(`the salt of ${name}`.padEnd(16, '.'))
  return { name, role: 'writer', keys: await deriveScramKeys(password, salt, iterations) }
}

async function authenticate(users: Users, name: string, password: string): Promise<string> {
  const client = new ScramClient(name, password)
  const server = new ScramServer((asked) => users.keysOf(asked))
  const { username, serverFinal } = server.final(await client.final(server.first(client.first())))
  client.verify(serverFinal)
  return username
}

describe('a file', () => {
  test('names users with their roles and keys, between comments and empty lines', () => {
    const path = newFile(
      `# who\n\nalice:admin:${KEYS}\n   # bob:admin:nonsense\r\n  bob:reader:${KEYS}  \r\n`,
    )
    const users = Users.read(path)
    expect([...users].map(({ name, role }) => `${name} ${role}`)).toEqual(['alice admin', 'bob reader'])
    expect(users.find('alice')).toEqual({
      name: 'alice',
      role: 'admin',
      keys: {
        salt: Buffer.from(SALT, 'base64'),
        iterations: 15_000,
        storedKey: Buffer.alloc(32, 1),
        serverKey: Buffer.alloc(32, 2),
      },
    })
    expect(users.find('carol')).toBeUndefined()
    expect(users.find('constructor')).toBeUndefined()
  })

  test('may begin with the mark that some editors write, end without a line feed, and be empty', () => {
    expect(Users.read(newFile(`\ufeffalice:admin:${KEYS}`)).find('alice')?.role).toBe('admin')
    expect([...Users.read(newFile(''))]).toEqual([])
  })

  test('is written as it is read', () => {
    const lines = ['reader', 'writer', 'admin', 'peer'].map((role) => `user-${role}:${role}:${KEYS}`)
    expect([...Users.read(newFile(lines.join('\n')))].map(formatUser)).toEqual(lines)
  })

  test.skipIf(process.platform === 'win32')('that others may read is read, with a warning', () => {
    const warnings: unknown[] = []
    const warn = (...warning: unknown[]) => void warnings.push(warning)
    Users.read(newFile('', 0o600), warn)
    Users.read(newFile('', 0o400), warn)
    expect(warnings).toEqual([])
    const path = newFile('', 0o640)
    Users.read(path, warn)
    expect(warnings).toEqual([
      [{ path, mode: '640', wanted: '600' }, 'others may read or change the auth file'],
    ])
  })

  test('that is none is refused with its path', () => {
    const path = newFile('')
    const missing = refusal(() => Users.read(`${path}-not`))
    expect(missing.message).toBe(
      `${path}-not: it cannot be read (ENOENT); allowed: a file that this user may read, as \`ormuco-cache users add\` makes it`,
    )
    expect(missing.line).toBeUndefined()
    expect(refusal(() => Users.read(join(path, '..'))).message).toContain('it cannot be read (EISDIR)')
    truncateSync(path, 17 * 1024 * 1024)
    expect(refusal(() => Users.read(path)).message).toBe(
      `${path}: it has 17825792 bytes; allowed: at most 16777216`,
    )
  })

  const ROLES = 'reader, writer, admin, peer'
  const LINE = 'NAME:ROLE:SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, or # and a comment'
  const NAME =
    "1 to 128 printable ASCII characters without blanks, ':', ',' and '=', the first of them no '#'"
  const KEY = '32 bytes in base64'
  test.each([
    ['alice', 'not a user', LINE],
    ['alice:admin', 'not a user', LINE],
    ['alice:admin:secret', 'not a user', LINE],
    [`alice:${KEYS}`, 'not a user', LINE],
    [`alice:admin:${KEYS}:more`, 'not a user', LINE],
    [`al:ice:admin:${KEYS}`, 'not a user', LINE],
    [`:admin:${KEYS}`, 'the name is not possible', NAME],
    [`al ice:admin:${KEYS}`, 'the name is not possible', NAME],
    [`al=ice:admin:${KEYS}`, 'the name is not possible', NAME],
    [`al,ice:admin:${KEYS}`, 'the name is not possible', NAME],
    [`alicé:admin:${KEYS}`, 'the name is not possible', NAME],
    [`${'a'.repeat(129)}:admin:${KEYS}`, 'the name is not possible', NAME],
    [`alice:boss:${KEYS}`, 'the role of alice is not possible', ROLES],
    [`alice:Admin:${KEYS}`, 'the role of alice is not possible', ROLES],
    [`alice::${KEYS}`, 'the role of alice is not possible', ROLES],
    [`alice:admin:${KEYS.replace('256', '1')}`, 'the mechanism of alice is not possible', 'SCRAM-SHA-256'],
    ...['', '0', '14999', '10000001', '015000', '15000.5', '1e5', '-15000', '99999999999'].map((count) => [
      `alice:admin:${KEYS.replace('15000', count)}`,
      'the iterations of alice are not possible',
      '15000 to 10000000',
    ]),
    ...['', 'AAAA', SALT.slice(0, -1), ` ${SALT}`, '!'.repeat(24), 'A'.repeat(88)].map((salt) => [
      `alice:admin:${KEYS.replace(SALT, salt)}`,
      'the salt of alice is not possible',
      '8 to 64 bytes in base64',
    ]),
    [`alice:admin:${KEYS.replace(STORED, '')}`, 'the stored key of alice is not possible', KEY],
    [`alice:admin:${KEYS.replace(STORED, SALT)}`, 'the stored key of alice is not possible', KEY],
    [`alice:admin:${KEYS.replace(SERVER, '')}`, 'the server key of alice is not possible', KEY],
    [`alice:admin:${KEYS.replace(SERVER, `AAAA${SERVER}`)}`, 'the server key of alice is not possible', KEY],
    [`bob:admin:${KEYS}`, 'bob stands in line 2 already', 'each name once'],
  ])('with the line %j is refused', (line = '', problem, allowed) => {
    const error = refusal(() => parseUsers(`# users\nbob:reader:${KEYS}\n${line}\n`, '/etc/users'))
    expect(error.message).toBe(`/etc/users line 3: ${problem}; allowed: ${allowed}`)
    expect(error).toMatchObject({ path: '/etc/users', line: 3, allowed })
    for (const secret of [STORED, SERVER]) expect(error.message).not.toContain(secret)
  })
})

describe('a secret for strangers', () => {
  const SECRET = Buffer.alloc(32, 3).toString('base64')
  const ALLOWED = '32 bytes in base64, or no such line: `ormuco-cache users` writes one'

  test('is one comment of the file, or missing', () => {
    for (const line of [
      `# strangers: ${SECRET}`,
      `\ufeff#strangers:${SECRET}\r`,
      `  #  strangers:  ${SECRET} `,
    ])
      expect(parseStrangers(`alice:admin:${KEYS}\n${line}\n# end`, 'users')).toEqual(Buffer.alloc(32, 3))
    expect(parseStrangers(`# users, and strangers: none\nalice:admin:${KEYS}`, 'users')).toBeUndefined()
    const [one, two] = [newStrangers(), newStrangers()]
    expect(parseStrangers(one, 'users')).toHaveLength(32)
    expect(one).not.toBe(two)
  })

  const problem = 'the secret for strangers is not possible'
  test.each([
    ['# strangers:', problem, ALLOWED],
    ['# strangers: see below', problem, ALLOWED],
    [`# strangers: ${SECRET.slice(0, -1)}`, problem, ALLOWED],
    [`# strangers: ${SALT}`, problem, ALLOWED],
    [`# strangers: AAAA${SECRET}`, problem, ALLOWED],
    [`# strangers: ${SECRET} ${SECRET}`, problem, ALLOWED],
    [`# strangers: ${SECRET}\n# strangers: ${SECRET}`, 'strangers stand in line 2 already', 'one such line'],
  ])('as %j is refused', (text, why, allowed) => {
    const path = newFile(`alice:admin:${KEYS}\n${text}\n`)
    const error = refusal(() => Users.read(path))
    expect(error.message).toBe(`${path} line ${text.split('\n').length + 1}: ${why}; allowed: ${allowed}`)
    expect(error.message).not.toContain(SECRET)
  })
})

test.each<[name: string, isPossible: boolean]>([
  ['a', true],
  ['a'.repeat(128), true],
  ['alice@example.org', true],
  ['cache-1.internal', true],
  ["!#$%&'()*+-./0;<>?@A[\\]^_`a{|}~", true],
  ['', false],
  ['a'.repeat(129), false],
  ['#alice', false],
  [':cluster', false],
  ['a:b', false],
  ['a,b', false],
  ['a=b', false],
  ['a b', false],
  ['a\n', false],
  ['é', false],
  ['\x7f', false],
])('is %j a name: %j', (name, isPossible) => {
  expect(isUserName(name)).toBe(isPossible)
  if (isPossible) expect(parseUsers(`${name}:peer:${KEYS}`, 'users').get(1)?.name).toBe(name)
})

describe('passwords', () => {
  test('are checked against the keys', async () => {
    const users = new Users([await newUser('alice', 'wonderland'), await newUser('bob', 'builder')])
    expect(await authenticate(users, 'alice', 'wonderland')).toBe('alice')
    expect(await authenticate(users, 'bob', 'builder')).toBe('bob')
    await expect(authenticate(users, 'alice', 'builder')).rejects.toThrow(
      new ScramError('the proof is wrong'),
    )
  })

  test('of unknown names are wrong in the same way', async () => {
    const users = new Users([await newUser('alice', 'wonderland', 20_000)])
    for (const name of ['carol', 'alic', 'alice2', ':cluster', '__proto__'])
      await expect(authenticate(users, name, 'wonderland')).rejects.toThrow(
        new ScramError('the proof is wrong'),
      )
  })
})

describe('a name that is unknown', () => {
  test('has a salt of its own, the same each time, and as many iterations as most users', async () => {
    const list = [
      await newUser('alice', 'a', 15_001),
      await newUser('bob', 'b', 15_002),
      await newUser('carol', 'c', 15_002),
    ]
    const users = new Users(list)
    const { salt, iterations } = users.keysOf('mallory')
    expect(iterations).toBe(15_002)
    expect(salt).toHaveLength(16)
    expect(users.keysOf('mallory').salt).toEqual(salt)
    expect(users.keysOf('mallary').salt).not.toEqual(salt)
    expect(users.keysOf('alice')).toBe(list[0]?.keys)
  })

  test('has the same salt on every server that has the file, and after it was read again', async () => {
    const list = [await newUser('alice', 'a'), await newUser('bob', 'b')]
    const path = newFile(list.map(formatUser).join('\n'))
    expect(Users.read(path).keysOf('mallory')).toEqual(Users.read(path).keysOf('mallory'))
    expect(new Users(list).keysOf('mallory')).toEqual(Users.read(path).keysOf('mallory'))
  })

  test('keeps its keys while users come, change and go, if the file has a secret', async () => {
    const [alice, bob] = [await newUser('alice', 'a'), await newUser('bob', 'b')]
    const strangers = newStrangers()
    const keysIn = (...lines: string[]) => Users.read(newFile(lines.join('\n'))).keysOf('mallory')
    const keys = keysIn(strangers, formatUser(alice))
    expect(keysIn(strangers, formatUser(alice), formatUser(bob))).toEqual(keys)
    expect(keysIn(formatUser(await newUser('alice', 'c')), strangers)).toEqual(keys)
    expect(keysIn(strangers).salt).toEqual(keys.salt)
    expect(keysIn(newStrangers(), formatUser(alice)).salt).not.toEqual(keys.salt)
  })

  test('has another salt where the file has other keys, and no secret', async () => {
    const salts = [
      new Users([await newUser('alice', 'a')]),
      new Users([await newUser('alice', 'b')]),
      new Users([]),
    ].map((users) => users.keysOf('mallory').salt.toString('hex'))
    expect(new Set(salts).size).toBe(3)
  })
})
