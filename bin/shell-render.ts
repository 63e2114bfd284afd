// Outcomes as text. Between the commands and whatever they are shown on:
//
//   terminal   for eyes: laid out for its width, long values cut, in colour if wanted; control characters of a value,
//              a key or a server's text never reach the terminal
//   plain      for pipes: strings as they are, everything else JSON, nothing cut
//   json       one JSON text per command: OK is true, (not stored) false, (miss) null, an error {"error": {…}}

import { inspect } from 'node:util'
import { hexLines } from './shell-frames.ts'
import { jsonForm } from './shell-json.ts'
import type { Outcome, WholeOutcome } from './shell-outcome.ts'
import { tableLines } from './shell-table.ts'

export interface Style {
  form: 'terminal' | 'plain' | 'json'
  color: boolean
  columns: number
}

/** Of one value on a terminal. */
const SHOWN_CHARS_MAX = 20_000

const PAINTS = { error: 31, ok: 32, miss: 33, name: 36, text: 32, number: 33, word: 35, dim: 2 } as const

/** The text of an outcome, in pieces; together they end with a line end, unless there is nothing to show. */
export async function* render(outcome: Outcome, style: Style): AsyncGenerator<string, void, undefined> {
  if (outcome.kind === 'keys')
    yield* style.form === 'json' ? keysAsJson(outcome.pages) : keyLines(outcome.pages, style)
  else {
    const text = style.form === 'json' ? jsonText(outcome) : shownText(outcome, style)
    if (text !== undefined) yield `${text}\n`
  }
}

function jsonText(outcome: WholeOutcome): string | undefined {
  switch (outcome.kind) {
    case 'quit':
      return undefined
    case 'ok':
      return 'true'
    case 'not-done':
      return 'false'
    case 'miss':
      return 'null'
    case 'value':
      return toJson(outcome.value)
    case 'values':
      return `[${outcome.found.map((found) => (found === undefined ? 'null' : toJson(found.value))).join(',')}]`
    case 'facts':
      return toJson(outcome.facts)
    case 'table':
      return toJson(outcome.rows)
    case 'acknowledged':
      return toJson({ acks: outcome.acks, awaited: outcome.awaited })
    case 'text':
      return toJson(outcome.text)
    case 'frames':
      return toJson(
        outcome.frames.map(({ bytes, meaning }) => ({ hex: Buffer.from(bytes).toString('hex'), meaning })),
      )
    case 'error':
      return toJson({ error: { code: outcome.code, message: outcome.text } })
  }
}

function shownText(outcome: WholeOutcome, style: Style): string | undefined {
  switch (outcome.kind) {
    case 'quit':
      return undefined
    case 'ok':
      return paint('OK', 'ok', style)
    case 'not-done':
      return `${paint(`(${outcome.label})`, 'miss', style)} ${outcome.text}`
    case 'miss':
      return paint('(miss)', 'miss', style)
    case 'value':
      return style.form === 'terminal' && outcome.shown !== undefined
        ? outcome.shown
        : valueText(outcome.value, style)
    case 'values':
      return outcome.found.map((found, i) => entryText(outcome.keys[i] ?? '', found, style)).join('\n')
    case 'facts':
      return style.form === 'terminal' ? factLines(outcome.facts, style) : toJson(outcome.facts)
    case 'table':
      return style.form === 'terminal' ? tableText(outcome, style) : toJson(outcome.rows)
    case 'acknowledged':
      return `${paint('OK', 'ok', style)} (acknowledged by ${outcome.acks} of ${outcome.awaited})`
    case 'text':
      return outcome.text.split('\n').map(printable).join('\n')
    case 'frames':
      return frameLines(outcome, style)
    case 'error':
      return `${paint('(error)', 'error', style)} ${outcome.code} ${printable(outcome.text)}`
  }
}

function toJson(value: unknown): string {
  return JSON.stringify(jsonForm(value).json)
}

function valueText(value: unknown, style: Style): string {
  if (style.form !== 'terminal') return typeof value === 'string' ? value : toJson(value)
  const { json, isExact } = jsonForm(value)
  const text = isExact ? layout(json, style.columns, 0) : inspected(value, { ...style, color: false })
  if (text.length > SHOWN_CHARS_MAX) {
    const note = `(${text.length - SHOWN_CHARS_MAX} more characters; a pipe or a file gets them all)`
    return `${unhidden(text.slice(0, SHOWN_CHARS_MAX))}\n${paint(note, 'dim', style)}`
  }
  if (!style.color) return unhidden(text)
  return isExact ? paintJson(unhidden(text), style) : unhidden(inspected(value, style))
}

/** What JSON cannot say, as Node shows it. */
function inspected(value: unknown, style: Style): string {
  return inspect(value, {
    colors: style.color,
    depth: 32,
    breakLength: style.columns,
    maxArrayLength: 1000,
    maxStringLength: SHOWN_CHARS_MAX,
  })
}

function entryText(key: string, found: { value: unknown } | undefined, style: Style): string {
  const text = found === undefined ? paint('(miss)', 'miss', style) : valueText(found.value, style)
  return style.form === 'terminal' ? `${paint(`${shownKey(key)}:`, 'name', style)} ${text}` : text
}

