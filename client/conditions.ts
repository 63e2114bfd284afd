// The condition of a `store`, as an operand.

import { Condition } from '../protocol/messages.ts'
import type { StoreOptions } from './calls.ts'
import { versionBytes } from './keys.ts'

/** `version` are its bytes where the condition is one. Throws TypeError for what is no condition. */
export function conditionOf(wanted: StoreOptions['if']): {
  condition: Condition
  version: Buffer | undefined
} {
  if (wanted === undefined) return { condition: Condition.None, version: undefined }
  if (wanted === 'absent') return { condition: Condition.Absent, version: undefined }
  if (wanted === 'present') return { condition: Condition.Present, version: undefined }
  if (typeof wanted === 'object' && wanted !== null && 'version' in wanted)
    return { condition: Condition.Version, version: versionBytes(wanted.version) }
  throw new TypeError(`if: ${String(wanted)} is not possible; allowed: 'absent', 'present', { version }`)
}
