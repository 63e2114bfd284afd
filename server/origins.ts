// The table of origins: 16-bit indexes that stand for boot ids in records.
//
// A record has two bytes for the origin of its version; a boot id has eight. An index is given out when a boot is
// first seen and is free again when no record bears it, which is found out only when all are taken: 65 535 restarts.

import { BOOT_ID_BYTES } from '../protocol/limits.ts'

/** 8 random bytes of a server's process as 16 hexadecimal digits. */
export type BootId = string

const ORIGINS_MAX = 0x1_0000
/** No index is left. */
export const NO_ORIGIN = -1

export class Origins {
  /** Index of this server's present boot. */
  self = 0
  readonly #ids: (BootId | undefined)[] = []
  readonly #words: number[] = []
  readonly #indexes = new Map<BootId, number>()
  readonly #max: number
  #free: number[] = []

  /** `max`: how many indexes there are; fewer only in tests. */
  constructor(self: BootId, max: number = ORIGINS_MAX) {
    this.#max = max
    this.self = this.indexOf(self)
  }

  get count(): number {
    return this.#indexes.size
  }

  /** Boot id of a record's origin. */
  idOf(index: number): BootId {
    const id = this.#ids[index]
    if (id === undefined) throw new Error(`origin ${index} is not in the table`)
    return id
  }

  /** The boot id's two words, as `writeBoot` wants them: 4 bytes each, big-endian, signed. */
  highWord(index: number): number {
    return this.#words[index * 2] as number
  }

  lowWord(index: number): number {
    return this.#words[index * 2 + 1] as number
  }

  /** The index of a boot, given out now if it has none; NO_ORIGIN when all are taken (then see `reclaim`). */
  indexOf(id: BootId): number {
    const known = this.#indexes.get(id)
    if (known !== undefined) return known
    const index = this.#free.pop() ?? this.#ids.length
    if (index >= this.#max) return NO_ORIGIN
    this.#ids[index] = id
    this.#words[index * 2] = Number.parseInt(id.slice(0, 8), 16) | 0
    this.#words[index * 2 + 1] = Number.parseInt(id.slice(8), 16) | 0
    this.#indexes.set(id, index)
    return index
  }

  /** Frees the indexes that no record bears. Returns the index that was given out first among the others but self. */
  reclaim(isBorne: (index: number) => boolean): number {
    let oldest = NO_ORIGIN
    for (const [id, index] of this.#indexes) {
      if (index === this.self) continue
      if (isBorne(index)) {
        if (oldest === NO_ORIGIN) oldest = index
      } else {
        this.#indexes.delete(id)
        this.#ids[index] = undefined
        this.#free.push(index)
      }
    }
    return oldest
  }
}

/** A boot id from its bytes. */
export function bootIdOf(bytes: Uint8Array, at = 0): BootId {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, BOOT_ID_BYTES).toString('hex')
}
