// Markdown as far as tests hold documents to account: fenced blocks, tables, links and the headings they point at.
// Knows none of the documents.

/** The texts of all fenced blocks of a language, each ending with a line end. */
export function fencedBlocks(markdown: string, language: string): string[] {
  return [...markdown.matchAll(FENCE)].flatMap(([, found, text]) =>
    found === language && text !== undefined ? [text] : [],
  )
}

/** The rows below the heading row that begins with a cell of that text; none if there is no such table. */
export function tableRows(markdown: string, firstHeading: string): string[][] {
  const lines = markdown.split('\n').map((line) => line.trim())
  const heading = lines.findIndex((line) => cellsOf(line)[0] === firstHeading)
  if (heading < 0) return []
  const body = lines.slice(heading + 2)
  const end = body.findIndex((line) => !line.startsWith('|'))
  return body.slice(0, end < 0 ? body.length : end).map(cellsOf)
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
