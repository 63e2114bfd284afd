// The announcement's bytes: what is written is what an independent reader reads, what is read is nothing but an
// announcement, and a proof covers every bit.

import { createHmac } from 'node:crypto'
import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../protocol/errors.ts'
import {
  type Announcement,
  DATAGRAM_BYTES_MAX,
  isDialable,
  isProven,
  readAnnouncement,
  writeAnnouncement,
} from '../../server/announcement.ts'
import { mutated } from '../fuzz/mutations.ts'
import { ANNOUNCED, SECRET } from '../helpers/announced.ts'
import { decoded } from '../helpers/frames.ts'
import { forEachSeed, seedRange } from './store/random.ts'

const SEEDS = 20
const INPUTS_PER_SEED = 1000
const MAGIC = 0x6f72_6d75
const BOOT = Buffer.from(ANNOUNCED.boot, 'hex')
const packr = new Packr({ useRecords: false })

/** A datagram of somebody else's making: the good elements, some of them replaced. */
function crafted(replaced: Readonly<Record<number, unknown>> = {}, ...more: readonly unknown[]): Buffer {
  const { cluster, label, host, port, wallMs } = ANNOUNCED
  const elements: unknown[] = [MAGIC, 1, cluster, label, BOOT, host, port, wallMs, null, ...more]
  for (const [at, element] of Object.entries(replaced)) elements[Number(at)] = element
  return packr.pack(elements)
}

describe('what is written', () => {
  test('is an array that others can read', () => {
    expect(decoded(writeAnnouncement(ANNOUNCED))).toEqual([
      MAGIC,
      1,
      'default',
      'cache-1',
      BOOT,
      '192.0.2.7',
      11_142,
      1_790_000_000_123,
      null,
    ])
  })

  test('carries an HMAC-SHA-256 of all the rest', () => {
    const datagram = writeAnnouncement(ANNOUNCED, SECRET)
    const rest = datagram.subarray(0, datagram.length - 32)
    const hmac = createHmac('sha256', SECRET).update('ormuco-cache announcement\n').update(rest)
    expect(decoded(datagram)[8]).toEqual(hmac.digest())
  })

  test.each<[string, Partial<Announcement>]>([
    ['as it is', {}],
    ['without a host', { host: undefined }],
    ['IPv6', { host: '2001:db8::7' }],
    ['link-local', { host: 'fe80::1' }],
    [
      'the longest names',
      { cluster: 'c'.repeat(128), label: '~'.repeat(128), host: `2001${':ffff'.repeat(7)}` },
    ],
    ['edges', { port: 65_535, wallMs: Number.MAX_SAFE_INTEGER, boot: 'f'.repeat(16) }],
    ['other edges', { port: 1, wallMs: 0, boot: '0'.repeat(16), cluster: '!', label: 'x' }],
  ])('is read again: %s', (_, changes) => {
    const announcement = { ...ANNOUNCED, ...changes }
    expect(readAnnouncement(writeAnnouncement(announcement))).toEqual({ ...announcement, proofAt: undefined })
    const datagram = writeAnnouncement(announcement, SECRET)
    expect(datagram.length).toBeLessThan(DATAGRAM_BYTES_MAX / 2)
    const heard = readAnnouncement(datagram)
    expect(heard).toEqual({ ...announcement, proofAt: datagram.length - 32 })
    expect(isProven(datagram, heard.proofAt, SECRET)).toBe(true)
  })

  test.each<[string, Partial<Announcement>]>([
    ['no cluster', { cluster: '' }],
    ['a blank', { label: 'a b' }],
    ['a long label', { label: 'x'.repeat(129) }],
    ['a boot id in capitals', { boot: '00FF123456789ABC' }],
    ['a name', { host: 'localhost' }],
    ['any address', { host: '0.0.0.0' }],
    ['a zone', { host: 'fe80::1%eth0' }],
    ['port 0', { port: 0 }],
    ['half a millisecond', { wallMs: 0.5 }],
  ])('is never what no reader takes: %s', (_, changes) => {
    expect(() => writeAnnouncement({ ...ANNOUNCED, ...changes })).toThrow(RangeError)
  })
})

