// PROTOCOL.md tells the truth: every dump on the page is replayed against a real server, and the numbers on the page
// are those of messages.ts and limits.ts.

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as limits from '../../protocol/limits.ts'
import { Condition, Opcode, Status, ValueFlags } from '../../protocol/messages.ts'
import { decodeValue, encodeValue } from '../../protocol/value.ts'
import { bytesOf, dumpsOf, isFixed, matches, type Names, type Step } from '../helpers/dumps.ts'
import { framed, hex } from '../helpers/frames.ts'
import { type Connection, connect, SURROUNDINGS, startServer } from '../helpers/server.ts'

const page = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')
const dumps = dumpsOf(page)
/** Tables are padded so that their columns stand in line. */
const prose = page.replace(/ +/g, ' ')

describe.each(SURROUNDINGS)('replayed, $store store, $wire', ({ store, wire }) => {
  test('every dump, in the order of the page', async () => {
    const server = await startServer({ store })
    const names: Names = new Map()
    for (const { steps } of dumps) {
      const connection = await connect(server, wire)
      for (const step of steps) {
        if (step.kind === 'send') connection.send(bytesOf(step.tokens, names))
        else if (step.kind === 'expect') await expectBytes(connection, step.line, step.tokens, names)
        else if (step.what === 'the server is told to stop') void server.close()
        else {
          expect(step.what, `line ${step.line}`).toBe('the server closes the connection')
          expect((await connection.rest()).toString('hex'), `after line ${step.line}`).toBe('')
        }
      }
      connection.transport.destroy()
    }
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

const steps = dumps.flatMap((dump) => dump.steps)

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
  ['or % if that is more', limits.REPLY_BYTES_MIN],
  [
    'Before HELLO is answered take % for it',
    limits.VALUE_BYTES_MAX_DEFAULT + limits.FRAME_OVERHEAD_BYTES_MAX,
  ],
  ['bootId bin (%)', limits.BOOT_ID_BYTES],
  ['version bin (%)', limits.VERSION_BYTES],
])('the page says "%s"', (text, number) => {
  const grouped = number > 9999 && number !== limits.DEFAULT_PORT
  const digits = grouped ? number.toLocaleString('en').replaceAll(',', ' ') : String(number)
  expect(prose).toContain(text.replace('%', digits))
})
