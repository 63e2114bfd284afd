// Which Node.js releases seed V8's string hashes badly enough that chosen keys can slow a server to a crawl.
// The cache's own table is keyed per process and not affected; Maps of strings around it are.

/** The first release of each long-term line in which the hole is closed. */
const PATCHED = ['20.20.2', '22.22.2', '24.14.1'] as const

/**
 * The release to move to if `version` (as in `process.versions.node`) has the hole, else undefined. Lines in
 * between never got the fix: the next long-term one is named for them.
 */
export function patchedRelease(version: string): string | undefined {
  const own = numbers(version)
  const fix = PATCHED.find((release) => own[0] <= numbers(release)[0])
  if (fix === undefined) return undefined
  return isBefore(own, numbers(fix)) ? fix : undefined
}

type Numbers = readonly [major: number, minor: number, patch: number]

function numbers(version: string): Numbers {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  return [major, minor, patch]
}

function isBefore(a: Numbers, b: Numbers): boolean {
  if (a[0] !== b[0]) return a[0] < b[0]
  if (a[1] !== b[1]) return a[1] < b[1]
  return a[2] < b[2]
}
