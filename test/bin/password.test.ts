// Passwords from a terminal and from a pipe, without one of either: the streams are the test's own. A real terminal is
// in users.test.ts.

import { PassThrough, Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { askNewPassword, askPassword, type PasswordStreams } from '../../bin/password.ts'
import { CommandFailure } from '../../bin/program.ts'
import { CTRL_C, CTRL_D, UP } from '../helpers/terminal.ts'

class Streams implements PasswordStreams {
  readonly input: PassThrough & { isTTY?: boolean } = new PassThrough()
  /** What the person at the terminal sees. */
  shown = ''
  readonly output = new Writable({
    write: (chunk, _encoding, onDone) => {
      this.shown += chunk
      onDone()
    },
  })

  constructor(kind: 'pipe' | 'terminal', typed = '') {
    this.input.isTTY = kind === 'terminal'
    this.input.write(typed)
  }
}

function failure(exitCode: number, message: string): CommandFailure {
  return new CommandFailure(exitCode, message)
}

test.each<[typed: string, password: string]>([
  ['secret\r', 'secret'],
  ['secret\n', 'secret'],
  [' two words \r', ' two words '],
  ['sécret 世界😀\r', 'sécret 世界😀'],
  ['secrex\x7ft\r', 'secret'],
  ['nonsense\x15secret\r', 'secret'],
  [`${UP}secret\r`, 'secret'],
])('what is typed is not shown: %j', async (typed, password) => {
  const streams = new Streams('terminal', typed)
  expect(await askPassword('password: ', streams)).toBe(password)
  expect(streams.shown).toBe('password: \n')
})

test('a new one is typed twice', async () => {
  const streams = new Streams('terminal', 'secret\rsecret\r')
  expect(await askNewPassword('password: ', streams)).toBe('secret')
  expect(streams.shown).toBe('password: \nonce more: \n')
})

test('key by key, with a second question that waits for the first answer', async () => {
  const streams = new Streams('terminal')
  const asked = askNewPassword('password: ', streams)
  for (const key of 'secret\rsecret\r') streams.input.write(key)
  expect(await asked).toBe('secret')
})

test.each<[typed: string, error: CommandFailure]>([
  ['secret\rsecres\r', failure(1, 'these were two different passwords')],
  ['secret\r\r', failure(1, 'these were two different passwords')],
  [`secret\r${CTRL_D}`, failure(1, 'no password was given')],
  ['\r\r', failure(1, 'a password has 1 to 1024 characters, none was given')],
  [CTRL_D, failure(1, 'no password was given')],
  [`sec${CTRL_C}`, failure(130, 'interrupted')],
  [`secret\rsec${CTRL_C}`, failure(130, 'interrupted')],
])('no new password: %j', async (typed, error) => {
  await expect(askNewPassword('password: ', new Streams('terminal', typed))).rejects.toThrow(error)
})

test('a password that is longer than any is none', async () => {
  const tooLong = 'x'.repeat(1025)
  const streams = new Streams('terminal', `${tooLong}\r${tooLong}\r`)
  await expect(askNewPassword('password: ', streams)).rejects.toThrow(
    failure(1, 'a password has 1 to 1024 characters, it has 1025'),
  )
})

test.each<[piped: string, password: string, left: string]>([
  ['secret', 'secret', ''],
  ['secret\n', 'secret', ''],
  ['secret\r\n', 'secret', ''],
  ['secret\nget a\nget b\n', 'secret', 'get a\nget b\n'],
  [' two words \n\n', ' two words ', '\n'],
  ['世界\n', '世界', ''],
])('a pipe gives its first line, and keeps what is behind: %j', async (piped, password, left) => {
  for (const ask of [askPassword, askNewPassword]) {
    const streams = new Streams('pipe')
    streams.input.end(piped)
    expect(await ask('password: ', streams)).toBe(password)
    expect(streams.shown).toBe('')
    expect(Buffer.concat(await streams.input.toArray()).toString()).toBe(left)
  }
})

test('a pipe that stays open gives its first line, byte by byte', async () => {
  const streams = new Streams('pipe')
  const asked = askPassword('password: ', streams)
  for (const byte of Buffer.from('sécret\nmore')) streams.input.write(Buffer.of(byte))
  expect(await asked).toBe('sécret')
})

test.each<[piped: string, message: string]>([
  ['', 'a password has 1 to 1024 characters, none was given'],
  ['\nsecret\n', 'a password has 1 to 1024 characters, none was given'],
  ['\xff\n', 'the first line of standard input is not UTF-8'],
])('no password in a pipe: %j', async (piped, message) => {
  const streams = new Streams('pipe')
  streams.input.end(piped, 'latin1')
  await expect(askPassword('password: ', streams)).rejects.toThrow(failure(1, message))
})

test('a pipe without a line feed is not read for ever', async () => {
  const streams = new Streams('pipe')
  const asked = askPassword('password: ', streams)
  streams.input.write('x'.repeat(100_000))
  await expect(asked).rejects.toThrow(/^a password has 1 to 1024 characters, it has \d+$/)
})
