// How people write sizes, durations, switches, counts and addresses, in flags, variables and messages; each notation
// reads what it writes. Knows no setting, no limit and no environment: ranges are checked where the option is known.

const KIB = 1024
const SIZE_UNITS: readonly (readonly [string, number])[] = [
  ['tb', KIB ** 4],
  ['gb', KIB ** 3],
  ['mb', KIB ** 2],
  ['kb', KIB],
  ['b', 1],
]
const DURATION_UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
]

export interface Notation<T> {
  /** Completes "allowed: …" in a refusal. */
  readonly allowed: string
  /** undefined: the text is not in this notation. Blanks around it are the caller's to trim. */
  parse(text: string): T | undefined
  format(value: T): string
}

/**
 * Bytes, with units of 1024: `64mb`, `256m`, `1GiB`, `1.5g`. A bare number is refused: users of memcached mean
 * megabytes by it, users of redis bytes, and a silent factor of a million is the worse surprise.
 */
export const size: Notation<number> = {
  allowed: 'a size with its unit (of 1024), such as 512kb, 256m or 1GiB; a bare number is ambiguous',
  parse(text) {
    const [, digits, letter] = /^(\d{1,15}(?:\.\d{1,6})?) ?(?:([kmgt])(?:i?b)?|b)$/i.exec(text) ?? []
    if (digits === undefined) return undefined
    const unit = SIZE_UNITS.find(([name]) => name === `${(letter ?? '').toLowerCase()}b`)
    const bytes = Math.floor(Number(digits) * (unit?.[1] ?? 1))
    return Number.isSafeInteger(bytes) ? bytes : undefined
  },
  format: (bytes) => (bytes === 0 ? '0b' : inLargestUnit(bytes, SIZE_UNITS)),
}

/** Whole milliseconds: `500ms`, `90` or `90s`, `5m`, `1h`, `2d`, `1.5h`; without a unit, seconds. */
export const duration: Notation<number> = {
  allowed: 'a duration in whole milliseconds, such as 500ms, 90 (seconds), 5m or 1h',
  parse(text) {
    const [, digits, unitName] = /^(\d{1,15}(?:\.\d{1,6})?) ?(ms|s|m|h|d)?$/i.exec(text) ?? []
    if (digits === undefined) return undefined
    const name = (unitName ?? 's').toLowerCase()
    const exactMs = Number(digits) * (DURATION_UNITS.find(([unit]) => unit === name)?.[1] ?? 1000)
    const wholeMs = Math.round(exactMs)
    const isWhole = Math.abs(exactMs - wholeMs) <= wholeMs * Number.EPSILON
    return isWhole && Number.isSafeInteger(wholeMs) ? wholeMs : undefined
  },
  format: (ms) => (ms === 0 ? '0' : inLargestUnit(ms, DURATION_UNITS)),
}

/** Of what a multiplication adds to a number of milliseconds, and more. */
const ROUNDING = 2 ** -51

/** Seconds in milliseconds, rounded up to a whole number: but 2.007 are 2007, though 2.007 * 1000 is a trifle more. */
export function wholeMs(seconds: number): number {
  return Math.ceil(seconds * 1000 * (1 - ROUNDING))
}

export const toggle: Notation<boolean> = {
  allowed: 'true or false (also 1/0, yes/no, on/off)',
  parse(text) {
    if (/^(true|1|yes|on)$/i.test(text)) return true
    if (/^(false|0|no|off)$/i.test(text)) return false
    return undefined
  },
  format: (value) => (value ? 'true' : 'false'),
}

export const count: Notation<number> = {
  allowed: 'a whole number without a unit, such as 10000',
  parse: (text) => (/^\d{1,15}$/.test(text) ? Number(text) : undefined),
  format: String,
}

/** Where to listen or to dial. `host` is without the brackets of IPv6. */
export interface HostPort {
  host?: string
  port: number
}

/** `11142`, `host:11142`, `[::1]:11142`. Whether the host exists is for the resolver to say. */
export const hostPort: Notation<HostPort> = {
  allowed: 'a port from 0 to 65535, or host:port such as 127.0.0.1:11142 or [::1]:11142',
  parse(text) {
    const [, bracketed, plain, digits] = /^(?:(?:\[([^[\]]+)\]|([^:[\]]+)):)?(\d{1,5})$/.exec(text) ?? []
    const port = Number(digits)
    if (digits === undefined || port > 65_535) return undefined
    const host = bracketed ?? plain
    return host === undefined ? { port } : { host, port }
  },
  format: ({ host, port }) => {
    if (host === undefined) return String(port)
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  },
}

function inLargestUnit(value: number, units: readonly (readonly [string, number])[]): string {
  const [name, factor] = units.find(([, size]) => value >= size && value % size === 0) ?? ['', 1]
  return `${value / factor}${name}`
}
