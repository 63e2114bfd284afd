// What a connection was asked and what it answered: each request with an id exactly once, in order, until the last word.
//
// Stands beside one client connection of a server, sees the bytes of both directions, and shares no code with either end.
// What may be answered late, writes that wait for other servers, may be passed over, and must come later. Nobody is
// answered what its role may not ask, nor refused what it may.

import { FRAME_HEADER_BYTES, FRAME_OVERHEAD_BYTES_MAX, REPLY_BYTES_MIN } from '../../protocol/limits.ts'
import { Opcode, PeerOpcode, Status } from '../../protocol/messages.ts'
import { ROLES, type Role } from '../../server/users.ts'
import { decoded } from '../helpers/frames.ts'
import { demand, Violation } from './violation.ts'

/** Statuses after which the server closes, whoever asked. */
const LAST_WORDS: ReadonlySet<number> = new Set([
  Status.Malformed,
  Status.FrameTooLarge,
  Status.UnsupportedVersion,
])
const STATUSES: ReadonlySet<number> = new Set(Object.values(Status))
/** Opcodes whose replies may come late. */
const DEFERRED: ReadonlySet<number> = new Set([Opcode.Set, Opcode.Delete])
/** Operands of a reply that is no error, by opcode; where there is nothing, any number. */
const OPERANDS: Readonly<Record<number, readonly number[]>> = {
  [Opcode.Hello]: [9],
  [Opcode.Ping]: [1],
  [Opcode.Get]: [0, 2, 4],
  [Opcode.Set]: [1, 2, 3],
  [Opcode.Delete]: [0, 2],
  [Opcode.Touch]: [0, 1],
  [Opcode.Inspect]: [0, 5],
  [Opcode.GetMany]: [1],
  [Opcode.SetMany]: [1],
  [Opcode.DeleteMany]: [1],
  [Opcode.Increment]: [2],
  [Opcode.Decrement]: [2],
  [Opcode.Scan]: [2],
  [Opcode.Clear]: [0],
  [Opcode.Stats]: [1],
  [Opcode.Quit]: [0],
  [Opcode.Peers]: [1],
  [Opcode.Lag]: [1],
  [Opcode.ForgetPeer]: [0],
  [Opcode.Auth]: [1],
  [Opcode.AuthProof]: [2],
}
const AUTHENTICATION: ReadonlySet<number> = new Set([Opcode.Auth, Opcode.AuthProof])
/** What nobody has asked for: the server goes away, or has had enough. */
const PUSHES: ReadonlySet<number> = new Set([Status.ShuttingDown, Status.Unauthenticated, Status.Overloaded])

const ANYBODY: readonly number[] = [Opcode.Hello, Opcode.Ping, Opcode.Quit, ...AUTHENTICATION]
const READER = [
  ...ANYBODY,
  Opcode.Get,
  Opcode.GetMany,
  Opcode.Inspect,
  Opcode.Scan,
  Opcode.Stats,
  Opcode.Peers,
  Opcode.Lag,
]
const WRITER = [
  ...[...READER, Opcode.Set, Opcode.SetMany, Opcode.Delete, Opcode.DeleteMany],
  ...[Opcode.Touch, Opcode.Increment, Opcode.Decrement],
]
/** What each role may ask; without one, who has not authenticated. */
const ALLOWED: Readonly<Record<Role | 'nobody', ReadonlySet<number>>> = {
  nobody: new Set(ANYBODY),
  peer: new Set(ANYBODY),
  reader: new Set(READER),
  writer: new Set(WRITER),
  admin: new Set([...WRITER, Opcode.Clear, Opcode.ForgetPeer]),
}
/** Longest frame before authentication. */
const UNPROVEN_BYTES_MAX = 4096

/** A request; id 0: one that cannot be answered but by a last word. */
interface Asked {
  id: number
  opcode: number
  /** It was allowed when it was asked, and is late. */
  isGranted?: boolean
}

