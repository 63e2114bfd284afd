// One connection between servers by itself, over the in-memory transport: HELLO first and once, what is said before it,
// what cannot be understood, and an end that does not read.

import { setImmediate as afterDelivery } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../protocol/errors.ts'
import { PeerOpcode, Status } from '../../protocol/messages.ts'
import { memoryTransports, type Transport, type TransportEvents } from '../../protocol/transport.ts'
import { PeerConnection, type PeerConnectionEvents } from '../../server/peer-connection.ts'
import { Channel, type PeerHello } from '../../server/replication/peer-messages.ts'
import { decoded, frame, payloads } from '../helpers/frames.ts'
import { bootOf, bytesOf, World } from '../helpers/replicas.ts'

interface SetUp {
  connection: PeerConnection
  far: Transport
  heard: () => unknown[][]
  hellos: PeerHello[]
  messages: unknown[][]
  closed: string[]
  isFarClosed: () => boolean
}

function setUp(dialed?: string, events: Partial<PeerConnectionEvents> = {}): SetUp {
  const [near, far] = memoryTransports()
  const chunks: Buffer[] = []
  let isFarClosed = false
  far.open({
    onChunk: (chunk) => void chunks.push(Buffer.from(chunk)),
    onDrain() {},
    onClose: () => {
      isFarClosed = true
    },
  })
  const hellos: PeerHello[] = []
  const messages: unknown[][] = []
  const closed: string[] = []
  const connection = new PeerConnection(near, dialed === undefined ? undefined : Channel.Stream, dialed, {
    onReady: () => {},
    onHello: (_, hello) => void hellos.push(hello),
    onMessage: (_, bytes, at, end) => void messages.push(decoded(Buffer.from(bytes.subarray(at, end)))),
    onClosed: ({ why }) => void closed.push(why),
    now: () => 5,
    ...events,
  })
  connection.open()
  const heard = () => payloads(Buffer.concat(chunks)).map(decoded)
  return { connection, far, heard, hellos, messages, closed, isFarClosed: () => isFarClosed }
}

const HELLO = new World().add('b').helloFrom('b')
const helloFrame = frame(
  ...[PeerOpcode.Hello, 0, 1, 1, 0, 'default', 'b', '', bytesOf(bootOf('b')), Channel.Bulk],
  ...[1, 2, 0, null, 0, [], []],
)
const pingFrame = frame(PeerOpcode.Ping, 0, 1, 1, 0, bytesOf(bootOf('b')), 0, 1)

