// The shell's connection when things are not as they should be: nobody there, nobody answering, somebody else, a
// server that goes and comes back. Every command ends within its deadline, says what happened, and the next one starts
// anew.

import { describe, expect, onTestFinished, test } from 'vitest'
import { completer } from '../../bin/shell-completion.ts'
import { Deadline } from '../../bin/shell-connection.ts'
import { Interrupted } from '../../bin/shell-outcome.ts'
import { dialTcp } from '../../client/dial.ts'
import type { Dial } from '../../protocol/link.ts'
import { Opcode, Status } from '../../protocol/messages.ts'
import { memoryTransports, type Transport } from '../../protocol/transport.ts'
import { decoded, frame, payloads } from '../helpers/frames.ts'
import { startServer } from '../helpers/server.ts'
import { dialMemory, dialRefused, TestShell } from '../helpers/shell.ts'

const HELLO_REPLY = [1, 0, '9.9.9', 'fake', Buffer.alloc(8), 'r', 'c', 1000, 70_000]

/** A server that says HELLO and then what `onRequest` makes it say. */
function dialFake(
  onRequest: (server: Transport, opcode: number, id: number, operand: unknown) => void,
  hello: readonly unknown[] = HELLO_REPLY,
): Dial {
  return (onTransport) => {
    queueMicrotask(() => {
      const [ours, theirs] = memoryTransports()
      theirs.open({
        onChunk(chunk) {
          for (const payload of payloads(Buffer.from(chunk))) {
            const [opcode, id, operand] = decoded(payload)
            if (opcode === Opcode.Hello) theirs.write(frame(Status.Ok, id, ...hello))
            else onRequest(theirs, Number(opcode), Number(id), operand)
          }
        },
        onDrain() {},
        onClose() {},
      })
      onTransport(ours)
    })
    return () => {}
  }
}

