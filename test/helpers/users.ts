// Users for tests, whose passwords are their names backwards; an auth file of them, and a fake server that lets them in.
// Their keys take a while to derive, so that there are few of them, with as few iterations as may be.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { Capability, Opcode, Status } from '../../protocol/messages.ts'
import { deriveScramKeys, SCRAM_ITERATIONS_MIN, ScramServer } from '../../protocol/scram.ts'
import { formatUser, type Role, type User, Users } from '../../server/users.ts'
import { answerAll, type FakeConnection, type FakeManners, type Request } from './fake-server.ts'

/** Name -> role, and under each name a user. */
const ROLE_OF: Readonly<Record<string, Role>> = { rhea: 'reader', walt: 'writer', adam: 'admin' }

/** Long enough to be looked for where it must not be. */
export function passwordOf(name: string): string {
  return `the password of ${[...name].reverse().join('')}`
}

export async function userOf(
  name: string,
  role: Role = ROLE_OF[name] ?? 'reader',
  password: string = passwordOf(name),
): Promise<User> {
  const salt = Buffer.from(`salt of ${name}`)
  return { name, role, keys: await deriveScramKeys(password, salt, SCRAM_ITERATIONS_MIN) }
}

/** rhea, a reader; walt, a writer; adam, an admin. */
export function someUsers(): Promise<User[]> {
  return Promise.all(Object.keys(ROLE_OF).map((name) => userOf(name)))
}

/** Path of an auth file, of this process' user alone; gone when the test ends. */
export function authFileOf(users: readonly User[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'users')
  writeAuthFile(path, users)
  return path
}

export function writeAuthFile(path: string, users: readonly User[]): void {
  writeFileSync(path, users.map((user) => `${formatUser(user)}\n`).join(''), { mode: 0o600 })
}

/** What a server does that lets in these users and nobody else, and then answers as with an empty cache. */
export function doorkeeping(users: readonly User[]): FakeManners {
  const known = new Users(users)
  const exchanges = new WeakMap<FakeConnection, ScramServer>()
  return {
    capabilities: Capability.Authentication,
    onRequest(request: Request, connection) {
      const [opcode, id, ...operands] = request
      const message = operands.at(-1)
      const scram = exchanges.get(connection) ?? new ScramServer((name) => known.keysOf(name))
      exchanges.set(connection, scram)
      if (opcode !== Opcode.Auth && opcode !== Opcode.AuthProof) answerAll(request, connection)
      else if (!(message instanceof Uint8Array)) connection.send([Status.Unauthenticated, id, 'no message'])
      else if (opcode === Opcode.Auth) connection.send([Status.Ok, id, scram.first(message)])
      else {
        try {
          const { username, serverFinal } = scram.final(message)
          connection.send([Status.Ok, id, serverFinal, known.find(username)?.role])
        } catch {
          connection.send([Status.Unauthenticated, id, 'authentication failed'])
          connection.socket.end()
        }
      }
    },
  }
}
