// When a process that uses the client ends by itself: at once after close or destroy; without them as long as there is
// nothing under way and no connection. An idle connection keeps it alive, as with other clients of servers.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { addressOf } from '../helpers/client.ts'
import { startFakeServer, unusedPort } from '../helpers/fake-server.ts'
import { type Program, startProgram } from '../helpers/program.ts'
import { startServer } from '../helpers/server.ts'

const CLIENT = new URL('../../client/index.ts', import.meta.url).href

/** Runs a script that has a `cache`. It fails for unhandled rejections and warnings of leaks. */
function run(script: string, servers: string | undefined, options = ''): Program {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'program.mts')
  const given =
    servers === undefined ? `standalone: {}, ${options}` : `servers: ${JSON.stringify(servers)}, ${options}`
  writeFileSync(
    path,
    `import { OrmucoCacheClient } from ${JSON.stringify(CLIENT)}
     const cache = new OrmucoCacheClient({ ${given} })
     ${script}
     process.stdout.write('done\\n')`,
  )
  return startProgram(path, [])
}

async function endOf(program: Program): Promise<string> {
  const { code, stdout, stderr } = await program.ended
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return stdout
}

test('a process that is done with its client ends', async () => {
  const address = addressOf(await startServer())
  const scripts = [
    'await cache.store("k", 1, { timeoutMs: 10_000 }); await cache.close()',
    'await cache.connect({ timeoutMs: 10_000 }); cache.destroy()',
    'void cache.store("k", 1, { timeoutMs: 10_000 }); await cache.close()',
    '{ await using it = cache; await it.store("k", 1, { timeoutMs: 10_000 }) }',
    'cache.destroy(); cache.destroy(); await cache.close(); await cache.close()',
    '',
  ]
  for (const ending of scripts) expect(await endOf(run(ending, address))).toBe('done\n')
})

test('so does one whose server does not close its side', async () => {
  const server = await startFakeServer({ onConnection: ({ socket }) => (socket.allowHalfOpen = true) })
  expect(await endOf(run('await cache.store("k", 1); await cache.close()', server.address))).toBe('done\n')
})

test('an idle connection keeps the process alive, until close', async () => {
  const address = addressOf(await startServer())
  const program = run(
    `await cache.connect({ timeoutMs: 10_000 })
     process.stdout.write('idle\\n')
     setTimeout(() => { process.stdout.write('still here\\n'); void cache.close() }, 300).unref()`,
    address,
  )
  expect(await endOf(program)).toBe('idle\ndone\nstill here\n')
})

test('a server that cannot be reached keeps no process alive that asks nothing of it', async () => {
  const address = `127.0.0.1:${await unusedPort()}`
  const program = run('process.stdout.write((await cache.store("k", 1)).outcome + "\\n")', address)
  expect(await endOf(program)).toBe('unavailable\ndone\n')
})

test('nor does one that has gone away', async () => {
  const server = await startServer()
  const program = run(
    `await cache.connect({ timeoutMs: 10_000 })
     process.stdout.write('connected\\n')`,
    addressOf(server),
  )
  await program.says('stdout', /done/)
  server.destroy()
  expect(await endOf(program)).toBe('connected\ndone\n')
})

test('a stand-alone cache keeps no process alive', async () => {
  expect(
    await endOf(
      run(
        'process.stdout.write((await cache.store("k", 1, { timeoutMs: 10_000 })).outcome + "\\n")',
        undefined,
      ),
    ),
  ).toBe('stored\ndone\n')
})

test('a call under way does: it is answered, or ends at its deadline', async () => {
  const server = await startFakeServer()
  const script =
    'void cache.store("k", 1, { timeoutMs: 400 }).then((it) => { process.stdout.write(it.outcome + "\\n"); cache.destroy() })'
  expect(await endOf(run(script, server.address))).toBe('done\nunavailable\n')
})

test('no unhandled rejection, whatever becomes of calls that nobody waits for', async () => {
  const server = await startFakeServer({ onRequest: (_, { socket }) => socket.destroy() })
  const script = `
    for (let i = 0; i < 50; i++) { void cache.store("k", i); void cache.retrieve("k"); void cache.lookup("k"); void cache.has("k") }
    await cache.retrieveMany(["a", "b"]); await cache.storeMany([["a", 1]])
    await cache.close()
    void cache.retrieve("k"); void cache.store("k", 1)`
  expect(await endOf(run(script, server.address, 'reconnect: { minMs: 1, maxMs: 5 }'))).toBe('done\n')
})
