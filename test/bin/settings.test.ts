// Flags over variables over .env over defaults, and that every value and every refusal can be traced to its place.

import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { type CollectedSettings, collectSettings, flagOptions } from '../../bin/settings.ts'
import type { Environment } from '../../server/environment.ts'

interface Places {
  flags?: string
  environment?: Environment
  dotEnv?: Environment
}

function collect({ flags = '', environment = {}, dotEnv = {} }: Places): CollectedSettings {
  const command = new Command().exitOverride()
  for (const option of flagOptions()) command.addOption(option)
  command.parse(flags === '' ? [] : flags.split(' '), { from: 'user' })
  return collectSettings(command.opts(), environment, dotEnv, () => {})
}

/** The line of --print-config for one setting, as its columns. */
function shown(name: string, places: Places): string[] {
  const line = collect(places).report.find((row) => row.startsWith(`${name} `))
  return line?.split(/\s{2,}/) ?? []
}

test.each<[flags: string, options: object]>([
  ['-p 5', { port: 5 }],
  ['--port=0', { port: 0 }],
  ['--host ::1', { host: '::1' }],
  ['--node-id cache-1 --region eu --cluster shop', { nodeId: 'cache-1', region: 'eu', cluster: 'shop' }],
  ['-m 64mb', { maxMemoryBytes: 64 * 1024 ** 2 }],
  ['--max-memory 1GiB', { maxMemoryBytes: 1024 ** 3 }],
  ['--max-entries 3', { maxEntries: 3 }],
  ['--default-ttl 90', { defaultTtlSeconds: 90 }],
  ['--expiration 5m', { defaultTtlSeconds: 300 }],
  ['--renew-on-hit', { renewOnHit: true }],
  ['--renew-on-hit=no', { renewOnHit: false }],
  ['--renew-on-hit --store heap', { renewOnHit: true, store: 'heap' }],
  ['--max-connections 5 --max-value-size 2mb', { maxConnections: 5, maxValueBytes: 2 * 1024 ** 2 }],
  ['--drain-timeout 500ms', { drainMs: 500 }],
  ['--auth-file users --cluster-secret-file=s', { authFile: 'users', clusterSecretFile: 's' }],
  [
    '--tls-cert a.pem --tls-key b.pem --tls-ca c.pem --tls-require-client-cert',
    { tlsCert: 'a.pem', tlsKey: 'b.pem', tlsCa: 'c.pem', tlsRequireClientCert: true },
  ],
  [
    '--tls-handshake-timeout 2s --descriptors-reserved 64',
    { tlsHandshakeTimeoutMs: 2000, descriptorsReserved: 64 },
  ],
  ['--host 0.0.0.0 --insecure', { host: '0.0.0.0', insecure: true }],
])('%s', (flags, options) => {
  expect(collect({ flags }).options).toEqual(options)
})

test('how to log is no option of the server', () => {
  expect(collect({}).log).toEqual({ logLevel: 'info', logFormat: 'auto' })
  const { options, log } = collect({ flags: '--log-format json', environment: { LOG_LEVEL: 'DEBUG' } })
  expect(log).toEqual({ logLevel: 'debug', logFormat: 'json' })
  expect(options).toEqual({})
})

describe('precedence', () => {
  const dotEnv = { CACHE_STORE: 'heap', CACHE_MAX_SIZE: '128', LISTEN_ON: '127.0.0.2:5' }
  const environment = { CACHE_MAX_CAPACITY: '7', LISTEN_ON: '6', CACHE_STORE: '' }

  test('flags beat variables, variables beat .env, .env beats the defaults', () => {
    expect(collect({ dotEnv }).options).toEqual({
      store: 'heap',
      maxEntries: 128,
      host: '127.0.0.2',
      port: 5,
    })
    expect(collect({ dotEnv, environment }).options).toEqual({
      store: 'heap',
      maxEntries: 7,
      host: '127.0.0.2',
      port: 6,
    })
    expect(collect({ dotEnv, environment, flags: '--max-entries 9' }).options.maxEntries).toBe(9)
  })

  test('--print-config tells where each value is from', () => {
    const places = { dotEnv, environment, flags: '-p 9 --expiration 90 --renew-on-hit' }
    expect(shown('port', places)).toEqual(['port', '9', '--port'])
    expect(shown('host', places)).toEqual(['host', '127.0.0.2', 'LISTEN_ON in .env'])
    expect(shown('max-entries', places)).toEqual(['max-entries', '7', 'CACHE_MAX_CAPACITY'])
    expect(shown('default-ttl', places)).toEqual(['default-ttl', '90s', '--default-ttl (--expiration)'])
    expect(shown('default-ttl', { flags: '--expiration 2007ms' }).at(1)).toBe('2007ms')
    expect(shown('renew-on-hit', places)).toEqual(['renew-on-hit', 'true', '--renew-on-hit'])
    expect(shown('store', places)).toEqual(['store', 'heap', 'CACHE_STORE in .env'])
    expect(shown('max-memory', places)).toEqual(['max-memory', '256mb', 'default'])
    expect(shown('drain-timeout', places)).toEqual(['drain-timeout', '10s', 'default'])
  })
})

