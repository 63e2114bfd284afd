// Listens and accepts: a connection leaves here as a transport, with what is known of the other end.
//
// Between the port and the server, which knows what a connection is for; how many may come is for admission.ts. Plain
// sockets are handed over at once, those with TLS when their handshake is done. Until then they count among the
// unauthenticated, and have little time. One net server accepts in both cases.
//
//   accepted ──(no room)──> refused
//      ├──(plain)─────────────────────> arrived ──> closed
//      └──(TLS)──> handshake ──(done)─────^            ^
//                       └──(failed, late, no TLS)──────┘

import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import type { ReadBuffer } from '../protocol/read-buffer.ts'
import {
  acceptedTransport,
  remoteOf,
  type SocketTransport,
  TlsTransport,
} from '../protocol/socket-transport.ts'
import { explainedTls } from '../protocol/tls-errors.ts'
import type { Certificate } from './access.ts'
import { blockIn } from './address-block.ts'
import { Admission, type Visit } from './admission.ts'
import type { Arrivals, Place } from './arrivals.ts'
import type { ResolvedServerOptions } from './options.ts'
import { isRound, Repeats } from './repeats.ts'
import { certificateOf, type ServerTls } from './tls.ts'

declare module 'tls' {
  interface TLSSocket {
    /** What it was made of. */
    readonly _parent?: Socket
  }
}

/** Connections the kernel may hold until they are accepted. */
const BACKLOG = 1024
/** A socket says when it has drained only after it held this much: no more than the lowest `outputBytesMax`. */
const SOCKET_MARK_BYTES = 4 * 1024

/** A connection that may be spoken with. */
export interface Arrived {
  readonly transport: SocketTransport
  /** Of the other end, signed by the authority of `tlsCa`. */
  readonly certificate: Certificate | undefined
  /** Among the unauthenticated, taken at accept; for whoever gets it to give back. */
  readonly place: Place
  /** If it is a candidate, for whoever gets it to confirm when it turns out to come from another server. */
  readonly visit: Visit
}

export interface ListenerSetup {
  readonly options: ResolvedServerOptions
  readonly buffer: ReadBuffer
  readonly arrivals: Arrivals
  /** Undefined: plain TCP. */
  readonly tls: ServerTls | undefined
  now(): number
  onArrived(arrived: Arrived): void
}

/** A socket whose TLS handshake is not done. */
interface Handshake {
  readonly visit: Visit
  readonly place: Place
}

export class Listener {
  readonly #setup: ListenerSetup
  readonly #admission: Admission
  readonly #net: NetServer
  readonly #tls: TlsServer | undefined
  readonly #repeats = new Repeats()
  /** By the addresses of both ends: a TLS socket does not tell which socket it was made of. */
  readonly #handshakes = new Map<string, Handshake>()

