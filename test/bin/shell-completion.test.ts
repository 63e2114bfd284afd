// What Tab offers, by the line up to the cursor.

import { expect, test } from 'vitest'
import { completer } from '../../bin/shell-completion.ts'
import { connect, startServer } from '../helpers/server.ts'
import { dialMemory, TestShell } from '../helpers/shell.ts'

async function offering(keys: readonly string[]) {
  const server = await startServer()
  const connection = await connect(server)
  for (let i = 0; i < keys.length; i += 1000)
    await connection.ask(
      9,
      1,
      keys.slice(i, i + 1000).map((key) => [key, 1, 'v']),
    )
  const shell = new TestShell(dialMemory(server))
  await shell.run('ping')
  return { shell, complete: completer(shell.connection) }
}

test('commands, words and keys', async () => {
  const { complete } = await offering(['user:1', 'user:2', 'other', 'two words', 'bell\u0007', '"quoted'])
  const rows: [line: string, offers: string[], word: string][] = [
    ['ge', ['get '], 'ge'],
    ['  GE', ['GET '], 'GE'],
    ['in', ['incr', 'inspect', 'incrby', 'info'], 'in'],
    ['help in', ['incr', 'inspect'], 'in'],
    ['stats e', ['eventLoop '], 'e'],
    ['stats re', ['replication '], 're'],
    ['pe', ['peers', 'persist', 'pexpire'], 'pe'],
    ['peers ', ['forget '], ''],
    ['peers forget ', [], ''],
    ['lag ', [], ''],
    ['set k 1 A', ['ACKS '], 'A'],
    ['stats c', ['cache', 'commands', 'connections'], 'c'],
    ['set k 1 E', ['EX '], 'E'],
    ['set k 1 EX 5 n', ['NX '], 'n'],
    ['set k ', [], ''],
    ['clear ', ['-y '], ''],
    ['get user:', ['user:1', 'user:2'], 'user:'],
    ['get user:1 o', ['other '], 'o'],
    ['DEL o', ['other '], 'o'],
    ['touch o', ['other '], 'o'],
    ['touch other ', [], ''],
    ['get zzz', [], 'zzz'],
    ['get "t', [], '"t'],
    ['get b', [], 'b'],
    ['quit ', [], ''],
    ['nonsense a', [], 'a'],
    ['select a', [], 'a'],
  ]
  for (const [line, offers, word] of rows) expect(await complete(line), line).toEqual([offers, word])
  const [all] = await complete('')
  expect(all).toContain('get')
  expect(all).not.toContain('setex')
})

test('of many keys a few, in a way that Tab does not take them for all', async () => {
  const { complete } = await offering(Array.from({ length: 3000 }, (_, i) => `key:1${i}`))
  const [offers, word] = await complete('get key:')
  expect(word).toBe('key:')
  expect(offers).toHaveLength(51)
  expect(offers.at(-1)).toBe('key:…')
})

test('no keys without a connection, and none while a command runs', async () => {
  let dials = 0
  const alone = new TestShell(() => {
    dials++
    return () => {}
  })
  expect(await completer(alone.connection)('get a')).toEqual([[], 'a'])
  expect(dials).toBe(0)
  const { shell, complete } = await offering(['a1'])
  const running = shell.run('ping')
  expect(await complete('get a')).toEqual([[], 'a'])
  await running
  expect(await complete('get a')).toEqual([['a1 '], 'a'])
})
