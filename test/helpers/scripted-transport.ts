// A transport for sessions without a network: what its other end says, and takes, is in the hands of the test.

import type { Transport, TransportEvents } from '../../protocol/transport.ts'

export class ScriptedTransport implements Transport {
  readonly remote = '10.0.0.9:7'
  /** As long as it is so, everything written is gone at once. */
  isReading = true
  isPaused = false
  isClosed = false
  /** Closed by `end`: with what is unsent still to be sent. */
  isEnded = false
  unsentBytes = 0
  /** Copies of what was written while the other end read. */
  readonly received: Buffer[] = []
  receivedBytes = 0
  /** The very bytes that were written while it did not, until they are drained. */
  readonly kept: Uint8Array[] = []
  #events: TransportEvents | undefined

  open(events: TransportEvents): void {
    this.#events = events
  }

  write(bytes: Uint8Array): boolean {
    if (this.isReading) {
      this.received.push(Buffer.from(bytes))
      this.receivedBytes += bytes.length
    } else {
      this.kept.push(bytes)
      this.unsentBytes += bytes.length
    }
    return this.isReading
  }

  say(...chunks: Uint8Array[]): void {
    for (const chunk of chunks) this.#events?.onChunk(chunk)
  }

  /** The other end takes some of what is unsent. */
  take(bytes: number): void {
    this.unsentBytes -= Math.min(bytes, this.unsentBytes)
    if (this.unsentBytes === 0) this.#events?.onDrain()
  }

  /** It takes all of it: what that was. */
  drain(): Buffer {
    const taken = Buffer.concat(this.kept.splice(0))
    this.take(this.unsentBytes)
    return taken
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  end(): void {
    this.isEnded ||= !this.isClosed
    this.destroy()
  }

  destroy(error?: Error): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#events?.onClose(error)
  }
}
