// Networks that are bad rather than gone: connections that nobody closed, one way only, slow ones, late ones.

import { expect, test } from 'vitest'
import { Load } from '../helpers/cluster-load.ts'
import { startCluster } from '../helpers/processes.ts'
import { stopwatch, tell, until } from '../helpers/waiting.ts'

test.concurrent('a half-open link is noticed, and replaced as soon as the network is back', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 2 })
  const [one, two] = [cluster.at(0), cluster.at(1)]
  await cluster.meshed()
  await one.client.store('before', 1)
  await cluster.same()

  const since = stopwatch()
  cluster.network.blackhole([one], [two])
  await one.client.store('at one', 1)
  await two.client.store('at two', 1)
  for (const member of cluster.members)
    await until(
      `${member.label} notices`,
      () => member.stats(),
      ({ replication, peers }) => replication.links === 0 && peers[0]?.state === 'lost',
    )
  const noticedMs = since()
  for (const [member, other] of [
    [one, two],
    [two, one],
  ] as const)
    expect(member.logged('peer lost', { peer: other.label, why: 'not a byte for 5000 ms' })).toHaveLength(1)
  expect((await one.peer(two.label))?.lagRecords).toBeGreaterThan(0)

  cluster.network.heal()
  const sinceHealed = stopwatch()
  await cluster.meshed()
  const contents = await cluster.same()
  tell('half-open', { 'noticed ms': noticedMs, 'replaced and same ms': sinceHealed() })
  expect(contents.size).toBe(3)
})

test.concurrent('one direction alone is lost: the deaf one gives the link up, and both meet again', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 2 })
  const [one, two] = [cluster.at(0), cluster.at(1)]
  await cluster.meshed()
  const since = stopwatch()
  cluster.network.change(one, two, { state: 'swallows' })
  await two.client.store('still heard', 1)
  await until(
    'what goes the other way arrives',
    () => one.client.has('still heard'),
    (has) => has,
  )
  await one.client.store('not heard', 1)
  await until(
    'the deaf one gives up; the other does not even hear that',
    () => two.stats(),
    ({ replication }) => replication.links === 0,
  )
  const noticedMs = since()
  cluster.network.heal()
  const sinceHealed = stopwatch()
  await cluster.meshed()
  expect((await cluster.same()).size).toBe(2)
  tell('one way lost', { 'noticed ms': noticedMs, 'same after healing ms': sinceHealed() })
})

test.concurrent('a peer behind 1 Mbit/s gets everything, late; local clients do not feel it', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 2 })
  const [one, slow] = [cluster.at(0), cluster.at(1)]
  await cluster.meshed()
  for (const [from, to] of [
    [one, slow],
    [slow, one],
  ] as const)
    cluster.network.change(from, to, { bytesPerSecond: 125_000, delayMs: 20, jitterMs: 10 })
  const reconnects = (await one.peer(slow.label))?.reconnects
  const since = stopwatch()
  // On its way for 6 s, longer than the silence that ends a link: bytes that come are no silence.
  const large = Buffer.alloc(750_000, 'v').toString()
  await one.client.store('large', large)
  const load = new Load(one, { keys: 500, prefix: 'small/', pauseMs: 50, valueLength: 200 })
  await until(
    'the load has run for a while',
    () => load.writes,
    (writes) => writes > 2000,
  )
  const { lagMs, lagRecords } = (await one.peer(slow.label)) ?? {}
  await load.stop()
  const rate = Math.round((load.writes / since()) * 1000)
  const contents = await cluster.same()
  expect(contents.get('large')).toBe(large)
  expect(contents.size).toBe(501)
  const { replication } = await one.stats()
  tell('1 Mbit/s', {
    'writes/s meanwhile': rate,
    'longest batch ms': load.longestMs,
    'lag ms': lagMs ?? -1,
    'lag records': lagRecords ?? -1,
    'same after ms': since(),
  })
  expect(load.failures, load.lastFailure).toBe(0)
  expect(load.misreads).toBe(0)
  // It was slow all the time, and never away.
  expect((await one.peer(slow.label))?.reconnects).toBe(reconnects)
  expect(replication).toMatchObject({ links: 1, purged: 0, rewinds: 0 })
})

test.concurrent('what waits for a slow peer may grow for a while: that is no stall', {
  timeout: 90_000,
}, async () => {
  // A client that takes none of its replies for so long would be cut.
  const options = { outputStallMs: 100, unsentBytesMax: 2 * 1024 * 1024 }
  const cluster = await startCluster({ size: 2, options, lists: (index) => (index === 0 ? [] : [0]) })
  const [one, slow] = [cluster.at(0), cluster.at(1)]
  await cluster.meshed()
  const { reconnects } = (await one.peer(slow.label)) ?? {}
  cluster.network.change(one, slow, { bytesPerSecond: 125_000 })
  // More than the network between holds, in steps, so that there is more of it at each look.
  const since = stopwatch()
  const value = 'v'.repeat(300_000)
  let count = 0
  await until(
    'it has grown for a few seconds',
    async () => {
      await one.client.store(`large-${count++}`, value)
      return since()
    },
    (ms) => ms > 4000 || count === 50,
  )
  const { lagRecords } = (await one.peer(slow.label)) ?? {}
  cluster.network.heal()
  const contents = await cluster.same()
  tell('growing backlog', { values: count, 'lag records': lagRecords ?? -1, 'same after ms': since() })
  expect(contents.size).toBe(count)
  expect(one.logged('peer lost')).toEqual([])
  expect((await one.peer(slow.label))?.reconnects).toBe(reconnects)
  expect((await one.stats()).connections.closedSlow).toBe(0)
})
