// PROTOCOL.md tells the truth: every dump on the page is replayed against a real server, or said again by two that
// replicate; and the numbers on the page are those of messages.ts and limits.ts.

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as limits from '../../protocol/limits.ts'
import { Condition, Opcode, PeerOpcode, Status, ValueFlags } from '../../protocol/messages.ts'
import { Reader } from '../../protocol/reader.ts'
import { SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, ScramClient, ScramServer } from '../../protocol/scram.ts'
import { memoryTransports } from '../../protocol/transport.ts'
import { decodeValue, encodeValue } from '../../protocol/value.ts'
import { Writer } from '../../protocol/writer.ts'
import { REQUIRED_RANKS } from '../../server/access.ts'
import { DEFERRED_MAX } from '../../server/deferred.ts'
import { SERVER_DEFAULTS } from '../../server/options.ts'
import { UNAUTHENTICATED_BYTES_MAX } from '../../server/peer-authentication.ts'
import {
  readPing,
  readPong,
  writeHello,
  writePing,
  writePong,
} from '../../server/replication/peer-messages.ts'
import { emptyRemoteRecord, readRecord } from '../../server/replication/records.ts'
import { LIST_ENTRIES_MAX, SEQS_MAX } from '../../server/replication/round-messages.ts'
import { readAck, readBatchHead, readRewind } from '../../server/replication/stream.ts'
import { Session } from '../../server/session.ts'
import { parseUsers, ROLES } from '../../server/users.ts'
import { bytesOf, type Dump, dumpsOf, isFixed, matches, type Names, type Step } from '../helpers/dumps.ts'
import { decoded, framed, hex } from '../helpers/frames.ts'
import { helloIn, peerDialogue } from '../helpers/peer-dialogue.ts'
import { Connection, connect, SURROUNDINGS, startServer } from '../helpers/server.ts'
import { sessionHost } from '../helpers/session-host.ts'
import { authFileOf } from '../helpers/users.ts'

const page = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')
const dumps = dumpsOf(page)
/** Tables are padded so that their columns stand in line. */
const prose = page.replace(/ +/g, ' ')

describe.each(SURROUNDINGS)('replayed, $store store, $wire', ({ store, wire }) => {
  test('every dump, in the order of the page', async () => {
    const server = await startServer({ store })
    const names: Names = new Map()
    for (const dump of dumps)
      await replay(dump, await connect(server, wire), names, () => void server.close())
  })
})

async function replay(
  { steps }: Dump,
  connection: Connection,
  names: Names,
  stop: () => void = () => {},
): Promise<void> {
  for (const step of steps) {
    if (step.kind === 'send') connection.send(bytesOf(step.tokens, names))
    else if (step.kind === 'expect') await expectBytes(connection, step.line, step.tokens, names)
    else if (step.what === 'the server is told to stop') stop()
    else {
      expect(step.what, `line ${step.line}`).toBe('the server closes the connection')
      expect((await connection.rest()).toString('hex'), `after line ${step.line}`).toBe('')
    }
  }
  connection.transport.destroy()
}

const authDumps = dumpsOf(page, 'auth')

