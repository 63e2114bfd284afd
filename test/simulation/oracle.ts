// What must hold, whatever happens: the invariants of docs/replication.md, checked on every write, every read and at
// the end. It sees everything that is put into every store, and compares; it knows nothing of how the rules work.

import { isNewer } from '../../server/replication/order.ts'
import { RecordKind } from '../../server/store/store.ts'
import { KEYS } from './plan.ts'

export type Invariant =
  | 'I1 same version'
  | 'I2 newest survivor or miss'
  | 'I3 nothing comes back'
  | 'I4 never back per boot'
  | 'I5 acknowledged writes'
  | 'I6 expiry'
  | 'I8 bounded memory'
  | 'I9 local requests work'
  | 'I10 connected servers lose nothing'
  | 'L1 links within 15 s'
  | 'L2 streams run dry'
  | 'L3 rounds come to equal digests'
  | 'L4 markers go'
  | 'L5 members are the servers'
  | 'no errors'

export class Violation extends Error {
  override readonly name = 'Violation'
  readonly invariant: Invariant
  readonly key: number | undefined

  constructor(invariant: Invariant, key: number | undefined, message: string) {
    super(`${invariant}: ${message}`)
    this.invariant = invariant
    this.key = key
  }
}

export interface Version {
  hlc: number
  boot: string
  kind: RecordKind
}

/** One life of a server. */
export interface Life {
  readonly label: string
  readonly name: string
}

interface Written {
  /** What a read may find: the end of its life, Infinity = none. */
  expiresAtMs: number
  content: number
}

export class Oracle {
  /** The highest version each life has held of each key. */
  readonly #tops = new Map<Life, (Version | undefined)[]>()
  /** By label: the same over all its lives. */
  readonly #ever = new Map<string, (Version | undefined)[]>()
  readonly #newest: (Version | undefined)[] = []
  readonly #written: Map<string, Written>[] = Array.from({ length: KEYS }, () => new Map())
  /** Versions stamped by clocks that were wrong: what is new may look old. */
  readonly #odd = new Set<string>()
  watermark = 0
  /** The same, of clocks that were wrong as well. */
  anyWatermark = 0
  /** Values that were the newest, alive, and dropped because of what others had forgotten. */
  lost = 0

  begin(life: Life): void {
    this.#tops.set(life, [])
    if (!this.#ever.has(life.label)) this.#ever.set(life.label, [])
  }

  end(life: Life): void {
    this.#tops.delete(life)
  }

  /** A client's write. `isRight`: by a clock that shows the time. */
  wrote(key: number, version: Version, expiresAtMs: number, content: number, isRight: boolean): void {
    if (!isRight) this.#odd.add(nameOf(version))
    const end = expiresAtMs === 0 ? Number.POSITIVE_INFINITY : expiresAtMs
    this.#written[key]?.set(nameOf(version), { expiresAtMs: end, content })
  }

  /** Any record that is put into a store. */
  put(life: Life, key: number, hlc: number, boot: string, kind: RecordKind): void {
    const tops = this.#tops.get(life)
    if (tops === undefined) return
    const version = { hlc, boot, kind }
    const top = tops[key]
    // What a clock stamped that was wrong orders nothing: a server alone with such a version forgets it, and what comes
    // from others afterwards is later by the time of day.
    const isOdd = this.#odd.has(nameOf(version)) || (top !== undefined && this.#odd.has(nameOf(top)))
    if (top !== undefined && isBelow(version, top) && !isOdd)
      throw new Violation(
        'I4 never back per boot',
        key,
        `${life.name} held ${textOf(top)} and takes ${textOf(version)}`,
      )
    tops[key] = version
    const ever = this.#ever.get(life.label) ?? []
    if (isAbove(version, ever[key])) ever[key] = version
    if (isAbove(version, this.#newest[key])) this.#newest[key] = version
  }

  renewed(key: number, version: Version, expiresAtMs: number): void {
    const written = this.#written[key]?.get(nameOf(version))
    if (written !== undefined) written.expiresAtMs = Math.max(written.expiresAtMs, expiresAtMs)
  }

  /** A value that is about to be dropped because of what others forgot. */
  dropped(key: number, hlc: number, boot: string, isExpired: boolean): void {
    const newest = this.#newest[key]
    if (newest?.hlc === hlc && newest.boot === boot && !isExpired && hlc > this.watermark) this.lost++
  }

  /** What a client reads. `trueMs`: the time of day by a clock that is right. */
  read(
    life: Life,
    key: number,
    version: Version,
    expiresAtMs: number,
    content: number,
    trueMs: number,
    skewMsMax: number,
  ): void {
    const written = this.#written[key]?.get(nameOf(version))
    if (written === undefined)
      throw new Violation('no errors', key, `${life.name} serves ${textOf(version)}, which nobody ever wrote`)
    if (written.content !== content)
      throw new Violation('no errors', key, `${life.name} serves another value for ${textOf(version)}`)
    const end = expiresAtMs === 0 ? Number.POSITIVE_INFINITY : expiresAtMs
    if (end > written.expiresAtMs)
      throw new Violation(
        'I6 expiry',
        key,
        `${life.name} keeps ${textOf(version)} until ${end}, it was to live until ${written.expiresAtMs}`,
      )
    if (trueMs > end + skewMsMax)
      throw new Violation('I6 expiry', key, `${life.name} serves ${textOf(version)} ${trueMs - end} ms late`)
  }

  /** Stamped by a clock that was wrong: later versions may be lower. */
  isOdd(version: Version): boolean {
    return this.#odd.has(nameOf(version))
  }

  /** Servers, by any of their lives, that have held this version or a newer one of its key. */
  holders(key: number, version: Version, except: string): number {
    // What was flushed since is held by nobody, which is what its writer wants.
    if (version.hlc <= Math.max(this.watermark, this.anyWatermark)) return Number.POSITIVE_INFINITY
    let count = 0
    for (const [label, ever] of this.#ever) {
      const top = ever[key]
      if (label !== except && top !== undefined && !isBelow(top, version)) count++
    }
    return count
  }

  /** The newest version of a key that any of those alive has held, above the watermark. */
  survivor(key: number): Version | undefined {
    let newest: Version | undefined
    for (const tops of this.#tops.values()) {
      const top = tops[key]
      if (top !== undefined && top.hlc > this.watermark && isAbove(top, newest)) newest = top
    }
    return newest
  }
}

export function isBelow(one: Version, other: Version): boolean {
  return isAbove(other, one)
}

function isAbove(one: Version, other: Version | undefined): boolean {
  return other === undefined || isNewer(one.hlc, one.boot, one.kind, other.hlc, other.boot, other.kind)
}

function nameOf({ hlc, boot }: Version): string {
  return `${hlc}/${boot}`
}

export function textOf({ hlc, boot, kind }: Version): string {
  const what = kind === RecordKind.Value ? 'value' : kind === RecordKind.Ghost ? 'ghost' : 'tombstone'
  return `${what} ${hlc}/${boot.slice(0, 4)}`
}
