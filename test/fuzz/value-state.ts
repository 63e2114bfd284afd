// The state of bytes that a client takes for a value: whoever wrote them, decoding gives a value that can be stored again
// and comes back the same, or it is a ValueError.

import { decodeValue, encodeValue, ValueError } from '../../protocol/value.ts'
import { difference } from '../helpers/same-value.ts'
import type { Random } from '../server/store/random.ts'
import { encodedValue } from './encoded-values.ts'
import type { Input, State, World } from './engine.ts'
import { oddItem, Pen } from './items.ts'
import { mutated, randomBytes } from './mutations.ts'
import { demand } from './violation.ts'

const INPUTS_PER_WORLD = 1000
const pen = new Pen()

/** The luck of an input is its flags. */
class ValueWorld implements World {
  next(random: Random): Input {
    if (random.oneIn(10)) return { chunks: [blind(random)], luck: random.below(5) }
    const { flags, bytes } = encodedValue(random)
    const spoilt = random.oneIn(4) ? mutated(mutated(bytes, random), random) : mutated(bytes, random)
    return { chunks: [spoilt], luck: random.oneIn(6) ? random.below(6) : flags }
  }

  play({ chunks, luck }: Input): string {
    const bytes = Buffer.concat(chunks)
    const value = decodedOrRefused(bytes, luck)
    if (value === REFUSED) return 'refused'
    // Nothing of it may lie in memory that is used again.
    bytes.fill(0xdb)
    const encoded = encodeValue(value)
    const copy = Buffer.from(encoded.bytes.subarray(encoded.at, encoded.at + encoded.length))
    const found = difference(decodeValue(copy, 0, copy.length, encoded.flags), value)
    demand(found === undefined, 'a value that does not come back', () => String(found))
    return 'decoded'
  }

  end(): void {}
}

const REFUSED = Symbol('refused')

function decodedOrRefused(bytes: Buffer, flags: number): unknown {
  try {
    return decodeValue(bytes, 0, bytes.length, flags)
  } catch (error) {
    if (error instanceof ValueError) return REFUSED
    throw error
  }
}

function blind(random: Random): Buffer {
  if (random.oneIn(2)) return pen.payload([[oddItem(random), oddItem(random)], oddItem(random)], random)
  const bytes = randomBytes(1 + random.below(60), random)
  if (random.oneIn(2)) bytes[0] = 0x90 | random.below(16)
  return bytes
}

export const valueState: State = {
  name: 'value',
  inputsPerWorld: INPUTS_PER_WORLD,
  outcomes: ['decoded', 'refused'],
  makeWorld: () => new ValueWorld(),
}
