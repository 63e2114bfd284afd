// The lines of former shells: a file under the user's state folder that nobody else may read, of bounded length.
// Between the terminal and the file system. Lines with passwords are never kept, neither in the file nor for the
// arrow keys. Several shells may append to it at the same time. A file that cannot be used is no reason to fail.

import {
  appendFileSync,
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { LineInput, UsageError } from './shell-input.ts'

/** Lines that are kept; the file may grow to twice that until the next shell starts. */
export const HISTORY_LINES_MAX = 1000
/** A longer line is hardly typed again. */
const LINE_CHARS_MAX = 4096
/** Of a larger file only the end is read. */
const READ_BYTES_MAX = 2 * 1024 * 1024

type Environment = Readonly<Record<string, string | undefined>>

/** Where it is: in XDG_STATE_HOME, or ~/.local/state. */
export function historyPath(environment: Environment): string {
  const named = environment['XDG_STATE_HOME'] ?? ''
  const stateFolder = isAbsolute(named) ? named : join(homedir(), '.local', 'state')
  return join(stateFolder, 'ormuco-cache', 'history')
}

/** Whether a line may hold a password, and so must not be remembered. */
export function isSecret(line: string): boolean {
  return commandIn(line) === 'auth' || /^\s*hello\b.*\bauth\b/i.test(line)
}

/** As the shell reads it: it may be quoted, and flags may stand before it. */
function commandIn(line: string): string {
  try {
    return new LineInput(line).word('COMMAND').toLowerCase()
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    // Nobody can say what that was meant to be.
    return /\bauth\b/i.test(line) ? 'auth' : ''
  }
}

export class History {
  /** Newest first, as readline wants them. */
  readonly lines: string[] = []
  /** Why it is not kept, once it is not. */
  problem: string | undefined
  readonly #path: string

  /** Reads the file, and shortens it if it is too long. */
  constructor(path: string) {
    this.#path = path
    this.#try(() => {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      const { text, isWhole } = readEnd(path)
      const lines = text.split('\n').filter((line) => line !== '')
      this.lines.push(...lines.slice(-HISTORY_LINES_MAX).reverse())
      if (!isWhole || lines.length > 2 * HISTORY_LINES_MAX) this.#rewrite()
    })
  }

  /** Appends a line that was typed. */
  add(line: string): void {
    if (this.problem !== undefined || line.length > LINE_CHARS_MAX || isSecret(line)) return
    this.#try(() => appendFileSync(this.#path, `${line.replaceAll('\n', ' ')}\n`, { mode: 0o600 }))
  }

  /** Another shell that starts now reads the old file or the new one, never a part. */
  #rewrite(): void {
    const temporary = `${this.#path}.${process.pid}`
    writeFileSync(temporary, [...this.lines].reverse().join('\n').concat('\n'), { mode: 0o600 })
    renameSync(temporary, this.#path)
  }

  #try(use: () => void): void {
    try {
      use()
    } catch (error) {
      if (!(error instanceof Error)) throw error
      this.problem = error.message
    }
  }
}

/** The end of the file, from a line's beginning; makes it, and takes it away from other users. */
function readEnd(path: string): { text: string; isWhole: boolean } {
  const file = openSync(path, 'a+', 0o600)
  try {
    const { size, mode } = fstatSync(file)
    if ((mode & 0o077) !== 0) chmodSync(path, 0o600)
    const from = Math.max(0, size - READ_BYTES_MAX)
    const bytes = Buffer.alloc(size - from)
    const text = bytes.toString('utf8', 0, readSync(file, bytes, 0, bytes.length, from))
    return { text: from === 0 ? text : text.slice(text.indexOf('\n') + 1), isWhole: from === 0 }
  } finally {
    closeSync(file)
  }
}