export class Ledger {
  /** The connection became another server's: its frames are not requests. */
  isPeer = false
  /** It cannot be told any more what was asked, nor who asks. */
  isUnsure = false
  /** The server has said what it closes after, or that it closes. */
  isLastWordSaid = false
  /** Replies so far, by status. */
  readonly statuses: number[] = []
  readonly #frameBytesMax: number
  readonly #replyBytesMax: number
  #asked: Asked[] = []
  readonly #late: Asked[] = []
  /** Ids that were used twice at a time. */
  readonly #twins = new Set<number>()
  /** QUIT was answered: what is late still comes, and nothing else. */
  #isLeaving = false
  #unread = Buffer.alloc(0)
  #unheard = Buffer.alloc(0)
  #first = Buffer.alloc(0)
  /** A frame whose length cannot be: nothing after it counts. */
  #isBroken = false
  #framesSeen = 0
  /** Requests that only the authenticated may make, before: one is forgiven. */
  #wasForgiven = false
  /** undefined: it must authenticate. */
  role: Role | undefined
  /** Hears of each whole frame that the server was sent. */
  onFrame: (payload: Buffer) => void = () => {}

  constructor(valueBytesMax: number, role?: Role) {
    this.role = role
    this.#frameBytesMax = valueBytesMax + FRAME_OVERHEAD_BYTES_MAX
    this.#replyBytesMax = Math.max(this.#frameBytesMax, REPLY_BYTES_MIN)
  }

  /** Whether a frame has begun and not ended. */
  get isMidFrame(): boolean {
    return this.#unread.length > 0
  }

