// How many files and sockets this process may have open, and how many are: what bounds its connections from outside.
// Where the system does not tell, nothing is known, and nobody is limited by it.

import { readdirSync, readFileSync } from 'node:fs'

/** The soft limit of open files; undefined: unknown, or none. Node has raised it as far as it may. */
export function descriptorLimit(): number | undefined {
  const limits = attempt(() => readFileSync('/proc/self/limits', 'utf8'))
  if (limits !== undefined) return numberIn(/^Max open files\s+(\d+)/m.exec(limits)?.[1])
  // A report costs some 30 ms.
  return numberIn(attempt(reportedLimit))
}

/** How many are open now; 0 where that is unknown. */
export function descriptorsOpen(): number {
  const names = attempt(() => readdirSync('/proc/self/fd')) ?? attempt(() => readdirSync('/dev/fd'))
  return names?.length ?? 0
}

function reportedLimit(): unknown {
  const report: { userLimits?: { open_files?: { soft?: unknown } } } = Object(process.report?.getReport())
  return report.userLimits?.open_files?.soft
}

function numberIn(value: unknown): number | undefined {
  const number = Number(value)
  return value !== undefined && Number.isInteger(number) && number > 0 ? number : undefined
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
