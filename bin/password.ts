// Where commands take a password from: a terminal, which does not show what is typed, or the first line of standard
// input if that is no terminal. Never an argument: those stand in the list of processes. Knows no user and no server.

import { createInterface } from 'node:readline'
import { type Readable, Writable } from 'node:stream'
import { CommandFailure, ExitCode } from './program.ts'

/** More than any password manager makes, and a bound for a file that is none of a password. */
const PASSWORD_CHARS_MAX = 1024
const BYTES_PER_CHAR_MAX = 4
const LINE_FEED = 0x0a
const EXIT_INTERRUPTED = 130

export interface PasswordStreams {
  /** What is behind the first line stays in it, if it is no terminal. */
  input: Readable & { isTTY?: boolean }
  /** For the question, if there is somebody to ask. */
  output: Writable
}

/** Not before they are needed: standard input may be for somebody else to open. */
function processStreams(): PasswordStreams {
  return { input: process.stdin, output: process.stderr }
}

/** A password that exists. Throws CommandFailure if there is none, or Ctrl-C instead. */
export async function askPassword(question: string, streams = processStreams()): Promise<string> {
  const [password = ''] = streams.input.isTTY
    ? await typedUnseen([question], streams)
    : [await firstLine(streams.input)]
  return checked(password)
}

/** A password to be: on a terminal it has to be typed twice. Throws CommandFailure likewise, and if they differ. */
export async function askNewPassword(question: string, streams = processStreams()): Promise<string> {
  if (!streams.input.isTTY) return askPassword(question, streams)
  const [password = '', again] = await typedUnseen([question, 'once more: '], streams)
  if (password !== again) throw new CommandFailure(ExitCode.Failed, 'these were two different passwords')
  return checked(password)
}

function checked(password: string): string {
  if (password.length >= 1 && password.length <= PASSWORD_CHARS_MAX) return password
  const found = password === '' ? 'none was given' : `it has ${password.length}`
  throw new CommandFailure(ExitCode.Failed, `a password has 1 to ${PASSWORD_CHARS_MAX} characters, ${found}`)
}

/** A line for each question, with readline's keys; what readline would show goes nowhere. */
async function typedUnseen(
  questions: readonly string[],
  { input, output }: PasswordStreams,
): Promise<string[]> {
  const nowhere = new Writable({ write: (_chunk, _encoding, onDone) => onDone() })
  const readline = createInterface({ input, output: nowhere, terminal: true, historySize: 0 })
  let isInterrupted = false
  readline.on('SIGINT', () => {
    isInterrupted = true
    readline.close()
  })
  const lines = readline[Symbol.asyncIterator]()
  const answers: string[] = []
  try {
    for (const question of questions) {
      // Not before now: the terminal shows nothing any more.
      output.write(question)
      const line = await lines.next()
      output.write('\n')
      if (isInterrupted) throw new CommandFailure(EXIT_INTERRUPTED, 'interrupted')
      if (line.done) throw new CommandFailure(ExitCode.Failed, 'no password was given')
      answers.push(line.value)
    }
    return answers
  } finally {
    readline.close()
  }
}

async function firstLine(input: Readable): Promise<string> {
  const bytes = await untilLineFeed(input, BYTES_PER_CHAR_MAX * PASSWORD_CHARS_MAX)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes).replace(/\r$/, '')
  } catch {
    throw new CommandFailure(ExitCode.Failed, 'the first line of standard input is not UTF-8')
  }
}

/** Bytes before the first line feed or the end; at most `bytesMax` and a chunk. What is behind goes back. */
function untilLineFeed(input: Readable, bytesMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0)
    const finish = (bytes: Buffer) => {
      input.off('readable', onReadable).off('end', onEnd).off('error', reject)
      resolve(bytes)
    }
    const onEnd = () => finish(read)
    const onReadable = () => {
      const chunk: unknown = input.read()
      if (chunk === null) return
      read = Buffer.concat([read, Buffer.from(chunk instanceof Uint8Array ? chunk : String(chunk))])
      const end = read.indexOf(LINE_FEED)
      if (end < 0 && read.length <= bytesMax) return onReadable()
      if (end >= 0 && end + 1 < read.length) input.unshift(read.subarray(end + 1))
      finish(end < 0 ? read : read.subarray(0, end))
    }
    input.on('readable', onReadable).on('end', onEnd).on('error', reject)
  })
}
