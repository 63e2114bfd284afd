// ormuco-cache users: who may come in. Adds, lists and removes the lines of an auth file; comments and other lines
// stay as they are, and a file without a secret for strangers gets one. Between the command line and the file; asks no
// server. Passwords come from a terminal or from standard input, and only what is derived from them is kept.

import { randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import { Command, Option } from 'commander'
import { deriveScramKeys, SCRAM_ITERATIONS_DEFAULT, type ScramKeys } from '../protocol/scram.ts'
import { choose, readDotEnv } from '../server/environment.ts'
import { OptionError } from '../server/options.ts'
import {
  AuthFileError,
  formatUser,
  isUserName,
  newStrangers,
  parseStrangers,
  parseUsers,
  ROLES,
  type Role,
  SALT_BYTES,
  USER_NAME_ALLOWED,
  type User,
  Users,
} from '../server/users.ts'
import { editLines, readLines } from './auth-file.ts'
import { askNewPassword } from './password.ts'
import { CommandFailure, ExitCode } from './program.ts'

const FILE_VARIABLE = 'CACHE_AUTH_FILE'

interface FileFlag {
  file?: string
}

interface AddFlags extends FileFlag {
  role?: string
  replace?: true
  /** Anything: it was tried. */
  password?: unknown
}

/** The command, with one command for each thing to do. */
export function usersCommand(): Command {
  const command = new Command('users')
    .description('Who may use a cache server: the users in its auth file.')
    .addHelpText('after', '\nA server reads the file when it starts, and again on SIGHUP.')
  subcommand(command, 'add <name>', 'add a user; asks for a password, or reads a line of standard input')
    .option('-r, --role <role>', `what the user may do: ${ROLES.join(', ')}`)
    .option('--replace', 'give a user who is there another password, and the role if one is named')
    .addOption(new Option('--password [password]').hideHelp())
    .action((name: string, flags: AddFlags) => orFail(() => add(name, flags)))
  subcommand(command, 'list', 'print the name and the role of each user').action((flags: FileFlag) =>
    orFail(() => list(flags)),
  )
  subcommand(command, 'remove <name>', 'remove a user').action((name: string, flags: FileFlag) =>
    orFail(() => remove(name, flags)),
  )
  return command
}

function subcommand(command: Command, usage: string, summary: string): Command {
  return command
    .command(usage)
    .description(summary)
    .option('-f, --file <path>', `auth file (${FILE_VARIABLE})`)
}

interface Wanted {
  readonly name: string
  /** undefined: the one that the user has. */
  readonly role: Role | undefined
  readonly ifThere: 'refuse' | 'replace'
}

async function add(name: string, flags: AddFlags): Promise<void> {
  if (flags.password !== undefined)
    throw new CommandFailure(
      ExitCode.Usage,
      '--password is not possible: arguments stand in the list of processes; allowed: a terminal, or a line of standard input',
    )
  const path = pathOf(flags)
  if (!isUserName(name)) throw new OptionError('NAME', name, USER_NAME_ALLOWED)
  const wanted: Wanted = {
    name,
    role: flags.role === undefined ? undefined : choose('--role', flags.role, ROLES),
    ifThere: flags.replace ? 'replace' : 'refuse',
  }
  // Nobody should type a password for nothing.
  let { role } = placeOf(wanted, readLines(path), path)
  const password = await askNewPassword(`password of ${name}: `)
  // Whoever wrote it into a pipe may keep that open.
  process.stdin.destroy()
  const keys = await derive(password)
  editLines(path, (present) => {
    const lines = withStrangers(present, path)
    // The file may be another one than before the password was typed.
    const place = placeOf(wanted, lines, path)
    role = place.role
    return lines.toSpliced(place.index, 1, formatUser({ name, role, keys }))
  })
  process.stdout.write(`${name} is ${role} now\n`)
}

/** With the secret for strangers, behind the last line if it was not there: whatever comes later keeps it. */
function withStrangers(lines: readonly string[], path: string): readonly string[] {
  return parseStrangers(lines.join('\n'), path) === undefined ? [...lines, newStrangers()] : lines
}

/** Which line is the user's: the one there is, or a new one behind the last. */
function placeOf(wanted: Wanted, lines: readonly string[], path: string): { index: number; role: Role } {
  const [line, user] = lineOf(wanted.name, lines, path) ?? []
  if (user !== undefined && wanted.ifThere === 'refuse')
    throw new CommandFailure(
      ExitCode.Failed,
      `${wanted.name} is ${user.role} already; --replace gives another password, and the role that --role names`,
    )
  const role = wanted.role ?? user?.role
  if (role === undefined)
    throw new CommandFailure(ExitCode.Usage, `--role is missing; allowed: ${ROLES.join(', ')}`)
  return { index: line === undefined ? lines.length : line - 1, role }
}

function lineOf(name: string, lines: readonly string[], path: string): [line: number, User] | undefined {
  return [...parseUsers(lines.join('\n'), path)].find(([, user]) => user.name === name)
}

async function derive(password: string): Promise<ScramKeys> {
  try {
    return await deriveScramKeys(password, randomBytes(SALT_BYTES), SCRAM_ITERATIONS_DEFAULT)
  } catch (error) {
    if (error instanceof RangeError) throw new CommandFailure(ExitCode.Failed, error.message)
    throw error
  }
}

function list(flags: FileFlag): void {
  const users = [...readUsers(pathOf(flags))]
  const width = users.reduce((widest, { name }) => Math.max(widest, name.length), 0)
  for (const { name, role } of users) process.stdout.write(`${name.padEnd(width)}  ${role}\n`)
}

function remove(name: string, flags: FileFlag): void {
  const path = pathOf(flags)
  // A file that is not there is an error here, and no new one.
  readUsers(path)
  editLines(path, (present) => {
    const lines = withStrangers(present, path)
    const [line] = lineOf(name, lines, path) ?? []
    if (line === undefined)
      throw new CommandFailure(ExitCode.Failed, `${path} names no user ${inspect(name)}`)
    return lines.toSpliced(line - 1, 1)
  })
  process.stdout.write(`${name} is removed\n`)
}

function readUsers(path: string): Users {
  return Users.read(path, (fields, phrase) => {
    process.stderr.write(`ormuco-cache: ${phrase}: ${JSON.stringify(fields)}\n`)
  })
}

function pathOf({ file }: FileFlag): string {
  const [path] = [file, process.env[FILE_VARIABLE], readDotEnv(process.cwd())[FILE_VARIABLE]]
    .map((text) => text?.trim() ?? '')
    .filter((text) => text !== '')
  if (path !== undefined) return path
  throw new CommandFailure(
    ExitCode.Usage,
    `--file is missing; allowed: the path of an auth file, here or in ${FILE_VARIABLE}`,
  )
}

/** Runs one of the commands; what is known to go wrong gets its line and its exit code. */
async function orFail(run: () => void | Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    if (error instanceof OptionError) throw new CommandFailure(ExitCode.Usage, error.message)
    if (error instanceof AuthFileError) throw new CommandFailure(ExitCode.Failed, error.message)
    throw error
  }
}
