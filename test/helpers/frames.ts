// Frames as somebody else would write and read them: msgpackr instead of protocol/reader.ts and writer.ts, so that a mistake made in
// both our reader and our writer shows.

import { Packr, Unpackr } from 'msgpackr'

const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true })
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'number' })

/** A payload with its length in front. */
export function framed(payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4 + payload.length)
  bytes.writeUInt32BE(payload.length)
  bytes.set(payload, 4)
  return bytes
}

/** A frame of these elements. */
export function frame(...elements: readonly unknown[]): Buffer {
  return framed(packr.pack(elements))
}

/** A frame of elements that are MessagePack already. */
export function frameOf(...elements: readonly Uint8Array[]): Buffer {
  const count = elements.length
  const head = count < 16 ? [0x90 | count] : [0xdc, count >> 8, count & 255]
  return framed(Buffer.concat([Buffer.from(head), ...elements]))
}

/** Bytes written as hexadecimal digits, blanks between them or not. */
export function hex(text: string): Buffer {
  const digits = text.replace(/\s+/g, '')
  if (!/^(?:[0-9a-f]{2})*$/i.test(digits)) throw new Error(`not hexadecimal: ${text}`)
  return Buffer.from(digits, 'hex')
}

/** What msgpackr reads in one payload; all of it must be one array. */
export function decoded(payload: Uint8Array): unknown[] {
  const value: unknown = unpackr.unpack(payload)
  if (!Array.isArray(value)) throw new Error(`a frame is an array, not ${typeof value}`)
  return value
}

/** Cuts a stream that ends with a whole frame into payloads. */
export function payloads(stream: Buffer): Buffer[] {
  const found: Buffer[] = []
  let at = 0
  while (at < stream.length) {
    const end = at + 4 + stream.readUInt32BE(at)
    if (end > stream.length) throw new Error(`the stream ends ${end - stream.length} bytes before its frame`)
    found.push(stream.subarray(at + 4, end))
    at = end
  }
  return found
}
