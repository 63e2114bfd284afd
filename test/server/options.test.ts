// resolveOptions: the defaults, the range of every option at and just beyond its ends, and what must go together.

import { describe, expect, test } from 'vitest'
import { isLoopback } from '../../server/loopback.ts'
import { missingProtection, OptionError, resolveOptions, type ServerOptions } from '../../server/options.ts'

const MIB = 1024 ** 2

/** Callers without a type checker can hand over anything; so do these tests. */
function resolveAnything(options: object): ReturnType<typeof resolveOptions> {
  return resolveOptions({ ...options })
}

function refusal(options: object): OptionError {
  try {
    resolveAnything(options)
  } catch (error) {
    if (error instanceof OptionError) return error
    throw error
  }
  throw new Error(`accepted: ${JSON.stringify(options)}`)
}

test('the defaults', () => {
  const { logger, ...rest } = resolveOptions()
  expect(rest).toEqual({
    port: 11_142,
    host: '127.0.0.1',
    nodeId: undefined,
    region: 'default',
    cluster: 'default',
    peers: [],
    multicast: '',
    network: 'wan',
    replication: {},
    maxMemoryBytes: 256 * MIB,
    maxEntries: Number.POSITIVE_INFINITY,
    defaultTtlSeconds: 0,
    renewOnHit: false,
    store: 'arena',
    maxValueBytes: MIB,
    tlsCert: '',
    tlsKey: '',
    tlsCa: '',
    tlsRequireClientCert: false,
    tlsHandshakeTimeoutMs: 10_000,
    maxConnections: 10_000,
    descriptorsReserved: 128,
    authFile: '',
    clusterSecretFile: '',
    unauthenticatedMax: 512,
    unauthenticatedPerAddressMax: 64,
    authTimeoutMs: 5000,
    unauthenticatedFrameBytesMax: 4096,
    unauthenticatedOutputBytesMax: 4096,
    requestsInFlightMax: 1000,
    outputBytesMax: 8 * MIB,
    outputStallMs: 30_000,
    frameTimeoutMs: 30_000,
    partialBytesMax: 64 * MIB,
    unsentBytesMax: 64 * MIB,
    drainMs: 10_000,
    insecure: false,
  })
  expect(() => logger.error({ port: 1 }, 'nobody listens')).not.toThrow()
})

test('an option that is undefined is one left out', () => {
  expect(resolveAnything({ port: undefined, maxEntries: undefined, nodeId: undefined }).port).toBe(11_142)
})

test.each<[keyof ServerOptions, readonly unknown[], readonly unknown[]]>([
  ['port', [0, 1, 65_535], [-1, 65_536, 1.5, Number.NaN, '11142', null]],
  [
    'host',
    ['127.0.0.1', '::1', 'localhost', 'LOCALHOST'],
    ['', ' ', 'a b', '[::1]', '127.0.0.1:80', '*', 7, null],
  ],
  ['nodeId', ['cache-1', '[::1]:11142', 'x'.repeat(128)], ['', 'a b', 'a\nb', 'é', 'x'.repeat(129), 7, null]],
  ['region', ['eu-west'], ['', 'eu west', null]],
  ['cluster', ['shop'], ['', 'the shop', null]],
  [
    'maxMemoryBytes',
    [MIB, 5 * 1024 ** 3],
    [0, MIB - 1, 2 ** 41, Number.POSITIVE_INFINITY, '64mb', MIB + 0.5],
  ],
  ['maxEntries', [1, 17_000_000, Number.POSITIVE_INFINITY], [0, -1, 1.5, Number.NaN, '128', null]],
  [
    'defaultTtlSeconds',
    [0, 0.001, 1.5, 3600],
    [-1, 0.0001, Number.NaN, Number.POSITIVE_INFINITY, '60', 1e12],
  ],
  ['renewOnHit', [true, false], ['true', 1, null]],
  ['store', ['arena', 'heap'], ['map', '', 'ARENA', null]],
  ['maxValueBytes', [1, 512 * MIB], [0, 512 * MIB + 1, 1.5, '1mb']],
  ['maxConnections', [1, 1_000_000], [0, 1_000_001, '10']],
  ['outputBytesMax', [4096], [4095, 2 ** 31, '8mb']],
  ['outputStallMs', [100, 3_600_000], [99, 3_600_001, 100.5]],
  ['frameTimeoutMs', [100, 3_600_000], [0, Number.POSITIVE_INFINITY]],
  ['drainMs', [0, 3_600_000], [-1, 3_600_001, '10s']],
  ['insecure', [true, false], ['yes', 1]],
  ['tlsCert', [''], ['a\0b', 7, null, true]],
  ['tlsKey', [''], ['a\0b', 7, null]],
  ['tlsCa', [''], ['a\0b', 7, null]],
  ['tlsRequireClientCert', [false], ['yes', 1]],
  ['tlsHandshakeTimeoutMs', [100, 3_600_000], [99, 3_600_001, '10s']],
  ['authFile', ['', './users'], ['a\0b', 7, null]],
  ['clusterSecretFile', ['', '/run/secrets/cluster'], ['a\0b', 7, null]],
  ['unauthenticatedMax', [1, 1_000_000], [0, 1_000_001, '512']],
  ['unauthenticatedPerAddressMax', [1, 1_000_000], [0, 1_000_001, 1.5]],
  ['authTimeoutMs', [100, 3_600_000], [99, 3_600_001, '5s']],
  ['unauthenticatedFrameBytesMax', [1024, 65_536], [1023, 65_537]],
  ['unauthenticatedOutputBytesMax', [1024, 65_536], [1023, 65_537]],
  ['requestsInFlightMax', [1, 65_536], [0, 65_537, '1000']],
  ['descriptorsReserved', [0, 100_000], [-1, 100_001, 1.5, '128']],
])('%s', (option, accepted, refused) => {
  for (const value of accepted) expect(resolveAnything({ [option]: value })[option]).toBe(value)
  for (const value of refused) {
    const error = refusal({ [option]: value })
    expect(error.option).toBe(option)
    expect(error.value).toBe(value)
    expect(error.message).toContain(`${option}: `)
    expect(error.message).toContain(`allowed: ${error.allowed}`)
    expect(error.message).not.toContain('\n')
  }
})

