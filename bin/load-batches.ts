// From the bytes of one request to batches of many: repeated, each with the number of its own key written into it.
// Knows no protocol: a template is bytes and the place of the key's digits in them. All requests of a template are
// equally long, so a batch is never encoded again: only digits are overwritten.

import type { Batch, BatchSource } from './load.ts'

const ZERO = 0x30

/** One request, and where in it the decimal digits of the key's number are; `digits` is 0 when it has no key. */
export interface RequestTemplate {
  bytes: Uint8Array
  digitsAt: number
  digits: number
}

/** Says the number of the next request's key. */
export type KeyNumbers = () => number

/** Finds the last run of `digits` zeros of the key in an encoded request; throws if the key is not in it. */
export function templateOf(request: Uint8Array, key: string, digits: number): RequestTemplate {
  const keyAt = Buffer.from(request.buffer, request.byteOffset, request.byteLength).indexOf(key)
  if (keyAt < 0) throw new Error(`the request does not contain its key ${key}`)
  return { bytes: request, digitsAt: keyAt + Buffer.byteLength(key) - digits, digits }
}

/** A new batch of `requests` copies of the template, keys numbered by `numbers`. */
export function newBatch(template: RequestTemplate, requests: number, numbers: KeyNumbers): Batch {
  const size = template.bytes.length
  const bytes = new Uint8Array(size * requests)
  for (let request = 0; request < requests; request++) bytes.set(template.bytes, request * size)
  const batch = { bytes, requests }
  renumber(batch, template, numbers)
  return batch
}

/** Writes new key numbers into a batch that is not in flight. */
export function renumber(batch: Batch, template: RequestTemplate, numbers: KeyNumbers): void {
  if (template.digits === 0) return
  const size = template.bytes.length
  for (let request = 0; request < batch.requests; request++) {
    writeDigits(batch.bytes, request * size + template.digitsAt, template.digits, numbers())
  }
}

/**
 * Gives batches of `depth` requests until `take` allows no more, overwriting the same bytes each time.
 * `take(most)` says how many requests the next batch may have, 0 to `most`; 0 ends it.
 */
export function renumberingSource(
  template: RequestTemplate,
  depth: number,
  numbers: KeyNumbers,
  take: (most: number) => number,
): BatchSource {
  const whole = newBatch(template, depth, () => 0)
  return () => {
    const requests = take(depth)
    if (requests === 0) return undefined
    const batch =
      requests === depth
        ? whole
        : { bytes: whole.bytes.subarray(0, requests * template.bytes.length), requests }
    renumber(batch, template, numbers)
    return batch
  }
}

/** Hands out `total` requests to all who share it. */
export function allowance(total: number): (most: number) => number {
  let left = total
  return (most) => {
    const requests = Math.min(most, left)
    left -= requests
    return requests
  }
}

function writeDigits(bytes: Uint8Array, at: number, digits: number, number: number): void {
  let rest = number
  for (let position = at + digits - 1; position >= at; position--) {
    const higher = Math.floor(rest / 10)
    bytes[position] = ZERO + (rest - higher * 10)
    rest = higher
  }
}
