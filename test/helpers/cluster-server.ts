// A server as a process, with options that start-server has no flags for (the durations and budgets of replication), as
// JSON in its one argument. Otherwise as start-server: the ready line, logs as JSON on standard error, SIGTERM drains.

import { createLogger } from '../../bin/logger.ts'
import type { ServerOptions } from '../../server/options.ts'
import { OrmucoCacheServer } from '../../server/server.ts'

const options: ServerOptions = JSON.parse(process.argv[2] ?? '{}')
const server = new OrmucoCacheServer({ ...options, logger: createLogger('info', 'json') })
process.on('SIGTERM', () => void server.close().then(() => process.exit(0)))
const { port } = await server.start()
process.stdout.write(`Server listens on port ${port}\n`)
