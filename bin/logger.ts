// What the commands log with: pino on standard error, one JSON object per line, or readable lines for people.
// Standard output stays free for what a program reads. Written synchronously, so that the last line before an exit
// is never lost; a reader that has gone away does not take the process with it.

import { destination, type Logger, pino, stdSerializers, stdTimeFunctions } from 'pino'

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** auto: pretty on a terminal, else json. */
export const LOG_FORMATS = ['auto', 'json', 'pretty'] as const
export type LogFormat = (typeof LOG_FORMATS)[number]

const STDERR = 2

/** A pino logger on standard error. Constant phrases, facts in fields; an Error goes into the field `error`. */
export function createLogger(level: LogLevel, format: LogFormat): Logger {
  const stderr = destination({ fd: STDERR, sync: true })
  const isPretty = format === 'pretty' || (format === 'auto' && process.stderr.isTTY)
  const { NO_COLOR } = process.env
  const style: LineStyle = process.stderr.isTTY && !NO_COLOR ? 'coloured' : 'plain'
  return pino(
    {
      level,
      base: null,
      messageKey: 'msg',
      errorKey: 'error',
      timestamp: stdTimeFunctions.isoTime,
      serializers: { error: stdSerializers.err },
      formatters: { level: (word) => ({ level: word }) },
    },
    isPretty ? { write: (line: string) => void stderr.write(prettyLine(line, style)) } : stderr,
  )
}

export type LineStyle = 'plain' | 'coloured'

const COLOURS = new Map([
  ['warn', '\x1b[33m'],
  ['error', '\x1b[31m'],
  ['fatal', '\x1b[31m'],
])

/**
 * One line of pino's JSON as `18:04:59.123 INFO  phrase field=value`; the stack of an error on lines of its own.
 * What a peer or client can put into a field never reaches the terminal as a control character.
 */
export function prettyLine(json: string, style: LineStyle): string {
  const record: unknown = JSON.parse(json)
  const { time, level, msg, error, ...fields } = Object.fromEntries(Object.entries(record ?? {}))
  const word = String(level).toUpperCase().padEnd(5)
  const colour = style === 'coloured' ? COLOURS.get(String(level)) : undefined
  const facts = Object.entries(fields).map(([name, value]) => `${name}=${printable(value)}`)
  const head = [
    String(time).slice(11, 23),
    colour === undefined ? word : `${colour}${word}\x1b[0m`,
    escapeControls(String(msg)),
    ...facts,
  ]
  return `${head.join(' ')}\n${error === undefined ? '' : indentedError(error)}`
}

function printable(value: unknown): string {
  if (typeof value === 'string' && /^[\w.:[\]/@+-]+$/.test(value)) return value
  return escapeControls(JSON.stringify(value))
}

function indentedError(error: unknown): string {
  const hasStack = typeof error === 'object' && error !== null && 'stack' in error
  const lines = hasStack ? String(error.stack).split('\n') : [printable(error)]
  return lines.map((line) => `    ${escapeControls(line)}\n`).join('')
}

function escapeControls(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
