// What users of redis-cli, memcached and nats type by habit: the same under another name, commands with operands in
// their order, and, for what there is no counterpart, one line on what to do instead. Not in the list of the help, so
// that it stays the shell's own; `help NAME` knows them.

import { SCAN_COUNT_DEFAULT, SCAN_COUNT_MAX } from '../protocol/limits.ts'
import { Condition } from '../protocol/messages.ts'
import {
  prepareStats,
  prepareTtl,
  type Run,
  type ShellCommand,
  shellCommands,
  store,
} from './shell-commands.ts'
import { type CommandInput, UsageError } from './shell-input.ts'
import { keyPattern, readInteger, readTtlInMs, readTtlMs } from './shell-operands.ts'
import { ShellExit } from './shell-outcome.ts'

/** Sections of redis' INFO. */
const INFO_SECTIONS: Readonly<Record<string, string>> = {
  stats: 'cache',
  clients: 'connections',
  keyspace: 'memory',
  commandstats: 'commands',
  cpu: 'eventLoop',
}

function prepareSetex(readTtl: (input: CommandInput, what: string) => number): ShellCommand['prepare'] {
  return (input) => {
    const key = input.word('KEY')
    const ttlMs = readTtl(input, 'time to live')
    const value = input.value()
    input.close()
    return ({ calls }) => store(calls, key, value, ttlMs, Condition.None)
  }
}

function prepareStoreIf(
  condition: typeof Condition.Absent | typeof Condition.Present,
): ShellCommand['prepare'] {
  return (input) => {
    const key = input.word('KEY')
    const value = input.value()
    input.close('; a time to live stands behind EX: set KEY VALUE EX 60 NX')
    return ({ calls }) => store(calls, key, value, undefined, condition)
  }
}

function prepareMset(input: CommandInput): Run {
  const entries: [key: string, value: unknown][] = []
  do entries.push([input.word('KEY'), input.value()])
  while (!input.isDone)
  return async ({ calls }) => {
    for (const [key, value] of entries) await calls.set(key, value, undefined, Condition.None)
    return { kind: 'ok' }
  }
}

function prepareExists(input: CommandInput): Run {
  const keys = input.words('KEY')
  return async ({ calls }) => {
    let value = 0
    for (const key of keys) if ((await calls.inspect(key)) !== undefined) value++
    return { kind: 'value', value, exit: value === keys.length ? ShellExit.Done : ShellExit.Miss }
  }
}

function preparePersist(input: CommandInput): Run {
  const key = input.word('KEY')
  input.close()
  return async ({ calls }) => ({ kind: (await calls.touch(key, 0)) ? 'ok' : 'miss' })
}

function preparePexpire(input: CommandInput): Run {
  const key = input.word('KEY')
  const ttlMs = readTtlInMs(input, 'MS')
  input.close()
  return async ({ calls }) => ({ kind: (await calls.touch(key, ttlMs)) ? 'ok' : 'miss' })
}

function prepareScan(input: CommandInput): Run {
  const cursor = readInteger(input, 'CURSOR')
  if (cursor < 0) throw new UsageError('CURSOR is 0 to begin with, then what the last page said')
  let pattern = keyPattern('')
  let count = SCAN_COUNT_DEFAULT
  for (;;) {
    const word = input.keyword('MATCH', 'COUNT')
    if (word === undefined) break
    if (word === 'MATCH') pattern = keyPattern(input.word('PATTERN'))
    else count = readInteger(input, 'COUNT')
  }
  input.close()
  if (count < 1 || count > SCAN_COUNT_MAX)
    throw new UsageError(`COUNT is 1 to ${SCAN_COUNT_MAX}, got ${count}`)
  return async ({ calls }) => {
    const page = await calls.scan(cursor, pattern.prefix, count)
    return { kind: 'value', value: { cursor: page.cursor, keys: page.keys.filter(pattern.matches) } }
  }
}

function prepareDbsize(input: CommandInput): Run {
  input.close()
  return async ({ calls }) => {
    const { memory } = await calls.stats('memory')
    const isMap = typeof memory === 'object' && memory !== null && 'entries' in memory
    return { kind: 'value', value: isMap ? memory.entries : null }
  }
}

function prepareVersion(input: CommandInput): Run {
  input.close()
  return async ({ calls }) => ({ kind: 'text', text: String((await calls.hello())['serverVersion']) })
}

function prepareRtt(input: CommandInput): Run {
  input.close()
  return async ({ calls }) => {
    // The first one may have to connect.
    await calls.ping()
    const sentMs = performance.now()
    await calls.ping()
    const value = Math.round((performance.now() - sentMs) * 1000) / 1000
    return { kind: 'value', value, shown: `${value} ms` }
  }
}

interface Habit {
  usage: string
  summary: string
  prepare: ShellCommand['prepare']
}

const STORE_IF_USAGE = 'KEY VALUE'

