// Whose an address is, as far as it can be told from it: the unit in which limits and counters take addresses.
//
// Between those who count strangers and the text of an address. Whoever has one IPv6 address has, as a rule, all 2^64
// that begin alike: they count as one. IPv4, also in the clothes of IPv6, counts by whole addresses.

import { isIPv6 } from 'node:net'
import { addressIn } from './repeats.ts'

const GROUPS = 8
/** 64 bits. */
const BLOCK_GROUPS = 4

/** Of an `address:port`, what its address counts as: a block such as `2001:db8:0:1::/64`, or the address. */
export function blockIn(remote: string): string {
  return blockOf(addressIn(remote))
}

/** Of an address, as Node writes it or any other way. A zone stays: `fe80::%eth0/64`. What is no address stays as it is. */
export function blockOf(address: string): string {
  if (!isIPv6(address)) return address
  const [plain = '', zone] = address.split('%')
  const groups = groupsOf(plain)
  const isZeroUpTo = (end: number) => groups.slice(0, end).every((group) => group === 0)
  if (isZeroUpTo(5) && groups[5] === 0xffff) return dotted(groups.slice(6))
  if (isZeroUpTo(GROUPS - 1) && groups[GROUPS - 1] === 1) return '::1'
  const block = groups.slice(0, BLOCK_GROUPS)
  while (block.at(-1) === 0) block.pop()
  return `${block.map((group) => group.toString(16)).join(':')}::${zone === undefined ? '' : `%${zone}`}/64`
}

/** All of an IPv6 address, however it is written. */
function groupsOf(address: string): number[] {
  const [head = [], tail] = address.split('::').map(writtenGroups)
  if (tail === undefined) return head
  return [...head, ...new Array<number>(GROUPS - head.length - tail.length).fill(0), ...tail]
}

function writtenGroups(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
    return [a * 256 + b, c * 256 + d]
  })
}

function dotted(groups: readonly number[]): string {
  return groups.flatMap((group) => [group >>> 8, group & 0xff]).join('.')
}
