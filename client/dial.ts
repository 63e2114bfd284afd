// Ways to reach a server: TCP, and in memory for a client without one. Each gives a Dial for a Link.

import { connect } from 'node:net'
import type { Dial } from '../protocol/link.ts'
import { memoryTransports, SocketTransport } from '../protocol/transport.ts'
import type { StandaloneOptions } from './options.ts'

/** Node tries a name's addresses one after another, each for 250 ms by default: one black hole would eat a deadline. */
const ADDRESS_ATTEMPT_TIMEOUT_MS = 50

export interface ServerAddress {
  host: string
  port: number
}

/** Dials the servers in turn, the next one after each failure. `onServer` hears which is tried. */
export function dialTcp(servers: readonly ServerAddress[], onServer: (server: ServerAddress) => void): Dial {
  let turn = 0
  return (onTransport, onFailure) => {
    const server = servers[turn % servers.length] as ServerAddress
    onServer(server)
    const socket = connect({
      host: server.host,
      port: server.port,
      noDelay: true,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_TIMEOUT_MS,
    })
    const fail = (error: Error) => {
      turn++
      onFailure(error)
    }
    socket.once('error', fail)
    socket.once('connect', () => {
      socket.off('error', fail)
      onTransport(new SocketTransport(socket))
    })
    return () => {
      // A socket that is destroyed while it connects may still report an error.
      socket.off('error', fail)
      socket.on('error', () => {})
      socket.destroy()
    }
  }
}

/** A server of one's own in this process, made at the first dial: the only way from the client to server code. */
export function dialStandalone(options: StandaloneOptions): Dial {
  let loading: Promise<{ serve: (end: ReturnType<typeof memoryTransports>[1]) => void }> | undefined
  return (onTransport, onFailure) => {
    let given = false
    loading ??= import('../server/index.ts').then(
      ({ OrmucoCacheServer }) =>
        new OrmucoCacheServer({
          nodeId: 'standalone',
          ...(options.maxEntries === undefined ? {} : { maxEntries: options.maxEntries }),
          ...(options.maxBytes === undefined ? {} : { maxMemoryBytes: options.maxBytes }),
          ...(options.ttlSeconds === undefined ? {} : { defaultTtlSeconds: options.ttlSeconds }),
          ...(options.renewOnHit === undefined ? {} : { renewOnHit: options.renewOnHit }),
        }),
    )
    loading.then(
      (server) => {
        if (given) return
        const [ours, theirs] = memoryTransports()
        server.serve(theirs)
        onTransport(ours)
      },
      (error: Error) => onFailure(error),
    )
    return () => {
      given = true
    }
  }
}
