// The total order of versions: which of two records of a key wins. Pure.
//
//   later hybrid logical clock > greater boot id of the origin > a tombstone before a value
//
// Two versions of one origin never share a clock reading, so the last step decides only between a value and the
// tombstone that was made of exactly it. A ghost is its value's version without the bytes: neither beats the other.

import type { BootId } from '../origins.ts'
import { RecordKind } from '../store/store.ts'

/** Whether the first version wins over the second. */
export function isNewer(
  hlc: number,
  origin: BootId,
  kind: RecordKind,
  thanHlc: number,
  thanOrigin: BootId,
  thanKind: RecordKind,
): boolean {
  if (hlc !== thanHlc) return hlc > thanHlc
  if (origin !== thanOrigin) return origin > thanOrigin
  return kind === RecordKind.Tombstone && thanKind !== RecordKind.Tombstone
}
