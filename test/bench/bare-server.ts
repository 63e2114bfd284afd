// The floor: what a Node server costs that does nothing but count request bytes and write replies prepared long ago.
// No cache in Node can answer faster than this, so it tells Node's share of the cost from ours.
//
//   node bare-server.js GET-REQUEST GET-REPLY SET-REQUEST SET-REPLY      sizes in bytes; one port for each kind

import { type AddressInfo, createServer } from 'node:net'

/** Replies of one chunk at the most: far more than requests fit into 64 KiB. */
const REPLIES_MAX = 8192

function listen(requestBytes: number, replyBytes: number): Promise<number> {
  const replies = Buffer.alloc(REPLIES_MAX * replyBytes, 0x78)
  const server = createServer({ noDelay: true }, (socket) => {
    let received = 0
    socket.on('data', (chunk) => {
      received += chunk.length
      const requests = Math.floor(received / requestBytes)
      if (requests === 0) return
      received -= requests * requestBytes
      socket.write(replies.subarray(0, requests * replyBytes))
    })
    socket.on('error', () => socket.destroy())
  })
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address() as AddressInfo
      resolve(address.port)
    })
  })
}

const [getRequest = 0, getReply = 0, setRequest = 0, setReply = 0] = process.argv.slice(2).map(Number)
const getPort = await listen(getRequest, getReply)
const setPort = await listen(setRequest, setReply)
console.log(`GET on port ${getPort}, SET on port ${setPort}`)
