// Keys and values at, below and above their limits, in every encoding; replies that would be too long.

import { describe, expect, test } from 'vitest'
import {
  FRAME_OVERHEAD_BYTES_MAX,
  KEY_BYTES_MAX,
  KEYS_PER_REQUEST_MAX,
  PING_BYTES_MAX,
} from '../../protocol/limits.ts'
import { Opcode, Status } from '../../protocol/messages.ts'
import { decoded, frame, frameOf, hex } from '../helpers/frames.ts'
import { connect, STORES, startServer } from '../helpers/server.ts'

const { Ok, Miss, Skipped, BadOperand, KeyTooLarge, ValueTooLarge } = Status
const MIB = 1024 * 1024

const text = (value: string) => Buffer.from(value)
const anyVersion = expect.objectContaining({ length: 16 })
const anyText = expect.any(String)
/** A frame of elements that msgpackr would not write. */
const raw = (opcode: number, id: number, ...operands: string[]) =>
  frameOf(Buffer.of(opcode), Buffer.of(id), ...operands.map(hex))

describe.each(STORES)('%s store', (store) => {
  test('keys of 1 and of 1024 bytes', async () => {
    const connection = await connect(await startServer({ store }))
    for (const key of ['k', 'k'.repeat(KEY_BYTES_MAX), 'ä'.repeat(KEY_BYTES_MAX / 2), '\u0000', ' ']) {
      expect(await connection.ask(Opcode.Set, 1, key, 0, 'v')).toEqual([Ok, 1, anyVersion, 0])
      expect(await connection.ask(Opcode.Get, 2, key)).toEqual([Ok, 2, 0, text('v')])
    }
    const keys = (await connection.ask(Opcode.Scan, 3, 0))[3]
    expect(keys).toHaveLength(5)
    expect(keys).toContain('ä'.repeat(KEY_BYTES_MAX / 2))
    expect((await connection.ask(Opcode.Set, 4, 'ä'.repeat(KEY_BYTES_MAX / 2 + 1), 0, ''))[0]).toBe(
      KeyTooLarge,
    )
  })

  test('a key is the same in every encoding', async () => {
    const connection = await connect(await startServer({ store }))
    const encodings = ['a1 6b', 'd9 01 6b', 'da 00 01 6b', 'db 00 00 00 01 6b', 'c4 01 6b', 'c5 00 01 6b']
    for (const stored of encodings)
      for (const asked of [...encodings, 'c6 00 00 00 01 6b']) {
        connection.send(raw(Opcode.Set, 1, stored, '00', 'a2 68 69'), raw(Opcode.Get, 2, asked))
        connection.send(raw(Opcode.Delete, 3, asked), raw(Opcode.Get, 4, stored))
        expect((await connection.reply())[0]).toBe(Ok)
        expect(await connection.reply()).toEqual([Ok, 2, 0, text('hi')])
        expect(await connection.reply()).toEqual([Ok, 3])
        expect(await connection.reply()).toEqual([Miss, 4])
      }
  })

  test('reading or deleting what cannot be a key is a miss', async () => {
    const connection = await connect(await startServer({ store }))
    for (const opcode of [Opcode.Get, Opcode.Delete, Opcode.Touch, Opcode.Inspect])
      expect(await connection.ask(opcode, 1, hex('ff'))).toEqual([Miss, 1])
    expect(await connection.ask(Opcode.GetMany, 2, [hex('ff')])).toEqual([Ok, 2, [[Miss]]])
  })

  test('a value at, below and above the limit', async () => {
    const connection = await connect(await startServer({ store }))
    for (const bytes of [0, 1, MIB - 1, MIB]) {
      const value = Buffer.alloc(bytes, 'v')
      expect(await connection.ask(Opcode.Set, 1, 'k'.repeat(KEY_BYTES_MAX), 255, value)).toEqual([
        Ok,
        1,
        anyVersion,
        0,
      ])
      const [, , flags, stored] = await connection.ask(Opcode.Get, 2, 'k'.repeat(KEY_BYTES_MAX))
      expect([flags, stored instanceof Buffer && value.equals(stored)]).toEqual([255, true])
    }
    const tooLarge = await connection.ask(Opcode.Set, 3, 'key', 0, Buffer.alloc(MIB + 1))
    expect(tooLarge).toEqual([ValueTooLarge, 3, expect.stringContaining('1048576')])
    expect(await connection.ask(Opcode.Get, 4, 'key')).toEqual([Miss, 4])
  })

  test('a value that fits into a frame and not into the memory is refused; what was there stays', async () => {
    const connection = await connect(
      await startServer({ store, maxMemoryBytes: MIB, maxValueBytes: 2 * MIB }),
    )
    await connection.ask(Opcode.Set, 1, 'key', 0, 'small')
    const large = Buffer.alloc(2 * MIB)
    expect(await connection.ask(Opcode.Set, 2, 'key', 0, large)).toEqual([ValueTooLarge, 2, anyText])
    expect(await connection.ask(Opcode.SetMany, 3, [['key', 0, large]])).toEqual([Ok, 3, [[ValueTooLarge]]])
    expect(await connection.ask(Opcode.Get, 4, 'key')).toEqual([Ok, 4, 0, text('small')])
  })

  test('GET_MANY skips what does not fit, and asking again gets on', async () => {
    const connection = await connect(await startServer({ store, maxValueBytes: 100_000 }))
    const keys = Array.from({ length: KEYS_PER_REQUEST_MAX }, (_, i) => `key ${i}`)
    const values = new Map(keys.slice(0, 10).map((key) => [key, Buffer.alloc(100_000, key)]))
    for (const [key, value] of values) await connection.ask(Opcode.Set, 1, key, 0, value)
    let left = keys
    const found = new Map<string, unknown>()
    while (left.length > 0) {
      connection.send(frame(Opcode.GetMany, 2, left))
      const payload = await connection.payload()
      expect(payload.length).toBeLessThanOrEqual(100_000 + FRAME_OVERHEAD_BYTES_MAX)
      const entries = entriesOf(payload)
      expect(entries).toHaveLength(left.length)
      const skippedFrom = entries.findIndex(([status]) => status === Skipped)
      const answered = skippedFrom < 0 ? left.length : skippedFrom
      expect(answered).toBeGreaterThan(0)
      expect(entries.slice(answered)).toEqual(left.slice(answered).map(() => [Skipped]))
      left.slice(0, answered).forEach((key, index) => {
        found.set(key, entries[index]?.[2])
      })
      left = left.slice(answered)
    }
    expect(found.size).toBe(keys.length)
    for (const [key, value] of values) expect(value.equals(Object(found.get(key)))).toBe(true)
  })

  test('no reply is longer than 131 072 bytes or a frame, however small values must be', async () => {
    const connection = await connect(await startServer({ store, maxValueBytes: 1 }))
    const keys = Array.from({ length: KEYS_PER_REQUEST_MAX }, (_, i) => i.toString(36))
    connection.send(
      frame(
        Opcode.SetMany,
        1,
        keys.map((key) => [key, 0, 'v']),
      ),
    )
    connection.send(
      frame(Opcode.GetMany, 2, keys),
      frame(Opcode.Stats, 3),
      frame(Opcode.Scan, 4, 0, '', 4096),
    )
    for (let id = 1; id <= 4; id++) {
      const payload = await connection.payload()
      expect(payload.length).toBeLessThanOrEqual(131_072)
      expect(decoded(payload).slice(0, 2)).toEqual([Ok, id])
    }
  })
})

test("PING's payload at, below and above the limit", async () => {
  const connection = await connect(await startServer())
  for (const bytes of [0, 1, PING_BYTES_MAX - 1, PING_BYTES_MAX]) {
    const payload = Buffer.alloc(bytes, 'p')
    expect(await connection.ask(Opcode.Ping, 1, payload)).toEqual([Ok, 1, payload])
    expect(await connection.ask(Opcode.Ping, 2, payload.toString())).toEqual([Ok, 2, payload])
  }
  for (const bytes of [PING_BYTES_MAX + 1, MIB]) {
    const refused = await connection.ask(Opcode.Ping, 3, Buffer.alloc(bytes, 'p'))
    expect(refused).toEqual([BadOperand, 3, expect.stringContaining(`${PING_BYTES_MAX} bytes, got ${bytes}`)])
  }
  expect(await connection.ask(Opcode.Ping, 4)).toEqual([Ok, 4, text('')])
})

function entriesOf(payload: Buffer): unknown[][] {
  const [status, , entries] = decoded(payload)
  if (status !== Ok || !Array.isArray(entries)) throw new Error(`status ${status}`)
  return entries
}
