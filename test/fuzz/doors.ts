// An auth file, a cluster secret, and the access that reads them: made once, since deriving their keys takes a while, and
// used by one world after the other. The auth file has two versions, between which it changes while servers run.

import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SCRAM_ITERATIONS_MIN } from '../../protocol/scram.ts'
import { Access } from '../../server/access.ts'
import { resolveOptions } from '../../server/options.ts'
import { formatUser, type Role, type User } from '../../server/users.ts'
import { type Keys, keysOf } from './auth-messages.ts'
import type { Doors } from './fuzzed-server.ts'

export const SECRET = 'the secret of this cluster, long enough'
export const CLUSTER_USER = ':cluster'

/** Roles by name, in either version of the auth file; the second knows walt no more, and rhea as a writer. */
export const ROLES: readonly Readonly<Record<string, Role>>[] = [
  { rhea: 'reader', walt: 'writer', adam: 'admin', pia: 'peer' },
  { rhea: 'writer', adam: 'admin', pia: 'peer' },
]
export const NAMES = ['rhea', 'walt', 'adam', 'pia', CLUSTER_USER, 'nobody', '', 'a,b=c', 'ré'] as const

export class ReadDoors implements Doors {
  readonly options: Doors['options']
  readonly access: Access
  /** Which version of the auth file counts. */
  version = 0
  /** The server that there is now hears of changes. */
  onChange: () => void = nobody
  /** The server's part of the nonce: the same each time where it must be. */
  nonce = 'nonce'

  constructor(folder: string) {
    const paths = ROLES.map((roles, version) => {
      const users = Object.entries(roles).map(([name, role]) => userOf(name, role))
      return written(join(folder, `users ${version}`), users.map((user) => `${formatUser(user)}\n`).join(''))
    })
    const authFileNow = () => paths[this.version] ?? ''
    this.options = { authFile: authFileNow(), clusterSecretFile: written(join(folder, 'secret'), SECRET) }
    this.access = new Access({
      options: {
        ...resolveOptions({ ...this.options }),
        // To write a file anew takes longer than all the rest.
        get authFile() {
          return authFileNow()
        },
      },
      onPeerRefused: () => {},
      onChange: () => this.onChange(),
      nonce: () => this.nonce,
    })
  }

  /** Nobody is served any more, and the first version counts. */
  release(): void {
    this.onChange = nobody
    this.turn(0)
  }

  /** The auth file is the other one now, and is read. */
  turn(version: number): void {
    if (version === this.version) return
    this.version = version
    this.access.prepareReload()()
  }
}

/** Of this module alone: it must not keep a world. */
function nobody(): void {}

function written(path: string, text: string): string {
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

/** Of this process; resolves when it can be used. */
export function readDoors(): Promise<ReadDoors> {
  ready ??= make()
  return ready
}

let ready: Promise<ReadDoors> | undefined

async function make(): Promise<ReadDoors> {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-fuzz-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const doors = new ReadDoors(folder)
  await doors.access.ready()
  return doors
}

/** The keys of a password, with the salt and the iterations of a challenge; undefined: there is no such user. */
export function knownKeys(name: string, salt: Buffer, iterations: number): Keys | undefined {
  if (name === CLUSTER_USER) return keysOf(SECRET, salt, iterations)
  // Of anybody else the salt is made up: who has to compute with each of them has much to do.
  return name in (ROLES[0] ?? {}) ? keysOf(passwordOf(name), saltOf(name), SCRAM_ITERATIONS_MIN) : undefined
}

export function userOf(name: string, role: Role): User {
  const salt = saltOf(name)
  const { clientKey, serverKey } = keysOf(passwordOf(name), salt, SCRAM_ITERATIONS_MIN)
  const storedKey = createHash('sha256').update(clientKey).digest()
  return { name, role, keys: { salt, iterations: SCRAM_ITERATIONS_MIN, storedKey, serverKey } }
}

function passwordOf(name: string): string {
  return `password of ${name}`
}

function saltOf(name: string): Buffer {
  return Buffer.from(`salt of ${name}`.padEnd(16, '.'))
}
