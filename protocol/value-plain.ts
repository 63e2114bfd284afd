// Decides whether plain MessagePack can say a JavaScript value exactly, before it is packed. It changes nothing and
// explains nothing: for everything that is not certainly plain the answer is no, and value-table-writer.ts looks closer.
// Costs under a third of the packing itself (255 ns for an object of 214 bytes in four containers).
//
// A container met twice is not plain: it may be a cycle, or a diamond that would be written out 2^n times, and only
// the table keeps its identity. The first containers are compared one by one, the rest goes through a Set.

import { VALUE_DEPTH_MAX } from './value-error.ts'

const SCANNED_CONTAINERS_MAX = 16

const scanned: (object | undefined)[] = new Array<undefined>(SCANNED_CONTAINERS_MAX).fill(undefined)
let scannedCount = 0
let others: Set<object> | undefined

/**
 * Whether `value` survives plain MessagePack unchanged. Runs getters of the value; one that throws throws here, one
 * that calls this again is safe (at worst the outer answer is no).
 */
export function isPlain(value: unknown): boolean {
  const outerCount = scannedCount
  const outerOthers = others
  try {
    return isPlainItem(value, 1)
  } finally {
    for (let i = outerCount; i < scannedCount; i++) scanned[i] = undefined
    scannedCount = outerCount
    others = outerOthers
  }
}

const BEYOND_SAFE = 2n ** 53n
const INT64_MIN = -(2n ** 63n)
const UINT64_MAX = 2n ** 64n - 1n

/**
 * Whether a 64-bit integer token comes back as this bigint: it must fit, and it must be too large for a number,
 * because readers turn what a number can hold into a number.
 */
export function isPlainBigint(value: bigint): boolean {
  return (value >= BEYOND_SAFE && value <= UINT64_MAX) || (value <= -BEYOND_SAFE && value >= INT64_MIN)
}

function isPlainItem(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
      return value.isWellFormed()
    case 'number':
      return value !== 0 || 1 / value > 0
    case 'boolean':
      return true
    case 'object':
      return value === null || isPlainObject(value, depth)
    case 'bigint':
      return isPlainBigint(value)
    default:
      return false
  }
}

function isPlainObject(object: object, depth: number): boolean {
  const prototype: unknown = Object.getPrototypeOf(object)
  if (prototype === Object.prototype || prototype === null) {
    if (depth > VALUE_DEPTH_MAX || wasMet(object) || 'toJSON' in object) return false
    for (const key in object) {
      if (key === '__proto__' || !key.isWellFormed()) return false
      if (!isPlainItem((object as Record<string, unknown>)[key], depth + 1)) return false
    }
    return true
  }
  if (prototype === Array.prototype && Array.isArray(object)) {
    if (depth > VALUE_DEPTH_MAX || wasMet(object) || 'toJSON' in object) return false
    for (let i = 0; i < object.length; i++) {
      if (!isPlainItem(object[i], depth + 1)) return false
    }
    return true
  }
  if (prototype === Date.prototype) return object instanceof Date && !Number.isNaN(object.getTime())
  // An empty one may be of memory that was given away.
  return prototype === Buffer.prototype && Buffer.isBuffer(object) && object.length > 0
}

function wasMet(container: object): boolean {
  if (others === undefined) {
    for (let i = 0; i < scannedCount; i++) if (scanned[i] === container) return true
    if (scannedCount < SCANNED_CONTAINERS_MAX) {
      scanned[scannedCount++] = container
      return false
    }
    others = new Set(scanned as object[])
  }
  const { size } = others
  return others.add(container).size === size
}
