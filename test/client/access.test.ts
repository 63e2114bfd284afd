// Who a client says it is, and TLS: what options and variables are taken, what is refused and how, and that no password
// is shown by anything that shows a client, its options or its errors.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { OrmucoCacheClient } from '../../client/client.ts'
import { type ClientOptions, resolveClientOptions } from '../../client/options.ts'

const PASSWORD = 'a secret of 23 characters'

/** A folder of the test's own, with these files. */
function folderWith(files: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Moves this process there until the test ends. */
function standIn(folder: string): void {
  const before = process.cwd()
  process.chdir(folder)
  onTestFinished(() => process.chdir(before))
}

/** Options as somebody without a type checker writes them. */
function untyped(options: Record<string, unknown>): ClientOptions {
  return options
}

describe('options', () => {
  test('user name and password, or a function that gives them', async () => {
    const pair = resolveClientOptions({ servers: 'a', username: 'bob', password: PASSWORD }, {})
    expect(await pair.credentials?.()).toEqual({ username: 'bob', password: PASSWORD })
    const credentials = async () => ({ username: 'bob', password: PASSWORD })
    expect(resolveClientOptions({ servers: 'a', credentials }, {}).credentials).toBe(credentials)
    expect(resolveClientOptions({ servers: 'a' }, {})).toMatchObject({
      credentials: undefined,
      tls: undefined,
    })
  })

  test('tls is true, false, or what tls.connect takes', () => {
    const tlsOf = (tls: NonNullable<ClientOptions['tls']>) =>
      resolveClientOptions({ servers: 'a', tls }, {}).tls
    expect(tlsOf(true)).toEqual({})
    expect(tlsOf(false)).toBeUndefined()
    expect(tlsOf({ ca: 'PEM', servername: 'cache' })).toEqual({ ca: 'PEM', servername: 'cache' })
  })

  test.each([
    [{ username: 'bob' }, /^username is given and password is not/],
    [{ password: PASSWORD }, /^password is given and username is not/],
    [{ username: 'bob', password: undefined }, /^username is given and password is not/],
    [{ username: '', password: PASSWORD }, /^username: text that is not empty is needed$/],
    [{ username: 'bob', password: '' }, /^password: text that is not empty is needed$/],
    [{ username: 5, password: PASSWORD }, /^username: text/],
    [{ username: 'bob', password: 5 }, /^password: text/],
    [{ credentials: { username: 'bob', password: PASSWORD } }, /^credentials: a function is needed, such as/],
    [{ credentials: async () => ({}), username: 'bob' }, /^credentials gives what username and password say/],
    [{ credentials: async () => ({}), password: PASSWORD }, /^credentials gives what username and password/],
    [{ tls: 'yes' }, /^tls: yes is not possible; allowed: true, false, options of tls\.connect$/],
    [{ tls: null }, /^tls: null is not possible/],
    [{ tls: [] }, /^tls: {2}is not possible/],
    [{ tls: { host: 'a' } }, /^tls\.host is not possible: where to connect to is said by servers$/],
    [{ tls: { port: 1 } }, /^tls\.port is not possible/],
    [{ user: 'bob' }, /^unknown option user; there are .*username, password, credentials, tls$/],
  ])('%j is refused', (options, message) => {
    const make = () => new OrmucoCacheClient(untyped({ servers: 'localhost', ...options }))
    expect(make).toThrow(TypeError)
    expect(make).toThrow(message)
    expect(make).not.toThrow(PASSWORD)
  })

  test.each([
    [{ username: 'bob', password: PASSWORD }, 'username'],
    [{ credentials: async () => ({ username: 'bob', password: PASSWORD }) }, 'credentials'],
    [{ tls: true }, 'tls'],
    [{ tls: { ca: 'PEM' }, standalone: {} }, 'tls'],
  ])('%j without servers is refused: a stand-alone cache has no such thing', (options, name) => {
    standIn(folderWith())
    const resolve = () => resolveClientOptions(options, {})
    expect(resolve).toThrow(TypeError)
    expect(resolve).toThrow(new RegExp(`^${name} is given and there are no servers`))
  })

  test('tls: false without servers says nothing', () => {
    standIn(folderWith())
    expect(resolveClientOptions({ tls: false }, {})).toMatchObject({ servers: [], tls: undefined })
  })
})

describe('variables', () => {
  const HERE = { SERVERS: 'a:1' }

  const credentialsBy = async (environment: Record<string, string>, options: ClientOptions = {}) =>
    resolveClientOptions(options, environment).credentials?.()
  const tlsBy = (environment: Record<string, string>, options: ClientOptions = {}) =>
    resolveClientOptions(options, environment).tls

  test('the environment before .env, each variable for itself', async () => {
    standIn(folderWith({ '.env': `CACHE_USERNAME=bob\nCACHE_PASSWORD="${PASSWORD}"\nCACHE_TLS=on\n` }))
    expect(await credentialsBy(HERE)).toEqual({ username: 'bob', password: PASSWORD })
    expect(await credentialsBy({ ...HERE, CACHE_USERNAME: 'alice' })).toMatchObject({ username: 'alice' })
    expect(await credentialsBy({ ...HERE, CACHE_PASSWORD: ' x ' })).toMatchObject({ password: ' x ' })
    expect(tlsBy(HERE)).toEqual({})
    expect(tlsBy({ ...HERE, CACHE_TLS: 'off' })).toBeUndefined()
  })

  test('only where the servers come from there too', async () => {
    const environment = { CACHE_USERNAME: 'bob', CACHE_PASSWORD: PASSWORD, CACHE_TLS: 'yes' }
    expect(await credentialsBy(environment, { servers: 'a' })).toBeUndefined()
    expect(tlsBy(environment, { servers: 'a' })).toBeUndefined()
    standIn(folderWith())
    expect(await credentialsBy(environment)).toBeUndefined()
    expect(await credentialsBy({ ...environment, SERVER_HOST: 'a' })).toMatchObject({ username: 'bob' })
  })

  test('options beat them: who, and how, each for itself', async () => {
    standIn(folderWith())
    const environment = { ...HERE, CACHE_USERNAME: 'bob', CACHE_PASSWORD: PASSWORD, CACHE_TLS: 'yes' }
    const alice = { username: 'alice', password: 'hers' }
    expect(await credentialsBy(environment, alice)).toEqual(alice)
    expect(tlsBy(environment, alice)).toEqual({})
    expect(tlsBy(environment, { tls: false })).toBeUndefined()
    expect(await credentialsBy(environment, { tls: false })).toMatchObject({ username: 'bob' })
    expect(() => resolveClientOptions({ username: 'alice' }, environment)).toThrow(/^username is given and/)
  })

  test('a password in a file: without its line end, and read for each connection anew', async () => {
    const folder = folderWith({ password: `${PASSWORD}\n`, windows: `${PASSWORD}\r\n`, bare: PASSWORD })
    standIn(folder)
    const by = (file: string) => ({ ...HERE, CACHE_USERNAME: 'bob', CACHE_PASSWORD_FILE: join(folder, file) })
    for (const file of ['password', 'windows', 'bare'])
      expect(await credentialsBy(by(file))).toEqual({ username: 'bob', password: PASSWORD })
    const { credentials } = resolveClientOptions({}, by('password'))
    writeFileSync(join(folder, 'password'), 'a new one\n')
    expect(await credentials?.()).toEqual({ username: 'bob', password: 'a new one' })
    rmSync(join(folder, 'password'))
    await expect(credentials?.()).rejects.toThrow(/ENOENT/)
  })

  test('an authority in a file means TLS, unless that is off', () => {
    const folder = folderWith({ 'ca.pem': 'PEM' })
    standIn(folder)
    const path = join(folder, 'ca.pem')
    expect(tlsBy({ ...HERE, CACHE_TLS_CA: path })).toEqual({ ca: 'PEM' })
    expect(tlsBy({ ...HERE, CACHE_TLS_CA: path, CACHE_TLS: 'true' })).toEqual({ ca: 'PEM' })
    expect(tlsBy({ ...HERE, CACHE_TLS_CA: path, CACHE_TLS: '0' })).toBeUndefined()
    expect(tlsBy({ ...HERE, CACHE_TLS: '', CACHE_TLS_CA: ' ' })).toBeUndefined()
  })

  test.each([
    [
      { CACHE_USERNAME: 'bob' },
      /^CACHE_USERNAME is set, and neither CACHE_PASSWORD nor CACHE_PASSWORD_FILE is/,
    ],
    [{ CACHE_PASSWORD: PASSWORD }, /^CACHE_PASSWORD is set, and CACHE_USERNAME is not/],
    [{ CACHE_PASSWORD_FILE: '/nowhere' }, /^CACHE_PASSWORD_FILE is set, and CACHE_USERNAME is not/],
    [
      { CACHE_USERNAME: 'bob', CACHE_PASSWORD: PASSWORD, CACHE_PASSWORD_FILE: '/nowhere' },
      /^CACHE_PASSWORD and CACHE_PASSWORD_FILE are both set/,
    ],
    [
      { CACHE_USERNAME: 'bob', CACHE_PASSWORD_FILE: '/nowhere/it' },
      /^CACHE_PASSWORD_FILE: \/nowhere\/it cannot be read \(ENOENT/,
    ],
    [{ CACHE_TLS: 'maybe' }, /^CACHE_TLS: "maybe" is not possible; allowed: true or false/],
    [{ CACHE_TLS_CA: '/nowhere/ca.pem' }, /^CACHE_TLS_CA: \/nowhere\/ca\.pem cannot be read \(ENOENT/],
  ])('%j is refused, and the variable named', (environment, message) => {
    standIn(folderWith())
    const resolve = () => resolveClientOptions({}, { ...HERE, ...environment })
    expect(resolve).toThrow(TypeError)
    expect(resolve).toThrow(message)
    expect(resolve).not.toThrow(PASSWORD)
  })

  test('a file without a password is refused', () => {
    const folder = folderWith({ empty: '\n' })
    standIn(folder)
    const environment = { ...HERE, CACHE_USERNAME: 'bob', CACHE_PASSWORD_FILE: join(folder, 'empty') }
    expect(() => resolveClientOptions({}, environment)).toThrow(
      /^CACHE_PASSWORD_FILE: there is no password in/,
    )
  })
})

test('nothing that shows a client shows its password', () => {
  const tls = { passphrase: PASSWORD, key: PASSWORD }
  const client = new OrmucoCacheClient({ servers: 'localhost', username: 'bob', password: PASSWORD, tls })
  onTestFinished(() => client.destroy())
  const shown = [
    inspect(client, { depth: 10, showHidden: true, getters: true }),
    JSON.stringify(client),
    JSON.stringify(client.counters()),
    String(client),
  ]
  for (const text of shown) expect(text).not.toContain(PASSWORD)
})
