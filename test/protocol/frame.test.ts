// The frame reader: however a stream is cut, the same frames come out; lengths are checked before anything is kept.

import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../protocol/errors.ts'
import { FrameReader } from '../../protocol/frame.ts'
import { Status } from '../../protocol/messages.ts'
import { takeBuffer } from '../../protocol/spare-buffers.ts'
import { framed, hex } from '../helpers/frames.ts'

const LIMIT = 5000

/** A payload of this length that is like no other. */
function payload(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + length) & 255))
}

/** A reader that copies what it is lent; `stopAfter` frames it says stop, until resumed. */
function collector(limit = LIMIT, stopAfter = Number.POSITIVE_INFINITY) {
  const frames: Buffer[] = []
  const reader = new FrameReader(limit, (bytes, at, end) => {
    frames.push(Buffer.from(bytes.subarray(at, end)))
    return frames.length % stopAfter !== 0
  })
  return { reader, frames }
}

function statusOf(push: () => void): Status | 'no error' {
  try {
    push()
  } catch (error) {
    if (error instanceof ProtocolError) return error.status
    throw error
  }
  return 'no error'
}

const payloads = [1, 2, 3, 200, 1020, 1021, 1, 2500, LIMIT].map(payload)
const stream = Buffer.concat(payloads.map(framed))

describe('however the stream is cut', () => {
  test('in two, at every byte', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const { reader, frames } = collector()
      reader.push(stream.subarray(0, cut))
      reader.push(stream.subarray(cut))
      expect(Buffer.concat(frames.map(framed)).equals(stream), `cut at ${cut}`).toBe(true)
      expect(reader.bufferedBytes).toBe(0)
    }
  })

  test.each([1, 2, 3, 4, 5, 7, 100, 1023, 1024, 1025, 3000])('in pieces of %i bytes', (pieceBytes) => {
    const { reader, frames } = collector()
    for (let at = 0; at < stream.length; at += pieceBytes) reader.push(stream.subarray(at, at + pieceBytes))
    expect(frames).toHaveLength(payloads.length)
    expect(Buffer.concat(frames.map(framed)).equals(stream)).toBe(true)
    expect(reader.isMidFrame).toBe(false)
  })

  test.each([1, 2, 3])('in two at every byte, stopping after each %i frames', (stopAfter) => {
    const small = payloads.slice(0, 5)
    const smallStream = Buffer.concat(small.map(framed))
    for (let cut = 0; cut <= smallStream.length; cut++) {
      const { reader, frames } = collector(LIMIT, stopAfter)
      reader.push(smallStream.subarray(0, cut))
      reader.push(smallStream.subarray(cut))
      expect(frames.length, `cut at ${cut}`).toBe(stopAfter)
      for (let i = 0; i < small.length; i++) reader.resume()
      expect(Buffer.concat(frames.map(framed)).equals(smallStream), `cut at ${cut}`).toBe(true)
      expect(reader.bufferedBytes).toBe(0)
    }
  })
})

test('a frame that is whole in its chunk is lent where it lies', () => {
  const chunk = Buffer.concat([framed(payload(10)), framed(payload(20))])
  const places: (readonly [boolean, number, number])[] = []
  const reader = new FrameReader(LIMIT, (bytes, at, end) => {
    places.push([bytes === chunk, at, end])
    return true
  })
  reader.push(chunk)
  expect(places).toEqual([
    [true, 4, 14],
    [true, 18, 38],
  ])
})

describe('lengths', () => {
  test.each([
    ['zero', '00 00 00 00', Status.Malformed],
    ['one over the limit', '00 00 13 89', Status.FrameTooLarge],
    ['2^31', '80 00 00 00', Status.FrameTooLarge],
    ['2^32 - 1', 'ff ff ff ff', Status.FrameTooLarge],
    ['text', '47 45 54 20', Status.FrameTooLarge],
  ])('%s is refused, whole or byte by byte', (_, head, status) => {
    const before = framed(payload(3))
    const whole = collector()
    expect(statusOf(() => whole.reader.push(Buffer.concat([before, hex(head), payload(50)])))).toBe(status)
    expect(whole.frames).toHaveLength(1)
    expect(whole.reader.bufferedBytes).toBe(0)

    const slow = collector()
    slow.reader.push(before)
    const bytes = hex(head)
    slow.reader.push(bytes.subarray(0, 1))
    slow.reader.push(bytes.subarray(1, 3))
    expect(statusOf(() => slow.reader.push(bytes.subarray(3)))).toBe(status)
  })

  test('the limit itself is accepted, and may be changed between frames', () => {
    const { reader, frames } = collector(10)
    reader.push(framed(payload(10)))
    reader.frameBytesMax = 20
    reader.push(framed(payload(20)))
    reader.frameBytesMax = 5
    expect(frames).toHaveLength(2)
    expect(statusOf(() => reader.push(framed(payload(6))))).toBe(Status.FrameTooLarge)
  })

  test('the message says how much and how much there may be', () => {
    const { reader } = collector()
    expect(() => reader.push(framed(payload(LIMIT + 1)))).toThrow('5001 bytes is over')
    expect(() => collector().reader.push(framed(payload(LIMIT + 1)))).toThrow('limit of 5000')
  })
})

