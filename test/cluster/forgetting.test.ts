// What must be forgotten before everybody knows it: whoever was away pays for that, in misses, and nothing comes back.

import { expect, test } from 'vitest'
import { Load } from '../helpers/cluster-load.ts'
import { startCluster } from '../helpers/processes.ts'
import { stopwatch, tell, until } from '../helpers/waiting.ts'

const MIB = 1024 * 1024
const CHUNK_BYTES = 64 * 1024

test('deletes while a server is away for longer than tombstones are kept do not come back', {
  timeout: 90_000,
}, async () => {
  const replication = { markerRetentionMs: 1500, graceMs: 300, roundMs: 500, pingMs: 100 }
  const cluster = await startCluster({ size: 3, options: { replication } })
  const [one, two, away] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed()
  const numbered = (name: string, count: number) =>
    Array.from({ length: count }, (_, index): [string, string] => [`${name}-${index}`, name])
  await one.client.storeMany([...numbered('deleted', 50), ...numbered('kept', 50)])
  expect((await cluster.same()).size).toBe(100)

  cluster.network.cut([away], [one, two])
  await until(
    'the cut is noticed',
    () => away.stats(),
    (stats) => stats.replication.links === 0,
  )
  await away.client.storeMany(numbered('written away, before the deletes', 10))
  const writtenMs = Date.now()
  await until('the clock moves on', Date.now, (nowMs) => nowMs > writtenMs + 1)
  await one.client.deleteMany(numbered('deleted', 50).map(([key]) => key))
  const since = stopwatch()
  for (const member of [one, two])
    await until(
      `${member.label} has forgotten its tombstones`,
      () => member.stats(),
      (stats) => stats.replication.tombstones === 0 && stats.replication.droppedUnstable >= 50,
    )
  const forgottenMs = since()
  await away.client.storeMany(numbered('written away, after', 10))
  await two.client.store('written by those who stayed', 1)
  expect(await away.client.has('deleted-0')).toBe(true)

  cluster.network.heal()
  const sinceHealed = stopwatch()
  // From now on, nobody who had forgotten them sees them again.
  let resurrected = 0
  const watched = until(
    'all serve the same',
    async () => {
      const seen = await Promise.all([one, two, away].map((member) => member.keys()))
      for (const keys of seen.slice(0, 2))
        resurrected += keys.filter((key) => key.startsWith('deleted')).length
      return seen.map((keys) => keys.join())
    },
    ([first, ...rest]) => rest.every((keys) => keys === first),
  )
  await Promise.all([cluster.meshed(), watched])
  const contents = await cluster.same()
  tell('away for longer than tombstones', {
    'forgotten ms': forgottenMs,
    'same after healing ms': sinceHealed(),
  })
  expect(resurrected).toBe(0)
  const names = (name: string) => [...contents.keys()].filter((key) => key.startsWith(name)).length
  expect(names('deleted')).toBe(0)
  expect(names('kept')).toBe(50)
  expect(names('written away, after')).toBe(10)
  expect(contents.get('written by those who stayed')).toBe(1)
  const [stayed, stayedToo, paid] = await Promise.all(
    cluster.members.map(async (member) => (await member.stats()).replication.purged),
  )
  // It had to take the deletes for all it did not share with the others: also what it had written meanwhile.
  expect({ stayed, stayedToo }).toEqual({ stayed: 0, stayedToo: 0 })
  expect(paid).toBeGreaterThanOrEqual(50)
  expect(names('written away, before')).toBe(0)
})

test('two servers that evict all the time while a third is dead lose nothing to it', {
  timeout: 90_000,
}, async () => {
  const limit = 2 * MIB
  const cluster = await startCluster({ size: 3, options: { maxMemoryBytes: limit } })
  const [one, two, dead] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed()
  await one.client.store('everybody had this', 1)
  await cluster.same()
  await dead.kill()
  const pair = [one, two]
  const fullSyncs = (member: typeof one, other: typeof one) =>
    member.logged('full sync started', { peer: other.label }).length
  // At first contact there is one; it may have been put off, while each was busy with the third.
  for (const [member, other] of [
    [one, two],
    [two, one],
  ] as const)
    await until(
      `${member.label} has all that ${other.label} had`,
      () => member.logged('peer caught up', { peer: other.label }).length,
      (times) => times > 0,
    )
  const before = fullSyncs(one, two) + fullSyncs(two, one)
  const since = stopwatch()
  const loads = pair.map(
    (member) =>
      new Load(member, { keys: 1_000_000, prefix: `${member.label}/`, valueLength: 300, pauseMs: 4 }),
  )
  let usedBytes = 0
  let markerBytes = 0
  await until(
    'a few memories full have been written',
    async () => {
      for (const member of pair) {
        const { memory, replication } = await member.stats()
        usedBytes = Math.max(usedBytes, memory.usedBytes)
        markerBytes = Math.max(markerBytes, replication.markerBytes)
      }
      return loads.map(({ writes }) => writes)
    },
    (writes) => writes.every((count) => count > 12_000),
  )
  await Promise.all(loads.map((load) => load.stop()))
  const writtenMs = since()
  for (const load of loads) {
    expect(load.failures, load.lastFailure).toBe(0)
    expect(load.misreads).toBe(0)
    // The last writes of each are with both: nothing that arrived was dropped, or counted as gone.
    const last = [...load.written].slice(-200)
    for (const member of pair) {
      await until(
        `${member.label} has the last writes of both`,
        async () => {
          const values = await member.client.retrieveMany(last.map(([key]) => key))
          return values.filter((value, index) => value !== last[index]?.[1]).length
        },
        (missing) => missing === 0,
      )
    }
  }
  expect(fullSyncs(one, two) + fullSyncs(two, one)).toBe(before)
  for (const member of pair) {
    const { replication, cache } = await member.stats()
    expect(cache.evictions).toBeGreaterThan(8000)
    // The rule did fire: what the dead one may not know was forgotten for want of room.
    expect(replication.droppedUnstable).toBeGreaterThan(0)
    expect(replication.purged).toBe(0)
    expect(replication.gaps).toBe(1)
    expect(usedBytes).toBeLessThanOrEqual(limit)
    // Enforced once per turn of the event loop: the evictions of one chunk may stand above the budget for as long.
    expect(markerBytes).toBeLessThan(replication.markerBytesMax + CHUNK_BYTES)
    tell(`eviction at ${member.label} with a dead member`, {
      'ran ms': writtenMs,
      evictions: cache.evictions,
      'dropped unstable': replication.droppedUnstable,
      'most used bytes': usedBytes,
      'most marker bytes': `${markerBytes} of ${replication.markerBytesMax}`,
    })
  }
})