describe('authentication', () => {
  const [, users = ''] = /^```users\n([\s\S]*?)^```$/m.exec(page) ?? []
  const [, nonce = ''] = /whose part of the nonce happens to be `([^`]+)`/.exec(page) ?? []

  test.each(authDumps.map((dump) => [dump.line, dump] as const))('replayed, line %i', async (_, dump) => {
    const authFile = authFileOf([...parseUsers(users, 'PROTOCOL.md').values()])
    const [ours, theirs] = memoryTransports()
    const connection = new Connection(ours)
    new Session(
      theirs,
      sessionHost({ authFile }, () => nonce),
    )
    await replay(dump, connection, new Map())
  })

  test('a client whose password is the one on the page says the same', async () => {
    const [{ steps } = { steps: [] }] = authDumps
    const sent = steps.filter(
      (step) =>
        step.kind === 'send' && [Opcode.Auth, Opcode.AuthProof].some((opcode) => opcode === opcodeOf(step)),
    )
    const [auth, proof] = sent.map((step) =>
      decoded(hex(step.kind === 'event' ? '' : step.tokens.slice(4).join(''))),
    )
    const clientNonce = /r=(.*)/.exec(String(auth?.[3]))?.[1]
    const scram = new ScramClient('walt', 'pencil', clientNonce)
    expect(scram.first().toString()).toBe(String(auth?.[3]))
    const [user] = parseUsers(users, 'PROTOCOL.md').values()
    if (user === undefined) throw new Error('there is no user on the page')
    const server = new ScramServer(() => user.keys, nonce)
    const final = await scram.final(server.first(Buffer.from(String(auth?.[3]))))
    expect(final.toString()).toBe(String(proof?.[2]))
  })

  test.each(ROLES)('the role %s stands in the table', (role) => {
    expect(prose).toContain(`\n| ${role} | `)
  })

  test('what each role may stands in the table', () => {
    const rows = new Map(
      [...prose.matchAll(/^\| (reader|writer|admin) \| (.*) \|$/gm)].map(([, role, may]) => [role, may]),
    )
    for (const [name, opcode] of Object.entries(Opcode)) {
      const command = name.replace(/(?<=.)(?=[A-Z])/g, '_').toUpperCase()
      const lowest = ['reader', 'writer', 'admin'].filter((role) =>
        rows.get(role)?.split(/[ ,]+/).includes(command),
      )
      const required = REQUIRED_RANKS[opcode] ?? 0
      expect(lowest, command).toEqual(required === 0 ? [] : [ROLES[required - 1]])
    }
  })

  test.each([
    ['send frames of at most % bytes', SERVER_DEFAULTS.unauthenticatedFrameBytesMax],
    ['while % bytes of answers wait for it', SERVER_DEFAULTS.unauthenticatedOutputBytesMax],
    ['before authentication, where there must be one, % bytes at either end', UNAUTHENTICATED_BYTES_MAX],
    ['has % seconds, then it is closed', SERVER_DEFAULTS.authTimeoutMs / 1000],
    ['is one of at most %,', SERVER_DEFAULTS.unauthenticatedMax],
    ['at most % come from one address', SERVER_DEFAULTS.unauthenticatedPerAddressMax],
    ['Refuse fewer than % iterations', SCRAM_ITERATIONS_MIN],
    ['than you want to compute (ours: %)', SCRAM_ITERATIONS_MAX],
    ['At most % requests of one connection [wait', SERVER_DEFAULTS.requestsInFlightMax],
    ['It holds back at most % replies for one connection', SERVER_DEFAULTS.requestsInFlightMax],
  ])('the page says "%s"', (text, number) => {
    expect(prose).toContain(text.replace('%', digitsOf(number)))
  })
})

async function expectBytes(
  connection: Connection,
  line: number,
  tokens: readonly string[],
  names: Names,
): Promise<void> {
  const bytes = isFixed(tokens, names)
    ? await connection.take(bytesOf(tokens, names).length)
    : framed(await connection.payload())
  const isRight = matches(bytes, tokens, names)
  expect(isRight ? 'as on the page' : bytes.toString('hex'), `line ${line}: ${tokens.join(' ')}`).toBe(
    'as on the page',
  )
}

const peerDumps = dumpsOf(page, 'peers')

describe('between servers', () => {
  const onPage = peerDumps.flatMap(({ steps }) =>
    steps.flatMap((step) => (step.kind === 'event' ? [] : [{ ...step, bytes: hex(step.tokens.join('')) }])),
  )

  test('two servers say what is on the page, word for word', () => {
    const said = peerDialogue().map(({ by, bytes }) => `${by} ${bytes.toString('hex')}`)
    expect(
      onPage.map(({ kind, bytes }) => `${kind === 'send' ? '>' : '<'} ${bytes.toString('hex')}`),
    ).toEqual(said)
  })

  test('each frame is of the length it says, and an array of as many elements', () => {
    for (const { bytes, line } of onPage) {
      expect(bytes.readUInt32BE(), `line ${line}`).toBe(bytes.length - 4)
      expect(decoded(bytes.subarray(4))[1], `line ${line}`).toBe(0)
    }
  })

  const frameOf = (opcode: number) => {
    const found = onPage.find(({ bytes }) => decoded(bytes.subarray(4))[0] === opcode)
    if (found === undefined) throw new Error(`there is no dump of ${opcode}`)
    return found.bytes
  }
  const readerOf = (opcode: number) => {
    const bytes = frameOf(opcode)
    const reader = new Reader()
    reader.open(bytes, 4, bytes.length)
    return reader
  }
  const written = (write: (writer: Writer) => void) => {
    const writer = new Writer(256)
    write(writer)
    return Buffer.from(writer.bytes.subarray(0, writer.at)).toString('hex')
  }
  const BOOT = '0102030405060708'
  const HLC = 0x497c5ecc00001

  test('HELLO means what its comments say', () => {
    const hello = helloIn(frameOf(PeerOpcode.Hello))
    expect(hello).toMatchObject({
      cluster: 'default',
      label: 'cache-1',
      region: 'eu',
      boot: BOOT,
      channel: 0,
      wallMs: Date.UTC(2030, 0, 1),
      hlc: 0,
      watermark: 0,
      address: '10.0.0.1:11142',
      news: [],
      removed: [],
    })
    expect(written((writer) => writeHello(writer, hello))).toBe(frameOf(PeerOpcode.Hello).toString('hex'))
  })

  test('BATCH, ACK and REWIND too', () => {
    const reader = readerOf(PeerOpcode.Batch)
    expect(readBatchHead(reader)).toEqual({
      boot: BOOT,
      fromSeq: 0,
      toSeq: 2,
      hlc: HLC,
      watermark: 0,
      count: 2,
    })
    const record = emptyRemoteRecord()
    readRecord(reader, BOOT, record)
    const expiresAtMs = Date.UTC(2030, 0, 1, 0, 1)
    expect(record).toMatchObject({
      kind: 0,
      flags: 1,
      hlc: HLC - 1,
      origin: BOOT,
      expiresAtMs,
      lifetimeMs: 60_000,
    })
    expect(textOf(record.key)).toBe('greeting')
    expect(textOf(record.value)).toBe('hello')
    readRecord(reader, BOOT, record)
    expect(record).toMatchObject({ kind: 2, flags: 0, hlc: HLC, expiresAtMs: 0, lifetimeMs: 0 })
    expect(textOf(record.key)).toBe('old')
    expect(readAck(readerOf(PeerOpcode.Ack))).toEqual({
      boot: BOOT,
      seq: 2,
      hlc: HLC,
      watermark: 0,
      declined: [],
    })
    expect(readRewind(readerOf(PeerOpcode.Rewind))).toEqual({ boot: BOOT, seq: 0 })
  })

  test('PING and PONG too', () => {
    const ping = readPing(readerOf(PeerOpcode.Ping))
    expect(ping).toMatchObject({ boot: BOOT, tailSeq: 2, stamp: 6000 })
    expect(ping.vector).toEqual(new Map([['cache-2', { boot: '1112131415161718', hlc: HLC }]]))
    expect(ping.news).toMatchObject([{ label: 'cache-2', address: '10.0.0.2:11142', unseenMs: 1000 }])
    expect(written((writer) => writePing(writer, ping))).toBe(frameOf(PeerOpcode.Ping).toString('hex'))
    const { stamp, wallMs } = readPong(readerOf(PeerOpcode.Pong))
    expect(written((writer) => writePong(writer, stamp, wallMs))).toBe(
      frameOf(PeerOpcode.Pong).toString('hex'),
    )
  })

  test.each(Object.entries(PeerOpcode))('%s stands in the table', (name, opcode) => {
    expect(prose).toContain(`\n| ${opcode} | ${name.replace(/^Round/, '').toUpperCase()} | `)
  })

  test.each([
    ['LIST**: entries of 32 bytes, at most %:', LIST_ENTRIES_MAX],
    ['WANT, PURGE and ASK have at most % numbers', SEQS_MAX],
    ['At most % each.', limits.MEMBERS_MAX],
  ])('the page says "%s"', (text, number) => {
    expect(prose).toContain(text.replace('%', String(number)))
  })
})

function textOf({ bytes, at, length }: { bytes: Uint8Array; at: number; length: number }): string {
  return Buffer.from(bytes.subarray(at, at + length)).toString()
}

const steps = [...dumps, ...authDumps].flatMap((dump) => dump.steps)

test.each(Object.entries(Opcode))('%s has a section and a dump', (name, opcode) => {
  const heading = name.replace(/(?<=.)(?=[A-Z])/g, '_').toUpperCase()
  expect(page).toMatch(new RegExp(`^### .*\\b${heading} \\(${opcode}\\)`, 'm'))
  const sent = steps.filter((step) => step.kind === 'send' && opcodeOf(step) === opcode)
  expect(sent.length).toBeGreaterThan(0)
})