  constructor(setup: ListenerSetup) {
    this.#setup = setup
    this.#admission = new Admission(setup.options, setup.arrivals)
    this.#net = createServer(
      { noDelay: true, pauseOnConnect: true, highWaterMark: SOCKET_MARK_BYTES },
      (socket) => this.#onSocket(socket),
    )
    this.#tls = setup.tls && this.#makeTls(setup.tls)
  }

  /** Begins to listen; resolves with the port. Rejects with the system's error, and may then be called again. */
  async listen(host: string, port: number): Promise<number> {
    const net = this.#net
    await new Promise<void>((resolve, reject) => {
      net.once('error', reject)
      net.listen({ host, port, backlog: BACKLOG }, () => {
        net.off('error', reject)
        resolve()
      })
    })
    net.on('error', ({ message }) => {
      const times = this.#repeats.count(message)
      if (isRound(times)) this.#setup.options.logger.error({ error: message, times }, 'accept failed')
    })
    this.#admission.keepReserve()
    const bound = net.address()
    return typeof bound === 'object' && bound !== null ? bound.port : port
  }

  /** From now on connections get the certificates that were read last. */
  reload(): void {
    const { tls } = this.#setup
    if (tls !== undefined) this.#tls?.setSecureContext(tls.accepting)
  }

  /** Closes candidates whose time is over. */
  check(nowMs: number): void {
    this.#admission.check(nowMs)
  }

  /** Accepts no more, and cuts handshakes; resolves when all connections that were accepted are closed. */
  close(): Promise<void> {
    for (const { visit } of [...this.#handshakes.values()]) visit.owner.destroy()
    return new Promise((resolve) => {
      this.#net.close(() => resolve())
    })
  }

  #onSocket(raw: Socket): void {
    const { arrivals, now } = this.#setup
    const visit = this.#admission.enter(raw._handle?.fd ?? -1, now(), raw)
    const place = visit && arrivals.enter(remoteOf(raw))
    if (visit === undefined) {
      raw.destroy()
      return
    }
    raw.once('close', () => visit.leave())
    if (this.#tls === undefined) this.#plain(raw, visit, place)
    else if (place !== undefined) this.#beginHandshake(raw, this.#tls, { visit, place })
    // Before the handshake nothing can be said.
    else raw.destroy()
  }

  #plain(raw: Socket, visit: Visit, place: Place | undefined): void {
    const { buffer, arrivals } = this.#setup
    const transport = acceptedTransport(raw, buffer)
    visit.owner = transport
    if (place !== undefined) this.#setup.onArrived({ transport, certificate: undefined, place, visit })
    else arrivals.turnAway(transport, 'too many unauthenticated connections')
  }

  #beginHandshake(raw: Socket, tls: TlsServer, handshake: Handshake): void {
    const ends = endsOf(raw)
    this.#handshakes.set(ends, handshake)
    raw.once('close', () => {
      if (this.#handshakes.get(ends) === handshake) this.#handshakes.delete(ends)
      handshake.place.leave()
    })
    tls.emit('connection', raw)
  }

  #makeTls(tls: ServerTls): TlsServer {
    const { tlsHandshakeTimeoutMs, logger } = this.#setup.options
    const server = createTlsServer({ ...tls.accepting, handshakeTimeout: tlsHandshakeTimeoutMs }, (socket) =>
      this.#onHandshakeDone(socket),
    )
    server.on('tlsClientError', (error, socket) => {
      // A certificate that is not accepted shows here as a connection that was reset.
      const why = String(socket.authorizationError ?? explainedTls(error).message)
      // One that is closed has no address any more; what it was made of was asked at accept, and remembers.
      const remote = remoteOf(socket._parent ?? socket)
      // By reason too: other servers that break off a handshake, having linked otherwise, must not hide a real failure.
      const times = this.#repeats.count(`handshake of ${blockIn(remote)}: ${why}`)
      const level = isRound(times) ? 'warn' : 'debug'
      logger[level]({ remote, why, times }, 'TLS handshake failed')
      // Node leaves a socket open whose time is over.
      socket.destroy()
    })
    return server
  }

  #onHandshakeDone(socket: TLSSocket): void {
    const ends = endsOf(socket)
    const handshake = this.#handshakes.get(ends)
    this.#handshakes.delete(ends)
    if (handshake === undefined) {
      // It is closed already: it has no address any more.
      socket.destroy()
      return
    }
    this.#tellIgnored(socket)
    const { visit, place } = handshake
    const transport = new TlsTransport(socket)
    visit.owner = transport
    this.#setup.onArrived({ transport, certificate: certificateOf(socket), place, visit })
  }

  /** Whoever has a certificate and is treated as if it had none must be able to learn why. */
  #tellIgnored(socket: TLSSocket): void {
    const { authorizationError, authorized } = socket
    if (authorized || socket.getPeerX509Certificate() === undefined) return
    const remote = remoteOf(socket)
    const times = this.#repeats.count(blockIn(remote))
    if (!isRound(times)) return
    this.#setup.options.logger.warn(
      { remote, why: String(authorizationError), times },
      'client certificate ignored',
    )
  }
}

function endsOf(socket: Socket): string {
  return `${remoteOf(socket)} ${socket.localAddress}`
}
