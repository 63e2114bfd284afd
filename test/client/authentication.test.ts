// Clients that have to say who they are: to a real server with an auth file, and to fake ones that let nobody in, or
// only later. Calls fail open or reject as in any outage, but with the reason, and with no password in it.

import { inspect } from 'node:util'
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { OrmucoCacheClient } from '../../client/client.ts'
import type { Credentials } from '../../protocol/authentication.ts'
import type { CacheError } from '../../protocol/errors.ts'
import { Capability, Opcode } from '../../protocol/messages.ts'
import type { User } from '../../server/users.ts'
import { clientTls, serverFiles } from '../helpers/certificates.ts'
import { addressOf, clientOf, nextEvent, PATIENT_MS } from '../helpers/client.ts'
import { answerAll, startFakeServer } from '../helpers/fake-server.ts'
import { startServer } from '../helpers/server.ts'
import { authFileOf, doorkeeping, passwordOf, someUsers, userOf, writeAuthFile } from '../helpers/users.ts'

const RECONNECT = { minMs: 1, maxMs: 5 }
/** Longer than a test may last: who waits for a deadline fails. */
const FOREVER_MS = 3_600_000
/** After a failed attempt there is none for as long as a test lasts. */
const NEVER_AGAIN = { minMs: 2 ** 30, maxMs: 2 ** 30 }
const as = (name: string, password = passwordOf(name)) => ({ username: name, password })

let users: User[]
beforeAll(async () => {
  users = await someUsers()
})

/** The error of a call that has none of its own outcomes for that. */
async function rejection(call: Promise<unknown>): Promise<CacheError> {
  return call.then(
    (value) => {
      throw new Error(`resolved with ${inspect(value)}`)
    },
    (error: CacheError) => error,
  )
}

/** How every kind of call ends for a client that is not let in. */
async function expectNotLetIn(client: OrmucoCacheClient, server: string, message: RegExp): Promise<void> {
  const rejected = await Promise.all(
    [
      client.connect(),
      client.delete('k'),
      client.touch('k', 1),
      client.increment('k'),
      client.clear(),
      client.stats(),
      client.deleteMany(['k']),
    ].map(rejection),
  )
  const [found, stored, values, many] = await Promise.all([
    client.lookup('k'),
    client.store('k', 1),
    Promise.all([client.retrieve('k'), client.has('k'), client.inspect('k'), client.retrieveMany(['k'])]),
    client.storeMany([['k', 1]]),
  ])
  expect(values).toEqual([undefined, false, undefined, [undefined]])
  for (const outcome of [found, stored, ...many]) {
    expect(outcome.outcome).toBe('unavailable')
    if (outcome.outcome === 'unavailable') rejected.push(outcome.error)
    if ('maybeStored' in outcome) expect(outcome.maybeStored).toBe(false)
  }
  expect(rejected).toHaveLength(10)
  for (const error of rejected) {
    expect(error).toMatchObject({ name: 'CacheError', code: 'CACHE_UNAUTHENTICATED', server })
    expect(error.message).toMatch(message)
    expect(inspect(error, { depth: 10, showHidden: true })).not.toMatch(/the password of/)
  }
  expect(client.counters()).toMatchObject({ inFlight: 0, pending: 0, outages: 1 })
}

