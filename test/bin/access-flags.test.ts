// Who a command says it is, and how it speaks, by flags, variables and files; what cannot be is refused in one line that
// shows no password. Where a password is typed is for password.test.ts and the real programs.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AccessFlags, accessBy, accessOptions } from '../../bin/access-flags.ts'
import { CommandFailure } from '../../bin/program.ts'
import { authority } from '../helpers/certificates.ts'

const PASSWORD = 'a secret of 23 characters'
const BY_VARIABLE = { CACHE_USERNAME: 'bob', CACHE_PASSWORD: PASSWORD }

/** A folder of the test's own, where this process stands until the test ends; gives the path of a file in it. */
function standIn(files: Readonly<Record<string, string>> = {}): (name: string) => string {
  const before = process.cwd()
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  process.chdir(folder)
  onTestFinished(() => {
    process.chdir(before)
    rmSync(folder, { recursive: true })
  })
  return (name) => join(folder, name)
}

async function refusalOf(flags: AccessFlags, environment: Record<string, string>): Promise<string> {
  const error: unknown = await accessBy(flags, environment).catch((error: unknown) => error)
  if (!(error instanceof CommandFailure)) throw new Error(`no refusal: ${error}`)
  expect(error.exitCode).toBe(2)
  expect(error.message).not.toContain(PASSWORD)
  return error.message
}

test('nobody, and no TLS, unless something says so', async () => {
  standIn()
  expect(await accessBy({}, {})).toEqual({ credentials: undefined, tls: undefined })
})

describe('who', () => {
  const whoBy = async (flags: AccessFlags, environment: Record<string, string>) =>
    (await accessBy(flags, environment)).credentials?.()

  test('by variables, by .env, and --user beats them', async () => {
    standIn({ '.env': 'CACHE_USERNAME=alice\nCACHE_PASSWORD=hers\n' })
    expect(await whoBy({}, {})).toEqual({ username: 'alice', password: 'hers' })
    expect(await whoBy({}, BY_VARIABLE)).toEqual({ username: 'bob', password: PASSWORD })
    expect(await whoBy({ user: 'carol' }, BY_VARIABLE)).toEqual({ username: 'carol', password: PASSWORD })
    expect(await whoBy({ user: 'carol' }, {})).toEqual({ username: 'carol', password: 'hers' })
  })

  test('with the password in a file', async () => {
    const path = standIn({ password: `${PASSWORD}\n` })
    const environment = { CACHE_PASSWORD_FILE: path('password') }
    expect(await whoBy({ user: 'bob' }, environment)).toEqual({ username: 'bob', password: PASSWORD })
  })

  test.each<[flags: AccessFlags, environment: Record<string, string>, message: RegExp]>([
    [{ askpass: true }, {}, /^--askpass needs --user, or CACHE_USERNAME$/],
    [{}, { CACHE_USERNAME: 'bob' }, /^CACHE_USERNAME is set, and neither CACHE_PASSWORD nor/],
    [{}, { CACHE_PASSWORD: PASSWORD }, /^CACHE_PASSWORD is set, and CACHE_USERNAME is not$/],
    [
      {},
      { ...BY_VARIABLE, CACHE_PASSWORD_FILE: '/x' },
      /^CACHE_PASSWORD and CACHE_PASSWORD_FILE are both set/,
    ],
    [{ user: 'bob' }, { CACHE_PASSWORD_FILE: '/nowhere' }, /^CACHE_PASSWORD_FILE: \/nowhere cannot be read/],
  ])('%j %j is refused', async (flags, environment, message) => {
    standIn()
    expect(await refusalOf(flags, environment)).toMatch(message)
  })
})

describe('how', () => {
  const howBy = async (flags: AccessFlags, environment: Record<string, string> = {}) =>
    (await accessBy(flags, environment)).tls

  test('TLS by a flag or a variable, with the authority, certificate and key of files', async () => {
    const { cert, key } = await authority()
    const path = standIn({ 'a.pem': cert, 'b.pem': cert, 'key.pem': key })
    expect(await howBy({ tls: true })).toEqual({})
    expect(await howBy({}, { CACHE_TLS: 'yes' })).toEqual({})
    expect(await howBy({ cacert: path('a.pem') })).toEqual({ ca: cert })
    expect(await howBy({ tls: true }, { CACHE_TLS_CA: path('a.pem') })).toEqual({ ca: cert })
    expect(await howBy({ cert: path('b.pem'), key: path('key.pem') })).toEqual({ cert, key })
    expect(await howBy({ tls: true }, { CACHE_TLS: 'no' })).toEqual({})
    expect(await howBy({}, { CACHE_TLS: 'no', CACHE_TLS_CA: path('a.pem') })).toBeUndefined()
  })

  test('a certificate and a key belong together', async () => {
    const { cert, key } = await authority()
    const path = standIn({ 'a.pem': cert, 'key.pem': key, 'ca.pem': 'no PEM at all' })
    expect(await refusalOf({ cert: path('a.pem') }, {})).toMatch(/^--cert and --key belong together/)
    expect(await refusalOf({ key: path('key.pem') }, {})).toMatch(/^--cert and --key belong together/)
    for (const [certFile, keyFile] of [
      ['a.pem', 'ca.pem'],
      ['ca.pem', 'key.pem'],
    ] as const)
      expect(await refusalOf({ cert: path(certFile), key: path(keyFile) }, {})).toMatch(
        /^a file with a certificate or key is not PEM, or they do not belong together \(/,
      )
  })

  test.each(['cacert', 'cert', 'key'] as const)('--%s that is not there', async (flag) => {
    const { cert } = await authority()
    const path = standIn({ 'a.pem': cert })
    const both = flag === 'cacert' ? {} : { cert: path('a.pem'), key: path('a.pem') }
    expect(await refusalOf({ ...both, [flag]: '/nowhere/it.pem' }, {})).toMatch(
      new RegExp(`^--${flag}: /nowhere/it\\.pem cannot be read \\(ENOENT`),
    )
  })

  test('nothing switches the check of certificates off', () => {
    const names = accessOptions().map(({ long }) => long)
    expect(names).toEqual(['--user', '--askpass', '--tls', '--cacert', '--cert', '--key'])
  })
})
