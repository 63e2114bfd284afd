// Batches are made once and only renumbered afterwards: a digit in the wrong place would measure other keys.

import { describe, expect, it } from 'vitest'
import { allowance, newBatch, renumber, renumberingSource, templateOf } from '../../bin/load-batches.ts'

const template = templateOf(Buffer.from('<key:0000>'), 'key:0000', 4)
const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString()

/** 1, 2, 3, … */
function counting(): () => number {
  let number = 0
  return () => ++number
}

describe('templateOf', () => {
  it('finds the digits at the end of the key', () => {
    expect(template).toMatchObject({ digitsAt: 5, digits: 4 })
  })

  it('takes a key after other bytes beyond ASCII', () => {
    const request = Buffer.concat([Buffer.of(0xce, 0xff), Buffer.from('é0'), Buffer.of(0xff)])
    expect(templateOf(request, 'é0', 1)).toMatchObject({ digitsAt: 4 })
  })

  it('refuses a request without the key', () => {
    expect(() => templateOf(Buffer.from('nothing'), 'key', 1)).toThrow('does not contain its key key')
  })
})

describe('newBatch', () => {
  it('repeats the request with a number for each', () => {
    const batch = newBatch(template, 3, counting())
    expect(batch.requests).toBe(3)
    expect(text(batch.bytes)).toBe('<key:0001><key:0002><key:0003>')
  })

  it('pads, and fills all digits', () => {
    expect(text(newBatch(template, 2, () => 9999).bytes)).toBe('<key:9999><key:9999>')
    expect(text(newBatch(template, 1, () => 70).bytes)).toBe('<key:0070>')
  })

  it('leaves requests without a key as they are', () => {
    const ping = { bytes: Buffer.from('PING'), digitsAt: 0, digits: 0 }
    expect(text(newBatch(ping, 2, counting()).bytes)).toBe('PINGPING')
  })
})

describe('renumber', () => {
  it('writes over the numbers that were there', () => {
    const batch = newBatch(template, 2, () => 1234)
    renumber(batch, template, counting())
    expect(text(batch.bytes)).toBe('<key:0001><key:0002>')
  })
})

describe('renumberingSource', () => {
  it('gives exactly the requests it is allowed, the last batch a short one', () => {
    const next = renumberingSource(template, 2, counting(), allowance(3))
    expect(text(next()?.bytes)).toBe('<key:0001><key:0002>')
    const last = next()
    expect(last?.requests).toBe(1)
    expect(text(last?.bytes)).toBe('<key:0003>')
    expect(next()).toBeUndefined()
  })
})

describe('allowance', () => {
  it('hands out the total and no more', () => {
    const take = allowance(5)
    expect([take(2), take(2), take(2), take(2)]).toEqual([2, 2, 1, 0])
  })
})
