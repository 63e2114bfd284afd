// How a raw connection authenticates, step by step, and a file with a cluster secret.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import { SCRAM_MECHANISM, ScramClient } from '../../protocol/scram.ts'
import type { Logger } from '../../server/options.ts'
import type { Connection } from './server.ts'
import { passwordOf } from './users.ts'

export const SECRET = 'a secret of these servers'

/** Path of a file with this text; gone when the test ends. */
export function secretFileOf(text: string | Uint8Array = SECRET): string {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'secret')
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

/** AUTH and AUTH_PROOF, with ids from `id` on; the last reply, whichever it is. The server's proof is checked. */
export async function authenticate(
  connection: Connection,
  name: string,
  password: string = passwordOf(name),
  id = 1,
): Promise<unknown[]> {
  const client = new ScramClient(name, password)
  const challenge = await connection.ask(Opcode.Auth, id, SCRAM_MECHANISM, client.first())
  if (challenge[0] !== Status.Ok) return challenge
  const proven = await connection.ask(Opcode.AuthProof, id + 1, await client.final(bytesIn(challenge)))
  if (proven[0] === Status.Ok) client.verify(bytesIn(proven))
  return proven
}

/** The first operand, which must be bytes. */
export function bytesIn(reply: readonly unknown[]): Uint8Array {
  const [, , bytes] = reply
  if (bytes instanceof Uint8Array) return bytes
  throw new Error(`no bytes in ${JSON.stringify(reply)}`)
}

export type Line = Record<string, unknown> & { level: string; phrase: string }

/** A logger that keeps its lines. */
export function listener(): { lines: Line[]; logger: Logger; said(phrase: string): Line[] } {
  const lines: Line[] = []
  const at = (level: string) => (facts: object, phrase: string) =>
    void lines.push({ ...facts, level, phrase })
  const logger = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  return { lines, logger, said: (phrase) => lines.filter((line) => line.phrase === phrase) }
}
