// The hex dumps of PROTOCOL.md, in the notation that the page explains: blocks of bytes in both directions, with
// bytes that vary (`..`, `[name]`) and events (`-- …`). Knows no server.

import { hex } from './frames.ts'

export type Step =
  | { kind: 'send'; line: number; tokens: readonly string[] }
  | { kind: 'expect'; line: number; tokens: readonly string[] }
  | { kind: 'event'; line: number; what: string }

/** What one connection says and hears; `line` is where it begins on the page, from 1. */
export interface Dump {
  line: number
  steps: readonly Step[]
}

/**
 * The blocks of a page that are marked so: `hex` with a client, `auth` with one that must authenticate, `peers` between
 * servers. Throws an Error for a line it cannot read.
 */
export function dumpsOf(page: string, mark: 'hex' | 'auth' | 'peers' = 'hex'): Dump[] {
  const dumps: Dump[] = []
  const lines = page.split('\n')
  for (let i = 0; i < lines.length; i++) {
    if (lines[i] !== `\`\`\`${mark}`) continue
    const first = i + 1
    const end = lines.indexOf('```', first)
    if (end < 0) throw new Error(`the block at line ${first} has no end`)
    dumps.push({ line: first + 1, steps: stepsOf(lines.slice(first, end), first + 1) })
    i = end
  }
  return dumps
}

function stepsOf(lines: readonly string[], firstLine: number): Step[] {
  const steps: Step[] = []
  let tokens: string[] = []
  lines.forEach((text, index) => {
    const line = firstLine + index
    if (text.startsWith('-- ')) {
      steps.push({ kind: 'event', line, what: text.slice(3) })
      return
    }
    const [bytes = ''] = text.split(';', 1)
    if (text.startsWith('> ') || text.startsWith('< ')) {
      tokens = []
      steps.push(text.startsWith('>') ? { kind: 'send', line, tokens } : { kind: 'expect', line, tokens })
    } else if (!text.startsWith('  ')) throw new Error(`line ${line} is no line of a dump: ${text}`)
    for (const token of bytes.slice(2).trim().split(/\s+/)) {
      if (!/^(?:[0-9a-f]{2}|\.\.|\[\w+\])$/.test(token))
        throw new Error(`line ${line} has no bytes: ${token}`)
      tokens.push(token)
    }
  })
  return steps
}

/** Bytes by the names that stand for them; grows with what is met. */
export type Names = Map<string, string>

/** The bytes of tokens of which all are known. */
export function bytesOf(tokens: readonly string[], names: Names): Buffer {
  return hex(tokens.map((token) => names.get(token) ?? token).join(''))
}

/** Whether nothing in these tokens varies that is not known yet. */
export function isFixed(tokens: readonly string[], names: Names): boolean {
  return tokens.every((token) => /^[0-9a-f]{2}$/.test(token) || names.has(token))
}

/** Matches all of `bytes` against tokens, and learns the names in them. */
export function matches(bytes: Buffer, tokens: readonly string[], names: Names): boolean {
  const learned: string[] = []
  const pattern = tokens.map((token) => {
    if (token === '..') return '[0-9a-f]{2}'
    if (!token.startsWith('[')) return token
    const known = names.get(token)
    if (known !== undefined) return known
    learned.push(token)
    return '((?:[0-9a-f]{2})+?)'
  })
  const found = new RegExp(`^${pattern.join('')}$`).exec(bytes.toString('hex'))
  learned.forEach((token, index) => {
    const text = found?.[index + 1]
    if (text !== undefined) names.set(token, text)
  })
  return found !== null
}