describe('nobody', () => {
  test('is there: at once, and each command tries anew', async () => {
    let dials = 0
    const shell = new TestShell((...args) => {
      dials++
      return dialRefused(...args)
    })
    for (let i = 1; i <= 3; i++) {
      const ran = await shell.run('get a')
      expect(ran).toMatchObject({
        text: '(error) CACHE_UNAVAILABLE cache:11142: connect ECONNREFUSED\n',
        exit: 3,
      })
      expect(dials).toBe(i)
    }
  })

  test('picks up', async () => {
    const shell = new TestShell(() => () => {}, { timeoutMs: 30 })
    expect(await shell.run('get a')).toMatchObject({
      text: expect.stringMatching(
        /^\(error\) CACHE_(?:TIMEOUT|UNAVAILABLE) cache:11142: no connection within 30 ms\n$/,
      ),
      exit: 3,
    })
  })

  test('answers', async () => {
    const shell = new TestShell(
      dialFake(() => {}),
      { timeoutMs: 30 },
    )
    expect(await shell.run('get a')).toMatchObject({
      text: '(error) CACHE_TIMEOUT cache:11142: no reply within 30 ms\n',
      exit: 3,
    })
    expect(await shell.says('set a 1')).toBe(
      '(error) CACHE_TIMEOUT cache:11142: no reply within 30 ms; it may have been carried out\n',
    )
    expect(await shell.says('raw 920205')).toBe(
      '(error) CACHE_TIMEOUT cache:11142: 0 of 1 replies within 30 ms\n',
    )
    expect(await shell.says('set a 1 --json')).toMatch(/^\{"error":\{"code":"CACHE_TIMEOUT","message":"cache/)
  })
})

test('a reply that comes late is nobody else’s', async () => {
  const late: (() => void)[] = []
  const shell = new TestShell(
    dialFake((server, opcode, id) => {
      if (opcode === Opcode.Get) late.push(() => server.write(frame(Status.Ok, id, 1, Buffer.from('old'))))
      else {
        for (const reply of late) reply()
        server.write(frame(Status.Ok, id, Buffer.alloc(0)))
      }
    }),
    { timeoutMs: 50 },
  )
  expect((await shell.run('get a')).exit).toBe(3)
  expect(await shell.says('ping')).toBe('PONG\n')
})

test('a connection that is lost in between', async () => {
  const shell = new TestShell(dialFake((server) => server.destroy()))
  expect(await shell.says('get a')).toBe(
    '(error) CACHE_UNAVAILABLE cache:11142: the server closed the connection\n',
  )
  expect(await shell.run('del a')).toMatchObject({
    text: '(error) CACHE_UNAVAILABLE cache:11142: the server closed the connection; it may have been carried out\n',
    exit: 3,
  })
  expect(await shell.says('raw 920205')).toBe('(the server closed the connection)\n')
})

test('somebody else at that port', async () => {
  const shell = new TestShell((onTransport) => {
    queueMicrotask(() => {
      const [ours, theirs] = memoryTransports()
      onTransport(ours)
      theirs.open({
        onChunk: () => theirs.write(Buffer.from('-ERR unknown command\r\n')),
        onDrain() {},
        onClose() {},
      })
    })
    return () => {}
  })
  expect(await shell.run('get a')).toMatchObject({
    text: expect.stringMatching(
      /^\(error\) CACHE_UNAVAILABLE .* not understood: .*; is the port that of a cache server\?\n$/,
    ),
    exit: 3,
  })
})

test('a reply that is not one ends the connection, and the next command has a new one', async () => {
  let isBroken = true
  const shell = new TestShell(
    dialFake((server, _, id) => {
      server.write(isBroken ? frame(Status.Ok, id, 'flags?') : frame(Status.Miss, id))
      isBroken = false
    }),
  )
  expect(await shell.run('get a')).toMatchObject({
    text: expect.stringMatching(/^\(error\) CACHE_PROTOCOL cache:11142: an integer is expected/),
    exit: 4,
  })
  expect(await shell.says('get a')).toBe('(miss)\n')
})

test('an error of the server is told in its words, without what a terminal would obey', async () => {
  const shell = new TestShell(
    dialFake((server, _, id) => server.write(frame(Status.Overloaded, id, 'too \x1b[31m much', 5))),
  )
  expect(await shell.run('get a')).toMatchObject({
    text: '(error) CACHE_OVERLOADED too \\u001b[31m much\n',
    exit: 4,
  })
})

test('of several servers the next one is tried within the same command', async () => {
  const server = await startServer()
  const { port } = server.address ?? { port: 0 }
  const tried: number[] = []
  const dial = dialTcp(
    [
      { host: '127.0.0.1', port: 1 },
      { host: '127.0.0.1', port },
    ],
    (address) => tried.push(address.port),
  )
  const shell = new TestShell(dial, { serverCount: 2 })
  expect(await shell.says('ping')).toBe('PONG\n')
  expect(tried).toEqual([1, port])
})

test('a server that goes and comes back', async () => {
  let dial: Dial = dialMemory(await startServer())
  const states: boolean[] = []
  const shell = new TestShell((...args) => dial(...args), {
    onStateChange: () => states.push(shell.connection.isConnected),
  })
  expect(await shell.says('set a 1')).toBe('OK\n')
  expect(states).toEqual([true])
  const next = await startServer()
  dial = dialRefused
  await shell.run('raw ffffffff')
  expect(await shell.says('get a')).toMatch(/^\(error\) CACHE_UNAVAILABLE/)
  expect(shell.connection.isConnected).toBe(false)
  dial = dialMemory(next)
  expect(await shell.says('get a')).toBe('(miss)\n')
  expect(shell.connection.isConnected).toBe(true)
})

test('a server that drains: the connection moves on, after the reply', async () => {
  let dials = 0
  const fake = dialFake((server, _, id) => {
    server.write(Buffer.concat([frame(Status.ShuttingDown, 0, 'bye'), frame(Status.Ok, id, Buffer.alloc(0))]))
  })
  const shell = new TestShell((...args) => {
    dials++
    return fake(...args)
  })
  expect(await shell.says('ping')).toBe('PONG\n')
  expect(await shell.says('ping')).toBe('PONG\n')
  expect(dials).toBe(2)
})

test.each<[when: string, dialWith: (onReached: () => void) => Dial]>([
  [
    'it connects',
    (onReached) => () => {
      queueMicrotask(onReached)
      return () => {}
    },
  ],
  ['it waits for a reply', (onReached) => dialFake(onReached)],
])('Ctrl-C stops a command while %s', async (_, dialWith) => {
  const controller = new AbortController()
  const shell = new TestShell(dialWith(() => controller.abort(new Interrupted('stopped'))))
  expect(await shell.run('get a', controller.signal)).toMatchObject({
    text: '(error) INTERRUPTED stopped\n',
    exit: 3,
  })
})

test('a listing has the whole deadline for each page', async () => {
  let pages = 0
  const timers: NodeJS.Timeout[] = []
  onTestFinished(() => timers.forEach(clearTimeout))
  const shell = new TestShell(
    dialFake((server, _, id) => {
      pages++
      const reply = frame(Status.Ok, id, pages, [`key${pages}`])
      if (pages <= 4) timers.push(setTimeout(() => server.write(reply), 150))
    }),
    { timeoutMs: 400 },
  )
  expect(await shell.run('keys')).toMatchObject({
    text: 'key1\nkey2\nkey3\nkey4\n(error) CACHE_TIMEOUT cache:11142: no reply within 400 ms\n',
    exit: 3,
  })
})

/** Two servers, of which the first goes away after the page it is asked for; each gives cursors of its own. */
function dialsOfTwo(): Dial {
  const dials = ['one', 'two'].map((name, nth) => {
    const own = (nth + 1) * 100
    const hello = HELLO_REPLY.map((item) => (Buffer.isBuffer(item) ? Buffer.alloc(8, nth) : item))
    return dialFake((server, _, id, cursor) => {
      const next = cursor === 0 ? own : 0
      const key = cursor === 0 || cursor === own ? `${name}-${cursor}` : 'left-out'
      server.write(frame(Status.Ok, id, next, [key]))
      if (name === 'one') server.end()
    }, hello)
  })
  return (...events) => (dials.shift() ?? dialRefused)(...events)
}

test('a listing that goes on at another server begins anew there', async () => {
  const shell = new TestShell(dialsOfTwo())
  expect(await shell.run('keys')).toMatchObject({ text: 'one-0\ntwo-0\ntwo-200\n', exit: 0 })
})

test('a listing ends where a server would keep it for ever', async () => {
  let pages = 0
  const shell = new TestShell(
    dialFake((server, _, id) => {
      // Where it does not end, it gets no more replies: the test does.
      if (pages < 50) server.write(frame(Status.Ok, id, [5, 9, 9][pages++] ?? 9, []))
    }),
    { timeoutMs: 1000 },
  )
  expect(await shell.run('keys')).toMatchObject({
    text: '(error) CACHE_PROTOCOL a cursor goes up, got 9 after 9\n',
    exit: 4,
  })
  expect(pages).toBe(3)
})

test('what Tab offers ends where another server answers, and is not taken for all', async () => {
  const shell = new TestShell(dialsOfTwo())
  await shell.connection.connect(new Deadline(5000, new AbortController().signal))
  expect(await completer(shell.connection)('get o')).toEqual([['one-0', 'o…'], 'o'])
})
