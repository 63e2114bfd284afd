// What a frame holds, as a tree, before it is bytes: so that it can be spoilt where it hurts. The second element can be
// dropped, a list can stand where a key should, a head can claim more than there is, and the length is right all the same.
//
// Between the grammars (requests.ts, peer-messages.ts, replies.ts) and bytes. Independent of protocol/writer.ts. An
// honest frame uses every encoding that MessagePack allows for its integers and lengths, not only the shortest.

import type { Random } from '../server/store/random.ts'
import { randomBytes } from './mutations.ts'

/** Bytes that stand in a frame as they are. */
export class Raw {
  readonly bytes: Buffer

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
}

/** A Map is a MessagePack map. */
export type Item =
  | number
  | string
  | Uint8Array
  | boolean
  | null
  | Raw
  | readonly Item[]
  | ReadonlyMap<string, Item>

/** Spoils elements of a message: drops, repeats, swaps, replaces, wraps them, at any depth. */
export function bent(items: readonly Item[], random: Random): Item[] {
  const copy = [...items]
  for (let left = random.oneIn(3) ? 2 : 1; left > 0; left--) bend(copy, random)
  return copy
}

function bend(items: Item[], random: Random): void {
  const at = random.below(items.length)
  const item = items[at]
  if (isList(item) && item.length > 0 && random.oneIn(2)) {
    items[at] = bent(item, random)
    return
  }
  switch (random.below(8)) {
    case 0:
      items.splice(at, 1)
      break
    case 1:
      if (item !== undefined) items.splice(random.below(items.length + 1), 0, item)
      break
    case 2: {
      const other = random.below(items.length)
      const [one, two] = [items[at], items[other]]
      if (one !== undefined && two !== undefined) [items[at], items[other]] = [two, one]
      break
    }
    case 3:
      for (let left = random.below(4); left >= 0; left--) items.push(oddItem(random))
      break
    case 4:
      items[at] = [item ?? null]
      break
    case 5:
      if (isList(item)) {
        items.splice(at, 1, ...item)
        break
      }
      items[at] = oddItem(random)
      break
    case 6:
      if (random.oneIn(40) && item !== undefined && !isList(item)) {
        items.splice(at, 0, ...new Array<Item>(random.below(300)).fill(item))
        break
      }
      items[at] = oddItem(random)
      break
    default:
      items[at] = oddItem(random)
  }
}

function isList(item: Item | undefined): item is readonly Item[] {
  return Array.isArray(item)
}

/** Something that hardly any operand may be, or only just. */
export function oddItem(random: Random): Item {
  switch (random.below(9)) {
    case 0:
    case 1:
      return EDGES[random.below(EDGES.length)] ?? null
    case 2:
      return random.pick<Item>([null, true, false, '', [], new Map()])
    case 3:
      return LIES[random.below(LIES.length)] ?? null
    case 4:
      return nested(random)
    case 5:
      return 'k'.repeat(random.pick([31, 32, 255, 256, 1024, 1025]))
    case 6:
      return NOT_UTF8[random.below(NOT_UTF8.length)] ?? null
    case 7:
      return Array.from({ length: random.below(5) }, () => random.below(300))
    default:
      return random.oneIn(2) ? randomBytes(random.below(40), random) : new Raw(randomBytes(4, random))
  }
}

/** Lists, or maps, in one another: mostly about as deep as is allowed, seldom very deep. */
function nested(random: Random): Raw {
  const depth = random.oneIn(30) ? 3000 : 1 + random.below(12)
  if (random.oneIn(3)) return new Raw(Buffer.concat([Buffer.from('81a16b'.repeat(depth), 'hex'), NIL]))
  return new Raw(Buffer.concat([Buffer.alloc(depth, 0x91), random.oneIn(2) ? NIL : EMPTY_LIST]))
}

const NIL = Buffer.of(0xc0)
const EMPTY_LIST = Buffer.of(0x90)

/** Numbers at the edges of every encoding, of safe integers and of what fields allow. */
const EDGES: readonly Raw[] = [
  '00 7f cc00 cc80 ccff cd0100 cdffff ce00000000 ce00010000 ce7fffffff ce80000000 ceffffffff cf0000000000000000',
  'cf0000000100000000 cf001fffffffffffff cf0020000000000000 cf7fffffffffffffff cf8000000000000000 cfffffffffffffffff',
  'ff e0 d0df d080 d17fff d1ff7f d18000 d2ffff7fff d280000000 d3ffffffff7fffffff d3ffe0000000000001',
  'd3ffe0000000000000 d38000000000000000 d37fffffffffffffff ca00000000 ca3f800000 ca80000000 ca7fc00000 ca7f800000',
  'cb0000000000000000 cb8000000000000000 cb3ff0000000000000 cb3ff8000000000000 cb7ff8000000000000 cb7ff0000000000000',
  'cb433fffffffffffff cb4340000000000000 cbfff0000000000000 cb41efffffffe00000 cb426f000000000000 fd',
]
  .join(' ')
  .split(' ')
  .map((hex) => new Raw(Buffer.from(hex, 'hex')))

/** Heads that claim what does not follow, and types that no frame may hold. */
const LIES: readonly Raw[] = [
  'ddffffffff dd7fffffff dcffff dd00000001 9f dfffffffff deffff 8f dbffffffff db7fffffff daffff d9ff bf a1',
  'c6ffffffff c67fffffff c5ffff c4ff c9ffffffff01 c8ffff01 c7ff01 c70001 d40000 d50000ff d6ff00000000 d7ff0000000000000000',
  'd84000000000000000000000000000000000 c1 c0c1 d47200 cc cd00 ce000000 cf00000000000000 d0 ca0000 cb00000000000000',
]
  .join(' ')
  .split(' ')
  .map((hex) => new Raw(Buffer.from(hex, 'hex')))

