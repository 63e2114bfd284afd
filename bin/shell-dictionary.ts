// All commands by name, in any case: the shell's own, those of habit, and the help on them. For a name that nobody
// knows it says which one was probably meant.

import { auth } from './shell-auth.ts'
import { type Run, type ShellCommand, shellCommands } from './shell-commands.ts'
import { adviceCommands, habitCommands } from './shell-habits.ts'
import { type CommandInput, MissingWord, UsageError } from './shell-input.ts'

const help: ShellCommand = {
  name: 'help',
  usage: '[COMMAND]',
  summary: 'list the commands, or explain one',
  offers: (position) => (position === 0 ? commandNames : []),
  prepare(input) {
    const text = input.isDone ? overview() : explanation(findCommand(input.word('COMMAND')))
    input.close()
    return async () => ({ kind: 'text', text })
  },
}

const own: readonly ShellCommand[] = [...shellCommands, auth, help]
const byName: ReadonlyMap<string, ShellCommand> = new Map(
  [...adviceCommands, ...habitCommands, ...own].map((command) => [command.name, command]),
)

/** What Tab offers for the first word: what the help lists. */
export const commandNames: readonly string[] = own.map(({ name }) => name).sort()
/** What Tab offers as well once the first letters are there. */
export const habitNames: readonly string[] = habitCommands.map(({ name }) => name).sort()

/** Reads a whole command. Throws UsageError. */
export function readCommand(input: CommandInput): Run {
  const command = findCommand(input.word('COMMAND'))
  try {
    return command.prepare(input)
  } catch (error) {
    if (error instanceof MissingWord) throw new UsageError(`${error.message}: ${usageOf(command)}`)
    throw error
  }
}

/** Throws a UsageError, with what may have been meant, for a word that is no command. */
export function findCommand(word: string): ShellCommand {
  const name = word.toLowerCase()
  const command = byName.get(name)
  if (command !== undefined) return command
  const meant = nearest(name, [...commandNames, ...habitNames])
  const hint = meant === undefined ? 'help lists the commands' : `did you mean ${meant}?`
  throw new UsageError(`unknown command ${JSON.stringify(word.slice(0, 40))}; ${hint}`)
}

function overview(): string {
  const width = Math.max(...own.map(({ name, usage }) => name.length + usage.length)) + 3
  const rows = own.map(({ name, usage, summary }) => `${`${name} ${usage}`.padEnd(width)}${summary}`)
  return [
    ...rows,
    '',
    'Behind a command: --json shows its reply as JSON, --trace the frames it takes.',
    'What redis-cli, memcached and nats users type by habit works too: help setex, help rm.',
  ].join('\n')
}

function usageOf({ name, usage }: ShellCommand): string {
  return `${name} ${usage}`.trimEnd()
}

function explanation(command: ShellCommand): string {
  const { summary, notes } = command
  return [usageOf(command), `  ${summary}`, ...(notes ?? []).map((note) => `  ${note}`)].join('\n')
}

/** A word this far from what was typed was hardly meant. */
const DISTANCE_MAX = 2

function nearest(word: string, names: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.min(DISTANCE_MAX, Math.ceil(word.length / 3)) + 1
  for (const name of names) {
    const distance = editDistance(word, name, bestDistance)
    if (distance < bestDistance) {
      best = name
      bestDistance = distance
    }
  }
  return best
}

/** Letters to insert, delete, replace or swap with their neighbour; not exact from `limit` on. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substituted = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let distance = Math.min(substituted, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        distance = Math.min(distance, (beforeLast[j - 2] ?? 0) + 1)
      row.push(distance)
    }
    beforeLast = last
    last = row
  }
  return last[b.length] ?? limit
}
