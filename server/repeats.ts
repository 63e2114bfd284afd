// What happens again and again, counted by whom it is about: a line of the log for the first time, and then for every
// tenth, hundredth, thousandth …
//
// Between those who log what strangers can cause and the logger. Strangers call themselves something else each time: so
// the names that are remembered are bounded, and all others count as one.

/** Names that are remembered. */
const KEYS_MAX = 256
/** Whoever came when there were as many is counted here, together with all such. */
const OTHERS = ''

export class Repeats {
  readonly #counts = new Map<string, number>()

  /** How often it happened, this time included. */
  count(key: string): number {
    const isCounted = this.#counts.size < KEYS_MAX || this.#counts.has(key)
    const counted = isCounted ? key : OTHERS
    const times = (this.#counts.get(counted) ?? 0) + 1
    this.#counts.set(counted, times)
    return times
  }

  /** Counts anew what is over. */
  forget(isOver: (key: string) => boolean): void {
    for (const key of [...this.#counts.keys()]) if (isOver(key)) this.#counts.delete(key)
  }
}

/** Whether so many times are worth a line: 1, 10, 100, … */
export function isRound(times: number): boolean {
  return Number.isInteger(Math.log10(times))
}

/** Longest name that a line repeats, in characters. */
const NAME_CHARS_MAX = 64

/** A name that a stranger chose, as a line of the log may show it: cut, and nothing but printable ASCII. */
export function printable(name: string): string {
  const cut = name.length > NAME_CHARS_MAX ? `${name.slice(0, NAME_CHARS_MAX)}…` : name
  return cut.replace(/[^\x20-\x7e…]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Of an `address:port`, the address. What to count by: blockIn, of address-block.ts. */
export function addressIn(remote: string): string {
  return remote.slice(0, Math.max(remote.lastIndexOf(':'), 0)) || remote
}
