// The shell's own commands, one entry each: its help, what Tab may offer, and how its words become requests.
//
// Between what was typed and the calls to a server. A command reads all its words before it does anything: a line that
// is wrong sends nothing, and a command that is repeated is read once.

import { ACKS_ALL, MEMBERS_MAX } from '../protocol/limits.ts'
import { Condition, Opcode } from '../protocol/messages.ts'
import type { ServerCalls } from './shell-calls.ts'
import { FrameWords } from './shell-frames.ts'
import { type CommandInput, UsageError } from './shell-input.ts'
import { keyPattern, readInteger, readRawBytes, readTtlInMs, readTtlMs } from './shell-operands.ts'
import { type Outcome, ShellExit } from './shell-outcome.ts'
import type { Column } from './shell-table.ts'

/** What a command may use while it runs. */
export interface CommandContext {
  readonly calls: ServerCalls
  /** Asks whoever sits there; undefined where nobody does, or where the answer was given by -y. */
  readonly confirm: ((question: string) => Promise<boolean>) | undefined
  /** Asks for a password, which is not shown; gives undefined if there is none. Undefined where nobody can be asked. */
  readonly askPassword: AskPassword | undefined
}

export type AskPassword = (question: string) => Promise<string | undefined>

export type Run = (context: CommandContext) => Promise<Outcome>

export interface ShellCommand {
  readonly name: string
  /** Its operands. */
  readonly usage: string
  readonly summary: string
  /** More to know, in lines. */
  readonly notes?: readonly string[]
  /** What Tab offers for the operand at `position`, counted from 0. */
  offers?(position: number): 'keys' | readonly string[]
  /** Reads the operands. Throws UsageError. */
  prepare(input: CommandInput): Run
}

const OK: Outcome = { kind: 'ok' }
const MISS: Outcome = { kind: 'miss' }

export const STATS_SECTIONS = [
  'server',
  'memory',
  'cache',
  'commands',
  'connections',
  'network',
  'replication',
  'peers',
  'eventLoop',
] as const

/** What a write may be conditional on here. */
type StoreCondition = typeof Condition.None | typeof Condition.Absent | typeof Condition.Present

const NOT_STORED = {
  [Condition.None]: 'the server did not say why',
  [Condition.Absent]: 'the key has a value',
  [Condition.Present]: 'the key has no value',
} as const

/** Stores, and says why if not. */
export async function store(
  calls: ServerCalls,
  key: string,
  value: unknown,
  ttlMs: number | undefined,
  condition: StoreCondition,
  wanted = 0,
): Promise<Outcome> {
  const stored = await calls.set(key, value, ttlMs, condition, wanted)
  if (stored === undefined) return { kind: 'not-done', label: 'not stored', text: NOT_STORED[condition] }
  if (wanted === 0) return OK
  return { kind: 'acknowledged', ...stored, wanted: wanted === ACKS_ALL ? stored.awaited : wanted }
}

interface StoreWords {
  ttlMs: number | undefined
  condition: StoreCondition
  acks: number
}

function readStoreOptions(input: CommandInput): StoreWords {
  let ttlMs: number | undefined
  let condition: StoreCondition = Condition.None
  let acks = 0
  for (;;) {
    const word = input.keyword('EX', 'PX', 'NX', 'XX', 'ACKS')
    if (word === undefined) return { ttlMs, condition, acks }
    if (word === 'ACKS') {
      if (acks !== 0) throw new UsageError('there is one ACKS')
      acks = readAcks(input)
    } else if (word === 'EX' || word === 'PX') {
      if (ttlMs !== undefined) throw new UsageError('there is one time to live, by EX or by PX')
      ttlMs = word === 'EX' ? readTtlMs(input, 'EX') : readTtlInMs(input, 'PX')
    } else {
      if (condition !== Condition.None) throw new UsageError('there is one condition, NX or XX')
      condition = word === 'NX' ? Condition.Absent : Condition.Present
    }
  }
}

