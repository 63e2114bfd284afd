// Markdown as far as tests hold documents to account: fenced blocks, tables, links and the headings they point at.
// Knows none of the documents.

/** The texts of all fenced blocks of a language, each ending with a line end. */
export function fencedBlocks(markdown: string, language: string): string[] {
  return [...markdown.matchAll(FENCE)].flatMap(([, found, text]) =>
    found === language && text !== undefined ? [text] : [],
  )
}

export interface FencedBlock {
  language: string
  /** Ends with a line end. */
  text: string
  /** What stands before it, from the block before on. */
  lead: string
}

/** All fenced blocks, in their order. */
export function allFencedBlocks(markdown: string): FencedBlock[] {
  let end = 0
  return [...markdown.matchAll(FENCE)].map(({ 0: whole, 1: language = '', 2: text = '', index }) => {
    const lead = markdown.slice(end, index)
    end = index + whole.length
    return { language, text, lead }
  })
}

/** The rows below the heading row that begins with a cell of that text; none if there is no such table. */
export function tableRows(markdown: string, firstHeading: string): string[][] {
  const table = tablesOf(markdown).find(([heading]) => heading?.[0] === firstHeading)
  return table?.slice(1) ?? []
}

/** All tables; of each the heading row, and the rows below it. */
export function tablesOf(markdown: string): string[][][] {
  const lines = withoutFences(markdown)
    .split('\n')
    .map((line) => line.trim())
  const tables: string[][][] = []
  for (const [index, line] of lines.entries()) {
    if (!line.startsWith('|')) continue
    if (lines[index - 1]?.startsWith('|') !== true) tables.push([])
    tables.at(-1)?.push(cellsOf(line))
  }
  // The second row is the line between heading and body.
  return tables.map((rows) => rows.toSpliced(1, 1))
}

/** What stands in backquotes. */
export function codeWords(markdown: string): string[] {
  return [...withoutFences(markdown).matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)
}

/** The targets of all links, those into the web too. */
export function linkTargets(markdown: string): string[] {
  return [...withoutFences(markdown).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
}

/** What a link may have behind its `#`, as those who show Markdown make it of headings. */
export function anchors(markdown: string): string[] {
  return [...withoutFences(markdown).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-'),
  )
}

const FENCE = /^```(\w*)\n([\s\S]*?)^```$/gm

function withoutFences(markdown: string): string {
  return markdown.replace(FENCE, '')
}

/** A `|` within a cell is written `\|`. */
function cellsOf(line: string): string[] {
  if (!line.startsWith('|')) return []
  return line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) => cell.trim().replaceAll('\\|', '|'))
}
