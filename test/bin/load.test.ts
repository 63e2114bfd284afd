// The load generator against servers that behave, and against servers that do not: whatever they do, it ends.

import { createServer, type Server, type Socket } from 'node:net'
import { createHistogram } from 'node:perf_hooks'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Batch, type BatchSource, type LoadOptions, type ReplyMeter, startLoad } from '../../bin/load.ts'

/** Listens on a free port until the test is over. */
async function serve(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    onConnection(socket)
  })
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not a TCP port')
  return address.port
}

/** Answers each byte with itself. */
const echo = (socket: Socket) => socket.pipe(socket)

/** Expects as many bytes as were sent. */
class EchoMeter implements ReplyMeter {
  #awaited = 0
  expect(batch: Batch): void {
    this.#awaited += batch.bytes.length
  }
  take(_bytes: Uint8Array, length: number): boolean {
    this.#awaited -= length
    if (this.#awaited < 0) throw new Error('too much')
    return this.#awaited === 0
  }
}

/** So many batches for all connections together. */
function batches(count: number, batch: Batch): () => BatchSource {
  let left = count
  return () => () => (left-- > 0 ? batch : undefined)
}

const batch: Batch = { bytes: new Uint8Array(1000), requests: 10 }

function options(port: number, changes: Partial<LoadOptions> = {}): LoadOptions {
  return {
    host: '127.0.0.1',
    port,
    connections: 3,
    newSource: batches(20, batch),
    newMeter: () => new EchoMeter(),
    connectTimeoutMs: 5_000,
    stallMs: 5_000,
    ...changes,
  }
}

describe('startLoad', () => {
  it('sends every batch once and counts the requests answered', async () => {
    const load = await startLoad(options(await serve(echo)))
    await load.done
    expect(load.answered).toBe(200)
  })

  it('opens as many connections as it is told, and closes them', async () => {
    const open = new Set<Socket>()
    let opened = 0
    let onLastClosed: () => void = () => {}
    const allClosed = new Promise<void>((resolve) => {
      onLastClosed = resolve
    })
    const port = await serve((socket) => {
      opened++
      open.add(socket)
      socket.on('close', () => {
        open.delete(socket)
        if (open.size === 0) onLastClosed()
      })
      echo(socket)
    })
    const load = await startLoad(options(port, { connections: 7 }))
    await load.done
    await allClosed
    expect(opened).toBe(7)
  })

  it('never has two batches in flight on a connection', async () => {
    let most = 0
    const port = await serve((socket) => {
      let received = 0
      socket.on('data', (chunk) => {
        received += chunk.length
        most = Math.max(most, received)
        if (received < batch.bytes.length) return
        received -= batch.bytes.length
        socket.write(new Uint8Array(batch.bytes.length))
      })
    })
    const load = await startLoad(options(port))
    await load.done
    expect(most).toBe(batch.bytes.length)
  })

  it('has more connections than batches without harm', async () => {
    const load = await startLoad(options(await serve(echo), { newSource: batches(1, batch) }))
    await load.done
    expect(load.answered).toBe(10)
  })

  it('goes on until it is stopped, and settles what is in flight', async () => {
    const load = await startLoad(options(await serve(echo), { newSource: () => () => batch }))
    load.stop()
    await load.done
    expect(load.answered).toBe(30)
  })

  it('records one latency for each batch', async () => {
    const latencies = createHistogram()
    const load = await startLoad(options(await serve(echo), { latencies }))
    await load.done
    expect(latencies.count).toBe(20)
    expect(latencies.min).toBeGreaterThan(0)
  })

  it('rejects when nothing listens', async () => {
    const port = await serve(echo)
    const closed = createServer()
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve))
    const address = closed.address()
    await new Promise((resolve) => closed.close(resolve))
    const unused = typeof address === 'object' && address !== null ? address.port : port
    await expect(startLoad(options(unused))).rejects.toThrow(
      `127.0.0.1:${unused} failed: connect ECONNREFUSED`,
    )
  })

  it('fails when the server closes a connection in the middle', async () => {
    const port = await serve((socket) => socket.on('data', () => socket.end()))
    const load = await startLoad(options(port))
    await expect(load.done).rejects.toThrow(/127\.0\.0\.1:\d+ closed a connection after 0 replies/)
  })

  it('fails when the server answers with something else', async () => {
    const port = await serve((socket) => socket.on('data', () => socket.write(new Uint8Array(5000))))
    const load = await startLoad(options(port))
    await expect(load.done).rejects.toThrow('too much')
  })

  it('fails when the server falls silent', async () => {
    const load = await startLoad(options(await serve(() => {}), { stallMs: 1 }))
    await expect(load.done).rejects.toThrow('answered nothing for 1 ms')
  })
})
