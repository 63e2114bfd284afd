// The network of a simulation: machines, connections between them, and what goes wrong with these.
//
// A connection is two pipes that keep the order of bytes and lose none while it lives, as TCP does. Bytes are late, and
// may arrive in any pieces. A blocked path keeps its bytes until it is open again; a connection that is lost delivers
// its pipes up to some byte, in the middle of a frame as well. What a receiver hears of a connection that it has closed
// itself is its own business: late bytes are delivered all the same, and sometimes twice.

import type { Chance } from './chance.ts'
import type { EventQueue } from './queue.ts'

const LATENCY_MS_MAX = 300
/** A dial into a blocked path gives up after this. */
const DIAL_TIMEOUT_MS = 1500
/** Pieces that are remembered for being delivered again. */
const FORMER_MAX = 16

/** One life of a process on a machine. */
export interface Host {
  readonly machine: number
  /** Somebody else's dial has arrived. */
  onAccept(connection: Connection): void
  /** Bytes for this side; they are the receiver's. */
  onBytes(connection: Connection, bytes: Uint8Array): void
  onClosed(connection: Connection): void
}

interface Piece {
  /** undefined: the other side has closed. */
  bytes: Uint8Array | undefined
}

interface Pipe {
  from: Host
  to: Host
  lastMs: number
  stalled: Piece[]
  /** Bytes on their way. */
  unread: number
  /** Bytes still delivered before the connection is lost; Infinity = it is not. */
  left: number
}

export class Connection {
  readonly id: number
  readonly dialer: Host
  readonly acceptor: Host
  /** From the dialer, and to it. */
  readonly pipes: readonly [Pipe, Pipe]
  readonly latencyMs: number
  /** For whom it is over. */
  readonly over = new Set<Host>()

  constructor(id: number, dialer: Host, acceptor: Host, latencyMs: number) {
    this.id = id
    this.dialer = dialer
    this.acceptor = acceptor
    this.latencyMs = latencyMs
    const pipe = (from: Host, to: Host): Pipe => ({
      from,
      to,
      lastMs: 0,
      stalled: [],
      unread: 0,
      left: Number.POSITIVE_INFINITY,
    })
    this.pipes = [pipe(dialer, acceptor), pipe(acceptor, dialer)]
  }

  pipeFrom(host: Host): Pipe {
    return this.pipes[host === this.dialer ? 0 : 1]
  }
}

export interface Dialing {
  onOpen(connection: Connection): void
  onFailed(): void
}

export class Network {
  /** Whether pieces are cut at any byte. */
  splits = true
  readonly #queue: EventQueue
  readonly #chance: Chance
  readonly #onPiece: (pipe: Pipe, bytes: Uint8Array) => void
  readonly #hosts = new Map<number, Host>()
  readonly #connections = new Set<Connection>()
  /** `from * 64 + to` of paths that carry nothing: for good, for now, and until when. */
  readonly #never = new Set<number>()
  readonly #blocked = new Set<number>()
  readonly #cloggedUntil = new Map<number, number>()
  /** Pieces of connections that are over. */
  #former: { connection: Connection; to: Host; bytes: Uint8Array }[] = []
  #nextId = 1

  constructor(queue: EventQueue, chance: Chance, onPiece: (pipe: Pipe, bytes: Uint8Array) => void) {
    this.#queue = queue
    this.#chance = chance
    this.#onPiece = onPiece
  }

  listen(host: Host): void {
    this.#hosts.set(host.machine, host)
  }

