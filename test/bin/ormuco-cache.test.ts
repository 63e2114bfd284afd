// The one name for all commands: what it lists, what it passes on, and that it starts however it is linked.

import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { builtProgram, runProgram, startProgram } from '../helpers/program.ts'

test('--help lists the commands without loading them', async () => {
  const { code, stdout } = await runProgram('ormuco-cache', ['--help'])
  expect(code).toBe(0)
  for (const name of ['start-server', 'shell', 'bench'])
    expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'))
})

test('start-server behind it takes its own flags', async () => {
  const program = startProgram('ormuco-cache', ['start-server', '-p', '0'])
  expect(await program.port()).toBeGreaterThan(0)
  program.process.kill('SIGTERM')
  expect((await program.ended).code).toBe(0)
})

test('help of a command shows the flags of that command', async () => {
  const { code, stdout } = await runProgram('ormuco-cache', ['help', 'start-server'])
  expect(code).toBe(0)
  expect(stdout).toContain('Usage: ormuco-cache start-server [options]')
  expect(stdout).toContain('--max-memory <size>')
})

test.each([
  ['start-server --store disk', "--store: 'disk' is not possible; allowed: arena, heap"],
  ['start-sever', "unknown command 'start-sever' (Did you mean start-server?)"],
  ['--port 5', "unknown option '--port'"],
])('%s: one line, exit 2', async (args, line) => {
  const { code, stdout, stderr } = await runProgram('ormuco-cache', args.split(' '))
  expect(code).toBe(2)
  expect(stdout).toBe('')
  expect(stderr).toContain(line)
  expect(stderr.indexOf('\n')).toBe(stderr.length - 1)
})

test('without a command: its help, exit 2', async () => {
  const { code, stderr } = await runProgram('ormuco-cache', [])
  expect(code).toBe(2)
  expect(stderr).toContain('Usage: ormuco-cache')
})

test('starts through a symbolic link, as npm makes them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const link = join(folder, 'linked')
  symlinkSync(builtProgram('start-server'), link)
  const { code, stdout } = await runProgram(link, ['--version'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})
