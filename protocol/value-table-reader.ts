// The items of an Extended table (value-table.ts), as read from bytes that a stranger may have written -> the value.
// It touches no bytes. Depth is bounded already: items nest no deeper than the MessagePack they came from, and a
// reference is followed by looking it up, never by reading the container it names.

import { types } from 'node:util'
import { ValueError } from './value-error.ts'
import { defineOwn } from './value-reader.ts'
import { describe, readLeaf, Tag } from './value-table.ts'

/** The value that a table says. Throws ValueError when it is not a table; a node's surplus elements are ignored. */
export function readTable(items: unknown): unknown {
  if (!Array.isArray(items) || items.length === 0) {
    throw new ValueError('the Extended form is an array of at least one item')
  }
  return new TableReader(items).value()
}

class TableReader {
  readonly #items: readonly unknown[]
  /** What each item of the table becomes: containers that are empty until their turn comes, so all can be named. */
  readonly #containers: readonly (object | undefined)[]

  constructor(items: readonly unknown[]) {
    this.#items = items
    this.#containers = items.map(emptyContainer)
  }

  value(): unknown {
    this.#containers.forEach((container, index) => {
      if (container !== undefined) this.#fill(container, this.#items[index] as unknown[])
      else if (index > 0) throw new ValueError(`item ${index} of the table is no container`)
    })
    return this.#containers[0] ?? this.#read(this.#items[0])
  }

  #read(item: unknown): unknown {
    if (!Array.isArray(item)) {
      if (typeof item !== 'object' || item === null || Buffer.isBuffer(item) || types.isDate(item))
        return item
      throw new ValueError('a map, where the Extended form has only nodes')
    }
    if (item[0] === Tag.Reference) return this.#named(item[1])
    const container = emptyContainer(item)
    if (container === undefined) return readLeaf(item)
    this.#fill(container, item)
    return container
  }

  #named(index: unknown): object {
    const container = typeof index === 'number' ? this.#containers[index] : undefined
    if (container !== undefined) return container
    throw new ValueError(
      `a reference to ${describe(index)}, which is no container among ${this.#items.length} items`,
    )
  }

  #fill(container: object, node: readonly unknown[]): void {
    if (Array.isArray(container)) {
      for (let i = 1; i < node.length; i++) container.push(this.#read(node[i]))
    } else if (container instanceof Set) {
      for (let i = 1; i < node.length; i++) container.add(this.#read(node[i]))
    } else {
      if (node.length % 2 === 0) throw new ValueError('a key without a value')
      for (let i = 1; i < node.length; i += 2) {
        const key = this.#read(node[i])
        const value = this.#read(node[i + 1])
        if (container instanceof Map) container.set(key, value)
        else setProperty(container, key, value)
      }
    }
  }
}

function emptyContainer(item: unknown): object | undefined {
  if (!Array.isArray(item)) return undefined
  switch (item[0]) {
    case Tag.Array:
      return []
    case Tag.Object:
      return {}
    case Tag.Map:
      return new Map()
    case Tag.Set:
      return new Set()
    default:
      return undefined
  }
}

function setProperty(object: object, name: unknown, value: unknown): void {
  if (typeof name !== 'string') throw new ValueError(`a property name that is ${describe(name)}`)
  if (name === '__proto__') defineOwn(object, name, value)
  else (object as Record<string, unknown>)[name] = value
}
