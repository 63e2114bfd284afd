// Lines from a pipe, and one command again and again.

import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { ArgumentInput } from '../../bin/shell-input.ts'
import { runLines, runRepeatedly } from '../../bin/shell-script.ts'
import { startServer } from '../helpers/server.ts'
import { dialMemory, dialRefused, TestShell } from '../helpers/shell.ts'

async function newShell(): Promise<TestShell> {
  return new TestShell(dialMemory(await startServer()))
}

describe('lines', () => {
  test('run in order, whatever the chunks; blank ones and comments do not', async () => {
    const text = 'set a "é世界"\r\n\n  # a comment\nget a\n\t\nset sep "line\u2028sep"\nget sep --json'
    const bytes = Buffer.from(text)
    for (const size of [1, 2, 7, bytes.length]) {
      const shell = await newShell()
      const chunks: Buffer[] = []
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size))
      expect(await runLines(Readable.from(chunks), shell.shell)).toBe(0)
      expect(shell.output).toBe('OK\né世界\nOK\n"line\u2028sep"\n')
    }
  })

  test.each([
    ['set a 1\nget a\n', 0],
    ['get a\nset a 1\n', 1],
    ['get a\ngte a\nget a', 2],
    ['incr n\nset n x\nincr n\nget a', 4],
    ['', 0],
  ])('%j: the highest exit code', async (text, exit) => {
    expect(await runLines(Readable.from([text]), (await newShell()).shell)).toBe(exit)
  })

  test('go on after a failure, and end with quit', async () => {
    const shell = await newShell()
    await runLines(Readable.from(['gte a\nset a 1\nquit\nset a 2\n']), shell.shell)
    expect(shell.output).toBe('OK\n')
    expect(shell.errors).toMatch(/^\(error\) USAGE unknown command "gte"/)
    expect(await shell.says('get a')).toBe('1\n')
  })

  test('a line of millions of characters is a value like any other', async () => {
    const shell = new TestShell(dialMemory(await startServer({ maxValueBytes: 8 * 1024 * 1024 })))
    const value = 'x'.repeat(4_000_000)
    expect(await runLines(Readable.from([`set a "${value}"\nget a\n`]), shell.shell)).toBe(0)
    expect(shell.output.length).toBe(value.length + 4)
  })
})

describe('repeated', () => {
  test('a command runs so many times, one line each; the last exit code counts', async () => {
    const shell = await newShell()
    expect(await runRepeatedly(new ArgumentInput(['incr', 'n']), shell.shell, 3, 0)).toBe(0)
    expect(shell.output).toBe('1\n2\n3\n')
  })

  test('a failure is one of them, and not the end', async () => {
    const reach = dialMemory(await startServer())
    const shell: TestShell = new TestShell((...args) =>
      (shell.errors.split('\n').length > 2 ? reach : dialRefused)(...args),
    )
    expect(await runRepeatedly(new ArgumentInput(['get', 'a']), shell.shell, 4, 0)).toBe(1)
    expect(shell.errors).toBe('(error) CACHE_UNAVAILABLE cache:11142: connect ECONNREFUSED\n'.repeat(2))
    expect(shell.output).toBe('(miss)\n(miss)\n')
  })

  test('what is wrong is said once', async () => {
    const shell = await newShell()
    expect(await runRepeatedly(new ArgumentInput(['get']), shell.shell, 5, 0)).toBe(2)
    expect(shell.errors).toBe('(error) USAGE KEY is missing: get KEY...\n')
  })
})