function readAcks(input: CommandInput): number {
  if (input.keyword('all') !== undefined) return ACKS_ALL
  const acks = readInteger(input, 'ACKS')
  if (acks >= 1 && acks <= MEMBERS_MAX) return acks
  throw new UsageError(`ACKS ${acks} is not possible; allowed: 1 to ${MEMBERS_MAX}, or all`)
}

const set: ShellCommand = {
  name: 'set',
  usage: 'KEY VALUE [EX SECONDS | PX MS] [NX | XX] [ACKS N | all]',
  summary: 'store a value',
  notes: [
    'VALUE is JSON as long as it goes, else one word, stored as a string: set a [1, 2], set b "two words".',
    'EX, PX: time to live; EX takes 90, 1.5, 5m, 1h or never. Left out, it is the default of the server.',
    'NX stores only if there is no such key, XX only if there is one; otherwise (not stored), exit code 1.',
    'ACKS waits until N other servers have it, or all that there are, and says how many; fewer: exit code 1.',
  ],
  offers: (position) => (position === 0 ? 'keys' : position === 1 ? [] : ['EX', 'PX', 'NX', 'XX', 'ACKS']),
  prepare(input) {
    const key = input.word('KEY')
    const value = input.value()
    const { ttlMs, condition, acks } = readStoreOptions(input)
    input.close('; several words stand in quotes, a time to live behind EX: set a "two words" EX 60')
    return ({ calls }) => store(calls, key, value, ttlMs, condition, acks)
  },
}

const get: ShellCommand = {
  name: 'get',
  usage: 'KEY...',
  summary: 'show the values of keys',
  offers: () => 'keys',
  prepare(input) {
    const keys = input.words('KEY')
    return async ({ calls }) => {
      const found: ({ value: unknown } | undefined)[] = []
      for (const key of keys) found.push(await calls.get(key))
      const [only] = found
      if (keys.length > 1) return { kind: 'values', keys, found }
      return only === undefined ? MISS : { kind: 'value', value: only.value }
    }
  },
}

const del: ShellCommand = {
  name: 'del',
  usage: 'KEY...',
  summary: 'delete keys',
  notes: ['Of one key: OK or (miss). Of several: how many there were.'],
  offers: () => 'keys',
  prepare(input) {
    const keys = input.words('KEY')
    return async ({ calls }) => {
      const deleted = await calls.delete(keys)
      const value = deleted.filter(Boolean).length
      if (keys.length === 1) return value === 1 ? OK : MISS
      return { kind: 'value', value, exit: value === keys.length ? ShellExit.Done : ShellExit.Miss }
    }
  },
}

const touch: ShellCommand = {
  name: 'touch',
  usage: 'KEY SECONDS',
  summary: 'give a value a new time to live',
  notes: ['SECONDS: 90, 1.5, 5m, 1h or never.'],
  offers: (position) => (position === 0 ? 'keys' : []),
  prepare(input) {
    const key = input.word('KEY')
    const ttlMs = readTtlMs(input, 'SECONDS')
    input.close()
    return async ({ calls }) => ((await calls.touch(key, ttlMs)) ? OK : MISS)
  },
}

const ttl: ShellCommand = {
  name: 'ttl',
  usage: 'KEY',
  summary: 'show how long a value lives on, in seconds',
  notes: ['Leaves the LRU order alone. As JSON, null says that it does not expire.'],
  offers: (position) => (position === 0 ? 'keys' : []),
  prepare: prepareTtl(1),
}

/** `factor`: 1 for seconds, 1000 for ms. */
export function prepareTtl(factor: 1 | 1000): ShellCommand['prepare'] {
  return (input) => {
    const key = input.word('KEY')
    input.close()
    return async ({ calls }) => {
      const entry = await calls.inspect(key)
      if (entry === undefined) return MISS
      if (entry.ttlSeconds === null) return { kind: 'value', value: null, shown: '(does not expire)' }
      return { kind: 'value', value: factor === 1 ? entry.ttlSeconds : Math.round(entry.ttlSeconds * 1000) }
    }
  }
}

