// The little arithmetic of the benchmark: medians of rounds, ratios, and figures as people read them. Pure.

/** The middle of the values, the mean of the two middle ones for an even count; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  if (sorted.length % 2 === 1) return upper
  return ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** The value that `percent` of the values do not exceed (nearest rank); NaN of none. Sorts in place. */
export function percentile(values: Float64Array, percent: number): number {
  values.sort()
  const rank = Math.max(1, Math.ceil((percent / 100) * values.length))
  return values[rank - 1] ?? Number.NaN
}

/** Operations per second in thousands: 1234567 → '1235', 9876 → '9.9'; a missing measurement is a dash. */
export function thousands(perSecond: number): string {
  if (!Number.isFinite(perSecond)) return '–'
  const value = perSecond / 1000
  return value < 10 ? value.toFixed(1) : value.toFixed(0)
}

/** A ratio with two decimals, or a dash when one side is missing. */
export function ratio(measured: number, other: number): string {
  const value = measured / other
  return Number.isFinite(value) ? value.toFixed(2) : '–'
}

/** Mebibytes, rounded. */
export function mebibytes(bytes: number): string {
  return Number.isFinite(bytes) ? (bytes / 1024 ** 2).toFixed(0) : '–'
}
