// Copies: the same bytes, and nothing beside them, whichever way they go.

import { describe, expect, test } from 'vitest'
import { copyBytes, copyWords } from '../../protocol/bytes.ts'

const ROOM = 80_000
const LENGTHS = [0, 1, 31, 33, 111, 113, 2047, 2048, 2049, 16_384, 16_385, 40_001, 65_536] as const

function memory(isShared: boolean, offset: number): Uint8Array {
  const bytes = ROOM + offset
  return new Uint8Array(isShared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes), offset)
}

const KINDS = [
  ['plain to plain', false, false],
  ['shared to plain', true, false],
  ['plain to shared', false, true],
  ['shared to shared', true, true],
] as const

describe.each(KINDS)('%s', (_, isFromShared, isToShared) => {
  // Arrays that begin anywhere in a word, and places in them that do.
  test.each([0, 3])('copies what it is told, with %i bytes before the array', (offset) => {
    const from = memory(isFromShared, offset)
    for (let at = 0; at < from.length; at++) from[at] = (at * 31 + (at >>> 8)) & 0x7f
    const to = memory(isToShared, 0)
    const [fromView, toView] = [from, to].map((it) => new DataView(it.buffer, it.byteOffset, it.length))
    if (fromView === undefined || toView === undefined) throw new Error('no views')
    for (const length of LENGTHS)
      for (const [fromAt, toAt] of [
        [0, 0],
        [5, 13],
        [5, 11],
        [1000, 1],
      ] as const)
        for (const copy of ['bytes', 'words'] as const) {
          to.fill(0xff)
          if (copy === 'bytes') copyBytes(from, fromAt, length, to, toAt)
          else copyWords(from, fromView, fromAt, length, to, toView, toAt)
          const expected = Buffer.alloc(to.length, 0xff)
          expected.set(from.subarray(fromAt, fromAt + length), toAt)
          expect(Buffer.compare(to, expected), `${copy}, ${length} from ${fromAt} to ${toAt}`).toBe(0)
        }
  })
})