const incr = addition('incr', Opcode.Increment, 'add to')
const decr = addition('decr', Opcode.Decrement, 'subtract from')

function addition(
  name: string,
  opcode: typeof Opcode.Increment | typeof Opcode.Decrement,
  verb: string,
): ShellCommand {
  return {
    name,
    usage: 'KEY [N]',
    summary: `${verb} an integer, 1 unless told otherwise`,
    notes: ['Shows the new number. A key that is not there counts as 0; the time to live stays.'],
    offers: (position) => (position === 0 ? 'keys' : []),
    prepare(input) {
      const key = input.word('KEY')
      const by = input.isDone ? 1 : readInteger(input, 'N')
      input.close()
      return async ({ calls }) => ({ kind: 'value', value: await calls.add(opcode, key, by) })
    },
  }
}

const inspect: ShellCommand = {
  name: 'inspect',
  usage: 'KEY',
  summary: 'show encoding, size, version and time to live of a value',
  notes: ['Leaves the LRU order alone.'],
  offers: (position) => (position === 0 ? 'keys' : []),
  prepare(input) {
    const key = input.word('KEY')
    input.close()
    return async ({ calls }) => {
      const entry = await calls.inspect(key)
      return entry === undefined ? MISS : { kind: 'facts', facts: { ...entry } }
    }
  },
}

const keys: ShellCommand = {
  name: 'keys',
  usage: '[PREFIX]',
  summary: 'list keys',
  notes: [
    'With * (any characters) or ? (one) in it, PREFIX is a pattern for the whole key; a \\ before these makes them plain.',
    'Pages through the server, which goes on serving: a key that is there all the time is listed, possibly twice.',
  ],
  offers: (position) => (position === 0 ? 'keys' : []),
  prepare(input) {
    const pattern = keyPattern(input.isDone ? '' : input.word('PREFIX'))
    input.close()
    return async ({ calls }) => ({
      kind: 'keys',
      pages: filtered(calls.pages(pattern.prefix), pattern.matches),
    })
  },
}

async function* filtered(
  pages: AsyncIterable<string[]>,
  matches: (key: string) => boolean,
): AsyncGenerator<string[], void, undefined> {
  for await (const page of pages) yield page.filter(matches)
}

const stats: ShellCommand = {
  name: 'stats',
  usage: '[SECTION]',
  summary: 'show statistics of the server',
  notes: [`SECTION: ${STATS_SECTIONS.join(', ')}.`],
  offers: (position) => (position === 0 ? STATS_SECTIONS : []),
  prepare: (input) => prepareStats(input, {}),
}

/** `names`: sections that are called otherwise elsewhere. */
export function prepareStats(input: CommandInput, names: Readonly<Record<string, string>>): Run {
  const section = input.isDone ? undefined : input.word('SECTION')
  input.close()
  const lower = section?.toLowerCase() ?? ''
  const known = STATS_SECTIONS.find((name) => name.toLowerCase() === lower)
  return async ({ calls }) => ({ kind: 'facts', facts: await calls.stats(known ?? names[lower] ?? section) })
}

const PEER_COLUMNS: readonly Column[] = [
  { name: 'nodeId', title: 'node' },
  { name: 'state', title: 'state' },
  { name: 'region', title: 'region' },
  { name: 'lagMs', title: 'lag ms' },
  { name: 'lagRecords', title: 'records' },
  { name: 'skewMs', title: 'skew ms' },
  { name: 'roundTripMs', title: 'trip ms' },
  { name: 'reconnects', title: 'reconnects' },
  { name: 'address', title: 'address' },
  { name: 'lastError', title: 'last error' },
]