describe('a server that demands it', () => {
  test('nothing but HELLO is sent before both sides have proved themselves', async () => {
    const server = await startFakeServer(doorkeeping(users))
    const client = clientOf(server.address, as('walt'))
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
    const { requests } = await server.connection(0)
    expect(requests.map(([opcode]) => opcode)).toEqual([Opcode.Auth, Opcode.AuthProof, Opcode.Set])
    expect(inspect(requests, { depth: 10 })).not.toContain(passwordOf('walt'))
  })

  test('a client without credentials is told what to set, by every call, and connect does not wait', async () => {
    const server = await startFakeServer({ capabilities: Capability.Authentication })
    const client = clientOf(server.address, { timeoutMs: FOREVER_MS, reconnect: RECONNECT })
    const event = nextEvent(client, 'unavailable')
    const message = /^127\.0\.0\.1:\d+: the server demands authentication: give the options username and pass/
    await expectNotLetIn(client, server.address, message)
    expect(await event).toMatchObject({ server: server.address, error: { code: 'CACHE_UNAUTHENTICATED' } })
    expect(server.connections.flatMap(({ requests }) => requests)).toEqual([])
  })

  test.each([
    ['a wrong password', as('walt', 'guessed')],
    ['an unknown name', as('mallory')],
  ])('%s: the reason, at once, whoever asks', async (_, credentials) => {
    const server = await startFakeServer(doorkeeping(users))
    const client = clientOf(server.address, { ...credentials, timeoutMs: FOREVER_MS, reconnect: RECONNECT })
    await expectNotLetIn(client, server.address, /^127\.0\.0\.1:\d+: authentication failed$/)
  })

  test('a write that waits for the next attempt ends at its deadline with the reason, and not as late', async () => {
    const server = await startFakeServer(doorkeeping(users))
    const client = clientOf(server.address, { ...as('mallory'), reconnect: NEVER_AGAIN })
    expect((await rejection(client.connect())).code).toBe('CACHE_UNAUTHENTICATED')
    const stored = await client.store('k', 1, { timeoutMs: 30 })
    expect(stored).toMatchObject({
      outcome: 'unavailable',
      maybeStored: false,
      error: { code: 'CACHE_UNAUTHENTICATED', server: server.address },
    })
    expect((await rejection(client.connect({ timeoutMs: 30 }))).code).toBe('CACHE_UNAUTHENTICATED')
    expect(client.counters()).toMatchObject({ timeouts: 0, unavailable: 1 })
    expect(server.connections).toHaveLength(1)
  })

  test('of two servers one knows the user: that one serves, and nobody hears no', async () => {
    const stranger = await startFakeServer(doorkeeping([]))
    const friend = await startFakeServer(doorkeeping(users))
    const servers = [stranger.address, friend.address]
    const client = clientOf(servers.join(), { ...as('walt'), timeoutMs: FOREVER_MS, reconnect: RECONNECT })
    await client.connect()
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
    expect(stranger.connections).toHaveLength(1)
  })

  test('of two servers neither does: then it is told', async () => {
    const strangers = [await startFakeServer(doorkeeping([])), await startFakeServer(doorkeeping([]))]
    const servers = strangers.map(({ address }) => address)
    const client = clientOf(servers.join(), { ...as('walt'), timeoutMs: FOREVER_MS, reconnect: RECONNECT })
    expect(await rejection(client.connect())).toMatchObject({ code: 'CACHE_UNAUTHENTICATED' })
    for (const { connections } of strangers) expect(connections).toHaveLength(1)
  })
})

describe('a server that does not prove itself', () => {
  test('is not used: it knows no such opcode', async () => {
    const server = await startFakeServer({
      onRequest: ([, id], connection) => connection.send([18, id, 'there is no opcode 20']),
    })
    const client = clientOf(server.address, { ...as('walt'), reconnect: RECONNECT })
    expect(await rejection(client.connect())).toMatchObject({
      code: 'CACHE_UNAUTHENTICATED',
      message: `${server.address}: the server knows no authentication, and credentials were given`,
    })
  })

  test('is not used: it says yes to everything', async () => {
    const server = await startFakeServer({
      onRequest: (request, connection) => {
        const [opcode, id, , first] = request
        if (opcode === Opcode.Auth) {
          const [, nonce] = /,r=(.*)$/.exec(String(first)) ?? []
          connection.send([0, id, Buffer.from(`r=${nonce}0,s=c2FsdHNhbHQ=,i=15000`)])
        } else if (opcode === Opcode.AuthProof) {
          const signature = Buffer.alloc(32).toString('base64')
          connection.send([0, id, Buffer.from(`v=${signature}`), 'admin'])
        } else answerAll(request, connection)
      },
    })
    const client = clientOf(server.address, { ...as('walt'), reconnect: RECONNECT })
    expect(await rejection(client.connect())).toMatchObject({
      code: 'CACHE_UNAUTHENTICATED',
      message: `${server.address}: authentication failed: the server did not prove that it knows the password`,
    })
    expect(await client.store('k', 'secret')).toMatchObject({ outcome: 'unavailable', maybeStored: false })
    const opcodes = server.connections.flatMap(({ requests }) => requests.map(([opcode]) => opcode))
    expect(new Set(opcodes)).toEqual(new Set([Opcode.Auth, Opcode.AuthProof]))
  })
})

