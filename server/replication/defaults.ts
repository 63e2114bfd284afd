// The durations and budgets of replication, and their reasons. The rules themselves know none of these numbers.

import type { ReplicationOptions } from './replica.ts'

/** How far apart the servers are: the window and the timeouts follow from it. */
export const NETWORK_PRESETS = ['local', 'lan', 'wan'] as const
export type NetworkPreset = (typeof NETWORK_PRESETS)[number]

const MIB = 1024 * 1024
const SECOND_MS = 1000
const HOUR_MS = 3600 * SECOND_MS
/** Part of the memory limit that ghosts and tombstones may take. */
const MARKER_SHARE = 0.05

export function replicationDefaults(preset: NetworkPreset, memoryBytes: number): ReplicationOptions {
  return {
    // NTP keeps servers within tens of ms; seconds are a broken clock, and its stamps would win over everybody's.
    skewMsMax: 5 * SECOND_MS,
    skewMsWarn: 500,
    // Longer than a frame can be late: a silent link is dead after 5 s.
    graceMs: 15 * SECOND_MS,
    // What is away for longer pays with a full round.
    markerRetentionMs: 24 * HOUR_MS,
    markerBytesMax: Math.floor(memoryBytes * MARKER_SHARE),
    // Two seconds of 64 Mbit/s across an ocean; on one network far less is ever on its way.
    windowBytes: preset === 'wan' ? 16 * MIB : 2 * MIB,
    pingMs: SECOND_MS,
    roundMs: 10 * SECOND_MS,
    memberForgetMs: 24 * HOUR_MS,
    refusedRetryMs: 5 * SECOND_MS,
  }
}
