// Who speaks something else than frames to the port is told by its first bytes, and gets an answer in its language.
// Between a session, which finds that they are no frame, and nobody.

import { FRAME_HEADER_BYTES } from '../protocol/limits.ts'

/** How a line of text begins, and no frame within the limits. */
const TEXT = /^[\r\n\x20-\x7e]{4}/
const TEXT_REFUSAL = Buffer.from('binary protocol; use cache-shell\r\n')
/** How a TLS handshake begins: nothing we could say would be understood. */
const TLS_HANDSHAKE = '\x16\x03'
const NOTHING = Buffer.alloc(0)

export class FirstBytes {
  #bytes = ''

  /** Takes a chunk, which is lent; as many as come before the first frame. */
  note(chunk: Uint8Array): void {
    if (this.#bytes.length < FRAME_HEADER_BYTES)
      this.#bytes += Buffer.from(chunk.subarray(0, FRAME_HEADER_BYTES)).toString('latin1')
  }

  /** What to say to whoever began so; undefined: that it was no frame. */
  get refusal(): Buffer | undefined {
    if (TEXT.test(this.#bytes)) return TEXT_REFUSAL
    return this.#bytes.startsWith(TLS_HANDSHAKE) ? NOTHING : undefined
  }
}
