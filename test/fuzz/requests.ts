// Requests of clients: each opcode with operands that it takes, and sometimes with such as it only nearly takes. And what
// somebody says who is no client at all.
//
// Between the states, which spoil what comes from here, and items.ts. Every opcode that there is has its operands: a test
// fails when one is added and not named here.

import { Condition, Opcode } from '../../protocol/messages.ts'
import type { Random } from '../server/store/random.ts'
import { clientFirst } from './auth-messages.ts'
import { bent, type Item, oddItem, Pen } from './items.ts'
import { mutated, randomBytes } from './mutations.ts'

/** What is known of the server, so that conditions, cursors and names may be right. */
export interface Learnt {
  /** Versions that replies have told. */
  readonly versions: Buffer[]
  /** Names of other servers. */
  readonly labels: readonly string[]
}

export const OPCODES: readonly Opcode[] = Object.values(Opcode)
const pen = new Pen()

/** What an attacker says: some requests, most of them spoilt in one way or another. */
export function requestStream(learnt: Learnt, random: Random): Buffer {
  if (random.oneIn(15)) return blind(random)
  const frames: Buffer[] = []
  for (let left = 1 + random.below(random.oneIn(20) ? 12 : 2); left > 0; left--)
    frames.push(spoiltFrame(request(learnt, random), random))
  const stream = frames.length === 1 && frames[0] !== undefined ? frames[0] : Buffer.concat(frames)
  return random.oneIn(3) ? mutated(stream, random) : stream
}

/** A frame of a message: as it is, its elements spoilt, or its heads lying. */
export function spoiltFrame(items: readonly Item[], random: Random): Buffer {
  switch (random.below(4)) {
    case 0:
      return pen.frame(items, random)
    case 1:
      return pen.frame(items, random, 4 + random.below(20))
    default:
      return pen.frame(bent(items, random), random)
  }
}

/** Opcode, id, operands. */
export function request(learnt: Learnt, random: Random): Item[] {
  const opcode = OPCODES[random.below(OPCODES.length)] ?? Opcode.Ping
  const id = random.oneIn(12) ? 2 ** 32 - 1 - random.below(3) : 1 + random.below(1000)
  return [opcode, id, ...operandsOf(opcode, learnt, random)]
}

export function operandsOf(opcode: Opcode, learnt: Learnt, random: Random): Item[] {
  switch (opcode) {
    case Opcode.Hello:
      return upTo(random, [random.below(3), random.below(4), random.below(8), 'fuzz'])
    case Opcode.Ping:
      return random.oneIn(2) ? [] : [randomBytes(random.below(random.oneIn(9) ? 1100 : 20), random)]
    case Opcode.Get:
      return random.oneIn(2) ? [randomKey(random)] : [randomKey(random), random.below(4)]
    case Opcode.Set:
      return upTo(random, [
        randomKey(random),
        random.below(5),
        randomValue(random),
        random.pick([null, 0, 1, 50, 100_000]),
        random.pick([null, ...Object.values(Condition)]),
        random.oneIn(2) ? null : knownVersion(learnt, random),
        random.pick([null, 0, 0, 1, 2, 255]),
        random.pick([null, 0, 10, 1000]),
      ])
    case Opcode.Delete:
      return upTo(random, [
        randomKey(random),
        random.pick([null, 0, 0, 1, 255]),
        random.pick([null, 0, 10, 1000]),
      ])
    case Opcode.Inspect:
      return [randomKey(random)]
    case Opcode.Touch:
      return [randomKey(random), random.pick([0, 1, 1000, 100_000])]
    case Opcode.GetMany:
    case Opcode.DeleteMany:
      return [keys(random)]
    case Opcode.SetMany:
      return upTo(random, [
        keys(random).map((key) => [key, random.below(5), randomValue(random)]),
        random.pick([null, 0, 50]),
        random.pick([null, 0, 1, 2]),
      ])
    case Opcode.Increment:
    case Opcode.Decrement:
      return upTo(random, [
        `n${random.below(5)}`,
        random.oneIn(8) ? Number.MAX_SAFE_INTEGER : random.below(1000) - 500,
        random.below(10),
        random.pick([null, 0, 100]),
      ])
    case Opcode.Scan:
      return upTo(random, [
        random.oneIn(3) ? 0 : random.below(2 ** 32) * random.below(2 ** 21),
        random.pick(['', 'k', 'kk']),
        1 + random.below(random.oneIn(5) ? 4200 : 20),
      ])
    case Opcode.Stats:
      return random.oneIn(2) ? [] : [random.pick(['server', 'cache', 'replication', 'peers', 'nothing'])]
    case Opcode.ForgetPeer:
      return [
        random.oneIn(3) ? randomKey(random) : (learnt.labels[random.below(learnt.labels.length)] ?? 'x'),
      ]
    case Opcode.Auth:
      return ['SCRAM-SHA-256', clientFirst(random.pick(['adam', 'nobody', ':cluster']), 'a client', random)]
    case Opcode.AuthProof:
      return [random.oneIn(2) ? randomBytes(random.below(60), random) : 'c=biws,r=xyz,p=AAAA']
    case Opcode.Clear:
    case Opcode.Quit:
    case Opcode.Peers:
    case Opcode.Lag:
      return []
  }
}

/** What no client says: noise, text, TLS, and lengths that promise much. */
function blind(random: Random): Buffer {
  switch (random.below(5)) {
    case 0:
      return Buffer.from(TEXTS[random.below(TEXTS.length)] ?? '')
    case 1:
      return Buffer.concat([TLS_HELLO, randomBytes(random.below(60), random)])
    case 2: {
      // A length that may be, and whatever.
      const bytes = randomBytes(4 + random.below(60), random)
      bytes.writeUInt32BE(random.oneIn(3) ? random.below(70_000) : bytes.length - 4)
      return bytes
    }
    case 3:
      return pen.frame([oddItem(random), oddItem(random), oddItem(random)], random)
    default:
      return randomBytes(1 + random.below(60), random)
  }
}

const TEXTS = [
  'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
  'POST /v1/agent/self HTTP/1.0\r\n',
  '*1\r\n$4\r\nPING\r\n',
  'set k 0 0 1\r\nx\r\n',
  '\r\n\r\n\r\n',
  'STATS',
] as const

const TLS_HELLO = Buffer.from('160301020001000001fc0303', 'hex')

/** Some of the operands from the first on; the first always. */
function upTo(random: Random, operands: Item[]): Item[] {
  return operands.slice(0, 1 + random.below(operands.length))
}

function keys(random: Random): Item[] {
  const most = random.oneIn(60) ? 600 : 12
  return Array.from({ length: random.below(most) }, () => randomKey(random))
}

export function randomKey(random: Random): Item {
  const key = `k${random.below(40)}`
  if (random.oneIn(25)) return 'k'.repeat(1020 + random.below(8))
  if (random.oneIn(5)) return `${key}ü€😀`
  return random.oneIn(6) ? Buffer.from(key) : key
}

export function randomValue(random: Random): Item {
  if (random.oneIn(5)) return 'text'
  return randomBytes(
    random.oneIn(25) ? 4090 + random.below(10) : random.below(random.oneIn(4) ? 200 : 30),
    random,
  )
}

function knownVersion({ versions }: Learnt, random: Random): Item {
  return versions[random.below(versions.length)] ?? randomBytes(16, random)
}
