// Who is there, and what may they do.
//
// Between what proves who somebody is (auth file, cluster secret, certificates) and sessions, which know a rank, a small
// integer, and compare it with what the opcode of a request requires. Knows no connection. Clients are readers, writers
// or admins, each with the rights of those before; a peer is a server of the cluster: it may say what servers say, and
// nothing of what clients ask. Without any of the three proofs everybody is admin, and every server a peer.
//
// What was read from files is replaced as a whole: `prepareReload` reads and may throw, what it returns puts it in place.

import { ProtocolError } from '../protocol/errors.ts'
import { Opcode, Status } from '../protocol/messages.ts'
import { type ScramKeys, ScramServer } from '../protocol/scram.ts'
import { blockIn } from './address-block.ts'
import { CLUSTER_USER, ClusterSecret } from './cluster-secret.ts'
import { type Logger, OptionError, type ResolvedServerOptions } from './options.ts'
import type { OwnNonces } from './peer-authentication.ts'
import { isRound, printable, Repeats } from './repeats.ts'
import { AuthFileError, isRole, ROLES, type Role, Users } from './users.ts'

/** What a session may: all opcodes that require no higher rank. */
export const Rank = { Unauthenticated: -1, Anybody: 0, Reader: 1, Writer: 2, Admin: 3 } as const
export type Rank = (typeof Rank)[keyof typeof Rank]

const RANK_OF_ROLE = {
  reader: Rank.Reader,
  writer: Rank.Writer,
  admin: Rank.Admin,
  peer: Rank.Anybody,
} as const satisfies Record<Role, Rank>

const READERS = [
  ...[Opcode.Get, Opcode.GetMany, Opcode.Inspect, Opcode.Scan],
  ...[Opcode.Stats, Opcode.Peers, Opcode.Lag],
]
const WRITERS = [
  ...[Opcode.Set, Opcode.SetMany, Opcode.Delete, Opcode.DeleteMany],
  ...[Opcode.Touch, Opcode.Increment, Opcode.Decrement],
]
const ADMINS = [Opcode.Clear, Opcode.ForgetPeer]

/** By opcode, the rank that it requires; Anybody where there is no such opcode. */
export const REQUIRED_RANKS = new Int8Array(256).fill(Rank.Anybody)
for (const opcode of READERS) REQUIRED_RANKS[opcode] = Rank.Reader
for (const opcode of WRITERS) REQUIRED_RANKS[opcode] = Rank.Writer
for (const opcode of ADMINS) REQUIRED_RANKS[opcode] = Rank.Admin

const COMMAND_NAMES = new Map<number, string>(
  Object.entries(Opcode).map(([name, opcode]) => [
    opcode,
    name.replace(/(?<=.)(?=[A-Z])/g, '_').toUpperCase(),
  ]),
)

/** What somebody hears who is not of the role that an opcode is for. */
export function forbidden(opcode: number, role: Role | undefined): ProtocolError {
  const required = ROLES.find((candidate) => RANK_OF_ROLE[candidate] === REQUIRED_RANKS[opcode])
  return new ProtocolError(
    Status.Forbidden,
    `${COMMAND_NAMES.get(opcode)} is for the role ${required}, and this connection has the role ${role}`,
  )
}

/** What the certificate of the other end says of it; whoever signed it was checked. */
export interface Certificate {
  /** CN. */
  commonName: string | undefined
  /** OU; there may be several. */
  units: readonly string[]
  /** DNS names and IP addresses. */
  altNames: readonly string[]
}

/** Of somebody who has none: names nobody. */
export const NO_CERTIFICATE: Certificate = { commonName: undefined, units: [], altNames: [] }

/** What is proved between two servers; where there is neither, nothing. */
export interface PeerProofs {
  /** Each end proves to know it. */
  secret?: ClusterSecret | undefined
  /** Of this server's own attempts: they are remembered while they are under way. */
  ownNonces?: OwnNonces | undefined
  /** Of the other end: it must name what that calls itself. */
  certificate?: Certificate | undefined
  /** Whether the certificate is that of a server; left out: yes, or there is none. */
  isPeer?: boolean | undefined
  /** The other end has handed this server's own proof back to it. */
  isReflected?: boolean | undefined
}

/** Somebody who has proved who it is, or need not. */
export interface Principal {
  readonly name: string
  readonly role: Role
  readonly rank: Rank
  /** Whether it may say what only servers say. */
  readonly isPeer: boolean
  /** What it has proved to have, of the auth file or of the cluster secret. */
  readonly keys?: ScramKeys
  readonly certificate?: Certificate
  /** What it has proved to have is this server's own proof: so it is this server, or has proved nothing. */
  readonly isReflected?: boolean
}

