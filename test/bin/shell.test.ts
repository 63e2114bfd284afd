// Every command of the shell, and every habit, against a real server: what is shown, what is in the server afterwards,
// and which exit code it means.

import { describe, expect, test } from 'vitest'
import { Condition } from '../../protocol/messages.ts'
import { connect, startServer } from '../helpers/server.ts'
import { dialMemory, TestShell } from '../helpers/shell.ts'

async function newShell(): Promise<TestShell> {
  return new TestShell(dialMemory(await startServer()))
}

/** Lines, each with what it shows and its exit code; a pattern where a figure is not known. */
type Dialogue = readonly (readonly [line: string, text: string | RegExp, exit?: number])[]

async function converse(shell: TestShell, dialogue: Dialogue): Promise<void> {
  for (const [line, text, exit = 0] of dialogue) {
    const ran = await shell.run(line)
    if (typeof text === 'string') expect(ran.text, line).toBe(text)
    else expect(ran.text, line).toMatch(text)
    expect(ran.exit, line).toBe(exit)
  }
}

const dialogues: Readonly<Record<string, Dialogue>> = {
  'set and get': [
    ['set my-key [1,2,3] EX 60', 'OK\n'],
    ['get my-key', '[1,2,3]\n'],
    ['GET my-key', '[1,2,3]\n'],
    ['get nothing', '(miss)\n', 1],
    ['set s "two words"', 'OK\n'],
    ['get s', 'two words\n'],
    ['get my-key nothing s', '[1,2,3]\n(miss)\ntwo words\n', 1],
    ['get my-key s --json', '[[1,2,3],"two words"]\n'],
    ['get s --json', '"two words"\n'],
    ['get nothing --json', 'null\n', 1],
  ],
  conditions: [
    ['set k 1 XX', '(not stored) the key has no value\n', 1],
    ['set k 1 nx', 'OK\n'],
    ['set k 2 NX', '(not stored) the key has a value\n', 1],
    ['set k 3 XX PX 60000', 'OK\n'],
    ['set k 4 NX --json', 'false\n', 1],
    ['get k', '3\n'],
    ['ttl k', /^(?:60|59\.\d+)\n$/],
  ],
  'time to live': [
    ['set k 1 EX 100', 'OK\n'],
    ['ttl k', /^(?:100|99\.\d+)\n$/],
    ['touch k 1h', 'OK\n'],
    ['ttl k', /^(?:3600|3599\.\d+)\n$/],
    ['touch k never', 'OK\n'],
    ['ttl k', 'null\n'],
    ['touch none 5', '(miss)\n', 1],
    ['ttl none', '(miss)\n', 1],
  ],
  counters: [
    ['incr n', '1\n'],
    ['incr n 10', '11\n'],
    ['decr n', '10\n'],
    ['decr n -5', '15\n'],
    ['set n 1.5', 'OK\n'],
    ['incr n', /^\(error\) CACHE_NOT_INTEGER /, 4],
  ],
  deleting: [
    ['mset a 1 b 2 c 3', 'OK\n'],
    ['del a', 'OK\n'],
    ['del a', '(miss)\n', 1],
    ['del a b', '1\n', 1],
    ['set a 1', 'OK\n'],
    ['del a c', '2\n'],
    ['set a 1', 'OK\n'],
    ['clear', 'OK\n'],
    ['keys', ''],
  ],
  inspect: [
    ['set k [1,2,3] EX 60', 'OK\n'],
    [
      'inspect k',
      /^\{"encoding":"MessagePack","valueBytes":4,"version":"[0-9a-f]{32}","ttlSeconds":(?:60|59\.\d+),"lifetimeSeconds":60\}\n$/,
    ],
    ['set k "text"', 'OK\n'],
    ['inspect k', /"encoding":"Utf8","valueBytes":4,.*"ttlSeconds":null,"lifetimeSeconds":null\}\n$/],
    ['inspect none', '(miss)\n', 1],
  ],
  'statistics and the server': [
    ['get none', '(miss)\n', 1],
    ['stats cache', /^\{"cache":\{"hits":0,"misses":1,/],
    ['stats EVENTLOOP', /^\{"eventLoop":\{"lagP99Ms":/],
    ['stats', /^\{"server":\{.*"memory":\{.*"eventLoop":\{/],
    ['stats nonsense', /^\(error\) CACHE_PROTOCOL no section "nonsense"; there are server, memory/, 4],
    [
      'hello',
      /^\{"version":1,"capabilities":0,"serverVersion":"\d.*","nodeId":"cache-1","bootId":"[0-9a-f]{16}",/,
    ],
    ['ping', 'PONG\n'],
  ],
  raw: [
    ['raw 92 02 07', /^Ok id=7 \(PING\) payload=""\n {3}00 00 00 [0-9a-f ]+ c4 00\n$/],
    ['raw 9263 07', /^UnknownOpcode id=7 text="there is no opcode 99"\n {3}00 00/],
    ['raw 00000003920207 00000003920208', /^Ok id=7 .*\n.*\nOk id=8 .*\n.*\n$/],
    ['raw ffffffff', /^FrameTooLarge id=0 \(unasked\) text="a frame of 4294967295 bytes/],
    ['ping', 'PONG\n'],
    ['raw 921001 --json', /^\[\{"hex":"[0-9a-f]+","meaning":"Ok id=1 \(QUIT\)"\}\]\n$/],
    ['ping', 'PONG\n'],
  ],
  'habits of redis-cli': [
    ['SETEX k 60 two', 'OK\n'],
    ['PTTL k', /^(?:60000|59\d{3})\n$/],
    ['PSETEX k 90000 [1]', 'OK\n'],
    ['TTL k', /^(?:90|89\.\d+)\n$/],
    ['PERSIST k', 'OK\n'],
    ['PTTL k', 'null\n'],
    ['EXPIRE k 60', 'OK\n'],
    ['PEXPIRE k 70000', 'OK\n'],
    ['TTL k', /^(?:70|69\.\d+)\n$/],
    ['MSET a 1 b {"x": 2}', 'OK\n'],
    ['MGET a b c', '1\n{"x":2}\n(miss)\n', 1],
    ['EXISTS a b', '2\n'],
    ['EXISTS a none', '1\n', 1],
    ['SETNX a 5', '(not stored) the key has a value\n', 1],
    ['INCRBY a 4', '5\n'],
    ['DECRBY a 2', '3\n'],
    ['DBSIZE', '3\n'],
    ['KEYS ?', /^(?:[abk]\n){3}$/],
    ['SCAN 0 MATCH a* COUNT 100', '{"cursor":0,"keys":["a"]}\n'],
    ['INFO keyspace', /^\{"memory":\{"entries":3,/],
    ['INFO replication', /^\{"replication":\{"bootId":"/],
    ['PING', 'PONG\n'],
    ['UNLINK a', 'OK\n'],
    ['FLUSHALL', 'OK\n'],
    ['DBSIZE', '0\n'],
  ],
  'habits of memcached and nats': [
    ['add k 1', 'OK\n'],
    ['replace k 2', 'OK\n'],
    ['replace other 2', '(not stored) the key has no value\n', 1],
    ['delete k', 'OK\n'],
    ['version', /^\d+\.\d+\.\d+\n$/],
    ['put k {"a":1}', 'OK\n'],
    ['ls', 'k\n'],
    ['rm k', 'OK\n'],
    ['rtt', /^\d+(?:\.\d+)?\n$/],
    ['flush_all', 'OK\n'],
  ],
  'what is wrong sends nothing': [
    ['', '(error) USAGE COMMAND is missing\n', 2],
    ['gte k', '(error) USAGE unknown command "gte"; did you mean get?\n', 2],
    ['get', '(error) USAGE KEY is missing: get KEY...\n', 2],
    ['get ""', '(error) USAGE a key has at least one character, got an empty string\n', 2],
    ['get "\\ud800"', /^\(error\) USAGE a key is text: /, 2],
    [`get ${'k'.repeat(1025)}`, '(error) CACHE_TOO_LARGE a key has at most 1024 bytes, got 1025\n', 4],
    ['keys "\\ud800"', /^\(error\) USAGE prefix: text without lone surrogates/, 2],
    [
      'set k',
      '(error) USAGE VALUE is missing: set KEY VALUE [EX SECONDS | PX MS] [NX | XX] [ACKS N | all]\n',
      2,
    ],
    ['set k 0 60 5', /^\(error\) USAGE "60" is one word too many; .* a time to live behind EX/, 2],
    ['set k 1 EX', /^\(error\) USAGE EX is missing/, 2],
    ['set k 1 EX 0', /^\(error\) USAGE EX "0" is not possible; allowed: seconds above 0/, 2],
    ['set k 1 EX 5 PX 5', '(error) USAGE there is one time to live, by EX or by PX\n', 2],
    ['set k 1 NX XX', '(error) USAGE there is one condition, NX or XX\n', 2],
    ['set k 12345678901234567890', /^\(error\) USAGE 12345678901234567890 is no number here/, 2],
    ['touch k', '(error) USAGE SECONDS is missing: touch KEY SECONDS\n', 2],
    ['incr k five', /^\(error\) USAGE N "five" is not possible/, 2],
    ['raw xyz', /^\(error\) USAGE HEX is pairs/, 2],
    ['scan -1', /^\(error\) USAGE CURSOR is 0/, 2],
    ['get k --jsn', /^\(error\) USAGE "--jsn" is no flag/, 2],
    ['get k --json --jsn', /^\{"error":\{"code":"USAGE",/, 2],
    ['stats commands', /"get":0,"set":0,"delete":0,/],
  ],
  'what is not here': [
    [
      'SELECT 1',
      '(error) USAGE SELECT: there is one keyspace: give your keys a prefix, such as app1:my-key\n',
      2,
    ],
    [
      'HSET k f 1',
      '(error) USAGE HSET: a value is any JSON, read and written as a whole: set KEY {"field": 1}\n',
      2,
    ],
    ['SUBSCRIBE c', '(error) USAGE SUBSCRIBE: there are no messages here, only values: set and get\n', 2],
    [
      'AUTH bob',
      /^\(error\) USAGE there is no terminal to ask for the password: start cache-shell with --user/,
      2,
    ],
  ],
}

describe.each(Object.entries(dialogues))('%s', (_, dialogue) => {
  test('as shown', async () => {
    await converse(await newShell(), dialogue)
  })
})

test.each(['quit', 'QUIT', 'exit'])('%s leaves', async (line) => {
  expect((await (await newShell()).run(line)).outcome.kind).toBe('quit')
})

test('arguments are words that another shell has split', async () => {
  const shell = await newShell()
  expect(await shell.says(['set', 'two words', '{"a": 1}', 'EX', '60'])).toBe('OK\n')
  expect(await shell.says(['set', 'text', 'a b'])).toBe('OK\n')
  expect(await shell.says(['get', 'two words', 'text', '--json'])).toBe('[{"a":1},"a b"]\n')
})

test('values that other clients stored: no JSON, not known, not readable', async () => {
  const server = await startServer()
  const connection = await connect(server)
  await connection.ask(4, 1, 'bytes', 0, Buffer.from([0, 255]))
  await connection.ask(4, 2, 'future', 9, Buffer.from('x'))
  await connection.ask(4, 3, 'broken', 2, Buffer.from([0xc1]))
  const shell = new TestShell(dialMemory(server), { style: { form: 'terminal' } })
  expect(await shell.says('get bytes')).toBe('<Buffer 00 ff>\n')
  expect(await shell.says('get bytes --json')).toBe('{"$bytes":"AP8="}\n')
  expect((await shell.run('get future')).text).toContain('(error) CACHE_PROTOCOL value flags 9 are not known')
  for (const key of ['future', 'broken']) expect((await shell.run(`get ${key}`)).exit).toBe(4)
  expect(await shell.says('ping')).toBe('PONG\n')
})

test('a value over the limit of the server is refused before it is sent', async () => {
  const shell = new TestShell(dialMemory(await startServer({ maxValueBytes: 1024 })))
  const ran = await shell.run(`set k ${'x'.repeat(100_000)}`)
  expect(ran.text).toMatch(
    /^\(error\) CACHE_TOO_LARGE .* a request of 100\d+ bytes is over the server's limit of \d+ \(values: 1024\)\n$/,
  )
  expect(ran.exit).toBe(4)
  expect((await shell.run(`set k ${'x'.repeat(2000)}`)).text).toMatch(
    /^\(error\) CACHE_TOO_LARGE a value has at most 1024 bytes/,
  )
  expect(await shell.says('ping')).toBe('PONG\n')
})

test('keys page through all there are', async () => {
  const server = await startServer()
  const connection = await connect(server)
  for (let i = 0; i < 10; i++) {
    const entries = Array.from({ length: 500 }, (_, j) => [`key:${i * 500 + j}`, 1, 'v'])
    await connection.ask(9, 1, entries, null, Condition.None)
  }
  const shell = new TestShell(dialMemory(server))
  const keys = (await shell.says('keys')).trimEnd().split('\n')
  expect(new Set(keys).size).toBe(5000)
  expect((await shell.says('keys key:1?')).trimEnd().split('\n').sort()[0]).toBe('key:10')
  const asJson: unknown = JSON.parse(await shell.says('keys key:12 --json'))
  expect(new Set(Array.isArray(asJson) ? asJson : []).size).toBe(111)
})

describe('clear', () => {
  test('asks, and does nothing without a yes', async () => {
    const questions: string[] = []
    let answer = false
    const shell = new TestShell(dialMemory(await startServer()), {
      confirm: async (question) => {
        questions.push(question)
        return answer
      },
    })
    await shell.run('set k 1')
    expect(await shell.run('clear')).toMatchObject({ text: '(not cleared) nothing was deleted\n', exit: 1 })
    expect(await shell.says('FLUSHALL')).toBe('(not cleared) nothing was deleted\n')
    expect(questions).toEqual(Array(2).fill('Delete everything on cache:11142? [y/N] '))
    expect(await shell.says('get k')).toBe('1\n')
    answer = true
    expect(await shell.says('clear')).toBe('OK\n')
    expect(await shell.says('get k')).toBe('(miss)\n')
  })

  test('-y is the answer', async () => {
    const shell = new TestShell(dialMemory(await startServer()), {
      confirm: () => Promise.reject(new Error('asked all the same')),
    })
    expect(await shell.says('clear -y')).toBe('OK\n')
    expect(await shell.says('clear --yes')).toBe('OK\n')
  })
})

describe('--trace', () => {
  test('shows both ways, HELLO included', async () => {
    const shell = new TestShell(dialMemory(await startServer()), { trace: true })
    await shell.run('set k [1]')
    const lines = shell.traced.split('\n').filter((line) => /^[<-]/.test(line))
    expect(lines).toHaveLength(4)
    expect(lines[0]).toMatch(/^-> HELLO id=4294967295 versionMin=1 .*clientName="cache-shell"$/)
    expect(lines[1]).toMatch(/^<- Ok id=4294967295 \(HELLO\) version=1 .*nodeId="cache-1"/)
    expect(lines[2]).toBe('-> SET id=1 key="k" flags=2 value=[ 1 ] ttlMs=null condition=0')
    expect(lines[3]).toMatch(/^<- Ok id=1 \(SET\) version=0x[0-9a-f]{32} acks=0$/)
    expect(shell.traced).toContain('\n   00 00 00 0c 97 04 01 a1 6b 02 c4 02 91 01 c0 00\n')
  })

  test('behind a command is for that command', async () => {
    const shell = new TestShell(dialMemory(await startServer()))
    await shell.run('ping')
    expect(shell.traced).toBe('')
    await shell.run('ping --trace')
    expect(shell.traced).toMatch(/^-> PING id=2\n.*\n<- Ok id=2 \(PING\) payload=""\n.*\n$/)
    const { traced } = shell
    await shell.run('ping')
    expect(shell.traced).toBe(traced)
  })
})
