// The four messages of SCRAM (RFC 5802) as text and as their parts, both directions side by side. Between scram.ts and
// bytes; knows no key and no password. Without channel binding: the header is always `n,,`.
//
//   client first   n,,n=NAME,r=NONCE                   server first   r=NONCE+MORE,s=SALT,i=ITERATIONS
//   client final   c=biws,r=NONCE+MORE,p=PROOF         server final   v=SIGNATURE, or e=REASON
//
// What is read comes from whoever dialed or answered: anything but such a message is a ScramError that quotes nothing
// of it. Extensions behind the known attributes are passed over, as the RFC wants; `m=`, which forbids that, is refused.

/** Of each message: a name, two nonces and a proof are far below it. Equals what is read of a stranger. */
export const SCRAM_MESSAGE_BYTES_MAX = 4096

/** `n,,`: no channel binding, and nobody acts for somebody else. */
const HEADER = 'n,,'
const HEADER_BASE64 = Buffer.from(HEADER).toString('base64')
/** Printable, without the comma that separates; so long that the reply to a stranger stays short. */
const NONCE = /^[\x21-\x2b\x2d-\x7e]{1,1024}$/

/** Authentication that did not work: a message that cannot be, or one that proves nothing. */
export class ScramError extends Error {
  override readonly name = 'ScramError'
}

export interface ClientFirst {
  username: string
  nonce: string
  /** The message without its header, as it stands in what is signed. */
  bare: string
}

export function writeClientFirst(username: string, nonce: string): { bytes: Buffer; bare: string } {
  const bare = `n=${escapeName(username)},r=${nonce}`
  return { bytes: Buffer.from(HEADER + bare), bare }
}

export function readClientFirst(bytes: Uint8Array): ClientFirst {
  const text = textOf(bytes)
  if (!text.startsWith(HEADER)) throw new ScramError(`the header is not ${HEADER}`)
  const bare = text.slice(HEADER.length)
  const [name, nonce] = valuesOf(bare, ['n', 'r'])
  return { username: unescapeName(name), nonce: checkedNonce(nonce), bare }
}

export interface ServerFirst {
  /** The client's, and the server's behind it. */
  nonce: string
  salt: Buffer
  iterations: number
  text: string
}

export function writeServerFirst(nonce: string, salt: Uint8Array, iterations: number): string {
  return `r=${nonce},s=${Buffer.from(salt).toString('base64')},i=${iterations}`
}

export function readServerFirst(bytes: Uint8Array): ServerFirst {
  const text = textOf(bytes)
  const [nonce, salt, iterations] = valuesOf(text, ['r', 's', 'i'])
  if (!/^[1-9][0-9]{0,9}$/.test(iterations)) throw new ScramError('the iterations are no count')
  return {
    nonce: checkedNonce(nonce),
    salt: fromBase64(salt, 'salt'),
    iterations: Number(iterations),
    text,
  }
}

export interface ClientFinal {
  nonce: string
  proof: Buffer
  /** The message before its proof, as it stands in what is signed. */
  withoutProof: string
}

/** What comes before the proof. */
export function writeClientFinalHead(nonce: string): string {
  return `c=${HEADER_BASE64},r=${nonce}`
}

export function writeClientFinal(withoutProof: string, proof: Buffer): Buffer {
  return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`)
}

export function readClientFinal(bytes: Uint8Array): ClientFinal {
  const text = textOf(bytes)
  const proofAt = text.lastIndexOf(',')
  const withoutProof = text.slice(0, Math.max(proofAt, 0))
  const [header, nonce] = valuesOf(withoutProof, ['c', 'r'])
  const [proof] = valuesOf(text.slice(proofAt + 1), ['p'])
  if (header !== HEADER_BASE64) throw new ScramError(`the header repeated is not ${HEADER}`)
  return { nonce: checkedNonce(nonce), proof: fromBase64(proof, 'proof'), withoutProof }
}

export function writeServerFinal(signature: Buffer): Buffer {
  return Buffer.from(`v=${signature.toString('base64')}`)
}

/** The server's signature. */
export function readServerFinal(bytes: Uint8Array): Buffer {
  const text = textOf(bytes)
  // The reasons of the RFC are such words; what is none of them is not repeated to people.
  const [, reason] = /^e=([a-z0-9-]{1,64})(?:,|$)/.exec(text) ?? []
  if (reason !== undefined) throw new ScramError(`the server refused: ${reason}`)
  const [signature] = valuesOf(text, ['v'])
  return fromBase64(signature, 'signature')
}

function textOf(bytes: Uint8Array): string {
  if (bytes.length > SCRAM_MESSAGE_BYTES_MAX)
    throw new ScramError(`a message has at most ${SCRAM_MESSAGE_BYTES_MAX} bytes, got ${bytes.length}`)
  try {
    return utf8.decode(bytes)
  } catch {
    throw new ScramError('a message is not UTF-8')
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

type Values<Names extends readonly string[]> = { [Index in keyof Names]: string }

/** Values of the attributes that must stand there, in this order; behind them may be extensions. */
function valuesOf<const Names extends readonly string[]>(text: string, names: Names): Values<Names>
function valuesOf(text: string, names: readonly string[]): string[] {
  const attributes = text.split(',')
  if (attributes.some((attribute) => attribute.startsWith('m=')))
    throw new ScramError('an extension that must be understood is not')
  const values = names.map((name, index) => {
    const attribute = attributes[index] ?? ''
    if (!attribute.startsWith(`${name}=`)) throw new ScramError(`attribute ${name} is missing`)
    return checkedValue(attribute)
  })
  for (const extension of attributes.slice(names.length)) {
    checkedValue(extension)
    const [name = ''] = extension
    if (names.includes(name)) throw new ScramError(`attribute ${name} stands there twice`)
  }
  return values
}

function checkedValue(attribute: string): string {
  if (!/^[A-Za-z]=[^\0]+$/s.test(attribute)) throw new ScramError('not a list of attributes')
  return attribute.slice(2)
}

function checkedNonce(nonce: string): string {
  if (!NONCE.test(nonce)) throw new ScramError('a nonce is 1 to 1024 characters of printable ASCII')
  return nonce
}

/** Only as it is written: padded, and nothing in the bits that do not count. */
function fromBase64(text: string, what: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.length === 0 || bytes.toString('base64') !== text)
    throw new ScramError(`the ${what} is no base64`)
  return bytes
}

function escapeName(name: string): string {
  return name.replaceAll('=', '=3D').replaceAll(',', '=2C')
}

function unescapeName(text: string): string {
  if (/=(?!2C|3D)/.test(text)) throw new ScramError('a name is escaped with =2C and =3D alone')
  return text.replaceAll('=2C', ',').replaceAll('=3D', '=')
}