describe('what is kept', () => {
  test('grows with the bytes that came, not with those that were claimed', () => {
    const claim = 64 * 1024 * 1024
    const { reader } = collector(claim)
    const head = Buffer.alloc(4)
    head.writeUInt32BE(claim)
    reader.push(head)
    expect(reader.isMidFrame).toBe(true)
    for (let sent = 4; sent < 100_000; sent += 1000) {
      reader.push(payload(1000))
      expect(reader.bufferedBytes).toBeLessThanOrEqual(Math.max(1024, (sent + 1000) * 2))
    }
  })

  test('is never more than the frame needs', () => {
    const { reader } = collector()
    const bytes = framed(payload(3000))
    for (const byte of bytes.subarray(0, -1)) reader.push(Buffer.of(byte))
    expect(reader.bufferedBytes).toBeLessThanOrEqual(bytes.length)
  })

  test('counts the chunks that wait while stopped', () => {
    const { reader, frames } = collector(LIMIT, 1)
    const one = framed(payload(100))
    reader.push(Buffer.concat([one, one]))
    reader.push(one)
    expect(frames).toHaveLength(1)
    expect(reader.bufferedBytes).toBe(2 * one.length)
    expect(reader.isMidFrame).toBe(false)
    reader.resume()
    expect(reader.bufferedBytes).toBe(one.length)
    reader.resume()
    expect(frames).toHaveLength(3)
  })

  test('is kept as it was: the chunk is only lent', () => {
    const { reader, frames } = collector(LIMIT, 1)
    const all = Buffer.concat([framed(payload(5)), framed(payload(6)), framed(payload(7))])
    for (const piece of [all.subarray(0, 12), all.subarray(12, 22), all.subarray(22)]) {
      const lent = Buffer.from(piece)
      reader.push(lent)
      lent.fill(0xff)
    }
    reader.resume()
    reader.resume()
    expect(Buffer.concat(frames.map(framed)).equals(all)).toBe(true)
  })

  test('stopping at the end of a chunk keeps nothing', () => {
    const { reader, frames } = collector(LIMIT, 1)
    reader.push(framed(payload(9)))
    expect(reader.bufferedBytes).toBe(0)
    reader.resume()
    reader.push(framed(payload(9)))
    expect(frames).toHaveLength(2)
  })

  test('a bad length among held bytes shows when its turn comes', () => {
    const { reader, frames } = collector(LIMIT, 1)
    reader.push(Buffer.concat([framed(payload(1)), hex('00 00 00 00')]))
    expect(frames).toHaveLength(1)
    expect(statusOf(() => reader.resume())).toBe(Status.Malformed)
  })
})

test('what is kept can be forgotten, half a frame and held chunks alike', () => {
  const half = collector()
  half.reader.push(framed(payload(3000)).subarray(0, 2000))
  const stopped = collector(LIMIT, 1)
  stopped.reader.push(Buffer.concat([1, 1000].map((length) => framed(payload(length)))))
  for (const { reader } of [half, stopped]) {
    expect(reader.bufferedBytes).toBeGreaterThan(1000)
    reader.discard()
    expect([reader.bufferedBytes, reader.isMidFrame]).toEqual([0, false])
  }
})

test('the memory of a frame that will never be whole is used again', () => {
  const { reader } = collector(200_000)
  const begun = framed(payload(150_000)).subarray(0, 100_000)
  reader.push(begun)
  reader.discard()
  expect(takeBuffer(begun.length).equals(begun)).toBe(true)
})
