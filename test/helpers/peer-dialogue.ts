// Two replicators that say to each other what two servers do when they meet, one of them takes a write, and the time for
// PING comes: every frame in order, the same bytes each time. No sockets, a clock that stands where it is put.

import { Condition } from '../../protocol/messages.ts'
import { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import { HybridClock } from '../../server/clock.ts'
import { Keyspace } from '../../server/keyspace.ts'
import { replicationDefaults } from '../../server/replication/defaults.ts'
import type { LinkState } from '../../server/replication/link-state.ts'
import { Channel, type PeerHello, readHello, writeHello } from '../../server/replication/peer-messages.ts'
import { Replicator } from '../../server/replication/replicator.ts'
import { HeapStore } from '../../server/store/heap-store.ts'

/** A frame: who says it, the server that dialed (`>`) or the other one, and its bytes. */
export interface Said {
  by: '>' | '<'
  bytes: Buffer
}

const WALL_MS = Date.UTC(2030, 0, 1)
const MONO_MS = 5000

class Side {
  readonly sent: Buffer[] = []
  readonly replicator: Replicator
  readonly keyspace: Keyspace
  link: LinkState | undefined

  constructor(label: string, boot: string, region: string, address: string) {
    const store = new HeapStore({ entriesMax: 100, bytesMax: 1 << 20, hashKey: Buffer.alloc(16, 1) })
    const clock = new HybridClock()
    this.replicator = new Replicator({
      store,
      clock,
      boot,
      label,
      cluster: 'default',
      region,
      options: replicationDefaults('wan', 1 << 20),
      effects: {
        send: (_, __, bytes) => void this.sent.push(Buffer.from(bytes)),
        unsentBytes: () => 0,
        random: () => 0.5,
        newBoot: () => 'ffffffffffffffff',
        onBoot: () => {},
        onMembers: () => {},
        event: () => {},
      },
    })
    this.replicator.address = address
    this.at(0)
    const { origins } = this.replicator.replica
    this.keyspace = new Keyspace(store, clock, origins, this.replicator, {
      defaultTtlMs: 0,
      renewOnHit: false,
    })
  }

  at(afterMs: number): void {
    this.replicator.at(WALL_MS + afterMs, MONO_MS + afterMs)
  }

  /** HELLO goes out on its own, ahead of any link. */
  hello(): Buffer {
    const writer = new Writer(1024)
    writeHello(writer, this.replicator.hello(Channel.Stream))
    return Buffer.from(writer.bytes.subarray(0, writer.at))
  }

  meet(frame: Buffer, dialed?: string): void {
    this.link = this.replicator.linkUp(helloIn(frame), dialed)
  }

  hear(frame: Buffer): void {
    if (this.link === undefined) throw new Error('there is no link yet')
    this.replicator.receive(this.link, frame, 4, frame.length)
  }

  set(key: string, value: string, ttlMs: number): void {
    const [keySpan, valueSpan] = [key, value].map((text) => {
      const bytes = Buffer.from(text)
      return { bytes, at: 0, length: bytes.length }
    })
    if (keySpan === undefined || valueSpan === undefined) throw new Error('two texts')
    this.keyspace.nowMs = this.replicator.replica.wallMs
    this.keyspace.set(keySpan, 1, valueSpan, ttlMs, Condition.None, {
      bytes: new Uint8Array(0),
      at: 0,
      length: 0,
    })
  }

  delete(key: string): void {
    const bytes = Buffer.from(key)
    this.keyspace.nowMs = this.replicator.replica.wallMs
    this.keyspace.delete({ bytes, at: 0, length: bytes.length })
  }
}

export function helloIn(frame: Buffer): PeerHello {
  const reader = new Reader()
  reader.open(frame, 4, frame.length)
  return readHello(reader)
}

/** Everything that is said, in order. */
export function peerDialogue(): Said[] {
  const said: Said[] = []
  const dialer = new Side('cache-1', '0102030405060708', 'eu', '10.0.0.1:11142')
  const other = new Side('cache-2', '1112131415161718', 'us', '10.0.0.2:11142')
  /** Carries what either has to say to the other, until both are silent. */
  const talk = () => {
    for (;;) {
      const [by, from, to] =
        other.sent.length > 0 ? (['<', other, dialer] as const) : (['>', dialer, other] as const)
      const bytes = from.sent.shift()
      if (bytes === undefined) return
      said.push({ by, bytes })
      to.hear(bytes)
    }
  }
  const opening = dialer.hello()
  said.push({ by: '>', bytes: opening })
  const answer = other.hello()
  said.push({ by: '<', bytes: answer })
  other.meet(opening)
  dialer.meet(answer, '10.0.0.2:11142')
  talk()
  dialer.set('greeting', 'hello', 60_000)
  dialer.delete('old')
  dialer.replicator.pump()
  talk()
  for (const side of [dialer, other]) side.at(1000)
  dialer.replicator.tick(100)
  talk()
  return said
}
