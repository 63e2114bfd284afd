// The store as naively as it can be said: one array of records, searched from end to end. No byte limit; whatever has
// expired is gone at the next call, not when somebody looks.
//
// `view` puts a real store into the same words, so that the two can be compared at every step: a value that has
// expired counts as what it will be once noticed.

import { chargeOf, timedBytesOf } from '../../../server/store/charge.ts'
import { NO_SLOT, RecordKind, type Retention } from '../../../server/store/store.ts'
import type { Driver, Put } from './driver.ts'

interface ModelRecord {
  key: string
  value: string
  kind: RecordKind
  flags: number
  hlc: number
  origin: number
  expiresAtMs: number
  lifetimeMs: number
}

export interface View {
  /** Live values, least recently used first. */
  lru: string[]
  /** Every record in the order of the change log, with all that is known of it. */
  log: string[]
  /** Keys of markers by age; those of expired values left out, since each store notices an expiry in its own time. */
  markers: string[]
  markerBytes: number
  evictions: number
}

/** Whether a version may be forgotten, known from its stamp alone, so that model and store agree. */
export type MayForget = (hlc: number) => boolean

export class Model {
  readonly #entriesMax: number
  readonly mayForget: MayForget
  /** Flags of the ghosts that are made now. */
  markerFlags = 0
  /** In the order of writing. */
  #log: ModelRecord[] = []
  /** Values in the order of use, least recent first. */
  #lru: ModelRecord[] = []
  /** Markers by age, but for those of expired values. */
  #markers: ModelRecord[] = []
  #evictions = 0
  #watermark = 0
  nowMs: number

  constructor(entriesMax: number, mayForget: MayForget, nowMs: number) {
    this.#entriesMax = entriesMax
    this.mayForget = mayForget
    this.nowMs = nowMs
  }

  put(key: string, value: string, hlc: number, how: Put): void {
    this.expire()
    const former = this.#log.find((record) => record.key === key)
    if (former !== undefined) this.#remove(former)
    const kind = how.kind ?? RecordKind.Value
    const record = {
      key,
      value,
      kind,
      flags: how.flags ?? 0,
      hlc,
      origin: how.origin ?? 0,
      expiresAtMs: how.expiresAtMs ?? (how.ttlMs === undefined ? 0 : this.nowMs + how.ttlMs),
      lifetimeMs: how.lifetimeMs ?? how.ttlMs ?? 0,
    }
    if (kind === RecordKind.Value) {
      if (this.#lru.length >= this.#entriesMax) {
        const oldest = this.#lru[0]
        if (oldest !== undefined) this.#evict(oldest)
      }
      this.#lru.push(record)
    } else {
      this.#markers.push(record)
    }
    this.#log.push(record)
  }

  /** The value; a hit is a use. */
  get(key: string): string | undefined {
    const record = this.#live(key)
    if (record === undefined) return undefined
    this.#lru = [...this.#lru.filter((other) => other !== record), record]
    return record.value
  }

  peek(key: string): string | undefined {
    return this.#live(key)?.value
  }

  forget(key: string): boolean {
    const record = this.#live(key)
    if (record !== undefined) this.#remove(record)
    return record !== undefined
  }

  forgetMarker(key: string): boolean {
    this.expire()
    const record = this.#log.find((other) => other.key === key && other.kind !== RecordKind.Value)
    if (record !== undefined) this.#remove(record)
    return record !== undefined
  }

  /** Of a value or a marker. */
  strip(key: string, kind: RecordKind, flags?: number): boolean {
    this.expire()
    const record = this.#log.find((other) => other.key === key)
    if (record === undefined) return false
    this.#strip(record, kind, flags ?? record.flags)
    this.#markers = [...this.#markers.filter((other) => other !== record), record]
    return true
  }

  /** Bytes are no limit here. */
  fits(): boolean {
    this.expire()
    return this.#lru.length < this.#entriesMax
  }

  setExpiry(key: string, expiresAtMs: number): boolean {
    const record = this.#live(key)
    if (record === undefined || record.lifetimeMs === 0) return false
    record.expiresAtMs = expiresAtMs
    return true
  }

