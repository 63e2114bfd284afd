// SCRAM-SHA-256: the vector of RFC 7677 from both ends, and every message of an exchange damaged in every field and
// in every byte.

import { describe, expect, test } from 'vitest'
import {
  deriveScramKeys,
  SCRAM_ITERATIONS_MAX,
  SCRAM_ITERATIONS_MIN,
  SCRAM_MESSAGE_BYTES_MAX,
  ScramClient,
  ScramError,
  type ScramKeys,
  ScramServer,
} from '../../protocol/scram.ts'
import { rememberedClientKeys } from '../../protocol/scram-keys.ts'

/** RFC 7677, section 3. */
const VECTOR = {
  username: 'user',
  password: 'pencil',
  clientNonce: 'rOprNGfwEbeRWgbNEkqO',
  serverNonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  salt: 'W22ZaJ0SNY7soEsUEjb6gQ==',
  iterations: 4096,
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal:
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
} as const

const SALT = Buffer.from(VECTOR.salt, 'base64')
const N = VECTOR.clientNonce
const NN = VECTOR.clientNonce + VECTOR.serverNonce
const PROOF = VECTOR.clientFinal.slice(-44)

const vectorKeys = await deriveScramKeys(VECTOR.password, SALT, VECTOR.iterations)

function vectorClient(): ScramClient {
  return new ScramClient(VECTOR.username, VECTOR.password, VECTOR.clientNonce, VECTOR.iterations)
}

function vectorServer(): ScramServer {
  return new ScramServer(() => vectorKeys, VECTOR.serverNonce)
}

/** A client that asked already. */
function askedClient(): ScramClient {
  const client = vectorClient()
  client.first()
  return client
}

/** A server that challenged already. */
function challengedServer(): ScramServer {
  const server = vectorServer()
  server.first(Buffer.from(VECTOR.clientFirst))
  return server
}

/** A client that proved itself already. */
async function provedClient(): Promise<ScramClient> {
  const client = askedClient()
  await client.final(Buffer.from(VECTOR.serverFirst))
  return client
}

/** Plays it to its end; gives the name that the server learned. */
async function authenticate(client: ScramClient, server: ScramServer): Promise<string> {
  const challenge = server.first(client.first())
  const { username, serverFinal } = server.final(await client.final(challenge))
  client.verify(serverFinal)
  return username
}

async function keysFor(password: string, iterations = SCRAM_ITERATIONS_MIN): Promise<ScramKeys> {
  return deriveScramKeys(password, Buffer.from('sixteen bytes ..'), iterations)
}

describe('the vector of RFC 7677', () => {
  test('as the client', async () => {
    const client = vectorClient()
    expect(client.first().toString()).toBe(VECTOR.clientFirst)
    expect((await client.final(Buffer.from(VECTOR.serverFirst))).toString()).toBe(VECTOR.clientFinal)
    expect(() => client.verify(Buffer.from(VECTOR.serverFinal))).not.toThrow()
  })

  test('as the server', () => {
    const server = vectorServer()
    expect(server.first(Buffer.from(VECTOR.clientFirst)).toString()).toBe(VECTOR.serverFirst)
    const { username, serverFinal } = server.final(Buffer.from(VECTOR.clientFinal))
    expect(username).toBe('user')
    expect(serverFinal.toString()).toBe(VECTOR.serverFinal)
  })
})

