// What the Tab key offers: commands, the words that may follow them, and keys, which the server is asked for: a few,
// for a moment, and only if it is connected. Between the line as it stands and readline.

import { ServerCalls } from './shell-calls.ts'
import { Deadline, type ShellConnection } from './shell-connection.ts'
import { commandNames, findCommand, habitNames } from './shell-dictionary.ts'
import { shownKey } from './shell-render.ts'

const KEYS_MAX = 50
const PAGE_COUNT = 500
/** Nobody waits longer for Tab. */
const TIMEOUT_MS = 300

export type Completer = (line: string) => Promise<[offers: string[], word: string]>

/** Completes the last word of a line. Never rejects: what cannot be found out is not offered. */
export function completer(connection: ShellConnection): Completer {
  return async (line) => {
    const words = line.trimStart().split(/[ \t]+/)
    const word = words.at(-1) ?? ''
    const [name = ''] = words
    if (words.length <= 1) return [finished(namesWith(word)), word]
    const offered = offersOf(name)?.(words.length - 2) ?? []
    if (offered !== 'keys') return [finished(withPrefix(offered, word)), word]
    return [await keysWith(connection, word), word]
  }
}

function offersOf(name: string) {
  try {
    const command = findCommand(name)
    return command.offers?.bind(command)
  } catch {
    return undefined
  }
}

function namesWith(word: string): string[] {
  return withPrefix(word === '' ? commandNames : [...commandNames, ...habitNames], word)
}

/** In capitals if that is how the word began. */
function withPrefix(names: readonly string[], word: string): string[] {
  const isCapital = /^[A-Z]/.test(word)
  return names
    .filter((name) => name.toLowerCase().startsWith(word.toLowerCase()))
    .map((name) => (isCapital ? name.toUpperCase() : name))
}

/** A word that is the only one needs no more letters. */
function finished(offers: string[]): string[] {
  const [only] = offers
  return offers.length === 1 && only !== undefined ? [`${only} `] : offers
}

async function keysWith(connection: ShellConnection, prefix: string): Promise<string[]> {
  if (!connection.isConnected || connection.isBusy || prefix.startsWith('"') || prefix.startsWith("'"))
    return []
  const calls = new ServerCalls(connection, new Deadline(TIMEOUT_MS, new AbortController().signal))
  const keys = new Set<string>()
  const { bootId } = connection
  let cursor = 0
  try {
    do {
      const page = await calls.scan(cursor, prefix, PAGE_COUNT)
      // A cursor means nothing to another server: what it answered is left out, and so is the rest.
      cursor = page.bootId === bootId ? page.cursor : -1
      if (cursor === -1) break
      // Keys that would need quotes are left to whoever types them.
      for (const key of page.keys) if (shownKey(key) === key) keys.add(key)
    } while (cursor !== 0 && keys.size < KEYS_MAX)
  } catch {
    cursor = -1
  }
  const offers = [...keys].slice(0, KEYS_MAX).sort()
  // With a part of the keys only, what they have in common is not what all have in common.
  const isAll = cursor === 0 && keys.size === offers.length
  return isAll || offers.length === 0 ? finished(offers) : [...offers, `${prefix}…`]
}
