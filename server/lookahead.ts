// Looks at the keys of all requests of a chunk before the first of them is carried out.
//
// Between a session, which has a chunk, and the store. A look-up waits for memory four or five times (index, record,
// value, two neighbours in the LRU order), each time for the one before; many requests at once wait together. So the
// keys are found and hashed here, the store touches what they will need, and the hashes are kept for the handlers.
// Nothing here is checked, and nothing depends on it: a frame that is not quite as expected is passed over.
// Measured, GET | SET at depth 128 and 100 000 keys: see docs/performance.md.

import { FRAME_HEADER_BYTES, KEY_BYTES_MAX } from '../protocol/limits.ts'
import { Opcode } from '../protocol/messages.ts'
import type { Span, Store } from './store/store.ts'

/** Requests looked at; the rest of a chunk is carried out without. */
const REQUESTS_MAX = 256
/** The shortest request with a key: length, array, opcode, id, a key of one byte. */
const REQUEST_BYTES_MIN = FRAME_HEADER_BYTES + 5

export class Lookahead {
  readonly #store: Store
  readonly #hashes = new Int32Array(REQUESTS_MAX)
  readonly #keysAt = new Int32Array(REQUESTS_MAX)
  readonly #key: Span = { bytes: new Uint8Array(0), view: undefined, at: 0, length: 0 }
  #count = 0
  #next = 0

  constructor(store: Store) {
    this.#store = store
  }

  /** Looks at a chunk that begins with a frame; forgets the one before. */
  look(bytes: Uint8Array, view: DataView, length: number): void {
    this.#count = 0
    this.#next = 0
    // A single request has nobody to wait with.
    if (length < 2 * REQUEST_BYTES_MIN || view.getUint32(0) > length - 2 * FRAME_HEADER_BYTES) return
    const key = this.#key
    key.bytes = bytes
    key.view = view
    let at = 0
    let count = 0
    while (length - at >= REQUEST_BYTES_MIN && count < REQUESTS_MAX) {
      const end = at + FRAME_HEADER_BYTES + view.getUint32(at)
      if (end > length) break
      if (findKey(bytes, at + FRAME_HEADER_BYTES, key) && key.at + key.length <= end) {
        this.#hashes[count] = this.#store.hash(key)
        this.#keysAt[count++] = key.at
      }
      at = end
    }
    this.#count = count
    if (count > 1) this.#store.warm(this.#hashes, count)
  }

  /** Forgets: what comes next is not in a chunk that was looked at. */
  forget(): void {
    this.#count = 0
  }

  /** The hash of a key, computed ahead if it was looked at. */
  hash(key: Span): number {
    let next = this.#next
    if (key.bytes === this.#key.bytes) {
      while (next < this.#count && (this.#keysAt[next] as number) < key.at) next++
      if (next < this.#count && this.#keysAt[next] === key.at) {
        this.#next = next + 1
        return this.#hashes[next] as number
      }
    }
    return this.#store.hash(key)
  }
}

/** Where the key of a single-key request lies, in the usual encodings; false for anything else. */
function findKey(bytes: Uint8Array, at: number, key: Span): boolean {
  const opcode = bytes[at + 1] as number
  if (opcode < Opcode.Get || opcode > Opcode.Decrement) return false
  if (opcode >= Opcode.GetMany && opcode <= Opcode.DeleteMany) return false
  const id = bytes[at + 2] as number
  const keyAt = at + 2 + (id < 0x80 ? 1 : id === 0xce ? 5 : id === 0xcd ? 3 : 2)
  const head = bytes[keyAt] as number
  if (head > 0xa0 && head <= 0xbf) {
    key.at = keyAt + 1
    key.length = head & 31
    return true
  }
  if (head !== 0xd9 && head !== 0xc4) return false
  key.at = keyAt + 2
  key.length = bytes[keyAt + 1] as number
  return key.length > 0 && key.length <= KEY_BYTES_MAX
}
