// Chance from a seed. Every source of it in a run is one of these, forked from the seed of the run.

export class Chance {
  #state: number

  constructor(seed: number) {
    this.#state = Math.imul(seed ^ 0x5bd1_e995, 0x9e37_79b1) | 0
  }

  /** 32 bits: a Weyl sequence through the mixer of SplitMix32. */
  bits(): number {
    this.#state = (this.#state + 0x9e37_79b9) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 16), 0x21f0_aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97)
    return (mixed ^ (mixed >>> 15)) >>> 0
  }

  /** Uniform in [0, 1). */
  fraction(): number {
    return this.bits() / 2 ** 32
  }

  /** An integer from 0 to `end` - 1. */
  below(end: number): number {
    return Math.floor(this.fraction() * end)
  }

  /** An integer from `from` to `to`. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1)
  }

  oneIn(times: number): boolean {
    return this.below(times) === 0
  }

  pick<T>(from: readonly [T, ...T[]]): T {
    return from[this.below(from.length)] ?? from[0]
  }

  /** 16 hexadecimal digits. */
  hex16(): string {
    return this.bits().toString(16).padStart(8, '0') + this.bits().toString(16).padStart(8, '0')
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256))
  }

  fork(): Chance {
    return new Chance(this.bits())
  }
}
