// How a server that dials another one proves that it knows the cluster secret, and has the other prove the same, before
// either says HELLO. One object for one connection.
//
// Between a peer connection, which has the frames, and protocol/authentication.ts, which does the same for clients: to
// the server that is dialed this one is a client until it has authenticated.
//
// Both ends know the same secret. So whoever is dialed could hand what this server says back to it, over a connection of
// its own, and be taken for a server: this one remembers the nonces of its attempts while they are under way.

import {
  Authentication,
  type AuthenticationError,
  type AuthenticationEvents,
} from '../protocol/authentication.ts'
import type { Reader } from '../protocol/reader.ts'
import { newNonce } from '../protocol/scram.ts'
import { Writer } from '../protocol/writer.ts'
import { CLUSTER_USER, type ClusterSecret } from './cluster-secret.ts'

/** Replies carry it; there is one request at a time. */
const REQUEST_ID = 1
/** Before authentication neither end sends more, in bytes. */
export const UNAUTHENTICATED_BYTES_MAX = 4096

/** Of this server's own attempts that are under way: a proof for one of them was made by this server. */
export type OwnNonces = Set<string>

export interface PeerAuthenticationEvents {
  /** A frame to send. */
  onRequest(frame: Uint8Array): void
  /** Both ends know the secret. */
  onDone(): void
  /** The other end does not, or says what no server says. */
  onFailure(error: AuthenticationError): void
}

export class PeerAuthentication {
  readonly #authentication: Authentication
  readonly #ownNonces: OwnNonces
  readonly #nonce = newNonce()

  constructor(secret: ClusterSecret, ownNonces: OwnNonces, events: PeerAuthenticationEvents) {
    this.#ownNonces = ownNonces
    const credentials = { username: CLUSTER_USER, password: secret.password }
    const authenticationEvents: AuthenticationEvents = {
      onRequest: (opcode, operands) => {
        const writer = new Writer(UNAUTHENTICATED_BYTES_MAX)
        const start = writer.beginFrame(2 + operands.length)
        writer.int(opcode)
        writer.int(REQUEST_ID)
        for (const operand of operands)
          if (typeof operand === 'string') writer.string(operand)
          else writer.binary(operand, 0, operand.length)
        writer.endFrame(start)
        events.onRequest(writer.bytes.subarray(0, writer.at))
      },
      onDone: () => {
        ownNonces.delete(this.#nonce)
        events.onDone()
      },
      onFailure: (error) => events.onFailure(error),
    }
    this.#authentication = new Authentication(
      () => Promise.resolve(credentials),
      authenticationEvents,
      () => this.#nonce,
    )
  }

  begin(): void {
    this.#ownNonces.add(this.#nonce)
    this.#authentication.begin('demanded')
  }

  /** A reply that is no error. Throws AuthenticationError or ProtocolError. */
  take(reply: Reader): void {
    this.#authentication.onReply(reply)
  }

  /** Nothing is sent, nor told of it, any more. Must be called when the connection ends. */
  cancel(): void {
    this.#ownNonces.delete(this.#nonce)
    this.#authentication.cancel()
  }
}
