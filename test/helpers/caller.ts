// A program that uses the client, for tests with several processes: does the calls of its argument one after another,
// prints each result as a line of JSON, and closes. Its servers come from the environment, as with any program.
//
//   caller.ts '[["store","k",1],["retrieve","k"]]'

import { OrmucoCacheClient } from '../../client/index.ts'

const calls: [method: string, ...args: unknown[]][] = JSON.parse(process.argv[2] ?? '[]')
const client = new OrmucoCacheClient({ timeoutMs: 15_000 })
for (const [method, ...args] of calls) {
  const call: unknown = Reflect.get(client, method)
  if (typeof call !== 'function') throw new TypeError(`the client has no method ${method}`)
  const result: unknown = await Reflect.apply(call, client, args)
  process.stdout.write(`${JSON.stringify(result ?? null)}\n`)
}
await client.close()
