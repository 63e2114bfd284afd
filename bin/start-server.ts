#!/usr/bin/env node
// start-server: one cache server as a process. Puts settings, logger and server together and gives them the
// manners of a service: the ready line alone on standard output, logs on standard error, SIGTERM and SIGINT drain,
// SIGHUP reads certificates and users anew, and every way to end has its exit code: 0 drained, 1 could not run, 2 a bad
// option, 130 or 143 on a second signal.

import { constants } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { Command } from 'commander'
import type { Logger } from 'pino'
import { hostPort } from '../protocol/notation.ts'
import { PACKAGE_VERSION } from '../protocol/version.ts'
import { readDotEnv } from '../server/environment.ts'
import { isLoopback } from '../server/loopback.ts'
import {
  missingProtection,
  OptionError,
  type ResolvedServerOptions,
  resolveOptions,
} from '../server/options.ts'
import { OrmucoCacheServer } from '../server/server.ts'
import { createLogger } from './logger.ts'
import { patchedRelease } from './node-version.ts'
import { CommandFailure, ExitCode, runAsProgram } from './program.ts'
import { type CollectedSettings, collectSettings, flagOptions } from './settings.ts'

/** One press of Ctrl-C can arrive twice: from the terminal, and once more from an npm in between. */
const SAME_SIGNAL_MS = 500

/**
 * What V8 makes a server of, when thousands of connections come. After many that stayed it would make parts of every
 * connection in old space at once, and those keep all of one that has gone until a full collection. And it would let the
 * young generation grow to 48 MiB, which it hardly ever gives back, and which makes pauses of milliseconds (docs/adr/0008).
 */
const V8_FLAGS = ['--no-allocation-site-pretenuring', '--semi-space-growth-factor=1']

/** What commander parsed, by attribute name; the settings among it are for settings.ts to read. */
type Flags = Readonly<Record<string, unknown>> & { readonly printConfig?: true }

export function startServerCommand(): Command {
  const command = new Command('start-server')
    .description('Starts a cache server.')
    .version(PACKAGE_VERSION)
    .allowExcessArguments()
    .addHelpText(
      'after',
      '\nFlags beat variables, variables beat those in the file .env of the current folder; an empty variable is not set.',
    )
  for (const option of flagOptions()) command.addOption(option)
  command.option('--print-config', 'print each setting and where it comes from, then exit')
  return command.action((flags: Flags) => {
    const [argument] = command.args
    if (argument === undefined) return startServer(flags)
    throw new CommandFailure(
      ExitCode.Usage,
      `argument '${argument}' is not possible; allowed: flags only, see --help`,
    )
  })
}

async function startServer(flags: Flags): Promise<void> {
  const warnings: [fields: object, phrase: string][] = []
  const { options, log, report, blame } = collectOrRefuse(flags, (...warning) => warnings.push(warning))
  const logger = createLogger(log.logLevel, log.logFormat)
  for (const [fields, phrase] of warnings) logger.warn(fields, phrase)
  if (flags.printConfig) {
    process.stdout.write(`${report.join('\n')}\n`)
    return
  }

  for (const flag of V8_FLAGS) setFlagsFromString(flag)
  const resolved = resolveOptions(options)
  warnAboutRisks(resolved, logger)
  exitOnUncaught(logger)
  // Whoever started the process may read the ready line and then stop listening.
  process.stdout.on('error', () => {})
  const server = orRefuse(() => new OrmucoCacheServer({ ...options, logger }), blame)
  reloadOnSignal(server, resolved, blame, logger)
  const starting = server.start()
  drainOnSignal(() => starting.then(() => server.close()), logger)
  try {
    const { port } = await starting
    process.stdout.write(`Server listens on port ${port}\n`)
  } catch (error) {
    server.destroy()
    throw new CommandFailure(ExitCode.Failed, whyNotListening(error, resolved))
  }
}

function collectOrRefuse(flags: Flags, warn: (fields: object, phrase: string) => void): CollectedSettings {
  return orRefuse(() => collectSettings(flags, process.env, readDotEnv(process.cwd()), warn))
}

/** What cannot be is one line. */
function orRefuse<T>(make: () => T, blame: (error: unknown) => unknown = (error) => error): T {
  try {
    return make()
  } catch (error) {
    const blamed = blame(error)
    if (blamed instanceof OptionError) throw new CommandFailure(ExitCode.Usage, blamed.message)
    throw blamed
  }
}

function warnAboutRisks(resolved: ResolvedServerOptions, logger: Logger): void {
  const { host } = resolved
  const missing = missingProtection(resolved)
  if (missing !== '' && !isLoopback(host)) logger.warn({ host }, `listening without ${missing}`)
  const node = process.versions.node
  const patched = patchedRelease(node)
  if (patched !== undefined) logger.warn({ node, patched }, 'this Node.js has a known hash flooding hole')
}

function exitOnUncaught(logger: Logger): void {
  // Rejections that nobody handles arrive here too.
  process.on('uncaughtException', (error, origin) => {
    logger.fatal({ error, origin }, 'uncaught')
    process.exit(ExitCode.Failed)
  })
}

/** The first SIGTERM or SIGINT drains and exits 0; a second one exits at once. */
function drainOnSignal(drain: () => Promise<void>, logger: Logger): void {
  let firstAtMs: number | undefined
  const onSignal = (signal: 'SIGTERM' | 'SIGINT') => {
    const nowMs = performance.now()
    if (firstAtMs !== undefined) {
      if (nowMs - firstAtMs >= SAME_SIGNAL_MS) process.exit(128 + constants.signals[signal])
      return
    }
    firstAtMs = nowMs
    logger.info({ signal }, 'asked to stop')
    drain().then(
      () => process.exit(ExitCode.Done),
      (error) => {
        logger.fatal({ error }, 'could not drain')
        process.exit(ExitCode.Failed)
      },
    )
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
}

/** Where no file is read SIGHUP ends the process, as always: nobody wants a server that outlives its terminal. */
function reloadOnSignal(
  server: OrmucoCacheServer,
  resolved: ResolvedServerOptions,
  blame: (error: unknown) => unknown,
  logger: Logger,
): void {
  const { tlsCert, authFile, clusterSecretFile } = resolved
  if (tlsCert === '' && authFile === '' && clusterSecretFile === '') return
  process.on('SIGHUP', () => {
    try {
      server.reload()
    } catch (error) {
      const blamed = blame(error)
      // What somebody wrote wrong is one line; only a mistake in here has a place in the source.
      const facts = blamed instanceof OptionError ? { why: blamed.message } : { error }
      logger.error(facts, 'not reloaded, all is as it was')
    }
  })
}

function whyNotListening(error: unknown, { host, port }: ResolvedServerOptions): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} of ${host} is in use: stop what listens there, or take another with --port (0 picks a free one)`
    case 'EACCES':
      return `port ${port} may not be used without privileges: take one from 1024 on with --port`
    case 'EADDRNOTAVAIL':
      return `${host} is no address of this machine: see --host`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the name ${host} cannot be resolved: see --host`
    default:
      return `cannot listen on ${hostPort.format({ host, port })}: ${error instanceof Error ? error.message : String(error)}`
  }
}

await runAsProgram(import.meta.url, startServerCommand)
