// Fairness: whoever asks for much at once is served in pieces, and everybody else in between; and whoever reads is not cut
// because others do not.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import type { ServerOptions } from '../../server/options.ts'
import { Session } from '../../server/session.ts'
import { decoded, frame, payloads } from '../helpers/frames.ts'
import { ScriptedTransport } from '../helpers/scripted-transport.ts'
import { sessionHost, type TestHost } from '../helpers/session-host.ts'
import { authFileOf, someUsers } from '../helpers/users.ts'

const KIB = 1024
const MIB = 1024 * KIB
const VALUE_BYTES = 200 * KIB

/** A connection, and its session. */
class End extends ScriptedTransport {
  readonly session: Session

  constructor(host: TestHost) {
    super()
    this.session = new Session(this, host)
  }

  ids(): unknown[] {
    return payloads(Buffer.concat(this.received)).map((payload) => decoded(payload)[1])
  }
}

function hostWithValue(options: ServerOptions = {}): TestHost {
  const host = sessionHost(options)
  const writer = new End(host)
  writer.say(frame(Opcode.Set, 1, 'large', 0, Buffer.alloc(VALUE_BYTES)))
  expect(decoded(payloads(Buffer.concat(writer.received))[0] ?? Buffer.alloc(0))[0]).toBe(Status.Ok)
  return host
}

function gets(count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, id) => frame(Opcode.Get, 1 + id, 'large')))
}

describe('a turn of the event loop', () => {
  test('is not all for one: the rest of what it asked for comes later, in order', async () => {
    const greedy = new End(hostWithValue())
    greedy.say(gets(50))
    expect(greedy.receivedBytes).toBeGreaterThan(VALUE_BYTES)
    expect(greedy.receivedBytes).toBeLessThan(2 * MIB)
    expect(greedy.isPaused).toBe(true)
    for (let turn = 0; turn < 50; turn++) await nextTurn()
    expect(greedy.ids()).toEqual(Array.from({ length: 50 }, (_, id) => 1 + id))
    expect(greedy.isPaused).toBe(false)
  })

  test('is shared: many who ask for much get a piece each, and who asks for little gets it', async () => {
    const host = hostWithValue()
    const greedy = Array.from({ length: 20 }, () => new End(host))
    for (const end of greedy) end.say(gets(20))
    const modest = new End(host)
    modest.say(frame(Opcode.Ping, 7))
    expect(modest.ids()).toEqual([7])
    const firstBytes = greedy.reduce((sum, end) => sum + end.receivedBytes, 0)
    expect(firstBytes).toBeLessThan(20 * (MIB + VALUE_BYTES + KIB))
    const perTurn: number[] = []
    for (let before = firstBytes, turn = 0; turn < 400; turn++) {
      await nextTurn()
      const bytes = greedy.reduce((sum, end) => sum + end.receivedBytes, 0)
      perTurn.push(bytes - before)
      before = bytes
    }
    expect(Math.max(...perTurn)).toBeLessThan(2 * MIB)
    for (const end of greedy) expect(end.ids()).toHaveLength(20)
  })

  test('does not come sooner because the network has taken what there was', async () => {
    const greedy = new End(hostWithValue())
    greedy.say(gets(50))
    const { receivedBytes } = greedy
    greedy.take(0)
    expect(greedy.receivedBytes).toBe(receivedBytes)
    for (let turn = 0; turn < 50; turn++) await nextTurn()
    expect(greedy.ids()).toHaveLength(50)
  })

  test('comes for nobody who is gone', async () => {
    const greedy = new End(hostWithValue())
    greedy.say(gets(50))
    greedy.destroy()
    const { receivedBytes } = greedy
    await nextTurn()
    await nextTurn()
    expect(greedy.receivedBytes).toBe(receivedBytes)
  })
})