describe('names and passwords', () => {
  test.each([
    ['a=b,c', 'n,,n=a=3Db=2Cc,r='],
    ['=2C', 'n,,n==3D2C,r='],
    ['=,=,', 'n,,n==3D=2C=3D=2C,r='],
    ['世界', 'n,,n=世界,r='],
  ])('the name %j is escaped, and read as it was', async (username, begin) => {
    const keys = await keysFor('secret')
    const asked: string[] = []
    const server = new ScramServer((name) => {
      asked.push(name)
      return keys
    })
    expect(new ScramClient(username, 'secret').first().toString()).toContain(begin)
    expect(await authenticate(new ScramClient(username, 'secret'), server)).toBe(username)
    expect(asked).toEqual([username])
  })

  test.each([
    ['é', 'e\u0301'],
    ['ＡＢ', 'AB'],
    ['a b', 'a\u00a0b'],
    ['ab', 'a\u00adb'],
    ['ﬁ', 'fi'],
  ])('%j is the password %j as well', async (one, other) => {
    const keys = await keysFor(one)
    await authenticate(new ScramClient('user', other), new ScramServer(() => keys))
  })

  test.each(['Pencil', 'pencil ', 'pencils', 'é'])('%j is not pencil', async (password) => {
    const client = new ScramClient('user', password, VECTOR.clientNonce, VECTOR.iterations)
    await expect(authenticate(client, vectorServer())).rejects.toThrow(new ScramError('the proof is wrong'))
  })

  test.each(['', '\u00ad'])('%j is no password', async (password) => {
    await expect(keysFor(password)).rejects.toThrow(RangeError)
  })
})

describe('a server refuses as the first message', () => {
  test.each([
    ['', 'the header is not n,,'],
    ['n=user,r=abc', 'the header is not n,,'],
    ['y,,n=user,r=abc', 'the header is not n,,'],
    ['p=tls-exporter,,n=user,r=abc', 'the header is not n,,'],
    ['n,a=admin,n=user,r=abc', 'the header is not n,,'],
    ['N,,n=user,r=abc', 'the header is not n,,'],
    ['\ufeffn,,n=user,r=abc', 'the header is not n,,'],
    ['n,,', 'attribute n is missing'],
    ['n,,n=user', 'attribute r is missing'],
    ['n,,r=abc', 'attribute n is missing'],
    ['n,,r=abc,n=user', 'attribute n is missing'],
    ['n,,n=,r=abc', 'not a list of attributes'],
    ['n,,n=user,r=', 'not a list of attributes'],
    ['n,,n=us\0er,r=abc', 'not a list of attributes'],
    ['n,,n=user,r=a\u00e9c', 'a nonce is 1 to 1024 characters of printable ASCII'],
    ['n,,n=user,r=a c', 'a nonce is 1 to 1024 characters of printable ASCII'],
    [`n,,n=user,r=${'a'.repeat(1025)}`, 'a nonce is 1 to 1024 characters of printable ASCII'],
    ['n,,m=new,n=user,r=abc', 'an extension that must be understood is not'],
    ['n,,n=user,m=new,r=abc', 'an extension that must be understood is not'],
    ['n,,n=user,r=abc,m=new', 'an extension that must be understood is not'],
    ['n,,n=user,r=abc,n=admin', 'attribute n stands there twice'],
    ['n,,n=user,r=abc,', 'not a list of attributes'],
    ['n,,n=user,r=abc,xy', 'not a list of attributes'],
    ['n,,n=user,r=abc,1=y', 'not a list of attributes'],
    ['n,,n=us=er,r=abc', 'a name is escaped with =2C and =3D alone'],
    ['n,,n=us=2cer,r=abc', 'a name is escaped with =2C and =3D alone'],
    ['n,,n=user=,r=abc', 'a name is escaped with =2C and =3D alone'],
    [
      `n,,n=user,r=abc,x=${'y'.repeat(SCRAM_MESSAGE_BYTES_MAX)}`,
      'a message has at most 4096 bytes, got 4114',
    ],
  ])('%j', (text, message) => {
    const server = vectorServer()
    expect(() => server.first(Buffer.from(text))).toThrow(new ScramError(message))
    // It was the one attempt.
    expect(() => server.first(Buffer.from(VECTOR.clientFirst))).toThrow(ScramError)
    expect(() => server.final(Buffer.from(VECTOR.clientFinal))).toThrow(ScramError)
  })

  test('what is not UTF-8', () => {
    expect(() => vectorServer().first(Buffer.from('n,,n=\xff,r=abc', 'latin1'))).toThrow(
      new ScramError('a message is not UTF-8'),
    )
  })

  test('nothing of what it passes over', () => {
    const challenge = vectorServer().first(Buffer.from(`${VECTOR.clientFirst},x=anything=at all,Y=é`))
    expect(challenge.toString()).toBe(VECTOR.serverFirst)
  })
})

