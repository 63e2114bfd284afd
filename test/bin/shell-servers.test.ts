// Which server the shell talks to, by flags and variables.

import { describe, expect, test } from 'vitest'
import { CommandFailure } from '../../bin/program.ts'
import { type ServerFlags, shellServers } from '../../bin/shell-servers.ts'

describe('flags beat variables', () => {
  test.each<[flags: ServerFlags, environment: Record<string, string>, servers: string]>([
    [{}, {}, 'localhost 11142'],
    [{ host: 'a' }, {}, 'a 11142'],
    [{ port: 5 }, {}, 'localhost 5'],
    [{ host: '::1', port: 5 }, {}, '::1 5'],
    [{ server: 'a:5' }, {}, 'a 5'],
    [{ server: 'a' }, {}, 'a 11142'],
    [{ server: 'a:5,[::1]:6' }, {}, 'a 5, ::1 6'],
    [{}, { SERVER_HOST: 'a' }, 'a 11142'],
    [{}, { SERVER_HOST: 'a', SERVER_PORT: '7' }, 'a 7'],
    [{}, { SERVER_PORT: '7' }, 'localhost 7'],
    [{}, { SERVERS: 'a:1,b:2', SERVER_HOST: 'c' }, 'a 1, b 2'],
    [{ host: 'd' }, { SERVERS: 'a:1', SERVER_PORT: '7' }, 'd 7'],
    [{ port: 5 }, { SERVER_HOST: 'a', SERVER_PORT: '7' }, 'a 5'],
    [{ server: 'b:9' }, { SERVER_HOST: 'a', SERVER_PORT: '7' }, 'b 9'],
    [{ port: 5 }, { SERVER_HOST: ' ' }, 'localhost 5'],
    [{ host: 'a' }, { SERVER_PORT: 'tcp://10.0.0.1:11142' }, 'a 11142'],
  ])('%j %j', (flags, environment, servers) => {
    const texts = shellServers(flags, environment).map(({ host, port }) => `${host} ${port}`)
    expect(texts.join(', ')).toBe(servers)
  })
})

test.each<[flags: ServerFlags, environment: Record<string, string>, message: string | RegExp]>([
  [{ server: 'a:1', port: 5 }, {}, '--server says what --host and --port say: give one or the other'],
  [{ server: 'a:x' }, {}, /"a:x" is not host:port/],
  [{}, { SERVER_PORT: 'x' }, /is not host:port/],
  [{}, { SERVER_HOST: 'a', SERVER_PORT: '70000' }, /is not host:port/],
])('%j %j is refused', (flags, environment, message) => {
  expect(() => shellServers(flags, environment)).toThrow(CommandFailure)
  expect(() => shellServers(flags, environment)).toThrow(message)
})
