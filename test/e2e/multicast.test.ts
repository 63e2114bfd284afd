// Servers with nothing but --multicast: real processes that are told no address, and share writes.

import { expect, onTestFinished, test } from 'vitest'
import { OrmucoCacheClient } from '../../client/index.ts'
import { loopbackOnly, reasonAgainst } from '../helpers/discovery.ts'
import { startProgram } from '../helpers/program.ts'
import { until } from '../helpers/waiting.ts'

// A group of their own: other tests, and other machines, are not asked.
const GROUP = `239.255.${1 + Math.floor(Math.random() * 254)}.${1 + Math.floor(Math.random() * 254)}`
const reason = await reasonAgainst(GROUP, loopbackOnly)
if (reason !== undefined) console.log(`skipped: servers that find each other; ${reason}`)

test.skipIf(reason !== undefined)(
  'two servers that are given only a group share writes',
  {
    timeout: 60_000,
  },
  async () => {
    const port = 20_000 + Math.floor(Math.random() * 20_000)
    const clients: OrmucoCacheClient[] = []
    for (let started = 0; started < 2; started++) {
      // The default port: the second one finds it taken, and takes another.
      const program = startProgram('start-server', ['--multicast', `${GROUP}:${port}`])
      const [, listening] = await program.says('stdout', /^Server listens on port (\d+)$/m)
      const client = new OrmucoCacheClient({ servers: `127.0.0.1:${listening}`, timeoutMs: 5000 })
      onTestFinished(() => client.destroy())
      clients.push(client)
    }
    const [one, two] = clients
    expect((await one?.store('from one', 1))?.outcome).toBe('stored')
    await until(
      'the write is on the other server',
      () => two?.retrieve('from one'),
      (value) => value === 1,
    )
    await two?.store('from two', 2)
    await until(
      'and the other way',
      () => one?.retrieve('from two'),
      (value) => value === 2,
    )
  },
)
