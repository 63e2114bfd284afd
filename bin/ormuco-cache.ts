#!/usr/bin/env node
// ormuco-cache: all commands under one name. Loads the module of the one that is called, and none of the others;
// each but users is the same command that its own program (start-server, cache-shell, cache-bench) runs.

import { Command } from 'commander'
import { PACKAGE_VERSION } from '../protocol/version.ts'
import { runAsProgram } from './program.ts'

interface Subcommand {
  readonly name: string
  readonly summary: string
  readonly load: () => Promise<Command>
}

const SUBCOMMANDS: readonly Subcommand[] = [
  {
    name: 'start-server',
    summary: 'start a cache server',
    load: async () => (await import('./start-server.ts')).startServerCommand(),
  },
  {
    name: 'shell',
    summary: 'talk to a server by hand, or from a script',
    load: async () => (await import('./cache-shell.ts')).shellCommand(),
  },
  {
    name: 'bench',
    summary: 'measure how many requests a server answers',
    load: async () => (await import('./cache-bench.ts')).benchCommand(),
  },
  {
    name: 'users',
    summary: 'add, list and remove the users of servers',
    load: async () => (await import('./users.ts')).usersCommand(),
  },
]

/** The program with the real command in the place of the one that `args` call, and mere names for the others. */
export async function ormucoCacheCommand(args: readonly string[]): Promise<Command> {
  const program = new Command('ormuco-cache')
    .description('A geo-distributed LRU cache: its server and its tools.')
    .version(PACKAGE_VERSION)
    // Behind a command, -h and -V are that command's business.
    .enablePositionalOptions()
  // The first of these words is the command, also behind `help`; what follows is that command's business.
  const called = args.find((arg) => arg !== 'help')
  for (const { name, summary, load } of SUBCOMMANDS) {
    const command = name === called ? (await load()).name(name) : new Command(name)
    program.addCommand(command.summary(summary))
  }
  return program
}

await runAsProgram(import.meta.url, () => ormucoCacheCommand(process.argv.slice(2)))
