// When a session closes a connection for taking too long, on a clock that the test moves: who makes progress, however
// little, stays.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Opcode } from '../../protocol/messages.ts'
import type { ServerOptions } from '../../server/options.ts'
import { Session } from '../../server/session.ts'
import { frame } from '../helpers/frames.ts'
import { ScriptedTransport } from '../helpers/scripted-transport.ts'
import { sessionHost } from '../helpers/session-host.ts'

function setUp(options: ServerOptions = {}) {
  const host = sessionHost({
    frameTimeoutMs: 1000,
    outputStallMs: 1000,
    outputBytesMax: 64 * 1024,
    ...options,
  })
  const transport = new ScriptedTransport()
  const session = new Session(transport, host)
  transport.say(frame(Opcode.Set, 1, 'key', 0, Buffer.alloc(30_000)))
  return {
    host,
    transport,
    /** Lets time pass, with a look at the session as often as the server has one. */
    pass(ms: number) {
      for (let passed = 0; passed < ms && !transport.isClosed; passed += 100) {
        host.nowMs += 100
        session.check(host.nowMs)
      }
    },
  }
}

const get = frame(Opcode.Get, 1, 'key')

test('an idle connection stays', () => {
  const { transport, pass } = setUp()
  pass(100_000)
  expect(transport.isClosed).toBe(false)
})

test('a frame that is not completed in time ends the connection, and says why', () => {
  const { host, transport, pass } = setUp()
  transport.say(get.subarray(0, 5))
  pass(1000)
  expect(transport.isClosed).toBe(false)
  pass(100)
  expect(transport.isClosed).toBe(true)
  expect(host.endings).toEqual(['a frame was not complete within 1000 ms'])
  expect(host.counters.closedSlow).toBe(1)
  expect(host.held).toEqual({ partialBytes: 0, unsentBytes: 0, unsent: new Set() })
})

test('sending a frame byte by byte is no progress', () => {
  const { transport, pass } = setUp()
  for (const byte of get) {
    transport.say(Buffer.of(byte))
    pass(300)
  }
  expect(transport.isClosed).toBe(true)
})

test('who is always in the middle of a frame, but of another one, stays', () => {
  const { transport, pass } = setUp()
  const stream = Buffer.concat(Array(40).fill(get))
  const step = get.length
  transport.say(stream.subarray(0, 5))
  for (let at = 5; at + step < stream.length; at += step) {
    transport.say(stream.subarray(at, at + step))
    pass(500)
  }
  expect(transport.isClosed).toBe(false)
})

test('replies that are not taken end the connection', () => {
  const { host, transport, pass } = setUp()
  transport.isReading = false
  transport.say(get)
  pass(900)
  expect(transport.isClosed).toBe(false)
  pass(300)
  expect(host.endings).toEqual([expect.stringContaining('unsent bytes made no progress for 1000 ms')])
  expect(host.counters.closedSlow).toBe(1)
  expect(host.held).toEqual({ partialBytes: 0, unsentBytes: 0, unsent: new Set() })
})

test('asking for more is no progress', () => {
  const { transport, pass } = setUp()
  transport.isReading = false
  for (let i = 0; i < 5; i++) {
    transport.say(get)
    pass(300)
  }
  expect(transport.isClosed).toBe(true)
})

test('a new connection with much to send has as long as any other', () => {
  const host = sessionHost({ outputStallMs: 1000 })
  host.nowMs += 1_000_000
  const transport = new ScriptedTransport()
  const session = new Session(transport, host)
  transport.isReading = false
  transport.say(frame(Opcode.Ping, 1, Buffer.alloc(1000)))
  session.check(host.nowMs)
  session.check(host.nowMs + 900)
  expect(transport.isClosed).toBe(false)
  session.check(host.nowMs + 1001)
  expect(transport.isClosed).toBe(true)
})

test('who takes a little from time to time stays', () => {
  const { transport, pass } = setUp()
  transport.isReading = false
  transport.say(get)
  for (let i = 0; i < 20; i++) {
    transport.take(1000)
    pass(800)
  }
  expect(transport.isClosed).toBe(false)
})

test('who takes everything and finds the same amount waiting again stays', async () => {
  const { transport, pass } = setUp()
  transport.isReading = false
  transport.say(Buffer.concat(Array(200).fill(get)))
  const waiting = transport.unsentBytes
  expect(waiting).toBeGreaterThanOrEqual(64 * 1024)
  for (let i = 0; i < 20; i++) {
    transport.take(waiting)
    await nextTurn()
    expect(transport.unsentBytes).toBe(waiting)
    pass(800)
  }
  expect(transport.isClosed).toBe(false)
})

test('who takes less than it asks for, so that ever more waits, stays until the mark', () => {
  const { transport, pass } = setUp({ outputBytesMax: 8 * 1024 * 1024 })
  transport.isReading = false
  transport.say(get)
  for (let i = 0; i < 20; i++) {
    transport.say(get)
    transport.take(10_000)
    pass(800)
  }
  expect(transport.isClosed).toBe(false)
})
