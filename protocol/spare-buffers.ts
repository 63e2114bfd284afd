// Large buffers that were used and may be used again: for frames that came in pieces and replies that are longer than
// the usual buffer.
//
// Memory outside the JavaScript heap is given back only by a garbage collection, and little else in here causes one: at
// values of 1 MB the buffers of finished frames would make up a third of the process. Bounded, shared, no identity.

/** Smaller ones are not worth keeping. */
const SPARE_BYTES_MIN = 64 * 1024
/** All spares together; what is given beyond it is left to the garbage collector. 4 MiB let a third more pile up. */
const SPARES_BYTES_MAX = 12 * 1024 * 1024

const spares: Buffer[] = []
let sparesBytes = 0

/** A buffer of at least `bytes`, with anything in it; the caller's alone until it is given back. */
export function takeBuffer(bytes: number): Buffer {
  if (bytes < SPARE_BYTES_MIN) return Buffer.allocUnsafeSlow(bytes)
  // Not a much larger one: it may be wanted for what needs it.
  const index = spares.findIndex((spare) => spare.length >= bytes && spare.length <= bytes * 2)
  const spare = spares[index]
  if (spare === undefined) return Buffer.allocUnsafeSlow(bytes)
  spares.splice(index, 1)
  sparesBytes -= spare.length
  return spare
}

/** Gives a buffer up: nobody may hold a view of it. */
export function giveBuffer(buffer: Buffer): void {
  if (buffer.length < SPARE_BYTES_MIN || sparesBytes + buffer.length > SPARES_BYTES_MAX) return
  spares.push(buffer)
  sparesBytes += buffer.length
}
