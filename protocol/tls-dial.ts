// Dialing with TLS. Apart from socket-transport.ts, which both ends of every connection load, because of what loading
// node:tls costs a process: clients without TLS never do.

import { isIP, type OnReadOpts, type TcpSocketConnectOpts } from 'node:net'
import { type ConnectionOptions, connect, createSecureContext, type SecureContext } from 'node:tls'
import type { ReadBuffer } from './read-buffer.ts'
import { awaitConnection, type DialEvents, readInto, TlsTransport } from './socket-transport.ts'
import { explainedTls } from './tls-errors.ts'

declare module 'tls' {
  interface ConnectionOptions {
    /** As `net.connect` has it; without `socket` only. */
    onread?: OnReadOpts
  }
}

/** Lower ones are broken; OpenSSL may be told otherwise from outside. */
export const TLS_VERSION_MIN = 'TLSv1.2'

/**
 * What dials with these options share, made once: reading certificates, and the system's authorities, takes a while.
 * Throws an Error that says what is wrong with them.
 */
export function dialingContext(options: ConnectionOptions): SecureContext {
  try {
    return options.secureContext ?? createSecureContext({ minVersion: TLS_VERSION_MIN, ...options })
  } catch (error) {
    throw error instanceof Error ? explainedTls(error) : error
  }
}

/**
 * Connects as `tls.connect` does, to read into `buffer`; there is a transport once the other end's certificate was
 * verified, for the host that was dialed unless `tls` names another one. Returns how to give up. Throws what
 * `tls.connect` throws for options that cannot be.
 */
export function dialTls(
  options: TcpSocketConnectOpts,
  tls: ConnectionOptions,
  buffer: ReadBuffer,
  events: DialEvents,
): () => void {
  const { reading, onread } = readInto(buffer)
  const { host = 'localhost' } = options
  const socket = connect({
    ...tls,
    ...options,
    // An IP address cannot be asked for by name; it is still what the certificate has to be for.
    servername: tls.servername ?? (isIP(host) === 0 ? host : ''),
    secureContext: dialingContext(tls),
    onread,
  })
  return awaitConnection(socket, 'secureConnect', () => new TlsTransport(socket, reading), {
    onTransport: (transport) => events.onTransport(transport),
    onFailure: (error) => events.onFailure(explainedTls(error)),
  })
}