describe('requests whose work is not in their replies', () => {
  /** Requests that fill most of what is read at once. */
  const many = (count: number, opcode: number, ...operands: unknown[]) =>
    Buffer.concat(Array.from({ length: count }, (_, id) => frame(opcode, 1 + id, ...operands)))

  test.each<[string, count: number, inATurn: number, opcode: number, operands: unknown[]]>([
    ['SCAN', 50, 1, Opcode.Scan, [0, 'zzz', 4096]],
    ['STATS', 50, 1, Opcode.Stats, ['memory']],
    ['CLEAR', 50, 1, Opcode.Clear, []],
    ['AUTH', 100, 16, Opcode.Auth, ['PLAIN', Buffer.from('n,,n=rhea,r=x')]],
    ['HELLO', 1000, 256, Opcode.Hello, [1, 1, 0, 'x']],
    ['an opcode that there is none of', 5000, 256, 99, []],
  ])('%s', async (_, count, inATurn, opcode, operands) => {
    const greedy = new End(sessionHost())
    greedy.say(many(count, opcode, ...operands))
    const first = greedy.ids().length
    expect(first).toBeLessThanOrEqual(inATurn)
    expect(first).toBeGreaterThan(0)
    expect(greedy.isPaused).toBe(first < count && !greedy.isClosed)
    // Two attempts to authenticate are one too many.
    if (greedy.isClosed) return
    for (let turn = 0; turn < count; turn++) await nextTurn()
    expect(greedy.ids()).toEqual(Array.from({ length: count }, (_, id) => 1 + id))
  })

  test('anything at all before authentication', async () => {
    const stranger = new End(sessionHost({ authFile: authFileOf(await someUsers()) }))
    stranger.say(many(5000, Opcode.Ping))
    expect(stranger.ids().length).toBeLessThanOrEqual(64)
    for (let turn = 0; turn < 100; turn++) await nextTurn()
    expect(stranger.ids()).toHaveLength(5000)
  })

  test('are no more than a batch of ordinary ones: these are answered at once', () => {
    const busy = new End(hostWithValue())
    busy.say(many(1000, Opcode.Get, 'nothing'))
    expect(busy.ids()).toHaveLength(1000)
  })

  test.each(['arena', 'heap'] as const)('SCAN looks at 8192 records at the most, %s', async (store) => {
    const host = sessionHost({ store })
    const writer = new End(host)
    for (let from = 0; from < 10_000; from += 1000) {
      const entries = Array.from({ length: 1000 }, (_, n) => [`key ${from + n}`, 0, ''])
      writer.say(frame(Opcode.SetMany, 1, entries))
    }
    const reader = new End(host)
    const pages: unknown[][] = []
    for (let cursor: unknown = 0; pages.length === 0 || cursor !== 0; cursor = pages.at(-1)?.[2]) {
      reader.say(frame(Opcode.Scan, 1, cursor, 'none', 4096))
      while (reader.isPaused) await nextTurn()
      pages.push(decoded(payloads(Buffer.concat(reader.received)).at(-1) ?? Buffer.alloc(0)))
      expect(pages.length).toBeLessThan(10)
    }
    expect(pages.length).toBeGreaterThan(1)
    expect(pages.flatMap((page) => page[3])).toEqual([])
  })
})

describe('unsent replies of all connections', () => {
  test('those go first that nobody has taken for longest, not those of whoever came last', async () => {
    const host = hostWithValue({ unsentBytesMax: 2 * MIB, outputBytesMax: MIB })
    const deaf = Array.from({ length: 4 }, () => new End(host))
    for (const end of deaf) {
      end.isReading = false
      end.say(gets(3))
      await nextTurn()
    }
    expect(deaf.map(({ isClosed }) => isClosed)).toEqual([true, false, false, false])
    const honest = new End(host)
    honest.isReading = false
    honest.say(gets(3))
    expect(honest.isClosed).toBe(false)
    expect(deaf.map(({ isClosed }) => isClosed)).toEqual([true, true, false, false])
    expect(host.held.unsentBytes).toBeLessThanOrEqual(2 * MIB)
  })

  test('who has taken some of them goes after those who have not', async () => {
    const host = hostWithValue({ unsentBytesMax: 2 * MIB, outputBytesMax: MIB })
    const [slow, deaf, other] = [new End(host), new End(host), new End(host)]
    for (const end of [slow, deaf]) {
      end.isReading = false
      end.say(gets(4))
      for (let turns = 4; turns > 0; turns--) await nextTurn()
    }
    slow.session.check(host.nowMs)
    deaf.session.check(host.nowMs)
    slow.unsentBytes -= 100 * KIB
    slow.session.check(host.nowMs)
    other.isReading = false
    other.say(gets(4))
    for (let turns = 4; turns > 0; turns--) await nextTurn()
    expect(host.held.unsentBytes).toBeLessThanOrEqual(2 * MIB)
    expect([slow, deaf, other].map(({ isClosed }) => isClosed)).toEqual([false, true, false])
  })

  test('that were released are nobody’s', () => {
    const host = hostWithValue()
    const deaf = new End(host)
    deaf.isReading = false
    deaf.say(gets(1))
    expect(host.held.unsent.size).toBe(1)
    deaf.destroy()
    expect(host.held).toEqual({ partialBytes: 0, unsentBytes: 0, unsent: new Set() })
  })
})
