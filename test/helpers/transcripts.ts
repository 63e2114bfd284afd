// What a document shows of a terminal, told apart into commands and what they print, and compared with what they really
// print: what differs each time (clocks, ports, counts) is made alike on both sides, and `…` stands for anything.
//
// Knows neither the documents nor how their commands are run.

export const PROMPT = '$ '

/** The commands of a block in their order. A command goes on behind a backslash at the end of a line, or an open quote. */
export function commandsIn(transcript: string): string[] {
  const commands: string[] = []
  let isOpen = false
  for (const line of transcript.split('\n')) {
    if (isOpen) commands.push(`${commands.pop()}\n${line}`)
    else if (line.startsWith(PROMPT)) commands.push(line.slice(PROMPT.length))
    else continue
    const command = commands.at(-1) ?? ''
    isOpen = command.endsWith('\\') || (command.match(/"/g)?.length ?? 0) % 2 === 1
  }
  return commands
}

/**
 * A script for sh that prints each command as it stands in a transcript, and then runs it, or what `asRun` makes of it;
 * `$?` is that of the command before.
 */
export function scriptOf(commands: readonly string[], asRun: (command: string) => string): string {
  const steps = commands.map((command) => {
    const shown = `${PROMPT}${command}`.replaceAll("'", "'\\''")
    return `printf '%s\\n' '${shown}'\n(exit $status)\n${asRun(command)}\nstatus=$?\n`
  })
  return `status=0\n${steps.join('')}`
}

/** The lines of a transcript that are not the command, which is its first. */
export function linesBehind(transcript: string, command: string): string[] {
  return transcript.slice(`${PROMPT}${command}\n`.length).trimEnd().split('\n')
}

/** What differs each time, made alike. Rows of a table of servers come in any order. */
export function alike(text: string): string {
  return sortRows(
    text
      .replace(/\b\d\d:\d\d:\d\d\.\d{3}\b/g, 'TIME')
      .replace(/\b(remote=\S+):\d+/g, '$1:PORT')
      .replace(/^serial=[0-9A-F]+$/gm, 'serial=SERIAL')
      .replace(/\b(connections)=\d+/g, '$1=COUNT')
      .replace(/^( {2}(?:clients|peers|accepted)) +\d+$/gm, '$1 COUNT')
      .replace(/^(node {2}|cache-\w+ {2}).*/gm, (row) => row.replace(/(?<=\s)-?\d+(\.\d+)?(?=\s)/g, 'N'))
      .replace(/ {2,}/g, '  '),
  )
}

function sortRows(text: string): string {
  return text.replace(/(?:^cache-\w+ {2}.*\n)+/gm, (rows) =>
    rows
      .split(/(?<=\n)/)
      .sort()
      .join(''),
  )
}

/** Matches what is like the transcript from beginning to end: `…` alone is any lines, elsewhere any part of a line. */
export function likeness(transcript: string): RegExp {
  return new RegExp(`^${patternOf(transcript)}$`)
}

/** Matches one line that is like that of a transcript. */
export function likeLine(line: string): RegExp {
  return new RegExp(`^${patternOf(line)}$`, 'm')
}

function patternOf(text: string): string {
  return alike(text)
    .replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
    .replace(/^…\n/gm, '(?:.*\\n)*?')
    .replaceAll('…', '.*')
}
