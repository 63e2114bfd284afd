// Values as JSON; what JSON cannot say becomes an object with one property whose name begins with `$`:
//
//   {"$undefined":true}   {"$number":"NaN"}, "Infinity", "-Infinity", "-0"   {"$bigint":"12345678901234567890"}
//   {"$date":"2024-01-01T00:00:00.000Z"}, null if it is invalid              {"$bytes":"aGk="}, a Buffer in base64
//   {"$map":[[key,value],…]}   {"$set":[…]}   {"$float64array":[1,2.5]}, and so on for the other typed arrays
//   {"$arraybuffer":"aGk="}   {"$dataview":"aGk="}   {"$ref":"$.a[0]"}, the container at that path of this JSON
//   {"$object":[["$map",1]]}, an object that only looks like one of these    {"$deep":true}, cut off for its depth
//
// Between values and their text; knows no terminal. A value that JSON says exactly stays as it is.

import { types } from 'node:util'

export interface JsonForm {
  /** For JSON.stringify; never throws there. */
  json: unknown
  /** Whether JSON says the value exactly: nothing had to be written with `$`. */
  isExact: boolean
}

/** A value that was retrieved, as JSON. */
export function jsonForm(value: unknown): JsonForm {
  const encoder = new Encoder()
  const json = encoder.encode(value, { parent: undefined, step: '$' }, 0)
  return { json, isExact: encoder.isExact }
}

/** References can make values that are deeper than any stack. */
const DEPTH_MAX = 300

/** Where something stands in the JSON that is made. */
interface Place {
  parent: Place | undefined
  step: string
}

class Encoder {
  isExact = true
  readonly #met = new Map<object, Place>()

  encode(value: unknown, place: Place, depth: number): unknown {
    switch (typeof value) {
      case 'string':
        return value
      case 'boolean':
        return value
      case 'number':
        if (Number.isFinite(value) && !Object.is(value, -0)) return value
        return this.#tagged('number', Object.is(value, -0) ? '-0' : String(value))
      case 'bigint':
        return this.#tagged('bigint', String(value))
      case 'object':
        return value === null ? null : this.#object(value, place, depth)
      default:
        return this.#tagged('undefined', true)
    }
  }

  #object(object: object, place: Place, depth: number): unknown {
    if (types.isDate(object)) return this.#tagged('date', object.toJSON())
    if (Buffer.isBuffer(object)) return this.#tagged('bytes', object.toString('base64'))
    if (object instanceof ArrayBuffer)
      return this.#tagged('arraybuffer', Buffer.from(object).toString('base64'))
    if (ArrayBuffer.isView(object)) return this.#view(object, place, depth)
    const met = this.#met.get(object)
    if (met !== undefined) return this.#tagged('ref', pathOf(met))
    if (depth === DEPTH_MAX) return this.#tagged('deep', true)
    this.#met.set(object, place)
    if (Array.isArray(object)) return this.#items(object, place, depth)
    if (types.isMap(object)) return this.#tagged('map', this.#pairs(object, below(place, '["$map"]'), depth))
    if (types.isSet(object)) return this.#tagged('set', this.#items(object, below(place, '["$set"]'), depth))
    const entries = Object.entries(object)
    const [first] = entries
    if (entries.length === 1 && first !== undefined && first[0].startsWith('$'))
      return this.#tagged('object', this.#pairs(entries, below(place, '["$object"]'), depth))
    return Object.fromEntries(
      entries.map(([name, item]) => [name, this.encode(item, below(place, stepOf(name)), depth + 1)]),
    )
  }

  #view(view: ArrayBufferView, place: Place, depth: number): unknown {
    if (types.isDataView(view))
      return this.#tagged(
        'dataview',
        Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('base64'),
      )
    const name = view.constructor.name.toLowerCase()
    return this.#tagged(name, this.#items(Object.values(view), below(place, `["$${name}"]`), depth))
  }

  #items(items: Iterable<unknown>, place: Place, depth: number): unknown[] {
    return Array.from(items, (item, i) => this.encode(item, below(place, `[${i}]`), depth + 1))
  }

  #pairs(pairs: Iterable<readonly [unknown, unknown]>, place: Place, depth: number): unknown[] {
    return Array.from(pairs, (pair, i) => this.#items(pair, below(place, `[${i}]`), depth + 1))
  }

  #tagged(name: string, json: unknown): Record<string, unknown> {
    this.isExact = false
    return { [`$${name}`]: json }
  }
}

function below(parent: Place, step: string): Place {
  return { parent, step }
}

function stepOf(name: string): string {
  return /^[A-Za-z_]\w*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`
}

function pathOf(place: Place): string {
  const steps: string[] = []
  for (let at: Place | undefined = place; at !== undefined; at = at.parent) steps.push(at.step)
  return steps.reverse().join('')
}
