// keys(): what it lists while nothing changes and while everything does, and how it ends.

import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { OrmucoCacheClient } from '../../client/client.ts'
import { Status } from '../../protocol/messages.ts'
import { CLIENT_SURROUNDINGS, clientIn, clientOf, nextEvent } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { startFakeServer } from '../helpers/fake-server.ts'

describe.each(CLIENT_SURROUNDINGS)('$mode, $store store', (surrounding) => {
  test('all keys, page after page, or those with a prefix', async () => {
    const client = await clientIn(surrounding)
    const keys = [...named('user:', 3000), ...named('order:', 2000)]
    await client.storeMany(keys.map((key) => [key, 1]))
    expect((await list(client)).sort()).toEqual([...keys].sort())
    expect((await list(client, 'user:')).sort()).toEqual(named('user:', 3000).sort())
    expect(await list(client, 'user:2999')).toEqual(['user:2999'])
    expect(await list(client, 'nobody:')).toEqual([])
  })

  test('nothing at all', async () => {
    const client = await clientIn(surrounding)
    expect(await list(client)).toEqual([])
  })

  test('the longest keys, and text that is not ASCII', async () => {
    const client = await clientIn(surrounding)
    const keys = Array.from({ length: 200 }, (_, i) => `ключ-${i}-${'😀'.repeat(240)}`)
    await client.storeMany(keys.map((key) => [key, 1]))
    expect((await list(client, 'ключ-')).sort()).toEqual([...keys].sort())
  })

  test('while others write and delete, what is there throughout is listed, and the listing ends', async () => {
    const client = await clientIn(surrounding)
    const steady = named('steady-', 3000)
    await client.storeMany(steady.map((key) => [key, 1]))
    let writing = true
    const write = async () => {
      for (let i = 0; writing; i++) {
        await Promise.all([
          client.store(`new-${i}`, i),
          client.store(`steady-${i % 3000}`, i),
          client.delete(`new-${i - 20}`),
        ])
      }
    }
    const writers = Promise.all([write(), write()])
    const listed = new Set(await list(client))
    writing = false
    await writers
    expect(steady.filter((key) => !listed.has(key))).toEqual([])
  })

  test('what is expired or cleared is not listed', async () => {
    const client = await clientIn(surrounding)
    await client.storeMany(named('old-', 50).map((key) => [key, 1]))
    await client.clear()
    await client.store('brief', 1, { ttlSeconds: 0.001 })
    await client.store('lasting', 1)
    await eventually(() => list(client)).toEqual(['lasting'])
  })

  test('whoever stops listening stops asking', async () => {
    const client = await clientIn(surrounding)
    await client.storeMany(named('k-', 5000).map((key) => [key, 1]))
    for await (const _ of client.keys()) break
    expect((await client.stats())['commands']).toMatchObject({ scan: 1 })
  })

  test('an abort ends it with its reason: before, between two keys, and between two pages', async () => {
    const client = await clientIn(surrounding)
    await client.storeMany(named('k-', 5000).map((key) => [key, 1]))
    const reason = new Error('enough')
    await expect(listUntil(client, 0, reason)).rejects.toBe(reason)
    await expect(listUntil(client, 5, reason)).rejects.toBe(reason)
    await expect(listUntil(client, 4500, reason)).rejects.toBe(reason)
    expect(client.counters().inFlight).toBe(0)
  })
})

test('a server that goes away in the middle: it rejects, even where calls are told to ignore outages', async () => {
  let pages = 0
  const server = await startFakeServer({
    onRequest: ([, id], connection) => {
      if (pages++ === 0) connection.send([Status.Ok, id, 17, ['a', 'b']])
      else connection.socket.destroy()
    },
  })
  const client = clientOf(server.address, { onUnavailable: 'ignore', timeoutMs: 2000 })
  const listed: string[] = []
  const listing = async () => {
    for await (const key of client.keys()) listed.push(key)
  }
  await expect(listing()).rejects.toMatchObject({ code: 'CACHE_UNAVAILABLE' })
  expect(listed).toEqual(['a', 'b'])
})

