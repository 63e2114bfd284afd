// Random operations for differential tests: each is drawn once and done to every subject.
//
// Retention and time are such that a model which notices every expiry at once can follow: before the clock is set
// back, whatever is due is swept.

import { NO_SLOT, RecordKind } from '../../../server/store/store.ts'
import { type Driver, latin1, type Put, pattern } from './driver.ts'
import type { Model } from './model.ts'
import type { Random } from './random.ts'

const DAY_MS = 24 * 3600 * 1000

export interface Operation {
  name: string
  onStore: (cache: Driver) => unknown
  onModel: (model: Model) => unknown
}

const NOTHING = () => undefined

export class Operations {
  readonly #random: Random
  readonly #keys: number
  #hlc = 0
  /** Stamps must be above it. */
  #watermark = 0

  constructor(random: Random, keys: number) {
    this.#random = random
    this.#keys = keys
  }

  next(): Operation {
    const random = this.#random
    const key = `key ${random.below(this.#keys)}${random.oneIn(50) ? ' and a long tail'.repeat(60) : ''}`
    const draw = random.below(100)
    if (draw < 40) return this.#put(key)
    if (draw < 60)
      return { name: `get ${key}`, onStore: (cache) => cache.get(key), onModel: (model) => model.get(key) }
    if (draw < 68)
      return { name: `peek ${key}`, onStore: (cache) => cache.peek(key), onModel: (model) => model.peek(key) }
    if (draw < 74) return this.#marker(key)
    if (draw < 78)
      return {
        name: `forget ${key}`,
        onStore: (cache) => cache.forget(key),
        onModel: (model) => model.forget(key),
      }
    if (draw < 81)
      return {
        name: `forget marker ${key}`,
        onStore: (cache) => forgetMarker(cache, key),
        onModel: (model) => model.forgetMarker(key),
      }
    if (draw < 85) return this.#strip(key)
    if (draw < 89) return this.#setExpiry(key)
    if (draw < 93) {
      const budget = random.pick([1, 5, 50, 1000])
      const onStore = (cache: Driver) => {
        cache.store.sweep(cache.nowMs, budget)
      }
      return { name: `sweep ${budget}`, onStore, onModel: NOTHING }
    }
    if (draw < 99) return this.#later()
    switch (random.below(8)) {
      case 0:
        return this.#flush()
      case 1:
        return this.#takeBackFlush()
      case 2:
        return this.#markerFlags()
      case 3:
      case 4:
        return this.#fits(key)
      default:
        return {
          name: 'scan',
          onStore: (cache) => new Set(cache.scanKeys(1 + (this.#keys >>> 3))).size,
          onModel: (model) => model.view().lru.length,
        }
    }
  }

  #put(key: string): Operation {
    const random = this.#random
    const sizes = [0, 10, 100, 100, 1000, 1000, 5000, random.oneIn(20) ? 300_000 : 20_000] as const
    const value = pattern(random.below(random.pick(sizes) + 1), random.below(1000))
    const hlc = this.#stamp()
    const how: Put = { hlc, flags: random.below(256), origin: random.below(4) }
    if (random.oneIn(2))
      how.ttlMs = 1 + random.below(random.pick([5, 300, 20_000, 40_000, DAY_MS, 1000 * DAY_MS]))
    return {
      name: `put ${key}, ${value.length} bytes, ${JSON.stringify(how)}`,
      onStore: (cache) => cache.put(key, value, how),
      onModel: (model) => {
        model.put(key, latin1(value), hlc, how)
        return true
      },
    }
  }

  #marker(key: string): Operation {
    const kind = this.#random.pick([RecordKind.Tombstone, RecordKind.Tombstone, RecordKind.Ghost])
    const hlc = this.#stamp()
    return {
      name: `put ${key} as ${kind}`,
      onStore: (cache) => cache.put(key, '', { kind, hlc }),
      onModel: (model) => {
        model.put(key, '', hlc, { kind })
        return true
      },
    }
  }

  #strip(key: string): Operation {
    const random = this.#random
    const kind = random.pick([RecordKind.Ghost, RecordKind.Tombstone])
    const flags = random.oneIn(2) ? random.below(256) : undefined
    return {
      name: `strip ${key} to ${kind}, flags ${flags}`,
      onStore: (cache) => strip(cache, key, kind, flags),
      onModel: (model) => model.strip(key, kind, flags),
    }
  }

