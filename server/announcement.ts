// The datagram by which servers find each other, and the proof that a member of the cluster wrote it.
//
// Between discovery.ts and bytes; knows no socket and no clock. One MessagePack array:
//
//   magic, format, cluster, label, boot id, host | nil, port, wall clock in ms, proof | nil, …
//
// What is appended later is passed over; the format changes only if what stands here changes its meaning. The proof is
// HMAC-SHA-256 under the cluster secret of all other bytes, those that are appended too. Whatever the bytes: reading
// throws nothing but ProtocolError, and costs no more than one pass over DATAGRAM_BYTES_MAX.

import { createHmac, timingSafeEqual } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import { ProtocolError } from '../protocol/errors.ts'
import { BOOT_ID_BYTES } from '../protocol/limits.ts'
import { Status } from '../protocol/messages.ts'
import { emptyRange, Reader } from '../protocol/reader.ts'
import { Writer } from '../protocol/writer.ts'

/** Goes through every network in one piece, and leaves room for what later versions append. */
export const DATAGRAM_BYTES_MAX = 1200
/** `ormu` in ASCII: other programs may use the same group and port. */
const MAGIC = 0x6f72_6d75
const FORMAT = 1
const ELEMENTS = 9
const PROOF_BYTES = 32
/** The same secret has other uses: what it proves here must prove nothing there. */
const PROOF_CONTEXT = 'ormuco-cache announcement\n'
/** As the options allow for a cluster and a node id; they come to stand in logs. */
const NAME = /^[\x21-\x7e]{1,128}$/
const BOOT = /^[0-9a-f]{16}$/

export interface Announcement {
  cluster: string
  /** Node id of the sender. */
  label: string
  /** Of the sender's process: 16 hexadecimal digits. */
  boot: string
  /** IP address without a zone; undefined: the one that the datagram comes from. */
  host: string | undefined
  /** TCP, 1 to 65535. */
  port: number
  /** The sender's wall clock, ms since 1970. */
  wallMs: number
}

/** One that was read. */
export interface HeardAnnouncement extends Announcement {
  /** Where in the datagram the bytes of the proof begin; undefined if there is none. */
  proofAt: number | undefined
}

/** Whether an address can be dialled: one of a single host, and not `any` address. Zones are none of the sender's business. */
export function isDialable(host: string): boolean {
  const family = isIP(host)
  if (family === 0 || host.includes('%')) return false
  return !undialable.check(host, family === 4 ? 'ipv4' : 'ipv6')
}

const undialable = new BlockList()
undialable.addSubnet('0.0.0.0', 8, 'ipv4')
// Multicast, reserved, broadcast.
undialable.addSubnet('224.0.0.0', 3, 'ipv4')
undialable.addAddress('::', 'ipv6')
undialable.addSubnet('ff00::', 8, 'ipv6')

/** Writes a datagram, with a proof if there is a secret. Throws RangeError for what no reader would take. */
export function writeAnnouncement(announcement: Announcement, secret?: Uint8Array): Buffer {
  const fault = faultOf(announcement)
  if (fault !== undefined) throw new RangeError(`cannot be announced: ${fault}`)
  const { cluster, label, boot, host, port, wallMs } = announcement
  const writer = new Writer(DATAGRAM_BYTES_MAX)
  writer.array(ELEMENTS)
  writer.int(MAGIC)
  writer.int(FORMAT)
  writer.string(cluster)
  writer.string(label)
  writer.binary(Buffer.from(boot, 'hex'), 0, BOOT_ID_BYTES)
  if (host === undefined) writer.nil()
  else writer.string(host)
  writer.int(port)
  writer.int(wallMs)
  if (secret === undefined) {
    writer.nil()
    return writer.bytes.subarray(0, writer.at)
  }
  writer.binaryHead(PROOF_BYTES)
  const proofAt = writer.at
  const datagram = writer.bytes.subarray(0, proofAt + PROOF_BYTES)
  proofOf(datagram, proofAt, secret).copy(datagram, proofAt)
  return datagram
}

/** Reads a datagram, unproven as it is. Throws ProtocolError for anything but an announcement. */
export function readAnnouncement(datagram: Uint8Array): HeardAnnouncement {
  if (datagram.length > DATAGRAM_BYTES_MAX)
    throw refused(`at most ${DATAGRAM_BYTES_MAX} bytes, got ${datagram.length}`)
  reader.open(datagram, 0, datagram.length)
  if (reader.head !== MAGIC) throw refused('it is not one of this program')
  if (reader.id !== FORMAT) throw refused(`its format is ${FORMAT}, got ${reader.id}`)
  const announcement = {
    cluster: required('cluster').string(),
    label: required('node id').string(),
    boot: readBoot(),
    host: reader.optional() ? reader.string() : undefined,
    port: required('port').uint(),
    wallMs: required('wall clock').uint(),
    proofAt: readProof(),
  }
  reader.close()
  const fault = faultOf(announcement)
  if (fault !== undefined) throw refused(fault)
  return announcement
}

/** Whether the one who wrote the datagram knew the secret; `proofAt` as it was read. */
export function isProven(datagram: Uint8Array, proofAt: number | undefined, secret: Uint8Array): boolean {
  if (proofAt === undefined) return false
  const proof = datagram.subarray(proofAt, proofAt + PROOF_BYTES)
  return timingSafeEqual(proof, proofOf(datagram, proofAt, secret))
}

function proofOf(datagram: Uint8Array, proofAt: number, secret: Uint8Array): Buffer {
  return createHmac('sha256', secret)
    .update(PROOF_CONTEXT)
    .update(datagram.subarray(0, proofAt))
    .update(datagram.subarray(proofAt + PROOF_BYTES))
    .digest()
}

const reader = new Reader()
const range = emptyRange()

function required(operand: string): Reader {
  reader.required(operand)
  return reader
}

function readBoot(): string {
  required('boot id').range(range)
  if (range.length !== BOOT_ID_BYTES)
    throw refused(`a boot id has ${BOOT_ID_BYTES} bytes, got ${range.length}`)
  return Buffer.from(range.bytes.subarray(range.at, range.at + BOOT_ID_BYTES)).toString('hex')
}

function readProof(): number | undefined {
  if (!reader.optional()) return undefined
  reader.range(range)
  if (range.length !== PROOF_BYTES) throw refused(`a proof has ${PROOF_BYTES} bytes, got ${range.length}`)
  return range.at
}

function faultOf({ cluster, label, boot, host, port, wallMs }: Announcement): string | undefined {
  if (!NAME.test(cluster)) return 'a cluster is 1 to 128 printable ASCII characters without blanks'
  if (!NAME.test(label)) return 'a node id is 1 to 128 printable ASCII characters without blanks'
  if (!BOOT.test(boot)) return 'a boot id is 16 hexadecimal digits'
  if (host !== undefined && !isDialable(host))
    return 'a host is the IP address of one machine, without a zone'
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return `a port is 1 to 65535, got ${port}`
  if (!Number.isSafeInteger(wallMs) || wallMs < 0) return `a wall clock is in ms since 1970, got ${wallMs}`
  return undefined
}

function refused(message: string): ProtocolError {
  return new ProtocolError(Status.BadOperand, `an announcement: ${message}`)
}
