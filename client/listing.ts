// How one listing of keys goes on: where it stands, when it is over, begins anew, or has to be given up.
//
// Between those who ask for pages (client, shell) and what a server answers. A cursor means nothing to another server,
// nor to the same one after a restart: there it begins anew. Pages without keys are fine, a large store has many for a
// prefix that few keys have; but no server may keep a listing for ever: its cursors go up, and its time without keys is
// limited. Knows no clock and asks nobody.

import { CacheError } from '../protocol/errors.ts'

/** How often a listing begins anew because the server is another one. */
const RESTARTS_MAX = 8
/** Pages without keys, in a row, may take so long together, in ms: an honest server passes some 8000 keys with each. */
const EMPTY_MS_MAX = 10 * 60_000

/** A page, as far as the listing depends on it. */
export interface Page {
  /** Which start of which server sent it. */
  boot: string | undefined
  /** For errors. */
  server?: string
  /** For the next page; 0: that was the last one. */
  cursor: number
  keyCount: number
  /** How long it took to come. */
  ms: number
}

export class Listing {
  /** What to ask for next. */
  cursor = 0
  /** Whether the last page is to be given. False: another server sent it, and the listing begins anew. */
  isPage = false
  readonly #emptyMsMax: number
  #boot: string | undefined
  #restarts = 0
  #emptyMs = 0

  /** `timeoutMs`: how long one page may take. */
  constructor(timeoutMs: number) {
    this.#emptyMsMax = Math.max(timeoutMs, EMPTY_MS_MAX)
  }

  /** That was the last page. */
  get isOver(): boolean {
    return this.isPage && this.cursor === 0
  }

  /** A page came. Returns why to give up. */
  take({ boot, server, cursor: next, keyCount, ms }: Page): CacheError | undefined {
    const { cursor } = this
    const details = server === undefined ? {} : { server }
    this.isPage = cursor === 0 || boot === this.#boot
    this.#boot = boot
    this.cursor = this.isPage ? next : 0
    this.#emptyMs = this.isPage && keyCount > 0 ? 0 : this.#emptyMs + ms
    if (!this.isPage) {
      if (++this.#restarts <= RESTARTS_MAX) return undefined
      const text = `the server changed ${this.#restarts} times while its keys were listed`
      return new CacheError('CACHE_UNAVAILABLE', text, { retriable: true, ...details })
    }
    if (next === 0) return undefined
    if (next <= cursor)
      return new CacheError('CACHE_PROTOCOL', `a cursor goes up, got ${next} after ${cursor}`, details)
    if (this.#emptyMs <= this.#emptyMsMax) return undefined
    const seconds = Math.round(this.#emptyMs / 1000)
    return new CacheError('CACHE_TIMEOUT', `pages without keys for ${seconds} s, and no end`, {
      retriable: true,
      ...details,
    })
  }
}