test.each<[Places, string]>([
  [{ flags: '--port 70000' }, "--port: '70000' is not possible; allowed: a whole number from 0 to 65535"],
  [{ flags: '--port -1' }, "--port: '-1' is not possible"],
  [{ flags: '--host=' }, "--host: '' is not possible"],
  [{ flags: '-m 256' }, "--max-memory: '256' is not possible; allowed: a size with its unit"],
  [{ flags: '-m 1kb' }, "--max-memory: '1kb' is not possible; allowed: 1mb to 1tb"],
  [
    { environment: { CACHE_MAX_MEMORY: '1kb' } },
    "CACHE_MAX_MEMORY: '1kb' is not possible; allowed: 1mb to 1tb",
  ],
  [{ dotEnv: { CACHE_MAX_MEMORY: '1kb' } }, "CACHE_MAX_MEMORY in .env: '1kb' is not possible"],
  [
    { environment: { CACHE_MAX_CAPACITY: '0' } },
    "CACHE_MAX_CAPACITY: '0' is not possible; allowed: a whole number",
  ],
  [{ flags: '--expiration 1000000d' }, "--default-ttl (--expiration): '1000000d' is not possible"],
  [{ flags: '--log-level loud' }, "--log-level: 'loud' is not possible; allowed: trace, debug"],
  [
    { environment: { CACHE_LOG_FORMAT: 'xml' } },
    "CACHE_LOG_FORMAT: 'xml' is not possible; allowed: auto, json, pretty",
  ],
  [
    { dotEnv: { LISTEN_ON: '0.0.0.0:11142' } },
    "LISTEN_ON in .env: '0.0.0.0:11142' is not possible; allowed: a loopback",
  ],
])('%j is refused by the name it was given under', (places, message) => {
  expect(() => collect(places)).toThrow(message)
})

test('help names the variable and the default of each flag', () => {
  const descriptions = new Map(flagOptions().map((option) => [option.long, option.description]))
  expect(descriptions.get('--max-memory')).toContain('(CACHE_MAX_MEMORY, default 256mb)')
  expect(descriptions.get('--insecure')).toContain('(default false)')
})

describe('.env.example', () => {
  const example = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  const active = parseEnv(example.replace(/^#(?=[A-Z_]+=)/gm, ''))

  test('changes nothing when it is copied', () => {
    expect({ ...parseEnv(example) }).toEqual({})
  })

  test('shows lines that are accepted, and defaults that are the defaults', () => {
    const { CACHE_MAX_SIZE, CACHE_NODE_ID, PEERS, ...others } = active
    const { CACHE_TLS_CERT, CACHE_TLS_KEY, CACHE_TLS_CA, ...rest } = others
    const { CACHE_AUTH_FILE, CACHE_CLUSTER_SECRET_FILE, ...defaults } = rest
    expect([CACHE_AUTH_FILE, CACHE_CLUSTER_SECRET_FILE]).toEqual(['./users', './cluster-secret'])
    expect(CACHE_MAX_SIZE).toBe('128')
    expect(CACHE_NODE_ID).toBeDefined()
    for (const path of [CACHE_TLS_CERT, CACHE_TLS_KEY, CACHE_TLS_CA]) expect(path).toMatch(/\.pem$/)
    expect(PEERS).toBe('peer1:11142,peer2:11142')
    expect(collect({ dotEnv: active }).options).toMatchObject({ maxEntries: 128 })
    const values = (places: Places) => collect(places).report.map((row) => row.split(/\s{2,}/).slice(0, 2))
    expect(values({ dotEnv: defaults })).toEqual(values({}))
  })
})
