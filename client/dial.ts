// The way to a server over TCP, as a Link dials it.

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
 * from it. `onServer` hears which is tried.
 */
export function dialTcp(servers: readonly ServerAddress[], onServer: (server: ServerAddress) => void): Dial {
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
    const { socket, transport } = dialSocket(options, buffer)
    const fail = (error: Error) => onFailure(explained(error))
    socket.once('error', fail)
    socket.once('connect', () => {
      socket.off('error', fail)
      onTransport(transport())
    })
    return () => {
      // A socket that is destroyed while it connects may still report an error.
      socket.off('error', fail)
      socket.on('error', () => {})
      socket.destroy()
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
