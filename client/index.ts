// What `ormuco-cache` gives.

export type { Credentials, CredentialsSource } from '../protocol/authentication.ts'
export { CacheError, type CacheErrorCode } from '../protocol/errors.ts'
export type { AcksWanted } from './acks.ts'
export type {
  CallOptions,
  DeleteOptions,
  Entry,
  IncrementOptions,
  Lookup,
  ReadOptions,
  ServerStats,
  StandardSchemaV1,
  Stored,
  StoreOptions,
  Version,
} from './calls.ts'
export { type ClientEvents, OrmucoCacheClient } from './client.ts'
export type { ClientCounters } from './ends.ts'
export { LruCache, type LruCacheOptions } from './lru-cache.ts'
export type { ClientOptions, OnUnavailable, StandaloneOptions } from './options.ts'
