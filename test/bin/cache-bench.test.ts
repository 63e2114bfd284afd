// cache-bench against a real server: what it prints, what it leaves in the server, and how it ends when things are
// not as they should be. No figure is asserted: they are the machine's.

import { createServer } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type BenchOptions, runBench } from '../../bin/cache-bench.ts'
import { OrmucoCacheServer } from '../../server/index.ts'
import { runProgram } from '../helpers/program.ts'

async function startServer(): Promise<{ server: OrmucoCacheServer; port: number }> {
  const server = new OrmucoCacheServer({ port: 0 })
  const { port } = await server.start()
  onTestFinished(() => server.destroy())
  return { server, port }
}

function options(port: number, changes: Partial<BenchOptions> = {}): BenchOptions {
  return {
    host: '127.0.0.1',
    port,
    connections: 5,
    requests: 1000,
    valueSize: 10,
    pipeline: 4,
    keyspace: 0,
    tests: ['ping', 'set', 'get', 'incr', 'del'],
    format: 'full',
    ...changes,
  }
}

async function linesOf(benchOptions: BenchOptions): Promise<string[]> {
  const lines: string[] = []
  await runBench(benchOptions, (line) => lines.push(line))
  return lines
}

describe('runBench', () => {
  it('prints a block for each test, with what came back', async () => {
    const { port } = await startServer()
    const text = (await linesOf(options(port))).join('\n')
    for (const name of ['PING', 'SET', 'GET', 'INCR']) {
      const block = new RegExp(
        `====== ${name} ======\n` +
          '  1000 requests in \\d+\\.\\d\\d s: 5 connections, 4 in flight on each, values of 10 bytes\n' +
          '  \\d+\\.\\d\\d requests per second\n' +
          '  latency in ms: avg \\S+  min \\S+  p50 \\S+  p95 \\S+  p99 \\S+  max \\S+\n' +
          '  replies: 1000 ok, 0 misses, 0 errors\n',
      )
      expect(text).toMatch(block)
    }
    expect(text).toContain('  replies: 1 ok, 999 misses, 0 errors')
  })

  it('sends exactly the requests it was asked for', async () => {
    const { server, port } = await startServer()
    await linesOf(options(port, { tests: ['set'], requests: 1003, pipeline: 7 }))
    expect(server.stats().cache.sets).toBe(1003)
  })

  it('uses one key, or random keys out of so many', async () => {
    const { server, port } = await startServer()
    await linesOf(options(port, { tests: ['set'] }))
    expect(server.stats().memory.entries).toBe(1)
    await linesOf(options(port, { tests: ['set'], keyspace: 50 }))
    const { entries } = server.stats().memory
    expect(entries).toBeGreaterThan(1)
    expect(entries).toBeLessThanOrEqual(50)
  })

  it('tells misses from hits', async () => {
    const { port } = await startServer()
    const text = (await linesOf(options(port, { tests: ['get'] }))).join('\n')
    expect(text).toContain('  replies: 0 ok, 1000 misses, 0 errors')
  })

  it('prints a line for each test when told to be quiet', async () => {
    const { port } = await startServer()
    const lines = await linesOf(options(port, { tests: ['set', 'get'], format: 'quiet' }))
    expect(lines).toHaveLength(2)
    expect(lines[0]).toMatch(/^SET: \d+\.\d\d requests per second, p50=\d+\.\d\d\d msec$/)
    expect(lines[1]).toMatch(/^GET: /)
  })

  it('prints comma-separated values with a heading', async () => {
    const { port } = await startServer()
    const lines = await linesOf(options(port, { tests: ['set', 'get'], format: 'csv' }))
    expect(lines[0]?.split(',').slice(0, 2)).toEqual(['"test"', '"rps"'])
    for (const [index, name] of ['"SET"', '"GET"'].entries()) {
      const cells = lines[index + 1]?.split(',') ?? []
      expect(cells[0]).toBe(name)
      expect(cells).toHaveLength(8)
      for (const cell of cells.slice(1)) expect(cell).toMatch(/^"\d+\.\d+"$/)
    }
  })

  it('prints its figures and then fails when replies were errors', async () => {
    const server = new OrmucoCacheServer({ port: 0, maxValueBytes: 1024 })
    const { port } = await server.start()
    onTestFinished(() => server.destroy())
    const lines: string[] = []
    const tooLarge = options(port, { tests: ['set'], valueSize: 2000, requests: 20 })
    await expect(runBench(tooLarge, (line) => lines.push(line))).rejects.toMatchObject({
      exitCode: 1,
      message: 'set got error replies: ValueTooLarge × 20',
    })
    expect(lines.join('\n')).toContain('  replies: 0 ok, 0 misses, 20 errors')
  })

  it('says what it talks to when that is no server of ours', async () => {
    const stranger = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', () => socket.write('-ERR unknown command\r\n'))
    })
    onTestFinished(() => void stranger.close())
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve))
    const address = stranger.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    await expect(linesOf(options(port))).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringContaining('is the port right?'),
    })
  })

  it('refuses to prepare more than it may hold', async () => {
    const huge = options(1, {
      connections: 1000,
      pipeline: 1000,
      requests: 1e6,
      valueSize: 1e6,
      tests: ['set'],
    })
    await expect(linesOf(huge)).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringContaining('1000 connections with 1000 requests of'),
    })
  })
})

describe('the command', () => {
  it('measures with the flags of redis-benchmark', async () => {
    const { port } = await startServer()
    const flags = `-h 127.0.0.1 -p ${port} -c 2 -n 100 -d 5 -P 3 -r 10 -t SET,get -q`.split(' ')
    const { code, stdout, stderr } = await runProgram('cache-bench', flags)
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^SET: \S+ requests per second, .*\nGET: \S+ requests per second, .*\n$/)
    expect(code).toBe(0)
  })

  it('exits with 3 and one line when there is no server', async () => {
    const { code, stdout, stderr } = await runProgram('cache-bench', ['-p', '1', '-q'])
    expect(stdout).toBe('')
    expect(stderr).toBe('cache-bench: ping: 127.0.0.1:1 failed: connect ECONNREFUSED 127.0.0.1:1\n')
    expect(code).toBe(3)
  })

  it.each([
    ['-c', '0', 'a whole number from 1 to 10000'],
    ['-p', '70000', 'a whole number from 1 to 65535'],
    ['-n', '1.5', 'a whole number from 1'],
    ['-t', 'lpush', '"lpush" is no test; there are: ping, set, get, incr, del'],
  ])('refuses %s %s with 2 and says what is allowed', async (flag, value, allowed) => {
    const { code, stdout, stderr } = await runProgram('cache-bench', [flag, value])
    expect(stdout).toBe('')
    expect(stderr).toContain(allowed)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(code).toBe(2)
  })
})
