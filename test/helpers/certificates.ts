// Certificates of a test's own, and their files: one authority for each test file, made when it is first needed.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { onTestFinished } from 'vitest'
import type { ServerOptions } from '../../server/options.ts'
import { Authority, type CertificateRequest, type KeyedCertificate } from '../certificates/authority.ts'

let made: Promise<Authority> | undefined

/** The one that everybody in a test trusts. */
export function authority(): Promise<Authority> {
  made ??= Authority.create()
  return made
}

/** Where servers of tests are. */
export const HERE = ['localhost', '127.0.0.1', '::1']

/** The files of a server: exist until the test ends, and may be written anew. */
export class TlsFiles {
  readonly certPath: string
  readonly keyPath: string
  readonly caPath: string

  constructor({ cert, key }: KeyedCertificate, ca: string) {
    const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    this.certPath = join(folder, 'server.pem')
    this.keyPath = join(folder, 'server.key.pem')
    this.caPath = join(folder, 'authority.pem')
    this.write({ cert, key })
    this.writeCa(ca)
  }

  writeCa(ca: string): void {
    writeFileSync(this.caPath, ca)
  }

  write({ cert, key }: KeyedCertificate): void {
    writeFileSync(this.certPath, cert)
    writeFileSync(this.keyPath, key, { mode: 0o600 })
  }

  get tls(): ServerOptions {
    return { tlsCert: this.certPath, tlsKey: this.keyPath }
  }

  /** Together with the authority that signs clients. */
  get mutual(): ServerOptions {
    return { ...this.tls, tlsCa: this.caPath }
  }
}

/** Of a server on this machine, by the common authority. */
export async function serverFiles(request: Partial<CertificateRequest> = {}): Promise<TlsFiles> {
  const signer = await authority()
  return new TlsFiles(await signer.issue({ commonName: 'cache-1', names: HERE, ...request }), signer.cert)
}

/** How to dial servers that the common authority has signed; `request`: with a certificate of one's own. */
export async function clientTls(request?: CertificateRequest): Promise<ConnectionOptions> {
  const signer = await authority()
  if (request === undefined) return { ca: signer.cert }
  return { ca: signer.cert, ...(await signer.issue({ usages: ['client'], ...request })) }
}
