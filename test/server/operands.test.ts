// What commands refuse: for every operand what it may not be. A refusal is an error reply after which the connection
// lives and nothing has changed.

import { expect, test } from 'vitest'
import { KEYS_PER_REQUEST_MAX, SCAN_COUNT_MAX, TTL_MS_MAX } from '../../protocol/limits.ts'
import { Opcode, Status } from '../../protocol/messages.ts'
import { frame, frameOf, hex } from '../helpers/frames.ts'
import { connect, SURROUNDINGS, startServer } from '../helpers/server.ts'

const { Ok, BadOperand, KeyTooLarge, ValueTooLarge, NotInteger } = Status
const SAFE = Number.MAX_SAFE_INTEGER

/** Name, frame with request id 9, status if it is not BadOperand. The server's largest value is 1000 bytes. */
const REFUSED: readonly (readonly [string, Buffer, number?])[] = [
  ['GET without a key', frame(Opcode.Get, 9)],
  ['GET of nil', frame(Opcode.Get, 9, null)],
  ['GET of a number', frame(Opcode.Get, 9, 5)],
  ['GET of a boolean', frame(Opcode.Get, 9, true)],
  ['GET of a list', frame(Opcode.Get, 9, ['key'])],
  ['GET of a map', frame(Opcode.Get, 9, { key: 1 })],
  ['GET of no bytes', frame(Opcode.Get, 9, '')],
  ['GET of 1025 bytes', frame(Opcode.Get, 9, 'k'.repeat(1025)), KeyTooLarge],
  ['GET wanting a text', frame(Opcode.Get, 9, 'key', 'meta')],
  ['GET wanting less than nothing', frame(Opcode.Get, 9, 'key', -1)],
  ['SET without flags', frame(Opcode.Set, 9, 'key')],
  ['SET without a value', frame(Opcode.Set, 9, 'key', 0)],
  ['SET of nil', frame(Opcode.Set, 9, 'key', 0, null)],
  ['SET of a number', frame(Opcode.Set, 9, 'key', 0, 5)],
  ['SET of a list', frame(Opcode.Set, 9, 'key', 0, [])],
  ['SET with flags nil', frame(Opcode.Set, 9, 'key', null, 'v')],
  ['SET with flags 256', frame(Opcode.Set, 9, 'key', 256, 'v')],
  ['SET with flags -1', frame(Opcode.Set, 9, 'key', -1, 'v')],
  ['SET with flags 1.5', frame(Opcode.Set, 9, 'key', 1.5, 'v')],
  ['SET of a key that is not UTF-8', frame(Opcode.Set, 9, hex('61 c3 28'), 0, 'v')],
  ['SET of half a surrogate pair', frame(Opcode.Set, 9, hex('ed a0 80'), 0, 'v')],
  ['SET of a key of no bytes', frame(Opcode.Set, 9, '', 0, 'v')],
  ['SET of a key of 1025 bytes', frame(Opcode.Set, 9, Buffer.alloc(1025, 'k'), 0, 'v'), KeyTooLarge],
  ['SET of 1001 bytes', frame(Opcode.Set, 9, 'key', 0, Buffer.alloc(1001)), ValueTooLarge],
  ['SET for -1 ms', frame(Opcode.Set, 9, 'key', 0, 'v', -1)],
  ['SET for half a ms', frame(Opcode.Set, 9, 'key', 0, 'v', 0.5)],
  ['SET for too long', frame(Opcode.Set, 9, 'key', 0, 'v', TTL_MS_MAX + 1)],
  [
    'SET for 2^53 ms',
    frameOf(...['04', '09', 'a1 6b', '00', 'a1 76', 'cf 00 20 00 00 00 00 00 00'].map(hex)),
  ],
  ['SET for a text', frame(Opcode.Set, 9, 'key', 0, 'v', '60')],
  ['SET with condition 4', frame(Opcode.Set, 9, 'key', 0, 'v', 0, 4)],
  ['SET with a condition in words', frame(Opcode.Set, 9, 'key', 0, 'v', 0, 'NX')],
  ['SET if version, without one', frame(Opcode.Set, 9, 'key', 0, 'v', 0, 3)],
  ['SET if version nil', frame(Opcode.Set, 9, 'key', 0, 'v', 0, 3, null)],
  ['SET if version of 15 bytes', frame(Opcode.Set, 9, 'key', 0, 'v', 0, 3, Buffer.alloc(15))],
  ['SET if version of 17 bytes', frame(Opcode.Set, 9, 'key', 0, 'v', 0, 3, Buffer.alloc(17))],
  ['SET if version is a number', frame(Opcode.Set, 9, 'key', 0, 'v', 0, 3, 7)],
  ['SET with acks "all"', frame(Opcode.Set, 9, 'key', 0, 'v', 0, 0, null, 'all')],
  ['DELETE without a key', frame(Opcode.Delete, 9)],
  ['DELETE of no bytes', frame(Opcode.Delete, 9, '')],
  ['DELETE with acks -1', frame(Opcode.Delete, 9, 'key', -1)],
  ['TOUCH without a key', frame(Opcode.Touch, 9)],
  ['TOUCH for -1 ms', frame(Opcode.Touch, 9, 'key', -1)],
  ['TOUCH for too long', frame(Opcode.Touch, 9, 'key', TTL_MS_MAX + 1)],
  ['INSPECT without a key', frame(Opcode.Inspect, 9)],
  ['INSPECT of a number', frame(Opcode.Inspect, 9, 1)],
  ['GET_MANY without keys', frame(Opcode.GetMany, 9)],
  ['GET_MANY of a text', frame(Opcode.GetMany, 9, 'key')],
  ['GET_MANY of nil', frame(Opcode.GetMany, 9, null)],
  ['GET_MANY with a number', frame(Opcode.GetMany, 9, ['key', 5])],
  ['GET_MANY with no bytes', frame(Opcode.GetMany, 9, ['key', ''])],
  ['GET_MANY with 1025 bytes', frame(Opcode.GetMany, 9, ['key', 'k'.repeat(1025)]), KeyTooLarge],
  ['GET_MANY of 4097', frame(Opcode.GetMany, 9, Array(KEYS_PER_REQUEST_MAX + 1).fill('k'))],
  ['SET_MANY without entries', frame(Opcode.SetMany, 9)],
  ['SET_MANY with keys alone', frame(Opcode.SetMany, 9, ['key'])],
  [
    'SET_MANY with a short entry',
    frame(Opcode.SetMany, 9, [
      ['a', 0, 'v'],
      ['b', 0],
    ]),
  ],
  [
    'SET_MANY with a long entry',
    frame(Opcode.SetMany, 9, [
      ['a', 0, 'v'],
      ['b', 0, 'v', 0],
    ]),
  ],
  [
    'SET_MANY with flags 256',
    frame(Opcode.SetMany, 9, [
      ['a', 0, 'v'],
      ['b', 256, 'v'],
    ]),
  ],
  [
    'SET_MANY with a value nil',
    frame(Opcode.SetMany, 9, [
      ['a', 0, 'v'],
      ['b', 0, null],
    ]),
  ],
  [
    'SET_MANY with 1001 bytes',
    frame(Opcode.SetMany, 9, [
      ['a', 0, 'v'],
      ['b', 0, Buffer.alloc(1001)],
    ]),
    ValueTooLarge,
  ],
  [
    'SET_MANY with a key of 1025',
    frame(Opcode.SetMany, 9, [
      ['a', 0, 'v'],
      ['k'.repeat(1025), 0, ''],
    ]),
    KeyTooLarge,
  ],
  ['SET_MANY for -1 ms', frame(Opcode.SetMany, 9, [['a', 0, 'v']], -1)],
  ['SET_MANY if version', frame(Opcode.SetMany, 9, [['a', 0, 'v']], 0, 3)],
  ['SET_MANY with condition 4', frame(Opcode.SetMany, 9, [['a', 0, 'v']], 0, 4)],
  ['SET_MANY of 4097', frame(Opcode.SetMany, 9, Array(KEYS_PER_REQUEST_MAX + 1).fill(['k', 0, 'v']))],
  ['DELETE_MANY without keys', frame(Opcode.DeleteMany, 9)],
  ['DELETE_MANY with no bytes behind a key', frame(Opcode.DeleteMany, 9, ['key', ''])],
  ['DELETE_MANY of 4097', frame(Opcode.DeleteMany, 9, Array(KEYS_PER_REQUEST_MAX + 1).fill('key'))],
  ['INCREMENT without a key', frame(Opcode.Increment, 9)],
  ['INCREMENT by a text', frame(Opcode.Increment, 9, 'key', '5')],
  ['INCREMENT by a half', frame(Opcode.Increment, 9, 'key', 0.5)],
  ['INCREMENT by 2^53', frame(Opcode.Increment, 9, 'key', 2 ** 53)],
  ['INCREMENT from a text', frame(Opcode.Increment, 9, 'key', 1, 'a')],
  ['INCREMENT from infinity', frame(Opcode.Increment, 9, 'key', 1, Number.POSITIVE_INFINITY)],
  ['INCREMENT for -1 ms', frame(Opcode.Increment, 9, 'key', 1, 0, -1)],
  ['INCREMENT of a key that is not UTF-8', frame(Opcode.Increment, 9, hex('ff'))],
  ['INCREMENT beyond 2^53', frame(Opcode.Increment, 9, 'key', SAFE), NotInteger],
  ['DECREMENT beyond -2^53', frame(Opcode.Decrement, 9, 'new', 2, -SAFE), NotInteger],
  ['SCAN without a cursor', frame(Opcode.Scan, 9)],
  ['SCAN from nil', frame(Opcode.Scan, 9, null)],
  ['SCAN from -1', frame(Opcode.Scan, 9, -1)],
  ['SCAN from a text', frame(Opcode.Scan, 9, '0')],
  ['SCAN with a number for a prefix', frame(Opcode.Scan, 9, 0, 5)],
  ['SCAN for 0 keys', frame(Opcode.Scan, 9, 0, '', 0)],
  ['SCAN for 4097 keys', frame(Opcode.Scan, 9, 0, '', SCAN_COUNT_MAX + 1)],
  ['STATS of a section that is not', frame(Opcode.Stats, 9, 'nonsense')],
  ['STATS of the prototype', frame(Opcode.Stats, 9, 'constructor')],
  ['STATS of a number', frame(Opcode.Stats, 9, 5)],
  ['PING with a number', frame(Opcode.Ping, 9, 5)],
  ['HELLO in a text', frame(Opcode.Hello, 9, '1')],
  ['HELLO with a number for a name', frame(Opcode.Hello, 9, 1, 1, 0, 5)],
  ['HELLO with a name of 129 bytes', frame(Opcode.Hello, 9, 1, 1, 0, 'n'.repeat(129))],
]

test.each(SURROUNDINGS)('refused, and nothing has changed: $store store, $wire', async ({ store, wire }) => {
  const server = await startServer({ store, maxValueBytes: 1000 })
  const connection = await connect(server, wire)
  const [, , version] = await connection.ask(Opcode.Set, 1, 'key', 2, hex('05'), 60_000)
  const before = server.stats()
  const wrong: Record<string, unknown> = {}
  for (const [name, bytes] of REFUSED) {
    connection.send(bytes)
    const reply = await connection.reply()
    wrong[name] = reply[0]
    expect(reply.slice(1), name).toEqual([9, expect.any(String)])
  }
  expect(wrong).toEqual(Object.fromEntries(REFUSED.map(([name, , status]) => [name, status ?? BadOperand])))
  const after = server.stats()
  expect(after.memory.entries).toBe(1)
  expect(after.memory.usedBytes).toBe(before.memory.usedBytes)
  expect(after.cache).toEqual(before.cache)
  expect(await connection.ask(Opcode.Inspect, 2, 'key')).toEqual([
    Ok,
    2,
    2,
    1,
    version,
    expect.any(Number),
    60_000,
  ])
})
