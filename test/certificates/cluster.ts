// The certificates of a cluster with one server in each region, and of a client in each role, as files:
//
//   authority.pem, authority.key.pem        who signed all of them: --tls-ca of every server, --cacert of the shell
//   cache-REGION.pem, cache-REGION.key.pem  of a server: OU=peer, CN=cache-REGION, which is to be its node id
//   ROLE.pem, ROLE.key.pem                  of a client: OU=reader, writer or admin, and CN likewise
//
// For trials on one machine or in containers named like the servers. The key of the authority lies beside them: nothing
// that matters should trust it.

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Authority, type KeyedCertificate } from './authority.ts'

export const CLIENT_ROLES = ['reader', 'writer', 'admin'] as const
const LOOPBACK = ['localhost', '127.0.0.1', '::1']
const OWNER_ONLY = 0o600
const AUTHORITY = 'authority'

/** Writes the files into a folder, which is made if need be. Returns their names. Throws if there are any. */
export async function writeClusterCertificates(
  folder: string,
  regions: readonly string[],
): Promise<string[]> {
  mkdirSync(folder, { recursive: true })
  if (existsSync(join(folder, `${AUTHORITY}.pem`)))
    throw new Error(`${folder} has an authority already: --renew lets it sign, or take another folder`)
  const authority = await Authority.create()
  const written = [
    ...write(folder, AUTHORITY, authority),
    ...(await writeServers(folder, regions, authority)),
  ]
  for (const role of CLIENT_ROLES) {
    const issued = await authority.issue({ commonName: role, units: [role], usages: ['client'] })
    written.push(...write(folder, role, issued))
  }
  return written
}

/** The same for servers alone, by the authority that is there; what they have is replaced. */
export async function renewServerCertificates(folder: string, regions: readonly string[]): Promise<string[]> {
  const [certPath, keyPath] = pathsOf(folder, AUTHORITY)
  if (!existsSync(certPath)) throw new Error(`${folder} has no authority: leave --renew out`)
  const authority = await Authority.read({
    cert: readFileSync(certPath, 'utf8'),
    key: readFileSync(keyPath, 'utf8'),
  })
  return writeServers(folder, regions, authority)
}

export function nodeIdIn(region: string): string {
  return `cache-${region}`
}

async function writeServers(
  folder: string,
  regions: readonly string[],
  authority: Authority,
): Promise<string[]> {
  const written: string[] = []
  for (const region of regions) {
    const nodeId = nodeIdIn(region)
    const names = [nodeId, ...LOOPBACK]
    const issued = await authority.issue({ commonName: nodeId, units: ['peer'], names })
    written.push(...write(folder, nodeId, issued))
  }
  return written
}

/** Each file is there as a whole or not at all: a server may read it at any time. */
function write(folder: string, name: string, { cert, key }: KeyedCertificate): string[] {
  const [certPath, keyPath] = pathsOf(folder, name)
  for (const [path, text] of [
    [certPath, cert],
    [keyPath, key],
  ] as const) {
    writeFileSync(`${path}.new`, text, { mode: OWNER_ONLY })
    renameSync(`${path}.new`, path)
  }
  return [`${name}.pem`, `${name}.key.pem`]
}

function pathsOf(folder: string, name: string): [cert: string, key: string] {
  return [join(folder, `${name}.pem`), join(folder, `${name}.key.pem`)]
}
