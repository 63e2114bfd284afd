// The check before each measurement leans on these: a reply taken apart wrongly would let wrong values pass.

import { pack } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { DIALECTS, type DialectName } from './dialects.ts'

const value = Buffer.from('seven')

function frame(...elements: unknown[]): Buffer {
  const body = pack(elements)
  const header = Buffer.alloc(4)
  header.writeUInt32BE(body.length)
  return Buffer.concat([header, body])
}

/** What servers of each dialect say to a hit, a stored value and a miss. */
const REPLIES: Record<DialectName, { hit: Buffer; stored: Buffer; miss: Buffer }> = {
  frames: { hit: frame(0, 1, 0, value), stored: frame(0, 1, Buffer.alloc(16), 0), miss: frame(1, 1) },
  resp: { hit: Buffer.from('$5\r\nseven\r\n'), stored: Buffer.from('+OK\r\n'), miss: Buffer.from('$-1\r\n') },
  meta: { hit: Buffer.from('VA 5\r\nseven\r\n'), stored: Buffer.from('HD\r\n'), miss: Buffer.from('EN\r\n') },
}

describe.each(['frames', 'resp', 'meta'] as const)('%s', (name) => {
  const dialect = DIALECTS[name]
  const { hit, stored, miss } = REPLIES[name]

  it('takes the first of several replies, with its size', () => {
    const reply = dialect.parse(Buffer.concat([hit, miss]))
    expect(reply).toMatchObject({ kind: 'value', size: hit.length })
    expect(reply?.value?.toString()).toBe('seven')
  })

  it('waits for the rest of a reply, wherever it was cut', () => {
    for (let cut = 0; cut < hit.length; cut++) expect(dialect.parse(hit.subarray(0, cut))).toBeUndefined()
  })

  it('tells what was stored from what was not found', () => {
    expect(dialect.parse(miss)).toMatchObject({ kind: 'other', size: miss.length })
    const { kind, size } = dialect.parse(stored) ?? {}
    expect(size).toBe(stored.length)
    expect(kind).toBe('stored')
  })

  it('makes requests in which the key and the value stand as they are', () => {
    expect(dialect.get('some-key').includes('some-key')).toBe(true)
    const set = dialect.set('some-key', value)
    expect(set.includes('some-key')).toBe(true)
    expect(set.includes(value)).toBe(true)
  })
})
