// The attacks, each as what one of its connections does. Who keeps so many of them going is crowd.ts and visits.ts.

import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { encodeFrame } from '../../bin/load-frames.ts'
import { Opcode, ValueFlags } from '../../protocol/messages.ts'
import type { Chance } from '../simulation/chance.ts'
import { Crowd } from './crowd.ts'
import type { Dialer } from './dialer.ts'
import { garbage } from './garbage.ts'
import type { AttackName } from './plan.ts'
import { LARGE_VALUES, largeKey } from './values.ts'
import { type Visit, Visits } from './visits.ts'

export interface Attack {
  /** Connections of it now. */
  readonly open: number
  /** What has happened so far, for the table. */
  counts(): Record<string, number>
  stop(): void
}

/** What an attack is made of; `amount`: connections, or connections a second. */
export interface Means {
  amount: number
  dialer: Dialer
  chance: Chance
}

const PING = encodeFrame(Opcode.Ping, [])
const GET = encodeFrame(Opcode.Get, [largeKey(0)])
/** Each idle connection says something about once in this time. */
const IDLE_ROUND_MS = 20_000
const IDLE_PER_SECOND = 2000
const SLOW_PER_SECOND = 1000
const SLOW_FRAME = encodeFrame(Opcode.Set, ['slow', ValueFlags.Raw, Buffer.alloc(10_000)])
/** Each costs the server some MB at once: on loopback the kernel takes 4 of them, over a network a tenth of one. */
const DEAF_PER_SECOND = 100
/** Requests written together: several times what a server keeps unsent for a connection. */
const DEAF_PIPELINE = Buffer.concat(
  Array.from({ length: 100 }, (_, number) => encodeFrame(Opcode.Get, [largeKey(number % LARGE_VALUES)])),
)
/** What nobody takes is not written twice. */
const DEAF_UNSENT_MAX = 64 * 1024
/** Of 20 that come and go, so many reset instead: at once, or having asked. */
const RESETS_AT_ONCE = 2
const RESETS_ASKED = 3
/** Of those that talk nonsense, pieces at most. */
const GARBAGE_PIECES_MAX = 3

export const ATTACKERS: Readonly<Record<AttackName, (means: Means) => Attack>> = {
  idle: ({ amount, dialer }) =>
    ofCrowd(
      new Crowd(amount, IDLE_PER_SECOND, dialer, {
        greet: (socket) => socket.write(PING),
        again: (socket) => socket.write(PING),
        roundMs: IDLE_ROUND_MS,
      }),
    ),
  slow: ({ amount, dialer }) => {
    const sent = new WeakMap<Socket, number>()
    const sendByte = (socket: Socket) => {
      const at = sent.get(socket) ?? 0
      socket.write(SLOW_FRAME.subarray(at, at + 1))
      sent.set(socket, (at + 1) % SLOW_FRAME.length)
    }
    return ofCrowd(new Crowd(amount, SLOW_PER_SECOND, dialer, { greet: sendByte, again: sendByte }))
  },
  deaf: ({ amount, dialer }) => {
    // Writing is also how whoever does not read learns that it was cut.
    const ask = (socket: Socket) => {
      if (socket.writableLength < DEAF_UNSENT_MAX) socket.write(DEAF_PIPELINE)
    }
    return ofCrowd(new Crowd(amount, DEAF_PER_SECOND, dialer, { greet: ask, again: ask, isDeaf: true }))
  },
  churn: ({ amount, dialer, chance }) => ofVisits(new Visits(amount, dialer, () => churning(chance))),
  malformed: ({ amount, dialer, chance }) =>
    ofVisits(
      new Visits(amount, dialer, () => (socket) => {
        // Waits to be closed, or for its time to be over.
        socket.resume()
        for (let left = 1 + chance.below(GARBAGE_PIECES_MAX); left > 0; left--) socket.write(garbage(chance))
      }),
    ),
}

function churning(chance: Chance): Visit {
  const kind = chance.below(20)
  if (kind < RESETS_AT_ONCE) return reset
  if (kind < RESETS_AT_ONCE + RESETS_ASKED) return (socket) => socket.write(GET, () => reset(socket))
  return (socket) => {
    socket.once('data', () => socket.end())
    socket.write(PING)
  }
}

/** Node cannot reset a connection with TLS: that closes with the reply unread, which comes to the same. */
function reset(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy()
  else socket.resetAndDestroy()
}

function ofCrowd(crowd: Crowd): Attack {
  return {
    get open() {
      return crowd.open
    },
    counts: () => ({ opened: crowd.opened, cut: crowd.cut, failed: crowd.failed }),
    stop: () => crowd.stop(),
  }
}

function ofVisits(visits: Visits): Attack {
  return {
    get open() {
      return visits.open
    },
    counts: () => ({ connected: visits.connected, failed: visits.failed, skipped: visits.skipped }),
    stop: () => visits.stop(),
  }
}
