// Digests of an anti-entropy round: each record is put into a leaf by the hash of its key, and a leaf's digest is the
// XOR of a hash over (key, version) of all records in it. Two sets of records are equal leaf by leaf if their digests are.
//
// The hash is HalfSipHash, keyed with the round's nonce: nobody can choose keys that cancel each other out, and what
// collides once does not collide in the next round. A ghost has its value's version, so an eviction makes no difference.

import { KEY_BYTES_MAX } from '../../protocol/limits.ts'
import { KeyedHash } from '../store/siphash.ts'
import { emptyHead, type RecordHead, RecordKind, type Slot } from '../store/store.ts'
import type { Replica } from './replica.ts'

/** Key and version, as they are hashed: hlc 8, origin 8, kind 1 go before the key. */
const VERSION_PART_BYTES = 17

export class RoundDigest {
  readonly leafBits: number
  /** Of the record that `look` was last called with. */
  readonly head: RecordHead = emptyHead()
  leaf = 0
  /** 53 bits of the key's hash. */
  hash = 0
  readonly #replica: Replica
  readonly #first: KeyedHash
  readonly #second: KeyedHash
  readonly #bytes = new Uint8Array(VERSION_PART_BYTES + KEY_BYTES_MAX)
  readonly #view = new DataView(this.#bytes.buffer)
  readonly #digests: Int32Array
  #isEmpty = true

  constructor(replica: Replica, nonce: Uint8Array, leafBits: number) {
    this.#replica = replica
    this.leafBits = leafBits
    this.#first = new KeyedHash(nonce.subarray(0, 8))
    this.#second = new KeyedHash(nonce.subarray(8, 16))
    this.#digests = new Int32Array(2 << leafBits)
  }

  /** Two words a leaf; undefined when no record was added. */
  get digests(): Int32Array | undefined {
    return this.#isEmpty ? undefined : this.#digests
  }

  /** Reads a record's head and finds its leaf and hash. */
  look(slot: Slot): void {
    const { store } = this.#replica
    store.head(slot, this.head)
    const { keyBytes } = this.head
    store.copyKey(slot, this.#bytes, VERSION_PART_BYTES)
    const high = this.#first.hash(this.#bytes, VERSION_PART_BYTES, keyBytes) >>> 0
    const low = this.#second.hash(this.#bytes, VERSION_PART_BYTES, keyBytes) >>> 0
    this.leaf = this.leafBits === 0 ? 0 : high >>> (32 - this.leafBits)
    this.hash = high * 2 ** 21 + (low >>> 11)
  }

  /** Adds the record that was looked at. */
  add(): void {
    const { origins } = this.#replica
    const { hlc, origin, kind, keyBytes } = this.head
    const view = this.#view
    view.setFloat64(0, hlc)
    view.setInt32(8, origins.highWord(origin))
    view.setInt32(12, origins.lowWord(origin))
    view.setUint8(16, kind === RecordKind.Tombstone ? 1 : 0)
    const length = VERSION_PART_BYTES + keyBytes
    const at = this.leaf * 2
    const digests = this.#digests
    digests[at] = (digests[at] as number) ^ this.#first.hash(this.#bytes, 0, length)
    digests[at + 1] = (digests[at + 1] as number) ^ this.#second.hash(this.#bytes, 0, length)
    this.#isEmpty = false
  }

  /** Leaves whose digests differ from the other end's. */
  differing(theirs: Int32Array | undefined): number[] {
    const leaves: number[] = []
    for (let leaf = 0; leaf < 1 << this.leafBits; leaf++) {
      const at = leaf * 2
      const same =
        this.#digests[at] === (theirs?.[at] ?? 0) && this.#digests[at + 1] === (theirs?.[at + 1] ?? 0)
      if (!same) leaves.push(leaf)
    }
    return leaves
  }
}
