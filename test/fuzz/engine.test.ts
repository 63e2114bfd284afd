// The fuzzer itself, on states with planted faults: it finds them, says how to see them again, and makes them small.

import { describe, expect, test } from 'vitest'
import { frame, payloads } from '../helpers/frames.ts'
import { type Input, noOutcomes, playState, type State, type World } from './engine.ts'
import { chunked, randomBytes } from './mutations.ts'
import { missingOutcomes, toldFailure } from './report.ts'
import { demand } from './violation.ts'

/** A state whose worlds do what is given with all bytes that they were told so far. */
function stateOf(fault: (bytes: Buffer) => void, make?: (bytes: Buffer) => Buffer): State {
  return {
    name: 'planted',
    inputsPerWorld: 100,
    outcomes: ['fine'],
    makeWorld: (): World => {
      let told: Buffer = Buffer.alloc(0)
      return {
        next: (random): Input => {
          const bytes = randomBytes(1 + random.below(50), random)
          return { chunks: chunked(make?.(bytes) ?? bytes, random), luck: random.below(100) }
        },
        play: ({ chunks }) => {
          told = Buffer.concat([told, ...chunks])
          fault(told)
          return 'fine'
        },
        end: () => {},
      }
    },
  }
}

const bytesOf = (inputs: readonly Input[]) =>
  inputs.map(({ chunks }) => Buffer.concat(chunks).toString('hex'))

describe('a fault', () => {
  test('that one byte shows is found in one input of one byte', async () => {
    const state = stateOf((bytes) => demand(!bytes.includes(0x2a), 'planted'))
    const failure = await playState(state, 1, 10_000, noOutcomes())
    expect(failure).toMatchObject({ state: 'planted', seed: 1, fault: 'planted' })
    expect(bytesOf(failure?.inputs ?? [])).toEqual(['2a'])
    expect(failure && toldFailure(failure)).toMatch(
      /--states planted --seed 1 --world \d+\ninput 1 of 1, luck \d+: 2a$/,
    )
  })

  test('that needs two bytes, anywhere, keeps both and nothing else', async () => {
    const state = stateOf((bytes) => demand(!bytes.includes(0x2a) || !bytes.includes(0x2b), 'planted'))
    const failure = await playState(state, 1, 10_000, noOutcomes())
    expect(bytesOf(failure?.inputs ?? []).join('')).toMatch(/^(2a2b|2b2a)$/)
  })

  test('within frames is shown by a whole frame', async () => {
    const fault = (bytes: Buffer) => {
      for (const payload of payloads(bytes)) demand(!payload.includes(0x2a), 'planted')
    }
    const failure = await playState(
      stateOf(fault, (bytes) => frame(bytes)),
      1,
      10_000,
      noOutcomes(),
    )
    expect(bytesOf(failure?.inputs ?? [])).toEqual(['000000012a'])
  })

  test('is any error that is thrown, told by its class and place', async () => {
    const fault = (bytes: Buffer) => {
      if (bytes.includes(0x2a)) throw new TypeError('of the product')
    }
    const failure = await playState(stateOf(fault), 1, 10_000, noOutcomes())
    expect(failure?.fault).toMatch(/^TypeError at test\/fuzz\/engine.test.ts/)
    expect(failure?.message).toContain('of the product')
  })

  test('is what is left at the end', async () => {
    const state = stateOf(() => {})
    const makeWorld = (seed: number) => ({ ...state.makeWorld(seed), end: () => demand(false, 'left') })
    const failure = await playState({ ...state, makeWorld }, 1, 100, noOutcomes())
    expect(failure?.fault).toBe('left')
    expect(failure?.inputs).toEqual([])
  })

  test('is an input that takes too long, each time', async () => {
    const fault = (bytes: Buffer) => {
      const { user } = process.cpuUsage()
      while (bytes.includes(0x2a) && process.cpuUsage().user - user < 6000);
    }
    const failure = await playState(stateOf(fault), 1, 100, noOutcomes(), { slowMs: 4 })
    expect(failure?.fault).toBe('an input takes too long')
  })
})

test('the same seed gives the same inputs, whoever plays which worlds', async () => {
  const inputs = async (seed: number, shares: readonly (readonly [number, number])[]) => {
    const told: string[] = []
    const state = stateOf(
      () => {},
      (bytes) => {
        told.push(bytes.toString('hex'))
        return bytes
      },
    )
    for (const [first, step] of shares)
      await playState(state, seed, 1200 / step, noOutcomes(), {}, first, step)
    return told.sort()
  }
  const alone = await inputs(7, [[0, 1]])
  expect(
    await inputs(7, [
      [0, 3],
      [1, 3],
      [2, 3],
    ]),
  ).toEqual(alone)
  expect(await inputs(8, [[0, 1]])).not.toEqual(alone)
})

test('what hardly ever comes of an input is missing', () => {
  const outcomes = { inputs: 10_000, counts: { often: 9990, seldom: 4 }, slowestMs: 0 }
  expect(missingOutcomes(['often', 'seldom', 'never'], outcomes)).toEqual(['seldom', 'never'])
})