export interface AccessSetup {
  options: Pick<ResolvedServerOptions, 'authFile' | 'clusterSecretFile' | 'tlsRequireClientCert' | 'logger'>
  /** Another server is not let in; `remote` is its address and port. */
  onPeerRefused(remote: string, code: string, why: string): void
  /** What was read anew is in place: principals may have changed. */
  onChange(): void
  /** For dumps that are the same each time; left out, random. */
  nonce?: () => string
}

/** What files said. */
interface Known {
  users: Users
  secret: ClusterSecret | undefined
}

export class Access {
  readonly #setup: AccessSetup
  readonly #everybody: Principal
  readonly #repeats = new Repeats()
  readonly #ownNonces: OwnNonces = new Set()
  #known: Known
  /** Of the secret; undefined until they are derived. */
  #clusterKeys: ScramKeys | undefined
  #deriving: Promise<void>

  /** Reads the files. Throws an OptionError. */
  constructor(setup: AccessSetup) {
    this.#setup = setup
    this.#known = this.#read()
    this.#everybody = {
      name: '',
      role: 'admin',
      rank: Rank.Admin,
      isPeer: !this.#mustAuthenticate && this.#known.secret === undefined,
    }
    this.#deriving = this.#deriveKeys()
  }

  /** Resolves when other servers can be checked. */
  ready(): Promise<void> {
    return this.#deriving
  }

  /** What this server proves itself with to others. */
  get secret(): ClusterSecret | undefined {
    return this.#known.secret
  }

  /** What a server must prove that this one has dialed, and that has shown this certificate. */
  proofs(certificate: Certificate | undefined): PeerProofs {
    if (this.secret !== undefined) return { secret: this.secret, ownNonces: this.#ownNonces }
    if (!this.#mustAuthenticate) return {}
    const shown = certificate ?? NO_CERTIFICATE
    return { certificate: shown, isPeer: this.#certified(shown)?.isPeer === true }
  }

  /** Who somebody is that has said nothing yet; undefined: it must authenticate first. */
  arrival(certificate?: Certificate): Principal | undefined {
    const named = certificate === undefined ? undefined : this.#certified(certificate)
    if (named !== undefined) return named
    return this.#mustAuthenticate ? undefined : this.#everybody
  }

  /** What clients must show. */
  get authentication(): 'none' | 'password' | 'certificate' {
    if (this.#hasUsers) return 'password'
    return this.#mustAuthenticate ? 'certificate' : 'none'
  }

  /** Whether there is anything that could be proved by AUTH. */
  get takesProofs(): boolean {
    return this.#hasUsers || this.#known.secret !== undefined
  }

  /** One attempt to authenticate. */
  challenge(): Challenge {
    let isReflected = false
    return new Challenge(
      (name, clientNonce) => {
        isReflected = this.#ownNonces.has(clientNonce)
        return this.#keysOf(name)
      },
      (name, keys) => {
        const proven = this.#proven(name, keys)
        return proven === undefined || !isReflected ? proven : { ...proven, isReflected }
      },
      this.#setup.nonce?.(),
    )
  }

  /** Who somebody is by now; undefined: nobody any more. */
  again(principal: Principal): Principal | undefined {
    const { name, keys, certificate } = principal
    if (keys === undefined && certificate === undefined) return principal
    const now = keys === undefined ? this.arrival(certificate) : this.#proven(name, keys)
    return now?.role === principal.role ? principal : now
  }

  /** Reads the files anew; nothing has changed until what is returned is called. Throws an OptionError. */
  prepareReload(): () => void {
    const known = this.#read()
    return () => {
      const { secret: former } = this.#known
      this.#known = known
      this.#setup.onChange()
      const { secret } = known
      if (secret === undefined || secret.isSame(former)) return
      this.#deriving = this.#deriveKeys().then(() => {
        if (this.#known === known) this.#setup.onChange()
      })
    }
  }

  /** Why somebody who is no peer is not, in words for both sides. */
  whyNoPeer(): string {
    if (this.#known.secret !== undefined) return 'a server must first prove that it knows the cluster secret'
    if (this.#setup.options.tlsRequireClientCert) return 'its certificate does not have the role peer (OU)'
    return 'this server has neither a cluster secret nor certificates: it takes no other server'
  }

  peerRefused(remote: string, code: string, why: string): void {
    this.#setup.onPeerRefused(remote, code, why)
  }

  /** Somebody failed to authenticate; `name` as far as it was said. */
  failed(remote: string, name: string, why: string): void {
    const times = this.#repeats.count(blockIn(remote))
    if (isRound(times))
      this.#setup.options.logger.warn({ remote, user: printable(name), why, times }, 'authentication failed')
    if (name === CLUSTER_USER) this.peerRefused(remote, 'secret', why)
  }

  get #hasUsers(): boolean {
    return this.#setup.options.authFile !== ''
  }

  /** Nobody connects without a certificate: that is an authentication as well. */
  get #mustAuthenticate(): boolean {
    return this.#hasUsers || this.#setup.options.tlsRequireClientCert
  }

  #read(): Known {
    const { authFile, clusterSecretFile, logger } = this.#setup.options
    const warn = (fields: object, phrase: string) => logger.warn(fields, phrase)
    return {
      users: authFile === '' ? new Users([]) : readUsers(authFile, warn),
      secret: clusterSecretFile === '' ? undefined : ClusterSecret.read(clusterSecretFile, warn),
    }
  }

  async #deriveKeys(): Promise<void> {
    const { secret } = this.#known
    const keys = await secret?.deriveKeys()
    // Another reload may have come in between.
    if (secret === this.#known.secret) this.#clusterKeys = keys
  }

  #keysOf(name: string): ScramKeys {
    const keys = this.#known.users.keysOf(name)
    return name === CLUSTER_USER && this.#clusterKeys !== undefined ? this.#clusterKeys : keys
  }

  /** Whose keys these are, if they still are. */
  #proven(name: string, keys: ScramKeys): Principal | undefined {
    if (name === CLUSTER_USER)
      return keys === this.#clusterKeys ? principal(name, 'peer', { keys }) : undefined
    const user = this.#known.users.find(name)
    return user !== undefined && isSameKeys(user.keys, keys)
      ? principal(name, user.role, { keys })
      : undefined
  }

  #certified(certificate: Certificate): Principal | undefined {
    const { commonName = '', units } = certificate
    const roles = units.filter(isRole)
    const [role] = roles
    if (role !== undefined && roles.length === 1) return principal(commonName, role, { certificate })
    const user = this.#known.users.find(commonName)
    return user === undefined ? undefined : principal(commonName, user.role, { certificate })
  }
}

