// A tap on a transport: passes everything on unchanged, and shows each frame to whoever listens. Between a Dial and the
// Link that uses it; neither knows. Bytes that are no frames are shown as they are.

import { ProtocolError } from '../protocol/errors.ts'
import { FrameReader } from '../protocol/frame.ts'
import { FRAME_HEADER_BYTES, FRAME_OVERHEAD_BYTES_MAX, VALUE_BYTES_MAX_CEILING } from '../protocol/limits.ts'
import type { Dial } from '../protocol/link.ts'
import type { Transport, TransportEvents } from '../protocol/transport.ts'

export type Direction = 'sent' | 'received'

export interface Tap {
  /** A frame, its length included; the bytes are lent until it returns. */
  onFrame(direction: Direction, frame: Uint8Array): void
  /** Bytes that are not, or not yet, a frame. */
  onOther(direction: Direction, bytes: Uint8Array): void
}

/** The same ways to reach a server, with a tap on each transport. */
export function tapped(dial: Dial, tap: Tap): Dial {
  return (onTransport, onFailure) =>
    dial((transport) => onTransport(new TappedTransport(transport, tap)), onFailure)
}

const FRAME_BYTES_MAX = VALUE_BYTES_MAX_CEILING + FRAME_OVERHEAD_BYTES_MAX

class TappedTransport implements Transport {
  readonly #transport: Transport
  readonly #tap: Tap

  constructor(transport: Transport, tap: Tap) {
    this.#transport = transport
    this.#tap = tap
  }

  get remote(): string {
    return this.#transport.remote
  }

  get unsentBytes(): number {
    return this.#transport.unsentBytes
  }

  open(events: TransportEvents): void {
    const received = this.#frames('received')
    let isOurs = true
    this.#transport.open({
      ...events,
      onChunk: (chunk) => {
        if (isOurs) isOurs = this.#show(received, 'received', chunk)
        events.onChunk(chunk)
      },
    })
  }

  /** Whole frames, unless somebody sends something else on purpose. */
  write(bytes: Uint8Array): boolean {
    const sent = this.#frames('sent')
    if (this.#show(sent, 'sent', bytes) && sent.isMidFrame) this.#tap.onOther('sent', bytes)
    return this.#transport.write(bytes)
  }

  pause(): void {
    this.#transport.pause()
  }

  resume(): void {
    this.#transport.resume()
  }

  end(): void {
    this.#transport.end()
  }

  destroy(error?: Error): void {
    this.#transport.destroy(error)
  }

  #frames(direction: Direction): FrameReader {
    return new FrameReader(FRAME_BYTES_MAX, (bytes, at, end) => {
      this.#tap.onFrame(direction, bytes.subarray(at - FRAME_HEADER_BYTES, end))
      return true
    })
  }

  /** False if these are no frames: there is no finding back. */
  #show(frames: FrameReader, direction: Direction, bytes: Uint8Array): boolean {
    try {
      frames.push(bytes)
      return true
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#tap.onOther(direction, bytes)
      return false
    }
  }
}