async function* keyLines(
  pages: AsyncIterable<readonly string[]>,
  style: Style,
): AsyncGenerator<string, void, undefined> {
  let isEmpty = true
  for await (const page of pages) {
    if (page.length === 0) continue
    isEmpty = false
    const lines = style.form === 'terminal' ? page.map(shownKey) : page
    yield `${lines.join('\n')}\n`
  }
  if (isEmpty && style.form === 'terminal') yield `${paint('(no keys)', 'miss', style)}\n`
}

/** One array; closed also if the listing fails: what comes then is another JSON text. */
async function* keysAsJson(pages: AsyncIterable<readonly string[]>): AsyncGenerator<string, void, undefined> {
  let before = '['
  try {
    for await (const page of pages) {
      if (page.length === 0) continue
      yield before + page.map((key) => JSON.stringify(key)).join(',')
      before = ','
    }
  } catch (error) {
    if (before === ',') yield ']\n'
    throw error
  }
  yield before === '[' ? '[]\n' : ']\n'
}

/** A key as it can be typed again. */
export function shownKey(key: string): string {
  const isBare = key !== '' && !/^["'-]|[\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(key)
  return isBare ? key : unhidden(JSON.stringify(key))
}

/** Sections with their rows, or rows alone. */
function factLines(facts: object, style: Style, indent = ''): string {
  const entries = Object.entries(facts)
  const width = Math.max(0, ...entries.filter(([, fact]) => !isSection(fact)).map(([name]) => name.length))
  return entries
    .map(([name, fact]) => {
      if (!isSection(fact))
        return `${indent}${paint(printable(name).padEnd(width), 'dim', style)}  ${factText(fact)}`
      const rows = Object.keys(fact).length === 0 ? `${indent}  -` : factLines(fact, style, `${indent}  `)
      return `${indent}${paint(printable(name), 'name', style)}\n${rows}`
    })
    .join('\n')
}

function isSection(fact: unknown): fact is object {
  return typeof fact === 'object' && fact !== null
}

function tableText(outcome: Extract<Outcome, { kind: 'table' }>, style: Style): string {
  if (outcome.rows.length === 0) return paint(`(${outcome.empty})`, 'miss', style)
  const [head = '', ...lines] = tableLines(outcome.columns, outcome.rows, factText, style.columns)
  return [paint(head, 'dim', style), ...lines].join('\n')
}

function factText(fact: unknown): string {
  return fact === null || fact === undefined ? '-' : printable(String(fact))
}

function frameLines(outcome: Extract<Outcome, { kind: 'frames' }>, style: Style): string {
  const texts = outcome.frames.map(({ bytes, meaning }) => `${printable(meaning)}\n${hexLines(bytes)}`)
  if (outcome.closed) texts.push(paint('(the server closed the connection)', 'miss', style))
  return texts.join('\n')
}

/** JSON for reading: on one line if that is short enough, lists of plain items filled up to the width. */
function layout(json: unknown, columns: number, indent: number): string {
  const flat = JSON.stringify(json)
  if (flat.length + indent <= columns || flat.length > SHOWN_CHARS_MAX || !isSection(json)) return flat
  const pad = ' '.repeat(indent + 2)
  const end = ' '.repeat(indent)
  if (!Array.isArray(json)) {
    const rows = Object.entries(json).map(
      ([name, item]) => `${pad}${JSON.stringify(name)}: ${layout(item, columns, indent + 2)}`,
    )
    return `{\n${rows.join(',\n')}\n${end}}`
  }
  const items = json.map((item) => layout(item, columns, indent + 2))
  if (json.some(isSection)) return `[\n${items.map((item) => pad + item).join(',\n')}\n${end}]`
  const lines: string[] = []
  let line = ''
  for (const item of items) {
    if (line !== '' && pad.length + line.length + item.length + 3 > columns) {
      lines.push(line)
      line = ''
    }
    line += line === '' ? item : `, ${item}`
  }
  return `[\n${[...lines, line].map((text) => pad + text).join(',\n')}\n${end}]`
}

function paintJson(text: string, style: Style): string {
  return text.replace(
    /("(?:[^"\\]|\\.)*")(?=(:)?)|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/g,
    (token, quoted: string | undefined, colon: string | undefined) => {
      if (quoted !== undefined) return paint(token, colon === undefined ? 'text' : 'name', style)
      return paint(token, /^[tfn]/.test(token) ? 'word' : 'number', style)
    },
  )
}

function paint(text: string, paint: keyof typeof PAINTS, style: Style): string {
  return style.color && style.form === 'terminal' ? `\x1b[${PAINTS[paint]}m${text}\x1b[0m` : text
}

/** A stranger's text on one line, with nothing in it that a terminal would obey. */
export function printable(text: string): string {
  return unhidden(text.replace(/\p{Cc}/gu, escaped))
}

/** Escapes what neither JSON nor Node escapes: what a terminal may obey, or what turns the direction of writing. */
function unhidden(text: string): string {
  return text.replace(/[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, escaped)
}

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
}
