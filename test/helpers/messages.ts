// What servers say to each other, as payloads: written by our own writer, read by our own reader, and as a later version
// would say it.

import { Reader } from '../../protocol/reader.ts'
import { Writer } from '../../protocol/writer.ts'
import { decoded, frame } from './frames.ts'

/** The payload of the frame that is written. */
export function written(write: (writer: Writer) => void): Buffer {
  const writer = new Writer(16)
  write(writer)
  return Buffer.from(writer.bytes.subarray(4, writer.at))
}

export function readerOf(payload: Buffer): Reader {
  const reader = new Reader()
  // Not at the start of its buffer: views must not care.
  const bytes = Buffer.concat([Buffer.alloc(5, 0xc1), payload, Buffer.alloc(5, 0xc1)])
  reader.open(bytes, 5, 5 + payload.length)
  return reader
}

/** The same message with operands behind those that are known. */
export function grown(payload: Buffer): Buffer {
  return frame(...decoded(payload), 'later', [1, [2]], { more: true }, null).subarray(4)
}
