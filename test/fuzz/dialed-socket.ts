// A socket that dials, with a wire behind it instead of a network: whoever holds the other end of the wire decides
// whether it connects, what is heard and what is read.
//
// Stands where node:net calls connect, which has been handed everything that the socket was made with. The product's own
// dialing and its transport around the socket do the rest.

import type { Socket } from 'node:net'
import { demand } from './violation.ts'
import { Wire } from './wire.ts'

/** A dial that waits for an answer. */
export interface Dialed {
  readonly host: string
  readonly port: number
  /** It is connected now. */
  accept(): void
  refuse(): void
  /** Whoever dialed has given up. */
  readonly isGivenUp: boolean
}

interface Reading {
  buffer: Uint8Array
  callback(length: number, buffer: Uint8Array): boolean
}

/** Puts a wire behind a socket whose `connect` was called with these arguments. */
export function socketOver(socket: Socket, args: readonly unknown[]): [Dialed, Wire] {
  const { host, port, onread } = optionsOf(args)
  // Node would throw at once, into whoever dials.
  demand(
    Number.isInteger(port) && port >= 0 && port < 65_536,
    'a port is dialed that cannot be',
    () => `${port}`,
  )
  const wire = new Wire(`${host}:${port}`)
  let isDestroyed = false
  wire.open({
    onChunk: (chunk) => {
      if (onread === undefined) {
        socket.emit('data', Buffer.from(chunk))
        return
      }
      for (let at = 0; at < chunk.length; at += onread.buffer.length) {
        const part = chunk.subarray(at, at + onread.buffer.length)
        onread.buffer.set(part)
        onread.callback(part.length, onread.buffer)
      }
    },
    onDrain: () => void socket.emit('drain'),
    onClose: (error) => {
      isDestroyed = true
      if (error !== undefined && socket.listenerCount('error') > 0) socket.emit('error', error)
      socket.emit('close', error !== undefined)
    },
  })
  const destroy = (error?: Error) => {
    isDestroyed = true
    wire.destroy(error)
    return socket
  }
  const same = () => socket
  Object.defineProperties(socket, {
    write: { value: (bytes: Uint8Array) => wire.write(bytes) },
    end: {
      value: (done?: () => void) => {
        wire.end()
        if (done !== undefined) setImmediate(done)
        return socket
      },
    },
    destroy: { value: destroy },
    destroyed: { get: () => isDestroyed },
    writableLength: { get: () => wire.unsentBytes },
    remoteAddress: { value: host },
    remotePort: { value: port },
    pause: { value: same },
    resume: { value: same },
    setNoDelay: { value: same },
    setKeepAlive: { value: same },
    setTimeout: { value: same },
    ref: { value: same },
    unref: { value: same },
  })
  const dialed = {
    host,
    port,
    get isGivenUp() {
      return isDestroyed
    },
    accept: () => {
      if (!isDestroyed) socket.emit('connect')
    },
    refuse: () => {
      if (isDestroyed) return
      socket.emit('error', new Error(`connect ECONNREFUSED ${host}:${port}`))
      destroy()
    },
  }
  return [dialed, wire]
}

/** node:net hands its arguments over as one list, [options, callback]. */
function optionsOf(args: readonly unknown[]): { host: string; port: number; onread: Reading | undefined } {
  const [first] = args
  const options: unknown = Array.isArray(first) ? first[0] : first
  demand(typeof options === 'object' && options !== null, 'a dial without options')
  const port = 'port' in options ? Number(options.port) : Number.NaN
  const host = 'host' in options && typeof options.host === 'string' ? options.host : 'localhost'
  return { host, port, onread: 'onread' in options ? readingOf(options.onread) : undefined }
}

function readingOf(onread: unknown): Reading | undefined {
  if (typeof onread !== 'object' || onread === null) return undefined
  if (!('buffer' in onread) || !('callback' in onread)) return undefined
  const { buffer, callback } = onread
  if (!(buffer instanceof Uint8Array) || typeof callback !== 'function') return undefined
  return { buffer, callback: (length, bytes) => callback(length, bytes) === true }
}
