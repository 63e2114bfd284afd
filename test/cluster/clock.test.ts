// A server whose wall clock is an hour ahead: what it stamps would win over everybody's writes for an hour. It is
// refused, both sides say so, and once the clock is right nothing of it is left. And one that is an hour behind: to it
// everybody else is ahead.

import { expect, test } from 'vitest'
import { startCluster } from '../helpers/processes.ts'
import { stopwatch, tell, until } from '../helpers/waiting.ts'

const HOUR_MS = 3_600_000

test('a clock an hour ahead: refused while it is, forgotten once it is right', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 3, options: { replication: { refusedRetryMs: 500 } } })
  const [one, two, ahead] = [cluster.at(0), cluster.at(1), cluster.at(2)]
  await cluster.meshed()
  await ahead.client.store('stamped in time', 'by the third')
  await cluster.same()
  const { bootId } = (await ahead.stats()).server

  await ahead.setClock(HOUR_MS)
  const since = stopwatch()
  await ahead.client.store('contested', 'from the future')
  await ahead.client.store('only there', 'from the future')
  for (const member of [one, two]) {
    const { replication } = await until(
      `${member.label} refuses`,
      () => member.stats(),
      (stats) => stats.replication.refusedForSkew > 0 && stats.replication.refusals > 0,
    )
    expect(replication.refusedForSkew).toBeGreaterThan(0)
    const [line] = await until(
      `${member.label} logs it`,
      () => member.logged('clock skew', { peer: ahead.label }),
      ({ length }) => length > 0,
    )
    expect(line?.['reason']).toMatch(/node-2 is 3[56]\d{5} ms ahead of the clock of node-\d/)
    await until(
      `${member.label} measures it`,
      () => member.peer(ahead.label),
      (peer) => Math.abs((peer?.skewMs ?? 0) - HOUR_MS) < 60_000,
    )
    // And on the other side.
    const refusedThere = await until(
      `${ahead.label} knows that ${member.label} refuses it`,
      () => ahead.peer(member.label),
      (peer) => peer?.state === 'refused',
    )
    expect(refusedThere?.lastError).toContain('ahead of the clock')
    expect(ahead.logged('refused by peer', { peer: member.label }).length).toBeGreaterThan(0)
  }
  const refusedMs = since()
  await one.client.store('contested', 'in time')
  await two.client.store('between the two', 1)
  const pair = await cluster.same([one, two])
  expect(pair.get('contested')).toBe('in time')
  expect(pair.has('only there')).toBe(false)
  expect(await ahead.client.retrieve('contested')).toBe('from the future')

  await ahead.setClock(0)
  const sinceRight = stopwatch()
  await until(
    'it begins a new life',
    () => ahead.stats(),
    ({ server }) => server.bootId !== bootId,
  )
  expect(ahead.logged('clock set back')).toHaveLength(1)
  await cluster.meshed()
  // Writes of each win over what was there before them, as ever.
  await ahead.client.store('after', 'by the third')
  await until(
    'it replicates again',
    () => one.client.retrieve('after'),
    (value) => value === 'by the third',
  )
  await one.client.store('after', 'by the first')
  await until(
    'and is overwritten again',
    () => ahead.client.retrieve('after'),
    (value) => value === 'by the first',
  )
  const contents = await cluster.same()
  tell('clock an hour ahead', { 'refused by both ms': refusedMs, 'same once right ms': sinceRight() })
  expect(contents).toEqual(
    new Map<string, unknown>([
      ['stamped in time', 'by the third'],
      ['contested', 'in time'],
      ['between the two', 1],
      ['after', 'by the first'],
    ]),
  )
  for (const member of [one, two]) expect((await member.stats()).replication.purged).toBe(0)
})

test('a clock an hour behind: its server hears nothing of the others, and nothing it writes replaces theirs', {
  timeout: 90_000,
}, async () => {
  const cluster = await startCluster({ size: 2, options: { replication: { refusedRetryMs: 500 } } })
  const [right, behind] = [cluster.at(0), cluster.at(1)]
  await cluster.meshed()
  await right.client.store('before', 1)
  await cluster.same()
  const { bootId } = (await behind.stats()).server

  await behind.setClock(-HOUR_MS)
  await until(
    'it begins a new life, empty',
    () => behind.stats(),
    ({ server, memory }) => server.bootId !== bootId && memory.entries === 0,
  )
  await right.client.store('contested', 'in time')
  await until(
    'it refuses the others',
    () => behind.stats(),
    (stats) => stats.replication.refusedForSkew > 0,
  )
  await behind.client.store('contested', 'from the past')
  await behind.client.store('only there', 'from the past')
  await until(
    'the other takes what it writes',
    () => right.client.retrieve('only there'),
    (value) => value === 'from the past',
  )
  expect(await right.client.retrieve('contested')).toBe('in time')
  expect(await behind.client.retrieve('contested')).toBe('from the past')
  expect(await behind.client.retrieve('before')).toBeUndefined()

  await behind.setClock(0)
  const sinceRight = stopwatch()
  const contents = await cluster.same()
  tell('clock an hour behind', { 'same once right ms': sinceRight() })
  expect(contents).toEqual(
    new Map<string, unknown>([
      ['before', 1],
      ['contested', 'in time'],
      ['only there', 'from the past'],
    ]),
  )
})
