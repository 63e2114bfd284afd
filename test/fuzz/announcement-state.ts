// The state of a datagram from anybody on the LAN: it is an announcement, or a ProtocolError; and none that was changed by
// whoever does not know the secret is proven.

import { ProtocolError } from '../../protocol/errors.ts'
import { isDialable, isProven, readAnnouncement, writeAnnouncement } from '../../server/announcement.ts'
import { ANNOUNCED, SECRET } from '../helpers/announced.ts'
import type { Random } from '../server/store/random.ts'
import type { Input, State, World } from './engine.ts'
import { bent, type Item, Pen } from './items.ts'
import { mutated, randomBytes } from './mutations.ts'
import { demand } from './violation.ts'

const INPUTS_PER_WORLD = 1000
const MAGIC = 0x6f72_6d75
const PROVEN = writeAnnouncement(ANNOUNCED, SECRET)
const UNPROVEN = writeAnnouncement(ANNOUNCED)
const pen = new Pen()

class AnnouncementWorld implements World {
  next(random: Random): Input {
    return { chunks: [datagram(random)], luck: 0 }
  }

  play({ chunks }: Input): string {
    const bytes = Buffer.concat(chunks)
    const heard = readOrRefused(bytes)
    if (heard === undefined) return 'refused'
    demand(
      isDialable(heard.host ?? ANNOUNCED.host ?? ''),
      'a host that cannot be dialed',
      () => `${heard.host}`,
    )
    demand(/^[\x21-\x7e]{2,256}$/.test(heard.cluster + heard.label), 'a name that must not stand in a log')
    demand(heard.port > 0 && heard.port < 65_536, 'a port that cannot be')
    const isOurs = bytes.equals(PROVEN)
    demand(isProven(bytes, heard.proofAt, SECRET) === isOurs, 'a proof that proves something else')
    return isOurs ? 'proven' : 'read'
  }

  end(): void {}
}

function readOrRefused(bytes: Buffer) {
  try {
    return readAnnouncement(bytes)
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}

function datagram(random: Random): Buffer {
  switch (random.below(8)) {
    case 0:
      return randomBytes(random.below(80), random)
    case 1:
    case 2:
    case 3: {
      const items: Item[] = [
        ...[
          MAGIC,
          1,
          'default',
          random.oneIn(4) ? 'x'.repeat(random.below(200)) : 'cache-1',
          randomBytes(8, random),
        ],
        ...[
          random.pick([null, '192.0.2.7', '::1', 'fe80::1%0', '0.0.0.0']),
          random.below(70_000),
          1_790_000_000_123,
        ],
        random.oneIn(3) ? null : randomBytes(32, random),
      ]
      return pen.payload(random.oneIn(3) ? items : bent(items, random), random, random.oneIn(4) ? 8 : 0)
    }
    default:
      return mutated(random.oneIn(2) ? PROVEN : UNPROVEN, random)
  }
}

export const announcementState: State = {
  name: 'announcement',
  inputsPerWorld: INPUTS_PER_WORLD,
  outcomes: ['read', 'refused', 'proven'],
  makeWorld: () => new AnnouncementWorld(),
}
