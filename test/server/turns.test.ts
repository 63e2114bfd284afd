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
      await nextTurn()
    }
    slow.session.check(host.nowMs)
    deaf.session.check(host.nowMs)
    slow.unsentBytes -= 100 * KIB
    slow.session.check(host.nowMs)
    other.isReading = false
    other.say(gets(4))
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
