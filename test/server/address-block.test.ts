// Which addresses count as one.

import { expect, test } from 'vitest'
import { blockIn, blockOf } from '../../server/address-block.ts'

test.each([
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002:0003:0004:0005:0006', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
  ['2001:db8:1:3::1', '2001:db8:1:3::/64'],
  ['2001:db8::3:4:5:6', '2001:db8::/64'],
  ['2001:db8::1', '2001:db8::/64'],
  ['2001:db8::2:3:4:5:6', '2001:db8:0:2::/64'],
  ['2001:db8:0:0:1::', '2001:db8::/64'],
  ['::2:3:4:5', '::/64'],
  ['::3:2:3:4:5', '0:0:0:3::/64'],
  ['::', '::/64'],
  ['::2', '::/64'],
  ['64:ff9b::192.0.2.1', '64:ff9b::/64'],
  ['fe80::1%eth0', 'fe80::%eth0/64'],
  ['fe80::abcd:1%eth0', 'fe80::%eth0/64'],
  ['fe80::1%eth1', 'fe80::%eth1/64'],
  ['::1', '::1'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::FFFF:c000:202', '192.0.2.2'],
  ['0:0:0:0:0:ffff:192.0.2.3', '192.0.2.3'],
  ['192.0.2.1', '192.0.2.1'],
  ['memory', 'memory'],
  ['', ''],
])('%j counts as %j', (address, block) => {
  expect(blockOf(address)).toBe(block)
})

test('the port does not count', () => {
  expect(blockIn('2001:db8:1:2::1:50000')).toBe('2001:db8:1:2::/64')
  expect(blockIn('fe80::1%eth0:50000')).toBe('fe80::%eth0/64')
  expect(blockIn('::1:50000')).toBe('::1')
  expect(blockIn('192.0.2.1:50000')).toBe('192.0.2.1')
  expect(blockIn('somewhere')).toBe('somewhere')
})