describe('credentials()', () => {
  test('is asked for each connection, so that a new password is found by itself', async () => {
    const server = await startFakeServer(doorkeeping(users))
    let password = 'the old one'
    let asked = 0
    const client = clientOf(server.address, {
      credentials: async () => {
        asked++
        return { username: 'walt', password }
      },
      reconnect: RECONNECT,
    })
    expect(await rejection(client.connect())).toMatchObject({ code: 'CACHE_UNAUTHENTICATED' })
    const available = nextEvent(client, 'available')
    password = passwordOf('walt')
    expect(await available).toMatchObject({ server: server.address })
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
    expect(asked).toBe(server.connections.length)
  })

  test('that rejects is told of, tried again, and waited for while calls have time', async () => {
    const server = await startFakeServer(doorkeeping(users))
    let left = 3
    const client = clientOf(server.address, {
      credentials: async () => {
        if (left-- > 0) throw new Error('the vault is closed')
        return as('walt')
      },
      reconnect: RECONNECT,
    })
    const event = nextEvent(client, 'unavailable')
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
    expect(await event).toMatchObject({
      error: {
        code: 'CACHE_UNAUTHENTICATED',
        retriable: true,
        message: `${server.address}: credentials() failed: the vault is closed`,
        cause: new Error('the vault is closed'),
      },
    })
  })

  test('that never settles: each attempt has the time to connect, and calls their deadlines', async () => {
    const server = await startFakeServer(doorkeeping(users))
    const client = clientOf(server.address, {
      credentials: () => new Promise(() => {}),
      connectTimeoutMs: 1000,
      reconnect: RECONNECT,
    })
    const event = nextEvent(client, 'unavailable')
    expect(await client.store('k', 1, { timeoutMs: 2500 })).toMatchObject({
      outcome: 'unavailable',
      maybeStored: false,
      error: { code: 'CACHE_UNAUTHENTICATED', server: server.address },
    })
    expect(await event).toMatchObject({
      error: { message: `${server.address}: no credentials from credentials() within 1000 ms` },
    })
    expect(await client.lookup('k')).toMatchObject({
      outcome: 'unavailable',
      error: { code: 'CACHE_UNAUTHENTICATED' },
    })
  })

  test('may still be under way when the client is closed', async () => {
    const server = await startFakeServer(doorkeeping(users))
    let give: (credentials: Credentials) => void = () => {}
    let onAsked = () => {}
    const asked = new Promise<void>((resolve) => {
      onAsked = resolve
    })
    const client = clientOf(server.address, {
      credentials: () => {
        onAsked()
        return new Promise((resolve) => {
          give = resolve
        })
      },
    })
    const found = client.lookup('k')
    await asked
    await client.close({ timeoutMs: 1 })
    expect(await found).toMatchObject({ outcome: 'unavailable', error: { code: 'CACHE_CLOSED' } })
    give(as('walt'))
    const connection = await server.connection(0)
    await connection.closed
    expect(connection.requests).toEqual([])
  })
})

