// The one buffer that sockets read into, instead of a new one for every read.
//
// Between sockets and whoever looks at a chunk before the next is read: whatever must outlast the callback is copied
// there. Saves Node an allocation of 64 KiB per read and the garbage that follows: see docs/performance.md.

import { viewOf } from './writer.ts'

/** What is read from a socket at a time, in bytes: as much as Node would. */
export const READ_BUFFER_BYTES = 64 * 1024
/** Views of so many lengths are kept: about 80 bytes each, made as they are needed. */
const HEADS = 1024

export class ReadBuffer {
  readonly bytes = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  readonly view = viewOf(this.bytes)
  readonly #heads: (Buffer | undefined)[] = new Array(HEADS).fill(undefined)

  /** The first `length` bytes: a view, kept for short ones, since making one costs as much as a short request. */
  head(length: number): Buffer {
    if (length >= HEADS) return this.bytes.subarray(0, length)
    const known = this.#heads[length]
    if (known !== undefined) return known
    const head = this.bytes.subarray(0, length)
    this.#heads[length] = head
    return head
  }
}
