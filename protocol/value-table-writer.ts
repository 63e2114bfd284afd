// JavaScript values -> the items of the Extended table (value-table.ts), in one pass. It also decides what JSON users
// take for granted: toJSON, classes as their own properties, boxed primitives; and it names the path of what cannot
// be stored. It touches no bytes: packing the table is the caller's business.
//
// A container is written where it is met first. Met again, it moves into the table and leaves a reference behind.

import { types } from 'node:util'
import { VALUE_DEPTH_MAX, VALUE_ITEMS_MAX, withKey } from './value-error.ts'
import { isPlainBigint } from './value-plain.ts'
import {
  INVALID_DATE,
  isDetached,
  NEGATIVE_ZERO,
  Tag,
  UNDEFINED,
  writeBigint,
  writeBytes,
  writeUtf16,
} from './value-table.ts'

export interface Table {
  /** What to pack. Holds views of the caller's Buffers and typed arrays. */
  readonly items: readonly unknown[]
  /** False: only classes and toJSON stood between this value and plain MessagePack; pack `toPlain(items[0])`. */
  readonly needed: boolean
}

/**
 * The table of any value. Runs the value's getters and `toJSON` methods; what they throw goes through. Throws
 * TypeError for what cannot be stored (a function, a symbol, an Error, a RegExp, …) and RangeError for too deep or
 * too much: the message says where, and the error's `key`, not enumerable, is `keyForErrors`.
 */
export function writeTable(value: unknown, keyForErrors: string | undefined): Table {
  const writer = new TableWriter(keyForErrors)
  writer.add(writer.items, value)
  return writer
}

/** The root of a table that was not needed, as plain arrays and objects. */
export function toPlain(item: unknown): unknown {
  if (!Array.isArray(item)) return item
  if (item[0] === Tag.Array) return item.slice(1).map(toPlain)
  const object: Record<string, unknown> = {}
  for (let i = 1; i < item.length; i += 2) object[item[i]] = toPlain(item[i + 1])
  return object
}

/** Where a container was written: `parent[at]` is `node` until it moves into the table, to `index`. */
interface Written {
  readonly node: unknown[]
  readonly parent: unknown[]
  readonly at: number
  index: number
}

class TableWriter implements Table {
  readonly items: unknown[] = []
  needed = false
  readonly #written = new Map<object, Written>()
  readonly #replacements = new Map<object, unknown>()
  readonly #path: Step[] = []
  readonly #key: string | undefined
  #count = 0

  constructor(key: string | undefined) {
    this.#key = key
  }

  /** Appends the item that says `value` to `parent`. */
  add(parent: unknown[], value: unknown): void {
    if (++this.#count > VALUE_ITEMS_MAX) throw this.#excessive(`more than ${VALUE_ITEMS_MAX} elements`)
    switch (typeof value) {
      case 'object':
        if (value === null) parent.push(null)
        else this.#addObject(parent, this.#replacementOf(value))
        break
      case 'string':
        if (value.isWellFormed()) parent.push(value)
        else this.#addNode(parent, writeUtf16(value))
        break
      case 'number':
        if (Object.is(value, -0)) this.#addNode(parent, NEGATIVE_ZERO)
        else parent.push(value)
        break
      case 'boolean':
        parent.push(value)
        break
      case 'undefined':
        this.#addNode(parent, UNDEFINED)
        break
      case 'bigint':
        if (isPlainBigint(value)) parent.push(value)
        else this.#addNode(parent, writeBigint(value))
        break
      default:
        throw this.#unstorable(`a ${typeof value}`)
    }
  }

  #addNode(parent: unknown[], node: readonly unknown[]): void {
    this.needed = true
    parent.push(node)
  }

