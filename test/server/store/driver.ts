// Lets tests speak to a store in keys and values instead of spans, heads and slots, and look at the whole of it.
//
// Every byte goes in inside a larger buffer that is scribbled over right after the call, and out into a larger one
// whose surroundings are checked: a store that keeps a caller's buffer, or is off by one, fails whatever test it is in.

import { chargeOf, timedBytesOf } from '../../../server/store/charge.ts'
import {
  emptyHead,
  NO_SLOT,
  type RecordHead,
  RecordKind,
  type Slot,
  type Span,
  type Store,
  type StoreOptions,
} from '../../../server/store/store.ts'
import { alike } from './alike.ts'
import { randomFrom } from './random.ts'

export type Key = string | Uint8Array
export type MakeStore = (options: StoreOptions) => Store

export interface Put {
  kind?: RecordKind
  flags?: number
  hlc?: number
  origin?: number
  /** Relative to the driver's time, and written as the lifetime too. */
  ttlMs?: number
  expiresAtMs?: number
  lifetimeMs?: number
}

export const HASH_KEY = new Uint8Array(16).map((_, i) => i * 37 + 11)
/** 2024-01-01: a time of day like any other. */
export const START_MS = 1_704_067_200_000

const SURROUNDINGS = 0xa5
const FRAME_BYTES = 8
let scratch = Buffer.alloc(1024)

export class Driver {
  readonly store: Store
  nowMs = START_MS
  hlc = 0
  /** For retention: flags of the ghosts it makes. */
  markerFlags = 0
  #turn = 0

  constructor(store: Store) {
    this.store = store
  }

  /** Puts a value, or a marker if `how.kind` says so. Returns whether it fit. */
  put(key: Key, value: Key = '', how: Put = {}): boolean {
    const head: RecordHead = {
      ...emptyHead(),
      kind: how.kind ?? RecordKind.Value,
      flags: how.flags ?? 0,
      hlc: how.hlc ?? ++this.hlc,
      origin: how.origin ?? 0,
      expiresAtMs: how.expiresAtMs ?? (how.ttlMs === undefined ? 0 : this.nowMs + how.ttlMs),
      lifetimeMs: how.lifetimeMs ?? how.ttlMs ?? 0,
    }
    this.hlc = Math.max(this.hlc, head.hlc)
    const keySpan = this.#span(key)
    const valueSpan = this.#span(value)
    const hash = this.store.hash(keySpan)
    const slot = this.store.find(hash, keySpan)
    const put = this.store.put(hash, slot, keySpan, valueSpan, head, this.nowMs)
    keySpan.bytes.fill(SURROUNDINGS)
    valueSpan.bytes.fill(SURROUNDINGS)
    return put !== NO_SLOT
  }

  /** The value as a string of bytes; a hit is a use. */
  get(key: Key): string | undefined {
    const slot = this.findLive(key)
    if (slot === NO_SLOT) return undefined
    this.store.touch(slot)
    return this.valueOf(slot)
  }

  /** The value, leaving the LRU order alone. */
  peek(key: Key): string | undefined {
    const slot = this.findLive(key)
    return slot === NO_SLOT ? undefined : this.valueOf(slot)
  }

  find(key: Key): Slot {
    const span = this.#span(key)
    return this.store.find(this.store.hash(span), span)
  }

  findLive(key: Key): Slot {
    const span = this.#span(key)
    return this.store.findLive(this.store.hash(span), span, this.nowMs)
  }

  /** Whether there was a value to forget. */
  forget(key: Key): boolean {
    const slot = this.findLive(key)
    if (slot !== NO_SLOT) this.store.forget(slot, 'deleted')
    return slot !== NO_SLOT
  }

  headOf(slot: Slot): RecordHead {
    const head = emptyHead()
    this.store.head(slot, head)
    return head
  }

  headOfKey(key: Key): RecordHead | undefined {
    const slot = this.find(key)
    return slot === NO_SLOT ? undefined : this.headOf(slot)
  }

  /** As a string of one character per byte, like `keyOf`. */
  valueOf(slot: Slot): string {
    const target = framed(this.store.valueBytes(slot))
    this.store.copyValue(slot, target, FRAME_BYTES)
    return unframed(target, this.store.valueBytes(slot))
  }

  keyOf(slot: Slot): string {
    const target = framed(this.store.keyBytes(slot))
    this.store.copyKey(slot, target, FRAME_BYTES)
    return unframed(target, this.store.keyBytes(slot))
  }

  /** Keys from the least to the most recently used. */
  lru(): string[] {
    const keys: string[] = []
    for (let slot = this.store.oldest(); slot !== NO_SLOT; slot = this.store.newer(slot))
      keys.push(this.keyOf(slot))
    return keys
  }

