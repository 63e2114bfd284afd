// What was not to happen, as an error: thrown by whoever sees it, caught by the engine, which then looks for the smallest
// input that still shows it.

/** `what` is a constant phrase: two violations with the same one count as the same fault. */
export class Violation extends Error {
  override readonly name = 'Violation'
  readonly what: string

  constructor(what: string, detail = '') {
    super(detail === '' ? what : `${what}: ${detail}`)
    this.what = what
  }
}

/** Throws a Violation unless it holds. `detail` is asked only then. */
export function demand(holds: boolean, what: string, detail: () => string = () => ''): asserts holds {
  if (!holds) throw new Violation(what, detail())
}

/** What kind of fault an error is: violations by their phrase, anything else by its class and where it was thrown. */
export function faultOf(error: unknown): string {
  if (error instanceof Violation) return error.what
  if (!(error instanceof Error)) return `thrown: ${String(error)}`
  const place = /\(?((?:protocol|server|client|test)\/[^\s)]+)\)?/.exec(error.stack ?? '')?.[1]
  return `${error.name} at ${place ?? 'an unknown place'}`
}