/** One attempt of a connection to authenticate: SCRAM's two messages, and who they prove. */
export class Challenge {
  /** Who it says it is, once it has. */
  name = ''
  readonly #scram: ScramServer
  readonly #proven: (name: string, keys: ScramKeys) => Principal | undefined
  #keys: ScramKeys | undefined

  constructor(
    keysOf: (name: string, clientNonce: string) => ScramKeys,
    proven: (name: string, keys: ScramKeys) => Principal | undefined,
    nonce: string | undefined,
  ) {
    this.#proven = proven
    this.#scram = new ScramServer((name, clientNonce) => {
      this.name = name
      this.#keys = keysOf(name, clientNonce)
      return this.#keys
    }, nonce)
  }

  /** The answer to the client's first message, which is lent. Throws ScramError. */
  first(message: Uint8Array): Buffer {
    return this.#scram.first(message)
  }

  /** The answer to its last one, and who it is; undefined: who had these keys has them no more. Throws ScramError. */
  final(message: Uint8Array): { principal: Principal | undefined; serverFinal: Buffer } {
    const { serverFinal } = this.#scram.final(message)
    const principal = this.#keys === undefined ? undefined : this.#proven(this.name, this.#keys)
    return { principal, serverFinal }
  }
}

/** Whether a server may call itself that: its certificate names the host of a label such as `10.0.0.1:11142`. */
export function isCertified(label: string, { commonName, altNames }: Certificate): boolean {
  const host = label.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
  return [commonName, ...altNames].some(
    (name) => name === label || name?.toLowerCase() === host.toLowerCase(),
  )
}

function principal(name: string, role: Role, proof: Pick<Principal, 'keys' | 'certificate'>): Principal {
  return { name, role, rank: RANK_OF_ROLE[role], isPeer: role === 'peer', ...proof }
}

function isSameKeys(one: ScramKeys, other: ScramKeys): boolean {
  return (
    one.iterations === other.iterations &&
    one.salt.equals(other.salt) &&
    one.storedKey.equals(other.storedKey) &&
    one.serverKey.equals(other.serverKey)
  )
}

function readUsers(path: string, warn: Logger['warn']): Users {
  try {
    return Users.read(path, warn)
  } catch (error) {
    if (!(error instanceof AuthFileError)) throw error
    const what = error.message.replace(`; allowed: ${error.allowed}`, '')
    throw new OptionError('authFile', path, `${error.allowed} (${what})`)
  }
}
