// A certificate authority for tests and trials: it signs whatever it is asked to, and lives as long as its process unless
// somebody writes it to files. Elliptic keys: made in a millisecond.
//
// Between tests and a library that encodes X.509, which Node can read and not write. What a certificate says is up to
// whoever asks for it, wrong names and dates included.

import 'reflect-metadata'
import { createPrivateKey, createPublicKey, KeyObject, randomBytes, webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'

/** Both as text in PEM format. */
export interface KeyedCertificate {
  cert: string
  key: string
}

export interface CertificateRequest {
  /** CN. */
  commonName: string
  /** OU: the role. */
  units?: readonly string[]
  /** DNS names and IP addresses that it is good for. */
  names?: readonly string[]
  /** What it is good for; default: both. */
  usages?: readonly ('server' | 'client')[]
  /** Since and until when, in ms since 1970. Default: an hour ago, and a year from now. */
  fromMs?: number
  untilMs?: number
}

const KEYS = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const HOUR_MS = 3_600_000
const YEAR_MS = 365 * 24 * HOUR_MS

export class Authority implements KeyedCertificate {
  readonly cert: string
  readonly key: string
  readonly #certificate: X509Certificate
  readonly #keys: webcrypto.CryptoKeyPair

  private constructor(certificate: X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.#certificate = certificate
    this.#keys = keys
    this.cert = certificate.toString('pem')
    this.key = privateKey(keys)
  }

  static async create(commonName = 'ormuco-cache test authority'): Promise<Authority> {
    const keys = await newKeys()
    const certificate = await X509CertificateGenerator.createSelfSigned({
      serialNumber: newSerial(),
      name: [{ CN: [commonName] }],
      ...validity({}),
      keys,
      signingAlgorithm: KEYS,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    })
    return new Authority(certificate, keys)
  }

  /** One that was written to files, with elliptic keys as it makes them. */
  static async read({ cert, key }: KeyedCertificate): Promise<Authority> {
    const pkcs8 = createPrivateKey(key).export({ type: 'pkcs8', format: 'der' })
    const spki = createPublicKey(cert).export({ type: 'spki', format: 'der' })
    const { subtle } = webcrypto
    return new Authority(new X509Certificate(cert), {
      privateKey: await subtle.importKey('pkcs8', pkcs8, KEYS, true, ['sign']),
      publicKey: await subtle.importKey('spki', spki, KEYS, true, ['verify']),
    })
  }

  async issue(request: CertificateRequest): Promise<KeyedCertificate> {
    const { commonName, units = [], names = [], usages = ['server', 'client'] } = request
    const keys = await newKeys()
    const certificate = await X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: [...units.map((unit) => ({ OU: [unit] })), { CN: [commonName] }],
      issuer: this.#certificate.subject,
      ...validity(request),
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: KEYS,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension(
          usages.map((usage) =>
            usage === 'server' ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth,
          ),
        ),
        await AuthorityKeyIdentifierExtension.create(this.#keys.publicKey),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
        ...(names.length === 0 ? [] : [alternativeNames(names)]),
      ],
    })
    return { cert: certificate.toString('pem'), key: privateKey(keys) }
  }
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(KEYS, true, ['sign', 'verify'])
}

function privateKey({ privateKey }: webcrypto.CryptoKeyPair): string {
  return String(KeyObject.from(privateKey).export({ type: 'pkcs8', format: 'pem' }))
}

/** Positive, and of the same length each time. */
function newSerial(): string {
  const serial = randomBytes(16)
  serial[0] = 1
  return serial.toString('hex')
}

function validity({ fromMs, untilMs }: Pick<CertificateRequest, 'fromMs' | 'untilMs'>) {
  const nowMs = Date.now()
  return {
    notBefore: new Date(fromMs ?? nowMs - HOUR_MS),
    notAfter: new Date(untilMs ?? nowMs + YEAR_MS),
  }
}

function alternativeNames(names: readonly string[]): SubjectAlternativeNameExtension {
  return new SubjectAlternativeNameExtension(
    names.map((name) => ({ type: isIP(name) === 0 ? 'dns' : 'ip', value: name })),
  )
}
