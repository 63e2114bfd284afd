// That garbage is garbage: whatever of it comes, the server carries nothing out, and so the witnesses of a soak are safe
// from its own attackers.

import { setImmediate as afterDelivery } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Opcode, Status, ValueFlags } from '../../protocol/messages.ts'
import { frame } from '../helpers/frames.ts'
import { connect, startServer } from '../helpers/server.ts'
import { Chance } from '../simulation/chance.ts'
import { garbage } from './garbage.ts'

const PIECES = 500
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

test(`${PIECES} pieces change nothing, seed ${SEED}`, async () => {
  const server = await startServer({ nodeId: 'test' })
  const witness = await connect(server, 'memory')
  await witness.ask(Opcode.Set, 1, 'witness', ValueFlags.Utf8, Buffer.from('still here'))
  const chance = new Chance(SEED)
  for (let piece = 0; piece < PIECES; piece++) {
    const connection = await connect(server, 'memory')
    connection.send(garbage(chance), garbage(chance))
    await afterDelivery()
    await afterDelivery()
    connection.transport.destroy()
  }
  witness.send(frame(Opcode.Get, 2, 'witness'))
  expect(await witness.reply()).toEqual([Status.Ok, 2, ValueFlags.Utf8, Buffer.from('still here')])
  const { cache, memory, peers, commands } = server.stats()
  expect({ entries: memory.entries, sets: cache.sets, deletes: cache.deletes }, `seed ${SEED}`).toEqual({
    entries: 1,
    sets: 1,
    deletes: 0,
  })
  expect({ clear: commands['clear'], peers }, `seed ${SEED}`).toEqual({ clear: 0, peers: [] })
})
