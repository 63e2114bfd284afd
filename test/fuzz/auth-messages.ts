// The messages by which a client authenticates (SCRAM, RFC 5802 and 7677), as somebody else would compute them, and as a
// hostile one might send them: for names that there are and are not, with proofs of other passwords, out of turn, spoilt.
//
// Between the states and items.ts. Shares no code with protocol/scram.ts.

import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import type { Random } from '../server/store/random.ts'
import { mutated, randomBytes } from './mutations.ts'

/** Both of a client's secrets, from a password. */
export interface Keys {
  clientKey: Buffer
  serverKey: Buffer
}

/** An exchange as far as it has come, from a client's side. */
export interface Exchange {
  name: string
  /** The client's first message without its header. */
  bare: string
  /** What the server answered to it. */
  serverFirst: string | undefined
}

const KEY_BYTES = 32

export function keysOf(password: string, salt: Buffer, iterations: number): Keys {
  const id = `${password} ${salt.toString('hex')} ${iterations}`
  const known = derived.get(id)
  if (known !== undefined) return known
  const salted = pbkdf2Sync(password, salt, iterations, KEY_BYTES, 'sha256')
  const keys = { clientKey: hmac(salted, 'Client Key'), serverKey: hmac(salted, 'Server Key') }
  derived.set(id, keys)
  return keys
}

const derived = new Map<string, Keys>()

/** The client's first message; mostly as it should be. */
export function clientFirst(name: string, nonce: string, random: Random): Buffer {
  const good = Buffer.from(`n,,n=${escaped(name)},r=${nonce.replaceAll(' ', '')}`)
  switch (random.below(12)) {
    case 0:
      return mutated(good, random)
    case 1:
      return Buffer.from(ODD_FIRSTS[random.below(ODD_FIRSTS.length)] ?? '')
    case 2:
      return Buffer.concat([
        good,
        Buffer.from(random.pick([',ext=1', ',m=x', ',n=adam', ',', ',x=', ',e=other'])),
      ])
    default:
      return good
  }
}

const ODD_FIRSTS = [
  ...[
    'y,,n=adam,r=abc',
    'p=tls-unique,,n=adam,r=abc',
    'n,a=walt,n=adam,r=abc',
    'n,,r=abc,n=adam',
    'n,,n=adam',
    '',
  ],
  ...[
    'n,,n=,r=abc',
    'n,,n=adam,r=',
    'n,,n=a=2Cb,r=abc',
    'n,,n=a=xb,r=abc',
    'n,,n=ad\u0000am,r=abc',
    'n,,n=adam,r=a\u00e9',
  ],
  ...['n,,n=:cluster,r=abc', 'n,,n=:CLUSTER,r=abc', 'n,,n=a:b,r=abc', `n,,n=${'x'.repeat(3000)},r=abc`],
  ...[
    `n,,n=adam,r=${'y'.repeat(1024)}`,
    `n,,n=adam,r=${'y'.repeat(1025)}`,
    'n,,n=__proto__,r=abc',
    ',,,,,,,,,,',
  ],
] as const

/** The proof for what the server asked: right, of another password, for another exchange, or spoilt. */
export function clientFinal(exchange: Exchange, keys: Keys | undefined, random: Random): Buffer {
  const { nonce } = challengeIn(exchange) ?? { nonce: 'none' }
  const head = `c=biws,r=${nonce}`
  switch (random.below(16)) {
    case 0:
      return mutated(Buffer.from(`${head},p=${proof(exchange, keys, head)}`), random)
    case 1:
      return Buffer.from(
        `${head},p=${randomBytes(random.pick([32, 32, 31, 33, 0]), random).toString('base64')}`,
      )
    case 2:
      return Buffer.from(`c=biws,r=${nonce}x,p=${proof(exchange, keys, `c=biws,r=${nonce}x`)}`)
    case 3:
      return Buffer.from(
        `${random.pick(['c=eSws', 'c=', 'c=biws,m=1', 'r=x,c=biws'])},r=${nonce},p=${proof(exchange, keys, head)}`,
      )
    case 4:
      return Buffer.from(
        `${head},p=${proof(exchange, keys, head)}${random.pick([',', ',x=1', '=', ' ', '\u0000'])}`,
      )
    default:
      return Buffer.from(`${head},p=${proof(exchange, keys, head)}`)
  }
}

/** What the server must answer to a right proof. */
export function serverFinal(exchange: Exchange, keys: Keys): string {
  const { nonce } = challengeIn(exchange) ?? { nonce: '' }
  const messages = `${exchange.bare},${exchange.serverFirst},c=biws,r=${nonce}`
  return `v=${hmac(keys.serverKey, messages).toString('base64')}`
}

/** What a server asks a client for. */
export function challengeIn({
  serverFirst,
}: Exchange): { nonce: string; salt: Buffer; iterations: number } | undefined {
  const [, nonce, salt, iterations] = /^r=([^,]*),s=([^,]*),i=(\d+)$/.exec(serverFirst ?? '') ?? []
  if (nonce === undefined || salt === undefined) return undefined
  return { nonce, salt: Buffer.from(salt, 'base64'), iterations: Number(iterations) }
}

function proof({ bare, serverFirst }: Exchange, keys: Keys | undefined, head: string): string {
  if (keys === undefined) return Buffer.alloc(KEY_BYTES, 7).toString('base64')
  const { clientKey } = keys
  const storedKey = createHash('sha256').update(clientKey).digest()
  const signature = hmac(storedKey, `${bare},${serverFirst},${head}`)
  return Buffer.from(clientKey.map((byte, at) => byte ^ (signature[at] ?? 0))).toString('base64')
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function escaped(name: string): string {
  return name.replaceAll('=', '=3D').replaceAll(',', '=2C')
}
