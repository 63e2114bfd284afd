// Schemas: what a value must look like for its reader. Between the client, which has a value, and a schema of the
// caller's, which says whether it is one; a value that does not fit is a miss.

import type { StandardSchemaV1 } from './calls.ts'
import type { ClientCounters } from './ends.ts'

/** The value as the schema puts it out; undefined, and counted, if it does not fit. */
export async function fitting<T>(
  found: unknown,
  schema: StandardSchemaV1<unknown, T>,
  counters: ClientCounters,
): Promise<T | undefined> {
  const value = await found
  if (value === undefined) return undefined
  const result = await schema['~standard'].validate(value)
  if (result.issues === undefined) return result.value
  counters.schemaMismatches++
  return undefined
}