  /** Slots in the order of the change log. */
  log(): Slot[] {
    const slots: Slot[] = []
    const head = emptyHead()
    let seq = 0
    for (let slot = this.store.next(0); slot !== NO_SLOT; slot = this.store.next(seq)) {
      this.store.head(slot, head)
      if (head.seq <= seq) throw new Error(`change log: ${head.seq} follows ${seq}`)
      seq = head.seq
      slots.push(slot)
    }
    return slots
  }

  logKeys(): string[] {
    return this.log().map((slot) => this.keyOf(slot))
  }

  /** Keys of ghosts and tombstones from the oldest to the youngest. */
  markers(): string[] {
    const keys: string[] = []
    for (let slot = this.store.oldestMarker(); slot !== NO_SLOT; slot = this.store.newerMarker(slot))
      keys.push(this.keyOf(slot))
    return keys
  }

  scanKeys(count = 10): string[] {
    const keys: string[] = []
    let cursor = 0
    do {
      const next = this.store.scan(cursor, count, this.nowMs, (slot) => keys.push(this.keyOf(slot)))
      if (next !== 0 && next <= cursor) throw new Error(`scan: the cursor ${next} came after ${cursor}`)
      cursor = next
    } while (cursor !== 0)
    return keys
  }

  /** Sweeps until there is nothing left to do. */
  sweepAll(): void {
    for (let calls = 0; this.store.sweep(this.nowMs, 1000) >= 1000; calls++)
      if (calls > 10_000) throw new Error('a sweep that never ends')
  }

  forgetAll(): void {
    for (let slot = this.store.next(0); slot !== NO_SLOT; slot = this.store.next(0))
      this.store.forget(slot, 'deleted')
  }

  /** What the charge formula says about the records there are. */
  chargedBytes(slots: Slot[] = this.log()): number {
    let bytes = 0
    for (const slot of slots) {
      const head = this.headOf(slot)
      bytes += chargeOf(head.keyBytes, head.valueBytes, timedBytesOf(head.expiresAtMs, head.lifetimeMs))
    }
    return bytes
  }

  /** Throws unless the markers by age, their counts and their charge are those of the change log. */
  checkMarkers(): void {
    const logged = this.log().filter((slot) => this.store.kind(slot) !== RecordKind.Value)
    const ghosts = logged.filter((slot) => this.store.kind(slot) === RecordKind.Ghost).length
    const stats = this.store.stats()
    alike(this.markers().sort(), logged.map((slot) => this.keyOf(slot)).sort())
    alike([stats.ghosts, stats.tombstones], [ghosts, logged.length - ghosts])
    alike(this.store.markerBytes, this.chargedBytes(logged))
  }

  #span(content: Key): Span {
    const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content
    // Every alignment comes up, inside a plain array and inside a Buffer (their methods are not all the same), with a
    // view and without.
    const turn = this.#turn++
    const at = turn & 15
    const length = at + bytes.length + 5
    const whole = (turn & 16) === 0 ? new Uint8Array(length) : Buffer.allocUnsafe(length)
    whole.fill(SURROUNDINGS)
    whole.set(bytes, at)
    const view = (turn & 32) === 0 ? undefined : new DataView(whole.buffer, whole.byteOffset, length)
    return { bytes: whole, view, at, length: bytes.length }
  }
}

/** A target whose surroundings show whether something was copied beyond it; used again and again. */
function framed(length: number): Buffer {
  if (scratch.length < length + 2 * FRAME_BYTES) scratch = Buffer.alloc(2 * length + 2 * FRAME_BYTES)
  for (let i = 0; i < FRAME_BYTES; i++) {
    scratch[i] = SURROUNDINGS
    scratch[length + FRAME_BYTES + i] = SURROUNDINGS
  }
  return scratch
}

function unframed(target: Buffer, length: number): string {
  for (let i = 0; i < FRAME_BYTES; i++)
    if (target[i] !== SURROUNDINGS || target[length + FRAME_BYTES + i] !== SURROUNDINGS)
      throw new Error(`copied beyond the ${length} bytes it has`)
  return target.toString('latin1', FRAME_BYTES, FRAME_BYTES + length)
}

export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

/** Bytes that differ from key to key and from size to size, so that a mix-up shows. */
export function pattern(length: number, seed = 1): Uint8Array {
  const random = randomFrom(seed * 7919 + length)
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i += 1024) bytes.fill(random.below(256), i, i + 1024)
  for (let i = 0; i < Math.min(length, 64); i++) bytes[i] = random.below(256)
  return bytes
}
