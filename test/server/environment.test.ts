// Variables and .env as server options: names, notations, precedence, contradictions, and what is ignored aloud.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Environment, fromEnvironment, readDotEnv } from '../../server/environment.ts'
import { OptionError, resolveOptions, type ServerOptions } from '../../server/options.ts'

type Warning = readonly [fields: object, phrase: string]

function read(environment: Environment): { options: ServerOptions; warnings: Warning[] } {
  const warnings: Warning[] = []
  const options = fromEnvironment(environment, (...warning) => warnings.push(warning))
  return { options, warnings }
}

test.each<[name: string, text: string, options: ServerOptions]>([
  ['LISTEN_ON', '11143', { port: 11_143 }],
  ['LISTEN_ON', 'localhost:11143', { host: 'localhost', port: 11_143 }],
  ['LISTEN_ON', '[::1]:11143', { host: '::1', port: 11_143 }],
  ['LISTEN_HOST', '::1', { host: '::1' }],
  ['LISTEN_HOST', '[::1]', { host: '::1' }],
  ['CACHE_NODE_ID', 'cache-1', { nodeId: 'cache-1' }],
  ['CACHE_REGION', 'eu', { region: 'eu' }],
  ['CACHE_CLUSTER', 'shop', { cluster: 'shop' }],
  ['PEERS', 'cache-1:11142', { peers: ['cache-1:11142'] }],
  ['PEERS', '10.0.0.2:1, [::1]:2,,c:3', { peers: ['10.0.0.2:1', '[::1]:2', 'c:3'] }],
  ['CACHE_NETWORK', 'LAN', { network: 'lan' }],
  ['CACHE_MAX_MEMORY', '64mb', { maxMemoryBytes: 64 * 1024 ** 2 }],
  ['CACHE_MAX_SIZE', '128', { maxEntries: 128 }],
  ['CACHE_MAX_CAPACITY', '50', { maxEntries: 50 }],
  ['CACHE_EXPIRATION', '3600', { defaultTtlSeconds: 3600 }],
  ['CACHE_EXPIRATION', '5000ms', { defaultTtlSeconds: 5 }],
  ['CACHE_EXPIRATION', '1h', { defaultTtlSeconds: 3600 }],
  ['CACHE_RENEW_ON_HIT', 'True', { renewOnHit: true }],
  ['CACHE_RENEW_ON_HIT', 'off', { renewOnHit: false }],
  ['CACHE_STORE', 'Heap', { store: 'heap' }],
  ['CACHE_AUTH_FILE', './users', { authFile: './users' }],
  ['CACHE_CLUSTER_SECRET_FILE', '/run/secrets/a b', { clusterSecretFile: '/run/secrets/a b' }],
  ['CACHE_TLS_HANDSHAKE_TIMEOUT', '2s', { tlsHandshakeTimeoutMs: 2000 }],
  ['CACHE_TLS_REQUIRE_CLIENT_CERT', 'no', { tlsRequireClientCert: false }],
  ['CACHE_DESCRIPTORS_RESERVED', '64', { descriptorsReserved: 64 }],
  ['CACHE_MAX_CONNECTIONS', '5', { maxConnections: 5 }],
  ['CACHE_MAX_VALUE_SIZE', '2m', { maxValueBytes: 2 * 1024 ** 2 }],
  ['CACHE_DRAIN_TIMEOUT', '500ms', { drainMs: 500 }],
])('%s=%s', (name, text, options) => {
  expect(read({ [name]: text })).toEqual({ options, warnings: [] })
  expect(read({ [name]: `  ${text} ` }).options).toEqual(options)
  expect(read({ [name]: '' }).options).toEqual({})
  expect(read({ [name]: '  ' }).options).toEqual({})
  expect(() => resolveOptions(options)).not.toThrow()
})

test.each([
  ['LISTEN_ON', 'localhost', 'host:port'],
  ['LISTEN_ON', '70000', '0 to 65535'],
  ['CACHE_MAX_MEMORY', '256', 'unit'],
  ['CACHE_MAX_SIZE', '64mb', 'CACHE_MAX_MEMORY'],
  ['CACHE_EXPIRATION', 'never', '500ms'],
  ['CACHE_RENEW_ON_HIT', 'perhaps', 'true or false'],
  ['CACHE_STORE', 'disk', 'arena, heap'],
  ['CACHE_NETWORK', 'moon', 'local, lan, wan'],
])('%s=%s is refused with what is allowed', (name, text, allowed) => {
  expect(() => read({ [name]: text })).toThrow(OptionError)
  expect(() => read({ [name]: text })).toThrow(
    new RegExp(`^${name}: '${text}' is not possible; allowed: .*${allowed}`),
  )
})

