// Changes of an auth file, each whole or not at all: a reader, or a server that reads it again, sees the old file or
// the new one. The new one is written beside it, as FILE.new, and takes its place; while that is there, nobody else
// changes the file. Between the command and the file system; what a line means is for server/users.ts.

import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { AuthFileError, readAuthFile } from '../server/users.ts'
import { CommandFailure, ExitCode } from './program.ts'

const OWNER_ONLY = 0o600

/** Lines of the file, without their line feeds; none if there is no file yet. Throws AuthFileError. */
export function readLines(path: string): string[] {
  const text = textOf(path)
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}

function textOf(path: string): string {
  try {
    return readAuthFile(path).text
  } catch (error) {
    if (error instanceof AuthFileError && isSystemError(error.cause) && error.cause.code === 'ENOENT')
      return ''
    throw error
  }
}

/**
 * Replaces the lines of the file by what `edit` makes of them; if that throws, nothing has changed. The file keeps its
 * owner, and is for the owner alone afterwards. Throws AuthFileError and CommandFailure.
 */
export function editLines(path: string, edit: (lines: readonly string[]) => readonly string[]): void {
  const target = followLinks(path)
  const temporary = `${target}.new`
  const file = createAlone(temporary)
  let isOpen = true
  try {
    const lines = edit(readLines(target))
    keepOwner(file, target)
    writeFileSync(file, lines.map((line) => `${line}\n`).join(''))
    fsyncSync(file)
    closeSync(file)
    isOpen = false
    renameSync(temporary, target)
  } catch (error) {
    if (isOpen) closeSync(file)
    unlinkSync(temporary)
    throw isSystemError(error) ? notChanged(path, error) : error
  }
  syncFolder(dirname(target))
}

/** A link keeps pointing: the file behind it is the one to replace. */
function followLinks(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if (!isSystemError(error)) throw error
    if (error.code === 'ENOENT') return path
    throw notChanged(path, error)
  }
}

function createAlone(temporary: string): number {
  try {
    return openSync(temporary, 'wx', OWNER_ONLY)
  } catch (error) {
    if (!isSystemError(error)) throw error
    if (error.code !== 'EEXIST') throw notChanged(temporary, error)
    throw new CommandFailure(
      ExitCode.Failed,
      `${temporary} is there: another change is under way, or was cut short; if none is, remove that file`,
    )
  }
}

/** A server that runs as somebody else must be able to read the file afterwards as it was before. */
function keepOwner(file: number, target: string): void {
  const before = statSync(target, { throwIfNoEntry: false })
  if (before === undefined || fstatSync(file).uid === before.uid) return
  try {
    fchownSync(file, before.uid, before.gid)
  } catch {
    throw new CommandFailure(
      ExitCode.Failed,
      `${target} belongs to another user (${before.uid}): change it as that user, or as root`,
    )
  }
}

/** So that the new name outlasts a power cut, where a folder can be synced. */
function syncFolder(path: string): void {
  try {
    const folder = openSync(path, constants.O_RDONLY)
    fsyncSync(folder)
    closeSync(folder)
  } catch {
    // The change itself is done.
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error
}

function notChanged(path: string, { code }: NodeJS.ErrnoException): CommandFailure {
  return new CommandFailure(ExitCode.Failed, `${path} cannot be written (${code})`)
}
