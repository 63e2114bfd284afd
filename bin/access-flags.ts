// Who a command says it is, and whether it speaks TLS: flags beat variables, and variables those in the file .env of the
// current folder. Between the command line, the place a password is typed at, and a link. A password is no flag: what
// stands on a command line is seen by everybody on that machine.

import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { Option } from 'commander'
import { type Access, credentialsFrom, tlsFrom } from '../client/access.ts'
import type { CredentialsSource } from '../protocol/authentication.ts'
import { type Environment, readDotEnv } from '../server/environment.ts'
import { askPassword } from './password.ts'
import { CommandFailure, ExitCode } from './program.ts'

export interface AccessFlags {
  /** Beats CACHE_USERNAME. */
  user?: string
  /** The password is typed, or the first line of standard input. */
  askpass?: true
  tls?: true
  /** Paths of PEM files; each means TLS. */
  cacert?: string
  cert?: string
  key?: string
}

/** The same, for a command. */
export function accessOptions(): Option[] {
  return [
    new Option('--user <name>', 'who you are (CACHE_USERNAME; with CACHE_PASSWORD or CACHE_PASSWORD_FILE)'),
    new Option('--askpass', 'ask for the password; without a terminal it is the first line of the input'),
    new Option('--tls', 'speak TLS (CACHE_TLS)'),
    new Option('--cacert <file>', 'who signs the certificates of servers (CACHE_TLS_CA)'),
    new Option('--cert <file>', 'certificate to show to the server'),
    new Option('--key <file>', 'the key of that certificate'),
  ]
}

/**
 * May ask for a password; `behind` says whether what stands behind it in the input is read by somebody else. Throws
 * CommandFailure for flags, variables and files that cannot be.
 */
export async function accessBy(
  flags: AccessFlags,
  environment: Environment,
  behind: 'lines' | 'nothing' = 'nothing',
): Promise<Access> {
  const dotEnv = readDotEnv(process.cwd())
  const { stdin } = process
  try {
    const tls = await readable(tlsBy(flags, environment, dotEnv))
    const credentials = await credentialsBy(flags, environment, dotEnv)
    // Else a process would not end before its input does.
    if (flags.askpass !== undefined && behind === 'nothing' && !stdin.isTTY) stdin.destroy()
    return { credentials, tls }
  } catch (error) {
    const isNoPassword = error instanceof CommandFailure && error.exitCode === ExitCode.Failed
    if (isNoPassword || error instanceof TypeError) throw new CommandFailure(ExitCode.Usage, error.message)
    throw error
  }
}

async function credentialsBy(
  { user, askpass }: AccessFlags,
  environment: Environment,
  dotEnv: Environment,
): Promise<CredentialsSource | undefined> {
  const variables = user === undefined ? environment : { ...environment, CACHE_USERNAME: user }
  if (askpass === undefined) {
    if (user === undefined || isPasswordSet(environment) || isPasswordSet(dotEnv))
      return credentialsFrom(variables, dotEnv)
    if (!process.stdin.isTTY)
      throw new TypeError('--user needs a password: --askpass, CACHE_PASSWORD or CACHE_PASSWORD_FILE')
  }
  const username = [variables['CACHE_USERNAME'], dotEnv['CACHE_USERNAME']].find((name) => (name ?? '') !== '')
  if (username === undefined) throw new TypeError('--askpass needs --user, or CACHE_USERNAME')
  const password = await askPassword(`Password for ${username}: `)
  return async () => ({ username, password })
}

function isPasswordSet(place: Environment): boolean {
  return ['CACHE_PASSWORD', 'CACHE_PASSWORD_FILE'].some((name) => (place[name] ?? '') !== '')
}

function tlsBy(
  { tls, cacert, cert, key }: AccessFlags,
  environment: Environment,
  dotEnv: Environment,
): ConnectionOptions | undefined {
  if ((cert === undefined) !== (key === undefined))
    throw new TypeError('--cert and --key belong together: give both')
  const byVariables = tlsFrom(environment, dotEnv)
  if ([tls, cacert, cert].every((flag) => flag === undefined)) return byVariables
  return {
    ...byVariables,
    ...(cacert === undefined ? {} : { ca: read('--cacert', cacert) }),
    ...(cert === undefined || key === undefined
      ? {}
      : { cert: read('--cert', cert), key: read('--key', key) }),
  }
}

/** The same, once somebody has looked into the files. */
async function readable(tls: ConnectionOptions | undefined): Promise<ConnectionOptions | undefined> {
  if (tls === undefined) return undefined
  const { createSecureContext } = await import('node:tls')
  try {
    createSecureContext(tls)
    return tls
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TypeError(
      `a file with a certificate or key is not PEM, or they do not belong together (${reason})`,
    )
  }
}

function read(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TypeError(`${flag}: ${path} cannot be read (${reason})`, { cause: error })
  }
}
