// What a record costs: the one formula by which every store charges bytes against its limit.
//
// Between a store's accounting and the statistics people read. Knows no store. It is the arena's layout put in
// numbers; the heap store charges the same, so that a limit means the same whichever store runs, and a record's charge
// follows from its own sizes alone, never from where it happens to lie.

/** A record's head: version, sizes, links. */
export const HEAD_CHARGE_BYTES = 40
/** The optional part of a head that holds an expiry and a lifetime. */
export const TIMED_CHARGE_BYTES = 20
/** A record's share of the index and of the change log. */
export const INDEX_AND_LOG_BYTES = 16
/** Head, key and value are rounded up to whole units of this many bytes … */
export const CHARGE_UNIT_BYTES = 8
/** … and are at least this much: a freed record must be able to hold the links of a free extent. */
export const CHARGE_UNITS_BYTES_MIN = 48

/** Bytes of a record's timed part: there or not. */
export type TimedBytes = 0 | typeof TIMED_CHARGE_BYTES

/** The timed part that a record with these times needs. Milliseconds; 0 = none. */
export function timedBytesOf(expiresAtMs: number, lifetimeMs: number): TimedBytes {
  return expiresAtMs === 0 && lifetimeMs === 0 ? 0 : TIMED_CHARGE_BYTES
}

/** Bytes charged for a record. What goes beyond `keyBytes + valueBytes` is overhead. */
export function chargeOf(keyBytes: number, valueBytes: number, timedBytes: TimedBytes): number {
  const bytes = HEAD_CHARGE_BYTES + timedBytes + keyBytes + valueBytes
  const whole = Math.ceil(bytes / CHARGE_UNIT_BYTES) * CHARGE_UNIT_BYTES
  return Math.max(whole, CHARGE_UNITS_BYTES_MIN) + INDEX_AND_LOG_BYTES
}
