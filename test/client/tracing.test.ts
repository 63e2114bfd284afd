// Diagnostics channels: tracers hear of each call, its end and its failure, and of no key or value.

import { tracingChannel } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { clientIn } from '../helpers/client.ts'

type Message = { command: string; error?: unknown }

/** What tracers hear until the test ends. */
function listen(): string[] {
  const heard: string[] = []
  const channel = tracingChannel<unknown, Message>('ormuco-cache:command')
  const hear = (what: string) => (message: Message) => {
    heard.push(`${what} ${message.command}`)
    expect(inspect(message)).not.toContain('secret')
  }
  const subscribers = {
    start: hear('start'),
    end: hear('end'),
    asyncStart: hear('asyncStart'),
    asyncEnd: hear('asyncEnd'),
    error: hear('error'),
  }
  channel.subscribe(subscribers)
  onTestFinished(() => void channel.unsubscribe(subscribers))
  return heard
}

test('each call is told, from start to end', async () => {
  const client = await clientIn({ mode: 'standalone', store: 'arena' })
  await client.connect()
  const heard = listen()
  const calls: [string, () => Promise<unknown>][] = [
    ['store', () => client.store('secret', 'secret value')],
    ['store', () => client.store('secret', 'secret value', { ttlSeconds: 9 })],
    ['retrieve', () => client.retrieve('secret')],
    ['retrieve', () => client.retrieve('secret', { timeoutMs: 5000 })],
    ['lookup', () => client.lookup('secret')],
    ['inspect', () => client.inspect('secret')],
    ['has', () => client.has('secret')],
    ['touch', () => client.touch('secret', 5)],
    ['delete', () => client.delete('secret')],
    ['increment', () => client.increment('secret')],
    ['retrieveMany', () => client.retrieveMany(['secret'])],
    ['storeMany', () => client.storeMany([['secret', 1]])],
    ['deleteMany', () => client.deleteMany(['secret'])],
    ['clear', () => client.clear()],
  ]
  for (const [command, call] of calls) {
    heard.length = 0
    await call()
    expect(heard).toEqual([
      `start ${command}`,
      `end ${command}`,
      `asyncStart ${command}`,
      `asyncEnd ${command}`,
    ])
  }
})

test('a call that fails is told as one, a miss is not', async () => {
  const client = await clientIn({ mode: 'standalone', store: 'arena' })
  await client.store('secret', 'text')
  const heard = listen()
  await expect(client.increment('secret')).rejects.toMatchObject({ code: 'CACHE_NOT_INTEGER' })
  expect(heard).toContain('error increment')
  await expect(client.store('', 1)).rejects.toBeInstanceOf(TypeError)
  expect(heard).toContain('error store')
  heard.length = 0
  await client.retrieve('nothing')
  expect(heard).not.toContain('error retrieve')
})
