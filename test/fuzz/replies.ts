// Replies as a hostile server might make them: to the request that was asked, of its kind, with contents that could be;
// or another kind, another id, an error that there is not.
//
// Between the reply state, which says what was asked, and items.ts.

import { Opcode, Status } from '../../protocol/messages.ts'
import type { Random } from '../server/store/random.ts'
import { type Exchange, keysOf, serverFinal } from './auth-messages.ts'
import { encodedValue } from './encoded-values.ts'
import { bent, type Item, oddItem, Pen } from './items.ts'
import { mutated, randomBytes } from './mutations.ts'

/** Of the client's own requests: HELLO, PING. */
const LINK_ID = 0xffff_ffff
const pen = new Pen()

export interface Asked {
  opcode: number
  id: number
  operands: readonly unknown[]
}

/** Of the client, where it has to authenticate. */
export const PASSWORD = 'the password of this client'
export const SALT = Buffer.from('0123456789abcdef')
export const ITERATIONS = 15_000

/** What later replies depend on. */
export interface Talk {
  /** Whether the client has a password. */
  readonly mayAuthenticate: boolean
  /** It, where it is not the usual one. */
  readonly password?: string
  exchange?: Exchange
}

/** What comes back: replies to what was asked, in some order, most of them as they should be. */
export function replyStream(asked: readonly Asked[], talk: Talk, random: Random): Buffer {
  const frames: Buffer[] = []
  for (const request of asked) {
    if (random.oneIn(25)) continue
    if (random.oneIn(20)) frames.push(pen.frame(stray(request.id, random), random))
    const frame = spoiltReply(replyTo(request, talk, random), random)
    if (random.oneIn(6)) frames.unshift(frame)
    else frames.push(frame)
  }
  if (random.oneIn(10)) frames.push(pen.frame(stray(1, random), random))
  const stream = Buffer.concat(frames)
  if (random.oneIn(20)) return Buffer.concat([stream, randomBytes(random.below(40), random)])
  return random.oneIn(6) ? mutated(stream, random) : stream
}

function spoiltReply(items: Item[], random: Random): Buffer {
  if (random.oneIn(12)) return pen.frame(bent(items, random), random)
  return pen.frame(items, random, random.oneIn(15) ? 6 : 0)
}

/** To nobody, or to everybody. */
function stray(id: number, random: Random): Item[] {
  const status = random.pick<number>([4, 15, 29, 1000, ...Object.values(Status)])
  const to = random.pick([0, 0, LINK_ID, id + random.below(20) - 10, 2 ** 30])
  return [status, Math.max(0, to), random.oneIn(2) ? 'text' : oddItem(random), random.below(100)]
}

function replyTo(request: Asked, talk: Talk, random: Random): Item[] {
  const { opcode, id } = request
  if (random.oneIn(10)) return [random.below(40), id, 'text', random.below(1000)]
  const operands = operandsOf(request, talk, random)
  return [operands === undefined ? Status.Miss : Status.Ok, id, ...(operands ?? [])].concat(
    opcode !== Opcode.Hello && random.oneIn(20) ? [oddItem(random)] : [],
  )
}

/** undefined: a miss. */
function operandsOf({ opcode, operands }: Asked, talk: Talk, random: Random): Item[] | undefined {
  const version = randomBytes(random.oneIn(30) ? random.below(20) : 16, random)
  switch (opcode) {
    case Opcode.Hello:
      return hello(talk, random)
    case Opcode.Auth:
      return [challenge(operands[1], talk, random)]
    case Opcode.AuthProof:
      return [serverProof(talk, random), random.oneIn(9) ? oddItem(random) : 'admin']
    case Opcode.Get:
      return random.oneIn(4) ? undefined : [...value(random), version, random.pick([null, 500])]
    case Opcode.Set:
      return [version, random.below(3)]
    case Opcode.Inspect:
      return random.oneIn(3) ? undefined : [2, 10, version, null, 500]
    case Opcode.GetMany:
      return [each(operands[0], random, () => [Status.Ok, ...value(random)])]
    case Opcode.SetMany:
      return [each(operands[0], random, () => [Status.Ok, version])]
    case Opcode.DeleteMany:
      return [each(operands[0], random, () => random.below(3))]
    case Opcode.Increment:
      return [random.below(1000) - 500, version]
    case Opcode.Scan:
      return [random.below(3), Array.from({ length: random.below(20) }, (_, at) => `key ${at}`)]
    case Opcode.Stats:
      return [statistics(random)]
    default:
      return random.oneIn(2) ? [] : undefined
  }
}