describe('a connection between servers', () => {
  test('says HELLO as it is told to, and reads that of the other end', async () => {
    const { connection, far, heard, hellos } = setUp('b:1')
    connection.sendHello(HELLO)
    far.write(helloFrame)
    await afterDelivery()
    expect(heard()[0]?.slice(0, 7)).toEqual([PeerOpcode.Hello, 0, 1, 1, 0, 'default', 'b'])
    expect(hellos.map(({ label, boot }) => [label, boot])).toEqual([['b', bootOf('b')]])
    expect(connection.hello).toBe(hellos[0])
    expect(connection.channel).toBe(Channel.Stream)
    expect(connection.isDialed).toBe(true)
  })

  test('that was accepted is for what its HELLO says', async () => {
    const { connection, far } = setUp()
    far.write(helloFrame)
    await afterDelivery()
    expect(connection.channel).toBe(Channel.Bulk)
    expect(connection.isDialed).toBe(false)
  })

  test('passes messages on, one by one, however they are cut', async () => {
    const { far, messages } = setUp()
    const bytes = Buffer.concat([helloFrame, pingFrame, pingFrame])
    for (let at = 0; at < bytes.length; at++) far.write(bytes.subarray(at, at + 1))
    await afterDelivery()
    expect(messages.map(([opcode]) => opcode)).toEqual([PeerOpcode.Ping, PeerOpcode.Ping])
  })

  test.each<[why: string, bytes: Buffer, message: RegExp]>([
    ['a message before HELLO', pingFrame, /HELLO is expected first/],
    ['HELLO twice', Buffer.concat([helloFrame, helloFrame]), /twice/],
    ['a HELLO that cannot be read', frame(PeerOpcode.Hello, 0, 1), /missing/],
    ['no frame at all', Buffer.from('GET / HTTP/1.1\r\n\r\n'), /./],
    ['more than a HELLO may have', Buffer.from([0, 8, 0, 0, 1]), /./],
  ])('is closed for %s', async (_, bytes, message) => {
    const { connection, far, closed, isFarClosed } = setUp()
    far.write(bytes)
    await afterDelivery()
    await afterDelivery()
    expect(connection.isClosed).toBe(true)
    expect(closed).toEqual([expect.stringMatching(message)])
    expect(isFarClosed()).toBe(true)
  })

  test('may hold large frames once HELLO was said, and not before', async () => {
    const { far, messages, connection } = setUp()
    far.write(helloFrame)
    far.write(frame(PeerOpcode.Batch, 0, Buffer.alloc(300_000)))
    await afterDelivery()
    expect(messages).toHaveLength(1)
    expect(connection.isClosed).toBe(false)
  })

  test('is closed for what whoever hears it cannot read; other errors are not swallowed', async () => {
    const broken = new ProtocolError(Status.BadOperand, 'no such thing')
    const { far, closed } = setUp(undefined, {
      onMessage: () => {
        throw broken
      },
    })
    far.write(Buffer.concat([helloFrame, pingFrame, pingFrame]))
    await afterDelivery()
    expect(closed).toEqual(['not understood: no such thing'])
    const own = setUp(undefined, {
      onMessage: () => {
        throw new Error('a bug')
      },
    })
    own.connection.take(helloFrame, 4, helloFrame.length)
    expect(() => own.connection.take(pingFrame, 4, pingFrame.length)).toThrow('a bug')
  })

  test('hears why it is refused, before HELLO and after', async () => {
    const before = setUp('b:1')
    before.far.write(frame(PeerOpcode.Refused, 0, 'label', 'there is one', 'b'))
    const after = setUp('b:1')
    after.far.write(Buffer.concat([helloFrame, frame(PeerOpcode.Bye, 0, 'closing', 'shutting down')]))
    await afterDelivery()
    expect(before.connection.refusedBy).toEqual({ code: 'label', text: 'there is one', label: 'b' })
    expect(before.closed).toEqual(['there is one'])
    expect(after.connection.refusedBy).toEqual({ code: 'closing', text: 'shutting down', label: undefined })
    expect(after.closed).toEqual(['shutting down'])
  })

  test('REFUSED after HELLO is a message like others: the link stays', async () => {
    const { far, messages, connection } = setUp()
    far.write(Buffer.concat([helloFrame, frame(PeerOpcode.Refused, 0, 'skew', 'you are ahead')]))
    await afterDelivery()
    expect(messages).toEqual([[PeerOpcode.Refused, 0, 'skew', 'you are ahead']])
    expect(connection.isClosed).toBe(false)
  })

  test('says why it goes: REFUSED before it heard a HELLO, BYE after', async () => {
    const before = setUp()
    before.connection.bye('label', 'there is one', 'a')
    const after = setUp()
    after.connection.take(helloFrame, 4, helloFrame.length)
    after.connection.bye('closing', 'shutting down')
    await afterDelivery()
    expect(before.heard()).toEqual([[PeerOpcode.Refused, 0, 'label', 'there is one', 'a']])
    expect(after.heard()).toEqual([[PeerOpcode.Bye, 0, 'closing', 'shutting down']])
    expect([before.closed, after.closed]).toEqual([['there is one'], ['shutting down']])
    expect(after.isFarClosed()).toBe(true)
  })

  test('is closed once, and then hears and says nothing', async () => {
    const { connection, far, heard, messages, closed } = setUp()
    connection.take(helloFrame, 4, helloFrame.length)
    connection.destroy('silence')
    connection.destroy('again')
    connection.closed('and again')
    connection.take(pingFrame, 4, pingFrame.length)
    connection.send(pingFrame)
    far.write(pingFrame)
    await afterDelivery()
    expect(closed).toEqual(['silence'])
    expect([heard(), messages]).toEqual([[], []])
  })

  test('that the other end closes says so', async () => {
    const { far, closed } = setUp()
    far.end()
    await afterDelivery()
    expect(closed).toEqual(['the connection was closed'])
  })

  test('is unanswered when that comes before HELLO, and refused when one end does not want the other', async () => {
    const silent = setUp('b:1')
    silent.far.end()
    await afterDelivery()
    expect([silent.connection.isUnanswered, silent.connection.isRefused]).toEqual([true, false])
    const unwanted = setUp('b:1')
    unwanted.far.write(helloFrame)
    await afterDelivery()
    unwanted.connection.refuse('certificate', 'it has none')
    expect(unwanted.closed).toEqual(['it has none'])
    expect([unwanted.connection.isUnanswered, unwanted.connection.isRefused]).toEqual([false, true])
  })

  test('notes when it was last heard: bytes are enough, a frame need not be whole', async () => {
    let nowMs = 5
    const { connection, far } = setUp(undefined, { now: () => nowMs })
    nowMs = 77
    far.write(helloFrame.subarray(0, 3))
    await afterDelivery()
    expect(connection.heardMs).toBe(77)
  })
})

describe('an end that does not read what it is sent', () => {
  /** Keeps everything. */
  class Clogged implements Transport {
    readonly remote = 'nowhere'
    unsentBytes = 0
    isDestroyed = false
    open(_: TransportEvents): void {}
    write(bytes: Uint8Array): boolean {
      this.unsentBytes += bytes.length
      return false
    }
    pause(): void {}
    resume(): void {}
    end(): void {}
    destroy(): void {
      this.isDestroyed = true
    }
  }

  test.each([
    ['small frames', 64 * 1024, 64 * 1024],
    ['a large one among them: others wait behind it', 64 * 1024, 80 * 1024 * 1024],
  ])('has 64 MiB and the largest frame pile up, and no more: %s', (_, usualBytes, firstBytes) => {
    const transport = new Clogged()
    const closed: string[] = []
    const connection = new PeerConnection(transport, undefined, undefined, {
      onReady() {},
      onHello() {},
      onMessage() {},
      onClosed: ({ why }) => void closed.push(why),
      now: () => 0,
    })
    connection.send(Buffer.alloc(firstBytes))
    const usual = Buffer.alloc(usualBytes)
    for (let sent = 0; sent < 64 * 1024 * 1024; sent += usualBytes) connection.send(usual)
    expect(closed).toEqual([])
    for (let more = 0; more < 3; more++) connection.send(usual)
    expect(closed).toEqual(['it does not read what it is sent'])
    expect(transport.isDestroyed).toBe(true)
    expect(transport.unsentBytes).toBeLessThanOrEqual(firstBytes + 64 * 1024 * 1024 + 2 * usualBytes)
  })
})