describe('two variables for one option', () => {
  test('may agree', () => {
    expect(read({ LISTEN_ON: '127.0.0.1:5', LISTEN_HOST: '127.0.0.1' }).options).toEqual({
      host: '127.0.0.1',
      port: 5,
    })
    expect(read({ CACHE_MAX_SIZE: '5', CACHE_MAX_CAPACITY: '5' }).options).toEqual({ maxEntries: 5 })
  })

  test.each<[Environment, string]>([
    [{ LISTEN_ON: 'localhost:5', LISTEN_HOST: '::1' }, "LISTEN_HOST: '::1' is not possible"],
    [{ CACHE_MAX_SIZE: '5', CACHE_MAX_CAPACITY: '6' }, 'what CACHE_MAX_SIZE=5 says'],
  ])('may not disagree: %j', (environment, message) => {
    expect(() => read(environment)).toThrow(message)
  })
})

test("the variables of Kubernetes' service links are ignored, and the warning says why", () => {
  const { options, warnings } = read({ LISTEN_ON: 'tcp://10.0.0.1:11142', CACHE_REGION: 'eu' })
  expect(options).toEqual({ region: 'eu' })
  expect(warnings).toEqual([
    [
      expect.objectContaining({ variable: 'LISTEN_ON', cause: expect.stringContaining('Kubernetes') }),
      'variable ignored',
    ],
  ])
})

test('the variables of TLS are paths', () => {
  const environment = { CACHE_TLS_CERT: 'a.pem', CACHE_TLS_KEY: 'b.pem', CACHE_TLS_CA: '/c d.pem' }
  const { options, warnings } = read({ ...environment, CACHE_TLS_REQUIRE_CLIENT_CERT: 'yes' })
  expect(options).toEqual({
    tlsCert: 'a.pem',
    tlsKey: 'b.pem',
    tlsCa: '/c d.pem',
    tlsRequireClientCert: true,
  })
  expect(warnings).toEqual([])
  expect(() => resolveOptions(options)).not.toThrow()
})

test('a variable without effect is told once', () => {
  expect(read({ CACHE_HTTP_LISTEN_ON: '8080', CACHE_AUTH_FILE: '' }).warnings).toEqual([
    [{ variable: 'CACHE_HTTP_LISTEN_ON' }, 'variable has no effect in this version'],
  ])
})

test('variables of others, and of the client, mean nothing', () => {
  expect(
    read({ PATH: '/bin', PORT: '80', SERVER_HOST: 'localhost', SERVER_PORT: '1', SERVERS: 'a:1' }),
  ).toEqual({
    options: {},
    warnings: [],
  })
})

describe('.env', () => {
  const folders: string[] = []
  function folderWith(dotEnv: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
    folders.push(folder)
    writeFileSync(join(folder, '.env'), dotEnv)
    return folder
  }
  afterEach(() => {
    vi.restoreAllMocks()
    vi.unstubAllEnvs()
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
  })

  test('comments, quotes, export, byte order mark and Windows line ends', () => {
    const folder = folderWith(
      '\uFEFF# first\r\nLISTEN_ON=5 # inline\r\n\r\nexport CACHE_REGION="eu"\r\nCACHE_STORE=\r\nCACHE_CLUSTER = a \r\n',
    )
    expect({ ...readDotEnv(folder) }).toEqual({
      LISTEN_ON: '5',
      CACHE_REGION: 'eu',
      CACHE_STORE: '',
      CACHE_CLUSTER: 'a',
    })
  })

  test('that is not there says nothing', () => {
    expect(readDotEnv(join(tmpdir(), 'ormuco-cache-no-such-folder'))).toEqual({})
  })

  test('with a line that is no assignment is refused, for parsers swallow the next one with it', () => {
    const folder = folderWith('LISTEN_ON 5\nCACHE_REGION=eu\n')
    expect(() => readDotEnv(folder)).toThrow(
      ".env: 'LISTEN_ON 5' is not possible; allowed: lines of the form NAME=value",
    )
  })

  test('that cannot be read is refused', () => {
    const folder = folderWith('')
    rmSync(join(folder, '.env'))
    mkdirSync(join(folder, '.env'))
    expect(() => readDotEnv(folder)).toThrow(/\.env: .*EISDIR/)
  })

  test('of the current folder stands behind the process environment, which may leave a variable empty', () => {
    const folder = folderWith('CACHE_REGION=eu\nCACHE_CLUSTER=shop\nCACHE_STORE=heap\nCACHE_MAX_SIZE=128\n')
    vi.spyOn(process, 'cwd').mockReturnValue(folder)
    vi.stubEnv('CACHE_REGION', 'us')
    vi.stubEnv('CACHE_STORE', '')
    vi.stubEnv('CACHE_MAX_CAPACITY', '7')
    expect(fromEnvironment()).toEqual({ region: 'us', cluster: 'shop', store: 'heap', maxEntries: 7 })
    expect(fromEnvironment({})).toEqual({})
  })

  test('is named in the refusal of what it says', () => {
    vi.spyOn(process, 'cwd').mockReturnValue(folderWith('CACHE_STORE=disk\n'))
    expect(() => fromEnvironment()).toThrow(/^CACHE_STORE in \.env: 'disk'/)
  })
})
