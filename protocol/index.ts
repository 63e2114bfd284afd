// What `ormuco-cache/protocol` gives: enough to write another client, or a tool that reads the wire.

export { CacheError, type CacheErrorCode, errorFacts, ProtocolError } from './errors.ts'
export { FrameReader, type OnFrame } from './frame.ts'
export * from './limits.ts'
export { Capability, Condition, FIRST_ERROR, Opcode, Status, ValueFlags, Want } from './messages.ts'
export { type ByteRange, emptyRange, Reader } from './reader.ts'
export { SCRAM_MECHANISM, ScramClient, ScramError } from './scram.ts'
export { decodeValue, type EncodedValue, encodeValue, ValueError } from './value.ts'
export { Writer } from './writer.ts'
