// Diagnostics channels for tracers: `ormuco-cache:command` around each call. Costs one check when nobody listens.

import { tracingChannel } from 'node:diagnostics_channel'

const commands = tracingChannel<unknown, { command: string }>('ormuco-cache:command')

/** Whether anybody listens. */
export function isTraced(): boolean {
  return commands.hasSubscribers
}

/** Runs a call; tells tracers of its start, its end and its error. Keys and values are not told. */
export function traceCommand<T>(command: string, run: () => Promise<T>): Promise<T> {
  return commands.hasSubscribers ? trace(command, run) : run()
}

/** Node tells tracers what the traced promise resolves with: so that one resolves with nothing. */
function trace<T>(command: string, run: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const traced = async () => {
      const call = run()
      resolve(call)
      await call
    }
    commands.tracePromise(traced, { command }).catch(reject)
  })
}