/** The element behind the array's head. */
function opcodeOf(step: Step): number {
  return step.kind === 'event' ? Number.NaN : Number.parseInt(step.tokens[5] ?? '', 16)
}

test.each(Object.entries(Status))('status %s stands in the table', (name, status) => {
  expect(prose).toContain(`\n| ${status} | ${name} | `)
})

test.each(Object.entries(ValueFlags))('value flags %s stand in the table', (name, flags) => {
  expect(prose).toContain(`\n| ${flags} | ${name} | `)
})

const examples = [...page.matchAll(/^(\S.*?) {2,}([0-3]) {3}((?:[0-9a-f]{2} ?)+)$/gm)]

test.each(examples.map(([, value, flags, bytes]) => [value ?? '', Number(flags), bytes ?? ''] as const))(
  'the value %s is stored with flags %i as %s',
  (_, flags, text) => {
    const bytes = hex(text)
    const encoded = encodeValue(decodeValue(bytes, 0, bytes.length, flags))
    const again = Buffer.from(encoded.bytes).subarray(encoded.at, encoded.at + encoded.length)
    expect([encoded.flags, again.toString('hex')]).toEqual([flags, bytes.toString('hex')])
  },
)

test('there are examples for each of the value flags', () => {
  expect(new Set(examples.map(([, , flags]) => flags))).toEqual(new Set(['0', '1', '2', '3']))
})