describe('a client refuses as the challenge', () => {
  const COUNT = `the server asks for`
  test.each([
    ['', 'attribute r is missing'],
    [`r=${NN},i=4096`, 'attribute s is missing'],
    [`r=${NN},s=${VECTOR.salt}`, 'attribute i is missing'],
    [`s=${VECTOR.salt},r=${NN},i=4096`, 'attribute r is missing'],
    [`m=new,r=${NN},s=${VECTOR.salt},i=4096`, 'an extension that must be understood is not'],
    [`r=${NN},s=${VECTOR.salt},i=4096,m=new`, 'an extension that must be understood is not'],
    [`r=${N},s=${VECTOR.salt},i=4096`, 'the server did not extend the nonce'],
    [`r=${N.slice(1)}xyz,s=${VECTOR.salt},i=4096`, 'the server did not extend the nonce'],
    [`r=x${NN},s=${VECTOR.salt},i=4096`, 'the server did not extend the nonce'],
    [`r=${NN},s=,i=4096`, 'not a list of attributes'],
    [`r=${NN},s=W22ZaJ0SNY7soEsUEjb6gQ,i=4096`, 'the salt is no base64'],
    [`r=${NN},s=W22ZaJ0SNY7soEsUEjb6gR==,i=4096`, 'the salt is no base64'],
    [`r=${NN},s=W22Z aJ0SNY7soEsUEjb6gQ==,i=4096`, 'the salt is no base64'],
    [`r=${NN},s=${VECTOR.salt},i=`, 'not a list of attributes'],
    [`r=${NN},s=${VECTOR.salt},i=0`, 'the iterations are no count'],
    [`r=${NN},s=${VECTOR.salt},i=-4096`, 'the iterations are no count'],
    [`r=${NN},s=${VECTOR.salt},i=04096`, 'the iterations are no count'],
    [`r=${NN},s=${VECTOR.salt},i=4096.5`, 'the iterations are no count'],
    [`r=${NN},s=${VECTOR.salt},i=1e5`, 'the iterations are no count'],
    [`r=${NN},s=${VECTOR.salt},i=99999999999`, 'the iterations are no count'],
    [`r=${NN},s=${VECTOR.salt},i=4095`, `${COUNT} 4095 iterations; allowed: 4096 to 10000000`],
    [`r=${NN},s=${VECTOR.salt},i=10000001`, `${COUNT} 10000001 iterations; allowed: 4096 to 10000000`],
    [`r=${NN},s=${VECTOR.salt},i=9999999999`, `${COUNT} 9999999999 iterations; allowed: 4096 to 10000000`],
    ['e=other-error', 'attribute r is missing'],
  ])('%j', async (text, message) => {
    const client = askedClient()
    await expect(client.final(Buffer.from(text))).rejects.toThrow(new ScramError(message))
    await expect(client.final(Buffer.from(VECTOR.serverFirst))).rejects.toThrow(ScramError)
    expect(() => client.verify(Buffer.from(VECTOR.serverFinal))).toThrow(ScramError)
  })

  test('fewer iterations than RFC 7677 wants, unless it is told otherwise', async () => {
    const client = new ScramClient('user', 'pencil', VECTOR.clientNonce)
    client.first()
    await expect(client.final(Buffer.from(VECTOR.serverFirst))).rejects.toThrow(
      `${COUNT} 4096 iterations; allowed: ${SCRAM_ITERATIONS_MIN} to ${SCRAM_ITERATIONS_MAX}`,
    )
    expect(SCRAM_ITERATIONS_MIN).toBe(15_000)
  })

  test('nothing of what it passes over', async () => {
    const final = await askedClient().final(Buffer.from(`${VECTOR.serverFirst},x=y`))
    expect(final.toString()).toMatch(/^c=biws,r=.*,p=.{44}$/)
  })
})

