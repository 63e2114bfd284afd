// A link over the in-memory transport whose attempts to connect, and whose waits, are in the hands of the test. The
// server's end is a raw connection: what a test does not send, nobody sends. Ended when the test ends.

import { onTestFinished } from 'vitest'
import type { CacheError } from '../../protocol/errors.ts'
import { type Dial, LINK_REQUEST_ID, Link, type LinkOptions, type ServerHello } from '../../protocol/link.ts'
import { Status } from '../../protocol/messages.ts'
import { memoryTransports, type Transport } from '../../protocol/transport.ts'
import { frame } from './frames.ts'
import { Connection } from './server.ts'

export const FOREVER_MS = 1_000_000
const LIMITS = [1000, 66_536]
const WHO = ['1.2.3', 'node', Buffer.alloc(8), 'here', 'c']

/** What HELLO is answered with, by a server with these capabilities. */
export function greeting(capabilities: number): Buffer {
  return frame(Status.Ok, LINK_REQUEST_ID, 1, capabilities, ...WHO, ...LIMITS)
}

export interface Attempt {
  succeed(): { connection: Connection; transport: Transport }
  fail(message: string): void
  givenUp: boolean
}

export function linkOf(options: Partial<LinkOptions> = {}) {
  const attempts: Attempt[] = []
  const told: string[] = []
  const errors: CacheError[] = []
  const hellos: ServerHello[] = []
  let changed = () => {}
  const tell = (what: string) => {
    told.push(what)
    changed()
  }
  const dial: Dial = (onTransport, onFailure) => {
    const attempt: Attempt = {
      succeed() {
        const [ours, theirs] = memoryTransports()
        const connection = new Connection(theirs)
        onTransport(ours)
        return { connection, transport: ours }
      },
      fail: (message) => onFailure(new Error(message)),
      givenUp: false,
    }
    attempts.push(attempt)
    changed()
    return () => {
      attempt.givenUp = true
    }
  }
  const link = new Link(
    {
      dial,
      server: () => 'a-server',
      clientName: 'a test',
      connectTimeoutMs: FOREVER_MS,
      heartbeatMs: FOREVER_MS,
      reconnect: { minMs: 1, maxMs: 4 },
      random: () => 0.5,
      ...options,
    },
    {
      onReady(hello) {
        hellos.push(hello)
        tell('ready')
      },
      onReply: (reply) => tell(`reply ${reply.head} ${reply.id}`),
      onChunkEnd: () => {},
      onServerDraining: () => tell('draining'),
      onLost(error) {
        errors.push(error)
        tell('lost')
      },
    },
  )
  onTestFinished(() => link.destroy())
  const until = async (condition: () => boolean) => {
    while (!condition())
      await new Promise<void>((resolve) => {
        changed = resolve
      })
  }
  return {
    link,
    told,
    errors,
    hellos,
    attempt: async (index: number): Promise<Attempt> => {
      await until(() => attempts.length > index)
      const found = attempts[index]
      if (found === undefined) throw new Error('no attempt')
      return found
    },
    attempts,
    until,
  }
}
