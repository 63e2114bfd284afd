// Which server the shell talks to: flags beat variables, and variables those in the file .env of the current folder.
// Between the command line and a Dial.

import type { ServerAddress } from '../client/dial.ts'
import { resolveClientOptions } from '../client/options.ts'
import { DEFAULT_PORT } from '../protocol/limits.ts'
import { type Environment, readDotEnv } from '../server/environment.ts'
import { OptionError } from '../server/options.ts'
import { CommandFailure } from './program.ts'
import { ShellExit } from './shell-outcome.ts'

export interface ServerFlags {
  /** host:port, several with commas. */
  server?: string
  host?: string
  port?: number
}

/**
 * The servers to try, in this order: --server; --host and --port, each completed by SERVER_HOST and SERVER_PORT; SERVERS;
 * localhost. Throws CommandFailure for what is no address.
 */
export function shellServers(flags: ServerFlags, environment: Environment): readonly ServerAddress[] {
  try {
    return chosenServers(flags, environment)
  } catch (error) {
    if (error instanceof TypeError || error instanceof OptionError)
      throw new CommandFailure(ShellExit.Usage, error.message)
    throw error
  }
}

function chosenServers(
  { server, host, port }: ServerFlags,
  environment: Environment,
): readonly ServerAddress[] {
  if (server !== undefined) {
    if (host !== undefined || port !== undefined)
      throw new TypeError('--server says what --host and --port say: give one or the other')
    return resolveClientOptions({ servers: server }).servers
  }
  if (host === undefined && port === undefined) {
    const { servers } = resolveClientOptions({}, environment)
    if (servers.length > 0) return servers
  }
  const dotEnv = readDotEnv(process.cwd())
  const variable = (name: string) => textOf(environment, name) ?? textOf(dotEnv, name)
  const chosenHost = host ?? variable('SERVER_HOST') ?? 'localhost'
  const chosenPort = port ?? variable('SERVER_PORT') ?? DEFAULT_PORT
  const bracketed = chosenHost.includes(':') && !chosenHost.startsWith('[') ? `[${chosenHost}]` : chosenHost
  return resolveClientOptions({ servers: `${bracketed}:${chosenPort}` }).servers
}

/** An empty variable is not set. */
function textOf(variables: Environment, name: string): string | undefined {
  const text = variables[name]?.trim() ?? ''
  // Kubernetes sets such variables for a Service that is called "server".
  return text === '' || /^(?:tcp|udp):\/\//.test(text) ? undefined : text
}
