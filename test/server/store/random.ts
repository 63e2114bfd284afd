// Seeded random numbers: the same seed gives the same test.

export interface Random {
  /** An integer from 0 to `end` - 1. */
  below(end: number): number
  /** True in about one of `times` calls. */
  oneIn(times: number): boolean
  pick<T>(from: readonly [T, ...T[]]): T
}

/** A Weyl sequence through the mixer of SplitMix32. */
export function randomFrom(seed: number): Random {
  let state = Math.imul(seed, 0x9e37_79b1) | 0
  const next = () => {
    state = (state + 0x9e37_79b9) | 0
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0_aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97)
    return (mixed ^ (mixed >>> 15)) >>> 0
  }
  const below = (end: number) => next() % end
  return {
    below,
    oneIn: (times) => below(times) === 0,
    pick: (from) => from[below(from.length)] ?? from[0],
  }
}

/** `count` seeds from `SEED` on (environment; default 1). `SEEDS` overrides the count. */
export function seeds(count: number): number[] {
  const first = Number(process.env['SEED'] ?? 1)
  return Array.from({ length: Number(process.env['SEEDS'] ?? count) }, (_, i) => first + i)
}

/** For the title of a test: which seeds it runs. */
export function seedRange(count: number): string {
  const all = seeds(count)
  return `seeds ${all[0]} to ${all.at(-1)}`
}

/** Runs a test for each seed; a failure names the seed and how to run it alone. */
export function forEachSeed(count: number, test: (random: Random, seed: number) => void): void {
  for (const seed of seeds(count)) {
    try {
      test(randomFrom(seed), seed)
    } catch (error) {
      throw new Error(`seed ${seed} (alone: SEED=${seed} SEEDS=1): ${String(error)}`, { cause: error })
    }
  }
}
