// Servers that die or hang while everybody writes: nobody else notices, and whoever comes back gets everything.

import { expect, test } from 'vitest'
import { Load } from '../helpers/cluster-load.ts'
import { startCluster } from '../helpers/processes.ts'
import { stopwatch, tell, until } from '../helpers/waiting.ts'

test.concurrent('a server killed under load comes back empty and gets all of it', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 3 })
  const [one, victim, other] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed()
  const loads = cluster.members.map(
    (member) => new Load(member, { keys: 2000, prefix: `${member.label}/`, pauseMs: 5 }),
  )
  const [first, dying, last] = loads
  await until(
    'everybody has written',
    () => loads.map(({ writes }) => writes),
    (writes) => writes.every((count) => count > 2000),
  )
  const { bootId } = (await victim.stats()).server
  await victim.kill()
  const since = stopwatch()
  const writesAtDeath = first?.writes ?? 0
  await dying?.stop()
  await until(
    'the others go on',
    () => first?.writes ?? 0,
    (writes) => writes > writesAtDeath + 2000,
  )
  const gone = await one.peer(victim.label)
  expect(gone?.state).toBe('lost')

  await victim.start()
  const upMs = since()
  expect((await victim.stats()).server.bootId).not.toBe(bootId)
  await cluster.meshed()
  const writesAfter = first?.writes ?? 0
  await until(
    'they still go on',
    () => first?.writes ?? 0,
    (writes) => writes > writesAfter + 500,
  )
  for (const load of [first, last]) await load?.stop()
  const sinceStopped = stopwatch()
  const contents = await cluster.same()
  tell('kill -9 under load', {
    'restarted after ms': upMs,
    'same after the last write ms': sinceStopped(),
    keys: contents.size,
    'longest batch of the others ms': Math.max(first?.longestMs ?? 0, last?.longestMs ?? 0),
  })
  for (const load of [first, last]) {
    expect(load?.failures, load?.lastFailure).toBe(0)
    expect(load?.misreads).toBe(0)
    // Those who stayed lose nothing.
    for (const [key, value] of load?.written ?? []) expect(contents.get(key)).toBe(value)
  }
  for (const member of [one, other]) expect((await member.stats()).replication.purged).toBe(0)
})

test.concurrent('a server that hangs for longer than the silence it is granted costs the others nothing', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 3 })
  const [one, frozen, other] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed()
  const loads = [one, other].map(
    (member) => new Load(member, { keys: 1000, prefix: `${member.label}/`, pauseMs: 10 }),
  )
  frozen.freeze()
  const since = stopwatch()
  for (const member of [one, other])
    await until(
      `${member.label} gives the silent one up`,
      () => member.peer(frozen.label),
      (peer) => peer?.state === 'lost',
    )
  const noticedMs = since()
  expect(one.logged('peer lost', { peer: frozen.label, why: 'not a byte for 5000 ms' })).toHaveLength(1)
  const marker = 'written while it hangs'
  await one.client.store(marker, true)
  await until(
    'the two go on with each other',
    () => other.client.has(marker),
    (has) => has,
  )
  frozen.thaw()
  const sinceThawed = stopwatch()
  await cluster.meshed()
  const meshedMs = sinceThawed()
  for (const load of loads) await load.stop()
  const contents = await cluster.same()
  tell('SIGSTOP', {
    'noticed ms': noticedMs,
    'linked again after SIGCONT ms': meshedMs,
    'same after SIGCONT ms': sinceThawed(),
    'longest batch of the others ms': Math.max(...loads.map(({ longestMs }) => longestMs)),
  })
  expect(contents.get(marker)).toBe(true)
  for (const load of loads) {
    expect(load.failures, load.lastFailure).toBe(0)
    expect(load.misreads).toBe(0)
    for (const [key, value] of load.written) expect(contents.get(key)).toBe(value)
  }
  for (const member of cluster.members) expect((await member.stats()).replication.purged).toBe(0)
})
