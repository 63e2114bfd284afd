// What start-server is told, from all the places that can tell it: flags beat variables, variables beat .env, and
// .env beats the defaults. Remembers where each value came from, so that a refusal names the flag or variable that
// the user wrote, and --print-config can show it. What the values mean to a server is not known here.

import { Option } from 'commander'
import {
  type Environment,
  type Found,
  readVariables,
  type Warn,
  warnWithoutEffect,
} from '../server/environment.ts'
import { OptionError, resolveOptions, type ServerOptions } from '../server/options.ts'
import {
  type CompleteSettings,
  commandVariables,
  LOG_DEFAULTS,
  type LogSettings,
  type Settings,
  serverFlags,
} from './server-flags.ts'

export interface CollectedSettings {
  /** What was asked for; the server adds the defaults by the same rules as here. */
  readonly options: ServerOptions
  readonly log: Readonly<LogSettings>
  /** One line per setting: its name, its value, and the flag or variable it came from. */
  readonly report: readonly string[]
  /** An error as it is, but a refused option by the name it was given under. */
  blame(error: unknown): unknown
}

/** The flags as commander takes them, each with its variable and its default in the help. */
export function flagOptions(): Option[] {
  const defaults = complete({})
  return serverFlags.map(({ usage, help, variable, show }) => {
    const facts = [...(variable === undefined ? [] : [variable]), `default ${show(defaults)}`]
    return new Option(usage, `${help} (${facts.join(', ')})`)
  })
}

/**
 * Puts together what the flags (by attribute name, as commander parses them), the environment and .env say.
 * Throws an OptionError that names the flag or variable and shows its text as it was written.
 */
export function collectSettings(
  flags: Readonly<Record<string, unknown>>,
  environment: Environment,
  dotEnv: Environment,
  warn: Warn,
): CollectedSettings {
  const found = [
    ...readVariables(dotEnv, commandVariables, warn, '.env'),
    ...readVariables(environment, commandVariables, warn),
    ...readFlags(flags),
  ]
  warnWithoutEffect({ ...dotEnv, ...environment }, warn)

  const settings: Settings = {}
  const sources = new Map<string, Found<Settings>>()
  for (const source of found) {
    Object.assign(settings, source.options)
    for (const setting of Object.keys(source.options)) sources.set(setting, source)
  }
  const resolved = completeOrBlame(settings, sources)
  const { logLevel: _level, logFormat: _format, ...options } = settings
  const { logLevel, logFormat } = resolved
  return {
    options,
    log: { logLevel, logFormat },
    report: reportLines(resolved, sources),
    blame: (error) => blamed(error, sources),
  }
}

function readFlags(flags: Readonly<Record<string, unknown>>): Found<Settings>[] {
  return serverFlags.flatMap(({ usage, read }) => {
    const option = new Option(usage)
    const value = flags[option.attributeName()]
    if (value === undefined) return []
    const alias = option.short?.startsWith('--') ? ` (${option.short})` : ''
    const name = `${option.long}${alias}`
    const text = String(value).trim()
    return [{ name, text, options: read(name, text) }]
  })
}

function complete({ logLevel, logFormat, ...options }: Settings): CompleteSettings {
  return {
    ...resolveOptions(options),
    logLevel: logLevel ?? LOG_DEFAULTS.logLevel,
    logFormat: logFormat ?? LOG_DEFAULTS.logFormat,
  }
}

/** A value that no server can take is refused by the name and in the words of where it was written. */
function completeOrBlame(
  settings: Settings,
  sources: ReadonlyMap<string, Found<Settings>>,
): CompleteSettings {
  try {
    return complete(settings)
  } catch (error) {
    throw blamed(error, sources)
  }
}

function blamed(error: unknown, sources: ReadonlyMap<string, Found<Settings>>): unknown {
  const source = error instanceof OptionError ? sources.get(error.option) : undefined
  if (!(error instanceof OptionError) || source === undefined) return error
  return new OptionError(source.name, source.text, error.allowed)
}

function reportLines(settings: CompleteSettings, sources: ReadonlyMap<string, Found<Settings>>): string[] {
  const rows = serverFlags.map(({ usage, setting, show }) => ({
    name: new Option(usage).name(),
    value: show(settings),
    source: sources.get(setting)?.name ?? 'default',
  }))
  const width = Math.max(...rows.map(({ name }) => name.length))
  return rows.map(({ name, value, source }) => `${name.padEnd(width)}  ${value.padEnd(21)}  ${source}`)
}
