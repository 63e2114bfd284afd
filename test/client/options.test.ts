// What a client can be told, by its constructor, by variables and by .env: what is taken, what is refused and how.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { OrmucoCacheClient } from '../../client/client.ts'
import type { ClientOptions } from '../../client/options.ts'
import { resolveClientOptions } from '../../client/options.ts'
import { startServer } from '../helpers/server.ts'

const VARIABLES = ['SERVERS', 'SERVER_HOST', 'SERVER_PORT', 'CACHE_MAX_SIZE', 'CACHE_EXPIRATION'] as const

beforeEach(() => {
  for (const name of VARIABLES) vi.stubEnv(name, undefined)
  vi.stubEnv('CACHE_STORE', undefined)
  return () => vi.unstubAllEnvs()
})

/** Moves this process into an empty folder, with a .env file if there is text for it. */
function folderWith(dotEnv?: string): void {
  const before = process.cwd()
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  if (dotEnv !== undefined) writeFileSync(join(folder, '.env'), dotEnv)
  process.chdir(folder)
  onTestFinished(() => {
    process.chdir(before)
    rmSync(folder, { recursive: true })
  })
}

/** Options as somebody without a type checker writes them. */
function untyped(options: Record<string, unknown>): ClientOptions {
  return options
}

function listener() {
  const lines: string[] = []
  const take = (line: string) => void lines.push(line)
  return { lines, logger: { debug: take, info: take, warn: take, error: take } }
}

function serversOf(options: ClientOptions, environment: Record<string, string> = {}) {
  return resolveClientOptions(options, environment).servers
}

describe('servers', () => {
  test.each([
    ['localhost:5000', [{ host: 'localhost', port: 5000 }]],
    ['localhost', [{ host: 'localhost', port: 11142 }]],
    [
      ' a:1 , b:2 ',
      [
        { host: 'a', port: 1 },
        { host: 'b', port: 2 },
      ],
    ],
    [
      ['a:1', 'b'],
      [
        { host: 'a', port: 1 },
        { host: 'b', port: 11142 },
      ],
    ],
    ['[::1]:7', [{ host: '::1', port: 7 }]],
    ['[::1]', [{ host: '::1', port: 11142 }]],
    ['::1', [{ host: '::1', port: 11142 }]],
    ['10.0.0.1:65535', [{ host: '10.0.0.1', port: 65535 }]],
  ] as const)('%j', (servers, addresses) => {
    expect(serversOf({ servers })).toEqual(addresses)
  })

  test.each([undefined, null, '', []])(
    'given but %j: throws, since a typo must not mean stand-alone',
    (servers) => {
      expect(() => new OrmucoCacheClient(untyped({ servers }))).toThrow(
        /servers is given but (undefined|empty): name at least one host:port/,
      )
    },
  )

  test.each(['host:99999', 'host:0', 'host:abc', ':5000', 'a:1,', '5000', 'http://host:1', 'a:b:c', 'a b:c'])(
    '%j is refused by name',
    (servers) => {
      expect(() => new OrmucoCacheClient({ servers })).toThrow(TypeError)
      expect(() => new OrmucoCacheClient({ servers })).toThrow(/is not host:port, such as localhost:11142/)
    },
  )

  test.each([5, {}, [5], [null]])('%j is refused', (servers) => {
    expect(() => new OrmucoCacheClient(untyped({ servers }))).toThrow(/host:port/)
  })
})

