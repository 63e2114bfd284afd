// The shell's terminal: a prompt, an edited line with history and completion, Ctrl-C and Ctrl-D. Between readline and
// whoever runs the lines; knows no command. One line runs at a time; what is typed or pasted meanwhile waits. What a line
// asks for may be a secret: then nothing that is typed is shown, completed or kept.
//
//   prompting ──(Enter)──> running ──(done)──> prompting          Ctrl-C while prompting: an empty line
//                             │                                   Ctrl-C while running: the command is stopped
//                             └──> asking ──(answer)──> running   Ctrl-C while asking: that is a no

import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from 'node:readline'
import { type Readable, Writable } from 'node:stream'
import type { Completer } from './shell-completion.ts'
import { HISTORY_LINES_MAX, type History, isSecret } from './shell-history.ts'
import { Interrupted } from './shell-outcome.ts'

/** Lines that may wait while one runs. */
const WAITING_LINES_MAX = 10_000

export interface TerminalStreams {
  input: Readable
  output: Writable
}

type State =
  | { name: 'prompting'; onLine: (line: string | undefined) => void }
  | { name: 'running'; controller: AbortController }
  /** `stop`: no answer is wanted any more; to be called while there is a terminal. */
  | { name: 'asking'; isSecret: boolean; onAnswer: (answer: string | undefined) => void; stop: () => void }
  | { name: 'between' }
  | { name: 'closed' }

export class Terminal {
  readonly #output: Writable
  readonly #curtain: Curtain
  readonly #readline: Interface
  readonly #waiting: string[] = []
  #state: State = { name: 'between' }
  /** A line with a secret was entered, and there was no prompt since: what is typed blindly may be its password. */
  #isAfterSecret = false
  #prompt = ''

