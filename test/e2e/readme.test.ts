// README.md, held to what really happens: its commands and programs are run, its tables compared with the code, its
// links followed. Where it names port 11142 a free one is used; everything else is as a reader would type it and see it,
// in a folder that looks like a clone. What installs or tests is left out: whoever reads this does that already.

import { execFile, spawn } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ormucoCacheCommand } from '../../bin/ormuco-cache.ts'
import { commandVariables, type Flag, LOG_DEFAULTS, serverFlags } from '../../bin/server-flags.ts'
import { OrmucoCacheClient } from '../../client/index.ts'
import { DEFAULT_PORT } from '../../protocol/limits.ts'
import { resolveOptions } from '../../server/options.ts'
import { anchors, codeWords, fencedBlocks, linkTargets, tableRows } from '../helpers/markdown.ts'
import { Program } from '../helpers/program.ts'
import { CTRL_D, hasTerminal, NO_TERMINAL, TerminalProgram } from '../helpers/terminal.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const readme = read('README.md')
const manifest: { scripts: Record<string, string> } = JSON.parse(read('package.json'))
const consoles = fencedBlocks(readme, 'console').map(consoleBlock)
const examples = fencedBlocks(readme, 'ts')

const SHELL = 'npm run -s shell'
const path = `${dirname(process.execPath)}${delimiter}${process.env['PATH']}`

if (!hasTerminal) console.log(`skipped: what README.md shows of the shell; ${NO_TERMINAL}`)

