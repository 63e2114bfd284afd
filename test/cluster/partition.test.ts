// Two halves that cannot reach each other: each goes on by itself, and when the network is whole again, both have the
// same, with nothing of what was overwritten, deleted or flushed.

import { expect, test } from 'vitest'
import { type Cluster, startCluster } from '../helpers/processes.ts'
import { stopwatch, tell, until } from '../helpers/waiting.ts'

/** Cuts the first member off; resolves when both sides have noticed. */
async function cutOff(cluster: Cluster): Promise<void> {
  const [alone, ...others] = cluster.members
  if (alone === undefined) return
  cluster.network.cut([alone], others)
  await until(
    'both sides notice',
    () => Promise.all(cluster.members.map(async (member) => (await member.stats()).replication.links)),
    (links) => links.join() === [0, ...others.map(() => others.length - 1)].join(),
  )
}

test.concurrent('what both halves wrote is everywhere after they meet again, the later of two writes alone', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 3 })
  const [alone, left, right] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed()
  await alone.client.storeMany([
    ['deleted alone', 'old'],
    ['deleted by the two', 'old'],
    ['overwritten alone', 'old'],
    ['untouched', 'old'],
  ])
  expect((await cluster.same()).size).toBe(4)

  const since = stopwatch()
  await cutOff(cluster)
  const noticedMs = since()
  const own = (side: string) =>
    Array.from({ length: 500 }, (_, index): [string, string] => [`${side}-${index}`, side])
  await alone.client.storeMany(own('alone'))
  await left.client.storeMany(own('left'))
  await right.client.storeMany(own('right'))
  await alone.client.store('both', 'earlier')
  await left.client.store('both', 'later')
  await right.client.store('both, the other way round', 'earlier')
  await alone.client.store('both, the other way round', 'later')
  await alone.client.store('overwritten alone', 'new')
  expect(await alone.client.delete('deleted alone')).toBe(true)
  expect(await left.client.delete('deleted by the two')).toBe(true)
  // The two are still one cluster; nobody serves what only the other half has.
  await cluster.same([left, right])
  expect(await alone.client.has('left-0')).toBe(false)
  expect(await right.client.has('alone-0')).toBe(false)

  cluster.network.heal()
  const sinceHealed = stopwatch()
  await cluster.meshed()
  const contents = await cluster.same()
  tell('partition of three', { 'noticed ms': noticedMs, 'same after healing ms': sinceHealed() })
  expect(contents).toEqual(
    new Map([
      ...own('alone'),
      ...own('left'),
      ...own('right'),
      ['both', 'later'],
      ['both, the other way round', 'later'],
      ['overwritten alone', 'new'],
      ['untouched', 'old'],
    ]),
  )
  for (const member of cluster.members) {
    const { replication } = await member.stats()
    // Nobody was away for long enough to pay.
    expect(replication).toMatchObject({ purged: 0, droppedUnstable: 0, gaps: 0 })
  }
})

test.concurrent('a clear in each half: what was stamped before the later one is gone everywhere', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 3 })
  const [alone, left, right] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed()
  await right.client.storeMany(
    Array.from({ length: 300 }, (_, index): [string, string] => [`before-${index}`, 'old']),
  )
  expect((await cluster.same()).size).toBe(300)

  await cutOff(cluster)
  await alone.client.clear()
  expect(await alone.keys()).toEqual([])
  expect(await left.client.has('before-0')).toBe(true)
  await alone.client.store('after the first clear', 1)
  await left.client.store('before the second clear', 1)
  // Stamps of different servers are only ordered once their clocks have moved on.
  const stampedMs = Date.now()
  await until('the clock moves on', Date.now, (nowMs) => nowMs > stampedMs + 1)
  await right.client.clear()
  await until(
    'the other one of the half hears of it',
    () => left.keys(),
    (keys) => keys.length === 0,
  )
  await left.client.store('after the second clear', 2)

  cluster.network.heal()
  const since = stopwatch()
  await cluster.meshed()
  const contents = await cluster.same()
  tell('clear in both halves', { 'same after healing ms': since() })
  expect(contents).toEqual(new Map([['after the second clear', 2]]))
  const watermarks = await Promise.all(
    cluster.members.map(async (member) => (await member.stats()).replication.watermarkMs),
  )
  expect(new Set(watermarks).size).toBe(1)
})
