// The state of texts that prove who somebody is: lines of an auth file, and the four messages of SCRAM. Each is read or
// refused with the error that is meant for it; no error tells a key; what is read is written again as it was.

import {
  readClientFinal,
  readClientFirst,
  readServerFinal,
  readServerFirst,
  ScramError,
} from '../../protocol/scram-messages.ts'
import { AuthFileError, formatUser, parseStrangers, parseUsers } from '../../server/users.ts'
import type { Random } from '../server/store/random.ts'
import { clientFirst } from './auth-messages.ts'
import { ROLES, userOf } from './doors.ts'
import type { Input, State, World } from './engine.ts'
import { mutated, randomBytes } from './mutations.ts'
import { demand } from './violation.ts'

const INPUTS_PER_WORLD = 1000
const SERVER_FIRST = 'r=clientserver,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=15000'
const CLIENT_FINAL = 'c=biws,r=clientserver,p=JdJ3aLBMKuiO/274aDRp0FmhJ8R3NHNyihq2kvuQ85A='
const SERVER_FINAL = 'v=pmMJA8x0SaMhr610+oQAQrYK0AL6ImfAQFy8eY5DIuU='

/** The luck of an input is which of the readers it is for. */
const READERS: readonly ((bytes: Buffer) => string)[] = [
  readFile,
  (bytes) => readMessage(() => void readClientFirst(bytes)),
  (bytes) => readMessage(() => void readServerFirst(bytes)),
  (bytes) => readMessage(() => void readClientFinal(bytes)),
  (bytes) => readMessage(() => void readServerFinal(bytes)),
]

class CredentialsWorld implements World {
  next(random: Random): Input {
    const luck = random.below(READERS.length)
    const good = goodText(luck, random)
    return { chunks: [random.oneIn(12) ? randomBytes(random.below(60), random) : spoilt(good, random)], luck }
  }

  play({ chunks, luck }: Input): string {
    return READERS[luck]?.(Buffer.concat(chunks)) ?? 'nobody reads it'
  }

  end(): void {}
}

function goodText(luck: number, random: Random): Buffer {
  if (luck === 0) return Buffer.from(AUTH_FILE)
  if (luck === 1) return clientFirst(random.oneIn(2) ? 'adam' : 'a,b=c', 'client', random)
  return Buffer.from([SERVER_FIRST, CLIENT_FINAL, SERVER_FINAL][luck - 2] ?? '')
}

function spoilt(good: Buffer, random: Random): Buffer {
  switch (random.below(5)) {
    case 0:
      return good
    case 1: {
      // A separator in another place, or one too many.
      const at = random.below(good.length)
      const sign = random.pick([':', '$', ',', '=', '\n', '#', ' ', '\r', '\u0000', '\ufeff', 'ä'])
      return Buffer.concat([good.subarray(0, at), Buffer.from(sign), good.subarray(at + random.below(2))])
    }
    default:
      return mutated(good, random)
  }
}

function readFile(bytes: Buffer): string {
  const text = bytes.toString()
  try {
    const strangers = parseStrangers(text, 'the file')?.toString('base64') ?? ''
    demand(text.includes(strangers), 'a secret that does not stand in the file', () => strangers)
    const users = [...parseUsers(text, 'the file').values()]
    for (const user of users) {
      const line = formatUser(user)
      demand(text.includes(line), 'a user that does not stand in the file', () => line)
    }
    return 'read'
  } catch (error) {
    if (!(error instanceof AuthFileError)) throw error
    for (const secret of SECRETS)
      demand(!error.message.includes(secret), 'an error that tells a key', () => error.message)
    return 'refused'
  }
}

function readMessage(read: () => void): string {
  try {
    read()
    return 'read'
  } catch (error) {
    if (!(error instanceof ScramError)) throw error
    return 'refused'
  }
}

const USERS = Object.entries(ROLES[0] ?? {}).map(([name, role]) => userOf(name, role))
const STRANGERS = Buffer.alloc(32, 7).toString('base64')
const AUTH_FILE = ['# users', `# strangers: ${STRANGERS}`, '', ...USERS.map(formatUser), ''].join('\n')
const SECRETS = [
  STRANGERS.slice(0, 20),
  ...USERS.flatMap(({ keys }) =>
    [keys.storedKey, keys.serverKey].map((key) => key.toString('base64').slice(0, 20)),
  ),
]

export const credentialsState: State = {
  name: 'credentials',
  inputsPerWorld: INPUTS_PER_WORLD,
  outcomes: ['read', 'refused'],
  makeWorld: () => new CredentialsWorld(),
}
