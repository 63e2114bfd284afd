// Hybrid logical clock: version stamps that follow wall time and never repeat or go back.
//
// The problem: versions from several servers must be ordered, close to real time, without asking anybody. Wall clocks
// alone collide within a millisecond and step backwards; counters alone say nothing about time. A hybrid clock
// (Kulkarni et al., "Logical Physical Clocks", 2014) is the wall clock while that moves on, and counts while it does not.
//
//   hlc = (wall ms since 2020-01-01 UTC) * 4096 + counter        one safe integer until the year 2089
//
// More than 4096 stamps in one millisecond simply run into the next one. The wall clock is handed in.

/** 2020-01-01T00:00:00Z in ms since 1970. */
export const HLC_EPOCH_MS = 1_577_836_800_000
export const HLC_TICKS_PER_MS = 4096

export class HybridClock {
  #last = 0

  /** The last stamp given or seen. */
  get last(): number {
    return this.#last
  }

  /** A new stamp, above every stamp given or seen before. */
  tick(wallMs: number): number {
    const wall = hlcOfWall(wallMs)
    this.#last = wall > this.#last ? wall : this.#last + 1
    return this.#last
  }

  /** Starts anew, for a server whose wall clock was set back: whoever calls this gives up its former stamps. */
  reset(wallMs: number): void {
    this.#last = hlcOfWall(wallMs)
  }

  /** Has seen a remote stamp: later ticks are above it. The caller checked how far ahead it is. */
  receive(remote: number): void {
    if (remote > this.#last) this.#last = remote
  }
}

/** The lowest stamp of a wall-clock millisecond. */
export function hlcOfWall(wallMs: number): number {
  return Math.max(0, Math.floor(wallMs) - HLC_EPOCH_MS) * HLC_TICKS_PER_MS
}

/** The wall-clock millisecond of a stamp, in ms since 1970. */
export function wallOfHlc(hlc: number): number {
  return Math.floor(hlc / HLC_TICKS_PER_MS) + HLC_EPOCH_MS
}