  /** The process is gone. Its connections are reset, which others hear of if the path lets them; or not at all. */
  kill(host: Host, how: 'reset' | 'silent'): void {
    if (this.#hosts.get(host.machine) === host) this.#hosts.delete(host.machine)
    for (const connection of [...this.#connections]) {
      if (connection.dialer !== host && connection.acceptor !== host) continue
      if (how === 'reset') this.close(connection, host)
      else this.#connections.delete(connection)
    }
  }

  isBlocked(from: number, to: number): boolean {
    return this.#never.has(pathOf(from, to)) || this.#blocked.has(pathOf(from, to))
  }

  /** These two machines never meet. */
  separate(one: number, other: number): void {
    this.#never.add(pathOf(one, other))
    this.#never.add(pathOf(other, one))
  }

  block(from: number, to: number): void {
    this.#blocked.add(pathOf(from, to))
  }

  open(from: number, to: number): void {
    this.#blocked.delete(pathOf(from, to))
    this.#release(from, to)
  }

  openAll(): void {
    this.#cloggedUntil.clear()
    for (const path of [...this.#blocked]) this.open(path >> 6, path & 63)
    this.#blocked.clear()
  }

  clog(from: number, to: number, ms: number): void {
    this.#cloggedUntil.set(pathOf(from, to), this.#queue.nowMs + ms)
    this.#queue.in(ms + 1, () => this.#release(from, to))
  }

  dial(from: Host, machine: number, dialing: Dialing): void {
    const latencyMs = this.#latency()
    if (this.#isStopped(from.machine, machine) || this.#isStopped(machine, from.machine)) {
      this.#queue.in(DIAL_TIMEOUT_MS, () => dialing.onFailed())
      return
    }
    this.#queue.in(latencyMs, () => {
      const to = this.#hosts.get(machine)
      if (to === undefined || this.#hosts.get(from.machine) !== from) {
        dialing.onFailed()
        return
      }
      const connection = new Connection(this.#nextId++, from, to, this.#latency())
      this.#connections.add(connection)
      to.onAccept(connection)
      dialing.onOpen(connection)
    })
  }

  /** Sends bytes, which are copied. */
  send(connection: Connection, from: Host, bytes: Uint8Array): void {
    if (!this.#connections.has(connection)) return
    const pipe = connection.pipeFrom(from)
    const copy = new Uint8Array(bytes)
    if (!this.splits || copy.length < 2 || !this.#chance.oneIn(4)) {
      this.#put(connection, pipe, copy)
      return
    }
    const at = this.#chance.between(1, copy.length - 1)
    this.#put(connection, pipe, copy.subarray(0, at))
    this.#put(connection, pipe, copy.subarray(at))
  }

  /** Bytes that this side has sent and the other has not got. */
  unread(connection: Connection, from: Host): number {
    return connection.pipeFrom(from).unread
  }

  /** This side closes: it sends nothing more, and the other side hears of it behind what is on its way. */
  close(connection: Connection, by: Host): void {
    connection.over.add(by)
    if (!this.#connections.has(connection)) return
    this.#plan(connection, connection.pipeFrom(by), { bytes: undefined })
  }

  /** A connection between two machines is lost in the middle of what is on its way. False if there is none. */
  lose(one: number, other: number): boolean {
    const between = [...this.#connections].filter(({ dialer, acceptor }) => {
      const machines = [dialer.machine, acceptor.machine]
      return machines.includes(one) && machines.includes(other)
    })
    const connection = between[this.#chance.below(between.length)]
    if (connection === undefined) return false
    for (const pipe of connection.pipes) {
      pipe.left = this.#chance.below(pipe.unread + 1)
      this.#plan(connection, pipe, { bytes: undefined })
    }
    return true
  }

  /** Something of a connection that is over arrives once more. */
  deliverFormer(): void {
    const former = this.#former.filter(({ connection, to }) => connection.over.has(to))
    const piece = former[this.#chance.below(former.length)]
    if (piece !== undefined && this.#hosts.get(piece.to.machine) === piece.to)
      piece.to.onBytes(piece.connection, piece.bytes)
  }

  #put(connection: Connection, pipe: Pipe, bytes: Uint8Array): void {
    pipe.unread += bytes.length
    this.#plan(connection, pipe, { bytes })
  }

  #plan(connection: Connection, pipe: Pipe, piece: Piece): void {
    pipe.lastMs = Math.max(pipe.lastMs, this.#queue.nowMs + connection.latencyMs + this.#chance.below(10))
    this.#queue.at(pipe.lastMs, () => this.#arrive(connection, pipe, piece))
  }

  #arrive(connection: Connection, pipe: Pipe, piece: Piece): void {
    if (this.#hosts.get(pipe.to.machine) !== pipe.to) {
      this.#connections.delete(connection)
      return
    }
    if (pipe.stalled.length > 0 || this.#isStopped(pipe.from.machine, pipe.to.machine))
      pipe.stalled.push(piece)
    else this.#deliver(connection, pipe, piece)
  }

  #deliver(connection: Connection, pipe: Pipe, piece: Piece): void {
    if (piece.bytes === undefined) {
      connection.over.add(pipe.to)
      // One that is lost ends on each side when that side hears of it.
      if (connection.over.size === 2) this.#connections.delete(connection)
      pipe.to.onClosed(connection)
      return
    }
    pipe.unread -= piece.bytes.length
    const bytes = piece.bytes.length > pipe.left ? piece.bytes.subarray(0, pipe.left) : piece.bytes
    pipe.left -= bytes.length
    if (bytes.length === 0) return
    if (this.#former.length < FORMER_MAX) this.#former.push({ connection, to: pipe.to, bytes })
    else this.#former[this.#chance.below(FORMER_MAX)] = { connection, to: pipe.to, bytes }
    this.#onPiece(pipe, bytes)
    pipe.to.onBytes(connection, bytes)
  }

  #isStopped(from: number, to: number): boolean {
    return this.isBlocked(from, to) || (this.#cloggedUntil.get(pathOf(from, to)) ?? 0) > this.#queue.nowMs
  }

  #release(from: number, to: number): void {
    if (this.#isStopped(from, to)) return
    for (const connection of [...this.#connections])
      for (const pipe of connection.pipes) {
        if (pipe.from.machine !== from || pipe.to.machine !== to) continue
        const { stalled } = pipe
        pipe.stalled = []
        for (const piece of stalled)
          if (this.#hosts.get(pipe.to.machine) === pipe.to) this.#deliver(connection, pipe, piece)
      }
  }

  /** Mostly near. */
  #latency(): number {
    return this.#chance.oneIn(3) ? this.#chance.below(LATENCY_MS_MAX) : this.#chance.below(20)
  }
}

function pathOf(from: number, to: number): number {
  return from * 64 + to
}
