// What `ormuco-cache/server` gives.

export { type Logger, OptionError, type ServerOptions, type StoreKind } from './options.ts'
export { type Address, OrmucoCacheServer } from './server.ts'
export type { ServerStats } from './statistics.ts'