describe('the environment and .env', () => {
  test('SERVERS, then SERVER_HOST with SERVER_PORT, the environment before .env; the constructor before all', () => {
    folderWith('SERVERS=from-dot-env:1')
    expect(serversOf({})).toEqual([{ host: 'from-dot-env', port: 1 }])
    expect(serversOf({}, { SERVER_HOST: 'h' })).toEqual([{ host: 'h', port: 11142 }])
    expect(serversOf({}, { SERVER_HOST: '::1', SERVER_PORT: '5' })).toEqual([{ host: '::1', port: 5 }])
    expect(serversOf({}, { SERVER_HOST: 'h:6' })).toEqual([{ host: 'h', port: 6 }])
    expect(serversOf({}, { SERVER_HOST: 'h', SERVERS: 'a:1,b:2' })).toHaveLength(2)
    expect(serversOf({ servers: 'c:3' }, { SERVERS: 'a:1' })).toEqual([{ host: 'c', port: 3 }])
    expect(serversOf({}, { SERVERS: ' ' })).toEqual([{ host: 'from-dot-env', port: 1 }])
  })

  test('host and port may stand in different places, each from the stronger one', () => {
    folderWith('\uFEFFSERVER_HOST=localhost\nSERVER_PORT=5000\n')
    expect(serversOf({})).toEqual([{ host: 'localhost', port: 5000 }])
    expect(serversOf({}, { SERVER_HOST: 'other' })).toEqual([{ host: 'other', port: 5000 }])
    expect(serversOf({}, { SERVER_PORT: '6000' })).toEqual([{ host: 'localhost', port: 6000 }])
  })

  test('nothing set, or only empty variables: stand-alone', () => {
    folderWith()
    expect(serversOf({})).toEqual([])
    expect(serversOf({}, { SERVERS: '', SERVER_HOST: '', SERVER_PORT: '5' })).toEqual([])
  })

  test.each([
    { SERVERS: 'nonsense:abc' },
    { SERVER_HOST: 'h', SERVER_PORT: 'abc' },
    { SERVER_HOST: 'h', SERVER_PORT: '70000' },
    { SERVER_HOST: 'h:1', SERVER_PORT: '2' },
  ])('%j is refused, and the variable named', (environment) => {
    folderWith()
    expect(() => serversOf({}, environment)).toThrow(/^SERVER/)
  })

  test('what Kubernetes sets for a Service called "server" is ignored with a warning', () => {
    folderWith()
    const { lines, logger } = listener()
    const environment = { SERVER_HOST: 'h', SERVER_PORT: 'tcp://10.0.0.1:11142' }
    expect(serversOf({ logger }, environment)).toEqual([{ host: 'h', port: 11142 }])
    expect(lines).toEqual([expect.stringMatching(/SERVER_PORT=tcp:.* is ignored: Kubernetes/)])
  })

  test('a client made without options uses them', async () => {
    folderWith()
    const server = await startServer()
    vi.stubEnv('SERVERS', `127.0.0.1:${server.address?.port}`)
    const client = new OrmucoCacheClient()
    onTestFinished(() => client.destroy())
    expect(client.mode).toBe('remote')
    await client.connect({ timeoutMs: 10_000 })
  })
})

describe('stand-alone', () => {
  test('one warning line, unless stand-alone was asked for', () => {
    folderWith()
    const { lines, logger } = listener()
    const client = new OrmucoCacheClient({ logger })
    expect(client.mode).toBe('standalone')
    expect(lines).toEqual([expect.stringContaining('no SERVERS or SERVER_HOST')])
    expect(new OrmucoCacheClient({ logger, standalone: {} }).mode).toBe('standalone')
    expect(lines).toHaveLength(1)
  })

  test('limits come from the options, else from CACHE_ variables, else from .env', async () => {
    folderWith(
      'CACHE_MAX_SIZE=7\nCACHE_EXPIRATION=1h\nCACHE_RENEW_ON_HIT=yes\nCACHE_MAX_MEMORY=64mb\nLISTEN_ON=nonsense\nPEERS=a:1\n',
    )
    vi.stubEnv('CACHE_EXPIRATION', '90')
    const client = new OrmucoCacheClient({ timeoutMs: 10_000, standalone: { maxBytes: 4 * 1024 * 1024 } })
    onTestFinished(() => client.destroy())
    await client.store('k', 1)
    expect((await client.inspect('k'))?.lifetimeSeconds).toBe(90)
    expect(await client.stats()).toMatchObject({ memory: { entriesMax: 7, limitBytes: 4 * 1024 * 1024 } })
  })

  test('Infinity is no expiry, whatever the environment says', async () => {
    folderWith('CACHE_EXPIRATION=1h\n')
    const standalone = { ttlSeconds: Number.POSITIVE_INFINITY }
    const client = new OrmucoCacheClient({ timeoutMs: 10_000, standalone })
    onTestFinished(() => client.destroy())
    await client.store('k', 1)
    expect((await client.inspect('k'))?.lifetimeSeconds).toBe(Number.POSITIVE_INFINITY)
  })

  test('a variable that cannot be is told by every call, never hung on', async () => {
    folderWith()
    vi.stubEnv('CACHE_MAX_SIZE', 'plenty')
    const { lines, logger } = listener()
    const client = new OrmucoCacheClient({ timeoutMs: 100, standalone: {}, logger })
    onTestFinished(() => client.destroy())
    const outcome = await client.store('k', 1)
    expect(outcome).toMatchObject({ outcome: 'unavailable', maybeStored: false })
    if (outcome.outcome === 'unavailable') expect(outcome.error.message).toMatch(/CACHE_MAX_SIZE: 'plenty'/)
    await expect(client.connect()).rejects.toThrow(/CACHE_MAX_SIZE: 'plenty'/)
    expect(lines).toEqual([expect.stringMatching(/CACHE_MAX_SIZE: 'plenty'/)])
  })

  test.each([
    [{ maxEntries: 0 }, RangeError],
    [{ maxEntries: '5' }, RangeError],
    [{ maxEntries: 1.5 }, RangeError],
    [{ maxBytes: 100 }, RangeError],
    [{ maxBytes: Number.NaN }, RangeError],
    [{ ttlSeconds: 0 }, RangeError],
    [{ ttlSeconds: -1 }, RangeError],
    [{ renewOnHit: 'yes' }, TypeError],
    [{ ttl: 5 }, TypeError],
    ['64mb', TypeError],
    [5, TypeError],
    [null, TypeError],
    [[], TypeError],
    [{ ttlSeconds: '5' }, RangeError],
  ])('%j is refused at once', (standalone, kind) => {
    expect(() => new OrmucoCacheClient(untyped({ standalone }))).toThrow(kind)
    expect(() => new OrmucoCacheClient(untyped({ standalone }))).toThrow(/standalone/)
  })
})

