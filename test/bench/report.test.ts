// The markdown of RESULTS.md: what a reader of the repository sees first.

import { describe, expect, it } from 'vitest'
import { type RunFacts, renderResults, table, targetsTable } from './report.ts'
import type { Section } from './section.ts'

const section: Section = {
  id: '7',
  title: 'Juggling',
  markdown: 'Five balls.',
  rows: [],
  targets: [
    { name: 'balls', target: '≥ 4', measured: '5', met: true },
    { name: 'drops', target: '≤ 1', measured: '3', met: false },
  ],
}

const facts: RunFacts = {
  date: new Date('2024-03-05T06:07:08Z'),
  command: 'npm run bench -- --rounds 2',
  machine: { processor: 'Abacus', cores: 2, memory: '1.0 GiB', kernel: 'Linux 6' },
  versions: [['juggler', '1.2']],
  notes: ['2 rounds'],
}

describe('table', () => {
  it('has a heading, a rule and a line for each row', () => {
    expect(table(['', 'figure'], [['ours', '3']])).toBe('|  | figure |\n| --- | ---: |\n| ours | 3 |')
  })

  it('fills short rows up, so that the reason for a missing row can stand in it', () => {
    expect(table(['a', 'b', 'c'], [['x', 'not measured']]).split('\n')[2]).toBe('| x | not measured |  |')
  })

  it('does not let a cell break the table', () => {
    expect(
      table(['a'], [['x|y\nz']])
        .split('\n')
        .slice(2),
    ).toEqual(['| x\\|y z |'])
  })
})

describe('targetsTable', () => {
  it('says of each target of each section whether it was met', () => {
    const [, , met, missed] = targetsTable([section]).split('\n')
    expect(met).toBe('| 7 | balls | ≥ 4 | 5 | met |')
    expect(missed).toBe('| 7 | drops | ≤ 1 | 3 | **not met** |')
  })
})

describe('renderResults', () => {
  const text = renderResults(facts, [section])

  it('says how, when and on what it was measured', () => {
    expect(text).toContain('`npm run bench -- --rounds 2` on 2024-03-05 06:07 UTC')
    expect(text).toContain('| processor | Abacus, 2 cores |')
    expect(text).toContain('| juggler | 1.2 |')
    expect(text).toContain('* 2 rounds')
  })

  it('puts the targets before the sections', () => {
    expect(text.indexOf('## Targets')).toBeLessThan(text.indexOf('## 7. Juggling\n\nFive balls.'))
  })
})
