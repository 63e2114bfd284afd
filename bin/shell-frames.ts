// Frames in words, for --trace and `raw`: opcode or status by its name, request id, and each operand by the name that
// protocol/messages.ts gives it. Between bytes and the eyes of whoever debugs a client; it believes nothing, and says
// of what it cannot read why.

import { isUtf8 } from 'node:buffer'
import { inspect } from 'node:util'
import { ProtocolError } from '../protocol/errors.ts'
import { FRAME_HEADER_BYTES, NESTING_DEPTH_MAX, PUSH_REQUEST_ID } from '../protocol/limits.ts'
import { FIRST_ERROR, Opcode, Status } from '../protocol/messages.ts'
import { type ByteRange, emptyRange, Reader } from '../protocol/reader.ts'
import { decodeValue } from '../protocol/value.ts'
import type { Direction } from './shell-tap.ts'

/** What is shown of one operand, in characters, and of one list, in elements. */
const OPERAND_CHARS_MAX = 200
const ITEMS_MAX = 16
/** Hexadecimal digits are shown of so many bytes. */
const HEX_BYTES_MAX = 512
/** Fits into 80 columns. */
const HEX_BYTES_PER_LINE = 24
/** Requests whose replies may still come; older ones lose their names. */
const REQUESTS_MAX = 1024

const VALUE = ['flags', 'value'] as const
const ACKS = ['acks', 'acksTimeoutMs'] as const
const KEY_AND_TTL = ['key', 'ttlMs'] as const
const ADDITION = ['key', 'by', 'start', 'ttlMs'] as const
const SUM = ['number', 'version'] as const

/** Operands by position: of the request, and of a reply that is no error. */
const OPERANDS: Readonly<Record<Opcode, readonly [request: readonly string[], reply: readonly string[]]>> = {
  [Opcode.Hello]: [
    ['versionMin', 'versionMax', 'capabilities', 'clientName'],
    [
      'version',
      'capabilities',
      'serverVersion',
      'nodeId',
      'bootId',
      'region',
      'cluster',
      'valueBytesMax',
      'frameBytesMax',
    ],
  ],
  [Opcode.Ping]: [['payload'], ['payload']],
  [Opcode.Get]: [
    ['key', 'want'],
    [...VALUE, 'version', 'ttlMs'],
  ],
  [Opcode.Set]: [
    ['key', ...VALUE, 'ttlMs', 'condition', 'version', ...ACKS],
    ['version', 'acks'],
  ],
  [Opcode.Delete]: [['key', ...ACKS], ['acks']],
  [Opcode.Touch]: [KEY_AND_TTL, ['version']],
  [Opcode.Inspect]: [['key'], ['flags', 'valueBytes', 'version', 'ttlMs', 'lifetimeMs']],
  [Opcode.GetMany]: [['keys'], ['entries']],
  [Opcode.SetMany]: [['entries', 'ttlMs', 'condition'], ['entries']],
  [Opcode.DeleteMany]: [['keys'], ['statuses']],
  [Opcode.Increment]: [ADDITION, SUM],
  [Opcode.Decrement]: [ADDITION, SUM],
  [Opcode.Scan]: [
    ['cursor', 'prefix', 'count'],
    ['cursor', 'keys'],
  ],
  [Opcode.Clear]: [[], []],
  [Opcode.Stats]: [['section'], ['statistics']],
  [Opcode.Quit]: [[], []],
  [Opcode.Peers]: [[], ['peers']],
  [Opcode.Lag]: [[], ['peers']],
  [Opcode.ForgetPeer]: [['nodeId'], []],
  [Opcode.Auth]: [['mechanism', 'clientFirst'], ['serverFirst']],
  [Opcode.AuthProof]: [['clientFinal'], ['serverFinal', 'role']],
}
const ERROR_OPERANDS = ['text', 'retryAfterMs']

/** Their operands help whoever wants to guess a password; and a trace is what people show to others. */
const SECRETIVE: ReadonlySet<Opcode | undefined> = new Set([Opcode.Auth, Opcode.AuthProof])
/** Of these, what is shown all the same. */
const NO_SECRETS: ReadonlySet<string> = new Set(['mechanism', 'role', ...ERROR_OPERANDS])

const opcodes: ReadonlyMap<number, Opcode> = new Map<number, Opcode>(
  Object.values(Opcode).map((opcode) => [opcode, opcode]),
)
const opcodeNames: ReadonlyMap<number, string> = new Map<number, string>(
  Object.entries(Opcode).map(([name, opcode]) => [
    opcode,
    name.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase(),
  ]),
)
const statusNames: ReadonlyMap<number, string> = new Map<number, string>(
  Object.entries(Status).map(([name, status]) => [status, name]),
)

/** Remembers which request each reply answers: only that tells what its operands are. */
export class FrameWords {
  readonly #reader = new Reader()
  readonly #requests = new Map<number, number>()

  /** One line on a frame, its length included. */
  describe(direction: Direction, frame: Uint8Array): string {
    return this.#describe(direction, frame, this.note(direction, frame))
  }

  /** The same, and its bytes in lines below, but for those that are nobody's business. */
  show(direction: Direction, frame: Uint8Array): [meaning: string, hex: string] {
    const opcode = this.note(direction, frame)
    const hex = SECRETIVE.has(opcode) ? `   (${frame.length} bytes, not shown)` : hexLines(frame)
    return [this.#describe(direction, frame, opcode), hex]
  }

  #describe(direction: Direction, frame: Uint8Array, opcode: Opcode | undefined): string {
    const reader = this.#reader
    try {
      reader.open(frame, FRAME_HEADER_BYTES, frame.length)
    } catch (error) {
      return unreadable(error)
    }
    return direction === 'sent' ? requestText(reader, opcode) : replyText(reader, opcode)
  }

