// Ways to spoil bytes, so that most of them stay as they were: what is wrong everywhere is refused at the first byte
// and reaches nothing. Between the generators, which know a grammar, and whoever gets the bytes; knows none itself.

import type { Random } from '../server/store/random.ts'

/** First bytes of every kind of MessagePack value, and of numbers at the edges. */
const EDGE_BYTES = [0x00, 0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xe0, 0xff] as const

/** Spoils a stream in one to four places. Returns new bytes. */
export function mutated(bytes: Buffer, random: Random): Buffer {
  let spoilt = bytes
  for (let left = 1 + random.below(4); left > 0; left--)
    spoilt = MUTATIONS[random.below(MUTATIONS.length)]?.(spoilt, random) ?? spoilt
  return spoilt
}

/** Cuts a stream into chunks as a network might, at any byte; none is empty. */
export function chunked(bytes: Buffer, random: Random): Buffer[] {
  if (bytes.length === 0) return []
  const chunks: Buffer[] = []
  const isFine = random.oneIn(20)
  let at = 0
  for (let left = isFine ? 20 : Math.max(0, random.below(6) - 2); left > 0 && at < bytes.length - 1; left--) {
    const length = isFine ? 1 + random.below(4) : 1 + random.below(bytes.length - at)
    chunks.push(bytes.subarray(at, at + length))
    at += length
  }
  if (at < bytes.length) chunks.push(bytes.subarray(at))
  return chunks
}

export function randomBytes(length: number, random: Random): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  for (let at = 0; at < length; at++) bytes[at] = random.below(256)
  return bytes
}

type Mutation = (bytes: Buffer, random: Random) => Buffer

const MUTATIONS: readonly Mutation[] = [
  (bytes, random) => changed(bytes, random, (byte) => byte ^ (1 << random.below(8))),
  (bytes, random) => changed(bytes, random, () => random.below(256)),
  (bytes, random) =>
    changed(bytes, random, () => (random.oneIn(2) ? 0xc0 + random.below(32) : random.pick(EDGE_BYTES))),
  // A frame's length, or a length within it.
  (bytes, random) => {
    const copy = Buffer.from(bytes)
    if (copy.length >= 4)
      copy.writeUInt32BE(
        random.pick([0, 1, 2, 0xffff, 0x7fff_ffff, 0xffff_ffff]),
        random.oneIn(2) ? 0 : random.below(copy.length - 3),
      )
    return copy
  },
  (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1)),
  (bytes, random) => spliced(bytes, random, NOTHING),
  (bytes, random) => spliced(bytes, random, randomBytes(1 + random.below(8), random)),
  // Some of its own bytes, elsewhere once more.
  (bytes, random) => {
    const at = random.below(bytes.length + 1)
    return spliced(bytes, random, bytes.subarray(at, at + 1 + random.below(20)))
  },
]

const NOTHING = Buffer.alloc(0)

function changed(bytes: Buffer, random: Random, change: (byte: number) => number): Buffer {
  const copy = Buffer.from(bytes)
  const at = random.below(Math.max(1, copy.length))
  const byte = copy[at]
  if (byte !== undefined) copy[at] = change(byte)
  return copy
}

/** Puts bytes in the place of others, of which there may be none. */
function spliced(bytes: Buffer, random: Random, insert: Buffer): Buffer {
  const at = random.below(bytes.length + 1)
  const dropped = random.oneIn(2) ? 0 : random.below(8)
  return Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + dropped)])
}
