// The wire contract in one file: opcodes, statuses, operand positions. PROTOCOL.md says the same in prose.
// Only append: numbers and positions never change their meaning, new operands go to the end and are optional.
//
//   request   [opcode, request id, operand…]
//   reply     [status, request id, operand…]

export const Opcode = {
  /** versionMin, versionMax, capabilities, clientName → version, capabilities, server, nodeId, bootId, region, cluster, limits */
  Hello: 1,
  /** payload? → payload? */
  Ping: 2,
  /** key, want? → flags, value [, version, ttlMs|nil] when want has Want.Meta */
  Get: 3,
  /** key, flags, value, ttlMs?, condition?, version?, acks?, acksTimeoutMs? → version, acks · Conflict: version|nil */
  Set: 4,
  /** key, acks?, acksTimeoutMs? → Ok, or Miss when there was nothing; with acks, how many */
  Delete: 5,
  /** key, ttlMs → version */
  Touch: 6,
  /** key → flags, valueBytes, version, ttlMs|nil, lifetimeMs|nil; leaves the LRU order alone */
  Inspect: 7,
  /** [key…] → [[status, flags?, value?]…] */
  GetMany: 8,
  /** [[key, flags, value]…], ttlMs?, condition? → [[status, version?]…] */
  SetMany: 9,
  /** [key…] → [status…] */
  DeleteMany: 10,
  /** key, by?, start?, ttlMs? → number, version */
  Increment: 11,
  /** the same, subtracting */
  Decrement: 12,
  /** cursor, prefix?, count? → next cursor (0 = done), [key…] */
  Scan: 13,
  /** → Ok: everything stamped until now is gone */
  Clear: 14,
  /** section? → map */
  Stats: 15,
  /** → Ok, then the server closes */
  Quit: 16,
  /** → [map…], one for each other server of the cluster */
  Peers: 17,
  /** → [map…]: of each other server how far behind it is */
  Lag: 18,
  /** node id → Ok, or Miss when there is no such member */
  ForgetPeer: 19,
  /** mechanism, the client's first message → the server's first message; see scram.ts */
  Auth: 20,
  /** the client's final message → the server's final message, role */
  AuthProof: 21,
} as const
export type Opcode = (typeof Opcode)[keyof typeof Opcode]

/**
 * Messages between servers: frames of the same shape, request id 0, and no replies. Their layouts are in
 * server/replication/, each beside the code that writes and reads it.
 */
export const PeerOpcode = {
  /** First on a connection in both directions: who I am, what I have of you, whom I know. */
  Hello: 32,
  /** boot, from seq, to seq, hlc, F, [record…]: what the sender stamped */
  Batch: 33,
  /** boot, seq, hlc, F, [declined…]: everything up to seq was applied; declined are places in the last batch */
  Ack: 34,
  /** boot, seq: go on from here */
  Rewind: 35,
  /** clocks, F, acknowledgement vector, members; every second */
  Ping: 36,
  /** stamp of the PING, wall clock */
  Pong: 37,
  /** what, why: nothing of the message was applied */
  Refused: 38,
  /** [[key, hlc, origin, expiresAtMs]…]: values that live longer, because they were read */
  Extend: 39,
  /** why: the connection closes */
  Bye: 40,
  /** Anti-entropy, on the bulk connection: see server/replication/round-messages.ts. */
  RoundOpen: 48,
  RoundAnswer: 49,
  RoundAsk: 50,
  RoundList: 51,
  RoundRecords: 52,
  RoundWant: 53,
  RoundPurge: 54,
  RoundTurn: 55,
  RoundClose: 56,
  RoundBusy: 57,
} as const
export type PeerOpcode = (typeof PeerOpcode)[keyof typeof PeerOpcode]
/** Opcodes from here on belong to servers. */
export const FIRST_PEER_OPCODE = 32

/** Below FIRST_ERROR an outcome, from there on an error whose first operand is a text and second, optional, a retry-after in ms. */
export const Status = {
  Ok: 0,
  Miss: 1,
  /** A condition of SET was not met. */
  Conflict: 2,
  /** In a many-key reply: not looked at, because the reply was full; ask again. */
  Skipped: 3,

  /** Not a frame of this protocol; the connection closes. */
  Malformed: 16,
  /** Longer than this connection's frame limit; the connection closes. */
  FrameTooLarge: 17,
  UnknownOpcode: 18,
  BadOperand: 19,
  KeyTooLarge: 20,
  ValueTooLarge: 21,
  NotInteger: 22,
  Overloaded: 23,
  Unauthenticated: 24,
  Forbidden: 25,
  UnsupportedVersion: 26,
  /** The server drains; try another one, or again. */
  ShuttingDown: 27,
  Internal: 28,
} as const
export type Status = (typeof Status)[keyof typeof Status]
export const FIRST_ERROR = 16

/** SET's condition operand. */
export const Condition = { None: 0, Absent: 1, Present: 2, Version: 3 } as const
export type Condition = (typeof Condition)[keyof typeof Condition]

/** GET's want operand, a bit set. */
export const Want = { Meta: 1 } as const

/** Capability bits of HELLO; unknown bits are ignored. */
export const Capability = {
  None: 0,
  /** Of a server: this connection must authenticate before it may ask for anything. */
  Authentication: 1,
} as const

/**
 * What the value bytes are. The server stores the byte and gives it back; of these it looks only at MessagePack,
 * and there only in INCR and DECR.
 */
export const ValueFlags = {
  /** The bytes themselves (Buffer, Uint8Array). */
  Raw: 0,
  /** A string as UTF-8. */
  Utf8: 1,
  /** Plain MessagePack; of the extensions only -1 (timestamp). */
  MessagePack: 2,
  /** MessagePack of a tagged node table, for what plain MessagePack cannot say: see PROTOCOL.md. */
  Extended: 3,
} as const
export type ValueFlags = (typeof ValueFlags)[keyof typeof ValueFlags]
