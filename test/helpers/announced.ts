// An announcement for tests and the fuzzer to spoil.

import type { Announcement } from '../../server/announcement.ts'

/** An announcement as good as any, and a secret to prove it with. */
export const ANNOUNCED: Announcement = {
  cluster: 'default',
  label: 'cache-1',
  boot: '00ff123456789abc',
  host: '192.0.2.7',
  port: 11_142,
  wallMs: 1_790_000_000_123,
}
export const SECRET = Buffer.from('a secret of the cluster')