  /** Only remembers it. Gives the opcode that it has or answers, if that is known. */
  note(direction: Direction, frame: Uint8Array): Opcode | undefined {
    const reader = this.#reader
    try {
      reader.open(frame, FRAME_HEADER_BYTES, frame.length)
    } catch {
      return undefined
    }
    const { id } = reader
    if (direction === 'sent') this.#remember(id, reader.head)
    const opcode = opcodes.get(this.#requests.get(id) ?? 0)
    if (direction === 'received') this.#requests.delete(id)
    return opcode
  }

  #remember(id: number, head: number): void {
    this.#requests.set(id, head)
    for (const oldest of this.#requests.keys()) {
      if (this.#requests.size <= REQUESTS_MAX) break
      this.#requests.delete(oldest)
    }
  }
}

function requestText(reader: Reader, opcode: Opcode | undefined): string {
  const { head, id } = reader
  const names = opcode === undefined ? [] : OPERANDS[opcode][0]
  const isSecretive = SECRETIVE.has(opcode)
  return [
    opcodeNames.get(head) ?? `opcode ${head}`,
    `id=${id}`,
    ...operands(reader, names, isSecretive),
  ].join(' ')
}

function replyText(reader: Reader, opcode: Opcode | undefined): string {
  const { head, id } = reader
  const names = head >= FIRST_ERROR ? ERROR_OPERANDS : opcode === undefined ? [] : OPERANDS[opcode][1]
  const asked =
    id === PUSH_REQUEST_ID ? 'unasked' : opcode === undefined ? undefined : opcodeNames.get(opcode)
  const status = statusNames.get(head) ?? `status ${head}`
  const to = asked === undefined ? [] : [`(${asked})`]
  return [status, `id=${id}`, ...to, ...operands(reader, names, SECRETIVE.has(opcode))].join(' ')
}

/** A frame's bytes in hexadecimal, the first of a long one; in lines, each indented. */
export function hexLines(bytes: Uint8Array, indent = '   '): string {
  const shown = Buffer.from(bytes.subarray(0, HEX_BYTES_MAX))
  const lines: string[] = []
  for (let at = 0; at < shown.length; at += HEX_BYTES_PER_LINE)
    lines.push(indent + spaced(shown.subarray(at, at + HEX_BYTES_PER_LINE)))
  if (bytes.length > shown.length)
    lines.push(`${indent}… ${bytes.length - shown.length} more of ${bytes.length} bytes`)
  return lines.join('\n')
}

function spaced(bytes: Buffer): string {
  return bytes.toString('hex').replace(/..(?=.)/g, '$& ')
}

function operands(reader: Reader, names: readonly string[], isSecretive: boolean): string[] {
  const texts: string[] = []
  let flags: number | undefined
  try {
    for (let position = 0; reader.operands > 0; position++) {
      const name = names[position] ?? `operand${position + 1}`
      reader.operands--
      const at = reader.at
      const text = name === 'value' && flags !== undefined ? valueText(reader, flags) : itemText(reader)
      if (name === 'flags') flags = Number(text)
      texts.push(`${name}=${isSecretive && !NO_SECRETS.has(name) ? '(not shown)' : cut(text)}`)
      if (reader.at === at) break
    }
    reader.close()
  } catch (error) {
    texts.push(unreadable(error))
  }
  return texts
}

const range: ByteRange = emptyRange()

function valueText(reader: Reader, flags: number): string {
  reader.range(range)
  const { bytes, at, length } = range
  try {
    const value = decodeValue(bytes, at, length, flags)
    return inspect(value, {
      depth: 4,
      breakLength: Number.POSITIVE_INFINITY,
      maxStringLength: OPERAND_CHARS_MAX,
    })
  } catch (error) {
    return `${bytesText()} (${error instanceof Error ? error.message : String(error)})`
  }
}

/** One operand, whatever it is. */
function itemText(reader: Reader, depth = 0): string {
  const first = reader.bytes[reader.at] ?? 0xc0
  if ((first & 0xf0) === 0x90 || first === 0xdc || first === 0xdd) {
    if (depth === NESTING_DEPTH_MAX)
      throw new ProtocolError(Status.Malformed, `nesting deeper than ${NESTING_DEPTH_MAX}`)
    const items: string[] = []
    const count = reader.array()
    for (let i = 0; i < count; i++) {
      const text = itemText(reader, depth + 1)
      if (i < ITEMS_MAX) items.push(cut(text))
    }
    if (count > ITEMS_MAX) items.push(`… ${count - ITEMS_MAX} more`)
    return `[${items.join(', ')}]`
  }
  if (first >= 0xc4 && first <= 0xc6) {
    reader.range(range)
    return bytesText()
  }
  return JSON.stringify(reader.any())
}

function bytesText(): string {
  const bytes = Buffer.from(
    range.bytes.subarray(range.at, range.at + Math.min(range.length, OPERAND_CHARS_MAX)),
  )
  if (isUtf8(bytes) && !/[^\x20-\x7e]/.test(bytes.toString())) return JSON.stringify(bytes.toString())
  return `0x${bytes.toString('hex')}`
}

function unreadable(error: unknown): string {
  if (!(error instanceof ProtocolError)) throw error
  return `(not readable: ${error.message})`
}

function cut(text: string): string {
  return text.length > OPERAND_CHARS_MAX ? `${text.slice(0, OPERAND_CHARS_MAX)}…` : text
}
