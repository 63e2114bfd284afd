// Loaded into a server process before anything else (`node --import`). It bends what the process takes for given: the
// time of day, which the parent sets at any time, and where a dialed port leads, so that a server that hears of another
// one's true address still goes through the proxy that stands between them.
//
//   CLUSTER_ROUTES   {"port that is dialed": port that is taken instead}, as JSON
//   messages in      {"clockOffsetMs": number}, answered with the same
//
// The process ends with its parent.

import { Socket } from 'node:net'

const routes: Record<string, number> = JSON.parse(process.env['CLUSTER_ROUTES'] ?? '{}')
const trueNow = Date.now
let offsetMs = 0

Date.now = () => trueNow() + offsetMs

process.on('message', (message: { clockOffsetMs: number }) => {
  offsetMs = message.clockOffsetMs
  process.send?.(message)
})
process.on('disconnect', () => process.exit(1))

// net.connect hands its arguments over as one list, [options, callback]: nobody but this file has to know.
const dial = Socket.prototype.connect
Object.assign(Socket.prototype, {
  connect(this: Socket, ...args: unknown[]) {
    const [first] = args
    const options: unknown = Array.isArray(first) ? first[0] : first
    if (typeof options === 'object' && options !== null && 'port' in options) {
      const port = routes[String(options.port)]
      if (port !== undefined) options.port = port
    }
    return Reflect.apply(dial, this, args)
  },
})
