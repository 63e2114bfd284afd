// What the product loads and computes for its first authentication, and remembers: a module, and the keys of a password.
// Done beforehand, so that later it takes no time, and happens while no time passes.

import { Authentication } from '../../protocol/authentication.ts'
import { Opcode, Status } from '../../protocol/messages.ts'
import { Reader } from '../../protocol/reader.ts'
import { frame } from '../helpers/frames.ts'
import { honestChallenge, type Talk } from './replies.ts'

const done = new Map<string, Promise<void>>()

/** Resolves when a client with this password has computed the proof that the servers of the fuzzer ask for. */
export function prepareAuthentication(password: string): Promise<void> {
  const known = done.get(password) ?? prove(password)
  done.set(password, known)
  return known
}

function prove(password: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const talk: Talk = { mayAuthenticate: true, password }
    const reader = new Reader()
    const authentication = new Authentication(() => Promise.resolve({ username: 'fuzz', password }), {
      onRequest: (opcode, operands) => {
        if (opcode === Opcode.AuthProof) {
          authentication.cancel()
          resolve()
          return
        }
        const first = operands.at(-1)
        const challenge = honestChallenge(typeof first === 'string' ? first : Buffer.from(first ?? ''), talk)
        const reply = frame(Status.Ok, 1, Buffer.from(challenge))
        reader.open(reply, 4, reply.length)
        authentication.onReply(reader)
      },
      onDone: () => {},
      onFailure: reject,
    })
    authentication.begin('demanded')
  })
}
