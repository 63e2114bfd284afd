// Commands that nobody types: lines from a pipe or a file, and one command again and again. Between a stream or the
// process's arguments and the shell; each line is one command, blank ones and those that begin with # are none.

import { StringDecoder } from 'node:string_decoder'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Shell } from './shell.ts'
import { type CommandInput, LineInput } from './shell-input.ts'
import { exitOf, ShellExit } from './shell-outcome.ts'

/** Longest line: room for the largest value that anybody should type. */
const LINE_CHARS_MAX = 64 * 1024 * 1024

const NEVER = new AbortController().signal

/** Runs each line, also after one that failed; `quit` ends it. Resolves with the highest of the exit codes. */
export async function runLines(input: AsyncIterable<Buffer | string>, shell: Shell): Promise<ShellExit> {
  let worst: ShellExit = ShellExit.Done
  for await (const line of lines(input)) {
    if (/^\s*(?:#|$)/.test(line)) continue
    const outcome = await shell.run(new LineInput(line), NEVER)
    if (outcome.kind === 'quit') break
    const exit = exitOf(outcome)
    if (exit > worst) worst = exit
  }
  return worst
}

/** Runs one command `times` times, beginning every `intervalMs`; resolves with the last exit code. */
export async function runRepeatedly(
  input: CommandInput,
  shell: Shell,
  times: number,
  intervalMs: number,
): Promise<ShellExit> {
  const command = await shell.prepare(input)
  if (!('run' in command)) return exitOf(command)
  for (let left = times; ; left--) {
    const startedMs = performance.now()
    const outcome = await shell.execute(command, NEVER)
    if (left <= 1 || outcome.kind === 'quit') return exitOf(outcome)
    await sleep(Math.max(0, startedMs + intervalMs - performance.now()))
  }
}

/** The lines of a stream of UTF-8; only \n and \r\n end one. Throws RangeError for one that is too long. */
async function* lines(input: AsyncIterable<Buffer | string>): AsyncGenerator<string, void, undefined> {
  const decoder = new StringDecoder('utf8')
  let parts: string[] = []
  let chars = 0
  for await (const chunk of input) {
    const [first = '', ...others] = (typeof chunk === 'string' ? chunk : decoder.write(chunk)).split('\n')
    parts.push(first)
    chars += first.length
    for (const next of others) {
      yield lineOf(parts)
      parts = [next]
      chars = next.length
    }
    if (chars > LINE_CHARS_MAX) throw new RangeError(`a line has at most ${LINE_CHARS_MAX} characters`)
  }
  parts.push(decoder.end())
  yield lineOf(parts)
}

function lineOf(parts: readonly string[]): string {
  return parts.join('').replace(/\r$/, '')
}
