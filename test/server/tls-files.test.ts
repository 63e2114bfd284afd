// What the files of TLS may say, and that a refusal names option, path and what is wrong.

import { createPrivateKey } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type Logger, OptionError } from '../../server/options.ts'
import { alternativeNames, ServerTls } from '../../server/tls.ts'
import { Authority } from '../certificates/authority.ts'
import { authority, serverFiles, type TlsFiles } from '../helpers/certificates.ts'

const DAY_MS = 86_400_000

function read(files: TlsFiles, warnings: object[] = []): ServerTls {
  const { certPath: tlsCert, keyPath: tlsKey, caPath: tlsCa } = files
  const silent = () => {}
  const logger: Logger = { debug: silent, info: silent, error: silent, warn: (facts) => warnings.push(facts) }
  return new ServerTls({ tlsCert, tlsKey, tlsCa, tlsRequireClientCert: false }, logger)
}

function refusal(files: TlsFiles): OptionError {
  try {
    read(files)
  } catch (error) {
    if (error instanceof OptionError) return error
    throw error
  }
  throw new Error('accepted')
}

type Spoil = (files: TlsFiles) => void | Promise<void>

test.each<[string, Spoil, option: string, path: keyof TlsFiles, allowed: RegExp]>([
  ['a certificate that is not there', ({ certPath }) => rmSync(certPath), 'tlsCert', 'certPath', /ENOENT/],
  ['a key that is not there', ({ keyPath }) => rmSync(keyPath), 'tlsKey', 'keyPath', /ENOENT/],
  [
    'a folder for an authority',
    ({ caPath }) => {
      rmSync(caPath)
      mkdirSync(caPath)
    },
    'tlsCa',
    'caPath',
    /EISDIR/,
  ],
  [
    'a certificate that is none',
    ({ certPath }) => writeFileSync(certPath, 'hello\n'),
    'tlsCert',
    'certPath',
    /there is none in it/,
  ],
  [
    'a certificate that was cut',
    ({ certPath }) =>
      writeFileSync(certPath, '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'),
    'tlsCert',
    'certPath',
    /number 1: /,
  ],
  [
    'a second one that was cut',
    async ({ certPath }) => {
      const { cert } = await authority()
      const cut = cert.replace(/\n.{20}/, '\n')
      writeFileSync(certPath, `${(await issued()).cert}\n${cut}\n`)
    },
    'tlsCert',
    'certPath',
    /number 2: /,
  ],
  [
    'the key in place of the certificate',
    async ({ certPath }) => writeFileSync(certPath, (await issued()).key),
    'tlsCert',
    'certPath',
    /there is none in it/,
  ],
  [
    'the certificate in place of the key',
    async ({ keyPath }) => writeFileSync(keyPath, (await issued()).cert),
    'tlsKey',
    'keyPath',
    /private key in PEM format/,
  ],
  [
    'a key with a passphrase',
    async ({ keyPath }) => {
      const key = createPrivateKey((await issued()).key)
      const cipher = { cipher: 'aes-256-cbc', passphrase: 'secret' }
      writeFileSync(keyPath, key.export({ type: 'pkcs8', format: 'pem', ...cipher }))
    },
    'tlsKey',
    'keyPath',
    /without a passphrase/,
  ],
  [
    'the key of another certificate',
    async ({ keyPath }) => writeFileSync(keyPath, (await issued()).key),
    'tlsKey',
    'keyPath',
    /the private key of the first certificate in .*server\.pem/,
  ],
  [
    'an authority that is none',
    ({ caPath }) => writeFileSync(caPath, ''),
    'tlsCa',
    'caPath',
    /there is none in it/,
  ],
])('%s', async (_, spoil, option, path, allowed) => {
  const files = await serverFiles()
  await spoil(files)
  const error = refusal(files)
  expect([error.option, error.value]).toEqual([option, files[path]])
  expect(error.allowed).toMatch(allowed)
  expect(error.message).not.toContain('PRIVATE')
  expect(error.message).not.toContain('\n')
})

test('a chain, several authorities, comments and Windows line ends are read', async () => {
  const files = await serverFiles()
  const [{ cert }, other] = await Promise.all([authority(), Authority.create('another one')])
  const own = await issued()
  files.write({ cert: `# our certificate\r\n${own.cert}\r\n${cert}\r\n`, key: own.key })
  writeFileSync(files.caPath, `one\n${cert}\nand another\n${other.cert.replaceAll('\n', '\r\n')}`)
  expect(() => read(files)).not.toThrow()
})

test('a certificate whose time has not come, or is over, is taken with a warning', async () => {
  const warnings: { path?: string }[] = []
  const nowMs = Date.now()
  read(await serverFiles(), warnings)
  expect(warnings).toEqual([])
  const old = await serverFiles({ fromMs: nowMs - 2 * DAY_MS, untilMs: nowMs - DAY_MS })
  const early = await serverFiles({ fromMs: nowMs + DAY_MS })
  read(old, warnings)
  read(early, warnings)
  expect(warnings.map(({ path }) => path)).toEqual([old.certPath, early.certPath])
})

test('what was read is replaced as a whole, and only when told to', async () => {
  const files = await serverFiles()
  const tls = read(files)
  const former = tls.accepting.cert
  const next = await issued()
  files.write(next)
  const replace = tls.prepareReload()
  expect(tls.accepting.cert).toBe(former)
  const { dialing } = tls
  replace()
  expect(String(tls.accepting.cert)).toBe(next.cert)
  expect(tls.dialing).not.toBe(dialing)
  writeFileSync(files.keyPath, 'no key')
  expect(() => tls.prepareReload()).toThrow(OptionError)
  expect(String(tls.accepting.cert)).toBe(next.cert)
})

describe('alternative names', () => {
  test.each<[text: string, names: string[]]>([
    ['', []],
    ['DNS:localhost', ['localhost']],
    ['DNS:a.example, IP Address:10.0.0.1, DNS:*.b.example', ['a.example', '10.0.0.1', '*.b.example']],
    ['IP Address:0:0:0:0:0:0:0:1, IP Address:2001:DB8:0:0:0:0:0:1', ['::1', '2001:db8::1']],
    ['email:a@example, URI:http://a.example/, DNS:a', ['a']],
    ['DNS:"a.example, DNS:b.example", DNS:c.example', ['c.example']],
    [String.raw`URI:"http://a/\", DNS:b.example", DNS:c.example`, ['c.example']],
    ['DirName:"CN = a, OU = peer", IP Address:10.0.0.1', ['10.0.0.1']],
  ])('%s', (text, names) => {
    expect(alternativeNames(text)).toEqual(names)
  })
})

async function issued() {
  return (await authority()).issue({ commonName: 'somebody' })
}
