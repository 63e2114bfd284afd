// What an error reply says to people. Between whoever got one, the link or an owner of it, and the reader.

import type { Reader } from './reader.ts'

/** Most of a text that is repeated: it may come from anybody. Characters. */
const TEXT_CHARS_MAX = 500

/** The text of an error reply, its first operand. */
export function errorText(reply: Reader): string {
  return reply.optional() ? reply.string().slice(0, TEXT_CHARS_MAX) : '(no text)'
}
