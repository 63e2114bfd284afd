// Values of every kind as bytes, made once: to make a random value costs ten times as much as to spoil one.

import { encodeValue } from '../../protocol/value.ts'
import { randomPlainValue, randomValue } from '../helpers/random-value.ts'
import { type Random, randomFrom } from '../server/store/random.ts'

const VALUES = 2000
const BYTES_MAX = 2000

interface Encoded {
  flags: number
  bytes: Buffer
}

/** Bytes that are shared: they are not to be changed. */
export function encodedValue(random: Random): Encoded {
  values ??= Array.from({ length: VALUES }, (_, seed) => made(randomFrom(seed)))
  return values[random.below(VALUES)] as Encoded
}

let values: Encoded[] | undefined

function made(random: Random): Encoded {
  for (;;) {
    const { bytes, at, length, flags } = encodeValue(
      random.oneIn(3) ? randomPlainValue(random) : randomValue(random),
    )
    if (length <= BYTES_MAX) return { flags, bytes: Buffer.from(bytes.subarray(at, at + length)) }
  }
}
