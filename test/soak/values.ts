// Values that tell whether they are right: each is made of its own key and length, over and over, so that a byte of
// another value, or of another reply, shows.

/** Large ones, for those who ask and never read. */
export const LARGE_VALUES = 16
export const LARGE_VALUE_BYTES = 256 * 1024

export const VALUE_BYTES_MIN = 100
export const VALUE_BYTES_MAX = 10 * 1024

export function valueFor(key: string, bytes: number): Buffer {
  return Buffer.alloc(bytes, headOf(key, bytes))
}

/** Whether this is a value of the key, of whatever length. */
export function isValueOf(key: string, value: unknown): boolean {
  return Buffer.isBuffer(value) && value.equals(valueFor(key, value.length))
}

export function largeKey(number: number): string {
  return `large:${number}`
}

function headOf(key: string, bytes: number): string {
  return `${key}/${bytes}|`
}
