// What this process holds once everything that can be collected is collected.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { giveBuffer } from '../../protocol/spare-buffers.ts'

/** As large as the smallest that is kept, and more of them than are kept. */
const SPARE_BYTES = 64 * 1024
const SPARES = 100
/** After a run memory may be so much larger than before. */
const GROWTH_MAX = 0.1

/** Bytes in the JavaScript heap and beside it, after a full collection. */
export async function heldBytes(): Promise<number> {
  // What was closed tells so in turns of the event loop.
  for (let left = 3; left > 0; left--) {
    heldBytesNow()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return heldBytesNow()
}

/** The same, with what is being closed. */
export function heldBytesNow(): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Has the product keep as many spare buffers as it ever will: else it may come to them later, and they look like a leak. */
export function fillSpares(): void {
  for (let left = SPARES; left > 0; left--) giveBuffer(Buffer.allocUnsafeSlow(SPARE_BYTES))
}

/** How far memory is from where it was; undefined if it is within bounds. */
export function memoryGrowth(beforeBytes: number, afterBytes: number): string | undefined {
  if (afterBytes <= beforeBytes * (1 + GROWTH_MAX)) return undefined
  return `memory after a collection is ${mib(afterBytes)}, and was ${mib(beforeBytes)} before`
}

export function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}

function collectGarbage(): void {
  collect ??= exposed()
  collect()
}

let collect: (() => void) | undefined

/** There is a way to it without a flag on the command line, so that tests need none. */
function exposed(): () => void {
  setFlagsFromString('--expose-gc')
  const gc: unknown = runInNewContext('gc')
  if (typeof gc !== 'function') throw new Error('no garbage collection on demand')
  return () => void gc()
}
