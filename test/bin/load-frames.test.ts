// The requests of a load as msgpackr reads them, and the counting of replies that msgpackr wrote, cut anywhere.

import { pack, unpack } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { FrameMeter, frameTemplate, LOAD_KINDS, ReplyTally } from '../../bin/load-frames.ts'
import { Opcode, Status, ValueFlags } from '../../protocol/messages.ts'

function frame(...elements: unknown[]): Buffer {
  const body = pack(elements)
  const header = Buffer.alloc(4)
  header.writeUInt32BE(body.length)
  return Buffer.concat([header, body])
}

function decoded(bytes: Uint8Array): unknown[] {
  const frameBytes = Buffer.from(bytes)
  expect(frameBytes.readUInt32BE(0)).toBe(frameBytes.length - 4)
  return unpack(frameBytes.subarray(4))
}

describe('frameTemplate', () => {
  const value = Buffer.from('abc')
  const request = (kind: (typeof LOAD_KINDS)[number]) => decoded(frameTemplate(kind, 'key:', 3, value).bytes)

  it('encodes what the protocol says', () => {
    expect(request('ping')).toEqual([Opcode.Ping, 1])
    expect(request('set')).toEqual([Opcode.Set, 1, 'key:000', ValueFlags.Raw, value])
    expect(request('get')).toEqual([Opcode.Get, 1, 'key:000'])
    expect(request('incr')).toEqual([Opcode.Increment, 1, 'counter:key:000'])
    expect(request('del')).toEqual([Opcode.Delete, 1, 'key:000'])
  })

  it.each([0, 255, 256, 65_535, 65_536, 1_000_000])('takes a value of %i bytes', (size) => {
    const sevens = Buffer.alloc(size, 7)
    const [, , , , taken] = decoded(frameTemplate('set', 'key:', 3, sevens).bytes)
    expect(Buffer.isBuffer(taken) && taken.equals(sevens)).toBe(true)
  })

  it('says where the digits of the key are', () => {
    for (const kind of LOAD_KINDS) {
      const { bytes, digitsAt, digits } = frameTemplate(kind, 'key:', 3, value)
      const numbered = Buffer.from(bytes.subarray(digitsAt, digitsAt + digits)).toString()
      expect(numbered).toBe(kind === 'ping' ? '' : '000')
    }
  })
})

describe('FrameMeter', () => {
  const replies = [
    frame(Status.Ok, 1, ValueFlags.Raw, Buffer.alloc(300)),
    frame(Status.Miss, 1),
    frame(Status.Ok, 0xffff_ffff),
    frame(Status.ValueTooLarge, 1, 'too large'),
    frame(Status.Overloaded, 1, 'later', 5),
    frame(Status.Overloaded, 1, 'later', 5),
  ]
  const stream = Buffer.concat(replies)
  const batch = { bytes: new Uint8Array(), requests: replies.length }

  it('counts outcomes, however the stream is cut', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const tally = new ReplyTally()
      const meter = new FrameMeter(tally)
      meter.expect(batch)
      const wholeAtOnce = meter.take(stream.subarray(0, cut), cut)
      expect(wholeAtOnce).toBe(cut === stream.length)
      if (!wholeAtOnce) expect(meter.take(stream.subarray(cut), stream.length - cut)).toBe(true)
      expect([tally.ok, tally.misses]).toEqual([2, 1])
      expect([...tally.errors]).toEqual([
        [Status.ValueTooLarge, 1],
        [Status.Overloaded, 2],
      ])
    }
  })

  it('looks only at the length it is told, for the buffer is larger than the chunk', () => {
    const meter = new FrameMeter(new ReplyTally())
    meter.expect({ bytes: new Uint8Array(), requests: 1 })
    const buffer = Buffer.concat([frame(Status.Ok, 1), Buffer.alloc(1000, 0xff)])
    expect(meter.take(buffer, frame(Status.Ok, 1).length)).toBe(true)
  })

  it('passes over what the server says unasked', () => {
    const tally = new ReplyTally()
    const meter = new FrameMeter(tally)
    meter.expect({ bytes: new Uint8Array(), requests: 1 })
    const both = Buffer.concat([frame(Status.Ok, 0, 'news'), frame(Status.Miss, 1)])
    expect(meter.take(both, both.length)).toBe(true)
    expect([tally.ok, tally.misses]).toEqual([0, 1])
  })

  it('refuses a reply that nothing asked for', () => {
    const reply = frame(Status.Ok, 1)
    expect(() => new FrameMeter(new ReplyTally()).take(reply, reply.length)).toThrow('nothing asked for')
  })

  it.each(['-ERR unknown command\r\n', 'HTTP/1.1 400 Bad Request\r\n', '\u0000\u0000\u0000\u0001xxx'])(
    'refuses what is no reply of this protocol: %j',
    (text) => {
      const meter = new FrameMeter(new ReplyTally())
      meter.expect({ bytes: new Uint8Array(), requests: 1 })
      expect(() => meter.take(Buffer.from(text), text.length)).toThrow('is the port right?')
    },
  )
})
