// A command of bin/ as a real process, for tests: as it was built for them (global-setup.ts), in an empty folder and an empty
// environment unless the test gives some, and killed when the test ends, whatever became of it.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { inject, onTestFinished } from 'vitest'

// The folder of the process is not the repository: the loader has to be named by its place.
const loader = import.meta.resolve('tsx')

export interface ProgramPlace {
  env?: Readonly<Record<string, string>>
  /** Text of a .env file in the folder of the process. */
  dotEnv?: string
  /** What the process reads from its standard input; left out, nothing. */
  stdin?: string
  /** That is not all: more might come, and does not. */
  stdinStaysOpen?: true
  /** Most open files of the process; left out, as many as this one may have. */
  openFilesMax?: number
}

export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export class Program {
  readonly process: ChildProcess
  /** Resolves when the process is gone and all it wrote was read. */
  readonly ended: Promise<Ending>
  stdout = ''
  stderr = ''
  #changed: () => void = () => {}
  #ending: Ending | undefined

  constructor(child: ChildProcess) {
    this.process = child
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      this.#changed()
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.#changed()
    })
    this.ended = once(child, 'close').then(() => {
      const { stdout, stderr } = this
      this.#ending = { code: child.exitCode, signal: child.signalCode, stdout, stderr }
      this.#changed()
      return this.#ending
    })
  }

  /** Waits for text on one of its outputs; fails with all it wrote if it ends before. */
  async says(output: 'stdout' | 'stderr', pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this[output])
      if (match !== null) return match
      if (this.#ending !== undefined) {
        throw new Error(`ended without ${pattern} on ${output}: ${JSON.stringify(this.#ending)}`)
      }
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  /** Waits for the ready line of start-server; the port in it. */
  async port(): Promise<number> {
    const [, digits] = await this.says('stdout', /^Server listens on port (\d+)\n/)
    return Number(digits)
  }
}

/** Where a command was built. */
export function builtProgram(name: string): string {
  return join(inject('builtDir'), 'bin', `${name}.js`)
}

/** Starts a command by its name, or the script at a path; sources as `npm start` does. To be called in a test. */
export function startProgram(nameOrPath: string, args: readonly string[], place: ProgramPlace = {}): Program {
  const folder = mkdtempSync(join(tmpdir(), 'ormuco-cache-'))
  if (place.dotEnv !== undefined) writeFileSync(join(folder, '.env'), place.dotEnv)
  const path = isAbsolute(nameOrPath) ? nameOrPath : builtProgram(nameOrPath)
  const command = [process.execPath, ...(path.endsWith('ts') ? ['--import', loader] : []), path, ...args]
  // A shell can lower its limits, and then becomes the command.
  const limited = ['sh', '-c', `ulimit -n ${place.openFilesMax} && exec "$0" "$@"`, ...command]
  const [file = '', ...rest] = place.openFilesMax === undefined ? command : limited
  const child = spawn(file, rest, {
    cwd: folder,
    env: { ...place.env },
    stdio: [place.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  if (place.stdinStaysOpen) child.stdin?.write(place.stdin ?? '')
  else child.stdin?.end(place.stdin)
  const program = new Program(child)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await program.ended
    rmSync(folder, { recursive: true })
  })
  return program
}

/** Runs one to its end. */
export function runProgram(
  nameOrPath: string,
  args: readonly string[],
  place: ProgramPlace = {},
): Promise<Ending> {
  return startProgram(nameOrPath, args, place).ended
}
