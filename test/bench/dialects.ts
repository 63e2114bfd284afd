// What the contestants speak: requests as bytes, and replies taken apart for the check before a measurement.
// Not used while measuring: then only bytes are counted. Our own frames are decoded here by msgpackr, so that the
// check does not lean on the code it measures.

import { unpack } from 'msgpackr'
import { encodeFrame } from '../../bin/load-frames.ts'
import { Opcode, Status, ValueFlags } from '../../protocol/messages.ts'

/** A reply, and how many bytes it took; `value` only for a hit. */
export interface Reply {
  kind: 'value' | 'stored' | 'other'
  value?: Buffer
  size: number
}

export interface Dialect {
  get(key: string): Buffer
  set(key: string, value: Buffer): Buffer
  /** Takes one reply off the front; undefined when it is not all there. */
  parse(bytes: Buffer): Reply | undefined
}

export type DialectName = 'frames' | 'resp' | 'meta'

const LINE_END = '\r\n'

const frames: Dialect = {
  get: (key) => encodeFrame(Opcode.Get, [key]),
  set: (key, value) => encodeFrame(Opcode.Set, [key, ValueFlags.Raw, value]),
  parse(bytes) {
    const size = bytes.length < 4 ? Number.POSITIVE_INFINITY : 4 + bytes.readUInt32BE(0)
    if (bytes.length < size) return undefined
    const [status, , , value]: unknown[] = unpack(bytes.subarray(4, size))
    if (status !== Status.Ok) return { kind: 'other', size }
    return Buffer.isBuffer(value) ? { kind: 'value', value, size } : { kind: 'stored', size }
  },
}

/** What redis and those like it speak, in its binary-safe form. */
const resp: Dialect = {
  get: (key) => respRequest(['GET', key]),
  set: (key, value) => respRequest(['SET', key, value]),
  parse(bytes) {
    const lineEnd = bytes.indexOf(LINE_END)
    if (lineEnd < 0) return undefined
    const line = bytes.toString('latin1', 0, lineEnd)
    if (line === '+OK') return { kind: 'stored', size: lineEnd + 2 }
    if (!line.startsWith('$') || line === '$-1') return { kind: 'other', size: lineEnd + 2 }
    return withData('value', bytes, lineEnd + 2, Number(line.slice(1)))
  },
}

/** memcached's meta protocol: shorter than its classic one, and what its documentation advises. */
const meta: Dialect = {
  get: (key) => Buffer.from(`mg ${key} v${LINE_END}`),
  set: (key, value) =>
    Buffer.concat([Buffer.from(`ms ${key} ${value.length}${LINE_END}`), value, Buffer.from(LINE_END)]),
  parse(bytes) {
    const lineEnd = bytes.indexOf(LINE_END)
    if (lineEnd < 0) return undefined
    const line = bytes.toString('latin1', 0, lineEnd)
    if (line === 'HD') return { kind: 'stored', size: lineEnd + 2 }
    if (!line.startsWith('VA ')) return { kind: 'other', size: lineEnd + 2 }
    return withData('value', bytes, lineEnd + 2, Number(line.slice(3).split(' ')[0]))
  },
}

export const DIALECTS: Record<DialectName, Dialect> = { frames, resp, meta }

function respRequest(words: readonly (string | Buffer)[]): Buffer {
  const parts = words.flatMap((word) => {
    const bytes = Buffer.from(word)
    return [Buffer.from(`$${bytes.length}${LINE_END}`), bytes, Buffer.from(LINE_END)]
  })
  return Buffer.concat([Buffer.from(`*${words.length}${LINE_END}`), ...parts])
}

function withData(kind: 'value', bytes: Buffer, at: number, length: number): Reply | undefined {
  const size = at + length + LINE_END.length
  return bytes.length < size ? undefined : { kind, value: bytes.subarray(at, at + length), size }
}
