// The command `auth`: whoever sits at the shell says who they are.
//
// Between a line that may hold a password and the connection. What was typed is never repeated: not in an error, which
// may be quoted elsewhere, and, as history, trace and completion each see to, not there either.

import type { ShellCommand } from './shell-commands.ts'
import { ArgumentInput, type CommandInput, MissingWord, UsageError } from './shell-input.ts'

const ASK_FOR_IT = 'start cache-shell with --user USER --askpass, or set CACHE_USERNAME and CACHE_PASSWORD'

export const auth: ShellCommand = {
  name: 'auth',
  usage: 'USER',
  summary: 'say who you are; the password is asked for',
  notes: [
    'Connects anew. If the server does not take the password, you are who you were.',
    'auth USER PASSWORD works in a line; the line is not kept in the history.',
  ],
  prepare(input) {
    const { username, password } = readUser(input)
    return async ({ calls, askPassword }) => {
      if (password === undefined && askPassword === undefined)
        throw new UsageError(`there is no terminal to ask for the password: ${ASK_FOR_IT}`)
      const given = password ?? (await askPassword?.(`Password for ${username}: `)) ?? ''
      if (given === '') return { kind: 'not-done', label: 'not authenticated', text: 'no password was given' }
      await calls.authenticate({ username, password: given })
      return { kind: 'ok' }
    }
  },
}

interface User {
  username: string
  /** Left out: to be asked for. */
  password: string | undefined
}

/** Throws UsageError, without any of the words in it. */
function readUser(input: CommandInput): User {
  let user: User
  try {
    const username = input.word('USER')
    user = { username, password: input.isDone ? undefined : input.word('PASSWORD') }
    input.close()
  } catch (error) {
    if (error instanceof MissingWord || !(error instanceof UsageError)) throw error
    throw new UsageError('auth takes USER, and asks for the password; quotes go around one with blanks')
  }
  if (user.username === '') throw new UsageError('USER is empty')
  if (user.password !== undefined && input instanceof ArgumentInput)
    throw new UsageError(`others can see a password among the arguments of a process: ${ASK_FOR_IT}`)
  return user
}
