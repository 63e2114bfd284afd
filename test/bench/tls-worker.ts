// Opens connections with TLS, several at a time, one after the other, each closed as soon as it is secure: how many a
// server takes per second. A process of its own: `node tls-worker.js JOB`, the job and the outcome as JSON.

import { readFileSync } from 'node:fs'
import { type ConnectionOptions, connect, createSecureContext } from 'node:tls'
import { type Shares, watchProcessors } from './machine.ts'

export interface HandshakeJob {
  port: number
  serverPid: number
  tlsCaFile: string
  ms: number
}

export interface HandshakeOutcome {
  perSecond: number
  shares: Shares
}

const AT_A_TIME = 16
const WARM_UP_MS = 300

async function run({ port, serverPid, tlsCaFile, ms }: HandshakeJob): Promise<HandshakeOutcome> {
  const options: ConnectionOptions = {
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    secureContext: createSecureContext({ ca: readFileSync(tlsCaFile) }),
  }
  let made = 0
  let until = Number.POSITIVE_INFINITY
  const chain = async () => {
    while (performance.now() < until) {
      await shake(options)
      made++
    }
  }
  const chains = Array.from({ length: AT_A_TIME }, chain)
  await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS))
  const madeBefore = made
  const startedAt = performance.now()
  const sharesSince = watchProcessors(serverPid)
  await new Promise((resolve) => setTimeout(resolve, ms))
  const seconds = (performance.now() - startedAt) / 1000
  const perSecond = (made - madeBefore) / seconds
  const shares = sharesSince()
  until = 0
  await Promise.all(chains)
  return { perSecond, shares }
}

/** One connection, closed as soon as it is secure. */
function shake(options: ConnectionOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(options)
    socket.once('error', reject)
    socket.once('close', () => resolve())
    socket.once('secureConnect', () => socket.destroy())
  })
}

const job: HandshakeJob = JSON.parse(process.argv[2] ?? '{}')
try {
  console.log(JSON.stringify(await run(job)))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}
