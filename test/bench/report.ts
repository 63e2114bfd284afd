// Markdown out of what the sections measured: tables, the list of targets, the head with machine and versions.
// Knows no section; the same text goes to the terminal and to RESULTS.md.

import type { Machine } from './machine.ts'
import type { Section } from './section.ts'

/** What the head of the results says about the run. */
export interface RunFacts {
  date: Date
  command: string
  machine: Machine
  /** Name and version of everything that took part. */
  versions: readonly (readonly [name: string, version: string])[]
  notes: readonly string[]
}

/** A markdown table; the first column is flush left, the others right. Rows may be shorter than the heading. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${heading.map((_, column) => escapeCell(cells[column] ?? '')).join(' | ')} |`
  const rule = `| ${heading.map((_, column) => (column === 0 ? '---' : '---:')).join(' | ')} |`
  return [line(heading), rule, ...rows.map(line)].join('\n')
}

/** All targets of all sections, one row each. */
export function targetsTable(sections: readonly Section[]): string {
  const rows = sections.flatMap((section) =>
    section.targets.map((target) => [
      section.id,
      target.name,
      target.target,
      target.measured,
      target.met ? 'met' : '**not met**',
    ]),
  )
  return table(['section', 'figure', 'target', 'measured', ''], rows)
}

/** The whole of RESULTS.md. */
export function renderResults(facts: RunFacts, sections: readonly Section[]): string {
  const { machine } = facts
  const parts = [
    '# Benchmark results',
    `Written by \`${facts.command}\` on ${facts.date.toISOString().slice(0, 16).replace('T', ' ')} UTC. ` +
      'Absolute figures move from machine to machine and from hour to hour; compare rows of one run only.',
    table(
      ['', ''],
      [
        ['processor', `${machine.processor}, ${machine.cores} cores`],
        ['memory', machine.memory],
        ['kernel', machine.kernel],
        ...facts.versions,
      ],
    ),
    facts.notes.map((note) => `* ${note}`).join('\n'),
    '## Targets',
    targetsTable(sections),
    ...sections.flatMap((section) => [`## ${section.id}. ${section.title}`, section.markdown]),
  ]
  return `${parts.join('\n\n')}\n`
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
