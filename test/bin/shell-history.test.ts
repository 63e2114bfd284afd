// The history file: where it is, who may read it, how long it gets, and what never gets into it.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { HISTORY_LINES_MAX, History, historyPath, isSecret } from '../../bin/shell-history.ts'

function newPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return historyPath({ XDG_STATE_HOME: join(folder, 'state') })
}

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8)
}

test('is under the state folder of the user', () => {
  expect(historyPath({ XDG_STATE_HOME: '/var/state' })).toBe(join('/var/state', 'ormuco-cache', 'history'))
  const usual = join(homedir(), '.local', 'state', 'ormuco-cache', 'history')
  for (const named of [undefined, '', 'relative/folder'])
    expect(historyPath(named === undefined ? {} : { XDG_STATE_HOME: named })).toBe(usual)
})

test('is for its user alone, also if it was not', () => {
  const path = newPath()
  new History(path).add('get a')
  expect(modeOf(path)).toBe('600')
  expect(modeOf(join(path, '..'))).toBe('700')
  chmodSync(path, 0o644)
  expect(new History(path).lines).toEqual(['get a'])
  expect(modeOf(path)).toBe('600')
})

test('keeps lines, newest first, of several shells at a time', () => {
  const path = newPath()
  const one = new History(path)
  const two = new History(path)
  one.add('get a')
  two.add('get b')
  one.add('set c "世界"')
  expect(new History(path).lines).toEqual(['set c "世界"', 'get b', 'get a'])
})

test('never keeps a password', () => {
  const path = newPath()
  const history = new History(path)
  const secrets = [
    'auth secret',
    ' AUTH user secret',
    'Auth',
    'HELLO 3 AUTH user secret',
    '"auth" user secret',
    "'AUTH' user secret",
    String.raw`"\u0061uth" user secret`,
    '--json auth user secret',
    '-y -- auth user secret',
    '--nonsense auth user secret',
    '"auth user secret',
  ]
  for (const line of [...secrets, 'get author']) history.add(line)
  expect(readFileSync(path, 'utf8')).toBe('get author\n')
  expect(isSecret('set auth 1')).toBe(false)
})

test('is of bounded length, and so are its lines', () => {
  const path = newPath()
  const history = new History(path)
  history.add('x'.repeat(5000))
  for (let i = 0; i <= 2 * HISTORY_LINES_MAX; i++) history.add(`get ${i}`)
  const next = new History(path)
  expect(next.lines).toHaveLength(HISTORY_LINES_MAX)
  expect(next.lines[0]).toBe(`get ${2 * HISTORY_LINES_MAX}`)
  expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(HISTORY_LINES_MAX + 1)
  expect(modeOf(path)).toBe('600')
})

test('of a file that somebody made huge only the end is read', () => {
  const path = newPath()
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, `${'x'.repeat(3 * 1024 * 1024)}\nget a\n`)
  expect(new History(path).lines).toEqual(['get a'])
  expect(readFileSync(path, 'utf8')).toBe('get a\n')
})

test('a place that cannot be written is a problem to tell, not a failure', () => {
  const path = newPath()
  mkdirSync(path, { recursive: true })
  const history = new History(path)
  expect(history.problem).toMatch(/EISDIR/)
  history.add('get a')
  expect(history.lines).toEqual([])
})
