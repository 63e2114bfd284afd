// What the shell tells of other servers: peers, lag, and writes that wait for them.

import { describe, expect, test } from 'vitest'
import { addressOf } from '../helpers/client.ts'
import { eventually } from '../helpers/eventually.ts'
import { startBereaved, startCluster } from '../helpers/linked-servers.ts'
import { startServer } from '../helpers/server.ts'
import { dialMemory, TestShell } from '../helpers/shell.ts'

const TERMINAL = { style: { form: 'terminal', columns: 200 } } as const

test('alone', async () => {
  const server = await startServer()
  const plain = new TestShell(dialMemory(server))
  const terminal = new TestShell(dialMemory(server), TERMINAL)
  for (const line of ['peers', 'lag']) {
    expect(await plain.says(line)).toBe('[]\n')
    expect(await plain.says(`${line} --json`)).toBe('[]\n')
    expect(await terminal.says(line)).toBe('(no other servers)\n')
  }
  expect(await plain.says('set k 1 ACKS 2')).toBe('OK (acknowledged by 0 of 0)\n')
})

describe('a peer that is there', () => {
  test('in a table for eyes, and as JSON', async () => {
    const [a, b] = await startCluster(['a', 'b'], { region: 'eu' })
    if (a === undefined || b === undefined) throw new Error('two servers')
    const terminal = new TestShell(dialMemory(a), TERMINAL)
    const lines = (await terminal.says('PEERS')).trimEnd().split('\n')
    expect(lines[0]).toMatch(
      /^node +state +region +lag ms +records +skew ms +trip ms +reconnects +address +last error$/,
    )
    expect(lines[1]).toMatch(/^b +connected +eu +0 +0 +-?\d+ +[\d.]+ +0 +127\.0\.0\.1:\d+ +-$/)
    expect(lines).toHaveLength(2)
    expect(await terminal.says('lag')).toMatch(
      /^node +state +lag ms +records +acked +tail\nb +connected +0 +0 +0 +0\n$/,
    )
    for (const form of ['peers', 'peers --json'])
      expect(JSON.parse(await new TestShell(dialMemory(a)).says(form))).toEqual([
        expect.objectContaining({ nodeId: 'b', state: 'connected', address: addressOf(b), lagMs: 0 }),
      ])
  })

  test('has what a write waited for', async () => {
    const [a, b] = await startCluster(['a', 'b'])
    if (a === undefined || b === undefined) throw new Error('two servers')
    const shell = new TestShell(dialMemory(a))
    expect(await shell.run('set k [1] EX 60 acks 1')).toMatchObject({
      text: 'OK (acknowledged by 1 of 1)\n',
      exit: 0,
    })
    expect(await new TestShell(dialMemory(b)).says('get k')).toBe('[1]\n')
    expect(await shell.run('set k 2 ACKS all XX --json')).toMatchObject({
      text: '{"acks":1,"awaited":1}\n',
      exit: 0,
    })
    // There is one other server: nobody waits for two.
    expect(await shell.run('set k 3 ACKS 2')).toMatchObject({
      text: 'OK (acknowledged by 1 of 1)\n',
      exit: 1,
    })
    expect(await shell.run('set k 4 NX ACKS 1')).toMatchObject({
      text: '(not stored) the key has a value\n',
      exit: 1,
    })
  })
})

describe('a peer that is gone', () => {
  test('is waited for no longer than the shell waits', async () => {
    const shell = new TestShell(dialMemory(await startBereaved()), { timeoutMs: 1000 })
    expect(await shell.run('set k 1 ACKS 1')).toMatchObject({
      text: 'OK (acknowledged by 0 of 1)\n',
      exit: 1,
    })
    expect(await shell.run('set k 1 ACKS all')).toMatchObject({
      text: 'OK (acknowledged by 0 of 1)\n',
      exit: 1,
    })
    expect(await shell.says('lag --json')).toMatch(/^\[\{"nodeId":"b","state":"lost",.*"lagRecords":2,/)
  })

  test('is forgotten when told so', async () => {
    const server = await startBereaved()
    const shell = new TestShell(dialMemory(server))
    expect(await shell.run('peers forget c')).toMatchObject({ text: '(miss)\n', exit: 1 })
    expect(await shell.run('peers forget b')).toMatchObject({ text: 'OK\n', exit: 0 })
    expect(await shell.says('peers')).toBe('[]\n')
    await eventually(() => server.peers()).toEqual([])
  })
})

test.each([
  ['peers forget', '(error) USAGE NODE is missing: peers [forget NODE]\n'],
  ['peers remove b', '(error) USAGE "remove" is one word too many; peers, or peers forget NODE\n'],
  ['peers forget a b', '(error) USAGE "b" is one word too many; peers, or peers forget NODE\n'],
  ['lag b', '(error) USAGE "b" is one word too many\n'],
  ['set k 1 ACKS', /^\(error\) USAGE ACKS is missing: set KEY VALUE /],
  ['set k 1 ACKS 0', '(error) USAGE ACKS 0 is not possible; allowed: 1 to 64, or all\n'],
  ['set k 1 ACKS 65', '(error) USAGE ACKS 65 is not possible; allowed: 1 to 64, or all\n'],
  ['set k 1 ACKS most', /^\(error\) USAGE ACKS "most" is not possible; allowed: an integer/],
  ['set k 1 ACKS 1 ACKS all', '(error) USAGE there is one ACKS\n'],
  ['REPLICAOF a 1', /^\(error\) USAGE REPLICAOF: every server takes writes; .* --peers/],
  ['ROLE', /^\(error\) USAGE ROLE: every server takes writes .* peers lists the others/],
  ['CLUSTER INFO', /^\(error\) USAGE CLUSTER: /],
  [
    'WAIT 1 1000',
    '(error) USAGE WAIT: set KEY VALUE ACKS N waits for that write; lag shows how far the others are\n',
  ],
] as const)('%s', async (line, text) => {
  const ran = await new TestShell(dialMemory(await startServer())).run(line)
  if (typeof text === 'string') expect(ran.text).toBe(text)
  else expect(ran.text).toMatch(text)
  expect(ran.exit).toBe(2)
})
