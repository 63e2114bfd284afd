// What the compiler is not told by the libraries it reads: the msgpackr entry that generates no code (it ships
// without types; only what value.ts uses is declared), and methods that Node 20 has and the libraries leave out.

declare module 'msgpackr/index-no-eval' {
  /** The packer's own buffer, of which the packed bytes are `start` up to `end`. */
  export type PackTarget = Buffer & { readonly start: number; readonly end: number }
  export interface PackrOptions {
    useRecords: false
    variableMapSize: boolean
    useToJSON: boolean
    encodeUndefinedAsNil: boolean
    writeFunction(value: unknown): never
  }
  export class Packr {
    constructor(options: PackrOptions)
    pack(value: unknown, mode: number): PackTarget
    useBuffer(buffer: Buffer): void
  }
  export const REUSE_BUFFER_MODE: number
  export const RESET_BUFFER_MODE: number
}

interface String {
  /** Whether no surrogate stands alone, that is: whether UTF-8 can say this string. */
  isWellFormed(): boolean
}

/** From Node 24 on. */
declare var Float16Array: {
  readonly name: string
  readonly BYTES_PER_ELEMENT: number
  new (buffer: ArrayBuffer): ArrayBufferView
}

interface Buffer {
  /** What `toString('utf8', start, end)` calls after looking at its arguments: 24 ns less on a short string. */
  utf8Slice(start: number, end: number): string
}
