// Clients of a test's own, in every surrounding a client can have: over TCP to a server in this process with either
// store, and stand-alone with either store. Everything is cut when the test ends.

import { onTestFinished, vi } from 'vitest'
import { OrmucoCacheClient } from '../../client/client.ts'
import type { ClientOptions } from '../../client/options.ts'
import type { ServerOptions, StoreKind } from '../../server/options.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import { startServer } from './server.ts'

/** What both a server and a stand-alone cache can be told. */
export interface CacheLimits {
  maxEntries?: number
  maxBytes?: number
  ttlSeconds?: number
  renewOnHit?: boolean
}

export interface Surrounding {
  mode: 'remote' | 'standalone'
  store: StoreKind
}

/** For `describe.each`. */
export const CLIENT_SURROUNDINGS = (['remote', 'standalone'] as const).flatMap((mode) =>
  (['arena', 'heap'] as const).map((store): Surrounding => ({ mode, store })),
)

/** Long enough for a machine that is busy with other things: for tests that are not about deadlines. */
export const PATIENT_MS = 15_000

/** A client in a surrounding, and the server behind it if it is not its own. */
export async function clientIn(
  { mode, store }: Surrounding,
  options: ClientOptions = {},
  limits: CacheLimits = {},
): Promise<OrmucoCacheClient> {
  if (mode === 'standalone') {
    vi.stubEnv('CACHE_STORE', store)
    onTestFinished(() => void vi.unstubAllEnvs())
    return cut(new OrmucoCacheClient({ timeoutMs: PATIENT_MS, standalone: limits, ...options }))
  }
  const { maxEntries, maxBytes, ttlSeconds, renewOnHit } = limits
  const server = await startServer({
    store,
    ...(maxEntries === undefined ? {} : { maxEntries }),
    ...(maxBytes === undefined ? {} : { maxMemoryBytes: maxBytes }),
    ...(ttlSeconds === undefined ? {} : { defaultTtlSeconds: ttlSeconds }),
    ...(renewOnHit === undefined ? {} : { renewOnHit }),
  })
  return clientOf(server, options)
}

/** A client of a server, or of the address of one. */
export function clientOf(server: OrmucoCacheServer | string, options: ClientOptions = {}): OrmucoCacheClient {
  const servers = typeof server === 'string' ? server : addressOf(server)
  return cut(new OrmucoCacheClient({ servers, timeoutMs: PATIENT_MS, ...options }))
}

/** A server and a client of it. */
export async function serverAndClient(
  serverOptions: ServerOptions = {},
  options: ClientOptions = {},
): Promise<{ server: OrmucoCacheServer; client: OrmucoCacheClient }> {
  const server = await startServer(serverOptions)
  return { server, client: clientOf(server, options) }
}

/** host:port of a server that listens. */
export function addressOf(server: OrmucoCacheServer): string {
  const { address } = server
  if (address === undefined) throw new Error('the server does not listen')
  return `${address.host}:${address.port}`
}

/** What the next event of this name tells. (`once` of node:events would fail with the first `error` event.) */
export function nextEvent(client: OrmucoCacheClient, name: 'unavailable' | 'available'): Promise<object> {
  return new Promise((resolve) => {
    if (name === 'available') client.once('available', resolve)
    else client.once('unavailable', resolve)
  })
}

function cut(client: OrmucoCacheClient): OrmucoCacheClient {
  onTestFinished(() => client.destroy())
  return client
}
