// Shows that the arena store works beyond 16 million entries and beyond 4 GiB, the limits of a JavaScript Map and of one
// array. Needs 8 GB of memory and a minute, so it is a command of its own: node --import tsx test/bench/large-store.ts

import { ArenaStore } from '../../server/store/arena-store.ts'
import { emptyHead, NO_SLOT, type Span } from '../../server/store/store.ts'

const ENTRIES = 20_000_000
const LARGE_VALUES = 5000
const LARGE_VALUE_BYTES = 1024 * 1024
const SAMPLE_EVERY = 997

function main(): void {
  const started = performance.now()
  const store = new ArenaStore({
    entriesMax: Number.POSITIVE_INFINITY,
    bytesMax: 8 * 1024 ** 3,
    hashKey: Buffer.alloc(16, 1),
  })
  const say = (text: string) =>
    console.log(
      `${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s  ${text}; resident ${(process.memoryUsage.rss() / 1024 ** 3).toFixed(2)} GiB`,
    )
  const head = emptyHead()
  const put = (name: string, bytes: Buffer) => {
    const key = spanOf(Buffer.from(name))
    const hash = store.hash(key)
    head.hlc++
    if (store.put(hash, store.find(hash, key), key, spanOf(bytes), head, 1) === NO_SLOT)
      throw new Error(`${name} did not fit`)
  }
  const check = (name: string, bytes: Buffer) => {
    const key = spanOf(Buffer.from(name))
    const slot = store.findLive(store.hash(key), key, 1)
    if (slot === NO_SLOT) throw new Error(`${name} is not there`)
    const found = Buffer.alloc(store.valueBytes(slot))
    store.copyValue(slot, found, 0)
    if (!found.equals(bytes)) throw new Error(`${name} has another value`)
  }

  for (let i = 0; i < ENTRIES; i++) put(`small:${i}`, smallValue(i))
  say(`${ENTRIES} entries put`)
  for (let i = 0; i < LARGE_VALUES; i++) put(`large:${i}`, Buffer.alloc(LARGE_VALUE_BYTES, i))
  say(`${LARGE_VALUES} values of 1 MiB put`)
  for (let i = 0; i < ENTRIES; i += SAMPLE_EVERY) check(`small:${i}`, smallValue(i))
  for (let i = 0; i < LARGE_VALUES; i += 7) check(`large:${i}`, Buffer.alloc(LARGE_VALUE_BYTES, i))
  say('a sample of them read back and compared')
  const { entries, usedBytes, evictions } = store.stats()
  if (entries !== ENTRIES + LARGE_VALUES) throw new Error(`${entries} entries`)
  say(`${entries} entries, ${(usedBytes / 1024 ** 3).toFixed(2)} GiB charged, ${evictions} evictions`)
}

function smallValue(i: number): Buffer {
  return Buffer.from(String(i * 7))
}

function spanOf(bytes: Buffer): Span {
  return { bytes, at: 0, length: bytes.length }
}

main()
