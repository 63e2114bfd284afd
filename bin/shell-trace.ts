// --trace: every frame, both ways, in hexadecimal with its meaning, but for what proves who somebody is. Between the tap
// on the connection and a place to print to. Sees all frames also while it is off, so that a reply's request is known
// when it is switched on.

import { FrameWords, hexLines } from './shell-frames.ts'
import { printable } from './shell-render.ts'
import type { Direction, Tap } from './shell-tap.ts'

const ARROWS = { sent: '->', received: '<-' } as const

export class Trace implements Tap {
  isOn: boolean
  readonly #print: (text: string) => void
  readonly #words = new FrameWords()

  /** `print` gets whole lines, line ends included. */
  constructor(isOn: boolean, print: (text: string) => void) {
    this.isOn = isOn
    this.#print = print
  }

  onFrame(direction: Direction, frame: Uint8Array): void {
    if (!this.isOn) {
      this.#words.note(direction, frame)
      return
    }
    const [meaning, hex] = this.#words.show(direction, frame)
    this.#print(`${ARROWS[direction]} ${printable(meaning)}\n${hex}\n`)
  }

  onOther(direction: Direction, bytes: Uint8Array): void {
    if (this.isOn) this.#print(`${ARROWS[direction]} (no whole frame)\n${hexLines(bytes)}\n`)
  }
}