/** Texts and binaries that are no UTF-8: a lone byte, an overlong form, a surrogate, one cut short, beyond Unicode. */
const NOT_UTF8: readonly Raw[] = 'a1ff a2c0af a3eda080 a2c328 a1e2 a4f5808080 c401ff c402c0af a36bff6b d90180'
  .split(' ')
  .map((hex) => new Raw(Buffer.from(hex, 'hex')))

/** How a frame is written: 0 = as it should be; n = about one head in n lies about what follows. */
export type Lying = number

/** Frames of items. One buffer, used again for each; what comes out is a copy. */
export class Pen {
  #bytes = Buffer.alloc(64 * 1024)
  #at = 0
  #lying: Lying = 0

  /** A frame, its length in front. */
  frame(items: readonly Item[], random: Random, lying: Lying = 0): Buffer {
    this.#lying = lying
    this.#at = 4
    this.#put(items, random)
    this.#bytes.writeUInt32BE(this.#at - 4, 0)
    return Buffer.from(this.#bytes.subarray(0, this.#at))
  }

  /** MessagePack alone. */
  payload(item: Item, random: Random, lying: Lying = 0): Buffer {
    this.#lying = lying
    this.#at = 0
    this.#put(item, random)
    return Buffer.from(this.#bytes.subarray(0, this.#at))
  }

  #put(item: Item, random: Random): void {
    if (typeof item === 'number') this.#number(item, random)
    else if (typeof item === 'string') this.#text(item, random)
    else if (item === null) this.#raw(NIL)
    else if (typeof item === 'boolean') this.#byte(item ? 0xc3 : 0xc2)
    else if (item instanceof Raw) this.#raw(item.bytes)
    else if (item instanceof Uint8Array) {
      this.#head(item.length, [-1, 0, 0xc4, 0xc5, 0xc6], random)
      this.#raw(item)
    } else if (item instanceof Map) {
      this.#head(item.size, [0x80, 16, -1, 0xde, 0xdf], random)
      for (const [name, value] of item) {
        this.#text(name, random)
        this.#put(value, random)
      }
    } else if (isList(item)) {
      this.#head(item.length, [0x90, 16, -1, 0xdc, 0xdd], random)
      for (const element of item) this.#put(element, random)
    }
  }

  #text(text: string, random: Random): void {
    const length = Buffer.byteLength(text)
    this.#head(length, [0xa0, 32, 0xd9, 0xda, 0xdb], random)
    this.#room(length)
    this.#at += this.#bytes.write(text, this.#at)
  }

  /** `codes`: of the short form (-1: none) and how many it holds; of the forms of 1 (-1: none), 2 and 4 bytes. */
  #head(length: number, codes: readonly [number, number, number, number, number], random: Random): void {
    const [short, shortEnd, one, two, four] = codes
    let told = length
    if (this.#lying > 0 && random.oneIn(this.#lying))
      told = random.oneIn(3)
        ? random.pick([0, 15, 0xffff, 0xffff_ffff])
        : Math.max(0, told + random.below(5) - 2)
    const wide = random.oneIn(12) ? 1 + random.below(3) : 0
    if (short >= 0 && told < shortEnd && wide === 0) this.#byte(short | told)
    else if (one >= 0 && told < 256 && wide <= 1) this.#coded(one, told, 1)
    else if (told < 65_536 && wide <= 2) this.#coded(two, told, 2)
    else this.#coded(four, told, 4)
  }

  #number(value: number, random: Random): void {
    const wide = random.oneIn(10) ? 1 + random.below(5) : 0
    if (!Number.isSafeInteger(value) || wide === 5) {
      this.#room(9)
      this.#byte(0xcb)
      this.#at = this.#bytes.writeDoubleBE(value, this.#at)
    } else if (value >= 0) {
      if (value < 128 && wide === 0) this.#byte(value)
      else if (value < 256 && wide <= 1) this.#coded(0xcc, value, 1)
      else if (value < 65_536 && wide <= 2) this.#coded(0xcd, value, 2)
      else if (value < 2 ** 32 && wide <= 3) this.#coded(0xce, value, 4)
      else this.#eight(wide === 4 ? 0xd3 : 0xcf, value)
    } else if (value >= -32 && wide === 0) this.#byte(value & 255)
    else if (value >= -128 && wide <= 1) this.#coded(0xd0, value & 255, 1)
    else if (value >= -32_768 && wide <= 2) this.#coded(0xd1, value & 65_535, 2)
    else if (value >= -(2 ** 31) && wide <= 3) this.#coded(0xd2, value >>> 0, 4)
    else this.#eight(0xd3, value)
  }

  #eight(code: number, value: number): void {
    this.#coded(code, Math.floor(value / 2 ** 32) >>> 0, 4)
    this.#room(4)
    this.#at = this.#bytes.writeUInt32BE(value >>> 0, this.#at)
  }

  #coded(code: number, value: number, width: 1 | 2 | 4): void {
    this.#room(5)
    this.#byte(code)
    this.#at = this.#bytes.writeUIntBE(value, this.#at, width)
  }

  #byte(byte: number): void {
    this.#room(1)
    this.#bytes[this.#at++] = byte
  }

  #raw(bytes: Uint8Array): void {
    this.#room(bytes.length)
    this.#bytes.set(bytes, this.#at)
    this.#at += bytes.length
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return
    const former = this.#bytes
    this.#bytes = Buffer.alloc(Math.max(this.#at + bytes, former.length * 2))
    former.copy(this.#bytes)
  }
}