test('an unknown option is refused, and the known ones are listed', () => {
  const error = refusal({ maxMemory: '64mb' })
  expect(error.message).toContain("unknown option maxMemory: '64mb'")
  expect(error.allowed).toContain('maxMemoryBytes')
})

test('a long value does not flood the message', () => {
  expect(refusal({ store: 'x'.repeat(100_000) }).message.length).toBeLessThan(300)
})

describe('budgets of all connections together', () => {
  test('by default hold at least two of the largest frames', () => {
    const { partialBytesMax, unsentBytesMax } = resolveOptions({ maxValueBytes: 200 * MIB })
    expect(partialBytesMax).toBe(2 * (200 * MIB + 64 * 1024))
    expect(unsentBytesMax).toBe(partialBytesMax)
  })

  test.each(['partialBytesMax', 'unsentBytesMax'] as const)(
    '%s below one largest frame is refused',
    (option) => {
      const frameBytesMax = MIB + 64 * 1024
      expect(resolveOptions({ [option]: frameBytesMax })[option]).toBe(frameBytesMax)
      expect(refusal({ [option]: frameBytesMax - 1 }).option).toBe(option)
    },
  )
})

describe('listening beyond loopback', () => {
  test.each([
    '0.0.0.0',
    '::',
    '192.0.2.1',
    '2001:db8::1',
    'cache.example',
    'localhost.example',
    '::ffff:192.0.2.1',
  ])('%s needs insecure, and the refusal lists the ways out', (host) => {
    const error = refusal({ host })
    expect(error.option).toBe('host')
    expect(error.allowed).toMatch(
      /127\.0\.0\.1.*tunnel.*--auth-file.*--tls-require-client-cert.*--tls-cert.*--insecure.*insecure: true/,
    )
    expect(resolveOptions({ host, insecure: true }).host).toBe(host)
  })

  const TLS = { tlsCert: 'cert.pem', tlsKey: 'key.pem' }
  const MUTUAL = { ...TLS, tlsCa: 'ca.pem' }
  test.each<[ServerOptions, missing: string]>([
    [{}, 'authentication and TLS'],
    [{ authFile: 'users' }, 'TLS'],
    [{ clusterSecretFile: 'secret' }, 'authentication and TLS'],
    [TLS, 'authentication'],
    [MUTUAL, 'authentication'],
    [{ ...TLS, authFile: 'users' }, ''],
    [{ ...MUTUAL, tlsRequireClientCert: true }, ''],
  ])('with %j, what is missing is: %s', (options, missing) => {
    expect(missingProtection(resolveOptions({ ...options, insecure: true }))).toBe(missing)
    const host = '0.0.0.0'
    if (missing === '') expect(resolveOptions({ ...options, host }).host).toBe(host)
    else expect(refusal({ ...options, host }).allowed).toContain(`of which ${missing} is missing here`)
    expect(resolveOptions({ ...options, host, insecure: true }).host).toBe(host)
  })

  test.each(['127.0.0.1', '127.255.0.9', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', 'localhost'])(
    '%s is loopback',
    (host) => {
      expect(isLoopback(host)).toBe(true)
      expect(resolveOptions({ host }).host).toBe(host)
    },
  )
})

describe('what belongs together with TLS', () => {
  test.each<[options: ServerOptions, option: keyof ServerOptions, together: string]>([
    [{ tlsCert: 'a' }, 'tlsCert', 'tlsKey'],
    [{ tlsKey: 'a' }, 'tlsKey', 'tlsCert'],
    [{ tlsCa: 'a' }, 'tlsCa', 'tlsCert'],
    [{ tlsCert: 'a', tlsKey: 'b', tlsRequireClientCert: true }, 'tlsRequireClientCert', 'tlsCa'],
    [{ tlsRequireClientCert: true }, 'tlsRequireClientCert', 'tlsCa'],
  ])('%j is refused', (options, option, together) => {
    expect(refusal(options).option).toBe(option)
    expect(refusal(options).allowed).toContain(`together with ${together}`)
  })
})

describe('logger', () => {
  test('is taken as it is, with its own `this`', () => {
    const logger = new (class {
      readonly lines: string[] = []
      debug(_: object, phrase: string) {
        this.lines.push(phrase)
      }
      info = this.debug
      warn = this.debug
      error = this.debug
    })()
    resolveOptions({ logger }).logger.info({}, 'ready')
    expect(logger.lines).toEqual(['ready'])
  })

  test.each([{}, { info() {} }, 'console', 7])('%j is refused', (logger) => {
    expect(refusal({ logger }).option).toBe('logger')
  })
})
