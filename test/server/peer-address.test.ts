import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { remoteOf } from '../../protocol/socket-transport.ts'
import { addressOf, announcedAddress, dialableAddress } from '../../server/peer-address.ts'
import { eventually } from '../helpers/eventually.ts'
import { allLinked } from '../helpers/linked-servers.ts'
import { startServer } from '../helpers/server.ts'

/** Why nobody can listen on all addresses of both families here; undefined if one can. */
const reason = await new Promise<string | undefined>((resolve) => {
  const net = createServer()
  net.once('error', ({ message }) => resolve(message))
  net.listen(0, '::', () => net.close(() => resolve(undefined)))
})

describe('what a server says of itself', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1:11142'],
    ['cache.example', 'cache.example:11142'],
    ['fe80::1', '[fe80::1]:11142'],
    ['0.0.0.0', '*:11142'],
    ['::', '*:11142'],
  ])('listening on %s: %s', (host, announced) => {
    expect(announcedAddress(host, 11142)).toBe(announced)
  })
})

describe('how an announced address is dialed', () => {
  test.each<
    [
      why: string,
      announced: string | undefined,
      dialed: string | undefined,
      remote: string,
      as: string | undefined,
    ]
  >([
    ['as it was announced', '10.0.0.1:1', undefined, '10.0.0.9:50000', '10.0.0.1:1'],
    ['as it was announced, however it was reached', '10.0.0.1:1', 'other:2', '10.0.0.9:50000', '10.0.0.1:1'],
    ['not at all, where nothing was announced', undefined, 'other:2', '10.0.0.9:50000', undefined],
    ['all addresses: where it was reached', '*:1', 'name:2', '10.0.0.9:50000', 'name:2'],
    [
      'all addresses: where it came from, and the announced port',
      '*:1',
      undefined,
      '10.0.0.9:50000',
      '10.0.0.9:1',
    ],
    ['all addresses over IPv6', '*:1', undefined, 'fe80::1:50000', '[fe80::1]:1'],
    [
      'all addresses of both families, reached over IPv4: as IPv4 writes it',
      '*:1',
      undefined,
      remoteOf({ remoteAddress: '::ffff:10.0.0.9', remotePort: 50_000 }),
      '10.0.0.9:1',
    ],
    ['all addresses without a port: not at all', '*:x', undefined, '10.0.0.9:50000', undefined],
  ])('%s', (_, announced, dialed, remote, as) => {
    expect(dialableAddress(announced, dialed, remote)).toBe(as)
  })
})

if (reason !== undefined) console.log(`skipped: servers that listen on ::; ${reason}`)

test.skipIf(reason !== undefined)(
  'servers that listen on :: know each other by addresses of IPv4',
  async () => {
    const one = await startServer({ nodeId: 'a', host: '::', network: 'local', insecure: true })
    const listed = `127.0.0.1:${one.address?.port}`
    const two = await startServer({
      nodeId: 'b',
      host: '::',
      network: 'local',
      insecure: true,
      peers: [listed],
    })
    await allLinked([one, two])
    await eventually(() => two.peers()[0]?.address).toBe(listed)
    await eventually(() => one.peers()[0]?.address).toBe(`127.0.0.1:${two.address?.port}`)
  },
)

describe('an address taken apart', () => {
  test.each([
    ['cache.example:11142', { host: 'cache.example', port: 11142 }],
    ['[::1]:5', { host: '::1', port: 5 }],
    ['11142', { host: '127.0.0.1', port: 11142 }],
    // A dial to port 0 fails and is reported, as one to a wrong name is.
    ['no address', { host: 'no address', port: 0 }],
  ])('%s', (address, parts) => {
    expect(addressOf(address)).toEqual(parts)
  })
})
