// Names: what the help lists and explains, and what is meant by a name that nobody knows.

import { describe, expect, test } from 'vitest'
import { commandNames, findCommand, habitNames } from '../../bin/shell-dictionary.ts'
import { adviceCommands } from '../../bin/shell-habits.ts'
import { startServer } from '../helpers/server.ts'
import { dialMemory, TestShell } from '../helpers/shell.ts'

async function helpOn(name: string): Promise<string> {
  return new TestShell(dialMemory(await startServer())).says(`help ${name}`)
}

describe('names', () => {
  test.each([
    ['gte', 'did you mean get?'],
    ['sett', 'did you mean set?'],
    ['dle', 'did you mean del?'],
    ['inspct', 'did you mean inspect?'],
    ['SETXE', 'did you mean setex?'],
    ['x', 'help lists the commands'],
    ['frobnicate', 'help lists the commands'],
  ])('%s: %s', (word, hint) => {
    expect(() => findCommand(word)).toThrow(`unknown command ${JSON.stringify(word)}; ${hint}`)
  })

  test('no name stands for two things', () => {
    const all = [...commandNames, ...habitNames, ...adviceCommands.map(({ name }) => name)]
    expect(all.filter((name, i) => all.indexOf(name) !== i)).toEqual([])
  })

  test('a long word costs nothing and is cut', () => {
    expect(() => findCommand('x'.repeat(1_000_000))).toThrow(
      /^unknown command "x{40}"; help lists the commands$/,
    )
  })
})

describe('help', () => {
  test('lists every command of the shell, and none that is not here', async () => {
    const text = await helpOn('')
    for (const name of commandNames) expect(text).toMatch(new RegExp(`^${name}(?: .*)? {2,}\\S`, 'm'))
    expect(text).not.toMatch(/^(?:setex|wait)/m)
  })

  test('explains one, in any case, by habit or missing', async () => {
    expect(await helpOn('SET')).toMatch(
      /^set KEY VALUE \[EX SECONDS \| PX MS\] \[NX \| XX\] \[ACKS N \| all\]\n {2}store a value\n/,
    )
    expect(await helpOn('setex')).toBe('setex KEY SECONDS VALUE\n  set KEY VALUE EX SECONDS\n')
    expect(await helpOn('rm')).toMatch(/^rm KEY\.\.\.\n {2}the same as del\n/)
    expect(await helpOn('select')).toMatch(/^select\n {2}not here: there is one keyspace/)
    expect(await helpOn('gte')).toBe('(error) USAGE unknown command "gte"; did you mean get?\n')
  })
})
