// Random values, and msgpackr as an independent witness of the plain ones. SEED and SEEDS choose (see random.ts).

import { Packr, Unpackr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { ValueFlags } from '../../protocol/messages.ts'
import { decodeValue, encodeValue } from '../../protocol/value.ts'
import { randomPlainValue, randomValue } from '../helpers/random-value.ts'
import { difference } from '../helpers/same-value.ts'
import { forEachSeed } from '../server/store/random.ts'

/** Then what happened to be in the values says nothing. */
const seedsChosen = 'SEEDS' in process.env
const VALUES = 800

describe('random values', () => {
  it('come back the same, and the same value has the same bytes', () => {
    const seen = new Map<number, number>()
    forEachSeed(VALUES, (random) => {
      const value = randomValue(random)
      const { bytes, at, length, flags } = encodeValue(value)
      const stored = Buffer.from(bytes.subarray(at, at + length))
      const back = decodeValue(stored, 0, length, flags)
      expect(difference(back, value)).toBeUndefined()
      const again = encodeValue(back)
      expect(again.flags).toBe(flags)
      expect(stored.equals(again.bytes.subarray(again.at, again.at + again.length))).toBe(true)
      seen.set(flags, (seen.get(flags) ?? 0) + 1)
    })
    if (!seedsChosen) expect([...seen.keys()].sort()).toEqual([0, 1, 2, 3])
  })

  it('plain ones are plain on the wire, and msgpackr reads them alike', () => {
    const witness = new Unpackr({ useRecords: false })
    forEachSeed(VALUES, (random) => {
      const value = [randomPlainValue(random)]
      const { bytes, at, length, flags } = encodeValue(value)
      expect(flags).toBe(ValueFlags.MessagePack)
      expect(difference(witness.unpack(Buffer.from(bytes.subarray(at, at + length))), value)).toBeUndefined()
    })
  })

  it('plain ones as msgpackr writes them, with any choice of sizes, are read', () => {
    const witnesses = [
      new Packr({ useRecords: false }),
      new Packr({ useRecords: false, variableMapSize: true }),
      new Packr({ useRecords: false, mapsAsObjects: false, useTimestamp32: false }),
    ]
    forEachSeed(VALUES, (random, seed) => {
      const value = randomPlainValue(random)
      const bytes = witnesses[seed % witnesses.length]?.pack(value) ?? Buffer.alloc(0)
      expect(difference(decodeValue(bytes, 0, bytes.length, ValueFlags.MessagePack), value)).toBeUndefined()
    })
  })
})