describe('a server refuses as the proof', () => {
  const BEGIN = `c=biws,r=${NN}`
  test.each([
    ['', 'attribute c is missing'],
    [`p=${PROOF}`, 'attribute c is missing'],
    [BEGIN, 'attribute r is missing'],
    [`r=${NN},c=biws,p=${PROOF}`, 'attribute c is missing'],
    [`m=new,${BEGIN},p=${PROOF}`, 'an extension that must be understood is not'],
    [`${BEGIN},m=new,p=${PROOF}`, 'an extension that must be understood is not'],
    // y,, and n,a=x, and p=tls-exporter,, and n,,: not padded as it is written.
    [`c=eSws,r=${NN},p=${PROOF}`, 'the header repeated is not n,,'],
    [`c=bixhPXgs,r=${NN},p=${PROOF}`, 'the header repeated is not n,,'],
    [`c=cD10bHMtZXhwb3J0ZXIsLA==,r=${NN},p=${PROOF}`, 'the header repeated is not n,,'],
    [`c=biws=,r=${NN},p=${PROOF}`, 'the header repeated is not n,,'],
    [`c=biws,r=${N},p=${PROOF}`, 'the nonce is not the one of this exchange'],
    [`c=biws,r=${NN}x,p=${PROOF}`, 'the nonce is not the one of this exchange'],
    [`c=biws,r=x${NN.slice(1)},p=${PROOF}`, 'the nonce is not the one of this exchange'],
    [`${BEGIN},p=`, 'not a list of attributes'],
    [`${BEGIN},p=${PROOF.slice(0, -1)}`, 'the proof is no base64'],
    [`${BEGIN},p=${Buffer.alloc(31).toString('base64')}`, 'a proof has 32 bytes'],
    [`${BEGIN},p=${Buffer.alloc(33).toString('base64')}`, 'a proof has 32 bytes'],
    [`${BEGIN},p=${Buffer.alloc(32).toString('base64')}`, 'the proof is wrong'],
    [`${BEGIN},x=y,p=${PROOF}`, 'the proof is wrong'],
    [`${BEGIN},p=${PROOF},p=${PROOF}`, 'the proof is wrong'],
    [`${BEGIN},p=${PROOF},x=y`, 'attribute p is missing'],
  ])('%j', (text, message) => {
    const server = challengedServer()
    expect(() => server.final(Buffer.from(text))).toThrow(new ScramError(message))
    expect(() => server.final(Buffer.from(VECTOR.clientFinal))).toThrow(ScramError)
  })

  test('one of another exchange', () => {
    const server = new ScramServer(() => vectorKeys)
    server.first(Buffer.from(VECTOR.clientFirst))
    expect(() => server.final(Buffer.from(VECTOR.clientFinal))).toThrow(
      new ScramError('the nonce is not the one of this exchange'),
    )
  })

  test('one before it was asked, or a second time', () => {
    expect(() => vectorServer().final(Buffer.from(VECTOR.clientFinal))).toThrow(ScramError)
    const server = challengedServer()
    expect(() => server.first(Buffer.from(VECTOR.clientFirst))).toThrow(ScramError)
    server.final(Buffer.from(VECTOR.clientFinal))
    expect(() => server.final(Buffer.from(VECTOR.clientFinal))).toThrow(ScramError)
  })
})

describe('a client refuses as the last message', () => {
  const UNPROVED = 'the server did not prove that it knows the password'
  test.each([
    ['', 'attribute v is missing'],
    ['v=', 'not a list of attributes'],
    ['m=new,v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=', 'an extension that must be understood is not'],
    ['v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4', 'the signature is no base64'],
    ['v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=', 'the signature is no base64'],
    ['v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95GA=', UNPROVED],
    ['v=AAAA', UNPROVED],
    [`v=${PROOF}`, UNPROVED],
    ['e=invalid-proof', 'the server refused: invalid-proof'],
    ['e=other-error,x=y', 'the server refused: other-error'],
    ['e=\x1b[31mred', 'attribute v is missing'],
  ])('%j', async (text, message) => {
    const client = await provedClient()
    expect(() => client.verify(Buffer.from(text))).toThrow(new ScramError(message))
    expect(() => client.verify(Buffer.from(VECTOR.serverFinal))).toThrow(ScramError)
  })

  test('one before it proved anything itself', () => {
    expect(() => vectorClient().verify(Buffer.from(VECTOR.serverFinal))).toThrow(ScramError)
    expect(() => askedClient().verify(Buffer.from(VECTOR.serverFinal))).toThrow(ScramError)
  })

  test('one of a server that only knows the stored key', async () => {
    const thief = { ...vectorKeys, serverKey: Buffer.alloc(32) }
    const client = askedClient()
    const server = new ScramServer(() => thief, VECTOR.serverNonce)
    server.first(Buffer.from(VECTOR.clientFirst))
    const { serverFinal } = server.final(await client.final(Buffer.from(VECTOR.serverFirst)))
    expect(() => client.verify(serverFinal)).toThrow(new ScramError(UNPROVED))
  })
})