  /** What expired before keeps the flags of then. */
  #markerFlags(): Operation {
    const flags = this.#random.below(256)
    return {
      name: `ghosts have flags ${flags}`,
      onStore: (cache) => {
        cache.sweepAll()
        cache.markerFlags = flags
      },
      onModel: (model) => {
        model.expire()
        model.markerFlags = flags
      },
    }
  }

  #fits(key: string): Operation {
    const valueBytes = this.#random.below(1000)
    return {
      name: `fits ${key}, ${valueBytes} bytes`,
      onStore: (cache) => {
        cache.sweepAll()
        return cache.store.fits(key.length, valueBytes, valueBytes % 2 === 0)
      },
      onModel: (model) => model.fits(),
    }
  }

  #setExpiry(key: string): Operation {
    const random = this.#random
    const inMs = random.oneIn(5) ? undefined : random.below(random.pick([10, 1000, DAY_MS])) - 2
    const at = (nowMs: number) => (inMs === undefined ? 0 : nowMs + inMs)
    return {
      name: `expire ${key} in ${inMs}`,
      onStore: (cache) => setExpiry(cache, key, at(cache.nowMs)),
      onModel: (model) => model.setExpiry(key, at(model.nowMs)),
    }
  }

  #later(): Operation {
    const random = this.#random
    const ms = random.below(random.pick([2, 10, 300, 20_000, DAY_MS, random.oneIn(10) ? 400 * DAY_MS : 1]))
    const by = random.oneIn(6) ? -ms : ms
    return {
      name: `${by} ms later`,
      onStore: (cache) => {
        if (by < 0) cache.sweepAll()
        cache.nowMs += by
      },
      onModel: (model) => {
        model.expire()
        model.nowMs += by
      },
    }
  }

  #flush(): Operation {
    const watermark = this.#hlc - this.#random.below(this.#random.pick([1, 20, 10_000, 1_000_000]))
    this.#watermark = Math.max(this.#watermark, watermark)
    return {
      name: `flush ${watermark}`,
      onStore: (cache) => cache.store.flush(watermark),
      onModel: (model) => model.flush(watermark),
    }
  }

  /** A flush that may be stamped in the future; some of it is purged; then time begins anew from some watermark. */
  #takeBackFlush(): Operation {
    const random = this.#random
    const watermark = this.#hlc + random.below(2_000_000) - 1_000_000
    const to = Math.max(0, this.#hlc - random.below(random.pick([1, 20, 100_000, 2_000_000])))
    const budget = random.pick([0, 10, 1000])
    this.#watermark = Math.min(Math.max(this.#watermark, watermark), to)
    if (random.oneIn(2)) this.#hlc = to
    return {
      name: `flush ${watermark}, sweep ${budget}, reset the watermark to ${to}`,
      onStore: (cache) => {
        cache.store.flush(watermark)
        cache.store.sweep(cache.nowMs, budget)
        cache.store.resetWatermark(to)
      },
      onModel: (model) => {
        model.flush(watermark)
        model.resetWatermark(to)
      },
    }
  }

  #stamp(): number {
    this.#hlc = Math.max(this.#hlc, this.#watermark) + 1 + this.#random.below(5000)
    return this.#hlc
  }
}

function forgetMarker(cache: Driver, key: string): boolean {
  if (cache.findLive(key) !== NO_SLOT) return false
  const slot = cache.find(key)
  if (slot !== NO_SLOT) cache.store.forget(slot, 'deleted')
  return slot !== NO_SLOT
}

/** Of a value or a marker: what has expired is noticed first. */
function strip(
  cache: Driver,
  key: string,
  kind: typeof RecordKind.Ghost | typeof RecordKind.Tombstone,
  flags: number | undefined,
): boolean {
  cache.findLive(key)
  const slot = cache.find(key)
  if (slot !== NO_SLOT) cache.store.strip(slot, kind, flags)
  return slot !== NO_SLOT
}

function setExpiry(cache: Driver, key: string, expiresAtMs: number): boolean {
  const slot = cache.findLive(key)
  if (slot === NO_SLOT || cache.headOf(slot).lifetimeMs === 0) return false
  cache.store.setExpiry(slot, expiresAtMs)
  return true
}
