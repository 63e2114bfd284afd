// What each command answers, and what it refuses, as a client in another language would see it: frames written and
// read by msgpackr. A refusal is an error reply after which the connection lives and nothing has changed.

import { describe, expect, test } from 'vitest'
import {
  FRAME_OVERHEAD_BYTES_MAX,
  KEY_BYTES_MAX,
  KEYS_PER_REQUEST_MAX,
  SCAN_COUNT_MAX,
  TTL_MS_MAX,
} from '../../protocol/limits.ts'
import { Condition, Opcode, Status, ValueFlags, Want } from '../../protocol/messages.ts'
import { eventually } from '../helpers/eventually.ts'
import { frame, frameOf, hex } from '../helpers/frames.ts'
import { type Connection, connect, SURROUNDINGS, startServer } from '../helpers/server.ts'

const { Ok, Miss, Conflict, BadOperand, NotInteger } = Status
const SAFE = Number.MAX_SAFE_INTEGER

const text = (value: string) => Buffer.from(value)
const anyVersion = expect.objectContaining({ length: 16 })
const anyText = expect.any(String)
describe.each(SURROUNDINGS)('$store store, $wire', ({ store, wire }) => {
  async function client(options = {}): Promise<Connection> {
    return connect(await startServer({ store, ...options }), wire)
  }

  test('HELLO introduces both sides and agrees on a version', async () => {
    const server = await startServer({ store, region: 'eu', cluster: 'c1', maxValueBytes: 5000 })
    const connection = await connect(server, wire)
    const hello = [1, 0, expect.any(String), 'cache-1', expect.any(Buffer), 'eu', 'c1', 5000, 5000 + 65_536]
    expect(await connection.ask(Opcode.Hello, 1, 1, 1, 0, 'tester')).toEqual([Ok, 1, ...hello])
    expect(await connection.ask(Opcode.Hello, 2)).toEqual([Ok, 2, ...hello])
    expect(await connection.ask(Opcode.Hello, 3, 1, 99, 0xffff_ffff, Buffer.from('name'), 'more')).toEqual([
      Ok,
      3,
      ...hello,
    ])
    expect(await connection.ask(Opcode.Hello, 4, null, null, null, 'x'.repeat(128))).toEqual([
      Ok,
      4,
      ...hello,
    ])
  })

  test.each([[[2, 9]], [[0, 0]], [[7]]])(
    'HELLO for versions %j is refused, and the connection closes',
    async (versions) => {
      const connection = await client()
      expect(await connection.ask(Opcode.Hello, 1, ...versions)).toEqual([
        Status.UnsupportedVersion,
        1,
        anyText,
      ])
      expect(await connection.rest()).toHaveLength(0)
    },
  )

  test('PING gives its payload back', async () => {
    const connection = await client()
    expect(await connection.ask(Opcode.Ping, 1)).toEqual([Ok, 1, text('')])
    expect(await connection.ask(Opcode.Ping, 2, 'ä')).toEqual([Ok, 2, text('ä')])
    expect(await connection.ask(Opcode.Ping, 3, 'p'.repeat(500))).toEqual([Ok, 3, text('p'.repeat(500))])
  })

  test('SET, GET, INSPECT, DELETE', async () => {
    const connection = await client()
    expect(await connection.ask(Opcode.Get, 1, 'key')).toEqual([Miss, 1])
    const [, , version] = await connection.ask(Opcode.Set, 2, 'key', 7, 'value')
    expect(version).toEqual(anyVersion)
    expect(await connection.ask(Opcode.Get, 3, 'key')).toEqual([Ok, 3, 7, text('value')])
    expect(await connection.ask(Opcode.Get, 4, 'key', Want.Meta)).toEqual([
      Ok,
      4,
      7,
      text('value'),
      version,
      null,
    ])
    expect(await connection.ask(Opcode.Inspect, 5, 'key')).toEqual([Ok, 5, 7, 5, version, null, null])
    expect(await connection.ask(Opcode.Delete, 6, 'key')).toEqual([Ok, 6])
    expect(await connection.ask(Opcode.Delete, 7, 'key', 3)).toEqual([Miss, 7])
    expect(await connection.ask(Opcode.Inspect, 8, 'key')).toEqual([Miss, 8])
  })

  test('bits of GET that nobody knows yet are ignored', async () => {
    const connection = await client()
    await connection.ask(Opcode.Set, 1, 'key', 0, 'value')
    expect(await connection.ask(Opcode.Get, 2, 'key', 2)).toEqual([Ok, 2, 0, text('value')])
    expect(await connection.ask(Opcode.Get, 3, 'key', 0xfffe)).toEqual([Ok, 3, 0, text('value')])
    expect(await connection.ask(Opcode.Get, 4, 'key', 3)).toHaveLength(6)
  })

  test('the conditions of SET', async () => {
    const connection = await client()
    const set = async (value: string, condition?: number, version?: unknown) =>
      (await connection.ask(Opcode.Set, 1, 'key', 0, value, null, condition, version, 0)).filter(
        (_, index) => index !== 1,
      )
    expect(await set('a', Condition.Present)).toEqual([Conflict, null])
    expect(await set('a', Condition.Version, Buffer.alloc(16))).toEqual([Conflict, null])
    const [, first] = await set('a', Condition.Absent)
    expect(await set('b', Condition.Absent)).toEqual([Conflict, first])
    expect(await set('b', Condition.Version, Buffer.alloc(16))).toEqual([Conflict, first])
    const [, second] = await set('b', Condition.Version, first)
    expect(await set('c', Condition.Version, first)).toEqual([Conflict, second])
    expect(await set('c', Condition.Present)).toEqual([Ok, anyVersion, 0])
    expect(await set('d', Condition.None, 'not looked at')).toEqual([Ok, anyVersion, 0])
    expect(await connection.ask(Opcode.Get, 2, 'key')).toEqual([Ok, 2, 0, text('d')])
  })

  test('times to live: none, the default, and given ones', async () => {
    const connection = await client({ defaultTtlSeconds: 100 })
    const lifetime = async (key: string) => (await connection.ask(Opcode.Inspect, 1, key))[6]
    await connection.ask(Opcode.Set, 2, 'default', 0, '')
    await connection.ask(Opcode.Set, 3, 'none', 0, '', 0)
    await connection.ask(Opcode.Set, 4, 'given', 0, '', 5000)
    await connection.ask(Opcode.Set, 5, 'longest', 0, '', TTL_MS_MAX)
    await connection.ask(Opcode.SetMany, 6, [['many', 0, '']], 7000)
    await connection.ask(Opcode.Increment, 7, 'number', 1, 0, 9000)
    await connection.ask(Opcode.Increment, 8, 'number', 1, 0, 1000)
    expect(await lifetime('default')).toBe(100_000)
    expect(await lifetime('none')).toBe(null)
    expect(await lifetime('given')).toBe(5000)
    expect(await lifetime('longest')).toBe(TTL_MS_MAX)
    expect(await lifetime('many')).toBe(7000)
    expect(await lifetime('number')).toBe(9000)
    expect(await connection.ask(Opcode.Touch, 9, 'given')).toEqual([Ok, 9, anyVersion])
    expect(await lifetime('given')).toBe(100_000)
    await connection.ask(Opcode.Touch, 10, 'given', 0)
    expect(await lifetime('given')).toBe(null)
    expect(await connection.ask(Opcode.Touch, 11, 'nothing', 5)).toEqual([Miss, 11])
    const [, , , , , ttlMs] = await connection.ask(Opcode.Get, 12, 'default', Want.Meta)
    expect(ttlMs).toBeGreaterThan(0)
    expect(ttlMs).toBeLessThanOrEqual(100_000)
  })

  test('TOUCH gives a new version and leaves the value', async () => {
    const connection = await client()
    const [, , before] = await connection.ask(Opcode.Set, 1, 'key', 3, 'value')
    const [, , after] = await connection.ask(Opcode.Touch, 2, 'key', 60_000)
    expect(after).not.toEqual(before)
    expect(await connection.ask(Opcode.Get, 3, 'key')).toEqual([Ok, 3, 3, text('value')])
    expect(await connection.ask(Opcode.Set, 4, 'key', 3, 'x', 0, Condition.Version, before)).toEqual([
      Conflict,
      4,
      after,
    ])
  })

  test('the many-key commands answer key by key, in order', async () => {
    const connection = await client()
    const entries = [
      ['a', 1, '1'],
      [Buffer.from('b'), 2, Buffer.from('2')],
      [hex('ff'), 0, ''],
      ['a', 3, '3'],
    ]
    expect(await connection.ask(Opcode.SetMany, 1, entries)).toEqual([
      Ok,
      1,
      [[Ok, anyVersion], [Ok, anyVersion], [BadOperand], [Ok, anyVersion]],
    ])
    expect(await connection.ask(Opcode.SetMany, 2, entries.slice(0, 1), null, Condition.Absent)).toEqual([
      Ok,
      2,
      [[Conflict]],
    ])
    expect(await connection.ask(Opcode.GetMany, 3, ['b', 'x', 'a', 'a'])).toEqual([
      Ok,
      3,
      [[Ok, 2, text('2')], [Miss], [Ok, 3, text('3')], [Ok, 3, text('3')]],
    ])
    expect(await connection.ask(Opcode.DeleteMany, 4, ['a', 'a', 'b', 'x'])).toEqual([
      Ok,
      4,
      [Ok, Miss, Ok, Miss],
    ])
    for (const opcode of [Opcode.SetMany, Opcode.GetMany, Opcode.DeleteMany])
      expect(await connection.ask(opcode, 5, [])).toEqual([Ok, 5, []])
  })

  test('as many keys as there may be', async () => {
    const connection = await client()
    const keys = Array.from({ length: KEYS_PER_REQUEST_MAX }, (_, i) => `key ${i}`)
    const entries = keys.map((key) => [key, 0, key])
    const [, , stored] = await connection.ask(Opcode.SetMany, 1, entries)
    expect(stored).toEqual(keys.map(() => [Ok, anyVersion]))
    const [, , found] = await connection.ask(Opcode.GetMany, 2, keys)
    expect(found).toEqual(keys.map((key) => [Ok, 0, text(key)]))
    const [, , deleted] = await connection.ask(Opcode.DeleteMany, 3, keys)
    expect(deleted).toEqual(keys.map(() => Ok))
  })

  test('INCREMENT and DECREMENT', async () => {
    const connection = await client()
    const number = async (opcode: number, ...operands: unknown[]) =>
      (await connection.ask(opcode, 1, ...operands))[2]
    expect(await number(Opcode.Increment, 'n')).toBe(1)
    expect(await number(Opcode.Increment, 'n', 300)).toBe(301)
    expect(await number(Opcode.Decrement, 'n')).toBe(300)
    expect(await number(Opcode.Decrement, 'n', -10)).toBe(310)
    expect(await number(Opcode.Increment, 'n', 0, 77)).toBe(310)
    expect(await number(Opcode.Increment, 'new', 5, 100)).toBe(105)
    expect(await number(Opcode.Decrement, 'other', 5, -100)).toBe(-105)
    expect(await number(Opcode.Increment, 'top', SAFE)).toBe(SAFE)
    expect(await number(Opcode.Decrement, 'bottom', SAFE)).toBe(-SAFE)
    expect(await connection.ask(Opcode.Increment, 2, 'top')).toEqual([NotInteger, 2, anyText])
    expect(await connection.ask(Opcode.Decrement, 3, 'bottom')).toEqual([NotInteger, 3, anyText])
    expect(await connection.ask(Opcode.Get, 4, 'top')).toEqual([
      Ok,
      4,
      ValueFlags.MessagePack,
      hex('cf 00 1f ff ff ff ff ff ff'),
    ])
  })

  test('what INCREMENT takes for a number, and what not', async () => {
    const connection = await client()
    const incremented = async (flags: number, bytes: string) => {
      await connection.ask(Opcode.Set, 1, 'n', flags, hex(bytes))
      const [status, , number] = await connection.ask(Opcode.Increment, 2, 'n')
      if (status === Ok) return number
      expect((await connection.ask(Opcode.Get, 3, 'n'))[3]).toEqual(hex(bytes))
      return status === NotInteger ? 'none' : status
    }
    expect(await incremented(ValueFlags.MessagePack, '05')).toBe(6)
    expect(await incremented(ValueFlags.MessagePack, 'd3 00 00 00 00 00 00 00 05')).toBe(6)
    expect(await incremented(ValueFlags.MessagePack, 'cb 40 14 00 00 00 00 00 00')).toBe(6)
    expect(await incremented(ValueFlags.MessagePack, 'ff')).toBe(0)
    for (const bytes of [
      '',
      'a1 35',
      'c0',
      'c3',
      '05 05',
      'cd 05',
      'cb 3f e0 00 00 00 00 00 00',
      '91 05',
      'd4 05 05',
    ])
      expect(await incremented(ValueFlags.MessagePack, bytes), bytes).toBe('none')
    expect(await incremented(ValueFlags.MessagePack, 'cf 00 20 00 00 00 00 00 00')).toBe('none')
    expect(await incremented(ValueFlags.MessagePack, '00'.repeat(100))).toBe('none')
    expect(await incremented(ValueFlags.Raw, '05')).toBe('none')
    expect(await incremented(ValueFlags.Utf8, '35')).toBe('none')
    expect(await incremented(ValueFlags.Extended, '05')).toBe('none')
  })

  test('SCAN finds every key once, in pages, and by prefix', async () => {
    const connection = await client()
    const keys = Array.from({ length: 500 }, (_, i) => (i % 10 === 0 ? `ten:${i}` : `key:${i}`))
    await connection.ask(
      Opcode.SetMany,
      1,
      keys.map((key) => [key, 0, '']),
    )
    for (const [prefix, count] of [
      [null, null],
      ['', 1],
      ['ten:', 7],
      [Buffer.from('ten:'), SCAN_COUNT_MAX],
      ['nothing', 50],
    ]) {
      const found: unknown[] = []
      let cursor: unknown = 0
      do {
        const [status, , next, page] = await connection.ask(Opcode.Scan, 1, cursor, prefix, count)
        expect(status).toBe(Ok)
        if (Array.isArray(page)) found.push(...page)
        cursor = next
      } while (cursor !== 0)
      const wanted = keys.filter((key) => key.startsWith(String(prefix ?? '')))
      expect(found.sort(), `prefix ${prefix}, count ${count}`).toEqual(wanted.sort())
    }
  })

  test('SCAN takes any cursor, and keeps its pages small', async () => {
    const connection = await client()
    const keys = Array.from({ length: 200 }, (_, i) => `${i}`.padEnd(KEY_BYTES_MAX, 'k'))
    await connection.ask(
      Opcode.SetMany,
      1,
      keys.map((key) => [key, 0, '']),
    )
    for (const cursor of [1, 77, 5000, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40, SAFE])
      expect((await connection.ask(Opcode.Scan, 2, cursor))[0]).toBe(Ok)
    connection.send(frame(Opcode.Scan, 3, 0, null, SCAN_COUNT_MAX))
    expect((await connection.payload()).length).toBeLessThan(FRAME_OVERHEAD_BYTES_MAX)
  })

  test('STATS soon after CLEAR does not look at all that is gone for what is oldest', async () => {
    const connection = await connect(await startServer({ store }), wire)
    for (let id = 1; id <= 8; id++) {
      const keys = Array.from({ length: 500 }, (_, i) => [`key-${id}-${i}`, 0, 'v'])
      await connection.ask(Opcode.SetMany, id, keys)
    }
    // All at once: nothing is purged in between.
    connection.send(
      frame(Opcode.Clear, 11),
      frame(Opcode.Set, 12, 'new', 0, 'v'),
      frame(Opcode.Stats, 13, 'memory'),
    )
    expect(await connection.reply()).toEqual([Ok, 11])
    expect((await connection.reply())[0]).toBe(Ok)
    // The heap store sets aside what was flushed.
    const oldestEntryAgeSeconds = store === 'arena' ? null : expect.any(Number)
    expect(await connection.reply()).toMatchObject([
      Ok,
      13,
      { memory: { entries: 1, oldestEntryAgeSeconds } },
    ])
    await eventually(async () => (await connection.ask(Opcode.Stats, 14, 'memory'))[2]).toMatchObject({
      memory: { entries: 1, oldestEntryAgeSeconds: expect.any(Number) },
    })
  })

  test('CLEAR empties, STATS tells', async () => {
    const server = await startServer({ store })
    const connection = await connect(server, wire)
    await connection.ask(Opcode.Set, 1, 'key', 0, 'value')
    await connection.ask(Opcode.Get, 2, 'key')
    await connection.ask(Opcode.Get, 3, 'other')
    const [, , all] = await connection.ask(Opcode.Stats, 4)
    expect(all).toMatchObject({
      server: { nodeId: 'cache-1', store, draining: false },
      memory: { entries: 1, dataBytes: 8 },
      cache: { hits: 1, misses: 1, hitRatio: 0.5, sets: 1 },
      commands: { set: 1, get: 2, stats: 1 },
      connections: { clients: 1 },
      peers: [],
    })
    expect(Object.keys(Object(all))).toEqual(Object.keys(server.stats()))
    expect(await connection.ask(Opcode.Clear, 5)).toEqual([Ok, 5])
    expect(await connection.ask(Opcode.Stats, 6, 'memory')).toMatchObject([Ok, 6, { memory: { entries: 0 } }])
    expect(await connection.ask(Opcode.Get, 7, 'key')).toEqual([Miss, 7])
    expect(await connection.ask(Opcode.Scan, 8, 0)).toEqual([Ok, 8, 0, []])
  })

  test('QUIT is answered, and nothing behind it', async () => {
    const connection = await client()
    connection.send(frame(Opcode.Ping, 1), frame(Opcode.Quit, 2), frame(Opcode.Ping, 3))
    expect(await connection.reply()).toEqual([Ok, 1, text('')])
    expect(await connection.reply()).toEqual([Ok, 2])
    expect(await connection.rest()).toHaveLength(0)
  })

  test('operands that a newer client sends are ignored', async () => {
    const connection = await client()
    const more = ['later', [1, [2]], { map: 1.5 }, null, true, Buffer.alloc(40)]
    const requests: readonly (readonly unknown[])[] = [
      [Opcode.Hello, 1, 1, 0, 'name'],
      [Opcode.Ping, ''],
      [Opcode.Get, 'x', 0],
      [Opcode.Set, 'x', 0, '', 0, 0, null, 0, 0],
      [Opcode.Delete, 'x', 0, 0],
      [Opcode.Touch, 'x', 0],
      [Opcode.Inspect, 'x'],
      [Opcode.GetMany, ['x']],
      [Opcode.SetMany, [['x', 2, hex('01')]], 0, 0],
      [Opcode.DeleteMany, ['x']],
      [Opcode.Increment, 'x', 1, 0, 0],
      [Opcode.Decrement, 'x', 1, 0, 0],
      [Opcode.Scan, 0, '', 10],
      [Opcode.Clear],
      [Opcode.Stats, 'memory'],
    ]
    for (const [opcode, ...operands] of requests) {
      const [status, id] = await connection.ask(opcode, 5, ...operands, ...more)
      expect([status === Ok || status === Miss, id], `opcode ${opcode}`).toEqual([true, 5])
    }
    expect(await connection.ask(Opcode.Quit, 6, ...more)).toEqual([Ok, 6])
  })

  test('an unknown opcode is an error reply, and the connection lives', async () => {
    const connection = await client()
    for (const opcode of [0, 22, 31, 32, 99, 127, 128, 255, 256, 65_536, 2 ** 40])
      expect(await connection.ask(opcode, 4_294_967_295, 'operand')).toEqual([
        Status.UnknownOpcode,
        4_294_967_295,
        anyText,
      ])
    expect(await connection.ask(Opcode.Ping, 1)).toEqual([Ok, 1, text('')])
  })

  test('request ids may be anything from 1 to 2^32 - 1, and repeat', async () => {
    const connection = await client()
    for (const id of [1, 127, 128, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 1, 1])
      expect(await connection.ask(Opcode.Ping, id)).toEqual([Ok, id, text('')])
    connection.send(frameOf(hex('02'), hex('cb 40 08 00 00 00 00 00 00')))
    expect(await connection.reply()).toEqual([Ok, 3, text('')])
  })
})
