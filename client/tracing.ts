// Diagnostics channels for tracers: `ormuco-cache:command` around each call. Costs one check when nobody listens.

import { tracingChannel } from 'node:diagnostics_channel'

const commands = tracingChannel<unknown, { command: string }>('ormuco-cache:command')

/** Whether anybody listens. */
export function isTraced(): boolean {
  return commands.hasSubscribers
}

/** Runs a call; tells tracers of its start, end and outcome. Keys and values are not told. */
export function traceCommand<T>(command: string, run: () => Promise<T>): Promise<T> {
  return commands.hasSubscribers ? commands.tracePromise(run, { command }) : run()
}