const peers: ShellCommand = {
  name: 'peers',
  usage: '[forget NODE]',
  summary: 'show the other servers of the cluster, or remove one',
  notes: [
    'Lag is what this server has and that one has not acknowledged; --json shows bytes and sequence numbers too.',
    'A server that is gone stays a member for a day, and others keep for it what it missed; forget NODE ends that:',
    'all servers hear of it, and that one may come back only empty, as after a restart.',
  ],
  offers: (position) => (position === 0 ? ['forget'] : []),
  prepare(input) {
    const nodeId = input.keyword('forget') === undefined ? undefined : input.word('NODE')
    input.close('; peers, or peers forget NODE')
    return async ({ calls }) => {
      if (nodeId !== undefined) return (await calls.forget(nodeId)) ? OK : MISS
      const rows = await calls.others(Opcode.Peers)
      return { kind: 'table', rows, columns: PEER_COLUMNS, empty: 'no other servers' }
    }
  },
}

const LAG_COLUMNS: readonly Column[] = [
  { name: 'nodeId', title: 'node' },
  { name: 'state', title: 'state' },
  { name: 'lagMs', title: 'lag ms' },
  { name: 'lagRecords', title: 'records' },
  { name: 'ackedSeq', title: 'acked' },
  { name: 'tailSeq', title: 'tail' },
]

const lag: ShellCommand = {
  name: 'lag',
  usage: '',
  summary: 'show how far the other servers are behind this one',
  prepare(input) {
    input.close()
    return async ({ calls }) => {
      const rows = await calls.others(Opcode.Lag)
      return { kind: 'table', rows, columns: LAG_COLUMNS, empty: 'no other servers' }
    }
  },
}

const clear: ShellCommand = {
  name: 'clear',
  usage: '[-y]',
  summary: 'delete everything on the server',
  notes: ['Asks before it does so on a terminal, unless -y is given.'],
  offers: (position) => (position === 0 ? ['-y'] : []),
  prepare(input) {
    input.close()
    return async ({ calls, confirm }) => {
      if (confirm !== undefined && !(await confirm(`Delete everything on ${calls.server}? [y/N] `)))
        return { kind: 'not-done', label: 'not cleared', text: 'nothing was deleted' }
      await calls.clear()
      return OK
    }
  },
}

const hello: ShellCommand = {
  name: 'hello',
  usage: '',
  summary: 'show who the server is and what it accepts',
  prepare(input) {
    input.close()
    return async ({ calls }) => ({ kind: 'facts', facts: await calls.hello() })
  },
}

const ping: ShellCommand = {
  name: 'ping',
  usage: '',
  summary: 'ask the server for a sign of life',
  prepare(input) {
    input.close()
    return async ({ calls }) => {
      await calls.ping()
      return { kind: 'text', text: 'PONG' }
    }
  },
}

const raw: ShellCommand = {
  name: 'raw',
  usage: 'HEX',
  summary: 'send bytes as they are, and show the frames that come back',
  notes: [
    'Bytes that begin with an array, as the inside of a frame does, get their length in front: raw 92 02 07 is a PING.',
    'Anything else is sent as it stands, right or wrong: raw 00000003920207 is the same PING.',
  ],
  prepare(input) {
    const { bytes, frames } = readRawBytes(input)
    return async ({ calls }) => {
      const words = new FrameWords()
      for (const frame of frames) words.describe('sent', frame)
      const replies = await calls.raw(bytes, Math.max(1, frames.length))
      const described = replies.frames.map((bytes) => ({ bytes, meaning: words.describe('received', bytes) }))
      return { kind: 'frames', frames: described, closed: replies.closed }
    }
  },
}

const quit: ShellCommand = {
  name: 'quit',
  usage: '',
  summary: 'leave the shell',
  prepare(input) {
    input.close()
    return async () => ({ kind: 'quit' })
  },
}

/** In the order of the help. */
export const shellCommands: readonly ShellCommand[] = [
  set,
  get,
  del,
  touch,
  ttl,
  incr,
  decr,
  keys,
  inspect,
  stats,
  peers,
  lag,
  clear,
  ping,
  hello,
  raw,
  quit,
]