describe('other options', () => {
  test.each([
    [{ server: 'a:1' }, TypeError, /unknown option server; there are servers, timeoutMs/],
    [{ timeoutMs: 0 }, RangeError, /timeoutMs: 0/],
    [{ timeoutMs: '250' }, RangeError, /timeoutMs/],
    [{ timeoutMs: Number.POSITIVE_INFINITY }, RangeError, /timeoutMs/],
    [{ connectTimeoutMs: -1 }, RangeError, /connectTimeoutMs: -1/],
    [{ heartbeatMs: Number.NaN }, RangeError, /heartbeatMs: NaN/],
    [{ queueBytesMax: 0 }, RangeError, /queueBytesMax: 0/],
    [{ reconnect: { minMs: 5 } }, RangeError, /reconnect\.maxMs: undefined/],
    [{ reconnect: { minMs: 50, maxMs: 5 } }, RangeError, /reconnect/],
    [{ reconnect: { minMs: 5, maxMs: 50, factor: 2 } }, TypeError, /unknown reconnect option factor/],
    [{ onUnavailable: 'explode' }, TypeError, /onUnavailable: explode .* 'ignore', 'throw'/],
    [{ keyPrefix: 5 }, TypeError, /keyPrefix/],
    [{ keyPrefix: 'x'.repeat(1024) }, TypeError, /keyPrefix: text of less than 1024 bytes/],
    [{ keyPrefix: '\ud800' }, TypeError, /keyPrefix/],
    [{ name: 'x'.repeat(129) }, TypeError, /name: .* 128 bytes/],
    [{ logger: {} }, TypeError, /logger/],
  ])('%j', (options, kind, message) => {
    const make = () => new OrmucoCacheClient(untyped({ servers: 'localhost', ...options }))
    expect(make).toThrow(kind)
    expect(make).toThrow(message)
  })

  test.each([null, 'localhost:11142', 5])('%j instead of options', (options) => {
    expect(() => new OrmucoCacheClient(options as never)).toThrow(TypeError)
    expect(() => new OrmucoCacheClient(options as never)).toThrow(/options are an object/)
  })

  test('defaults', () => {
    expect(resolveClientOptions({ servers: 'a' }, {})).toMatchObject({
      timeoutMs: 250,
      connectTimeoutMs: 2000,
      heartbeatMs: 500,
      queueBytesMax: 8 * 1024 * 1024,
      reconnect: { minMs: 50, maxMs: 2000 },
      onUnavailable: undefined,
      keyPrefix: '',
      name: 'ormuco-cache',
    })
  })
})
