// Every command at least once, with what may be said against it, ending with QUIT: to be sent as a whole, in pieces,
// or from another codec. On a fresh store and a clock that stands still the replies are the same to the byte.

import { Opcode } from '../../protocol/messages.ts'

const long = 'k'.repeat(40)

/** Requests as elements; the id of each is its place, from 1. */
export const CONVERSATION: readonly (readonly unknown[])[] = (
  [
    [Opcode.Hello, 1, 1, 0, 'conversation'],
    [Opcode.Ping, Buffer.from('ping')],
    [Opcode.Set, 'text', 1, 'a value'],
    [Opcode.Set, long, 0, Buffer.alloc(300, 7), 60_000],
    [Opcode.Set, 'text', 1, 'refused', null, 1],
    [Opcode.Set, 'text', 1, '', 0, 2, null, null, null, 'unknown', ['operands']],
    [Opcode.Get, 'text', 1],
    [Opcode.Get, long],
    [Opcode.Get, 'nothing'],
    [Opcode.Touch, 'text', 90_000],
    [Opcode.Inspect, 'text'],
    [Opcode.Increment, 'number', 40],
    [Opcode.Increment, 'text'],
    [Opcode.Decrement, 'number', -2, 100, 1000],
    [
      Opcode.SetMany,
      [
        ['a', 1, '1'],
        ['b', 2, Buffer.from([0x90])],
      ],
      60_000,
      1,
    ],
    [Opcode.GetMany, ['a', 'nothing', Buffer.from('b')]],
    [99, 'whatever'],
    [Opcode.Get, 5],
    [Opcode.Get, ''],
    [Opcode.Delete, 'a'],
    [Opcode.DeleteMany, ['a', 'b']],
    [Opcode.Scan, 0, 'te', 10],
    [Opcode.Stats],
    [Opcode.Clear],
    [Opcode.Scan, 0],
    [Opcode.Quit],
  ] satisfies readonly (readonly unknown[])[]
).map(([opcode, ...operands], index) => [opcode, index + 1, ...operands])
