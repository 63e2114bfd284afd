// A server of the next protocol version, as this one sees it: it appends operands to its messages that nobody knows yet.

import { FRAME_HEADER_BYTES } from '../../protocol/limits.ts'

/** nil, 1, "x", [true]: one of each kind that must be passed over. */
const UNKNOWN = Uint8Array.from([0xc0, 0x01, 0xa1, 0x78, 0x91, 0xc3])
const UNKNOWN_COUNT = 4
const ARRAY_16 = 0xdc
const FIXARRAY = 0x90
const FIXARRAY_MAX = 15

/** A frame with unknown operands behind the known ones. */
export function withUnknownOperands(frame: Uint8Array): Uint8Array {
  const first = frame[FRAME_HEADER_BYTES] as number
  const isShort = first >> 4 === FIXARRAY >> 4
  const headBytes = isShort ? 1 : 3
  const count = isShort
    ? first & FIXARRAY_MAX
    : ((frame[FRAME_HEADER_BYTES + 1] as number) << 8) | (frame[FRAME_HEADER_BYTES + 2] as number)
  const rest = frame.subarray(FRAME_HEADER_BYTES + headBytes)
  const later = Buffer.alloc(FRAME_HEADER_BYTES + 3 + rest.length + UNKNOWN.length)
  later.writeUInt32BE(later.length - FRAME_HEADER_BYTES)
  later[FRAME_HEADER_BYTES] = ARRAY_16
  later.writeUInt16BE(count + UNKNOWN_COUNT, FRAME_HEADER_BYTES + 1)
  later.set(rest, FRAME_HEADER_BYTES + 3)
  later.set(UNKNOWN, FRAME_HEADER_BYTES + 3 + rest.length)
  return later
}
