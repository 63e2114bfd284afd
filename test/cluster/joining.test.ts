// Servers that come with nothing: the whole contents go over the network once, and only to them.

import { expect, test } from 'vitest'
import { Load } from '../helpers/cluster-load.ts'
import { type Cluster, type Member, startCluster } from '../helpers/processes.ts'
import { stopwatch, tell, until } from '../helpers/waiting.ts'

async function fill(member: Member, count: number): Promise<void> {
  for (let from = 0; from < count; from += 1000)
    await member.client.storeMany(
      Array.from({ length: Math.min(1000, count - from) }, (_, index): [string, string] => [
        `filled-${from + index}`,
        `${from + index}`.padEnd(100, '.'),
      ]),
    )
}

/** Bytes that passed between two members so far, both ways. */
function passedBytes(cluster: Cluster, one: Member, other: Member): number {
  return cluster.network.between([one], [other]).reduce((sum, { passedBytes }) => sum + passedBytes, 0)
}

test('an empty server that joins under load serves at once and has everything soon', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 3, started: 2 })
  const [one, two, joiner] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed([one, two])
  const count = 10_000
  await fill(one, count)
  const loads = [one, two].map(
    (member) => new Load(member, { keys: 1000, prefix: `${member.label}/`, pauseMs: 5 }),
  )
  await joiner.start()
  const since = stopwatch()
  await joiner.client.store('written at once', 1)
  expect(await joiner.client.retrieve('written at once')).toBe(1)
  await until(
    'it has all that was there before it',
    async () => (await joiner.stats()).memory.entries,
    (entries) => entries > count,
  )
  await until(
    'and not just as many',
    async () => (await joiner.keys('filled-')).length,
    (keys) => keys === count,
  )
  const filledMs = since()
  for (const load of loads) await load.stop()
  const contents = await cluster.same()
  tell('joining under load', {
    records: count,
    'filled ms': filledMs,
    'same ms': since(),
    'longest batch of the others ms': Math.max(...loads.map(({ longestMs }) => longestMs)),
  })
  expect(contents.get('written at once')).toBe(1)
  for (const load of loads) {
    expect(load.failures, load.lastFailure).toBe(0)
    expect(load.misreads).toBe(0)
    for (const [key, value] of load.written) expect(contents.get(key)).toBe(value)
  }
  for (const member of [one, two]) expect((await member.stats()).replication.purged).toBe(0)
})

test('a rolling restart of three: each gets its data back, those that stay send each other nothing', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 3, started: 0 })
  const flagsOf = (member: Member) => [
    ...['--port', String(member.port), '--node-id', member.label, '--log-format', 'json'],
    ...['--peers', cluster.members.map(({ address }) => address).join(',')],
  ]
  await Promise.all(cluster.members.map((member) => member.start(flagsOf(member))))
  await cluster.meshed()
  const count = 5000
  await fill(cluster.at(0), count)
  const before = await cluster.same()
  expect(before.size).toBe(count)
  const { dataBytes } = (await cluster.at(0).stats()).memory

  for (const [index, member] of cluster.members.entries()) {
    const stayed = cluster.members.filter((other) => other !== member)
    const [left, right] = stayed
    if (left === undefined || right === undefined) throw new Error('a cluster of three is expected')
    const betweenThem = passedBytes(cluster, left, right)
    const since = stopwatch()
    await member.stop()
    expect(member.program.process.exitCode).toBe(0)
    const stoppedMs = since()
    const [writer] = stayed
    await writer?.client.store(`while ${member.label} was away`, index)
    const toIt = passedBytes(cluster, left, member) + passedBytes(cluster, right, member)
    await member.start(flagsOf(member))
    await cluster.meshed()
    const contents = await cluster.same()
    expect(contents.size).toBe(count + index + 1)
    const gotBytes = passedBytes(cluster, left, member) + passedBytes(cluster, right, member) - toIt
    const idleBytes = passedBytes(cluster, left, right) - betweenThem
    tell(`restart of ${member.label}`, {
      'stopped ms': stoppedMs,
      'same again ms': since(),
      'data bytes': dataBytes,
      'got bytes': gotBytes,
      'bytes between the others': idleBytes,
    })
    // Once, not once from each; and nothing but signs of life where nothing was lost.
    expect(gotBytes).toBeLessThan(2 * dataBytes)
    expect(idleBytes).toBeLessThan(dataBytes / 10)
    const { replication } = await left.stats()
    expect(replication).toMatchObject({ purged: 0, gaps: 0 })
    const { replication: its } = await member.stats()
    // A round about everything with each at the most, as initiator or not; put off ones begin again.
    expect(its.fullRounds).toBeGreaterThan(0)
  }
})