describe('what is read', () => {
  test('may have been written by others', () => {
    expect(readAnnouncement(crafted())).toEqual({ ...ANNOUNCED, proofAt: undefined })
    expect(readAnnouncement(crafted({ 5: null }))).toEqual({
      ...ANNOUNCED,
      host: undefined,
      proofAt: undefined,
    })
  })

  test('may go on with what later versions know', () => {
    const longer = crafted({}, 7, 'text', [1, [2]], null, true, { some: 'thing' }, 0.5)
    expect(readAnnouncement(longer)).toEqual({ ...ANNOUNCED, proofAt: undefined })
  })

  test.each<[string, Buffer, RegExp]>([
    ['nothing', Buffer.alloc(0), /ends in the middle/],
    ['text', Buffer.from('M-SEARCH * HTTP/1.1\r\n'), /an array is expected/],
    ['a map', packr.pack({ a: 1 }), /an array is expected/],
    ['other magic', crafted({ 0: MAGIC + 1 }), /not one of this program/],
    ['another format', crafted({ 1: 2 }), /format is 1, got 2/],
    ['a cluster that is a number', crafted({ 2: 1 }), /a string or binary is expected/],
    ['a cluster with a line break', crafted({ 2: 'a\nb' }), /a cluster is/],
    ['no label', crafted({ 3: '' }), /a node id is/],
    ['a label beyond ASCII', crafted({ 3: 'é' }), /a node id is/],
    ['a long label', crafted({ 3: 'x'.repeat(129) }), /a node id is/],
    ['a short boot id', crafted({ 4: BOOT.subarray(1) }), /a boot id has 8 bytes, got 7/],
    ['a boot id as text', crafted({ 4: ANNOUNCED.boot }), /a boot id has 8 bytes, got 16/],
    ['a name instead of an address', crafted({ 5: 'evil.example' }), /a host is/],
    ['an empty host', crafted({ 5: '' }), /a host is/],
    ['any address', crafted({ 5: '::' }), /a host is/],
    ['a group', crafted({ 5: '239.1.2.3' }), /a host is/],
    ['everybody', crafted({ 5: '255.255.255.255' }), /a host is/],
    ['a zone', crafted({ 5: 'fe80::1%eth0' }), /a host is/],
    ['port 0', crafted({ 6: 0 }), /a port is/],
    ['port 65536', crafted({ 6: 65_536 }), /a port is/],
    ['a negative port', crafted({ 6: -1 }), /from 0 is expected/],
    ['no port', crafted({ 6: null }), /an integer is expected/],
    ['a time before 1970', crafted({ 7: -1 }), /from 0 is expected/],
    ['a time that is no integer', crafted({ 7: 1.5 }), /the float 1.5/],
    ['a short proof', crafted({ 8: Buffer.alloc(31) }), /a proof has 32 bytes, got 31/],
    [
      'too few elements',
      packr.pack([MAGIC, 1, 'default', 'cache-1', BOOT, null, 1]),
      /wall clock is missing/,
    ],
    ['bytes after it', Buffer.concat([crafted(), Buffer.of(1)]), /1 bytes after the end/],
    ['deep nesting', crafted({}, [[[[[[[[[[[[1]]]]]]]]]]]]), /nesting deeper/],
    ['an extension type', crafted({}, new Date(0)), /an extension type/],
    ['too long', crafted({}, Buffer.alloc(DATAGRAM_BYTES_MAX)), /at most 1200 bytes/],
  ])('is refused: %s', (_, datagram, reason) => {
    expect(() => readAnnouncement(datagram)).toThrow(ProtocolError)
    expect(() => readAnnouncement(datagram)).toThrow(reason)
  })

  test('is refused wherever it is cut', () => {
    const datagram = writeAnnouncement(ANNOUNCED, SECRET)
    for (let length = 0; length < datagram.length; length++)
      expect(() => readAnnouncement(datagram.subarray(0, length)), `${length}`).toThrow(ProtocolError)
  })

  test('lies where it lies: not at the beginning of its memory', () => {
    const memory = Buffer.concat([Buffer.from('before'), writeAnnouncement(ANNOUNCED, SECRET)])
    const datagram = new Uint8Array(memory.buffer, memory.byteOffset + 6, memory.length - 6)
    const heard = readAnnouncement(datagram)
    expect(heard).toMatchObject(ANNOUNCED)
    expect(isProven(datagram, heard.proofAt, SECRET)).toBe(true)
  })

  test(`is an announcement or refused, whatever it is: ${seedRange(SEEDS)}`, () => {
    let readable = 0
    forEachSeed(SEEDS, (random) => {
      for (let left = INPUTS_PER_SEED; left > 0; left--) {
        const good = writeAnnouncement(ANNOUNCED, random.oneIn(2) ? SECRET : undefined)
        const datagram = mutated(good, random)
        const heard = readOrRefused(datagram)
        if (heard === undefined) continue
        readable++
        expect(isProven(datagram, heard.proofAt, SECRET) && !datagram.equals(good)).toBe(false)
        expect(isDialable(heard.host ?? '192.0.2.1')).toBe(true)
        expect(`${heard.cluster}${heard.label}`).toMatch(/^[\x21-\x7e]+$/)
      }
    })
    // Not refused at the first byte, all of them.
    expect(readable).toBeGreaterThan(0)
  })
})

describe('a proof', () => {
  test('is missing without a secret', () => {
    const datagram = writeAnnouncement(ANNOUNCED)
    expect(isProven(datagram, readAnnouncement(datagram).proofAt, SECRET)).toBe(false)
  })

  test('is wrong under another secret', () => {
    for (const other of ['b secret of the cluster', 'a secret of the cluster ', 'a']) {
      const datagram = writeAnnouncement(ANNOUNCED, Buffer.from(other))
      expect(isProven(datagram, readAnnouncement(datagram).proofAt, SECRET), other).toBe(false)
    }
  })

  test('covers every bit', () => {
    const datagram = writeAnnouncement(ANNOUNCED, SECRET)
    for (let bit = 0; bit < datagram.length * 8; bit++) {
      const flipped = Buffer.from(datagram)
      flipped[bit >> 3] = (datagram[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const heard = readOrRefused(flipped)
      const proven = heard !== undefined && isProven(flipped, heard.proofAt, SECRET)
      expect(proven, `bit ${bit}`).toBe(false)
    }
  })

  test('covers what later versions append', () => {
    const datagram = crafted({ 8: Buffer.alloc(32) }, 'later')
    const proofAt = readAnnouncement(datagram).proofAt ?? 0
    const rest = [datagram.subarray(0, proofAt), datagram.subarray(proofAt + 32)]
    createHmac('sha256', SECRET)
      .update('ormuco-cache announcement\n')
      .update(Buffer.concat(rest))
      .digest()
      .copy(datagram, proofAt)
    expect(isProven(datagram, proofAt, SECRET)).toBe(true)
    datagram[datagram.length - 1] = 0x52
    expect(isProven(datagram, readAnnouncement(datagram).proofAt, SECRET)).toBe(false)
  })
})

function readOrRefused(datagram: Buffer) {
  try {
    return readAnnouncement(datagram)
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError)
    return undefined
  }
}