describe('a server with an auth file', () => {
  test('a reader reads, a writer writes, an admin clears; the rest is forbidden, and said to be', async () => {
    const server = await startServer({ authFile: authFileOf(users) })
    const [reader, writer, admin] = ['rhea', 'walt', 'adam'].map((name) => clientOf(server, as(name)))
    if (reader === undefined || writer === undefined || admin === undefined) throw new Error('no clients')
    const forbidden = { code: 'CACHE_FORBIDDEN', retriable: false, server: addressOf(server) }

    expect(await writer.store('k', 1)).toMatchObject({ outcome: 'stored' })
    expect(await reader.retrieve('k')).toBe(1)
    // As with a value that is too large: `store` says so in its outcome, what rejects otherwise rejects.
    expect(await reader.store('k', 2)).toMatchObject({
      outcome: 'unavailable',
      maybeStored: false,
      error: forbidden,
    })
    expect(await reader.storeMany([['k', 2]])).toMatchObject([{ outcome: 'unavailable', error: forbidden }])
    await expect(reader.store('k', 2, { onUnavailable: 'throw' })).rejects.toMatchObject(forbidden)
    await expect(reader.delete('k')).rejects.toMatchObject(forbidden)
    await expect(reader.increment('k')).rejects.toMatchObject(forbidden)
    await expect(writer.clear()).rejects.toMatchObject(forbidden)
    expect(await writer.increment('k')).toBe(2)
    expect(await reader.retrieve('k')).toBe(2)
    await admin.clear()
    expect(await reader.lookup('k')).toEqual({ outcome: 'miss' })
    for (const client of [reader, writer, admin]) expect(client.counters().outages).toBe(0)
  })

  test('who is no client at all may do nothing: reads fail open, with the reason', async () => {
    const authFile = authFileOf([await userOf('pia', 'peer')])
    const client = clientOf(await startServer({ authFile }), as('pia'))
    expect(await client.retrieve('k')).toBeUndefined()
    expect(await client.lookup('k')).toMatchObject({
      outcome: 'unavailable',
      error: { code: 'CACHE_FORBIDDEN', retriable: false },
    })
    expect(client.counters()).toMatchObject({ unavailable: 2, outages: 0 })
  })

  test('a client whose servers come from the environment', async () => {
    const server = await startServer({ authFile: authFileOf(users) })
    const variables = {
      SERVERS: addressOf(server),
      CACHE_USERNAME: 'walt',
      CACHE_PASSWORD: passwordOf('walt'),
    }
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value)
    onTestFinished(() => void vi.unstubAllEnvs())
    const client = new OrmucoCacheClient({ timeoutMs: PATIENT_MS })
    onTestFinished(() => client.destroy())
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
  })

  test('over TLS: by password, and by a certificate, which needs none', async () => {
    const files = await serverFiles()
    const server = await startServer({ ...files.mutual, authFile: authFileOf(users) })
    const byPassword = clientOf(server, { ...as('walt'), tls: await clientTls() })
    const byCertificate = clientOf(server, { tls: await clientTls({ commonName: 'c', units: ['reader'] }) })
    const byNeither = clientOf(server, { tls: await clientTls(), reconnect: RECONNECT })
    expect(await byPassword.store('k', 1)).toMatchObject({ outcome: 'stored' })
    expect(await byCertificate.retrieve('k')).toBe(1)
    expect(await byCertificate.store('k', 2)).toMatchObject({ error: { code: 'CACHE_FORBIDDEN' } })
    expect(await rejection(byNeither.connect())).toMatchObject({ code: 'CACHE_UNAUTHENTICATED' })
  })

  test.each([
    ['without credentials', {}, /the server demands authentication/],
    ['with a wrong password', as('walt', 'guessed'), /authentication failed/],
    ['with an unknown name', as('mallory'), /authentication failed/],
  ])('%s nothing goes', async (_, credentials, message) => {
    const server = await startServer({ authFile: authFileOf(users) })
    const client = clientOf(server, { ...credentials, timeoutMs: FOREVER_MS, reconnect: RECONNECT })
    await expectNotLetIn(client, addressOf(server), message)
  })

  test('calls of the first tick wait for the greeting, all of it', async () => {
    const server = await startServer({ authFile: authFileOf(users) })
    const client = clientOf(server, as('walt'))
    const keys = Array.from({ length: 100 }, (_, index) => `key ${index}`)
    const stored = await Promise.all(keys.map((key) => client.store(key, key)))
    for (const { outcome } of stored) expect(outcome).toBe('stored')
    expect(await client.retrieveMany(keys)).toEqual(keys)
  })

  test('after a restart it proves itself again', async () => {
    const authFile = authFileOf(users)
    const first = await startServer({ authFile })
    const client = clientOf(first, { ...as('walt'), reconnect: RECONNECT })
    await client.connect()
    const lost = nextEvent(client, 'unavailable')
    const port = first.address?.port ?? 0
    first.destroy()
    await lost
    const back = nextEvent(client, 'available')
    await startServer({ authFile, port })
    await back
    expect(await client.store('k', 1, { timeoutMs: PATIENT_MS })).toMatchObject({ outcome: 'stored' })
  })

  test('a password that is changed: the connection ends, and the new one is found', async () => {
    const authFile = authFileOf(users)
    const server = await startServer({ authFile })
    let password = passwordOf('walt')
    const client = clientOf(server, {
      credentials: async () => ({ username: 'walt', password }),
      reconnect: RECONNECT,
    })
    await client.connect()
    const lost = nextEvent(client, 'unavailable')
    writeAuthFile(authFile, [...users.slice(0, 1), await userOf('walt', 'writer', 'a new one')])
    server.reload()
    await lost
    const back = nextEvent(client, 'available')
    password = 'a new one'
    await back
    expect(await client.store('k', 1)).toMatchObject({ outcome: 'stored' })
  })
})
