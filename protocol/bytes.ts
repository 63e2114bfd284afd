// Copies between byte arrays: the one place that knows which way is fastest for which size.

/**
 * Up to this size a loop is faster than making a view and calling `set`.
 * Measured on Node 20 (`node --import tsx test/bench/micro.ts`): see docs/performance.md.
 */
const LOOP_BYTES_MAX = 48

/** Copies `length` bytes; both ranges must exist. The arrays may not overlap. */
export function copyBytes(
  from: Uint8Array,
  fromAt: number,
  length: number,
  to: Uint8Array,
  toAt: number,
): void {
  if (length <= LOOP_BYTES_MAX) {
    for (let i = 0; i < length; i++) to[toAt + i] = from[fromAt + i] as number
    return
  }
  to.set(from.subarray(fromAt, fromAt + length), toAt)
}