  #addObject(parent: unknown[], value: unknown): void {
    if (typeof value !== 'object' || value === null) this.add(parent, value)
    else if (Array.isArray(value)) this.#addArray(parent, value)
    else if (isOrdinary(value)) this.#addProperties(parent, value)
    else if (types.isDate(value)) this.#addDate(parent, value)
    else if (ArrayBuffer.isView(value) || types.isArrayBuffer(value)) this.#addBytes(parent, value)
    else if (types.isMap(value)) this.#addMap(parent, value)
    else if (types.isSet(value)) this.#addSet(parent, value)
    else if (types.isBoxedPrimitive(value)) this.#addBoxed(parent, value)
    else this.#addInstance(parent, value)
  }

  #addDate(parent: unknown[], date: Date): void {
    const ms = Date.prototype.getTime.call(date)
    if (Number.isNaN(ms)) this.#addNode(parent, INVALID_DATE)
    else parent.push(new Date(ms))
  }

  #addBytes(parent: unknown[], value: ArrayBufferView | ArrayBuffer): void {
    if (isDetached(value))
      throw this.#unstorable('bytes of a detached ArrayBuffer, which somebody else has now')
    if (Buffer.isBuffer(value)) {
      parent.push(value)
      return
    }
    const node = writeBytes(value)
    if (node === undefined) throw this.#unstorable('a typed array of an unknown kind')
    this.#addNode(parent, node)
  }

  #addBoxed(parent: unknown[], boxed: object): void {
    const primitive: unknown = boxed.valueOf()
    if (typeof primitive === 'object') throw this.#unstorable('a boxed primitive with a valueOf of its own')
    this.add(parent, primitive)
  }

  #addArray(parent: unknown[], array: readonly unknown[]): void {
    const node = this.#open(parent, array, Tag.Array)
    if (node === undefined) return
    // a sparse array may claim four billion elements: refuse before writing them out
    if (array.length > VALUE_ITEMS_MAX) throw this.#excessive(`an array of ${array.length} elements`)
    for (let i = 0; i < array.length; i++) this.#addAt(i, node, array[i])
  }

  #addInstance(parent: unknown[], object: object): void {
    const what = kindWithoutProperties(object)
    if (what !== undefined) throw this.#unstorable(what)
    this.#addProperties(parent, object)
  }

  #addProperties(parent: unknown[], object: object): void {
    const node = this.#open(parent, object, Tag.Object)
    if (node === undefined) return
    for (const name of Object.keys(object)) {
      // a reader that assigned this one would set a prototype, so it is spelled as a node's element
      if (name === '__proto__') this.needed = true
      if (name.isWellFormed()) node.push(name)
      else this.#addNode(node, writeUtf16(name))
      this.#addAt(name, node, (object as Record<string, unknown>)[name])
    }
  }

  #addMap(parent: unknown[], map: ReadonlyMap<unknown, unknown>): void {
    this.needed = true
    const node = this.#open(parent, map, Tag.Map)
    if (node === undefined) return
    let nth = 0
    for (const [key, value] of Map.prototype.entries.call(map)) {
      this.#addAt({ of: 'keys', nth }, node, key)
      this.#addAt({ of: 'values', nth }, node, value)
      nth++
    }
  }

  #addSet(parent: unknown[], set: ReadonlySet<unknown>): void {
    this.needed = true
    const node = this.#open(parent, set, Tag.Set)
    if (node === undefined) return
    let nth = 0
    for (const element of Set.prototype.values.call(set))
      this.#addAt({ of: 'values', nth: nth++ }, node, element)
  }

  #addAt(step: Step, node: unknown[], value: unknown): void {
    this.#path.push(step)
    this.add(node, value)
    this.#path.pop()
  }

  /** Appends an empty node for `container` and returns it; when it was met before, appends a reference to it. */
  #open(parent: unknown[], container: object, tag: number): unknown[] | undefined {
    const written = this.#written.get(container)
    if (written !== undefined) {
      this.#addNode(parent, this.#referTo(written))
      return undefined
    }
    if (this.#path.length >= VALUE_DEPTH_MAX)
      throw this.#excessive(`nested deeper than ${VALUE_DEPTH_MAX} levels`)
    const node: unknown[] = [tag]
    this.#written.set(container, { node, parent, at: parent.length, index: parent === this.items ? 0 : -1 })
    parent.push(node)
    return node
  }

  #referTo(written: Written): readonly unknown[] {
    if (written.index < 0) {
      written.index = this.items.push(written.node) - 1
      written.parent[written.at] = [Tag.Reference, written.index]
    }
    return [Tag.Reference, written.index]
  }

  /** What `toJSON` says instead of this object. Asked once per object, so that a cycle through it ends. */
  #replacementOf(object: object): unknown {
    const { toJSON } = object as { toJSON?: unknown }
    if (typeof toJSON !== 'function' || types.isDate(object) || Buffer.isBuffer(object)) return object
    if (!this.#replacements.has(object)) {
      const step = this.#path.at(-1) ?? ''
      this.#replacements.set(object, toJSON.call(object, String(typeof step === 'object' ? step.nth : step)))
    }
    return this.#replacements.get(object)
  }

  #unstorable(what: string): TypeError {
    return withKey(new TypeError(`cannot store ${pathText(this.#path)}: ${what}`), this.#key)
  }

  #excessive(what: string): RangeError {
    return withKey(new RangeError(`cannot store ${pathText(this.#path)}: ${what}`), this.#key)
  }
}

function isOrdinary(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object)
  return prototype === Object.prototype || prototype === null
}

/** What keeps its content elsewhere than in properties and would come back as an empty object. */
function kindWithoutProperties(object: object): string | undefined {
  if (types.isNativeError(object) || object instanceof Error)
    return 'an Error (store its name and message instead)'
  if (types.isRegExp(object)) return 'a RegExp (store its source and flags instead)'
  if (types.isPromise(object)) return 'a Promise (await it first)'
  if (types.isSharedArrayBuffer(object)) return 'a SharedArrayBuffer'
  if (types.isWeakMap(object) || types.isWeakSet(object) || object instanceof WeakRef)
    return 'a weak reference'
  if (types.isGeneratorObject(object) || ITERATORS.some((iterators) => isWithin.call(iterators, object)))
    return 'an iterator (store an array of it instead)'
  return undefined
}

const isWithin = Object.prototype.isPrototypeOf
/** What all iterators of the language inherit from, and all asynchronous ones. */
const ITERATORS: readonly object[] = [
  prototypeOf(prototypeOf([][Symbol.iterator]())),
  prototypeOf(prototypeOf(prototypeOf((async function* () {})()))),
]

function prototypeOf(object: object): object {
  const prototype: unknown = Object.getPrototypeOf(object)
  return typeof prototype === 'object' && prototype !== null ? prototype : {}
}

/** One step into a value: a property, an index, or the n-th key, value or element of a Map or Set. */
type Step = string | number | { readonly of: 'keys' | 'values'; readonly nth: number }

const PATH_CHARS_MAX = 200

function pathText(path: readonly Step[]): string {
  let text = 'value'
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (typeof step === 'object') text += `.${step.of}()[${step.nth}]`
    else
      text += /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`
  }
  if (text.length <= PATH_CHARS_MAX) return text
  return `${text.slice(0, PATH_CHARS_MAX / 2)}…${text.slice(-PATH_CHARS_MAX / 2)}`
}