  /** Bytes that the server was sent. */
  say(chunk: Buffer): void {
    if (this.#first.length < FRAME_HEADER_BYTES)
      this.#first = Buffer.concat([this.#first, chunk.subarray(0, FRAME_HEADER_BYTES)])
    if (this.#isBroken || this.#isLeaving || this.isLastWordSaid) return
    const bytes = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk])
    let at = 0
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = bytes.readUInt32BE(at)
      const isProving = this.#asked.some(({ opcode }) => opcode === Opcode.AuthProof)
      // Whether this is too long is told by what comes of the proof before it.
      if (this.role === undefined && isProving && length > UNPROVEN_BYTES_MAX) this.isUnsure = true
      const frameBytesMax = this.role === undefined && !isProving ? UNPROVEN_BYTES_MAX : this.#frameBytesMax
      if (length === 0 || length > frameBytesMax) {
        this.#isBroken = true
        this.#asked.push(NOBODY)
        this.#unread = Buffer.alloc(0)
        return
      }
      const end = at + FRAME_HEADER_BYTES + length
      if (end > bytes.length) break
      this.#framesSeen++
      const payload = bytes.subarray(at + FRAME_HEADER_BYTES, end)
      this.#asked.push(headOf(payload) ?? NOBODY)
      this.onFrame(payload)
      at = end
    }
    this.#unread = Buffer.from(bytes.subarray(at))
  }

  /** Bytes that the server sent. */
  hear(written: Buffer): void {
    if (this.isPeer || this.isUnsure) return
    const bytes = this.#unheard.length === 0 ? written : Buffer.concat([this.#unheard, written])
    if (this.#isText(bytes)) return
    let at = 0
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = bytes.readUInt32BE(at)
      demand(length <= this.#replyBytesMax, 'a reply is longer than replies may be', () => `${length} bytes`)
      const end = at + FRAME_HEADER_BYTES + length
      if (end > bytes.length) break
      this.#reply(bytes.subarray(at + FRAME_HEADER_BYTES, end))
      if (this.isPeer) return
      at = end
    }
    this.#unheard = Buffer.from(bytes.subarray(at))
  }

  /** Everything that can be answered has been, or the connection is over. */
  settle(isOver: boolean, late: 'none' | 'late ones may be' = 'none'): void {
    if (this.isPeer || this.isUnsure) return
    demand(this.#unheard.length === 0, 'half a reply', () => `${this.#unheard.length} bytes`)
    if (isOver) return
    const open =
      late === 'none'
        ? [...this.#asked, ...this.#late]
        : this.#asked.filter((asked) => !DEFERRED.has(asked.opcode) && !this.#twins.has(asked.id))
    demand(!open.includes(NOBODY), 'what cannot be a request neither answered nor closed')
    demand(open.length === 0, 'requests without an answer', () => JSON.stringify(open))
    demand(!this.isLastWordSaid, 'open after the last word')
  }

  /** Its role is another one. What is not answered yet is late, and has been carried out under the former. */
  becomes(role: Role): void {
    for (const asked of [...this.#asked, ...this.#late])
      if (DEFERRED.has(asked.opcode)) asked.isGranted = true
    this.role = role
  }

  /** Requests that are not answered yet. */
  get openCount(): number {
    return this.#asked.length + this.#late.length
  }

  #isText(bytes: Buffer): boolean {
    if (this.statuses.length > 0 || this.#framesSeen > 0) return false
    if (!/^[\r\n\x20-\x7e]{4}/.test(this.#first.toString('latin1'))) return false
    if (!bytes.toString('latin1').startsWith('binary protocol;')) return false
    this.isLastWordSaid = true
    this.#unheard = Buffer.alloc(0)
    return true
  }

  #reply(payload: Buffer): void {
    const elements = decoded(payload)
    const [status, id] = elements
    demand(!this.isLastWordSaid, 'a reply after the last word', () => payload.toString('hex'))
    if (typeof status !== 'number' || typeof id !== 'number')
      throw new Violation('a reply without status and id', payload.toString('hex'))
    if (status >= PeerOpcode.Hello && id === 0 && this.#asked[0]?.opcode === PeerOpcode.Hello) {
      this.isPeer = true
      return
    }
    demand(STATUSES.has(status), 'a status that there is not', () => `${status}`)
    demand(status !== Status.Internal, 'an internal error', () => String(elements[2]))
    if (status >= Status.Malformed)
      demand(typeof elements[2] === 'string', 'an error without a text', () => payload.toString('hex'))
    this.statuses.push(status)
    if (id === 0) {
      if (status === Status.ShuttingDown) return
      if (PUSHES.has(status)) {
        this.isLastWordSaid = true
        return
      }
      const asked = this.#next(0)
      demand(asked !== undefined, 'a last word about nothing', () => JSON.stringify(elements))
      this.isLastWordSaid = true
      return
    }
    const asked = this.#next(id)
    if (asked === undefined)
      throw new Violation('an answer that nobody waits for', `id ${id}, status ${status}`)
    if (status < Status.Malformed && !this.#twins.has(id))
      demand(
        OPERANDS[asked.opcode]?.includes(elements.length - 2) ?? true,
        'a reply with the wrong number of operands',
        () => `opcode ${asked.opcode}: ${JSON.stringify(elements)}`,
      )
    if (!this.#twins.has(id)) this.#checkRole(asked, elements)
    if (asked.opcode === Opcode.Quit && status === Status.Ok) {
      this.#isLeaving = true
      this.#asked = []
    }
    this.isLastWordSaid ||= LAST_WORDS.has(status) || (this.#isLeaving && this.#late.length === 0)
  }

  #checkRole({ opcode, isGranted = false }: Asked, [status, , , role]: readonly unknown[]): void {
    const isAllowed = isGranted || ALLOWED[this.role ?? 'nobody'].has(opcode)
    const isRefused = status === Status.Unauthenticated || status === Status.Forbidden
    if (Number(status) < Status.Malformed)
      demand(isAllowed, 'an answer to what it may not ask', () => `${this.role}: opcode ${opcode}`)
    if (AUTHENTICATION.has(opcode)) this.isLastWordSaid = status === Status.Unauthenticated
    else if (isRefused) {
      demand(!isAllowed, 'a refusal of what it may ask', () => `${this.role}: opcode ${opcode}`)
      if (this.role === undefined) this.isLastWordSaid = this.#wasForgiven
      this.#wasForgiven = true
    }
    if (opcode !== Opcode.AuthProof || status !== Status.Ok) return
    // What was asked before and is late was carried out under the former role.
    for (const late of this.#late) if (DEFERRED.has(late.opcode)) late.isGranted = true
    this.role = roleOf(role)
  }

  /** Takes the request with this id off the list; what stands before it may only be late. */
  #next(id: number): Asked | undefined {
    const at = this.#asked.findIndex((asked) => asked.id === id)
    const passed = at < 0 ? [] : this.#asked.slice(0, at)
    if (at >= 0 && passed.every((asked) => DEFERRED.has(asked.opcode) || this.#twins.has(asked.id))) {
      const found = this.#asked[at]
      // Two requests with one id, of which one may be late: nobody can tell which one this is the answer to.
      if (found !== undefined && DEFERRED.has(found.opcode))
        if (this.#asked.some((asked) => asked.id === id && asked !== found)) this.#twins.add(id)
      this.#late.push(...passed)
      this.#asked = this.#asked.slice(at + 1)
      return found
    }
    const late = this.#late.findIndex((asked) => asked.id === id)
    return late < 0 ? undefined : this.#late.splice(late, 1)[0]
  }
}

function roleOf(role: unknown): Role {
  const known = ROLES.find((one) => one === role)
  if (known !== undefined) return known
  throw new Violation('a role that there is not', String(role))
}

const NOBODY: Asked = { id: 0, opcode: -1 }

/** Opcode and id of a payload, in whatever encoding; undefined where there are none that can be. */
export function headOf(payload: Buffer): Asked | undefined {
  const list = listHead(payload)
  if (list === undefined || list.count < 2) return undefined
  const opcode = uintAt(payload, list.bytes)
  if (opcode === undefined) return undefined
  const id = uintAt(payload, list.bytes + opcode.bytes)
  if (id === undefined || id.value > 0xffff_ffff) return undefined
  // Only another server's messages may have id 0.
  return { id: id.value, opcode: opcode.value }
}

function listHead(payload: Buffer): { count: number; bytes: number } | undefined {
  const first = payload[0] ?? 0xc1
  if (first >= 0x90 && first <= 0x9f) return { count: first & 15, bytes: 1 }
  if (first === 0xdc && payload.length >= 3) {
    const count = payload.readUInt16BE(1)
    return count > payload.length - 3 ? undefined : { count, bytes: 3 }
  }
  if (first !== 0xdd || payload.length < 5) return undefined
  const count = payload.readUInt32BE(1)
  return count > payload.length - 5 ? undefined : { count, bytes: 5 }
}

function uintAt(payload: Buffer, at: number): { value: number; bytes: number } | undefined {
  const first = payload[at] ?? 0xc1
  if (first < 0x80) return { value: first, bytes: 1 }
  const read = NUMBERS[first]
  if (read === undefined || at + read.bytes > payload.length) return undefined
  const value = read.value(payload, at + 1)
  return Number.isSafeInteger(value) && value >= 0 ? { value: value + 0, bytes: read.bytes } : undefined
}

const NUMBERS: Readonly<Record<number, { bytes: number; value: (payload: Buffer, at: number) => number }>> = {
  204: { bytes: 2, value: (payload, at) => payload.readUInt8(at) },
  205: { bytes: 3, value: (payload, at) => payload.readUInt16BE(at) },
  206: { bytes: 5, value: (payload, at) => payload.readUInt32BE(at) },
  207: { bytes: 9, value: (payload, at) => Number(payload.readBigUInt64BE(at)) },
  208: { bytes: 2, value: (payload, at) => payload.readInt8(at) },
  209: { bytes: 3, value: (payload, at) => payload.readInt16BE(at) },
  210: { bytes: 5, value: (payload, at) => payload.readInt32BE(at) },
  211: { bytes: 9, value: (payload, at) => Number(payload.readBigInt64BE(at)) },
  202: { bytes: 5, value: (payload, at) => payload.readFloatBE(at) },
  203: { bytes: 9, value: (payload, at) => payload.readDoubleBE(at) },
}
