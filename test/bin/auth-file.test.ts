// Changes of the auth file: whole or not at all, one at a time, for the owner alone.

import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { editLines, readLines } from '../../bin/auth-file.ts'
import { CommandFailure } from '../../bin/program.ts'

const isRoot = process.getuid?.() === 0
if (!isRoot) console.log('skipped: the owner of a file is kept; only root may give files away')

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8)
}

test('a file that is not there has no lines, and is made', () => {
  const path = join(newFolder(), 'users')
  expect(readLines(path)).toEqual([])
  editLines(path, (lines) => [...lines, 'one', 'two'])
  expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n')
  expect(readLines(path)).toEqual(['one', 'two'])
})

test.each([
  ['', 'new\n'],
  ['\n', '\nnew\n'],
  ['# é\n\na\r\nb', '# é\n\na\r\nb\nnew\n'],
  ['a\n\n', 'a\n\nnew\n'],
])('of %j the rest stays as it was', (before, after) => {
  const path = join(newFolder(), 'users')
  writeFileSync(path, before)
  editLines(path, (lines) => [...lines, 'new'])
  expect(readFileSync(path, 'utf8')).toBe(after)
})

test.skipIf(process.platform === 'win32')('the file is for its owner alone afterwards', () => {
  const path = join(newFolder(), 'users')
  editLines(path, () => ['one'])
  expect(modeOf(path)).toBe('600')
  chmodSync(path, 0o666)
  editLines(path, () => ['one'])
  expect(modeOf(path)).toBe('600')
})

test.skipIf(!isRoot)('the file keeps its owner', () => {
  const path = join(newFolder(), 'users')
  writeFileSync(path, 'one\n')
  chownSync(path, 1234, 2345)
  editLines(path, () => ['two'])
  expect(statSync(path)).toMatchObject({ uid: 1234, gid: 2345 })
})

test('it is another file in the place of the old one: who has that open reads on undisturbed', () => {
  const folder = newFolder()
  const path = join(folder, 'users')
  editLines(path, () => ['one'])
  const { ino } = statSync(path)
  editLines(path, () => {
    // Until the very end it is the old one.
    expect(readFileSync(path, 'utf8')).toBe('one\n')
    expect(readdirSync(folder).sort()).toEqual(['users', 'users.new'])
    expect(modeOf(`${path}.new`)).toBe('600')
    return ['two']
  })
  expect(statSync(path).ino).not.toBe(ino)
  expect(readdirSync(folder)).toEqual(['users'])
})

test('a link stays one, and the file behind it changes', () => {
  const folder = newFolder()
  mkdirSync(join(folder, 'real'))
  const target = join(folder, 'real', 'users')
  const link = join(folder, 'users')
  writeFileSync(target, 'one\n')
  symlinkSync(target, link)
  editLines(link, (lines) => [...lines, 'two'])
  expect(readlinkSync(link)).toBe(target)
  expect(readFileSync(target, 'utf8')).toBe('one\ntwo\n')
  expect(readdirSync(join(folder, 'real'))).toEqual(['users'])
})

describe('nothing changes', () => {
  test('where the change fails', () => {
    const folder = newFolder()
    const path = join(folder, 'users')
    editLines(path, () => ['one'])
    const fault = new CommandFailure(1, 'no')
    expect(() =>
      editLines(path, () => {
        throw fault
      }),
    ).toThrow(fault)
    expect(readLines(path)).toEqual(['one'])
    expect(readdirSync(folder)).toEqual(['users'])
  })

  test('while somebody else changes the file', () => {
    const path = join(newFolder(), 'users')
    editLines(path, () => {
      expect(() => editLines(path, () => ['theirs'])).toThrow(
        new CommandFailure(
          1,
          `${path}.new is there: another change is under way, or was cut short; if none is, remove that file`,
        ),
      )
      return ['ours']
    })
    expect(readLines(path)).toEqual(['ours'])
  })

  test('where it cannot be written, or is no file', () => {
    const folder = newFolder()
    expect(() => editLines(join(folder, 'none', 'users'), () => [])).toThrow(
      new CommandFailure(1, `${join(folder, 'none', 'users.new')} cannot be written (ENOENT)`),
    )
    writeFileSync(join(folder, 'file'), '')
    expect(() => editLines(join(folder, 'file', 'users'), () => [])).toThrow(
      new CommandFailure(1, `${join(folder, 'file', 'users')} cannot be written (ENOTDIR)`),
    )
    expect(() => readLines(join(folder, 'file', 'users'))).toThrow(/it cannot be read \(ENOTDIR\)/)
    mkdirSync(join(folder, 'users'))
    expect(() => editLines(join(folder, 'users'), () => [])).toThrow(/users: it cannot be read \(EISDIR\)/)
    expect(readdirSync(folder).sort()).toEqual(['file', 'users'])
  })
})
