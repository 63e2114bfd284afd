// Servers of a test's own that replicate to each other, in this process, on free ports of loopback.

import type { ServerOptions } from '../../server/options.ts'
import type { OrmucoCacheServer } from '../../server/server.ts'
import { addressOf } from './client.ts'
import { eventually } from './eventually.ts'
import { startServer } from './server.ts'

/** One server per node id, each told of the first; all linked. */
export async function startCluster(
  nodeIds: readonly string[],
  options: ServerOptions = {},
): Promise<OrmucoCacheServer[]> {
  const servers: OrmucoCacheServer[] = []
  for (const nodeId of nodeIds) {
    const [first] = servers
    servers.push(
      await startServer({
        network: 'local',
        ...options,
        nodeId,
        peers: first === undefined ? [] : [addressOf(first)],
      }),
    )
  }
  await allLinked(servers)
  return servers
}

/** Each server is connected to all others, and its stream has begun. */
export async function allLinked(servers: readonly OrmucoCacheServer[]): Promise<void> {
  for (const server of servers)
    await eventually(
      () => server.peers().filter(({ state, lagMs }) => state === 'connected' && lagMs === 0).length,
    ).toBe(servers.length - 1)
}

/** Two servers of which the second is gone: the first still counts it among its members. */
export async function startBereaved(options: ServerOptions = {}): Promise<OrmucoCacheServer> {
  const [server, peer] = await startCluster(['a', 'b'], options)
  if (server === undefined || peer === undefined) throw new Error('two servers are needed')
  peer.destroy()
  await eventually(() => server.peers()[0]?.state).toBe('lost')
  return server
}
