// What was typed, word by word: a line of the shell, or arguments that another shell has split already.
//
// Between text and the commands, which take keys, values and keywords from it; knows none of them. A VALUE is the
// longest JSON value where it stands, else one word as a string. A word is quoted with "…" (escapes as in JSON) or '…'
// (none); a quote within a word is a quote. What cannot be read is a UsageError; nothing is guessed.

/** The line or its arguments are wrong: nothing was sent. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A word that is needed is not there. */
export class MissingWord extends UsageError {}

/** Flags that may stand within a command, besides those that stand before it. */
export const COMMAND_FLAGS = ['--json', '--trace', '-y', '--yes'] as const
export type CommandFlag = (typeof COMMAND_FLAGS)[number]

interface Word {
  text: string
  /** Quoted: neither flag nor keyword. */
  quoted: boolean
}

export abstract class CommandInput {
  /** Flags met so far. */
  readonly flags = new Set<CommandFlag>()
  #literal = false

  /** The next word, which stays; undefined at the end. */
  protected abstract peek(): Word | undefined
  /** Passes over the word that `peek` gave. */
  protected abstract advance(): void
  /** Takes the longest JSON value that begins here and ends with a word; gives its text, or undefined. */
  protected abstract takeJson(): string | undefined

  /** Whether no word is left but flags. */
  get isDone(): boolean {
    return this.#next() === undefined
  }

  /** The next word; `what` names it where it is missing. */
  word(what: string): string {
    const word = this.#next()
    if (word === undefined) throw new MissingWord(`${what} is missing`)
    this.advance()
    return word.text
  }

  /** All words that are left, at least one. */
  words(what: string): string[] {
    const words = [this.word(what)]
    while (!this.isDone) words.push(this.word(what))
    return words
  }

  /** A JSON value, else a word as a string. */
  value(): unknown {
    const text = this.takeJson()
    if (text !== undefined) return exactJson(text)
    const word = this.peek()
    if (word === undefined) throw new MissingWord('VALUE is missing')
    this.advance()
    return word.text
  }

  /** Takes the next word if it is one of these, in any case. */
  keyword<Name extends string>(...names: readonly Name[]): Name | undefined {
    const word = this.#next()
    if (word === undefined || word.quoted) return undefined
    const name = names.find((name) => name.toUpperCase() === word.text.toUpperCase())
    if (name !== undefined) this.advance()
    return name
  }

  /** Checks that nothing is left; `hint` says what may be meant by it. */
  close(hint = ''): void {
    const word = this.#next()
    if (word !== undefined) throw new UsageError(`${quote(word.text)} is one word too many${hint}`)
  }

  /** The next word that is no flag; flags on the way are noted. */
  #next(): Word | undefined {
    for (;;) {
      const word = this.peek()
      if (word === undefined || word.quoted || this.#literal || !/^-(?:-|[a-z]$)/i.test(word.text))
        return word
      this.advance()
      const flag = COMMAND_FLAGS.find((flag) => flag === word.text)
      if (word.text === '--') this.#literal = true
      else if (flag !== undefined) this.flags.add(flag)
      else
        throw new UsageError(
          `${quote(word.text)} is no flag of a command (${COMMAND_FLAGS.join(', ')} are); write -- before it if it is a word`,
        )
    }
  }
}

/** A line. */
export class LineInput extends CommandInput {
  readonly #line: string
  #at = 0
  #wordEnd = 0

  constructor(line: string) {
    super()
    this.#line = line
  }

