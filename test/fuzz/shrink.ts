// A violation made small: which inputs are needed for it, and which of their bytes.
//
// It plays the inputs again and again, each time without some, in a fresh world of the same seed, and keeps what still
// ends in the same fault. Bytes are taken out of frames too, whose lengths are then put right.

import { performance } from 'node:perf_hooks'
import type { Input, State } from './engine.ts'
import { faultOf } from './violation.ts'

const PLAYS_MAX = 3000
const TIME_MS_MAX = 60_000

/** As few inputs, and as short ones, as can be found that still end in this fault. */
export async function shrunk(
  state: State,
  seed: number,
  inputs: readonly Input[],
  fault: string,
): Promise<Input[]> {
  const untilMs = performance.now() + TIME_MS_MAX
  let plays = 0
  const fails = async (fewer: readonly Input[]): Promise<boolean> => {
    if (plays++ >= PLAYS_MAX || performance.now() > untilMs) return false
    const error = await errorIn(state, seed, fewer)
    return error !== undefined && faultOf(error) === fault
  }
  let best = [...inputs]
  if (!(await fails(best))) return best
  // Most faults need little of what came before.
  for (let count = 1; count < best.length; count *= 2)
    if (await fails(best.slice(-count))) best = best.slice(-count)
  best = await withoutParts(best, fails)
  for (let at = 0; at < best.length; at++) {
    const { luck, chunks } = best[at] as Input
    const among = (given: Buffer[]) => best.map((input, i) => (i === at ? { luck, chunks: given } : input))
    let fewer = chunks
    if (fewer.length > 1 && (await fails(among([Buffer.concat(fewer)])))) fewer = [Buffer.concat(fewer)]
    fewer = await withoutParts(fewer, (given) => fails(among(given)))
    for (let chunk = 0; chunk < fewer.length; chunk++)
      fewer = await withShortChunk(fewer, chunk, (given) => fails(among(given)))
    best = among(fewer)
  }
  return best
}

/** What a fresh world of this seed throws with these inputs; undefined if nothing is wrong. */
export async function errorIn(state: State, seed: number, inputs: readonly Input[]): Promise<unknown> {
  try {
    const world = state.makeWorld(seed)
    for (const { luck, chunks } of inputs) await world.play({ luck, chunks })
    world.end()
    return undefined
  } catch (error) {
    return error
  }
}

async function withoutParts<T>(all: readonly T[], fails: (fewer: T[]) => Promise<boolean>): Promise<T[]> {
  let best = [...all]
  for (let size = Math.ceil(best.length / 2); size >= 1; size = Math.floor(size / 2))
    for (let at = 0; at < best.length; ) {
      const fewer = [...best.slice(0, at), ...best.slice(at + size)]
      if (fewer.length < best.length && (await fails(fewer))) best = fewer
      else at += size
    }
  return best
}

async function withShortChunk(
  chunks: readonly Buffer[],
  which: number,
  fails: (given: Buffer[]) => Promise<boolean>,
): Promise<Buffer[]> {
  let best = chunks[which] ?? Buffer.alloc(0)
  const among = (bytes: Buffer) => chunks.map((chunk, i) => (i === which ? bytes : chunk))
  for (let size = Math.ceil(best.length / 2); size >= 1; size = Math.floor(size / 2))
    for (let at = 0; at < best.length; ) {
      const shorter = Buffer.concat([best.subarray(0, at), best.subarray(at + size)])
      const mended = withLengthMended(best, shorter, at)
      if (mended !== undefined && (await fails(among(mended)))) best = mended
      else if (await fails(among(shorter))) best = shorter
      else at += size
    }
  return among(best)
}

/** The frame that bytes were taken out of, at `at`, says its new length; undefined if they are not all of one frame. */
function withLengthMended(before: Buffer, after: Buffer, at: number): Buffer | undefined {
  const taken = before.length - after.length
  let start = 0
  while (start + 4 <= before.length) {
    const end = start + 4 + before.readUInt32BE(start)
    if (at >= start + 4 && at + taken <= end && end <= before.length) {
      const mended = Buffer.from(after)
      mended.writeUInt32BE(end - start - 4 - taken, start)
      return mended
    }
    if (end > at) return undefined
    start = end
  }
  return undefined
}