describe('the consoles', () => {
  test('are those that are run here, or wherever the tests are', () => {
    const commands = consoles.map(({ command }) => command)
    expect(commands).toEqual([
      'npm ci && npm start',
      SHELL,
      expect.stringMatching(/^node --import tsx -e "/),
      expect.stringMatching(/^npm run -s shell -- -r \d+ -i \d+ get my-key$/),
      SHELL,
      'npm ci && npm test',
    ])
  })

  test('every script of npm that a document names is there', () => {
    const named = ['README.md', 'CONTRIBUTING.md'].flatMap((document) => [
      ...read(document).matchAll(/\bnpm (?:run (?:-s )?([\w-]+)|(start|test)\b)/g),
    ])
    expect(named.length).toBeGreaterThan(8)
    for (const [command, run, short] of named)
      expect(manifest.scripts, command).toHaveProperty([run ?? short ?? ''])
  })

  test.skipIf(!hasTerminal)(
    'the first screen: a server, the shell, a program, kill -9 and a restart',
    async () => {
      const clone = makeClone()
      const [start, shell, program, repeated] = consoles
      const server = startServer(clone, 'npm start')
      const port = await server.port()
      expect(server.stdout).toBe(onPort(start?.output, port))

      await replay(clone, shell?.output, port)

      const run = inClone(clone, onPort(program?.command, port))
      expect(await run.ended).toMatchObject({ stdout: program?.output, stderr: '', code: 0 })

      // As often, and as quickly, as it takes.
      const command = repeated?.command.replace(/-r \d+ -i \d+/, '-r 5000 -i 20ms') ?? ''
      const asking = onTerminal(clone, command, port)
      await asking.shows('[1,2,3]\n')
      server.process.kill('SIGKILL')
      await server.ended
      await asking.shows('CACHE_UNAVAILABLE')
      const refused = onPort(repeated?.output, port).match(/connect ECONNREFUSED .*/)?.[0] ?? 'no such line'
      await asking.shows(refused)
      await startServer(clone, 'npm start', port).port()
      await asking.shows('(miss)\n')
      const seen = asking.screen.slice(0, asking.screen.lastIndexOf('\n') + 1)
      expect(distinctOutcomes(seen)).toEqual(distinctOutcomes(onPort(repeated?.output, port)))
      expect(`-r ${repeated?.output.trimEnd().split('\n').length} `).toBe(
        /-r \d+ /.exec(repeated?.command ?? '')?.[0],
      )
    },
  )

  test.skipIf(!hasTerminal)('a cache of three entries', async () => {
    const clone = makeClone()
    const [command = ''] = codeWords(readme).filter((code) => /^CACHE_MAX_SIZE=3 /.test(code))
    const port = await startServer(clone, command).port()
    const [, evictions] = consoles.filter((block) => block.command === SHELL)
    await replay(clone, evictions?.output, port)
  })
})

describe('the programs', () => {
  test('are accepted by the compiler', async () => {
    const clone = makeClone()
    for (const [index, example] of examples.entries())
      writeFileSync(join(clone, `example-${index}.ts`), example)
    // What an example takes for granted.
    writeFileSync(
      join(clone, 'reader.d.ts'),
      'declare function fetchUser(id: string): Promise<{ name: string }>',
    )
    const compiler = join(root, 'node_modules', '.bin', 'tsc')
    const { stdout } = await promisify(execFile)(compiler, ['-p', clone], { env: { PATH: path } }).catch(
      (error) => error,
    )
    expect(stdout).toBe('')
    expect(examples).toHaveLength(3)
  })

  test('the first one does what its comment says', async () => {
    const clone = makeClone()
    const port = await startServer(clone, 'npm start').port()
    const [, call = '', result = ''] = /^(await .+?) +\/\/ ([^;\n]+);/m.exec(examples[0] ?? '') ?? []
    const printing = onPort(examples[0], port).replace(call, `console.log(JSON.stringify(${call}))`)
    writeFileSync(join(clone, 'example.ts'), printing)
    const ending = await inClone(clone, 'node --import tsx example.ts').ended
    expect(ending).toMatchObject({ stdout: `${JSON.stringify(JSON.parse(result))}\n`, stderr: '', code: 0 })
  })

  test('the methods of the table are those of the client', () => {
    const named = tableRows(readme, 'method').flatMap(([calls = '']) =>
      codeWords(calls).map((call) => call.replace(/\(.*/, '')),
    )
    const methods = Object.getOwnPropertyNames(OrmucoCacheClient.prototype).filter(
      (name) => name !== 'constructor',
    )
    expect(named.sort()).toEqual(methods.sort())
  })
})

describe('the commands', () => {
  const rows = tableRows(readme, 'flag')
  const defaults = { ...resolveOptions({}), ...LOG_DEFAULTS }
  /** How the table says what --print-config says in another word. */
  const AS_SHOWN: Readonly<Record<string, string>> = {
    'bounded by memory alone': 'none',
    none: '0',
    off: 'false',
  }

  test('the table of flags is there', () => {
    expect(rows.length).toBeGreaterThan(8)
  })

  test.each(rows)('%s', (flagCell, variableCell = '', defaultCell = '') => {
    const written = codeWords(flagCell)
    const stated = written.length === 1 ? [defaultCell] : defaultCell.split(', ')
    for (const [index, usage] of written.entries()) {
      const flag = flagOf(usage)
      const [word = ''] = (stated[index] ?? '').split(/[:;,]/)
      expect(AS_SHOWN[word] ?? word, usage).toBe(flag.show(defaults))
      const example = / (\S+)$/.exec(usage)?.[1] ?? ''
      // N and S stand for numbers; words with bars between them are what can be chosen.
      for (const choice of /^[a-z0-9|]+$/.test(example) ? example.split('|') : [])
        expect(() => flag.read(usage, choice)).not.toThrow()
    }

    const variables = codeWords(variableCell).filter((name) => /^[A-Z_]+$/.test(name))
    expect(commandVariables.map(({ name }) => name)).toEqual(expect.arrayContaining(variables))
    const likewise = variableCell.includes('`CACHE_…` likewise')
    for (const usage of written) {
      const { variable } = flagOf(usage)
      expect(likewise ? [variableLike(usage)] : variables).toContain(variable)
    }
  })

  test('those behind npx ormuco-cache', async () => {
    const named = [...readme.matchAll(/npx ormuco-cache ([a-z-]+)/g)].map(([, name]) => name)
    const { commands } = await ormucoCacheCommand([])
    expect([...new Set(named)].sort()).toEqual(commands.map((command) => command.name()).sort())
  })
})

describe('what documents point at is there', () => {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
    'protocol/PROTOCOL.md',
    ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => join('docs', name)),
  ]

  test.each(documents)('%s', (document) => {
    const text = read(document)
    const missing = linkTargets(text)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [file = '', anchor] = target.split('#')
        const linked = file === '' ? document : join(dirname(document), file)
        return (
          !existsSync(join(root, linked)) || (anchor !== undefined && !anchors(read(linked)).includes(anchor))
        )
      })
    expect(missing).toEqual([])
    const files = codeWords(text).filter((code) => /^(protocol|server|client|bin|test|docs)\/\S*$/.test(code))
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([])
  })
})

