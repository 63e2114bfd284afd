// Who may what: each opcode for each role, what a certificate makes of somebody, and what becomes of it when the files
// have changed. And that no secret shows, however a thing is printed.

import { chmodSync, writeFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { beforeAll, describe, expect, test } from 'vitest'
import { Opcode } from '../../protocol/messages.ts'
import { ScramClient } from '../../protocol/scram.ts'
import {
  Access,
  type AccessSetup,
  type Certificate,
  isCertified,
  Rank,
  REQUIRED_RANKS,
} from '../../server/access.ts'
import { ClusterSecret } from '../../server/cluster-secret.ts'
import { OptionError } from '../../server/options.ts'
import { printable } from '../../server/repeats.ts'
import type { Role, User } from '../../server/users.ts'
import { listener, SECRET, secretFileOf } from '../helpers/authenticating.ts'
import { authFileOf, passwordOf, someUsers, userOf, writeAuthFile } from '../helpers/users.ts'

let users: User[]
beforeAll(async () => {
  users = await someUsers()
})

function accessOf(
  options: Partial<AccessSetup['options']> = {},
  setup: Partial<AccessSetup> = {},
): { access: Access; changes: () => number; refused: string[][] } {
  let changes = 0
  const refused: string[][] = []
  const access = new Access({
    options: {
      ...{ authFile: '', clusterSecretFile: '', tlsRequireClientCert: false, logger: listener().logger },
      ...options,
    },
    onPeerRefused: (...facts) => void refused.push(facts),
    onChange: () => void changes++,
    ...setup,
  })
  return { access, changes: () => changes, refused }
}

const certificate = (commonName: string | undefined, ...units: string[]): Certificate => ({
  commonName,
  units,
  altNames: [],
})

describe('what a role may', () => {
  const ALLOWED: Readonly<Record<keyof typeof Opcode, readonly Role[]>> = {
    Hello: ['reader', 'writer', 'admin', 'peer'],
    Ping: ['reader', 'writer', 'admin', 'peer'],
    Quit: ['reader', 'writer', 'admin', 'peer'],
    Auth: ['reader', 'writer', 'admin', 'peer'],
    AuthProof: ['reader', 'writer', 'admin', 'peer'],
    Get: ['reader', 'writer', 'admin'],
    GetMany: ['reader', 'writer', 'admin'],
    Inspect: ['reader', 'writer', 'admin'],
    Scan: ['reader', 'writer', 'admin'],
    Stats: ['reader', 'writer', 'admin'],
    Peers: ['reader', 'writer', 'admin'],
    Lag: ['reader', 'writer', 'admin'],
    Set: ['writer', 'admin'],
    SetMany: ['writer', 'admin'],
    Delete: ['writer', 'admin'],
    DeleteMany: ['writer', 'admin'],
    Touch: ['writer', 'admin'],
    Increment: ['writer', 'admin'],
    Decrement: ['writer', 'admin'],
    Clear: ['admin'],
    ForgetPeer: ['admin'],
  }

  test.each(Object.entries(Opcode))('%s', (name, opcode) => {
    const { access } = accessOf()
    for (const role of ['reader', 'writer', 'admin', 'peer'] as const) {
      const rank = access.arrival(certificate('x', role))?.rank ?? Number.NaN
      const may = (REQUIRED_RANKS[opcode] ?? Number.NaN) <= rank
      expect(may, role).toBe(new Map(Object.entries(ALLOWED)).get(name)?.includes(role))
      expect((REQUIRED_RANKS[opcode] ?? Number.NaN) <= Rank.Unauthenticated).toBe(false)
    }
  })
})

describe('before anything is said', () => {
  test('everybody is admin and may be a server, where there is nothing to prove', () => {
    const { access } = accessOf()
    expect(access.arrival()).toMatchObject({ role: 'admin', rank: Rank.Admin, isPeer: true })
    expect(access.takesProofs).toBe(false)
    expect(access.authentication).toBe('none')
  })

  test('everybody is admin and nobody a server, where there is a cluster secret alone', () => {
    const { access } = accessOf({ clusterSecretFile: secretFileOf() })
    expect(access.arrival()).toMatchObject({ role: 'admin', isPeer: false })
    expect(access.takesProofs).toBe(true)
  })

  test('nobody is anybody, where there is an auth file or everybody needs a certificate', () => {
    const { access: withUsers } = accessOf({ authFile: authFileOf(users) })
    expect(withUsers.arrival()).toBe(undefined)
    expect(withUsers.authentication).toBe('password')
    const { access } = accessOf({ tlsRequireClientCert: true })
    expect(access.arrival()).toBe(undefined)
    expect(access.arrival(certificate('walt'))).toBe(undefined)
    expect(access.takesProofs).toBe(false)
    expect(access.authentication).toBe('certificate')
  })

  test.each<[string, Certificate, object | undefined]>([
    ['its unit is its role', certificate('rhea', 'admin'), { name: 'rhea', role: 'admin', isPeer: false }],
    ['so is that of a server', certificate('cache-2', 'peer'), { role: 'peer', rank: 0, isPeer: true }],
    ['a unit that is no role says nothing', certificate('walt', 'Sales'), { role: 'writer' }],
    ['one of several may be a role', certificate('walt', 'Sales', 'reader'), { role: 'reader' }],
    ['of two roles none counts', certificate('nobody', 'reader', 'admin'), undefined],
    ['without a unit the auth file knows the name', certificate('adam'), { name: 'adam', role: 'admin' }],
    ['an unknown name is nobody', certificate('nobody'), undefined],
    ['nor is no name', certificate(undefined), undefined],
    ['a role is written as it is', certificate('x', 'Admin'), undefined],
  ])('of a certificate: %s', (_, shown, expected) => {
    const { access } = accessOf({ authFile: authFileOf(users), tlsRequireClientCert: true })
    const principal = access.arrival(shown)
    if (expected === undefined) expect(principal).toBe(undefined)
    else expect(principal).toMatchObject({ ...expected, certificate: shown })
  })
})

describe('whether a certificate names a server', () => {
  const names = (commonName: string, ...altNames: string[]) => ({ commonName, units: [], altNames })

  test.each<[string, Certificate, boolean]>([
    ['cache-1', names('cache-1'), true],
    ['cache-1', names('cache-2', 'cache-1'), true],
    ['Cache-1', names('cache-1'), true],
    ['10.0.0.1:11142', names('cache', '10.0.0.1'), true],
    ['[::1]:11142', names('cache', '::1'), true],
    ['cache.example:11142', names('', 'cache.example'), true],
    ['cache-1', names('cache-11'), false],
    ['cache-1', names('', 'cache-1.example'), false],
    ['10.0.0.1:11142', names('cache', '10.0.0.11'), false],
    ['cache-1', { commonName: undefined, units: [], altNames: [] }, false],
    ['', names('x'), false],
  ])('%s: %j %s', (label, shown, expected) => {
    expect(isCertified(label, shown)).toBe(expected)
  })
})

describe('when files have changed', () => {
  test('nothing has, until what was read is put in place', async () => {
    const authFile = authFileOf(users)
    const { access, changes } = accessOf({ authFile, tlsRequireClientCert: true })
    const walt = access.arrival(certificate('walt'))
    const cert = access.arrival(certificate('x', 'reader'))
    if (walt === undefined || cert === undefined) throw new Error('nobody there')
    writeAuthFile(authFile, [await userOf('walt', 'reader')])
    const replace = access.prepareReload()
    expect(access.again(walt)).toBe(walt)
    expect(changes()).toBe(0)
    replace()
    expect(changes()).toBe(1)
    expect(access.again(walt)).toMatchObject({ name: 'walt', role: 'reader' })
    expect(access.again(cert)).toBe(cert)
    writeAuthFile(authFile, [])
    access.prepareReload()()
    expect(access.again(walt)).toBe(undefined)
  })

  test('another secret counts once its keys are derived, the same one changes nothing', async () => {
    const clusterSecretFile = secretFileOf()
    const { access, changes } = accessOf({ clusterSecretFile })
    await access.ready()
    const peer = await proved(access, SECRET)
    expect(peer).toMatchObject({ role: 'peer', isPeer: true })
    if (peer === undefined) return
    writeFileSync(clusterSecretFile, `${SECRET}\r\n`)
    access.prepareReload()()
    await access.ready()
    expect(access.again(peer)).toBe(peer)
    writeFileSync(clusterSecretFile, 'another secret of theirs')
    access.prepareReload()()
    await access.ready()
    expect(changes()).toBe(3)
    expect(access.again(peer)).toBe(undefined)
    await expect(proved(access, SECRET)).rejects.toThrow('proof')
    expect(await proved(access, 'another secret of theirs')).toMatchObject({ role: 'peer' })
  })
})

/** Who somebody is that proves to know the cluster secret. */
async function proved(access: Access, secret: string) {
  const challenge = access.challenge()
  const client = new ScramClient(':cluster', secret)
  const proof = await client.final(challenge.first(client.first()))
  return challenge.final(proof).principal
}

describe('a file that cannot be', () => {
  test.each<[string, string | Uint8Array, RegExp]>([
    ['too short', '0123456789abcde\n', /at least|16 to 1024 bytes.*it has 15 bytes/],
    ['empty', '', /it has 0 bytes/],
    ['too long', 'x'.repeat(1025), /more than 1024 bytes/],
    ['far too long', 'x'.repeat(100_000), /more than 1024 bytes/],
    ['no text', Buffer.alloc(32, 0xff), /not UTF-8/],
  ])('a secret that is %s', (_, text, why) => {
    const path = secretFileOf(text)
    const read = () => accessOf({ clusterSecretFile: path })
    expect(read).toThrow(OptionError)
    expect(read).toThrow(why)
    expect(read).toThrow(path)
    expect(read).not.toThrow(/xxxx|0123/)
  })

  test('a secret of 16 bytes, and of 1024, with a final newline that does not count', () => {
    for (const text of ['0123456789abcdef', 'x'.repeat(1024)])
      for (const end of ['', '\n', '\r\n'])
        expect(accessOf({ clusterSecretFile: secretFileOf(text + end) }).access.secret?.password).toBe(text)
  })

  test('that is not there', () => {
    expect(() => accessOf({ clusterSecretFile: '/nowhere/secret' })).toThrow(
      /clusterSecretFile: '\/nowhere\/secret' .*ENOENT/,
    )
    expect(() => accessOf({ authFile: '/nowhere/users' })).toThrow(/authFile: '\/nowhere\/users' .*ENOENT/)
  })

  test('an auth file with a line that cannot be: which, and what it may be', () => {
    const path = authFileOf(users)
    writeFileSync(path, 'walt:king:SCRAM-SHA-256$15000:eA==$eA==:eA==\n', { mode: 0o600 })
    expect(() => accessOf({ authFile: path })).toThrow(
      /authFile: .*; allowed: reader, writer, admin, peer \(.*users line 1: the role of walt is not possible\)$/,
    )
  })

  const hasModes = process.platform !== 'win32'
  if (!hasModes) console.log('skipped: files that others may read; Windows has no such bits')
  test.skipIf(!hasModes)('files that others may read are used, with a warning', () => {
    const { logger, lines } = listener()
    const options = { authFile: authFileOf(users), clusterSecretFile: secretFileOf(), logger }
    accessOf(options)
    expect(lines).toEqual([])
    chmodSync(options.authFile, 0o640)
    chmodSync(options.clusterSecretFile, 0o604)
    accessOf(options)
    expect(lines).toMatchObject([
      {
        level: 'warn',
        path: options.authFile,
        mode: '640',
        phrase: 'others may read or change the auth file',
      },
      {
        level: 'warn',
        path: options.clusterSecretFile,
        mode: '604',
        phrase: 'others may read or change the cluster secret',
      },
    ])
  })
})

test('secrets show nowhere', async () => {
  const secret = new ClusterSecret(SECRET)
  const { access } = accessOf({ clusterSecretFile: secretFileOf(), authFile: authFileOf(users) })
  await access.ready()
  for (const thing of [secret, access, { secret }, [access.challenge()], accessOf])
    for (const shown of [inspect(thing, { depth: 10, showHidden: true }), JSON.stringify(thing) ?? ''])
      for (const hidden of [SECRET, passwordOf('walt'), users[1]?.keys.storedKey.toString('base64') ?? '?'])
        expect(shown).not.toContain(hidden)
  expect(JSON.stringify({ secret })).toBe('{"secret":"***"}')
  expect(() => new ClusterSecret('too short')).toThrow('at least 16 bytes')
  expect(() => new ClusterSecret('too short')).not.toThrow('too short')
})

test.each([
  ['walt', 'walt'],
  ['', ''],
  ['a b', 'a b'],
  ['\u001b[31m', '\\u001b[31m'],
  ['\u0000\u007f\u009b', '\\u0000\\u007f\\u009b'],
  ['\u202eevil', '\\u202eevil'],
  ['é', '\\u00e9'],
  ['x'.repeat(64), 'x'.repeat(64)],
  ['x'.repeat(65), `${'x'.repeat(64)}…`],
])('the name %j stands in a log as %s', (name, shown) => {
  expect(printable(name)).toBe(shown)
})