  protected peek(): Word | undefined {
    const at = this.#skipBlanks()
    const line = this.#line
    if (at === line.length) return undefined
    const first = line[at]
    if (first !== '"' && first !== "'") {
      this.#wordEnd = wordEnd(line, at)
      return { text: line.slice(at, this.#wordEnd), quoted: false }
    }
    const end = first === '"' ? stringEnd(line, at) : line.indexOf("'", at + 1) + 1
    if (end <= 0) throw new UsageError(`a quote is not closed: ${cut(line.slice(at))}`)
    if (!endsWord(line, end))
      throw new UsageError(`a blank is needed behind the quoted word ${cut(line.slice(at, end))}`)
    this.#wordEnd = end
    const source = line.slice(at, end)
    return { text: first === '"' ? unescaped(source) : source.slice(1, -1), quoted: true }
  }

  protected advance(): void {
    this.#at = this.#wordEnd
  }

  protected takeJson(): string | undefined {
    const at = this.#skipBlanks()
    const end = jsonEnd(this.#line, at)
    if (end === undefined || !endsWord(this.#line, end)) return undefined
    this.#at = end
    return this.#line.slice(at, end)
  }

  #skipBlanks(): number {
    while (isBlank(this.#line, this.#at)) this.#at++
    return this.#at
  }
}

/** Arguments of the process, each a word whatever is in it. */
export class ArgumentInput extends CommandInput {
  readonly #words: readonly string[]
  #index = 0

  constructor(words: readonly string[]) {
    super()
    this.#words = words
  }

  protected peek(): Word | undefined {
    const text = this.#words[this.#index]
    return text === undefined ? undefined : { text, quoted: false }
  }

  protected advance(): void {
    this.#index++
  }

  /** `[1, 2]` may have come as two words. */
  protected takeJson(): string | undefined {
    const rest = this.#words.slice(this.#index)
    const text = rest.join(' ')
    const end = jsonEnd(text, 0)
    if (end === undefined) return undefined
    let length = -1
    const last = rest.findIndex((word) => {
      length += 1 + word.length
      return length >= end
    })
    if (length !== end) return undefined
    this.#index += last + 1
    return text.slice(0, end)
  }
}

/** Where the JSON value that begins at `at` ends; undefined if there is none. Linear in its length. */
function jsonEnd(text: string, at: number): number | undefined {
  const first = text[at]
  let end: number
  if (first === '"') end = stringEnd(text, at)
  else if (first === '[' || first === '{') end = bracketEnd(text, at)
  else end = wordEnd(text, at)
  if (end <= at) return undefined
  try {
    JSON.parse(text.slice(at, end))
    return end
  } catch {
    return undefined
  }
}

/** Behind the bracket that closes the one at `at`; 0 if there is none. */
function bracketEnd(text: string, at: number): number {
  let depth = 0
  for (let i = at; i < text.length; i++) {
    const char = text[i]
    if (char === '"') {
      i = stringEnd(text, i) - 1
      if (i < 0) return 0
    } else if (char === '[' || char === '{') depth++
    else if ((char === ']' || char === '}') && --depth === 0) return i + 1
  }
  return 0
}

/** Behind the quote that closes the one at `at`; 0 if there is none. */
function stringEnd(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === '"') return i + 1
  }
  return 0
}

function wordEnd(text: string, at: number): number {
  let end = at
  while (end < text.length && !isBlank(text, end)) end++
  return end
}

function isBlank(text: string, at: number): boolean {
  return text[at] === ' ' || text[at] === '\t'
}

function endsWord(text: string, end: number): boolean {
  return end === text.length || isBlank(text, end)
}

function unescaped(source: string): string {
  try {
    return String(JSON.parse(source))
  } catch {
    throw new UsageError(`not a string as JSON writes it: ${cut(source)}`)
  }
}

/** Parses JSON whose numbers a JavaScript number can hold: another one would be stored as its neighbour. */
function exactJson(text: string): unknown {
  const number = /-?\d[\d.eE+-]*/y
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '"') i = stringEnd(text, i) - 1
    number.lastIndex = i
    const token = number.exec(text)?.[0]
    if (token === undefined) continue
    i += token.length - 1
    const isExact = /^-?\d+$/.test(token)
      ? Number.isSafeInteger(Number(token))
      : Number.isFinite(Number(token))
    if (!isExact) throw new UsageError(`${cut(token)} is no number here; in quotes it is stored as text`)
  }
  return JSON.parse(text)
}

function quote(text: string): string {
  return JSON.stringify(cut(text))
}

function cut(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