/** The flag that is written as `-p, --port` or `--store arena|heap`. */
function flagOf(usage: string): Flag {
  const names = usage.replace(/ [^-]*$/, '').split(', ')
  const flag = serverFlags.find((flag) => {
    const known = flag.usage.split(/,? /)
    return names.every((name) => known.includes(name))
  })
  if (flag === undefined) throw new Error(`no flag ${usage}`)
  return flag
}

function variableLike(usage: string): string {
  return `CACHE_${usage.replace(/^--/, '').replaceAll('-', '_').toUpperCase()}`
}

interface ConsoleBlock {
  /** More than one line if it has quotes across them. */
  command: string
  output: string
}

function consoleBlock(text: string): ConsoleBlock {
  const [, command, output] = /^\$ ((?:[^"\n]|"[^"]*")*)\n([\s\S]*)$/.exec(text) ?? []
  if (command === undefined || output === undefined) throw new Error(`no console: ${text}`)
  return { command, output }
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

function onPort(text: string | undefined, port: number): string {
  return (text ?? '').replaceAll(String(DEFAULT_PORT), String(port))
}

/** A folder that has what a clone has after npm ci, but for a .env of whoever works in the real one. */
function makeClone(): string {
  const clone = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  onTestFinished(() => rmSync(clone, { recursive: true }))
  for (const name of ['protocol', 'server', 'client', 'bin', 'node_modules', 'package.json'])
    symlinkSync(join(root, name), join(clone, name))
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      // As the package's exports say, for a package that is not built.
      paths: {
        'ormuco-cache': [join(root, 'client', 'index.ts')],
        'ormuco-cache/server': [join(root, 'server', 'index.ts')],
      },
    },
    include: ['*.ts', join(root, 'protocol', 'ambient.d.ts')],
  }
  writeFileSync(join(clone, 'tsconfig.json'), JSON.stringify(config))
  return clone
}

/** What npm runs for a script: npm itself is left out, since one that is killed leaves its child behind. */
function withoutNpm(command: string): string {
  return command.replace(
    /^npm (?:run -s )?(\w+)(?: --)?/,
    (_, name: string) => manifest.scripts[name] ?? 'false',
  )
}

function inClone(clone: string, command: string, env: Readonly<Record<string, string>> = {}): Program {
  const child = spawn('sh', ['-c', `exec ${withoutNpm(command)}`], {
    cwd: clone,
    env: { PATH: path, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const program = new Program(child)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await program.ended
  })
  return program
}

/** `command` may begin with a variable. */
function startServer(clone: string, command: string, port = 0): Program {
  const [, name, value, rest] = /^([A-Z_]+)=(\S+) (.*)$/.exec(command) ?? []
  const variable = name === undefined || value === undefined ? {} : { [name]: value }
  return inClone(clone, rest ?? command, { LISTEN_ON: String(port), ...variable })
}

function onTerminal(clone: string, command: string, port: number): TerminalProgram {
  const env = { NO_COLOR: '1', SERVER_PORT: String(port) }
  return new TerminalProgram(withoutNpm(command), { cwd: clone, env })
}

/** Types what stands behind the prompts of a transcript, and compares all that is shown with all of it. */
async function replay(clone: string, transcript: string | undefined, port: number): Promise<void> {
  const expected = onPort(transcript, port)
  const prompt = `localhost:${port}> `
  const shell = onTerminal(clone, SHELL, port)
  await shell.shows(prompt)
  for (const line of expected.split('\n')) {
    if (!line.startsWith(prompt)) continue
    const typed = line.slice(prompt.length)
    await shell.says(typed, '\n', prompt)
    // Who reads its reply and types the next line takes longer than this.
    const [, ttlMs] = / PX (\d+)$/.exec(typed) ?? []
    if (ttlMs !== undefined) await sleep(Number(ttlMs) + PATIENCE_MS)
  }
  shell.type(CTRL_D)
  expect(await shell.ended).toBe(0)
  expect(shell.screen).toBe(`${expected}${prompt}\n`)
}

const PATIENCE_MS = 20

/** Lines of replies, each once where it comes several times in a row; of an error its code alone. */
function distinctOutcomes(output: string): string[] {
  const outcomes = output
    .trimEnd()
    .split('\n')
    .map((line) => /^\(error\) \w+/.exec(line)?.[0] ?? line)
  return outcomes.filter((outcome, index) => outcome !== outcomes[index - 1])
}
