// Authentication of a link, with a server that does it well, badly, too early, too often or never. Whatever it does: the
// link does not hang, says what happened, proves nothing to who did not ask for it, and is never ready with a server that
// has not proved itself.

import { createHook } from 'node:async_hooks'
import { setImmediate as afterIo } from 'node:timers/promises'
import { inspect } from 'node:util'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Credentials, CredentialsSource } from '../../protocol/authentication.ts'
import { LINK_REQUEST_ID, type LinkOptions } from '../../protocol/link.ts'
import { Capability, Opcode, Status } from '../../protocol/messages.ts'
import { deriveScramKeys, type ScramKeys, ScramServer } from '../../protocol/scram.ts'
import { mutated } from '../fuzz/mutations.ts'
import { decoded, frame, hex } from '../helpers/frames.ts'
import { greeting, linkOf } from '../helpers/link.ts'
import type { Connection } from '../helpers/server.ts'
import { randomFrom, seedRange, seeds } from '../server/store/random.ts'

const PASSWORD = 'correct horse, battery=staple'
const ITERATIONS = 15_000
const BOB = { username: 'bob', password: PASSWORD }
const DEMAND = greeting(Capability.Authentication)
const SEEDS = 400

let keys: ScramKeys
beforeAll(async () => {
  keys = await deriveScramKeys(PASSWORD, Buffer.alloc(16, 5), ITERATIONS)
})

const ok = (...operands: unknown[]) => frame(Status.Ok, LINK_REQUEST_ID, ...operands)

/** A link that begins at once, and whose n-th connection is `connection(n)`. */
function openLink(options: Partial<LinkOptions> = {}) {
  const made = linkOf({ credentials: async () => BOB, ...options })
  made.link.open()
  return {
    ...made,
    connection: async (index: number) => (await made.attempt(index)).succeed().connection,
    /** The n-th failure. */
    lost: async (index: number) => {
      await made.until(() => made.errors.length > index)
      return made.errors[index]
    },
  }
}

function bytesOf(value: unknown): Buffer {
  if (value instanceof Uint8Array) return Buffer.from(value)
  throw new Error(`not bytes: ${inspect(value)}`)
}

/** Takes HELLO, demands authentication, and takes AUTH; gives its message. */
async function takeAuth(server: Connection, hello: Buffer = DEMAND): Promise<Buffer> {
  await server.reply()
  server.send(hello)
  const [opcode, id, mechanism, first] = await server.reply()
  expect([opcode, id, mechanism]).toEqual([Opcode.Auth, LINK_REQUEST_ID, 'SCRAM-SHA-256'])
  return bytesOf(first)
}

/** The same, and AUTH PROOF; gives whom that proves the client to be, and what proves the server. */
async function takeProof(server: Connection, hello: Buffer = DEMAND) {
  const scram = new ScramServer(() => keys)
  server.send(ok(scram.first(await takeAuth(server, hello))))
  const [opcode, id, final] = await server.reply()
  expect([opcode, id]).toEqual([Opcode.AuthProof, LINK_REQUEST_ID])
  return scram.final(bytesOf(final))
}

/** A challenge to this AUTH, with parts of it put otherwise. */
function challenge(
  first: Buffer,
  { nonce = 'more', salt = 'c2FsdHNhbHQ=', count = String(ITERATIONS), rest = '' } = {},
): Buffer {
  const [, clientNonce] = /,r=([^,]+)/.exec(first.toString()) ?? []
  return Buffer.from(`r=${clientNonce}${nonce},s=${salt},i=${count}${rest}`)
}

