// Loaded into the server before its own code (`node --expose-gc --import probe.js`). Asked by SIGUSR2 it says on standard
// error, as `probe JSON`, what the server keeps when all garbage is collected, and how long the longest turn of its event
// loop took since it was asked before. The server's code is not touched.

/** What is told; sizes in bytes. */
export interface Probed {
  residentBytes: number
  heapBytes: number
  /** Buffers: of the store, of sockets, of replies. */
  externalBytes: number
  /** In processor time: nobody else on the machine can make it longer. All threads, so collecting counts as well. */
  longestTurnMs: number
}

const TURN_CHECK_MS = 1
/** What is collected is given back to the system a moment later, and some of it by the next collection only. */
const COLLECT_EVERY_MS = 60
const COLLECT_TIMES_MAX = 8
/** Another collection that gives back less than this is the last. */
const COLLECTED_BYTES_MIN = 1024 * 1024

let longestTurnMs = 0
let cpu = process.cpuUsage()
setInterval(() => {
  const { user, system } = process.cpuUsage(cpu)
  cpu = process.cpuUsage()
  longestTurnMs = Math.max(longestTurnMs, (user + system) / 1000)
}, TURN_CHECK_MS).unref()

process.on('SIGUSR2', () => {
  const turnMs = longestTurnMs
  collect(COLLECT_TIMES_MAX, Number.POSITIVE_INFINITY, () => {
    const { rss, heapUsed, external } = process.memoryUsage()
    const probed: Probed = {
      residentBytes: rss,
      heapBytes: heapUsed,
      externalBytes: external,
      longestTurnMs: turnMs,
    }
    longestTurnMs = 0
    cpu = process.cpuUsage()
    process.stderr.write(`probe ${JSON.stringify(probed)}\n`)
  })
})

function collect(timesLeft: number, residentBytes: number, onCollected: () => void): void {
  globalThis.gc?.()
  setTimeout(() => {
    const nowBytes = process.memoryUsage.rss()
    if (timesLeft > 1 && residentBytes - nowBytes > COLLECTED_BYTES_MIN)
      collect(timesLeft - 1, nowBytes, onCollected)
    else onCollected()
  }, COLLECT_EVERY_MS)
}
