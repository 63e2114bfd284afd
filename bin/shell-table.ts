// A table for eyes: columns as wide as what stands in them. Between rows of facts and the lines of a terminal; knows
// nothing of what they mean.

/** A column: the fact it shows, and what stands above it. */
export interface Column {
  name: string
  title: string
}

const GAP = '  '

/**
 * A line of titles, then one a row. Numbers stand to the right; the last column ends where the terminal does, at `width`
 * characters. `textOf` makes a fact harmless and short.
 */
export function tableLines(
  columns: readonly Column[],
  rows: readonly Readonly<Record<string, unknown>>[],
  textOf: (fact: unknown) => string,
  width: number,
): string[] {
  const cells = columns.map(({ name, title }) => {
    const facts = rows.map((row) => row[name])
    const isNumber = facts.some((fact) => typeof fact === 'number')
    const texts = [title, ...facts.map(textOf)]
    const widest = Math.max(...texts.map((text) => text.length))
    return texts.map((text) => (isNumber ? text.padStart(widest) : text.padEnd(widest)))
  })
  return [undefined, ...rows].map((_, line) => {
    const text = cells
      .map((column) => column[line] ?? '')
      .join(GAP)
      .trimEnd()
    return text.length > width ? `${text.slice(0, Math.max(1, width - 1))}…` : text
  })
}