describe('a server that does it well', () => {
  test('HELLO, AUTH, AUTH PROOF, and only then ready', async () => {
    const { connection, link, told, until } = openLink()
    const server = await connection(0)
    const { username, serverFinal } = await takeProof(server)
    expect(username).toBe('bob')
    expect([link.state, told]).toEqual(['authenticating', []])
    server.send(ok(serverFinal, 'writer'))
    await until(() => told.length > 0)
    expect([link.state, told]).toEqual(['ready', ['ready']])
    link.write(frame(Opcode.Get, 1, 'k'))
    expect(await server.reply()).toEqual([Opcode.Get, 1, 'k'])
  })

  test('the password is in nothing that is sent', async () => {
    const { connection } = openLink()
    const server = await connection(0)
    const sent = [await server.payload()]
    server.send(DEMAND)
    sent.push(await server.payload())
    const [, , , first] = decoded(sent[1] ?? Buffer.alloc(0))
    server.send(ok(new ScramServer(() => keys).first(bytesOf(first))))
    sent.push(await server.payload())
    for (const word of [PASSWORD, 'battery', Buffer.from(PASSWORD).toString('base64').slice(0, 16)])
      expect(Buffer.concat(sent).includes(word)).toBe(false)
  })

  test('replies may come byte by byte', async () => {
    const { connection, told, until } = openLink()
    const server = await connection(0)
    const scram = new ScramServer(() => keys)
    const inPieces = async (bytes: Buffer) => {
      for (const byte of bytes) {
        expect(told).toEqual([])
        server.send(Buffer.from([byte]))
        await afterIo()
      }
    }
    await inPieces(ok(scram.first(await takeAuth(server))))
    const [, , final] = await server.reply()
    await inPieces(ok(scram.final(bytesOf(final)).serverFinal))
    await until(() => told.length > 0)
    expect(told).toEqual(['ready'])
  })

  test('one that does not demand it has to prove itself all the same, if there are credentials', async () => {
    const { connection, link } = openLink()
    await takeProof(await connection(0), greeting(Capability.None))
    expect(link.state).toBe('authenticating')
  })

  test('one that does not demand it and refuses may know nobody: that is said', async () => {
    const { connection, lost } = openLink()
    const server = await connection(0)
    await takeAuth(server, greeting(Capability.None))
    server.send(frame(Status.Unauthenticated, LINK_REQUEST_ID, 'authentication failed'))
    expect(await lost(0)).toMatchObject({
      code: 'CACHE_UNAUTHENTICATED',
      message: 'a-server: authentication failed (it demands no authentication: perhaps it has no users)',
    })
  })

  test('the limit of a reply is that of the greeting until both are known', async () => {
    const { connection, lost } = openLink()
    const server = await connection(0)
    await takeAuth(server)
    server.send(Buffer.from([0, 1, 0, 1]))
    expect((await lost(0))?.message).toMatch(/limit of 65536/)
  })
})