describe('a message with one damaged bit, or cut short, never authenticates', () => {
  /** Plays the vector with one message changed on its way; whatever fails must fail as a ScramError. */
  async function playDamaged(which: keyof typeof VECTOR, damaged: Buffer): Promise<void> {
    const on = (message: keyof typeof VECTOR, bytes: Buffer) => (message === which ? damaged : bytes)
    const client = vectorClient()
    const server = vectorServer()
    const challenge = server.first(on('clientFirst', client.first()))
    const proof = await client.final(on('serverFirst', challenge))
    const { serverFinal } = server.final(on('clientFinal', proof))
    client.verify(on('serverFinal', serverFinal))
  }

  test('the undamaged one does', async () => {
    await playDamaged('serverFinal', Buffer.from(VECTOR.serverFinal))
  })

  test.each(['clientFirst', 'serverFirst', 'clientFinal', 'serverFinal'] as const)('%s', async (which) => {
    const whole = Buffer.from(VECTOR[which])
    for (let at = 0; at < whole.length; at++) {
      const flipped = Buffer.from(whole)
      flipped[at] = (flipped[at] as number) ^ (1 << (at % 8))
      for (const damaged of [flipped, whole.subarray(0, at), Buffer.concat([whole, whole.subarray(at)])])
        await expect(playDamaged(which, damaged), JSON.stringify(damaged.toString())).rejects.toThrow(
          ScramError,
        )
    }
  })
})

describe('what a client derived', () => {
  const salt = Buffer.from('a salt')

  test('is remembered by password, salt and count', async () => {
    const keys = rememberedClientKeys('password', salt, 1)
    expect(rememberedClientKeys('password', salt, 1)).toBe(keys)
    for (const other of [
      rememberedClientKeys('passwort', salt, 1),
      rememberedClientKeys('password', Buffer.from('b salt'), 1),
      rememberedClientKeys('password', salt, 2),
    ]) {
      expect(other).not.toBe(keys)
      expect((await other).clientKey).not.toEqual((await keys).clientKey)
    }
  })

  test('is forgotten when 64 others were used since', async () => {
    const kept = rememberedClientKeys('kept', salt, 1)
    const forgotten = rememberedClientKeys('forgotten', salt, 1)
    for (let i = 0; i < 64; i++) {
      await rememberedClientKeys(`other ${i}`, salt, 1)
      expect(rememberedClientKeys('kept', salt, 1)).toBe(kept)
    }
    expect(rememberedClientKeys('forgotten', salt, 1)).not.toBe(forgotten)
  })

  test('is not remembered if it failed', async () => {
    const failed = rememberedClientKeys('', salt, 1)
    await expect(failed).rejects.toThrow(RangeError)
    const again = rememberedClientKeys('', salt, 1)
    expect(again).not.toBe(failed)
    await expect(again).rejects.toThrow(RangeError)
  })
})

test('each exchange has nonces of its own', () => {
  const nonces = Array.from({ length: 100 }, () => {
    const asked = new ScramClient('user', 'pencil').first()
    return [asked.toString(), new ScramServer(() => vectorKeys).first(asked).toString()]
  }).flat()
  expect(new Set(nonces).size).toBe(200)
})