/** What the client is to prove: mostly what it can, seldom more work than it may be made to do, never much of it. */
function challenge(first: unknown, talk: Talk, random: Random): Buffer {
  const good = honestChallenge(first, talk)
  switch (random.below(14)) {
    case 0:
      // Digits that are spoilt could ask for much work; a 1 is refused.
      return mutated(Buffer.from(good.replace(/i=.*/, 'i=1')), random)
    case 1:
      return Buffer.from(good.replace(/i=.*/, `i=${random.pick([0, 14_999, 10_000_001, 9_999_999_999])}`))
    case 2:
      return Buffer.from(good.replace('r=', 'r=x'))
    case 3:
      return Buffer.from(`${good},${random.pick(['x=1', 'm=1', 'i=15000', ''])}`)
    default:
      return Buffer.from(good)
  }
}

/** That the server knows the password: or not. */
function serverProof(talk: Talk, random: Random): Buffer {
  const proof = honestProof(talk)
  if (random.oneIn(10)) return mutated(Buffer.from(proof), random)
  return Buffer.from(
    random.oneIn(12) ? random.pick(['e=other-error', 'e=', 'v=', `v=${SALT.toString('base64')}`]) : proof,
  )
}

/** What a server asks that means well. */
export function honestChallenge(first: unknown, talk: Talk): string {
  const [, bare = '', nonce = ''] = /^n,,(n=[^,]*,r=(.*))$/.exec(textOf(first)) ?? []
  const serverFirst = `r=${nonce}server,s=${SALT.toString('base64')},i=${ITERATIONS}`
  talk.exchange = { name: '', bare, serverFirst }
  return serverFirst
}

export function honestProof({ exchange, password = PASSWORD }: Talk): string {
  return exchange === undefined ? 'v=' : serverFinal(exchange, keysOf(password, SALT, ITERATIONS))
}

function textOf(text: unknown): string {
  return Buffer.isBuffer(text) || typeof text === 'string' ? text.toString() : ''
}

function hello({ mayAuthenticate }: Talk, random: Random): Item[] {
  const limits = random.oneIn(5) ? [random.below(2 ** 31), random.below(2 ** 31)] : [4096, 70_000]
  const [valueBytesMax = 0, frameBytesMax = 0] = limits
  return [
    1,
    random.oneIn(9) ? random.below(8) : Number(mayAuthenticate),
    '0.0.0',
    'fuzz',
    randomBytes(8, random),
    'r',
    'c',
    valueBytesMax,
    frameBytesMax,
  ]
}

/** Flags and bytes: mostly such as belong together, spoilt now and then. */
function value(random: Random): Item[] {
  if (random.oneIn(3))
    return [random.below(random.oneIn(20) ? 256 : 5), randomBytes(random.below(30), random)]
  const { flags, bytes } = encodedValue(random)
  return [flags, random.oneIn(4) ? mutated(bytes, random) : bytes]
}

/** As many as were asked for, or nearly. */
function each(asked: unknown, random: Random, entry: () => Item): Item[] {
  const count = Array.isArray(asked) ? asked.length : random.below(5)
  const odd = random.oneIn(20) ? random.below(3) - 1 : 0
  return Array.from({ length: Math.max(0, count + odd) }, () =>
    random.oneIn(4) ? [random.pick<number>([Status.Miss, Status.Skipped, Status.Conflict, 19, 99])] : entry(),
  )
}

/** A map of maps, as STATS and PEERS are answered with. */
function statistics(random: Random): Item {
  return new Map<string, Item>([
    [
      'server',
      new Map<string, Item>([
        ['version', 'x'],
        ['uptimeSeconds', 1.5],
        ['draining', false],
      ]),
    ],
    ['peers', []],
    [
      'cache',
      new Map<string, Item>([
        ['hits', random.oneIn(5) ? oddItem(random) : 7],
        ['hitRatio', null],
      ]),
    ],
    [random.pick(['__proto__', 'constructor', 'memory', '']), new Map<string, Item>([['x', 1]])],
  ])
}
