// However TCP cuts what a server says, a client hears the same: the replies to a conversation over all commands, and those
// by which a server lets it in, cut at every byte.

import { beforeAll, describe, expect, test } from 'vitest'
import { LINK_REQUEST_ID, Link } from '../../protocol/link.ts'
import { Capability, Opcode, Status } from '../../protocol/messages.ts'
import { deriveScramKeys, SCRAM_ITERATIONS_MIN, type ScramKeys, ScramServer } from '../../protocol/scram.ts'
import { memoryTransports } from '../../protocol/transport.ts'
import { Session } from '../../server/session.ts'
import { Wire } from '../fuzz/wire.ts'
import { CONVERSATION } from '../helpers/conversation.ts'
import { frame } from '../helpers/frames.ts'
import { FOREVER_MS, greeting, linkOf } from '../helpers/link.ts'
import { sessionHost } from '../helpers/session-host.ts'

const GOODBYE = frame(Status.ShuttingDown, 0, 'the server is shutting down')
const LAST_WORD = frame(Status.Malformed, 0, 'not a frame')

/** What a server answers to the conversation, without its HELLO, which is the link's own. */
async function replies(): Promise<Buffer> {
  const host = sessionHost({ maxMemoryBytes: 1024 * 1024 })
  const [ours, theirs] = memoryTransports()
  new Session(theirs, host)
  const received: Buffer[] = []
  await new Promise<void>((resolve) => {
    ours.open({
      onChunk: (chunk) => received.push(Buffer.from(chunk)),
      onDrain: () => {},
      onClose: () => resolve(),
    })
    ours.write(Buffer.concat(CONVERSATION.slice(1).map((elements) => frame(...elements))))
  })
  return Buffer.concat(received)
}

/** All that a link tells its owner of these chunks; of replies everything that is in them. */
function told(chunks: readonly Buffer[]): string[] {
  const events: string[] = []
  const wire = new Wire('splits')
  const link = new Link(
    {
      dial: (onTransport) => {
        onTransport(wire)
        return () => {}
      },
      server: () => 'a-server',
      clientName: 'splits',
      connectTimeoutMs: FOREVER_MS,
      heartbeatMs: FOREVER_MS,
      reconnect: { minMs: FOREVER_MS, maxMs: FOREVER_MS },
      random: () => 1,
    },
    {
      onReady: ({ nodeId, frameBytesMax }) => events.push(`ready ${nodeId} ${frameBytesMax}`),
      onReply: ({ head, id, bytes, at, end }) =>
        events.push(`reply ${head} ${id} ${Buffer.from(bytes.subarray(at, end)).toString('hex')}`),
      onChunkEnd: () => {},
      onServerDraining: () => {
        if (!events.includes('draining')) events.push('draining')
      },
      onLost: ({ message }) => events.push(message),
    },
  )
  link.open()
  for (const chunk of chunks) wire.say(chunk)
  link.destroy()
  return events
}

describe('replies', () => {
  let stream: Buffer
  let expected: string[]

  beforeAll(async () => {
    stream = Buffer.concat([greeting(0), await replies(), GOODBYE, LAST_WORD])
    expected = told([stream])
  })

  test('in one piece reach the owner of the link, each with its id', () => {
    const ids = expected.filter((event) => event.startsWith('reply')).map((event) => event.split(' ')[2])
    expect(ids).toEqual(CONVERSATION.slice(1).map(([, id]) => `${id}`))
    expect(expected.at(-1)).toMatch(/the server closes with status 16: not a frame/)
  })

  test('in two pieces, at every byte', () => {
    for (let cut = 1; cut < stream.length; cut++) {
      const events = told([stream.subarray(0, cut), stream.subarray(cut)])
      // That it goes away is told when the chunk is done: behind it, or not at all if that is the end.
      expect(events.filter((event) => event !== 'draining').join('\n'), `cut at ${cut}`).toBe(
        expected.join('\n'),
      )
    }
  })

  test.each([1, 2, 3, 5, 7, 64])('in pieces of %i bytes', (bytes) => {
    const chunks: Buffer[] = []
    for (let at = 0; at < stream.length; at += bytes) chunks.push(stream.subarray(at, at + bytes))
    expect(told(chunks).filter((event) => event !== 'draining')).toEqual(expected)
  })
})

describe('what lets a client in', () => {
  const credentials = async () => ({ username: 'ann', password: 'of the link that is cut' })
  let keys: ScramKeys

  beforeAll(async () => {
    keys = await deriveScramKeys('of the link that is cut', Buffer.alloc(16, 9), SCRAM_ITERATIONS_MIN)
  })

  /** A link that is let in by replies of which each is cut at these bytes; how long they were. */
  async function letIn(cuts: readonly [hello: number, first: number, final: number]): Promise<number[]> {
    const { link, attempt, until, told: events } = linkOf({ credentials })
    link.open()
    const { connection } = (await attempt(0)).succeed()
    const scram = new ScramServer(() => keys)
    const lengths: number[] = []
    const say = async (reply: Buffer, cut: number) => {
      lengths.push(reply.length)
      connection.send(reply.subarray(0, cut))
      await new Promise((resolve) => setImmediate(resolve))
      connection.send(reply.subarray(cut))
    }
    expect((await connection.reply())[0]).toBe(Opcode.Hello)
    await say(greeting(Capability.Authentication), cuts[0])
    await say(frame(Status.Ok, LINK_REQUEST_ID, scram.first(messageIn(await connection.reply()))), cuts[1])
    const { serverFinal } = scram.final(messageIn(await connection.reply()))
    await say(frame(Status.Ok, LINK_REQUEST_ID, serverFinal, 'writer'), cuts[2])
    await until(() => events.length > 0)
    expect(events, `cut at ${cuts}`).toEqual(['ready'])
    link.destroy()
    return lengths
  }

  test('in two pieces, at every byte', async () => {
    const lengths = await letIn([1, 1, 1])
    const at = (cut: number, length = 0) => 1 + (cut % (length - 1))
    for (let cut = 1; cut < Math.max(...lengths) - 1; cut++)
      await letIn([at(cut, lengths[0]), at(cut, lengths[1]), at(cut, lengths[2])])
  })
})

function messageIn(request: readonly unknown[]): Buffer {
  const message = request.at(-1)
  if (Buffer.isBuffer(message)) return message
  throw new Error(`no message: ${String(message)}`)
}