  flush(watermark: number): void {
    this.expire()
    this.#watermark = Math.max(this.#watermark, watermark)
    const stays = (record: ModelRecord) => record.hlc > this.#watermark
    this.#log = this.#log.filter(stays)
    this.#lru = this.#lru.filter(stays)
    this.#markers = this.#markers.filter(stays)
  }

  resetWatermark(to: number): void {
    this.#watermark = Math.min(this.#watermark, to)
  }

  view(): View {
    this.expire()
    return {
      lru: this.#lru.map((record) => record.key),
      log: this.#log.map((record) => described(record)),
      markers: this.#markers.map((record) => record.key),
      markerBytes: this.#log.reduce((sum, record) => sum + markerBytesOf(record), 0),
      evictions: this.#evictions,
    }
  }

  logKeys(): string[] {
    return this.#log.map((record) => record.key)
  }

  expire(): void {
    for (const record of [...this.#lru])
      if (record.expiresAtMs !== 0 && record.expiresAtMs <= this.nowMs) this.#letGo(record)
  }

  #evict(record: ModelRecord): void {
    this.#evictions++
    this.#letGo(record)
    if (record.kind === RecordKind.Ghost) this.#markers.push(record)
  }

  #live(key: string): ModelRecord | undefined {
    this.expire()
    return this.#lru.find((record) => record.key === key)
  }

  #letGo(record: ModelRecord): void {
    if (this.mayForget(record.hlc)) this.#remove(record)
    else this.#strip(record, RecordKind.Ghost, this.markerFlags)
  }

  #strip(record: ModelRecord, kind: RecordKind, flags: number): void {
    record.kind = kind
    record.flags = flags
    record.value = ''
    record.expiresAtMs = 0
    this.#lru = this.#lru.filter((other) => other !== record)
  }

  #remove(record: ModelRecord): void {
    this.#log = this.#log.filter((other) => other !== record)
    this.#lru = this.#lru.filter((other) => other !== record)
    this.#markers = this.#markers.filter((other) => other !== record)
  }
}

/** The same retention for a store. */
export function retentionOf(driver: Driver, mayForget: MayForget): Retention {
  return {
    mayForget: (slot) => mayForget(driver.headOf(slot).hlc),
    get markerFlags() {
      return driver.markerFlags
    },
  }
}

export function viewOf(driver: Driver, model: Model): View {
  const { store, nowMs } = driver
  const isDue = (expiresAtMs: number) => expiresAtMs !== 0 && expiresAtMs <= nowMs
  const lru: string[] = []
  for (let slot = store.oldest(); slot !== NO_SLOT; slot = store.newer(slot))
    if (!isDue(store.expiresAtMs(slot))) lru.push(driver.keyOf(slot))
  const log: string[] = []
  let { markerBytes } = store
  for (const slot of driver.log()) {
    const head = driver.headOf(slot)
    const record = { ...head, key: driver.keyOf(slot), value: driver.valueOf(slot) }
    if (head.kind !== RecordKind.Value || !isDue(head.expiresAtMs)) {
      log.push(described(record))
    } else if (!model.mayForget(head.hlc)) {
      const ghost = { kind: RecordKind.Ghost, flags: model.markerFlags, value: '', expiresAtMs: 0 }
      log.push(described({ ...record, ...ghost }))
      markerBytes += markerBytesOf({ ...record, ...ghost })
    }
  }
  driver.checkMarkers()
  const noticed = new Set(model.view().markers)
  const markers = driver.markers().filter((key) => noticed.has(key))
  return { lru, log, markers, markerBytes, evictions: store.stats().evictions }
}

/** What a record is charged as a marker; 0 for a value. */
function markerBytesOf({ kind, key, expiresAtMs, lifetimeMs }: ModelRecord): number {
  return kind === RecordKind.Value ? 0 : chargeOf(key.length, 0, timedBytesOf(expiresAtMs, lifetimeMs))
}

function described(record: ModelRecord): string {
  const { key, value, kind, flags, hlc, origin, expiresAtMs, lifetimeMs } = record
  const shown = value.length > 40 ? `${value.slice(0, 40)}… (${value.length})` : value
  return `${key} = ${shown}; ${kind} ${flags} ${hlc}@${origin}, expires ${expiresAtMs}, lifetime ${lifetimeMs}`
}
