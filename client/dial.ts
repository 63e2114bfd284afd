// The way to a server over TCP or TLS, as a Link dials it.
//
// What is needed for TLS is loaded at the first dial with it: node:tls makes starting noticeably slower, and most
// clients do without.

import type { ConnectionOptions } from 'node:tls'
import type { Dial } from '../protocol/link.ts'
import { ReadBuffer } from '../protocol/read-buffer.ts'
import { dialSocket } from '../protocol/socket-transport.ts'

/** Node tries a name's addresses one after another, each for 250 ms by default: one black hole would eat a deadline. */
const ADDRESS_ATTEMPT_TIMEOUT_MS = 50

/** For all clients of this process: a chunk is looked at before the next one is read. */
let buffer: ReadBuffer | undefined

export interface ServerAddress {
  host: string
  port: number
}

/**
 * Dials the servers in turn: the next one each time, since whoever dials again has lost the last one, or got no answer
 * from it. `onServer` hears which is tried. `tls`: with TLS, as `tls.connect` takes it; host, port, and unless given the
 * server's name are those of each server.
 */
export function dialTcp(
  servers: readonly ServerAddress[],
  onServer: (server: ServerAddress) => void,
  tls?: ConnectionOptions,
): Dial {
  const secure = tls === undefined ? undefined : tlsDialer(tls)
  let turn = 0
  return (onTransport, onFailure) => {
    const server = servers[turn++ % servers.length] as ServerAddress
    onServer(server)
    buffer ??= new ReadBuffer()
    const options = {
      host: server.host,
      port: server.port,
      noDelay: true,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_TIMEOUT_MS,
    }
    const events = { onTransport, onFailure: (error: Error) => onFailure(explained(error)) }
    if (secure === undefined) return dialSocket(options, buffer, events)
    return secure(options, buffer, events)
  }
}

/** As `dialSocket`, with TLS. Certificates are read once: a Link dials as often as it must. */
function tlsDialer(tls: ConnectionOptions): typeof dialSocket {
  let prepared: Promise<typeof dialSocket> | undefined
  const prepare = async (): Promise<typeof dialSocket> => {
    const { dialingContext, dialTls } = await import('../protocol/tls-dial.ts')
    const shared = { ...tls, secureContext: dialingContext(tls) }
    return (options, buffer, events) => dialTls(options, shared, buffer, events)
  }
  return (options, buffer, events) => {
    let isGivenUp = false
    let giveUp = () => {}
    prepared ??= prepare()
    prepared
      .then((dial) => {
        if (!isGivenUp) giveUp = dial(options, buffer, events)
      })
      .catch((error: unknown) => {
        if (!isGivenUp) events.onFailure(error instanceof Error ? error : new Error(String(error)))
      })
    return () => {
      isGivenUp = true
      giveUp()
    }
  }
}

/** Node says nothing in an error that stands for those of several addresses. */
function explained(error: Error): Error {
  if (!(error instanceof AggregateError) || error.message !== '') return error
  const reasons = error.errors.map((reason) => (reason instanceof Error ? reason.message : String(reason)))
  return new Error(reasons.join('; '), { cause: error })
}

/** For people, and for errors. */
export function nameOf(server: ServerAddress): string {
  return server.host.includes(':') ? `[${server.host}]:${server.port}` : `${server.host}:${server.port}`
}
