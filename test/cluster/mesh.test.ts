// How servers find each other: whatever connected list of peers they were given, each ends with a link to each.

import { expect, test } from 'vitest'
import { linked, startCluster } from '../helpers/processes.ts'
import { stopwatch, tell, until } from '../helpers/waiting.ts'

const FIRST_ROUND_OPCODE = 48

test.concurrent('a chain of five, each listing only the next, becomes a full mesh', {
  timeout: 90_000,
}, async () => {
  const since = stopwatch()
  const cluster = await startCluster({ size: 5, lists: (index) => (index < 4 ? [index + 1] : []) })
  const startedMs = since()
  await cluster.meshed()
  const meshedMs = since() - startedMs
  for (const member of cluster.members) {
    const others = cluster.members.filter((other) => other !== member).map(({ label }) => label)
    // An address that turned out to be somebody's is no member beside that one.
    const peers = await until(
      `${member.label} knows the others, and nobody else`,
      async () => (await member.stats()).peers.map(({ nodeId }) => nodeId).sort(),
      (labels) => labels.join() === others.join(),
    )
    expect(peers).toEqual(others)
    expect((await member.stats()).replication.links).toBe(4)
  }
  await Promise.all(
    cluster.members.map((member) => member.client.store(`from-${member.label}`, member.label)),
  )
  const contents = await cluster.same()
  expect([...contents.keys()].sort()).toEqual(cluster.members.map(({ label }) => `from-${label}`))
  tell('chain of five', { 'started ms': startedMs, 'then meshed ms': meshedMs, 'in all ms': since() })
})

test.concurrent('without its second connection a link makes it again, until rounds come to pass', {
  timeout: 90_000,
}, async () => {
  const options = { replication: { roundMs: 200 } }
  const cluster = await startCluster({
    size: 2,
    started: 1,
    options,
    lists: (index) => (index === 0 ? [] : [0]),
  })
  const [one, dialer] = [cluster.at(0), cluster.at(1)]
  const proxy = cluster.network.proxy(dialer, one)
  // Only the stream is let through; the rest is reset before a word is said.
  let isFirst = true
  proxy.rewrite = (payload) => {
    // The stream keeps this function for life.
    if (isFirst) proxy.admits = 'none'
    isFirst = false
    return payload
  }
  await dialer.start()
  await linked(dialer, cluster.members)
  await until(
    'a few attempts failed',
    () => proxy.refused,
    (refused) => refused > 1,
  )
  expect((await dialer.stats()).replication).toMatchObject({ links: 1, fullRounds: 0, smallRounds: 0 })
  proxy.rewrite = undefined
  proxy.admits = 'all'
  const since = stopwatch()
  await until(
    'rounds',
    () => one.stats(),
    ({ replication }) => replication.fullRounds > 0 && replication.smallRounds > 0,
  )
  expect(dialer.logged('peer lost')).toEqual([])
  tell('second connection refused', { 'rounds after ms': since() })
})

test.concurrent('a second connection that died in silence is replaced, while the link stays', {
  timeout: 90_000,
}, async () => {
  const options = { replication: { roundMs: 200 } }
  const cluster = await startCluster({ size: 2, started: 0, options })
  const [one, two] = [cluster.at(0), cluster.at(1)]
  const proxies = cluster.network.between([one], [two])
  let isDeaf = false
  for (const proxy of proxies)
    proxy.rewrite = (payload) =>
      isDeaf && (payload[(payload[0] ?? 0) === 0xdc ? 3 : 1] ?? 0) >= FIRST_ROUND_OPCODE ? undefined : payload
  await Promise.all([one.start(), two.start()])
  await until(
    'rounds',
    () => one.stats(),
    ({ replication }) => replication.smallRounds > 0,
  )
  isDeaf = true
  const forwarded = () => proxies.reduce((sum, proxy) => sum + proxy.forwarded, 0)
  const before = forwarded()
  const since = stopwatch()
  await until(
    'another connection',
    () => forwarded(),
    (count) => count > before,
  )
  isDeaf = false
  const { smallRounds } = (await one.stats()).replication
  await until(
    'rounds again',
    () => one.stats(),
    ({ replication }) => replication.smallRounds > smallRounds,
  )
  tell('second connection silent', { 'rounds again after ms': since() })
  for (const member of cluster.members) expect(member.logged('peer lost')).toEqual([])
})
