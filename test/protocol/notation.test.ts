// The notations of flags and variables: what each accepts, what it refuses, and that it reads what it writes.

import { describe, expect, test } from 'vitest'
import { TTL_MS_MAX } from '../../protocol/limits.ts'
import { count, duration, hostPort, size, toggle, wholeMs } from '../../protocol/notation.ts'

describe('size', () => {
  test.each([
    ['0b', 0],
    ['100b', 100],
    ['1k', 1024],
    ['512kb', 512 * 1024],
    ['64mb', 64 * 1024 ** 2],
    ['256m', 256 * 1024 ** 2],
    ['256MiB', 256 * 1024 ** 2],
    ['1GiB', 1024 ** 3],
    ['1.5g', 1.5 * 1024 ** 3],
    ['6 gb', 6 * 1024 ** 3],
    ['1tb', 1024 ** 4],
  ])('%s is %d bytes', (text, bytes) => {
    expect(size.parse(text)).toBe(bytes)
  })

  test.each([
    '256',
    '',
    'mb',
    '-1mb',
    '1e3mb',
    '1,5gb',
    '1.mb',
    '0x10kb',
    '64mbit',
    '1ib',
    '9999999tb',
    '1mb 2mb',
  ])('refuses %j', (text) => {
    expect(size.parse(text)).toBeUndefined()
  })
})

describe('duration', () => {
  test.each([
    ['90', 90_000],
    ['0', 0],
    ['500ms', 500],
    ['5000ms', 5000],
    ['1.5', 1500],
    ['0.001', 1],
    ['0.3s', 300],
    ['2.007s', 2007],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['1.5H', 5_400_000],
    ['2d', 172_800_000],
  ])('%s is %d ms', (text, ms) => {
    expect(duration.parse(text)).toBe(ms)
  })

  test.each(['', 'h', '-1', '5x', '1h30m', '0.5ms', '0.0004', 'Infinity', '99999999999999d'])(
    'refuses %j',
    (text) => {
      expect(duration.parse(text)).toBeUndefined()
    },
  )
})

describe('wholeMs', () => {
  test('whole milliseconds are not rounded up by a trifle', () => {
    for (let ms = 1; ms <= 100_000; ms++) if (wholeMs(ms / 1000) !== ms) expect(wholeMs(ms / 1000)).toBe(ms)
    for (let ms = TTL_MS_MAX; ms > 1; ms = Math.floor(ms / 1.0001))
      if (wholeMs(ms / 1000) !== ms) expect(wholeMs(ms / 1000)).toBe(ms)
    expect(2.007 * 1000).toBeGreaterThan(2007)
    expect(wholeMs(2.007)).toBe(2007)
  })

  test('anything beyond is, and so is what is less than one', () => {
    expect([1 / 3, 2.0070001, 0.0005, 1e-9, 5e-324].map(wholeMs)).toEqual([334, 2008, 1, 1, 1])
    expect(wholeMs(0)).toBe(0)
  })
})

describe('toggle', () => {
  test.each(['true', 'True', 'TRUE', '1', 'yes', 'on', 'On'])('%s is true', (text) => {
    expect(toggle.parse(text)).toBe(true)
  })

  test.each(['false', 'False', '0', 'no', 'OFF'])('%s is false', (text) => {
    expect(toggle.parse(text)).toBe(false)
  })

  test.each(['', 'maybe', 'y', '2', 'truee', 'null'])('refuses %j', (text) => {
    expect(toggle.parse(text)).toBeUndefined()
  })
})

test('count takes digits only', () => {
  expect(count.parse('10000')).toBe(10_000)
  for (const text of ['', '-1', '1.5', '1e3', '0x10', '1_000', '64mb', '9'.repeat(16)]) {
    expect(count.parse(text), text).toBeUndefined()
  }
})

describe('hostPort', () => {
  test.each([
    ['11142', { port: 11_142 }],
    ['0', { port: 0 }],
    ['localhost:1', { host: 'localhost', port: 1 }],
    ['10.0.0.7:65535', { host: '10.0.0.7', port: 65_535 }],
    ['[::1]:11142', { host: '::1', port: 11_142 }],
  ])('%s', (text, address) => {
    expect(hostPort.parse(text)).toEqual(address)
  })

  test.each([
    '',
    'localhost',
    ':11142',
    '::1',
    '::1:11142',
    '[::1]',
    '[]:1',
    'a:b:1',
    'host:',
    'host:65536',
    '-1',
    '1.5',
  ])('refuses %j', (text) => {
    expect(hostPort.parse(text)).toBeUndefined()
  })
})

test('each notation reads what it writes', () => {
  for (const bytes of [0, 1, 1023, 1024, 1025, 1536, 1024 ** 2, 256 * 1024 ** 2, 3 * 1024 ** 3, 2 ** 40]) {
    expect(size.parse(size.format(bytes))).toBe(bytes)
  }
  for (const ms of [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000]) {
    expect(duration.parse(duration.format(ms))).toBe(ms)
  }
  for (const address of [{ port: 1 }, { host: 'a.b', port: 2 }, { host: '::1', port: 3 }]) {
    expect(hostPort.parse(hostPort.format(address))).toEqual(address)
  }
  for (const value of [true, false]) expect(toggle.parse(toggle.format(value))).toBe(value)
})