describe('credentials', () => {
  test('there are none, and they are demanded: an error that says what to set, and nothing is sent', async () => {
    const { connection, lost, told } = openLink({ credentials: undefined })
    for (let i = 0; i < 3; i++) {
      const server = await connection(i)
      await server.reply()
      server.send(DEMAND)
      expect(await lost(i)).toMatchObject({
        code: 'CACHE_UNAUTHENTICATED',
        retriable: false,
        server: 'a-server',
        message:
          'a-server: the server demands authentication: give the options username and password, or credentials',
      })
      expect(await server.rest()).toHaveLength(0)
    }
    expect(told).not.toContain('ready')
  })

  test('refused: an error with the reason, longer and longer waits, and they are asked for anew', async () => {
    const given = ['first', 'second', PASSWORD]
    const waits: number[] = []
    const { connection, lost, link, told, until } = openLink({
      credentials: async () => ({ username: 'bob', password: given.shift() ?? '' }),
      reconnect: {
        minMs: 1,
        get maxMs() {
          waits.push(link.failures)
          return 4
        },
      },
    })
    for (let i = 0; i < 2; i++) {
      const server = await connection(i)
      server.send(ok(new ScramServer(() => keys).first(await takeAuth(server))))
      await server.reply()
      server.send(frame(Status.Unauthenticated, LINK_REQUEST_ID, 'user name or password is wrong'))
      expect(await lost(i)).toMatchObject({
        code: 'CACHE_UNAUTHENTICATED',
        retriable: false,
        server: 'a-server',
        message: 'a-server: user name or password is wrong',
      })
      await server.closed
      expect(link.failures).toBe(i + 1)
    }
    const server = await connection(2)
    server.send(ok((await takeProof(server)).serverFinal, 'writer'))
    await until(() => told.includes('ready'))
    expect(link.failures).toBe(0)
    expect(waits).toEqual([1, 2])
  })

  test.each<[what: string, source: CredentialsSource, message: RegExp, retriable: boolean]>([
    [
      'rejects',
      () => Promise.reject(new Error('the vault is closed')),
      /^a-server: credentials\(\) failed: the vault is closed$/,
      true,
    ],
    [
      'throws',
      () => {
        throw new Error('the vault is closed')
      },
      /^a-server: credentials\(\) failed: the vault is closed$/,
      true,
    ],
    ['rejects with no error', () => Promise.reject('closed'), /failed: closed$/, true],
    ['gives nothing', (() => undefined) as never, /credentials\(\) gave no \{ username, password \}/, false],
    ['gives text', (async () => 'bob') as never, /gave no \{ username, password \}/, false],
    ['gives no password', async () => ({ username: 'bob' }) as Credentials, /gave no/, false],
    ['gives an empty one', async () => ({ username: 'bob', password: '' }), /gave no/, false],
    ['gives a number', (async () => ({ username: 'bob', password: 5 })) as never, /gave no/, false],
  ])('a source that %s is told of, and asked again', async (_, credentials, message, retriable) => {
    const { connection, lost } = openLink({ credentials })
    for (let i = 0; i < 2; i++) {
      const server = await connection(i)
      await server.reply()
      server.send(DEMAND)
      const error = await lost(i)
      expect(error).toMatchObject({ code: 'CACHE_UNAUTHENTICATED', retriable, server: 'a-server' })
      expect(error?.message).toMatch(message)
      expect(await server.rest()).toHaveLength(0)
    }
  })

  test('a password that is nothing once it is prepared is an error, and nothing is sent of it', async () => {
    const { connection, lost } = openLink({
      credentials: async () => ({ username: 'bob', password: '\u00ad' }),
    })
    const server = await connection(0)
    server.send(ok(challenge(await takeAuth(server))))
    expect(await lost(0)).toMatchObject({
      code: 'CACHE_UNAUTHENTICATED',
      message: 'a-server: authentication failed: a password must not be empty',
    })
    expect(await server.rest()).toHaveLength(0)
  })
})

describe('the time to connect bounds all of it', () => {
  const connectTimeoutMs = 300

  test('credentials that never come', async () => {
    const { connection, lost } = openLink({ connectTimeoutMs, credentials: () => new Promise(() => {}) })
    const server = await connection(0)
    await server.reply()
    server.send(DEMAND)
    expect(await lost(0)).toMatchObject({
      code: 'CACHE_UNAUTHENTICATED',
      retriable: true,
      message: 'a-server: no credentials from credentials() within 300 ms',
    })
    await server.closed
  })

  test('no answer to AUTH; nor one that ever ends', async () => {
    const { connection, lost } = openLink({ connectTimeoutMs })
    const silent = await connection(0)
    await takeAuth(silent)
    expect(await lost(0)).toMatchObject({
      code: 'CACHE_UNAVAILABLE',
      retriable: true,
      message: 'a-server: no answer to AUTH within 300 ms',
    })
    const endless = await connection(1)
    await takeAuth(endless)
    let isClosed = false
    void endless.closed.then(() => {
      isClosed = true
    })
    endless.send(hex('0000f000 9300ceffffffff c5efff'))
    for (let sent = 0; !isClosed && sent < 0xe000; sent++) {
      endless.send(Buffer.from('x'))
      await afterIo()
    }
    expect(await lost(1)).toMatchObject({ message: 'a-server: no answer to AUTH within 300 ms' })
  })

  test('no answer to AUTH PROOF', async () => {
    const { connection, lost } = openLink({ connectTimeoutMs: 1000 })
    await takeProof(await connection(0))
    expect((await lost(0))?.message).toBe('a-server: no answer to AUTH PROOF within 1000 ms')
  })

  test('a proof that takes too long: the next attempt waits for it, so that only one is computed', async () => {
    let running = 0
    let most = 0
    const derivations = new Set<number>()
    const hook = createHook({
      init(id, type) {
        if (type !== 'PBKDF2REQUEST') return
        derivations.add(id)
        most = Math.max(most, ++running)
      },
      before(id) {
        if (derivations.delete(id)) running--
      },
    }).enable()
    onTestFinished(() => void hook.disable())
    const { connection, lost } = openLink({ connectTimeoutMs })
    for (let i = 0; i < 3; i++) {
      const server = await connection(i)
      const salt = Buffer.from(`another salt ${i}`).toString('base64')
      server.send(ok(challenge(await takeAuth(server), { salt, count: '3000000' })))
      expect((await lost(i))?.message).toBe('a-server: no proof computed within 300 ms')
      expect(await server.rest()).toHaveLength(0)
    }
    expect(most).toBe(1)
  })
})

