// What can be wrong with a value, in either direction, and the bounds that say so.
// Storing: TypeError or RangeError, because the caller's argument is at fault. Retrieving: ValueError, because
// bytes that somebody else wrote are.

/**
 * Containers nest at most this deep, stored or retrieved: encoding and decoding recurse, and this many levels fit
 * on any stack. A deeper value is a RangeError, deeper bytes are a ValueError.
 */
export const VALUE_DEPTH_MAX = 256

/**
 * Most elements of a value that needs the Extended form. A sparse array claims billions of elements that cost
 * nothing until somebody writes them out; beyond this a RangeError.
 */
export const VALUE_ITEMS_MAX = 2 ** 22

/** Value bytes, or their flags byte, that are not what PROTOCOL.md says. The message says what and where. */
export class ValueError extends Error {
  override readonly name = 'ValueError'
}

/** Gives `error` the key as a property that loggers do not print: keys are the caller's secrets. */
export function withKey<E extends Error>(error: E, key: string | undefined): E {
  if (key !== undefined) Object.defineProperty(error, 'key', { value: key, enumerable: false })
  return error
}
