// Whether two values are the same to the last detail that a value may have: -0 and 0 differ, a hole is undefined, the
// order of keys and of Map and Set elements counts, prototypes count, and what is one container on one side is one
// container on the other. Vitest's toEqual looks away from most of these.

/** The path of the first difference, or undefined. */
export function difference(left: unknown, right: unknown): string | undefined {
  return compare(left, right, 'value', { forth: new Map(), back: new Map() })
}

interface Pairs {
  readonly forth: Map<object, object>
  readonly back: Map<object, object>
}

function compare(left: unknown, right: unknown, path: string, pairs: Pairs): string | undefined {
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) {
    return Object.is(left, right) ? undefined : path
  }
  if (Object.getPrototypeOf(left) !== Object.getPrototypeOf(right)) return `${path} (prototype)`
  if (left instanceof Date) return Object.is(left.getTime(), (right as Date).getTime()) ? undefined : path
  if (left instanceof ArrayBuffer || ArrayBuffer.isView(left)) {
    return bytesOf(left).equals(bytesOf(right as ArrayBuffer)) ? undefined : path
  }
  if (pairs.forth.has(left) || pairs.back.has(right)) {
    return pairs.forth.get(left) === right && pairs.back.get(right) === left
      ? undefined
      : `${path} (identity)`
  }
  pairs.forth.set(left, right)
  pairs.back.set(right, left)
  const lefts = childrenOf(left)
  const rights = childrenOf(right)
  if (lefts.length !== rights.length) return `${path} (${lefts.length} and ${rights.length} parts)`
  for (let i = 0; i < lefts.length; i++) {
    const [name, child] = lefts[i] ?? []
    const [otherName, otherChild] = rights[i] ?? []
    if (name !== otherName) return `${path}: ${name} and ${otherName}`
    const found = compare(child, otherChild, `${path}.${name}`, pairs)
    if (found !== undefined) return found
  }
  return undefined
}

function childrenOf(container: object): (readonly [string, unknown])[] {
  if (Array.isArray(container)) return Array.from(container, (element, i) => [String(i), element] as const)
  if (container instanceof Set)
    return Array.from(container, (element, i) => [`element ${i}`, element] as const)
  if (container instanceof Map) {
    return Array.from(container).flatMap(([key, value], i) => [
      [`key ${i}`, key] as const,
      [`entry ${i}`, value] as const,
    ])
  }
  return Object.entries(container)
}

function bytesOf(value: ArrayBuffer | ArrayBufferView): Buffer {
  return ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : Buffer.from(value)
}
