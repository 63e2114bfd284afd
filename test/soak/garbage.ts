// What is no frame, or no request: wrong lengths, wrong types, other protocols, noise. None of it can be a request that
// the server carries out, for witnesses of this run must outlive it: it is made wrong on purpose, not by chance.
// (What chance makes of requests is for test/fuzz.)

import { Opcode, PeerOpcode } from '../../protocol/messages.ts'
import type { Chance } from '../simulation/chance.ts'

const CLIENT_HELLO = Buffer.from('16030100c8010000c40303', 'hex')
const OTHER_PROTOCOLS = [
  'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
  'POST /x HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n',
  '*2\r\n$3\r\nGET\r\n$1\r\nk\r\n',
  'get k\r\n',
  'mg k v\r\n',
  'SSH-2.0-OpenSSH_9.6\r\n',
  'EHLO localhost\r\n',
  '\r\n\r\n\r\n\r\n',
] as const
/** Opcodes whose operands are looked at; those that take none are left out. */
const WITH_OPERANDS = [
  Opcode.Get,
  Opcode.Set,
  Opcode.Delete,
  Opcode.Touch,
  Opcode.GetMany,
  Opcode.SetMany,
  Opcode.Increment,
  Opcode.Inspect,
  Opcode.Auth,
] as const
const LENGTHS = [0, 0x0200_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] as const
const CLAIMED_BYTES = 500_000
const SENT_BYTES_MAX = 100_000

type Maker = (chance: Chance) => Buffer

const MAKERS: readonly [Maker, ...Maker[]] = [
  // A length that cannot be.
  (chance) => framed(Buffer.from(chance.bytes(8)), chance.pick(LENGTHS)),
  // A payload that is no array.
  (chance) =>
    framed(Buffer.from([chance.pick([0x00, 0x80, 0xa3, 0xc0, 0xc1, 0xc4, 0xcb, 0xd9, 0xdf]), 1, 2, 3])),
  // An array of more than there is.
  (chance) => framed(Buffer.from([0xdd, 0xff, 0xff, 0xff, chance.below(256), 3, 1])),
  // An opcode that there is not, or that is no number.
  (chance) => framed(Buffer.from([0x92, chance.pick([0x7f, 0x60, 0xe0, 0xc0, 0xa0, 0x90]), 1])),
  // Operands of the wrong type: floats, maps, arrays in arrays.
  (chance) => framed(Buffer.from([0x93, chance.pick(WITH_OPERANDS), 1, ...wrongOperand(chance)])),
  // What only servers may say, and no server would.
  (chance) =>
    framed(
      Buffer.from([0x94, chance.pick([PeerOpcode.Hello, PeerOpcode.Batch, PeerOpcode.Bye]), 0, 0xc0, 0xcb]),
    ),
  (chance) => Buffer.from(chance.pick(OTHER_PROTOCOLS)),
  (chance) => Buffer.concat([CLIENT_HELLO, chance.bytes(200)]),
  // Noise; its first bit makes a length of 2 GiB and more of it.
  (chance) => Buffer.concat([Buffer.from([0x80 | chance.below(128)]), chance.bytes(chance.between(3, 200))]),
  // A frame that never ends.
  (chance) => framed(Buffer.alloc(chance.between(1, SENT_BYTES_MAX), 0x94), CLAIMED_BYTES),
]

/** A piece of garbage. */
export function garbage(chance: Chance): Buffer {
  return chance.pick(MAKERS)(chance)
}

function framed(payload: Buffer, claimedBytes = payload.length): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(claimedBytes)
  return Buffer.concat([head, payload])
}

function wrongOperand(chance: Chance): number[] {
  return chance.pick([
    [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
    [0x81, 0xa1, 0x6b, 0x01],
    new Array<number>(32).fill(0x91),
    [0xdb, 0xff, 0xff, 0xff, 0xff],
    [0xc7, 1, 5, 0],
    [0xc1],
  ])
}