const HABITS: Readonly<Record<string, Habit>> = {
  setex: {
    usage: 'KEY SECONDS VALUE',
    summary: 'set KEY VALUE EX SECONDS',
    prepare: prepareSetex(readTtlMs),
  },
  psetex: { usage: 'KEY MS VALUE', summary: 'set KEY VALUE PX MS', prepare: prepareSetex(readTtlInMs) },
  setnx: { usage: STORE_IF_USAGE, summary: 'set KEY VALUE NX', prepare: prepareStoreIf(Condition.Absent) },
  add: { usage: STORE_IF_USAGE, summary: 'set KEY VALUE NX', prepare: prepareStoreIf(Condition.Absent) },
  replace: { usage: STORE_IF_USAGE, summary: 'set KEY VALUE XX', prepare: prepareStoreIf(Condition.Present) },
  mset: { usage: 'KEY VALUE [KEY VALUE]...', summary: 'set, several times', prepare: prepareMset },
  exists: { usage: 'KEY...', summary: 'how many of the keys there are', prepare: prepareExists },
  pexpire: { usage: 'KEY MS', summary: 'touch, in milliseconds', prepare: preparePexpire },
  persist: { usage: 'KEY', summary: 'touch KEY never', prepare: preparePersist },
  pttl: { usage: 'KEY', summary: 'ttl, in milliseconds', prepare: prepareTtl(1000) },
  scan: {
    usage: 'CURSOR [MATCH PATTERN] [COUNT N]',
    summary: 'one page of keys; the next cursor is 0 at the end',
    prepare: prepareScan,
  },
  info: {
    usage: '[SECTION]',
    summary: 'stats [SECTION]',
    prepare: (input) => prepareStats(input, INFO_SECTIONS),
  },
  dbsize: { usage: '', summary: 'entries, of stats memory', prepare: prepareDbsize },
  version: { usage: '', summary: 'the version of the server', prepare: prepareVersion },
  rtt: { usage: '', summary: 'how long a request and its reply take, in milliseconds', prepare: prepareRtt },
}

/** What is called otherwise there; operands are those of our command. */
const ALIASES: Readonly<Record<string, string>> = {
  mget: 'get',
  put: 'set',
  delete: 'del',
  unlink: 'del',
  rm: 'del',
  expire: 'touch',
  incrby: 'incr',
  decrby: 'decr',
  ls: 'keys',
  flushall: 'clear',
  flushdb: 'clear',
  flush_all: 'clear',
  exit: 'quit',
}

const ONE_VALUE = 'a value is any JSON, read and written as a whole: set KEY '

/** What has no counterpart, and what to do instead. */
const ADVICE: readonly (readonly [names: string, advice: string])[] = [
  [
    'replicaof slaveof',
    'every server takes writes; they find each other by start-server --peers; peers lists them',
  ],
  [
    'role cluster',
    'every server takes writes and holds everything; peers lists the others, hello tells of this one',
  ],
  ['wait waitaof', 'set KEY VALUE ACKS N waits for that write; lag shows how far the others are'],
  [
    'failover',
    'there is no primary: ask another server; peers forget NODE removes one that is gone for good',
  ],
  ['select swapdb move', 'there is one keyspace: give your keys a prefix, such as app1:my-key'],
  ['hset hget hgetall hmset hmget hdel hincrby hkeys hvals hlen hexists', `${ONE_VALUE}{"field": 1}`],
  ['lpush rpush lpop rpop lrange llen blpop brpop linsert lindex', `${ONE_VALUE}[1, 2, 3]`],
  ['sadd srem smembers sismember scard zadd zrange zrem zscore zrank', `${ONE_VALUE}["a", "b"]`],
  ['xadd xread xrange pfadd pfcount setbit getbit geoadd json.set json.get', `${ONE_VALUE}{"any": "JSON"}`],
  ['append prepend setrange getrange substr', 'a value is written as a whole: get KEY, then set KEY VALUE'],
  [
    'subscribe psubscribe unsubscribe publish pub sub',
    'there are no messages here, only values: set and get',
  ],
  [
    'multi exec discard watch unwatch',
    'each command is atomic by itself; make it conditional with set ... NX or XX',
  ],
  ['eval evalsha script fcall function', 'the server runs no scripts; pipe commands into cache-shell'],
  ['gets cas', 'versions are for programs: store(key, value, { if: { version } }) of the client'],
  ['getset getdel getex', 'get KEY, and then set, del or touch it'],
  ['rename renamenx copy', 'get KEY, set the other one, del KEY'],
  ['type object strlen memory debug', 'inspect KEY shows encoding, size and version; stats memory the whole'],
  ['expireat pexpireat', 'touch KEY SECONDS, counted from now'],
  ['incrbyfloat', 'counters are integers: incr KEY [N]'],
  ['randomkey', 'keys lists them'],
  ['config', 'the configuration is set at start: start-server --print-config shows it'],
  ['client', 'stats connections counts them'],
  [
    'monitor slowlog latency',
    'stats commands and stats eventLoop count; --trace shows every frame of this shell',
  ],
  ['save bgsave lastsave bgrewriteaof dump restore migrate', 'a cache keeps nothing on disk'],
  ['shutdown', 'SIGTERM ends a server, after it has drained'],
  ['echo', 'ping asks the server for a sign of life'],
  ['kv', 'there are no buckets: put KEY VALUE, get KEY, ls, rm KEY'],
]

function aliasCommand(name: string, target: string): ShellCommand {
  const command = shellCommands.find((command) => command.name === target)
  if (command === undefined) throw new Error(`the alias ${name} names no command`)
  return { ...command, name, summary: `the same as ${target}` }
}

function adviceCommand(name: string, advice: string): ShellCommand {
  return {
    name,
    usage: '',
    summary: `not here: ${advice}`,
    prepare() {
      throw new UsageError(`${name.toUpperCase()}: ${advice}`)
    },
  }
}

/** Commands that work, under the names they have elsewhere. */
export const habitCommands: readonly ShellCommand[] = [
  ...Object.entries(ALIASES).map(([name, target]) => aliasCommand(name, target)),
  ...Object.entries(HABITS).map(([name, habit]) => ({ name, ...habit })),
]

/** Commands that only say what to do instead. */
export const adviceCommands: readonly ShellCommand[] = ADVICE.flatMap(([names, advice]) =>
  names.split(' ').map((name) => adviceCommand(name, advice)),
)