test('the conditions of SET', () => {
  expect(Condition).toEqual({ None: 0, Absent: 1, Present: 2, Version: 3 })
  expect(prose).toContain('0 none · 1 only if absent · 2 only if present · 3 only if its version')
})

test.each([
  ['TCP port %', limits.DEFAULT_PORT],
  ['# The protocol of ormuco-cache, version %', limits.PROTOCOL_VERSION_MAX],
  ['| key | 1 to % bytes |', limits.KEY_BYTES_MAX],
  ['| value | % bytes by default', limits.VALUE_BYTES_MAX_DEFAULT],
  ['1 byte up to % |', limits.VALUE_BYTES_MAX_CEILING],
  ['| payload of a request | value limit + %;', limits.FRAME_OVERHEAD_BYTES_MAX],
  ['| keys in one request | %, ', limits.KEYS_PER_REQUEST_MAX],
  ['| count of SCAN | 1 to % |', limits.SCAN_COUNT_MAX],
  ['1 to 4096, default % |', limits.SCAN_COUNT_DEFAULT],
  ['| client name | % bytes |', limits.CLIENT_NAME_BYTES_MAX],
  ['| payload of PING | % bytes |', limits.PING_BYTES_MAX],
  ['| request id | 1 to % |', limits.REQUEST_ID_MAX],
  ['| any integer | ±% |', Number.MAX_SAFE_INTEGER],
  ['| ttlMs | 0 to % |', limits.TTL_MS_MAX],
  ['how many other servers should have it before it is answered: 0 to %,', limits.MEMBERS_MAX],
  ['or % for all; default 0', limits.ACKS_ALL],
  ['how long to wait for them; at most %, default', limits.ACKS_TIMEOUT_MS_MAX],
  ['at most 60 000, default % |', limits.ACKS_TIMEOUT_MS_DEFAULT],
  ['A server holds back at most % replies', DEFERRED_MAX],
  ['or % if that is more', limits.REPLY_BYTES_MIN],
  [
    'Before HELLO is answered take % for it',
    limits.VALUE_BYTES_MAX_DEFAULT + limits.FRAME_OVERHEAD_BYTES_MAX,
  ],
  ['bootId bin (%)', limits.BOOT_ID_BYTES],
  ['version bin (%)', limits.VERSION_BYTES],
])('the page says "%s"', (text, number) => {
  expect(prose).toContain(text.replace('%', digitsOf(number)))
})

function digitsOf(number: number): string {
  const isGrouped = number > 9999 && number !== limits.DEFAULT_PORT
  return isGrouped ? number.toLocaleString('en').replaceAll(',', ' ') : String(number)
}
