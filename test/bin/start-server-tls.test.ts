// start-server with TLS, as a real process: certificates that are replaced on SIGHUP, files that cannot be, warnings.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { Opcode, Status } from '../../protocol/messages.ts'
import { authority, clientTls, HERE, serverFiles, type TlsFiles } from '../helpers/certificates.ts'
import { decoded, frame } from '../helpers/frames.ts'
import { type Program, runProgram, startProgram } from '../helpers/program.ts'

async function dial(port: number): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port, ...(await clientTls()) })
  onTestFinished(() => void socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

async function nameAt(port: number): Promise<string | string[] | undefined> {
  const socket = await dial(port)
  const { subject } = socket.getPeerCertificate()
  socket.destroy()
  return subject.CN
}

function flagsOf({ certPath, keyPath }: TlsFiles): string[] {
  return ['--port', '0', '--tls-cert', certPath, '--tls-key', keyPath]
}

async function stopped(program: Program) {
  program.process.kill('SIGTERM')
  return program.ended
}

test('SIGHUP: new connections see the new certificate, a file that cannot be keeps the old one', async () => {
  const files = await serverFiles({ commonName: 'first' })
  const program = startProgram('start-server', flagsOf(files))
  const port = await program.port()
  const old = await dial(port)
  expect(old.getPeerCertificate().subject.CN).toBe('first')

  files.write(await (await authority()).issue({ commonName: 'second', names: HERE }))
  program.process.kill('SIGHUP')
  await program.says('stderr', /"msg":"reloaded"/)
  expect(await nameAt(port)).toBe('second')

  writeFileSync(files.certPath, 'no certificate')
  program.process.kill('SIGHUP')
  await program.says(
    'stderr',
    /"why":"--tls-cert: .*there is none in it\)","msg":"not reloaded, all is as it was"/,
  )
  expect(await nameAt(port)).toBe('second')

  old.write(frame(Opcode.Ping, 1))
  const [reply] = await once(old, 'data')
  expect(decoded(reply.subarray(4))).toEqual([Status.Ok, 1, Buffer.alloc(0)])
  expect((await stopped(program)).code).toBe(0)
})

test('SIGHUP ends a server that reads no files', async () => {
  const program = startProgram('start-server', ['--port', '0'])
  await program.port()
  program.process.kill('SIGHUP')
  expect(await program.ended).toMatchObject({ signal: 'SIGHUP' })
})

test('files that cannot be: one line with the flag or variable, the path and what is wrong, exit 2', async () => {
  const { certPath, keyPath } = await serverFiles()
  const rows: [args: string[], env: Record<string, string>, line: string][] = [
    [
      ['--tls-cert', certPath],
      {},
      `--tls-cert: '${certPath}' is not possible; allowed: a path together with tlsKey`,
    ],
    [
      ['--tls-cert', '/no/such/file', '--tls-key', keyPath],
      {},
      "--tls-cert: '/no/such/file' is not possible; allowed: a file in PEM format that can be read (ENOENT",
    ],
    [
      [],
      { CACHE_TLS_CERT: certPath, CACHE_TLS_KEY: certPath },
      `CACHE_TLS_KEY: '${certPath}' is not possible; allowed: a private key in PEM format`,
    ],
  ]
  const endings = await Promise.all(rows.map(([args, env]) => runProgram('start-server', args, { env })))
  for (const [index, { code, stdout, stderr }] of endings.entries()) {
    expect(stderr).toContain(`start-server: ${rows[index]?.[2]}`)
    expect(stderr.indexOf('\n')).toBe(stderr.length - 1)
    expect([stdout, code]).toEqual(['', 2])
  }
})

test('beyond loopback it runs with TLS and required certificates, without --insecure and a warning', async () => {
  const files = await serverFiles()
  const flags = [
    ...flagsOf(files),
    '--tls-ca',
    files.caPath,
    '--tls-require-client-cert',
    '--host',
    '0.0.0.0',
  ]
  const program = startProgram('start-server', flags)
  await program.port()
  const { code, stderr } = await stopped(program)
  expect(code).toBe(0)
  expect(stderr).not.toContain('listening without')
  expect(stderr).toMatch(/"tls":true/)
})

test('beyond loopback with TLS alone it needs --insecure, and warns of what is missing', async () => {
  const flags = [...flagsOf(await serverFiles()), '--host', '0.0.0.0']
  const refused = await runProgram('start-server', flags)
  expect(refused.code).toBe(2)
  expect(refused.stderr).toContain('of which authentication is missing here')
  const program = startProgram('start-server', [...flags, '--insecure'])
  await program.port()
  expect((await stopped(program)).stderr).toMatch(
    /"host":"0\.0\.0\.0","msg":"listening without authentication"/,
  )
})

test('--print-config shows where the files are said', async () => {
  const { stdout } = await runProgram('start-server', ['--print-config', '--tls-cert', 'a.pem'], {
    env: { CACHE_TLS_KEY: 'b.pem', CACHE_TLS_CA: 'c.pem' },
    dotEnv: 'CACHE_TLS_REQUIRE_CLIENT_CERT=yes\n',
  })
  expect(stdout).toMatch(/^tls-cert +a\.pem +--tls-cert$/m)
  expect(stdout).toMatch(/^tls-key +b\.pem +CACHE_TLS_KEY$/m)
  expect(stdout).toMatch(/^tls-ca +c\.pem +CACHE_TLS_CA$/m)
  expect(stdout).toMatch(/^tls-require-client-cert +true +CACHE_TLS_REQUIRE_CLIENT_CERT in \.env$/m)
  expect(stdout).toMatch(/^tls-handshake-timeout +10s +default$/m)
  expect(stdout).toMatch(/^descriptors-reserved +128 +default$/m)
})
