// The cache of a client without a server: a server of its own in this process, reached in memory. Same session, handlers
// and store as over TCP, so values are copied. The only way from the client to server code, and taken at the first call:
// a client of real servers never loads it.

import type { Dial } from '../protocol/link.ts'
import { memoryTransports, type Transport } from '../protocol/transport.ts'
import type { StandaloneOptions } from './options.ts'

/** The part of a server that is used here. */
interface OwnServer {
  serve(transport: Transport): void
  destroy(): void
}

export class Standalone {
  readonly #options: StandaloneOptions
  #server: Promise<OwnServer> | undefined
  #destroyed = false

  constructor(options: StandaloneOptions) {
    this.#options = options
  }

  readonly dial: Dial = (onTransport, onFailure) => {
    let givenUp = false
    this.#server ??= this.#make()
    this.#server.then(
      (server) => {
        if (givenUp) return
        const [ours, theirs] = memoryTransports()
        server.serve(theirs)
        onTransport(ours)
      },
      (error: unknown) => {
        if (!givenUp) onFailure(error instanceof Error ? error : new Error(String(error)))
      },
    )
    return () => {
      givenUp = true
    }
  }

  /** Everything in it is gone, and its memory and timers with it. */
  destroy(): void {
    this.#destroyed = true
    this.#server?.then(
      (server) => server.destroy(),
      () => {},
    )
  }

  async #make(): Promise<OwnServer> {
    const [{ OrmucoCacheServer }, { cacheFromEnvironment }] = await Promise.all([
      import('../server/server.ts'),
      import('../server/environment.ts'),
    ])
    if (this.#destroyed) throw new Error('destroyed')
    const { maxEntries, maxBytes, ttlSeconds, renewOnHit } = this.#options
    // A server says 0 where a client says Infinity.
    const defaultTtlSeconds = ttlSeconds === Number.POSITIVE_INFINITY ? 0 : ttlSeconds
    return new OrmucoCacheServer({
      ...cacheFromEnvironment(),
      nodeId: 'standalone',
      ...(maxEntries === undefined ? {} : { maxEntries }),
      ...(maxBytes === undefined ? {} : { maxMemoryBytes: maxBytes }),
      ...(defaultTtlSeconds === undefined ? {} : { defaultTtlSeconds }),
      ...(renewOnHit === undefined ? {} : { renewOnHit }),
    })
  }
}
