// A server with TLS: who gets through the handshake and who does not, certificates that are replaced while it runs, and
// servers that replicate over it. What the files themselves may say is in tls-files.test.ts.

import { once } from 'node:events'
import { connect as connectSocket, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import { TlsTransport } from '../../protocol/socket-transport.ts'
import { OptionError, type ServerOptions } from '../../server/options.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import { Authority } from '../certificates/authority.ts'
import { authority, clientTls, HERE, serverFiles, TlsFiles } from '../helpers/certificates.ts'
import { addressOf, clientOf, nextEvent } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { frame } from '../helpers/frames.ts'
import { allLinked, startCluster } from '../helpers/linked-servers.ts'
import { Connection, startServer } from '../helpers/server.ts'

const DAY_MS = 86_400_000
const EMPTY = Buffer.alloc(0)
/** What a client sees of it, by version of TLS, system and moment. */
const REFUSED = /alert|closed|reset|disconnected|ECONN|EPIPE/i

/** A logger that keeps its lines, for `startServer`. */
function listener() {
  const lines: Record<string, unknown>[] = []
  const at = (level: string) => (facts: object, phrase: string) =>
    void lines.push({ level, phrase, ...facts })
  return { lines, logger: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') } }
}

/** Begins a handshake. Its errors are for whoever awaits `settled`. */
function tlsSocket(server: OrmucoCacheServer, options: ConnectionOptions = {}): TLSSocket {
  const { host, port } = server.address ?? { host: '', port: 0 }
  const socket = connectTls({ host, port, ...options })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  return socket
}

/** A raw connection over TLS. */
async function secure(server: OrmucoCacheServer, options?: ConnectionOptions): Promise<Connection> {
  const socket = tlsSocket(server, options ?? (await clientTls()))
  await once(socket, 'secureConnect')
  return new Connection(new TlsTransport(socket), () => socket.end())
}

/** The error with which a connection ends before the server answered anything: of the handshake, or right after it. */
async function failure(server: OrmucoCacheServer, options: ConnectionOptions): Promise<string> {
  const { host, port } = server.address ?? { host: '', port: 0 }
  const socket = connectTls({ host, port, ...options })
  onTestFinished(() => void socket.destroy())
  socket.on('secureConnect', () => socket.write(frame(Opcode.Ping, 1)))
  const answered = once(socket, 'data').then(() => 'it answered')
  const failed = new Promise<string>((resolve) => {
    socket.once('error', (error) => resolve(error.message))
    socket.once('close', () => resolve('closed'))
  })
  answered.catch(() => {})
  return Promise.race([answered, failed])
}

async function plainSocket(server: OrmucoCacheServer): Promise<Socket> {
  const { host, port } = server.address ?? { host: '', port: 0 }
  const socket = connectSocket({ host, port })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket
}

describe('a server with a certificate', () => {
  test('serves clients', async () => {
    const server = await startServer((await serverFiles()).tls)
    const client = clientOf(server, { tls: await clientTls() })
    const large = Buffer.alloc(900_000, 'x')
    await client.store('small', { of: [1, 2, 3] })
    await client.store('large', large)
    const answers = await client.retrieveMany(['small', 'large', 'none'])
    expect(answers[0]).toEqual({ of: [1, 2, 3] })
    expect(large.equals(Object(answers[1]))).toBe(true)
    expect(answers[2]).toBe(undefined)
    expect(await client.retrieve('small')).toEqual({ of: [1, 2, 3] })
  })

  test('answers more than a socket holds to somebody who reads late', async () => {
    const server = await startServer({ ...(await serverFiles()).tls, outputBytesMax: 64 * 1024 })
    const connection = await secure(server)
    await connection.ask(Opcode.Set, 1, 'key', 0, Buffer.alloc(500_000, 'v'))
    connection.transport.pause()
    for (let id = 2; id <= 40; id++) connection.send(frame(Opcode.Get, id, 'key'))
    await eventually(() => server.stats().commands['get']).toBeGreaterThan(1)
    expect(server.stats().commands['get']).toBeLessThan(39)
    connection.transport.resume()
    for (let id = 2; id <= 40; id++) {
      const [status, answered, , value] = await connection.reply()
      expect([status, answered, Object(value).length]).toEqual([Status.Ok, id, 500_000])
    }
  })

  test.each<[string, ConnectionOptions, RegExp]>([
    [
      'TLS 1.1',
      { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
      /protocol|version/,
    ],
    [
      'TLS 1.0',
      { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' },
      /protocol|version/,
    ],
  ])('refuses %s', async (_, options, why) => {
    const server = await startServer((await serverFiles()).tls)
    expect(await failure(server, { ...options, ...(await clientTls()) })).toMatch(why)
  })

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('takes %s', async (version) => {
    const server = await startServer((await serverFiles()).tls)
    const tls = { ...(await clientTls()), minVersion: version, maxVersion: version }
    const socket = tlsSocket(server, tls)
    await once(socket, 'secureConnect')
    expect(socket.getProtocol()).toBe(version)
  })

  test('resumes no session: each connection proves itself', async () => {
    const server = await startServer((await serverFiles()).mutual)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const tls = { ...(await clientTls()), maxVersion }
      const first = tlsSocket(server, tls)
      const sessions: Buffer[] = []
      first.on('session', (session: Buffer) => sessions.push(session))
      await once(first, 'secureConnect')
      first.write(frame(Opcode.Ping, 1))
      await once(first, 'data')
      const session = sessions.at(-1) ?? first.getSession()
      const second = tlsSocket(server, { ...tls, ...(session === undefined ? {} : { session }) })
      await once(second, 'secureConnect')
      expect(second.isSessionReused(), maxVersion).toBe(false)
    }
  })

  test('closes somebody who speaks no TLS, and serves the others', async () => {
    const { lines, logger } = listener()
    const server = await startServer({ ...(await serverFiles()).tls, logger })
    const other = await secure(server)
    for (const bytes of [
      frame(Opcode.Ping, 1),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.alloc(5000, 0xff),
    ]) {
      const socket = await plainSocket(server)
      socket.resume()
      const closed = once(socket, 'close')
      socket.write(bytes)
      await closed
    }
    expect(await other.ask(Opcode.Ping, 2)).toEqual([Status.Ok, 2, EMPTY])
    const failed = lines.filter(({ phrase }) => phrase === 'TLS handshake failed')
    const remote = expect.stringMatching(/^127\.0\.0\.1:\d+$/)
    expect(failed).toMatchObject([
      { level: 'warn', remote, why: 'TLS: wrong version number', times: 1 },
      { level: 'warn', remote, why: 'TLS: http request', times: 1 },
      { level: 'debug', remote, why: 'TLS: wrong version number', times: 2 },
    ])
    expect(server.stats().connections.unauthenticated).toBe(0)
  })

  test('says nothing to a client without TLS that it would take for an answer; the client asks for TLS', async () => {
    const server = await startServer((await serverFiles()).tls)
    const client = clientOf(server, { onUnavailable: 'throw' })
    const unavailable = nextEvent(client, 'unavailable')
    client.connect().catch(() => {})
    expect(await unavailable).toMatchObject({
      error: { message: expect.stringContaining('TLS at one end only') },
    })
  })
})

test('a server without TLS that dials one with it hears no HELLO, and says so', async () => {
  const server = await startServer((await serverFiles()).tls)
  const { lines, logger } = listener()
  const dialing = await startServer({ logger, peers: [addressOf(server)] })
  await eventually(() => lines.filter(({ phrase }) => phrase === 'peer unreachable')).toMatchObject([
    { level: 'warn', why: expect.stringContaining('before HELLO'), times: 1 },
  ])
  expect(dialing.peers()).toMatchObject([{ state: 'never', lastError: expect.stringContaining('TLS') }])
})

test('a client with TLS fails at once at a server without, and says what may be wrong', async () => {
  const { lines, logger } = listener()
  const server = await startServer({ logger })
  const other = clientOf(server)
  await other.store('key', 1)
  const client = clientOf(server, { tls: true, onUnavailable: 'throw' })
  const unavailable = nextEvent(client, 'unavailable')
  const call = client.retrieve('key', { timeoutMs: 1000 })
  await expect(call).rejects.toThrow('is TLS spoken there?')
  expect(await unavailable).toMatchObject({ error: expect.objectContaining({ code: 'CACHE_UNAVAILABLE' }) })
  expect(await other.retrieve('key')).toBe(1)
  expect(lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
  expect(lines).toContainEqual(expect.objectContaining({ level: 'debug', phrase: 'connection closed' }))
})

describe('a client refuses', () => {
  const nowMs = Date.now()
  test.each<[string, () => Promise<TlsFiles>, RegExp]>([
    [
      'a certificate of another authority',
      async () => {
        const other = await Authority.create('somebody else')
        return new TlsFiles(await other.issue({ commonName: 'cache-1', names: HERE }), other.cert)
      },
      /verify|issuer|certificate/,
    ],
    [
      'one that has expired',
      () => serverFiles({ fromMs: nowMs - 2 * DAY_MS, untilMs: nowMs - DAY_MS }),
      /expired/,
    ],
    ['one whose time has not come', () => serverFiles({ fromMs: nowMs + DAY_MS }), /not yet valid/],
    ['one for another host', () => serverFiles({ names: ['cache.example'] }), /does not match|altnames/],
    ['one that is for clients alone', () => serverFiles({ usages: ['client'] }), /purpose/],
  ])('%s', async (_, files, why) => {
    const server = await startServer((await files()).tls)
    const client = clientOf(server, { tls: await clientTls(), onUnavailable: 'throw', timeoutMs: 2000 })
    const unavailable = once(client, 'unavailable')
    await expect(client.retrieve('key')).rejects.toMatchObject({ code: expect.stringMatching(/^CACHE_/) })
    const [{ error }] = await unavailable
    expect(error.message).toMatch(why)
    expect(await failure(server, await clientTls())).toMatch(why)
  })

  test('unless it was told another name than that of the host', async () => {
    const server = await startServer((await serverFiles({ names: ['cache.example'] })).tls)
    const client = clientOf(server, { tls: { ...(await clientTls()), servername: 'cache.example' } })
    await client.store('key', 1)
    expect(await client.retrieve('key')).toBe(1)
  })
})

describe('where client certificates are required', () => {
  const required = async (): Promise<ServerOptions> => ({
    ...(await serverFiles()).mutual,
    tlsRequireClientCert: true,
  })

  test('one that the authority has signed lets in', async () => {
    const server = await startServer(await required())
    const client = clientOf(server, { tls: await clientTls({ commonName: 'adam', units: ['admin'] }) })
    await client.store('key', 1)
    await client.clear()
    expect(await client.retrieve('key')).toBe(undefined)
  })

  test.each<[string, () => Promise<ConnectionOptions>]>([
    ['none', () => clientTls()],
    [
      'one of another authority',
      async () => ({
        ...(await clientTls()),
        ...(await (await Authority.create()).issue({ commonName: 'adam', units: ['admin'] })),
      }),
    ],
    [
      'one that has expired',
      () => clientTls({ commonName: 'adam', units: ['admin'], untilMs: Date.now() - 1000 }),
    ],
    [
      'one that is for servers alone',
      () => clientTls({ commonName: 'adam', units: ['admin'], usages: ['server'] }),
    ],
  ])('%s does not', async (_, tls) => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const server = await startServer(await required())
      expect(await failure(server, { ...(await tls()), maxVersion })).toMatch(REFUSED)
      expect(server.stats().connections).toMatchObject({ accepted: 0, clients: 0 })
    }
  })
})

describe('where they are not required', () => {
  test('a certificate of another authority counts as none, and the log says why', async () => {
    const { lines, logger } = listener()
    const server = await startServer({ ...(await serverFiles()).mutual, logger })
    const stranger = await (await Authority.create()).issue({ commonName: 'r', units: ['reader'] })
    const connection = await secure(server, { ...(await clientTls()), ...stranger })
    // Without an auth file everybody may do everything, but a reader that proved to be one.
    expect((await connection.ask(Opcode.Set, 1, 'key', 0, 'v'))[0]).toBe(Status.Ok)
    const none = await secure(server)
    expect((await none.ask(Opcode.Set, 1, 'key', 0, 'v'))[0]).toBe(Status.Ok)
    expect(lines.filter(({ phrase }) => phrase === 'client certificate ignored')).toMatchObject([
      { level: 'warn', times: 1, why: expect.stringMatching(/^[A-Z_]+$/) },
    ])
  })

  test('its unit is the role', async () => {
    const server = await startServer((await serverFiles()).mutual)
    const reader = await secure(server, await clientTls({ commonName: 'rhea', units: ['reader'] }))
    expect((await reader.ask(Opcode.Get, 1, 'key'))[0]).toBe(Status.Miss)
    expect((await reader.ask(Opcode.Set, 2, 'key', 0, 'v'))[0]).toBe(Status.Forbidden)
  })
})

describe('a handshake', () => {
  test('that is broken off is told of with the address it came from', async () => {
    const { lines, logger } = listener()
    const server = await startServer({ ...(await serverFiles()).tls, logger })
    const socket = await plainSocket(server)
    const remote = `127.0.0.1:${socket.localPort}`
    socket.end()
    await eventually(() => lines.filter(({ phrase }) => phrase === 'TLS handshake failed')).toMatchObject([
      { remote },
    ])
  })

  test('that is not done in time ends, drop by drop too', async () => {
    const { lines, logger } = listener()
    const server = await startServer({ ...(await serverFiles()).tls, tlsHandshakeTimeoutMs: 200, logger })
    const other = await secure(server)
    const silent = await plainSocket(server)
    const dripping = await plainSocket(server)
    const hello = Buffer.from('1603010200010001fc0303', 'hex')
    let at = 0
    const drops = setInterval(() => dripping.write(hello.subarray(at, ++at)), 50)
    onTestFinished(() => clearInterval(drops))
    // A drop that comes too late is answered with a reset.
    dripping.on('error', () => {})
    const ends = [silent, dripping].map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    await Promise.all(ends)
    expect(lines.filter(({ phrase }) => phrase === 'TLS handshake failed')).toMatchObject([
      { why: expect.stringContaining('timeout') },
      { why: expect.stringContaining('timeout') },
    ])
    await eventually(() => server.stats().connections.unauthenticated).toBe(0)
    expect(await other.ask(Opcode.Ping, 1)).toEqual([Status.Ok, 1, EMPTY])
  })

  test('counts among the unauthenticated until it is done or over', async () => {
    const server = await startServer({ ...(await serverFiles()).tls, unauthenticatedMax: 2 })
    const first = await plainSocket(server)
    const second = await plainSocket(server)
    await eventually(() => server.stats().connections.unauthenticated).toBe(2)
    expect(await failure(server, await clientTls())).toMatch(/disconnected|reset|closed/i)
    expect(server.stats().connections).toMatchObject({ unauthenticated: 2, refused: 1 })
    first.destroy()
    await eventually(() => server.stats().connections.unauthenticated).toBe(1)
    // No user has to authenticate here: once the handshake is done the place is free.
    for (let i = 0; i < 3; i++) expect((await (await secure(server)).ask(Opcode.Ping, 1))[0]).toBe(Status.Ok)
    expect(server.stats().connections).toMatchObject({ unauthenticated: 1, clients: 3 })
    second.destroy()
    await eventually(() => server.stats().connections.unauthenticated).toBe(0)
  })

  test('does not keep a server from stopping', async () => {
    const server = await startServer((await serverFiles()).tls)
    const socket = await plainSocket(server)
    await eventually(() => server.stats().connections.unauthenticated).toBe(1)
    const closed = once(socket, 'close')
    await server.close()
    await closed
  })
})

describe('reload', () => {
  const serialOf = async (server: OrmucoCacheServer, tls?: ConnectionOptions) => {
    const socket = tlsSocket(server, tls ?? (await clientTls()))
    await once(socket, 'secureConnect')
    const { serialNumber } = socket.getPeerCertificate()
    socket.destroy()
    return serialNumber
  }

  test('new connections see the new certificate, old ones live on', async () => {
    const files = await serverFiles()
    const server = await startServer(files.tls)
    const before = await serialOf(server)
    const old = await secure(server)
    files.write(await (await authority()).issue({ commonName: 'cache-1', names: HERE }))
    expect(await serialOf(server)).toBe(before)
    server.reload()
    expect(await serialOf(server)).not.toBe(before)
    expect(await old.ask(Opcode.Ping, 1)).toEqual([Status.Ok, 1, EMPTY])
  })

  test('a certificate that does not fit its key is refused, and the old one stays', async () => {
    const files = await serverFiles()
    const server = await startServer(files.tls)
    const before = await serialOf(server)
    const signer = await authority()
    const [one, other] = await Promise.all(
      ['one', 'other'].map((commonName) => signer.issue({ commonName, names: HERE })),
    )
    if (one === undefined || other === undefined) throw new Error('two were asked for')
    files.write({ cert: one.cert, key: other.key })
    expect(() => server.reload()).toThrow(OptionError)
    expect(await serialOf(server)).toBe(before)
    files.write(one)
    server.reload()
    expect(await serialOf(server)).not.toBe(before)
  })

  test('clients of an authority that is not trusted any more are not let in', async () => {
    const files = await serverFiles()
    const server = await startServer({ ...files.mutual, tlsRequireClientCert: true })
    const tls = await clientTls({ commonName: 'adam', units: ['admin'] })
    expect((await (await secure(server, tls)).ask(Opcode.Ping, 1))[0]).toBe(Status.Ok)
    const other = await Authority.create('the next one')
    files.writeCa(other.cert)
    server.reload()
    expect(await failure(server, tls)).toMatch(REFUSED)
    const next = { ...tls, ...(await other.issue({ commonName: 'adam', units: ['admin'] })) }
    expect((await (await secure(server, next)).ask(Opcode.Ping, 1))[0]).toBe(Status.Ok)
  })

  test('a server without TLS has nothing to reload', async () => {
    const server = await startServer()
    server.reload()
    expect(clientOf(server)).toBeDefined()
  })
})

describe('servers over TLS', () => {
  const replicates = async (servers: readonly OrmucoCacheServer[], tls: ConnectionOptions) => {
    const clients = servers.map((server) => clientOf(server, { tls }))
    for (const [index, client] of clients.entries()) {
      await client.store(`written at ${index}`, index, { acks: 'all' })
      for (const other of clients) expect(await other.retrieve(`written at ${index}`)).toBe(index)
    }
  }

  test('replicate what is written to any of them', async () => {
    const files = await serverFiles({ units: ['peer'], names: [...HERE, 'a', 'b', 'c'] })
    await replicates(await startCluster(['a', 'b', 'c'], files.mutual), await clientTls())
  })

  test('that know each other by certificate alone', async () => {
    const options = async (nodeId: string): Promise<ServerOptions> => ({
      ...(await serverFiles({ commonName: nodeId, units: ['peer'] })).mutual,
      network: 'local',
      nodeId,
      tlsRequireClientCert: true,
    })
    const first = await startServer(await options('a'))
    const second = await startServer({ ...(await options('b')), peers: [addressOf(first)] })
    await allLinked([first, second])
    await replicates([first, second], await clientTls({ commonName: 'walt', units: ['writer'] }))
  })

  test('are not linked to one that another authority has signed, which hears why', async () => {
    const { lines, logger } = listener()
    const first = await startServer({ ...(await serverFiles()).mutual, network: 'local', nodeId: 'a' })
    const other = await Authority.create('somebody else')
    const files = new TlsFiles(
      await other.issue({ commonName: 'b', names: HERE, units: ['peer'] }),
      other.cert,
    )
    await startServer({ ...files.mutual, network: 'local', nodeId: 'b', peers: [addressOf(first)], logger })
    await eventually(() =>
      lines.filter(({ level }) => level === 'warn').map((line) => JSON.stringify(line)),
    ).toEqual(expect.arrayContaining([expect.stringMatching(/certificate|issuer/)]))
    expect(first.peers()).toEqual([])
  })
})
