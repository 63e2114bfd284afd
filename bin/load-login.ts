// What each connection of a load says first where the server wants to know who it is: AUTH and AUTH PROOF. Between the
// load generator, which knows no protocol, and protocol/authentication.ts, as a link of a client would be.

import { Authentication, type CredentialsSource } from '../protocol/authentication.ts'
import { FrameReader } from '../protocol/frame.ts'
import { PUSH_REQUEST_ID } from '../protocol/limits.ts'
import { Reader } from '../protocol/reader.ts'
import type { Greeter, GreeterEvents } from './load.ts'
import { encodeFrame } from './load-frames.ts'

/** Replies here are short. */
const FRAME_BYTES_MAX = 64 * 1024

export class Login implements Greeter {
  readonly #credentials: CredentialsSource
  #frames: FrameReader | undefined

  constructor(credentials: CredentialsSource) {
    this.#credentials = credentials
  }

  begin({ onRequest, onDone, onFailure }: GreeterEvents): void {
    const authentication = new Authentication(this.#credentials, {
      onRequest: (opcode, operands) => onRequest(encodeFrame(opcode, operands)),
      onDone,
      onFailure,
    })
    const reply = new Reader()
    this.#frames = new FrameReader(FRAME_BYTES_MAX, (bytes, at, end) => {
      reply.open(bytes, at, end)
      if (reply.id !== PUSH_REQUEST_ID) authentication.onReply(reply)
      return true
    })
    authentication.begin('demanded')
  }

  take(bytes: Uint8Array, length: number): void {
    this.#frames?.push(bytes, length)
  }
}