describe('a server that says the wrong thing', () => {
  test('a wrong signature: never ready, and it is called what it is', async () => {
    const { connection, lost, told } = openLink()
    const server = await connection(0)
    const { serverFinal } = await takeProof(server)
    const last = Buffer.from(serverFinal)
    // Another digit of base64.
    last.write(last.readUInt8(5) === 0x41 ? 'B' : 'A', 5)
    server.send(ok(last, 'admin'))
    expect(await lost(0)).toMatchObject({
      code: 'CACHE_UNAUTHENTICATED',
      retriable: false,
      message: 'a-server: authentication failed: the server did not prove that it knows the password',
    })
    await server.closed
    expect(told).not.toContain('ready')
  })

  test.each<[what: string, final: (serverFinal: Buffer) => Buffer]>([
    ['nothing', () => ok()],
    ['no bytes', () => ok(Buffer.alloc(0))],
    ['a number', () => ok(5)],
    ['a reason', () => ok(Buffer.from('e=other-error'))],
    ['half of it', (final) => ok(final.subarray(0, 20))],
    ['it twice', (final) => ok(Buffer.concat([final, Buffer.from(','), final]))],
    ['another status', (final) => frame(Status.Miss, LINK_REQUEST_ID, final)],
    ['the greeting', () => DEMAND],
  ])('for its signature %s', async (_, final) => {
    const { connection, lost, told } = openLink()
    const server = await connection(0)
    server.send(final((await takeProof(server)).serverFinal))
    expect(await lost(0)).toMatchObject({ server: 'a-server' })
    await server.closed
    expect(told).not.toContain('ready')
  })

  test.each<[what: string, answer: (first: Buffer) => Buffer]>([
    ['2^31 iterations', (first) => ok(challenge(first, { count: '2147483648' }))],
    ['10 000 001 iterations', (first) => ok(challenge(first, { count: '10000001' }))],
    ['1 iteration', (first) => ok(challenge(first, { count: '1' }))],
    ['-15000 iterations', (first) => ok(challenge(first, { count: '-15000' }))],
    ['1e5 iterations', (first) => ok(challenge(first, { count: '1e5' }))],
    ['the nonce as it was', (first) => ok(challenge(first, { nonce: '' }))],
    ['another nonce', () => ok(Buffer.from('r=anotherOne,s=c2FsdHNhbHQ=,i=15000'))],
    ['no salt', (first) => ok(challenge(first, { salt: '' }))],
    ['a salt that is none', (first) => ok(challenge(first, { salt: '????' }))],
    ['what must be understood', (first) => ok(Buffer.concat([Buffer.from('m=x,'), challenge(first)]))],
    ['something very long', (first) => ok(challenge(first, { rest: `,x=${'x'.repeat(60_000)}` }))],
    ['garbage', () => ok(Buffer.alloc(50, 0xff))],
    ['no bytes', () => ok(Buffer.alloc(0))],
    ['nothing', () => ok()],
    ['a number', () => ok(5)],
    ['a list', () => ok(['r=1'])],
    ['the greeting', () => DEMAND],
    ['a miss', () => frame(Status.Miss, LINK_REQUEST_ID)],
    ['a conflict', (first) => frame(Status.Conflict, LINK_REQUEST_ID, challenge(first))],
    ['an error without a text', () => frame(Status.Internal, LINK_REQUEST_ID)],
    ['an error whose text is none', () => frame(Status.Unauthenticated, LINK_REQUEST_ID, 5)],
    ['no frame', () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ])('as its challenge %s: no proof', async (_, answer) => {
    const { connection, lost, told } = openLink()
    const server = await connection(0)
    server.send(answer(await takeAuth(server)))
    const error = await lost(0)
    expect(error?.server).toBe('a-server')
    expect(inspect(error)).not.toContain(PASSWORD)
    expect(await server.rest()).toHaveLength(0)
    expect(told).not.toContain('ready')
  })

  test.each<[status: number, code: string, retriable: boolean, message: RegExp]>([
    [Status.Unauthenticated, 'CACHE_UNAUTHENTICATED', false, /: because$/],
    [Status.Forbidden, 'CACHE_FORBIDDEN', false, /: because$/],
    [Status.Overloaded, 'CACHE_OVERLOADED', true, /: because$/],
    [Status.ShuttingDown, 'CACHE_UNAVAILABLE', true, /: because$/],
    [Status.UnknownOpcode, 'CACHE_UNAUTHENTICATED', false, /the server knows no authentication/],
    [77, 'CACHE_PROTOCOL', false, /: because$/],
  ])('status %i', async (status, code, retriable, message) => {
    const { connection, lost } = openLink()
    const server = await connection(0)
    await takeAuth(server)
    server.send(frame(status, LINK_REQUEST_ID, 'because'))
    const error = await lost(0)
    expect(error).toMatchObject({ code, retriable })
    expect(error?.message).toMatch(message)
  })

  test.each([Status.Unauthenticated, Status.Forbidden])('status %i to HELLO', async (status) => {
    const { connection, lost } = openLink({ credentials: undefined })
    const server = await connection(0)
    server.send(frame(status, LINK_REQUEST_ID, 'a certificate is needed'))
    expect(await lost(0)).toMatchObject({
      code: status === Status.Forbidden ? 'CACHE_FORBIDDEN' : 'CACHE_UNAUTHENTICATED',
      message: 'a-server: a certificate is needed',
    })
  })

  test('an answer before AUTH, or two to one: lost, and nothing is proved', async () => {
    const { connection, lost } = openLink()
    const early = await connection(0)
    await early.reply()
    early.send(DEMAND, ok(Buffer.from('r=x,s=c2FsdHNhbHQ=,i=15000')))
    expect((await lost(0))?.message).toMatch(/an answer to AUTH that was not asked for/)
    expect(await early.rest()).toHaveLength(0)

    const twice = await connection(1)
    const answer = ok(challenge(await takeAuth(twice)))
    twice.send(answer, answer)
    expect((await lost(1))?.message).toMatch(/an answer to AUTH that was not asked for/)
    expect(await twice.rest()).toHaveLength(0)
  })

  test('a signature before the proof, and one after it was taken already', async () => {
    const { connection, lost, told, until } = openLink()
    const early = await connection(0)
    early.send(ok(challenge(await takeAuth(early))))
    await afterIo()
    early.send(ok(Buffer.from('v=AAAA'), 'admin'))
    expect((await lost(0))?.message).toMatch(/not asked for|did not prove/)
    const server = await connection(1)
    const { serverFinal } = await takeProof(server)
    server.send(ok(serverFinal), ok(serverFinal), frame(Status.Miss, 7))
    await until(() => told.includes('reply 1 7'))
    expect(told).toEqual(['lost', 'ready', 'reply 1 7'])
  })

  test('replies to requests that nobody made change nothing', async () => {
    const { connection, told, until } = openLink()
    const server = await connection(0)
    const first = await takeAuth(server)
    const scram = new ScramServer(() => keys)
    server.send(frame(Status.Ok, 7), frame(99, 0, 'a push of the future'), ok(scram.first(first)))
    const [, , final] = await server.reply()
    server.send(ok(scram.final(bytesOf(final)).serverFinal))
    await until(() => told.includes('ready'))
    expect(told).toEqual(['reply 0 7', 'ready'])
  })

  test(`spoilt answers, to AUTH and to AUTH PROOF: ${seedRange(SEEDS)}`, async () => {
    const { connection, errors, told, until } = openLink({ reconnect: { minMs: 1, maxMs: 1 } })
    let index = 0
    for (const seed of seeds(SEEDS)) {
      const random = randomFrom(seed)
      const settled = told.length
      const server = await connection(index++)
      const isChallenge = random.oneIn(2)
      const right = isChallenge ? challenge(await takeAuth(server)) : (await takeProof(server)).serverFinal
      const spoilt = mutated(ok(right, 'writer'), random)
      server.send(spoilt)
      // What is not answered by now never will be.
      await afterIo()
      server.transport.end()
      await until(() => told.slice(settled).includes('lost'))
      // Bytes that do not matter may have been hit.
      if (told.slice(settled).includes('ready') && (isChallenge || !spoilt.includes(right)))
        throw new Error(`seed ${seed}: ready after ${spoilt.toString('hex')}`)
    }
    expect(errors).toHaveLength(SEEDS)
    for (const error of errors) expect(error.message).not.toContain(PASSWORD)
  })
})

describe('what is under way when the connection is gone', () => {
  test('credentials that come late are not sent to the next connection', async () => {
    const late: ((credentials: Credentials) => void)[] = []
    const { connection, lost, link } = openLink({
      credentials: () =>
        new Promise((resolve) => {
          late.push(resolve)
        }),
    })
    const former = await connection(0)
    await former.reply()
    former.send(DEMAND)
    await afterIo()
    former.transport.destroy()
    await lost(0)
    const next = await connection(1)
    await next.reply()
    late[0]?.(BOB)
    await afterIo()
    expect([next.receivedBytes, link.state]).toEqual([0, 'greeting'])
    next.send(DEMAND)
    await afterIo()
    expect(next.receivedBytes).toBe(0)
    late[1]?.({ username: 'alice', password: 'x' })
    const [opcode, , , first] = await next.reply()
    expect(opcode).toBe(Opcode.Auth)
    expect(bytesOf(first).toString()).toMatch(/^n,,n=alice,/)
  })

  test('a proof that is computed late is not sent to the next connection', async () => {
    const { connection, lost } = openLink()
    const former = await connection(0)
    const salt = Buffer.from('a salt of its own').toString('base64')
    former.send(ok(challenge(await takeAuth(former), { salt, count: '300000' })))
    former.transport.end()
    await lost(0)
    const next = await connection(1)
    // Its own proof waits for the former one.
    const { username } = await takeProof(next)
    expect(username).toBe('bob')
  })

  test.each(['close', 'destroy'] as const)('%s at any step: nothing more is sent, nor told', async (end) => {
    const steps: ((server: Connection) => Promise<unknown>)[] = [
      async (server) => {
        await server.reply()
        server.send(DEMAND)
      },
      takeAuth,
      async (server) => server.send(ok(challenge(await takeAuth(server), { count: '100000' }))),
      takeProof,
    ]
    for (const step of steps) {
      const { connection, link, told } = openLink()
      const server = await connection(0)
      await step(server)
      link[end]()
      expect(link.state).toBe('closed')
      await server.closed
      const left = server.receivedBytes
      await new Promise((resolve) => setTimeout(resolve, 20))
      expect([server.receivedBytes, told]).toEqual([left, []])
    }
  })
})

test('a server that takes the permission back: lost, with its reason', async () => {
  const { connection, told, until, lost } = openLink()
  const server = await connection(0)
  server.send(ok((await takeProof(server)).serverFinal, 'writer'))
  await until(() => told.includes('ready'))
  server.send(frame(Status.Unauthenticated, 0, 'this user has a new password'))
  expect(await lost(0)).toMatchObject({
    code: 'CACHE_UNAUTHENTICATED',
    message: 'a-server: this user has a new password',
  })
  await server.closed
})
