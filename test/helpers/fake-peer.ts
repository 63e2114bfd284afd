// Another server as a test writes it by hand: it says what it is told to, through msgpackr instead of our own writer,
// and keeps what the real one answers. `extra` goes to the end of every message, as a later version might append.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { FrameReader } from '../../protocol/frame.ts'
import { PeerOpcode } from '../../protocol/messages.ts'
import { hlcOfWall } from '../../server/clock.ts'
import { decoded, frame } from './frames.ts'

export const STREAM = 0
export const BULK = 1

export interface FakeHello {
  versions?: readonly [min: number, max: number]
  cluster?: string
  label?: string
  boot?: Buffer
  channel?: typeof STREAM | typeof BULK
  hlc?: number
  watermark?: number
  address?: string | null
}

/** [kind, key, hlc, flags, expiresAtMs, lifetimeMs, value]; kind 0 is a value, flags 1 say that it is text. */
export type FakeRecord = readonly [number, string, number, number, number, number, Buffer]

export class FakePeer {
  readonly boot: Buffer
  readonly label: string
  /** Every message that came, decoded. */
  readonly heard: unknown[][] = []
  readonly extra: readonly unknown[]
  isClosed = false
  readonly #socket: Socket
  #changed: () => void = () => {}

  static async dial(
    port: number,
    options: { label?: string; boot?: Buffer; extra?: readonly unknown[] } = {},
  ): Promise<FakePeer> {
    const { label = 'fake', boot = randomBytes(8), extra = [] } = options
    const socket = connect({ host: '127.0.0.1', port })
    await once(socket, 'connect')
    return new FakePeer(socket, label, boot, extra)
  }

  constructor(socket: Socket, label: string, boot: Buffer, extra: readonly unknown[]) {
    this.#socket = socket
    this.label = label
    this.boot = boot
    this.extra = extra
    const frames = new FrameReader(64 * 1024 * 1024, (bytes, at, end) => {
      this.heard.push(decoded(Buffer.from(bytes.subarray(at, end))))
      this.#changed()
      return true
    })
    socket.on('data', (chunk) => frames.push(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.isClosed = true
      this.#changed()
    })
    onTestFinished(() => void socket.destroy())
  }

  /** As a client would. */
  request(opcode: number, id: number, ...operands: readonly unknown[]): void {
    this.#socket.write(frame(opcode, id, ...operands))
  }

  say(opcode: number, ...operands: readonly unknown[]): void {
    this.#socket.write(frame(opcode, 0, ...operands, ...this.extra))
  }

  hello(hello: FakeHello = {}): void {
    const { versions = [1, 1], cluster = 'default', channel = STREAM, address = null } = hello
    const nowMs = Date.now()
    const { hlc = hlcOfWall(nowMs), watermark = 0, boot = this.boot, label = this.label } = hello
    const who = [cluster, label, 'elsewhere', boot, channel]
    this.say(PeerOpcode.Hello, ...versions, 0, ...who, nowMs, hlc, watermark, address, 0, [], [])
  }

  /** Asks for what the other end writes, from the beginning on; its HELLO must have come. */
  async follow(): Promise<void> {
    const hello = await this.hears(PeerOpcode.Hello)
    this.say(PeerOpcode.Rewind, hello[8], 0)
  }

  batch(fromSeq: number, toSeq: number, hlc: number, records: readonly FakeRecord[], watermark = 0): void {
    // A record may grow as well.
    const grown = records.map((record) =>
      this.extra.length === 0 ? record : [...record, this.boot, ...this.extra],
    )
    this.say(PeerOpcode.Batch, this.boot, fromSeq, toSeq, hlc, watermark, grown)
  }

  ping(vector: readonly unknown[] = []): void {
    const nowMs = Date.now()
    this.say(PeerOpcode.Ping, nowMs, hlcOfWall(nowMs), 0, this.boot, 0, 1, vector, [], [])
  }

  /** The first message with this opcode that fits, once it has come; fails if the connection closes before. */
  async hears(opcode: number, fits: (message: unknown[]) => boolean = () => true): Promise<unknown[]> {
    const [message] = await this.hearsAll(1, opcode, fits)
    return message ?? []
  }

  /** As many of them, in the order they came. */
  async hearsAll(
    count: number,
    opcode: number,
    fits: (message: unknown[]) => boolean = () => true,
  ): Promise<unknown[][]> {
    for (;;) {
      const found = this.heard.filter((message) => message[0] === opcode && fits(message))
      if (found.length >= count) return found
      if (this.isClosed) throw new Error(`closed before message ${opcode}: ${JSON.stringify(this.heard)}`)
      await this.#change()
    }
  }

  /** Resolves when it is closed, by the other end or by the network. */
  async closed(): Promise<void> {
    while (!this.isClosed) await this.#change()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve
    })
  }

  end(): void {
    this.#socket.destroy()
  }
}
