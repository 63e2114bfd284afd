// Which Node.js releases are warned about.

import { expect, test } from 'vitest'
import { patchedRelease } from '../../bin/node-version.ts'

test.each([
  ['20.19.0', '20.20.2'],
  ['20.20.1', '20.20.2'],
  ['20.20.2', undefined],
  ['20.21.0', undefined],
  ['21.7.3', '22.22.2'],
  ['22.9.9', '22.22.2'],
  ['22.22.2', undefined],
  ['23.11.0', '24.14.1'],
  ['24.14.0', '24.14.1'],
  ['24.14.1', undefined],
  ['24.14.1-nightly', undefined],
  ['26.0.0', undefined],
])('%s → %s', (version, release) => {
  expect(patchedRelease(version)).toBe(release)
})