describe('another server in the middle', () => {
  /** Three pages under cursors of its own. */
  function pagesOf(name: string, bootByte: number, endsAfter: (page: number) => boolean) {
    const cursors = [0, bootByte * 10 + 1, bootByte * 10 + 2]
    return startFakeServer({
      bootByte,
      onRequest: ([, id, cursor], connection) => {
        const page = cursors.indexOf(Number(cursor))
        // What a server does with a cursor that is not its own: it goes on anywhere, here at its end.
        if (page < 0) connection.send([Status.Ok, id, 0, [`${name}-last`]])
        else connection.send([Status.Ok, id, cursors[page + 1] ?? 0, [`${name}-${page}`]])
        if (endsAfter(page)) connection.socket.end()
      },
    })
  }

  test('it begins anew there: all keys of that server are listed', async () => {
    const one = await pagesOf('one', 1, (page) => page === 1)
    const two = await pagesOf('two', 2, () => false)
    const client = clientOf(`${one.address},${two.address}`, { reconnect: { minMs: 1, maxMs: 5 } })
    const listed: string[] = []
    for await (const key of client.keys()) {
      listed.push(key)
      if (key === 'one-1') await nextEvent(client, 'available')
    }
    expect(listed).toEqual(['one-0', 'one-1', 'two-0', 'two-1', 'two-2'])
  })

  test('the same server on another connection: it goes on', async () => {
    const server = await pagesOf('one', 1, (page) => page === 1)
    const client = clientOf(server.address, { reconnect: { minMs: 1, maxMs: 5 } })
    const listed: string[] = []
    for await (const key of client.keys()) {
      listed.push(key)
      if (key === 'one-1') await nextEvent(client, 'available')
    }
    expect(listed).toEqual(['one-0', 'one-1', 'one-2'])
  })

  test('another one at each page: it rejects instead of going on for ever', async () => {
    const servers = await Promise.all(
      [1, 2].map((bootByte) =>
        startFakeServer({
          bootByte,
          onRequest: ([, id], connection) =>
            connection.send([Status.ShuttingDown, 0, 'later'], [Status.Ok, id, bootByte, ['k']]),
        }),
      ),
    )
    const client = clientOf(servers.map(({ address }) => address).join(), {
      reconnect: { minMs: 1, maxMs: 5 },
    })
    await expect(list(client)).rejects.toMatchObject({
      code: 'CACHE_UNAVAILABLE',
      retriable: true,
      message: 'the server changed 9 times while its keys were listed',
    })
    expect(client.counters()).toMatchObject({ unavailable: 1, outages: 0 })
  })
})

describe('a server that would keep it for ever', () => {
  /** A client that lets it: even then the test ends. */
  const PATIENCE_PAGES = 50

  test.each([
    ['stays', [17, 17]],
    ['goes down', [17, 16]],
    ['goes in circles', [17, 4711, 17]],
  ])('whose cursor %s: it rejects', async (_, cursors) => {
    let pages = 0
    const server = await startFakeServer({
      onRequest: ([, id], connection) => {
        if (pages === PATIENCE_PAGES) connection.socket.destroy()
        else connection.send([Status.Ok, id, cursors[pages++ % cursors.length], []])
      },
    })
    const client = clientOf(server.address, { onUnavailable: 'ignore' })
    const [last, first] = [cursors.at(-1), cursors.at(-2)]
    await expect(list(client)).rejects.toMatchObject({
      code: 'CACHE_PROTOCOL',
      retriable: false,
      message: `a cursor goes up, got ${last} after ${first}`,
    })
    expect(pages).toBe(cursors.length)
    expect(client.counters()).toMatchObject({ inFlight: 0 })
  })

  test('whose pages are empty: it rejects after ten minutes of them, not of keys', async () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    onTestFinished(() => void vi.useRealTimers())
    let pages = 0
    const server = await startFakeServer({
      onRequest: ([, id], connection) => {
        vi.advanceTimersByTime(200_000)
        if (pages++ === PATIENCE_PAGES) connection.socket.destroy()
        else connection.send([Status.Ok, id, pages, pages === 3 ? ['late'] : []])
      },
    })
    const client = clientOf(server.address, { timeoutMs: 300_000 })
    const listed: string[] = []
    const listing = async () => {
      for await (const key of client.keys()) listed.push(key)
    }
    await expect(listing()).rejects.toMatchObject({
      code: 'CACHE_TIMEOUT',
      retriable: true,
      message: 'pages without keys for 800 s, and no end',
    })
    expect(listed).toEqual(['late'])
    expect(pages).toBe(7)
  })
})

test('closed in the middle: it rejects', async () => {
  const server = await startFakeServer({
    onRequest: ([, id], connection) => connection.send([Status.Ok, id, 17, ['a']]),
  })
  const client = clientOf(server.address, { onUnavailable: 'ignore' })
  const listing = async () => {
    for await (const _ of client.keys()) void client.close()
  }
  await expect(listing()).rejects.toMatchObject({ code: 'CACHE_CLOSED' })
})

function named(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}`)
}

async function list(client: OrmucoCacheClient, prefix?: string): Promise<string[]> {
  const keys: string[] = []
  for await (const key of client.keys(prefix === undefined ? {} : { prefix })) keys.push(key)
  return keys
}

/** Aborts when so many keys have come. */
async function listUntil(client: OrmucoCacheClient, count: number, reason: Error): Promise<void> {
  const controller = new AbortController()
  if (count === 0) controller.abort(reason)
  let seen = 0
  for await (const _ of client.keys({ signal: controller.signal }))
    if (++seen === count) controller.abort(reason)
}