  constructor({ input, output }: TerminalStreams, history: History, complete: Completer) {
    this.#output = output
    this.#curtain = new Curtain(output)
    this.#readline = createInterface({
      input,
      output: this.#curtain,
      terminal: true,
      history: [...history.lines],
      historySize: 2 * HISTORY_LINES_MAX,
      completer: (line: string, done: (error: null, result: [string[], string]) => void) => {
        const isSecret = this.#state.name === 'asking' && this.#state.isSecret
        const offers: ReturnType<Completer> = isSecret ? Promise.resolve([[], line]) : complete(line)
        offers.then(
          (result) => done(null, result),
          () => done(null, [[], line]),
        )
      },
    })
    this.#readline.on('line', (line) => this.#onLine(line))
    this.#readline.on('SIGINT', () => this.#onInterrupt())
    this.#readline.on('close', () => this.#onClose())
    this.#readline.on('history', (lines: string[]) => {
      const [newest = ''] = lines
      this.#isAfterSecret ||= isSecret(newest)
      if (this.#state.name === 'asking' || this.#isAfterSecret) lines.shift()
      else history.add(newest)
    })
  }

  /** Hands each line to `run` until that resolves with false, or rejects, or the user leaves; then it is closed. */
  async run(run: (line: string, signal: AbortSignal) => Promise<boolean>): Promise<void> {
    try {
      for (;;) {
        const line = await this.#nextLine()
        if (line === undefined) return
        if (line.trim() === '') continue
        const controller = new AbortController()
        this.#enter({ name: 'running', controller })
        if (!(await run(line, controller.signal))) return
        this.#enter({ name: 'between' })
      }
    } finally {
      this.#enter({ name: 'between' })
      this.#readline.close()
    }
  }

  /** A question about the line that runs. Ctrl-C, Ctrl-D and everything that is not yes is no. */
  async confirm(question: string): Promise<boolean> {
    const answer = await this.#ask(false, (onAnswer) => {
      const asking = new AbortController()
      this.#readline.question(question, { signal: asking.signal }, onAnswer)
      return () => asking.abort()
    })
    return /^y(?:es)?$/i.test((answer ?? '').trim())
  }

  /** The same for a password, which is not shown. Undefined after Ctrl-C and Ctrl-D. */
  async askPassword(question: string): Promise<string | undefined> {
    const answer = await this.#ask(true, (onAnswer) => {
      this.#output.write(question)
      this.#curtain.isDrawn = true
      this.#readline.question('', onAnswer)
      // Not by giving the question up: what was typed could be brought back, as with any line that was not entered.
      return () => this.#readline.write(null, { name: 'return' })
    })
    if (this.#curtain.isDrawn) this.#output.write('\n')
    this.#curtain.isDrawn = false
    return answer
  }

  /** Asks while a line runs. `begin` gives the answer to its operand, and returns how to stop asking. */
  async #ask(
    isSecret: boolean,
    begin: (onAnswer: (answer: string) => void) => () => void,
  ): Promise<string | undefined> {
    const running = this.#state
    if (running.name !== 'running') return undefined
    const answer = await new Promise<string | undefined>((onAnswer) => {
      const stop = begin(onAnswer)
      this.#enter({ name: 'asking', isSecret, onAnswer, stop })
    })
    this.#enter(running)
    return answer
  }

  /** Shown from now on, also in place of a prompt that is there already. */
  setPrompt(prompt: string): void {
    if (prompt === this.#prompt) return
    this.#prompt = prompt
    if (this.#state.name === 'prompting') this.#showPrompt()
  }

  /** Prints whole lines; above the prompt, if it is there. */
  print(text: string): void {
    if (this.#state.name !== 'prompting') {
      this.#output.write(text)
      return
    }
    const { rows } = this.#readline.getCursorPos()
    moveCursor(this.#output, 0, -rows)
    cursorTo(this.#output, 0)
    clearScreenDown(this.#output)
    this.#output.write(text)
    this.#showPrompt()
  }

  /** With what stands behind it. Set each time: after a question readline goes back to the prompt before it. */
  #showPrompt(): void {
    this.#readline.setPrompt(this.#prompt)
    this.#readline.prompt(true)
  }

  #nextLine(): Promise<string | undefined> {
    if (this.#state.name === 'closed') return Promise.resolve(undefined)
    const line = this.#waiting.shift()
    if (line !== undefined) return Promise.resolve(line)
    return new Promise((onLine) => {
      this.#isAfterSecret = false
      this.#enter({ name: 'prompting', onLine })
      this.#showPrompt()
    })
  }

  #onLine(line: string): void {
    if (this.#state.name === 'prompting') {
      const { onLine } = this.#state
      this.#enter({ name: 'between' })
      onLine(line)
    } else if (this.#waiting.length < WAITING_LINES_MAX) this.#waiting.push(line)
  }

  #onInterrupt(): void {
    const state = this.#state
    this.#waiting.length = 0
    if (state.name === 'asking') {
      state.onAnswer(undefined)
      state.stop()
    } else if (state.name === 'running') {
      state.controller.abort(new Interrupted('stopped; a request that was sent may have been carried out'))
    } else if (state.name === 'prompting') {
      const { line } = this.#readline
      // To the end of the line, and delete to its beginning: a line that is given up.
      this.#readline.write(null, { ctrl: true, name: 'e' })
      this.#readline.write(null, { ctrl: true, name: 'u' })
      if (line === '') this.print('(Ctrl-D or quit leaves the shell)\n')
    }
  }

  #onClose(): void {
    const state = this.#state
    this.#state = { name: 'closed' }
    if (state.name === 'asking') state.onAnswer(undefined)
    if (state.name !== 'prompting') return
    this.#output.write('\n')
    state.onLine(undefined)
  }

  /** Once closed it stays so. */
  #enter(state: State): void {
    if (this.#state.name !== 'closed') this.#state = state
  }
}

/** What readline draws on: passes it on at once, or to nobody while it is drawn. */
class Curtain extends Writable {
  isDrawn = false
  readonly #output: Writable & { columns?: number }

  constructor(output: Writable & { columns?: number }) {
    super({ decodeStrings: false })
    this.#output = output
    output.on('resize', () => this.emit('resize'))
  }

  /** Undefined: not known. */
  get columns(): number | undefined {
    return this.#output.columns
  }

  override _write(text: string | Buffer, _encoding: BufferEncoding, onDone: () => void): void {
    if (!this.isDrawn) this.#output.write(text)
    onDone()
  }
}
