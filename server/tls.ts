// The server's certificate, its key and the authority it trusts: read from files, checked, and made into what accepts
// connections with TLS and what dials other servers with it.
//
// Between the options and node:tls; knows no connection. Files are read as a whole set and replaced as a whole set:
// `prepareReload` reads and may throw, what it returns puts the new ones in place. Connections keep what they have.
//
// The same certificate proves the server to its clients, and to other servers when it dials them. Other servers are
// verified as Node verifies any server: signed by `tlsCa` (or an authority of the system), and for the host dialed.

import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { SocketAddress } from 'node:net'
import { type ConnectionOptions, createSecureContext, type TLSSocket, type TlsOptions } from 'node:tls'
import type { ReadBuffer } from '../protocol/read-buffer.ts'
import { dialSocket, TlsTransport } from '../protocol/socket-transport.ts'
import { dialTls, TLS_VERSION_MIN } from '../protocol/tls-dial.ts'
import type { Transport } from '../protocol/transport.ts'
import type { Certificate } from './access.ts'
import { type Logger, OptionError, type ResolvedServerOptions } from './options.ts'
import type { DialPeer } from './peer-dialer.ts'

type TlsSettings = Pick<ResolvedServerOptions, 'tlsCert' | 'tlsKey' | 'tlsCa' | 'tlsRequireClientCert'>

/** What stood in the files. */
interface Identity {
  accepting: TlsOptions
  dialing: ConnectionOptions
}

const CERTIFICATES = /-----BEGIN (X509 )?CERTIFICATE-----[^-]+-----END (X509 )?CERTIFICATE-----/g

export class ServerTls {
  readonly #settings: TlsSettings
  readonly #logger: Logger
  #identity: Identity

  /** Reads the files. Throws an OptionError that names the option, the path and what is wrong. */
  constructor(settings: TlsSettings, logger: Logger) {
    this.#settings = settings
    this.#logger = logger
    this.#identity = this.#read()
  }

  /** For `tls.createServer` and `setSecureContext`. */
  get accepting(): TlsOptions {
    return this.#identity.accepting
  }

  /** For `tls.connect` to another server. */
  get dialing(): ConnectionOptions {
    return this.#identity.dialing
  }

  /** Reads the files anew; nothing has changed until what is returned is called. Throws an OptionError. */
  prepareReload(): () => void {
    const identity = this.#read()
    return () => {
      this.#identity = identity
    }
  }

  #read(): Identity {
    const { tlsCert, tlsKey, tlsCa, tlsRequireClientCert } = this.#settings
    const cert = readPem('tlsCert', tlsCert)
    const [own] = certificatesIn('tlsCert', tlsCert, cert)
    const key = readPem('tlsKey', tlsKey)
    if (own?.checkPrivateKey(privateKeyIn(tlsKey, key)) !== true)
      throw new OptionError('tlsKey', tlsKey, `the private key of the first certificate in ${tlsCert}`)
    this.#warnOfDates(tlsCert, own)
    const ca = tlsCa === '' ? undefined : readPem('tlsCa', tlsCa)
    if (ca !== undefined) certificatesIn('tlsCa', tlsCa, ca)
    const files = {
      cert,
      key,
      ...(ca === undefined ? {} : { ca }),
      minVersion: TLS_VERSION_MIN,
      // Every connection proves itself: Node takes a resumed one without a certificate for one with an authorised one.
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    } as const
    return {
      accepting: {
        ...files,
        requestCert: ca !== undefined,
        rejectUnauthorized: tlsRequireClientCert,
      },
      dialing: { secureContext: contextOf(tlsCert, files) },
    }
  }

  #warnOfDates(path: string, { validFrom, validTo }: X509Certificate): void {
    const nowMs = Date.now()
    if (nowMs < Date.parse(validFrom) || nowMs > Date.parse(validTo))
      this.#logger.warn({ path, validFrom, validTo }, 'the own certificate is not valid today')
  }
}

/** How a server dials others: as it listens, with TLS or without. */
export function dialerOf(tls: ServerTls | undefined, buffer: ReadBuffer): DialPeer {
  return (to, events) =>
    tls === undefined ? dialSocket(to, buffer, events) : dialTls(to, tls.dialing, buffer, events)
}

/** What the certificate at the other end says; undefined without TLS. */
export function certificateShown(transport: Transport): Certificate | undefined {
  return transport instanceof TlsTransport ? certificateOf(transport.tlsSocket) : undefined
}

/** What the other end's certificate says, if it has one that `tlsCa` has signed and that is valid. */
export function certificateOf(socket: TLSSocket): Certificate | undefined {
  const { subject, subjectaltname } = socket.getPeerCertificate()
  // Authorised without a certificate is what a resumed session would be.
  if (!socket.authorized || subject === undefined) return undefined
  const [commonName, ...others] = listed(subject.CN)
  return {
    // Of several nobody knows which one is meant.
    commonName: others.length === 0 ? commonName : undefined,
    units: listed(subject.OU),
    altNames: alternativeNames(subjectaltname ?? ''),
  }
}

/** The types say a string; of several there is a list. */
function listed(value: unknown): string[] {
  return [value].flat().filter((item) => typeof item === 'string')
}

/**
 * The DNS names and IP addresses of a certificate, from Node's text of it: `DNS:a.example, IP Address:10.0.0.1`. What
 * could be mistaken for the end of a name stands in quotes there, as in JSON.
 */
export function alternativeNames(text: string): string[] {
  const names: string[] = []
  for (const [, kind, value = ''] of text.matchAll(/(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g)) {
    if (value.startsWith('"')) continue
    if (kind === 'DNS') names.push(value)
    // Written out in full: 0:0:0:0:0:0:0:1
    if (kind === 'IP Address')
      names.push(value.includes(':') ? new SocketAddress({ address: value, family: 'ipv6' }).address : value)
  }
  return names
}

function readPem(option: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new OptionError(option, path, `a file in PEM format that can be read (${reason(error)})`)
  }
}

/** All of them, at least one. */
function certificatesIn(option: string, path: string, pem: Buffer): X509Certificate[] {
  const texts = pem.toString('latin1').match(CERTIFICATES) ?? []
  if (texts.length === 0)
    throw new OptionError(option, path, 'a file in PEM format with a certificate (there is none in it)')
  return texts.map((text, index) => {
    try {
      return new X509Certificate(text)
    } catch (error) {
      throw new OptionError(
        option,
        path,
        `certificates that can be read (number ${index + 1}: ${reason(error)})`,
      )
    }
  })
}

function privateKeyIn(path: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    throw new OptionError(
      'tlsKey',
      path,
      `a private key in PEM format, without a passphrase (${reason(error)})`,
    )
  }
}

function contextOf(path: string, files: TlsOptions) {
  try {
    return createSecureContext(files)
  } catch (error) {
    throw new OptionError('tlsCert', path, `certificates that can be used (${reason(error)})`)
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
