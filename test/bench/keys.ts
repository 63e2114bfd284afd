// The key set all contestants are measured with: 23 bytes, of which the last ten are a number.

export const KEY_PREFIX = 'user:session:'
export const KEY_DIGITS = 10
export const KEY_BYTES = KEY_PREFIX.length + KEY_DIGITS

/** The key of a number, 0 to 10^10 - 1. */
export function keyOf(number: number): string {
  return KEY_PREFIX + `${number}`.padStart(KEY_DIGITS, '0')
}
