// A record on its way: from either store into a frame and back, byte by byte what msgpackr reads; and what is refused.

import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../../protocol/errors.ts'
import { KEY_BYTES_MAX } from '../../../protocol/limits.ts'
import { Reader } from '../../../protocol/reader.ts'
import { Writer } from '../../../protocol/writer.ts'
import { emptyRemoteRecord, RecordWriter, readRecord } from '../../../server/replication/records.ts'
import { emptyHead, RecordKind } from '../../../server/store/store.ts'
import { decoded, frame } from '../../helpers/frames.ts'
import { bootOf, bytesOf, type Node, STORES, World } from '../../helpers/replicas.ts'

const SENDER = bootOf('sender')

function wire(node: Node, key: string, withOrigin: boolean) {
  const writer = new Writer(8)
  const head = emptyHead()
  const { store, replica } = node
  const slot = node.slotOf(key)
  store.head(slot, head)
  new RecordWriter(store, replica.origins).write(writer, slot, head, withOrigin)
  return Buffer.from(writer.bytes.subarray(0, writer.at))
}

function read(bytes: Buffer) {
  const reader = new Reader()
  reader.bytes = bytes
  reader.end = bytes.length
  const record = emptyRemoteRecord()
  readRecord(reader, SENDER, record)
  expect(reader.at).toBe(reader.end)
  const text = ({ bytes, at, length }: typeof record.key) =>
    Buffer.from(bytes).toString('latin1', at, at + length)
  return { ...record, key: text(record.key), value: text(record.value) }
}

/** A record as a list of fields, from a value of seven and what is changed. */
function fields(changes: Readonly<Record<number, unknown>> = {}, more: readonly unknown[] = []): Buffer {
  const usual: unknown[] = [0, 'key', 5, 1, 0, 0, Buffer.from('value')]
  for (const [index, field] of Object.entries(changes)) usual[Number(index)] = field
  return frame(...usual, ...more).subarray(4)
}

describe.each(STORES)('a record of the %s store', (store) => {
  test('goes through the wire whole, whatever its sizes', () => {
    const node = new World().add('a', { store })
    for (const length of [0, 1, 31, 32, 255, 256, 65_535, 65_536, 100_001]) {
      const value = Buffer.alloc(length, 'abcdefg')
      node.set('key', value, 60_000)
      const bytes = wire(node, 'key', false)
      expect(decoded(bytes)).toHaveLength(7)
      const seen = node.see('key')
      expect(read(bytes)).toEqual({
        kind: RecordKind.Value,
        key: 'key',
        value: value.toString(),
        hlc: seen?.hlc,
        flags: 1,
        expiresAtMs: seen?.expiresAtMs,
        lifetimeMs: 60_000,
        origin: SENDER,
      })
    }
  })

  test('names its origin where it may be anybody', () => {
    const node = new World().add('a', { store, boot: 'fffefdfc01020304' })
    node.set('k'.repeat(KEY_BYTES_MAX), 'v')
    expect(read(wire(node, 'k'.repeat(KEY_BYTES_MAX), true)).origin).toBe('fffefdfc01020304')
  })

  test('that is a marker has no bytes, and keeps its age to itself', () => {
    const node = new World().add('a', { store })
    node.meet('b')
    node.delete('key')
    expect(node.see('key')?.flags).not.toBe(0)
    expect(read(wire(node, 'key', false))).toMatchObject({ kind: RecordKind.Tombstone, flags: 0, value: '' })
  })
})

describe('a record', () => {
  test('of a later version has more fields, which are passed over', () => {
    const origin = bytesOf(bootOf('other'))
    expect(read(fields({}, [origin, 'later', [1, [2]], null])).origin).toBe(bootOf('other'))
  })

  test.each<[why: string, bytes: Buffer]>([
    ['too few fields', frame(0, 'key', 5, 1, 0, 0).subarray(4)],
    ['a kind that there is not', fields({ 0: 3 })],
    ['a key of no bytes', fields({ 1: '' })],
    ['a key that is too long', fields({ 1: 'k'.repeat(KEY_BYTES_MAX + 1) })],
    ['a key that is a number', fields({ 1: 7 })],
    ['a key that is no text', fields({ 1: Buffer.from('6bff', 'hex') })],
    ['a key with a surrogate', fields({ 1: Buffer.from('eda080', 'hex') })],
    ['a stamp below 0', fields({ 2: -1 })],
    ['a stamp that is no integer', fields({ 2: 1.5 })],
    ['flags of more than a byte', fields({ 3: 256 })],
    ['an expiry beyond 48 bits', fields({ 4: 2 ** 48 })],
    ['a lifetime beyond 48 bits', fields({ 5: 2 ** 48 })],
    ['a tombstone with a value', fields({ 0: RecordKind.Tombstone })],
    ['a ghost with a value', fields({ 0: RecordKind.Ghost })],
    ['an origin of 9 bytes', fields({}, [Buffer.alloc(9)])],
    ['an origin that is nil', fields({}, [null])],
    ['a value that is nil', fields({ 6: null })],
  ])('is refused with %s', (_, bytes) => {
    expect(() => read(bytes)).toThrow(ProtocolError)
  })

  test('is refused when it is cut, wherever that is', () => {
    const bytes = fields({ 4: 2 ** 48 - 1 }, [bytesOf(SENDER)])
    for (let end = 0; end < bytes.length; end++)
      expect(() => read(bytes.subarray(0, end))).toThrow(ProtocolError)
  })
})
