// A byte stream, from either end's view: a socket (socket-transport.ts), or two ends joined in memory.
//
// Between sockets and whoever reads chunks and writes replies; knows nothing of frames. A write is taken whole or
// kept: `write` says which, so that the caller knows whether it may use the memory again.

/** What happens on a transport; set once, before anything can happen. */
export interface TransportEvents {
  /** Bytes arrived; they are lent until it returns. */
  onChunk(chunk: Uint8Array): void
  /** All that was kept has been sent. */
  onDrain(): void
  /** It is over; called exactly once. `error` is why, undefined after a regular end. */
  onClose(error: Error | undefined): void
}

export interface Transport {
  /** Who is at the other end, for logs and errors: `address:port` or `in memory`. */
  readonly remote: string
  /** Bytes kept because the other end does not take them. */
  readonly unsentBytes: number
  /** Begins delivery. */
  open(events: TransportEvents): void
  /**
   * Returns true if the bytes are gone and the memory is the caller's again; false if the transport keeps it. Then
   * `onReleased` is called when it does so no longer.
   */
  write(bytes: Uint8Array, onReleased?: () => void): boolean
  /** Stops and restarts the delivery of chunks; a few may still come after `pause`. */
  pause(): void
  resume(): void
  /** Sends what is kept, then closes. */
  end(): void
  /** Closes at once. */
  destroy(error?: Error): void
}

/** How much one end keeps for the other before `unsentBytes` is felt: nothing blocks below it. */
class MemoryTransport implements Transport {
  readonly remote = 'in memory'
  other: MemoryTransport | undefined
  #events: TransportEvents | undefined
  /** Chunks on their way to this end. */
  #inbox: Uint8Array[] = []
  #inboxBytes = 0
  #state: 'flowing' | 'paused' | 'ending' | 'closed' = 'flowing'
  #scheduled = false

  get unsentBytes(): number {
    return this.other?.inboxBytes ?? 0
  }

  get inboxBytes(): number {
    return this.#inboxBytes
  }

  open(events: TransportEvents): void {
    this.#events = events
    this.#schedule()
  }

  write(bytes: Uint8Array): boolean {
    if (this.#state === 'closed' || this.#state === 'ending') return true
    this.other?.accept(Buffer.from(bytes))
    return true
  }

  /** Takes a chunk, which nobody else will change. */
  accept(chunk: Uint8Array): void {
    if (this.#state === 'closed') return
    this.#inbox.push(chunk)
    this.#inboxBytes += chunk.length
    this.#schedule()
  }

  pause(): void {
    if (this.#state === 'flowing') this.#state = 'paused'
  }

  resume(): void {
    if (this.#state !== 'paused') return
    this.#state = 'flowing'
    this.#schedule()
  }

  end(): void {
    if (this.#state === 'closed' || this.#state === 'ending') return
    this.#state = 'ending'
    this.other?.endedByOther()
    this.#close(undefined)
  }

  destroy(error?: Error): void {
    this.other?.endedByOther()
    this.#close(error)
  }

  /** The other end is gone: what is on its way still arrives. */
  endedByOther(): void {
    if (this.#state === 'closed') return
    this.#state = 'ending'
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#events === undefined) return
    this.#scheduled = true
    queueMicrotask(() => this.#deliver())
  }

  #deliver(): void {
    this.#scheduled = false
    while (this.#inbox.length > 0 && (this.#state === 'flowing' || this.#state === 'ending')) {
      const chunk = this.#inbox.shift() as Uint8Array
      this.#inboxBytes -= chunk.length
      this.#events?.onChunk(chunk)
    }
    if (this.#inbox.length > 0) return
    this.other?.drained()
    // The other end may have said something more, and that this was all.
    if (this.#state === 'ending' && this.#inbox.length === 0) this.#close(undefined)
  }

  drained(): void {
    if (this.#state !== 'closed') this.#events?.onDrain()
  }

  #close(error: Error | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#inbox = []
    this.#inboxBytes = 0
    const events = this.#events
    if (events !== undefined) queueMicrotask(() => events.onClose(error))
  }
}

/** Two ends of a stream within this process; bytes are copied on their way, delivery is never synchronous. */
export function memoryTransports(): [Transport, Transport] {
  const one = new MemoryTransport()
  const two = new MemoryTransport()
  one.other = two
  two.other = one
  return [one, two]
}
