// Loaded into a server before its own code (`node --import gc-probe.js`): reports each longer pause of the garbage
// collector as a line on standard error, `gc-pause MILLISECONDS KIND`. The server's code is not touched.

import { constants, PerformanceObserver } from 'node:perf_hooks'

/** Shorter ones cannot matter to a target of 10 ms. */
const REPORTED_MS_MIN = 0.5

const KINDS = new Map<unknown, string>([
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weak-callbacks'],
])

new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { duration } = entry
    const detail: unknown = 'detail' in entry ? entry.detail : undefined
    const kind = typeof detail === 'object' && detail !== null && 'kind' in detail ? detail.kind : undefined
    if (duration < REPORTED_MS_MIN) continue
    process.stderr.write(`gc-pause ${duration.toFixed(2)} ${KINDS.get(kind) ?? 'unknown'}\n`)
  }
}).observe({ entryTypes: ['gc'] })
